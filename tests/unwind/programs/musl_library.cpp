// The frames of musl_samples.cpp that lie in a shared library, where the program has one.
#include "musl_samples.hpp"

static volatile long g_sum;

#define STEP(here, next) \
  FN long here(work_fn* work, long n) { return next(work, n + 1) + (g_sum = g_sum + 1); }

FN long lib_4(work_fn* work, long n) { return work(n) + (g_sum = g_sum + 1); }
STEP(lib_3, lib_4)
STEP(lib_2, lib_3)
STEP(lib_1, lib_2)
