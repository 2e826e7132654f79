// tests/unit/os/word_wait_test.cpp - who waits for a word's lower half to change sleeps until it is woken.

#include "prof/os/word_wait.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <thread>

#include "prof/os/os.hpp"

#if PROF_DETAIL_OS_LINUX

using namespace prof::detail;

TEST_CASE("a wait for a word that has changed already, in its lower half, ends at once") {
  const std::atomic<std::uint64_t> word{std::uint64_t{7} << 32 | 1};
  const std::uint64_t cpu = os_thread_cpu_ns_sig();
  os_wait_word_sig(word, 2);
  CHECK(os_thread_cpu_ns_sig() - cpu < 1000000000);
}

TEST_CASE("who waits for a word sleeps, whatever its upper half does, and goes on when it is woken") {
  std::atomic<std::uint64_t> word{1};
  std::atomic<std::uint32_t> waiting{0};
  std::uint64_t used = 0;
  std::thread waiter([&] {
    waiting.store(os_thread_id_sig());
    const std::uint64_t before = os_thread_cpu_ns_sig();
    while (static_cast<std::uint32_t>(word.load()) == 1) os_wait_word_sig(word, 1);
    used = os_thread_cpu_ns_sig() - before;
  });
  while (waiting.load() == 0 || os_thread_state(waiting.load()) != 'S') os_yield();
  word.fetch_add(std::uint64_t{1} << 32);
  os_sleep_ns(50000000);
  CHECK(os_thread_state(waiting.load()) == 'S');
  word.fetch_add(1);
  os_wake_word_sig(word, 1);
  waiter.join();
  CHECK(used < 25000000);  // it slept for 50 ms
}

TEST_CASE("waking where nobody waits, or where no memory is any more, does nothing") {
  const std::atomic<std::uint64_t> word{0};
  os_wake_word_sig(word, 1);
  void* const page = os_map_sig(4096);
  os_unmap_sig(page, 4096);
  os_wake_word_sig(*static_cast<const std::atomic<std::uint64_t>*>(page), 1);
}

#endif
