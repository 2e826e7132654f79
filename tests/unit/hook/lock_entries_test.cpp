// tests/unit/hook/lock_entries_test.cpp - who waits for a lock is seen while it does, and counted once; who lets go is charged what others
// waited; where no next definition is known calls answer as libc's.

#include "prof/hook/lock_entries.hpp"

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

// ---- waits for locks -----------------------------------------------------------------------------------------------

TEST_CASE("who waits for a lock is seen while it does, counted once, and charged to who let it wait") {
  const rates on(1, 1);
  for (const locking_call& one : locking_calls) {
    CAPTURE(std::string(one.name));
    const records before;
    const counted since(one.kind);
    some_locks l;
    l.hold(one.kind);
    int answer = -1;
    int kept_errno = 0;
    worker waiting([&] {
      errno = 77;
      answer = one.call(l, long_enough);
      kept_errno = errno;
      l.let_go(one.kind);
    });
    const wait_facts facts = wait_of(waiting.id());
    CHECK(facts.thread == waiting.id());
    CHECK(facts.kind == one.kind);
    CHECK(facts.object == address_of(l.object(one.kind)));
    CHECK(facts.rate_ns == 1);
    CHECK(facts.lock != 0);
    CHECK(facts.stack != overflow_stack);
    CHECK(mutexes().locks.used() == before.locks + 1);
    CHECK(since.blocked().count == 0);
    os_sleep_ns(10 * ms);
    const std::uint64_t let_go = now();
    CHECK(l.let_go(one.kind) == 0);
    waiting.join();
    const std::uint64_t end = now();
    CHECK(answer == 0);
    CHECK(kept_errno == 77);
    CHECK(since.blocked().count == one_wait);
    check_between(since.blocked().ns, let_go - facts.began_ns, end - facts.began_ns);
    CHECK(since.holders().count == 1);
    check_between(since.holders().ns, let_go - facts.began_ns, end - facts.began_ns);
    CHECK(since.waiters().count == 1);
    CHECK(since.waiters().ns == since.holders().ns);
    CHECK(wait_now(waiting.id()).thread == 0);
    CHECK(records() == before);
  }
}

TEST_CASE("a wait that ends at its time is counted, and its holder pays at the unlock") {
  const rates on(1, 1);
  for (const locking_call& one : locking_calls) {
    if (!one.has_time) continue;
    CAPTURE(std::string(one.name));
    const records before;
    const counted since(one.kind);
    some_locks l;
    l.hold(one.kind);
    int answer = -1;
    int kept_errno = 0;
    const std::uint64_t began = now();
    worker waiting([&] {
      errno = 77;
      answer = one.call(l, 15 * ms);
      kept_errno = errno;
    });
    waiting.join();
    const std::uint64_t end = now();
    CHECK(answer == ETIMEDOUT);
    CHECK(kept_errno == 77);
    CHECK(since.blocked().count == one_wait);
    check_between(since.blocked().ns, 5 * ms, end - began);
    CHECK(wait_now(waiting.id()).thread == 0);
    check_between(since.waiters().ns, 5 * ms, end - began);
    CHECK(since.holders().count == 0);
    CHECK(since.holders().ns == 0);
    os_sleep_ns(5 * ms);
    CHECK(l.let_go(one.kind) == 0);
    CHECK(since.holders().count == 1);
    CHECK(since.holders().ns == since.waiters().ns);
    CHECK(records() == before);
  }
}

TEST_CASE("each profile sees its own: waits without charges, charges without waits") {
  for (const bool is_mutex : {false, true}) {
    CAPTURE(is_mutex);
    const rates on(is_mutex ? 1 : 0, is_mutex ? 0 : 1);
    const records before;
    const counted since(wait_kind::mutex);
    some_locks l;
    l.hold(wait_kind::mutex);
    worker waiting([&l] {
      pthread_mutex_lock(&l.mutex);
      pthread_mutex_unlock(&l.mutex);
    });
    const wait_facts facts = wait_of(waiting.id());
    CHECK(facts.kind == wait_kind::mutex);
    CHECK((facts.rate_ns != 0) == !is_mutex);
    CHECK((facts.lock != 0) == is_mutex);
    pthread_mutex_unlock(&l.mutex);
    waiting.join();
    CHECK(since.blocked().count == (is_mutex ? 0 : one_wait));
    CHECK(since.holders().count == (is_mutex ? 1 : 0));
    CHECK(since.waiters().count == (is_mutex ? 1 : 0));
    CHECK(wait_now(waiting.id()).thread == 0);
    CHECK(records() == before);
  }
}

TEST_CASE("what nobody waits for leaves no record and no count") {
  const rates on(1, 1);
  const records before;
  const counted mutex(wait_kind::mutex);
  const counted rdlock(wait_kind::rdlock);
  const counted wrlock(wait_kind::wrlock);
  some_locks l;
  for (const locking_call& one : locking_calls) {
    CAPTURE(std::string(one.name));
    CHECK(one.call(l, long_enough) == 0);
    CHECK(wait_now(os_thread_id_sig()).thread == 0);
    CHECK(l.let_go(one.kind) == 0);
  }
  for (const counted* one : {&mutex, &rdlock, &wrlock}) {
    CHECK(one->blocked().count == 0);
    CHECK(one->holders().count == 0);
    CHECK(one->waiters().count == 0);
  }
  CHECK(records() == before);
}

TEST_CASE("a lock in use by nobody is taken without a wait while another lock is contended") {
  const rates on(1, 1);
  some_locks other;
  const standing_waiter contends(&other.mutex);
  const records before;
  some_locks l;
  for (const locking_call& one : locking_calls) {
    CAPTURE(std::string(one.name));
    const counted since(one.kind);
    CHECK(one.call(l, long_enough) == 0);
    CHECK(l.let_go(one.kind) == 0);
    CHECK(since.blocked().count == 0);
    CHECK(since.holders().count == 0);
    CHECK(since.waiters().count == 0);
  }
  CHECK(records() == before);
}

TEST_CASE("a holder is charged the waits of all who waited, and they what they waited") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  l.hold(wait_kind::mutex);
  const auto take = [&l] {
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  };
  worker first(take);
  const std::uint64_t first_began = wait_of(first.id()).began_ns;
  worker second(take);
  const std::uint64_t second_began = wait_of(second.id()).began_ns;
  os_sleep_ns(10 * ms);
  const std::uint64_t let_go = now();
  pthread_mutex_unlock(&l.mutex);
  first.join();
  second.join();
  const std::uint64_t end = now();
  CHECK(since.blocked().count == 2 * one_wait);
  CHECK(since.waiters().count == 2);
  CHECK(since.holders().count >= 1);
  CHECK(since.holders().count <= 2);  // who came first may have made the other wait for a moment
  check_between(since.holders().ns, 2 * let_go - first_began - second_began, 2 * end - first_began - second_began);
  check_between(since.waiters().ns, 2 * let_go - first_began - second_began, 2 * end - first_began - second_began);
  const std::uint64_t more = since.holders().ns > since.waiters().ns ? since.holders().ns - since.waiters().ns
                                                                     : since.waiters().ns - since.holders().ns;
  CHECK(more <= 4 * clock_parts);
  CHECK(records() == before);
}

TEST_CASE("readers that share a lock share what a writer waited, and all of it is paid") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::wrlock);
  some_locks l;
  for (int i = 0; i < 2; ++i) REQUIRE(pthread_rwlock_rdlock(&l.rwlock) == 0);
  worker writer([&l] {
    pthread_rwlock_wrlock(&l.rwlock);
    pthread_rwlock_unlock(&l.rwlock);
  });
  const wait_facts facts = wait_of(writer.id());
  CHECK(facts.kind == wait_kind::wrlock);
  os_sleep_ns(10 * ms);
  const std::uint64_t let_go = now();
  CHECK(pthread_rwlock_unlock(&l.rwlock) == 0);
  const std::uint64_t one_left = now();
  check_between(since.holders().ns, (let_go - facts.began_ns) / 2, (one_left - facts.began_ns) / 2);
  CHECK(wait_now(writer.id()).thread == writer.id());
  os_sleep_ns(5 * ms);
  const std::uint64_t all_let_go = now();
  CHECK(pthread_rwlock_unlock(&l.rwlock) == 0);
  writer.join();
  const std::uint64_t end = now();
  CHECK(since.holders().count == 2);
  check_between(since.holders().ns, all_let_go - facts.began_ns, end - facts.began_ns);
  check_between(since.waiters().ns, since.holders().ns, since.holders().ns);
  CHECK(since.blocked().count == one_wait);
  CHECK(records() == before);
}

TEST_CASE("who waits for a std::mutex is seen") {
  const rates on(1, 1);
  const counted since(wait_kind::mutex);
  std::mutex mutex;
  mutex.lock();
  worker waiting([&mutex] { const std::lock_guard<std::mutex> lock(mutex); });
  CHECK(wait_of(waiting.id()).object == address_of(mutex.native_handle()));
  mutex.unlock();
  waiting.join();
  CHECK(since.blocked().count == one_wait);
  CHECK(since.holders().count == 1);
}

TEST_CASE("a reader that gets in beside other readers at once has not waited, though a writer does") {
  const rates on(1, 1);
  const records before;
  some_locks l;
  REQUIRE(pthread_rwlock_rdlock(&l.rwlock) == 0);
  worker writer([&l] {
    pthread_rwlock_wrlock(&l.rwlock);
    pthread_rwlock_unlock(&l.rwlock);
  });
  REQUIRE(wait_of(writer.id()).kind == wait_kind::wrlock);
  REQUIRE(becomes([&l] { return os_rwlock_may_block_reader_sig(l.rwlock); }));
  const counted since(wait_kind::rdlock);
  const bool would_wait = pthread_rwlock_tryrdlock(&l.rwlock) != 0;
  REQUIRE_FALSE(would_wait);
  CHECK(pthread_rwlock_unlock(&l.rwlock) == 0);
  CHECK(pthread_rwlock_rdlock(&l.rwlock) == 0);
  CHECK(since.blocked().count == 0);
  CHECK(pthread_rwlock_unlock(&l.rwlock) == 0);
  CHECK(pthread_rwlock_unlock(&l.rwlock) == 0);
  writer.join();
  CHECK(records() == before);
}

// ---- mutexes that are locked again, or unlocked by others ----------------------------------------------------------

TEST_CASE("locking a recursive mutex again is no wait, and only the last unlock is charged") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  typed_mutex r(PTHREAD_MUTEX_RECURSIVE);
  REQUIRE(pthread_mutex_lock(&r.mutex) == 0);
  worker waiting([&r] {
    pthread_mutex_lock(&r.mutex);
    pthread_mutex_unlock(&r.mutex);
  });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.object == address_of(&r.mutex));
  const timespec until = from_now(CLOCK_REALTIME, long_enough);
  CHECK(pthread_mutex_lock(&r.mutex) == 0);
  CHECK(pthread_mutex_timedlock(&r.mutex, &until) == 0);
  CHECK(pthread_mutex_trylock(&r.mutex) == 0);
  CHECK(wait_now(os_thread_id_sig()).thread == 0);
  CHECK(since.blocked().count == 0);
  os_sleep_ns(10 * ms);
  for (int i = 0; i < 3; ++i) CHECK(pthread_mutex_unlock(&r.mutex) == 0);
  CHECK(since.holders().count == 0);
  CHECK(since.holders().ns == 0);
  const std::uint64_t let_go = now();
  CHECK(pthread_mutex_unlock(&r.mutex) == 0);
  waiting.join();
  CHECK(since.holders().count == 1);
  check_between(since.holders().ns, let_go - facts.began_ns, now() - facts.began_ns);
  CHECK(since.blocked().count == one_wait);
  CHECK(records() == before);
}

TEST_CASE("locking an errorcheck mutex again is refused without a wait") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  typed_mutex e(PTHREAD_MUTEX_ERRORCHECK);
  REQUIRE(pthread_mutex_lock(&e.mutex) == 0);
  const timespec until = from_now(CLOCK_REALTIME, long_enough);
  CHECK(pthread_mutex_lock(&e.mutex) == EDEADLK);
  CHECK(pthread_mutex_timedlock(&e.mutex, &until) == EDEADLK);
  CHECK(pthread_mutex_trylock(&e.mutex) == EBUSY);
  CHECK(since.blocked().count == 0);
  CHECK(since.waiters().count == 0);
  CHECK(records() == before);
  CHECK(pthread_mutex_unlock(&e.mutex) == 0);
  CHECK(pthread_mutex_unlock(&e.mutex) == EPERM);
  CHECK(since.holders().count == 0);
}

TEST_CASE("an unlock that an errorcheck mutex refuses is charged nothing and leaves the clock") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  typed_mutex e(PTHREAD_MUTEX_ERRORCHECK);
  REQUIRE(pthread_mutex_lock(&e.mutex) == 0);
  worker waiting([&e] {
    pthread_mutex_lock(&e.mutex);
    pthread_mutex_unlock(&e.mutex);
  });
  const wait_facts facts = wait_of(waiting.id());
  os_sleep_ns(10 * ms);
  int answer = -1;
  worker([&] { answer = pthread_mutex_unlock(&e.mutex); }).join();
  CHECK(answer == EPERM);
  CHECK(since.holders().count == 0);
  CHECK(since.holders().ns == 0);
  CHECK(wait_now(waiting.id()).thread == waiting.id());
  os_sleep_ns(5 * ms);
  const std::uint64_t let_go = now();
  CHECK(pthread_mutex_unlock(&e.mutex) == 0);
  waiting.join();
  CHECK(since.holders().count == 1);
  check_between(since.holders().ns, let_go - facts.began_ns, now() - facts.began_ns);
  CHECK(records() == before);
}

TEST_CASE("trying a held mutex is no wait") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  l.hold(wait_kind::mutex);
  int answer = -1;
  worker([&] { answer = pthread_mutex_trylock(&l.mutex); }).join();
  CHECK(answer == EBUSY);
  CHECK(since.blocked().count == 0);
  CHECK(since.waiters().count == 0);
  CHECK(records() == before);
  l.let_go(wait_kind::mutex);
}

TEST_CASE("the clock of a contended lock that was free runs for whoever takes it without waiting") {
  const rates on(1, 1);
  struct taking {
    const char* name;
    wait_kind kind;
    int (*call)(some_locks& l);
  };
  const taking ways[] = {
      {"pthread_mutex_lock", wait_kind::mutex, [](some_locks& l) { return pthread_mutex_lock(&l.mutex); }},
      {"pthread_mutex_trylock", wait_kind::mutex, [](some_locks& l) { return pthread_mutex_trylock(&l.mutex); }},
      {"pthread_rwlock_wrlock", wait_kind::wrlock, [](some_locks& l) { return pthread_rwlock_wrlock(&l.rwlock); }},
      {"pthread_rwlock_trywrlock", wait_kind::wrlock, [](some_locks& l) { return pthread_rwlock_trywrlock(&l.rwlock); }},
      {"pthread_rwlock_tryrdlock", wait_kind::rdlock, [](some_locks& l) { return pthread_rwlock_tryrdlock(&l.rwlock); }},
      {"pthread_rwlock_rdlock", wait_kind::rdlock, [](some_locks& l) { return pthread_rwlock_rdlock(&l.rwlock); }}};
  for (const taking& way : ways) {
    CAPTURE(std::string(way.name));
    const records before;
    const counted since(way.kind);
    some_locks l;
    standing_waiter waiting(l.object(way.kind), false);
    CHECK_FALSE(waiting.clock_runs());
    os_sleep_ns(5 * ms);
    const std::uint64_t began = now();
    CHECK(way.call(l) == 0);
    CHECK(waiting.clock_runs());
    const std::uint64_t held = now();
    os_sleep_ns(5 * ms);
    const std::uint64_t let_go = now();
    CHECK(l.let_go(way.kind) == 0);
    const std::uint64_t end = now();
    CHECK_FALSE(waiting.clock_runs());
    CHECK(since.holders().count == 1);
    check_between(since.holders().ns, let_go - held, end - began);
    waiting.end();
    CHECK(records() == before);
  }
}

namespace {

// Unlocks as libc does, and tells how many charges had been counted by then.
std::atomic<std::uint64_t> g_charges_at_unlock{0};
std::atomic<mutex_unlock_entry::function> g_unlock{nullptr};
int unlock_and_look(os_mutex* mutex) noexcept {
  g_charges_at_unlock.store(attached_mutex_sig(all())->samples.load());
  return g_unlock.load()(mutex);
}

}  // namespace

TEST_CASE("what an unlock is charged is counted when the lock is free, so that nobody waits for that") {
  const rates on(1, 0);
  some_locks l;
  l.hold(wait_kind::mutex);
  standing_waiter waiting(&l.mutex);
  os_sleep_ns(1 * ms);
  const std::uint64_t charges = mutexes().samples.load();
  auto& next = mutex_unlock_entry::state.next;
  g_unlock.store(next.load());
  next.store(&unlock_and_look);
  const int answer = l.let_go(wait_kind::mutex);
  next.store(g_unlock.load());
  CHECK(answer == 0);
  CHECK(g_charges_at_unlock.load() == charges);
  CHECK(mutexes().samples.load() == charges + 1);
}

TEST_CASE("who gets a robust mutex from an owner that has died holds it, and is not charged for its own wait") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  os_mutex mutex;
  pthread_mutexattr_t robust;
  pthread_mutexattr_init(&robust);
  pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  REQUIRE(pthread_mutex_init(&mutex, &robust) == 0);
  std::atomic<bool> is_held{false};
  std::atomic<std::uint32_t> heir_id{0};
  worker owner([&] {
    pthread_mutex_lock(&mutex);
    is_held.store(true);
    (void)becomes([&] { return wait_now(heir_id.load()).thread != 0 && heir_id.load() != 0; });
    os_sleep_ns(5 * ms);
  });
  REQUIRE(becomes([&] { return is_held.load(); }));
  int answer = -1;
  worker heir([&] {
    heir_id.store(os_thread_id_sig());
    answer = pthread_mutex_lock(&mutex);
    pthread_mutex_consistent(&mutex);
    pthread_mutex_unlock(&mutex);
  });
  owner.join();
  heir.join();
  CHECK(answer == EOWNERDEAD);
  CHECK(since.blocked().count == one_wait);
  CHECK(since.holders().ns == 0);
  CHECK(records() == before);
  pthread_mutex_destroy(&mutex);
}

// ---- without a next definition -------------------------------------------------------------------------------------

TEST_CASE("without a next definition a call is answered by libc's own under another name, or as not there") {
  typed_mutex m(PTHREAD_MUTEX_ERRORCHECK);
  const timespec past{};
  const bool has_lock = prof_libc_mutex_lock != nullptr && prof_libc_mutex_unlock != nullptr;
  CHECK(mutex_lock_entry::fallback(&m.mutex) == (prof_libc_mutex_lock != nullptr ? 0 : ENOSYS));
  CHECK(os_mutex_is_held_sig(m.mutex) == (prof_libc_mutex_lock != nullptr));
  if (has_lock) CHECK(mutex_unlock_entry::fallback(&m.mutex) == 0);
  if (prof_libc_mutex_clocklock == nullptr) {
    CHECK(mutex_clocklock_entry::fallback(&m.mutex, CLOCK_MONOTONIC, &past) == ENOSYS);
  }
  os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  const bool has_rwlock = prof_libc_rwlock_wrlock != nullptr;
  CHECK(rwlock_wrlock_entry::fallback(&lock) == (has_rwlock ? 0 : ENOSYS));
  CHECK((os_rwlock_writer_sig(lock) != 0) == has_rwlock);
}

TEST_CASE("without a next definition a read-write lock with a time is tried until then") {
  os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  const auto until = [](clockid_t clock, std::uint64_t ns) { return from_now(clock, ns); };
  const timespec real = until(CLOCK_REALTIME, long_enough);
  const timespec steady = until(CLOCK_MONOTONIC, long_enough);
  CHECK(rwlock_timedrdlock_entry::fallback(&lock, &real) == 0);
  CHECK(rwlock_clockrdlock_entry::fallback(&lock, CLOCK_MONOTONIC, &steady) == 0);
  CHECK(os_rwlock_readers_sig(lock) == 2);
  const timespec soon = until(CLOCK_REALTIME, 5 * ms);
  CHECK(rwlock_timedwrlock_entry::fallback(&lock, &soon) == ETIMEDOUT);
  const timespec soon_steady = until(CLOCK_MONOTONIC, 5 * ms);
  const std::uint64_t began = now();
  CHECK(rwlock_clockwrlock_entry::fallback(&lock, CLOCK_MONOTONIC, &soon_steady) == ETIMEDOUT);
  CHECK(now() - began >= 3 * ms);
  for (int i = 0; i < 2; ++i) pthread_rwlock_unlock(&lock);
  CHECK(rwlock_timedwrlock_entry::fallback(&lock, &real) == 0);
  const timespec past{};
  CHECK(rwlock_timedrdlock_entry::fallback(&lock, &past) == EDEADLK);
  worker([&] { CHECK(rwlock_timedrdlock_entry::fallback(&lock, &past) == ETIMEDOUT); }).join();
  pthread_rwlock_unlock(&lock);
  CHECK(rwlock_clockwrlock_entry::fallback(&lock, CLOCK_MONOTONIC, &past) == 0);
  pthread_rwlock_unlock(&lock);
}

TEST_CASE("trying until a time ends with the first answer that is not busy") {
  const os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  int tries = 0;
  const timespec later = from_now(CLOCK_MONOTONIC, long_enough);
  CHECK(try_until(lock, CLOCK_MONOTONIC, later, [&tries] { return ++tries < 4 ? EBUSY : 0; }) == 0);
  CHECK(tries == 4);
  CHECK(try_until(lock, CLOCK_MONOTONIC, later, [] { return EDEADLK; }) == EDEADLK);
  const timespec past{};
  tries = 0;
  CHECK(try_until(lock, CLOCK_MONOTONIC, past, [&tries] { return ++tries < 4 ? EBUSY : 0; }) == ETIMEDOUT);
  CHECK(tries == 1);
}

TEST_CASE("trying until a time before the epoch ends at once") {
  const os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  timespec before{};
  before.tv_sec = -1;
  int tries = 0;
  CHECK(try_until(lock, CLOCK_REALTIME, before, [&tries] { return ++tries < 4 ? EBUSY : 0; }) == ETIMEDOUT);
}

TEST_CASE("trying until a time refuses what is no time, and who would wait for itself") {
  os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  const auto never = [] { return EBUSY; };
  const timespec no_time{0, 1000000000};
  const timespec past{};
  CHECK(try_until(lock, CLOCK_REALTIME, no_time, never) == EINVAL);
  CHECK(try_until(lock, CLOCK_PROCESS_CPUTIME_ID, past, never) == EINVAL);
  REQUIRE(pthread_rwlock_wrlock(&lock) == 0);
  CHECK(try_until(lock, CLOCK_REALTIME, past, never) == EDEADLK);
  worker([&] { CHECK(try_until(lock, CLOCK_REALTIME, past, never) == ETIMEDOUT); }).join();
  pthread_rwlock_unlock(&lock);
}

#endif
