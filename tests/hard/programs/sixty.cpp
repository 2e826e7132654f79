// A chain of 60 named frames: through a shared library, a callback of qsort, a std::function and a
// landing pad, where the sample is taken.
#include <cstdlib>
#include <functional>
#include <stdexcept>

#include "sampler.hpp"

static volatile long g_sum;
extern "C" long step_21(long (*inside)(long), long n);

#define STEP(here, next) \
  FN long here(long n) { return next(n + 1) + (g_sum += 1); }

FN long throws(long n) {
  if (n > 0) throw std::runtime_error("to the landing pad");
  return n;
}
FN long step_60(long n) {
  try {
    return throws(n) + 1;
  } catch (const std::runtime_error&) {
    TAKE_SAMPLE();
    return g_sum;
  }
}
STEP(step_59, step_60)
STEP(step_58, step_59)
STEP(step_57, step_58)
STEP(step_56, step_57)
STEP(step_55, step_56)
STEP(step_54, step_55)
STEP(step_53, step_54)
STEP(step_52, step_53)
STEP(step_51, step_52)
STEP(step_50, step_51)
STEP(step_49, step_50)
STEP(step_48, step_49)
STEP(step_47, step_48)
STEP(step_46, step_47)
FN long step_45(long n) {
  const std::function<long(long)> inner = step_46;
  return inner(n) + (g_sum += 1);
}
STEP(step_44, step_45)
STEP(step_43, step_44)
STEP(step_42, step_43)
STEP(step_41, step_42)
STEP(step_40, step_41)
STEP(step_39, step_40)
STEP(step_38, step_39)
STEP(step_37, step_38)
STEP(step_36, step_37)
STEP(step_35, step_36)
STEP(step_34, step_35)
STEP(step_33, step_34)
FN int step_32(const void* a, const void* b) {
  const long order = *static_cast<const char*>(a) - *static_cast<const char*>(b);
  return static_cast<int>(order + step_33(1) * 0);
}
FN long step_31(long n) {
  char two[2] = {2, 1};
  qsort(two, 2, 1, step_32);
  return n + two[0];
}
FN long step_20(long n) { return step_21(step_31, n) + (g_sum += 1); }
STEP(step_19, step_20)
STEP(step_18, step_19)
STEP(step_17, step_18)
STEP(step_16, step_17)
STEP(step_15, step_16)
STEP(step_14, step_15)
STEP(step_13, step_14)
STEP(step_12, step_13)
STEP(step_11, step_12)
STEP(step_10, step_11)
STEP(step_9, step_10)
STEP(step_8, step_9)
STEP(step_7, step_8)
STEP(step_6, step_7)
STEP(step_5, step_6)
STEP(step_4, step_5)
STEP(step_3, step_4)
STEP(step_2, step_3)
STEP(step_1, step_2)

int main(int argc, char** argv) {
  begin_sampling(argc, argv);
  g_sum = step_1(argc);
  print_samples();
  return 0;
}
