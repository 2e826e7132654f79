// tests/unit/collect/locks_test.cpp - prof's own locks exclude as the standard's do, sleep while they wait, and call the
// table only where others wait.

#include "prof/collect/locks.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <type_traits>
#include <vector>

#include "prof/api.hpp"
#include "../waits.hpp"

namespace {

using namespace waits_test;

template <class Run>
void in_threads(int count, Run run) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(run);
  for (std::thread& thread : threads) thread.join();
}

bool can_lock(prof::shared_mutex& lock) {
  bool got = false;
  std::thread([&] {
    got = lock.try_lock();
    if (got) lock.unlock();
  }).join();
  return got;
}
bool can_share(prof::shared_mutex& lock) {
  bool got = false;
  std::thread([&] {
    got = lock.try_lock_shared();
    if (got) lock.unlock_shared();
  }).join();
  return got;
}

}  // namespace

TEST_CASE("prof::mutex is a word that is constant-initialised, and no copy can be made of it") {
  static_assert(sizeof(prof::mutex) == 8 && sizeof(prof::shared_mutex) == 8, "");
  static_assert(std::is_nothrow_default_constructible<prof::mutex>::value, "");
  static_assert(!std::is_copy_constructible<prof::mutex>::value && !std::is_copy_assignable<prof::mutex>::value, "");
  static_assert(std::is_trivially_destructible<prof::mutex>::value, "");
  constexpr prof::mutex one{};
  (void)one;
}

TEST_CASE("prof::mutex excludes, and lets every thread have its turn") {
  prof::mutex mutex;
  int plain = 0;
  for (const bool on : {false, true}) {
    const rates now(on ? 1 : 0, on ? 1 : 0);
    in_threads(4, [&] {
      for (int i = 0; i < 20000; ++i) {
        const std::lock_guard<prof::mutex> guard(mutex);
        plain = plain + 1;
      }
    });
  }
  CHECK(plain == 160000);
  CHECK(mutex.try_lock());
  CHECK_FALSE(mutex.try_lock());
  mutex.unlock();
  CHECK(mutex.try_lock());
  mutex.unlock();
}

TEST_CASE("prof::shared_mutex has one writer or any number of readers") {
  prof::shared_mutex mutex;
  mutex.lock();
  CHECK_FALSE(can_lock(mutex));
  CHECK_FALSE(can_share(mutex));
  mutex.unlock();
  mutex.lock_shared();
  mutex.lock_shared();
  CHECK(can_share(mutex));
  CHECK_FALSE(can_lock(mutex));
  mutex.unlock_shared();
  CHECK_FALSE(can_lock(mutex));
  mutex.unlock_shared();
  CHECK(can_lock(mutex));
}

TEST_CASE("prof::shared_mutex keeps what it guards together") {
  prof::shared_mutex mutex;
  std::uint64_t first = 0, second = 0;
  std::atomic<int> torn{0};
  for (const bool on : {false, true}) {
    const rates now(on ? 1 : 0, on ? 1 : 0);
    std::atomic<int> next{0};
    in_threads(4, [&] {
      const bool writes = next.fetch_add(1) % 2 == 0;
      for (int i = 0; i < 10000; ++i) {
        if (writes) {
          const std::unique_lock<prof::shared_mutex> guard(mutex);
          second = ++first;
        } else {
          const std::shared_lock<prof::shared_mutex> guard(mutex);
          if (first != second) torn.fetch_add(1);
        }
      }
    });
  }
  CHECK(first == 40000);
  CHECK(second == 40000);
  CHECK(torn.load() == 0);
}

#if PROF_DETAIL_OS_LINUX

TEST_CASE("who waits for prof::mutex is seen while it does, and what it waited is charged to who held it") {
  const rates on(1, 1);
  const counted since(wait_kind::mutex);
  prof::mutex mutex;
  mutex.lock();
  worker waiter([&] {
    mutex.lock();
    mutex.unlock();
  });
  const wait_facts facts = wait_of(waiter.id());
  CHECK(facts.kind == wait_kind::mutex);
  CHECK(facts.object == reinterpret_cast<std::uintptr_t>(&mutex));
  CHECK(facts.lock != 0);
  CHECK(facts.stack != overflow_stack);
  os_sleep_ns(20 * ms);
  CHECK(os_thread_state(waiter.id()) == 'S');
  mutex.unlock();
  waiter.join();
  CHECK(since.blocked().count == one_wait);
  CHECK(since.blocked().ns >= 20 * ms);
  CHECK(since.holders().count == 1);
  CHECK(since.holders().ns >= 19 * ms);
  CHECK(since.holders().ns <= since.blocked().ns);
  CHECK(since.waiters().ns == since.holders().ns);
  CHECK(wait_now(waiter.id()).thread == 0);
}

TEST_CASE("a prof::mutex that others overtake is charged for each hold") {
  const rates on(1, 1);
  const counted since(wait_kind::mutex);
  prof::mutex mutex;
  mutex.lock();
  std::atomic<bool> got{false};
  worker waiter([&] {
    mutex.lock();
    got.store(true);
    mutex.unlock();
  });
  (void)wait_of(waiter.id());
  std::uint64_t holds = 1;
  os_sleep_ns(5 * ms);
  mutex.unlock();
  while (mutex.try_lock()) {  // until the waiter is quicker
    const bool overtakes = !got.load() && holds < 4;
    holds += overtakes;
    if (overtakes) os_sleep_ns(5 * ms);
    mutex.unlock();
    if (!overtakes) break;
  }
  waiter.join();
  CHECK(since.holders().count >= holds);
  CHECK(since.holders().ns >= holds * 5 * ms - ms);
  CHECK(since.waiters().ns == since.holders().ns);
}

TEST_CASE("readers of prof::shared_mutex share what a writer waits, and a writer pays for readers") {
  const rates on(1, 1);
  prof::shared_mutex mutex;
  mutex.lock_shared();
  mutex.lock_shared();
  const counted of_readers(wait_kind::wrlock);
  worker writer([&] {
    mutex.lock();
    mutex.unlock();
  });
  (void)wait_of(writer.id());
  os_sleep_ns(20 * ms);
  mutex.unlock_shared();
  CHECK(of_readers.holders().ns >= 10 * ms - ms);
  const std::uint64_t first = of_readers.holders().ns;
  os_sleep_ns(20 * ms);
  mutex.unlock_shared();
  writer.join();
  CHECK(of_readers.blocked().count == one_wait);
  CHECK(of_readers.holders().ns >= 40 * ms - ms);
  CHECK(of_readers.holders().ns <= of_readers.blocked().ns);
  CHECK(first < of_readers.holders().ns);

  const counted of_writer(wait_kind::rdlock);
  mutex.lock();
  worker reader([&] {
    mutex.lock_shared();
    mutex.unlock_shared();
  });
  (void)wait_of(reader.id());
  os_sleep_ns(10 * ms);
  mutex.unlock();
  reader.join();
  CHECK(of_writer.blocked().count == one_wait);
  CHECK(of_writer.holders().ns >= 10 * ms - ms);
}

TEST_CASE("a writer's unlock wakes all readers, the last reader's a writer") {
  const rates on(0, 1);
  prof::shared_mutex mutex;
  mutex.lock();
  std::atomic<int> inside{0};
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      mutex.lock_shared();
      inside.fetch_add(1);
      CHECK(becomes([&] { return inside.load() == 3; }));  // none of them waits for another to leave
      mutex.unlock_shared();
    });
  }
  os_sleep_ns(5 * ms);
  mutex.unlock();
  for (std::thread& reader : readers) reader.join();
}

TEST_CASE("locks that nobody waits for, and those of a program that profiles nothing, leave no trace") {
  const counted since(wait_kind::mutex);
  prof::mutex mutex;
  {
    const rates on(1, 1);
    for (int i = 0; i < 100; ++i) {
      mutex.lock();
      mutex.unlock();
    }
  }
  {
    const rates off(0, 0);
    mutex.lock();
    worker waiter([&] {
      mutex.lock();
      mutex.unlock();
    });
    os_sleep_ns(5 * ms);
    mutex.unlock();
  }
  CHECK(since.blocked().count == 0);
  CHECK(since.holders().count == 0);
}

TEST_CASE("reported contention is charged to the caller, by the fraction") {
  const counted since(wait_kind::mutex);
  {
    const rates off(0, 0);
    prof::record_contention(1000);
  }
  CHECK(since.holders().count == 0);
  {
    const rates on(1, 0);
    prof::record_contention(1000);
    prof::record_contention(500);
  }
  CHECK(since.holders().count == 2);
  CHECK(since.holders().ns == 1500);
  const rates sampled(10, 0);
  const counted later(wait_kind::mutex);
  for (int i = 0; i < 20000; ++i) prof::record_contention(100);
  CHECK(later.holders().count % 10 == 0);
  CHECK(later.holders().ns == later.holders().count * 100);
  CHECK(later.holders().count > 20000 * 9 / 10);  // 20,000 +- 425
  CHECK(later.holders().count < 20000 * 11 / 10);
}

namespace {
struct half_ghz {
  static double Frequency() { return 0.5e9; }
};
}  // namespace

TEST_CASE("Abseil's cycles become nanoseconds") {
  const rates on(1, 0);
  const counted since(wait_kind::mutex);
  prof::absl_mutex_profiler<half_ghz>(1000);
  prof::absl_mutex_profiler<half_ghz>(-5);
  prof::absl_mutex_profiler<half_ghz>(0);
  CHECK(since.holders().count == 1);
  CHECK(since.holders().ns == 2000);
}

#endif
