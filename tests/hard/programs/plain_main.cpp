#include "sampler.hpp"

extern "C" volatile long g_sink;
volatile long g_sink;
extern "C" long plain_entry(long x, long (*inside)(long));

FN long inside(long x) {
  TAKE_SAMPLE();
  return x + g_sink;
}
FN void calls_plain() { g_sink = plain_entry(1, inside) + 1; }

int main(int argc, char** argv) {
  begin_sampling(argc, argv);
  calls_plain();
  print_samples();
  return 0;
}
