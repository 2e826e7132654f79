// tests/unit/hook/cond_entries_test.cpp - who waits at a condition variable is seen, and waits for the mutex from its waking on.

#include "prof/hook/cond_entries.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "prof/api.hpp"
#include "some_locks.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <sys/wait.h>

using namespace some_locks_test;

// ---- condition variables -------------------------------------------------------------------------------------------


TEST_CASE("who waits at a condition variable is seen, and waits for the mutex from the signal on") {
  const rates on(1, 1);
  for (const cond_call& one : cond_calls) {
    for (const bool all : {false, true}) {
      CAPTURE(std::string(one.name));
      CAPTURE(all);
      const records before;
      const counted since(wait_kind::cond);
      const counted of_mutexes(wait_kind::mutex);
      some_cond c;
      int answer = -1;
      int kept_errno = 0;
      pthread_mutex_lock(&c.mutex);
      worker waiting([&] {
        errno = 77;
        answer = c.wait_until_told(one.call, long_enough);
        kept_errno = errno;
      });
      REQUIRE(becomes([&] { return wait_now(waiting.id()).thread != 0; }));  // for the mutex
      pthread_mutex_unlock(&c.mutex);
      REQUIRE(becomes([&] { return is_at_cond(waiting.id()); }));
      pthread_mutex_lock(&c.mutex);  // when the other has let it go
      const counted told(wait_kind::cond);
      const wait_facts facts = wait_now(waiting.id());
      CHECK(facts.thread == waiting.id());
      CHECK(facts.object == address_of(&c.cond));
      CHECK(facts.mutex == address_of(&c.mutex));
      CHECK(facts.rate_ns == 1);
      CHECK(mutexes().conds.used() == before.conds + 1);
      os_sleep_ns(5 * ms);
      const std::uint64_t before_signal = now();
      c.tell(all);
      const std::uint64_t signalled = now();
      os_sleep_ns(10 * ms);
      CHECK(is_at_cond(waiting.id()));
      const std::uint64_t let_go = now();
      pthread_mutex_unlock(&c.mutex);
      waiting.join();
      const std::uint64_t end = now();
      CHECK(answer == 0);
      CHECK(kept_errno == 77);
      CHECK(since.blocked().count == one_wait);
      check_between(since.blocked().ns, let_go - facts.began_ns, end - facts.began_ns);
      CHECK(of_mutexes.blocked().count <= 2 * one_wait);
      CHECK(told.holders().count == 1);
      check_between(told.holders().ns, let_go - signalled, end - before_signal);
      CHECK(told.waiters().count == 1);
      CHECK(told.waiters().ns == told.holders().ns);
      CHECK(wait_now(waiting.id()).thread == 0);
      CHECK(records() == before);
    }
  }
}

TEST_CASE("all that a broadcast wakes wait for the mutex, each for its turn") {
  const rates on(1, 1);
  const records before;
  some_cond c;
  const auto wait = [&c] { CHECK(c.wait_until_told(cond_calls[0].call, 0) == 0); };
  worker first(wait);
  worker second(wait);
  REQUIRE(waits_at_cond(first.id(), c));
  REQUIRE(waits_at_cond(second.id(), c));
  pthread_mutex_lock(&c.mutex);
  const counted since(wait_kind::cond);
  const std::uint64_t before_broadcast = now();
  c.tell(true);
  const std::uint64_t told = now();
  os_sleep_ns(10 * ms);
  const std::uint64_t let_go = now();
  pthread_mutex_unlock(&c.mutex);
  first.join();
  second.join();
  const std::uint64_t end = now();
  CHECK(since.blocked().count == 2 * one_wait);
  check_between(since.holders().ns, 2 * (let_go - told), 2 * (end - before_broadcast));
  CHECK(since.waiters().count == 2);
  check_between(since.waiters().ns, 2 * (let_go - told), 2 * (end - before_broadcast));
  CHECK(records() == before);
}

TEST_CASE("of two that wait at a condition variable a signal wakes one, the other waits on") {
  const rates on(1, 1);
  const records before;
  some_cond c;
  std::atomic<int> awake{0};
  const auto wait = [&] {
    CHECK(c.wait_until_told(cond_calls[0].call, 0) == 0);
    ++awake;
  };
  worker first(wait);
  worker second(wait);
  REQUIRE(waits_at_cond(first.id(), c));
  REQUIRE(waits_at_cond(second.id(), c));
  const counted since(wait_kind::cond);
  pthread_mutex_lock(&c.mutex);
  c.tell(false);
  os_sleep_ns(5 * ms);
  pthread_mutex_unlock(&c.mutex);
  CHECK(becomes([&awake] { return awake.load() != 0; }));
  if (awake.load() == 1) {  // glibc may wake more
    const bool first_waits = wait_now(first.id()).thread != 0;
    const bool second_waits = wait_now(second.id()).thread != 0;
    CHECK((first_waits || second_waits || awake.load() == 2));
    CHECK(mutexes().conds.used() == before.conds + 1);
  }
  pthread_mutex_lock(&c.mutex);
  c.tell(false);
  pthread_mutex_unlock(&c.mutex);
  first.join();
  second.join();
  CHECK(since.blocked().count == 2 * one_wait);
  CHECK(records() == before);
}

TEST_CASE("who is woken while nobody holds the mutex makes nobody pay") {
  const rates on(1, 1);
  for (const bool all : {false, true}) {
    const records before;
    some_cond c;
    worker waiting([&c] { CHECK(c.wait_until_told(cond_calls[0].call, 0) == 0); });
    REQUIRE(waits_at_cond(waiting.id(), c));
    const counted since(wait_kind::cond);
    pthread_mutex_lock(&c.mutex);
    c.is_told = true;
    pthread_mutex_unlock(&c.mutex);
    CHECK((all ? pthread_cond_broadcast(&c.cond) : pthread_cond_signal(&c.cond)) == 0);
    waiting.join();
    CHECK(since.blocked().count == one_wait);
    CHECK(since.holders().ns == 0);
    CHECK(since.waiters().ns == 0);
    CHECK(records() == before);
  }
}

TEST_CASE("the clock of a mutex whose waiter is woken runs if somebody holds it") {
  const rates on(1, 1);
  for (const bool all_of_them : {false, true}) {
    for (const bool is_held : {false, true}) {
      CAPTURE(all_of_them);
      CAPTURE(is_held);
      const records before;
      some_cond c;
      const cond_wait waits = begin_cond_wait_sig(mutexes(), address_of(&c.cond), address_of(&c.mutex));
      __atomic_store_n(&c.cond.__data.__wrefs, 8u, __ATOMIC_RELAXED);  // as libc counts it
      if (is_held) pthread_mutex_lock(&c.mutex);
      CHECK((all_of_them ? pthread_cond_broadcast(&c.cond) : pthread_cond_signal(&c.cond)) == 0);
      __atomic_store_n(&c.cond.__data.__wrefs, 0u, __ATOMIC_RELAXED);
      const std::size_t index = mutexes().locks.find_sig(address_of(&c.mutex));
      REQUIRE(index != no_slot);
      CHECK((mutexes().locks.at(index).free_ns.load() == 0) == is_held);
      if (is_held) pthread_mutex_unlock(&c.mutex);
      const lock_wait woken = end_cond_wait_sig(mutexes(), waits, false);
      REQUIRE(woken.index != no_slot);
      const delay charge = end_lock_wait_sig(mutexes(), woken, now());
      CHECK((charge.ns != 0) == is_held);
      CHECK(records() == before);
    }
  }
}

TEST_CASE("a wait at a condition variable that ends at its time is counted and charged to nobody") {
  const rates on(1, 1);
  for (const cond_call& one : cond_calls) {
    if (!one.has_time) continue;
    CAPTURE(std::string(one.name));
    const records before;
    const counted since(wait_kind::cond);
    some_cond c;
    const std::uint64_t began = now();
    errno = 77;
    const int answer = c.wait_until_told(one.call, 15 * ms);
    const int kept_errno = errno;
    CHECK(answer == ETIMEDOUT);
    CHECK(kept_errno == 77);
    CHECK(since.blocked().count == one_wait);
    check_between(since.blocked().ns, 5 * ms, now() - began);
    CHECK(since.holders().count == 0);
    CHECK(since.waiters().count == 0);
    CHECK(wait_now(os_thread_id_sig()).thread == 0);
    CHECK(records() == before);
  }
}

TEST_CASE("a wait at a condition variable lets its mutex go, and pays for who waited for that") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  some_cond c;
  pthread_mutex_lock(&c.mutex);
  worker waiting([&c] {
    pthread_mutex_lock(&c.mutex);
    c.tell(false);
    pthread_mutex_unlock(&c.mutex);
  });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.object == address_of(&c.mutex));
  os_sleep_ns(10 * ms);
  const std::uint64_t let_go = now();
  while (!c.is_told) CHECK(pthread_cond_wait(&c.cond, &c.mutex) == 0);
  const std::uint64_t end = now();
  pthread_mutex_unlock(&c.mutex);
  waiting.join();
  CHECK(since.blocked().count == one_wait);
  CHECK(since.holders().count >= 1);
  // The waiter's own wait for the mutex, and this thread's from the signal to the other's unlock.
  check_between(since.holders().ns, let_go - facts.began_ns, 2 * (end - facts.began_ns));
  CHECK(records() == before);
}

TEST_CASE("a signal looks at no mutex that a waiter has taken away") {
  const rates on(1, 1);
  auto* const pages = static_cast<char*>(os_map_sig(8192));
  auto& shared = *reinterpret_cast<os_cond*>(pages + 4096);  // zeros: as initialised
  // As a waiter of another mutex that is gone, which has not come back to its hook.
  const cond_wait left = begin_cond_wait_sig(mutexes(), address_of(&shared), reinterpret_cast<std::uintptr_t>(pages));
  os_unmap_sig(pages, 4096);
  __atomic_store_n(&shared.__data.__wrefs, 8u, __ATOMIC_RELAXED);  // libc has one
  cond_signal_entry::counting(&shared);
  const lock_wait woken = end_cond_wait_sig(mutexes(), left, false);
  CHECK(woken.index != no_slot);
  if (woken.index != no_slot) (void)end_lock_wait_sig(mutexes(), woken, now());
  os_unmap_sig(pages + 4096, 4096);
}

TEST_CASE("signals and broadcasts that nobody waits for do nothing") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::cond);
  some_cond c;
  CHECK(pthread_cond_signal(&c.cond) == 0);
  CHECK(pthread_cond_broadcast(&c.cond) == 0);
  CHECK(since.holders().count == 0);
  CHECK(records() == before);
}

TEST_CASE("a condition variable refuses a mutex that the caller does not hold, and nothing is charged") {
  const rates on(1, 1);
  const records before;
  typed_mutex e(PTHREAD_MUTEX_ERRORCHECK);
  REQUIRE(pthread_mutex_lock(&e.mutex) == 0);
  const standing_waiter contends(&e.mutex);
  const counted since(wait_kind::cond);
  int answer = -1;
  std::uint32_t id = 0;
  worker waiting([&] {
    os_cond cond = PTHREAD_COND_INITIALIZER;
    answer = pthread_cond_wait(&cond, &e.mutex);
    id = os_thread_id_sig();
  });
  waiting.join();
  CHECK(answer == EPERM);
  CHECK(since.holders().count == 0);
  CHECK(since.holders().ns == 0);
  CHECK(wait_now(id).thread == 0);
  CHECK(mutexes().conds.used() == before.conds);
  CHECK(contends.clock_runs());
  CHECK(pthread_mutex_unlock(&e.mutex) == 0);
}

TEST_CASE("a thread that is refused by a condition variable does not hold the mutex that is free") {
  const rates on(1, 1);
  typed_mutex e(PTHREAD_MUTEX_ERRORCHECK);
  const standing_waiter contends(&e.mutex, false);
  os_cond cond = PTHREAD_COND_INITIALIZER;
  CHECK(pthread_cond_wait(&cond, &e.mutex) == EPERM);
  CHECK_FALSE(contends.clock_runs());
}

#endif
