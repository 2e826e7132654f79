// A library whose work is in functions that nobody outside can name, each with several calls of malloc: of 100 blocks 40, 30, 20
// and 10, the last of them in the part of a function that compilers split off because it is unlikely.
#include <cstdlib>

extern "C" void hot_work(unsigned long calls);

namespace {

volatile unsigned long sink;

// Keeps a block, and takes as long for each.
#define WORK()                                                \
  do {                                                        \
    void* volatile block = std::malloc(64);                   \
    sink = sink + (block != nullptr);                         \
    for (unsigned long n = 0; n < 5000; ++n) sink = sink * 31 + n; \
  } while (false)

#define OUT_OF_LINE __attribute__((noinline, noclone))
OUT_OF_LINE void forty() {
  WORK();
  WORK();
  WORK();
  WORK();
}
OUT_OF_LINE void thirty() {
  WORK();
  WORK();
  WORK();
}
OUT_OF_LINE void twenty() {
  WORK();
  WORK();
}
__attribute__((noinline, cold)) void rarely() { sink = sink + 1; }
OUT_OF_LINE void ten(bool is_rare) {
  if (is_rare) {
    rarely();
    WORK();
  }
  sink = sink + 4;
}

}  // namespace

void hot_work(unsigned long calls) {
  for (unsigned long i = 0; i < calls; ++i) {
    forty();
    thirty();
    twenty();
    ten(i + 1 != 0);
    __asm__ volatile("");
  }
}
