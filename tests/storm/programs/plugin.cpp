// A plugin, several times from this source: WHO is the letter in its functions' names, so that two
// of them have the same layout. ROOM makes one larger, so that others come to lie elsewhere.
#include <cstdlib>

#include "storm.hpp"

#define JOIN(a, b, c) a##b##c
#define NAMED(who, what) JOIN(plugin_, who, what)

#if defined(ROOM)
extern "C" __attribute__((visibility("default"))) char NAMED(WHO, _room)[ROOM];
char NAMED(WHO, _room)[ROOM] = {1};
extern "C" __attribute__((visibility("default"), used)) void NAMED(WHO, _padding)(void);
void NAMED(WHO, _padding)() {
  __asm__ volatile(".skip 20000, 0x90");
}
#endif

static volatile unsigned long g_sink;

// Some milliseconds, and an object that outlives the plugin.
FN void* NAMED(WHO, _leaf)(unsigned rounds) {
  unsigned long x = g_sink;
  for (unsigned k = 0; k < rounds; ++k) {
    for (int i = 0; i < 40000; ++i) x = x * 6364136223846793005u + 1442695040888963407u;
    void* volatile block = std::malloc(64 + x % 512);
    std::free(block);
  }
  g_sink = x;
  void* const kept = std::malloc(1000);
  STAY_ON_STACK();
  return kept;
}
FN void* NAMED(WHO, _middle)(unsigned rounds) {
#if defined(ROOM)
  volatile char room[720];  // another frame size than the others' at the same place
  room[300] = 1;
  if (room[300] == 0) ++rounds;
#endif
  void* const kept = NAMED(WHO, _leaf)(rounds);
  STAY_ON_STACK();
  return kept;
}
FN void* NAMED(WHO, _entry)(unsigned rounds) {
  void* const kept = NAMED(WHO, _middle)(rounds);
  STAY_ON_STACK();
  return kept;
}
