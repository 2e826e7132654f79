// Usage: heap_threads PROFILE. At rate 1, four threads allocate 80,000 objects each and free what their
// neighbour allocated while the others go on: the filter of free() grows under all of them. Writes the
// heap profile when all is freed and prints the number of sampled objects that still look live.
#include "heap_work.hpp"

#include <atomic>
#include <thread>

namespace {
constexpr std::size_t objects = 80000;
constexpr std::size_t threads = 4;
constexpr std::size_t rounds = 3;

SITE void shared_site(std::atomic<void*>* to, std::size_t i) {
  to[i].store(std::malloc(16 + i % 7 * 16), std::memory_order_release);
  STAY_ON_STACK();
}

void free_at(std::atomic<void*>* from, std::size_t i) {
  void* object = nullptr;
  while ((object = from[i].exchange(nullptr)) == nullptr) std::this_thread::yield();
  std::free(object);
}

// Fills its own row and empties the neighbour's, half a row behind.
void work(std::atomic<void*>* own, std::atomic<void*>* neighbour) {
  for (std::size_t round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < objects; ++i) {
      while (own[i].load(std::memory_order_acquire) != nullptr) std::this_thread::yield();
      shared_site(own, i);
      if (i >= objects / 2) free_at(neighbour, i - objects / 2);
    }
    for (std::size_t i = objects / 2; i < objects; ++i) free_at(neighbour, i);
  }
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  prof::set_mem_profile_rate(1);
  const std::size_t before = prof::status().number("heap sampled live objects");
  auto* const rows = pages_for<std::atomic<void*>>(threads * objects);
  std::thread workers[threads];
  for (std::size_t i = 0; i < threads; ++i) {
    workers[i] = std::thread(work, rows + i * objects, rows + (i + 1) % threads * objects);
  }
  for (std::thread& worker : workers) worker.join();
  need(prof::write_heap_profile(argv[1]), "heap");
  std::printf("%zd\n", static_cast<ssize_t>(prof::status().number("heap sampled live objects") - before));
}
