// Four threads throw through 1 to 20 frames, some of which catch and throw again.
#include <atomic>
#include <cstdio>
#include <stdexcept>
#include <string>

#include "storm.hpp"

static std::atomic<unsigned long> g_caught;
static thread_local volatile unsigned g_seen;

// A frame that has something to destroy on the way.
struct guarded {
  ~guarded() { g_seen = g_seen + 1; }
};

FN void throws_down(unsigned depth) {
  const guarded here;
  if (depth == 0)
    throw std::runtime_error("thrown at the bottom of the storm, too long for the string");
  throws_down(depth - 1);
  STAY_ON_STACK();
}
// Every second frame of those catches and throws on.
FN void rethrows_down(unsigned depth) {
  const guarded here;
  if (depth < 2) return throws_down(depth);
  try {
    throws_down(0);
  } catch (const std::exception&) {
    try {
      rethrows_down(depth - 2);
    } catch (...) {
      g_seen = g_seen + 1;
      throw;
    }
  }
  STAY_ON_STACK();
}
FN void catches(void (*thrower)(unsigned), unsigned depth) {
  try {
    thrower(depth);
  } catch (const std::runtime_error& error) {
    g_seen = g_seen + static_cast<unsigned>(std::string(error.what()).size());
    g_caught.fetch_add(1, std::memory_order_relaxed);
  }
  STAY_ON_STACK();
}
FN void* throwing_thread(void*) {
  for (unsigned n = 0; storm_goes_on(); ++n)
    catches(n % 2 == 0 ? throws_down : rethrows_down, n % 20);
  return nullptr;
}

const thread_function storm_threads[] = {throwing_thread, throwing_thread, throwing_thread,
                                         throwing_thread};
const unsigned storm_thread_count = 4;

void storm_begin(char**) {}
void storm_end() {
  std::printf("rounds %lu\n", g_caught.load());
}
