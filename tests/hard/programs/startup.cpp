// Samples before and after main: constructors, destructors, atexit.
#include <cstdlib>

#include "sampler.hpp"

static volatile long g_sink;
FN void leaf() {
  TAKE_SAMPLE();
  g_sink = g_sink + 1;
}
FN __attribute__((constructor)) void constructor() {
  begin_sampling(0, nullptr);
  leaf();
  g_sink = g_sink + 1;
}
FN __attribute__((destructor)) void destructor() {
  leaf();
  print_samples();
}
FN void at_exit() {
  leaf();
  g_sink = g_sink + 1;
}

int main() {
  std::atexit(at_exit);
  leaf();
  g_sink = g_sink + 1;
  return 0;
}
