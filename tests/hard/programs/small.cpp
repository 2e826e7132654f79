// Three frames and a thread's, for targets that cannot step: musl, aarch64.
#include <pthread.h>

#include <cstdlib>

#include "sampler.hpp"

static volatile long g_sink;

// No frame, and nothing stored: its return address is in a register on aarch64.
FN long leaf(long x) {
  TAKE_SAMPLE();
  return x + g_sink;
}
FN long middle(long x) { return leaf(x + g_sink) + leaf(x); }
FN int compare(const void* a, const void* b) {
  static bool sampled;
  if (!sampled) g_sink = leaf(*static_cast<const char*>(b)) + 1;
  sampled = true;
  return *static_cast<const char*>(a) - *static_cast<const char*>(b);
}
FN void sorts() {
  char three[3] = {3, 2, 1};
  qsort(three, 3, 1, compare);
  g_sink = three[0];
}
FN void* thread_main(void*) {
  g_sink = middle(2) + 1;
  return nullptr;
}

int main(int argc, char** argv) {
  begin_sampling(argc, argv);
  g_sink = middle(1) + 1;
  sorts();
  pthread_t thread;
  pthread_create(&thread, nullptr, thread_main, nullptr);
  pthread_join(thread, nullptr);
  print_samples();
  return 0;
}
