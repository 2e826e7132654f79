// tests/unit/hook/lock_test.cpp - who waits for a lock or at a condition variable is seen while it does, and counted once;
// who lets go is charged what others waited; calls answer as libc's.

#include "prof/hook/lock.hpp"

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
#include "../waits.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <sys/wait.h>

namespace {

using namespace waits_test;

constexpr std::uint64_t clock_parts = 2 << clock_shift;  // what a lock's clock may lose of a wait

timespec from_now(clockid_t clock, std::uint64_t ns) { return os_timespec(os_clock_ns_sig(clock) + ns); }

// ---- rates, figures ------------------------------------------------------------------------------------------------

// ---- threads that wait ---------------------------------------------------------------------------------------------

// Records of locks and condition variables, which go with the last thread that waits for one.
struct records {
  std::size_t locks = mutexes().locks.used();
  std::size_t conds = mutexes().conds.used();
  bool operator==(const records& other) const { return locks == other.locks && conds == other.conds; }
};

// Within bounds that hold on any machine: what the clock said around both ends.
void check_between(std::uint64_t ns, std::uint64_t least, std::uint64_t most) {
  CHECK(ns + clock_parts >= least);
  CHECK(ns <= most + clock_parts);
}

// ---- locks and the calls that take them ----------------------------------------------------------------------------

struct some_locks {
  os_mutex mutex = PTHREAD_MUTEX_INITIALIZER;
  os_rwlock rwlock = PTHREAD_RWLOCK_INITIALIZER;

  const volatile void* object(wait_kind kind) const {
    return kind == wait_kind::mutex ? static_cast<const volatile void*>(&mutex) : &rwlock;
  }
  void hold(wait_kind kind) {
    REQUIRE((kind == wait_kind::mutex ? pthread_mutex_lock(&mutex) : pthread_rwlock_wrlock(&rwlock)) == 0);
  }
  int let_go(wait_kind kind) { return kind == wait_kind::mutex ? pthread_mutex_unlock(&mutex) : pthread_rwlock_unlock(&rwlock); }
};

struct locking_call {
  const char* name;
  wait_kind kind;
  bool has_time;
  int (*call)(some_locks& locks, std::uint64_t ns);
};

constexpr locking_call locking_calls[] = {
    {"pthread_mutex_lock", wait_kind::mutex, false,
     [](some_locks& l, std::uint64_t) { return pthread_mutex_lock(&l.mutex); }},
    {"pthread_mutex_timedlock", wait_kind::mutex, true,
     [](some_locks& l, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_REALTIME, ns);
       return pthread_mutex_timedlock(&l.mutex, &until);
     }},
    {"pthread_mutex_clocklock", wait_kind::mutex, true,
     [](some_locks& l, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_MONOTONIC, ns);
       return pthread_mutex_clocklock(&l.mutex, CLOCK_MONOTONIC, &until);
     }},
    {"pthread_rwlock_rdlock", wait_kind::rdlock, false,
     [](some_locks& l, std::uint64_t) { return pthread_rwlock_rdlock(&l.rwlock); }},
    {"pthread_rwlock_timedrdlock", wait_kind::rdlock, true,
     [](some_locks& l, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_REALTIME, ns);
       return pthread_rwlock_timedrdlock(&l.rwlock, &until);
     }},
    {"pthread_rwlock_clockrdlock", wait_kind::rdlock, true,
     [](some_locks& l, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_MONOTONIC, ns);
       return pthread_rwlock_clockrdlock(&l.rwlock, CLOCK_MONOTONIC, &until);
     }},
    {"pthread_rwlock_wrlock", wait_kind::wrlock, false,
     [](some_locks& l, std::uint64_t) { return pthread_rwlock_wrlock(&l.rwlock); }},
    {"pthread_rwlock_timedwrlock", wait_kind::wrlock, true,
     [](some_locks& l, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_REALTIME, ns);
       return pthread_rwlock_timedwrlock(&l.rwlock, &until);
     }},
    {"pthread_rwlock_clockwrlock", wait_kind::wrlock, true, [](some_locks& l, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_MONOTONIC, ns);
       return pthread_rwlock_clockwrlock(&l.rwlock, CLOCK_MONOTONIC, &until);
     }}};

std::mutex g_mutex;

// A mutex of a type.
struct typed_mutex {
  os_mutex mutex;
  explicit typed_mutex(int type) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, type);
    REQUIRE(pthread_mutex_init(&mutex, &attributes) == 0);
    pthread_mutexattr_destroy(&attributes);
  }
  ~typed_mutex() { pthread_mutex_destroy(&mutex); }
  typed_mutex(const typed_mutex&) = delete;
  typed_mutex& operator=(const typed_mutex&) = delete;
};

// A waiter of this test's own, which no lock wakes: the lock stays contended as long as it lives.
class standing_waiter {
 public:
  explicit standing_waiter(const volatile void* lock, bool is_held = true)
      : wait_(begin_lock_wait_sig(all(), mutexes(), address_of(lock), now(), is_held)) {
    REQUIRE(wait_.index != no_slot);
  }
  ~standing_waiter() { end(); }
  standing_waiter(const standing_waiter&) = delete;
  standing_waiter& operator=(const standing_waiter&) = delete;
  bool clock_runs() const { return mutexes().locks.at(wait_.index).free_ns.load() == 0; }
  void end() {
    if (wait_.index != no_slot) (void)end_lock_wait_sig(mutexes(), wait_, now());
    wait_.index = no_slot;
  }

 private:
  lock_wait wait_;
};

// What an entry does now.
bool goes_straight_on(int entry) {
  return load_word_sig(lock_hooks(), entry, word_route) == load_word_sig(lock_hooks(), entry, word_next);
}
bool is_counting(int entry) {
  return load_word_sig(lock_hooks(), entry, word_route) == function_of_sig(lock_hooks(), entry, function_counting);
}

}  // namespace

// ---- routes --------------------------------------------------------------------------------------------------------

TEST_CASE("the hooks of locks are live, and the next definition of each is libc's") {
  const rates off(0, 0);
  { const std::lock_guard<std::mutex> first_call(g_mutex); }
  const prof::status_report report = prof::status();
  int live = 0;
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    for (const hook_record& record : lock_records) {
      if (std::string(report.hooks[i].name) != record.name) continue;
      CAPTURE(std::string(record.name));
      CHECK(std::string(report.hooks[i].state) == "live");
      ++live;
    }
  }
  CHECK(live == lock_entry_count);
  CHECK(owner_of_sig(all(), static_cast<unsigned>(hook_family::lock)) == &prof_hooks_lock_v2);
  CHECK(counts_here_sig(lock_hooks()));
  for (int entry = 0; entry < lock_entry_count; ++entry) {
    CAPTURE(std::string(lock_records[entry].name));
    const any_function next = load_word_sig(lock_hooks(), entry, word_next);
    CHECK(static_cast<bool>(next == reinterpret_cast<any_function>(os_next_symbol(lock_records[entry].name))));
    CHECK(static_cast<bool>(next != load_function_sig(lock_facts[entry].hook)));
  }
}

TEST_CASE("while both rates are 0 every entry leads straight to the next definition") {
  const rates off(0, 0);
  for (int entry = 0; entry < lock_entry_count; ++entry) {
    CAPTURE(std::string(lock_records[entry].name));
    CHECK(goes_straight_on(entry));
    CHECK_FALSE(is_counting(entry));
  }
}

TEST_CASE("the mutex profile sees all entries, the block profile those that wait") {
  const rates off(0, 0);
  const auto waits = [](int entry) {
    const std::string name = lock_records[entry].name;
    const auto has = [&name](const char* part) { return name.find(part) != std::string::npos; };
    return !has("_try") && !has("_unlock") && !has("_signal") && !has("_broadcast");
  };
  for (int entry = 0; entry < lock_entry_count; ++entry) {
    CAPTURE(std::string(lock_records[entry].name));
    {
      const rates mutex(1, 0);
      CHECK(is_counting(entry));
    }
    CHECK(goes_straight_on(entry));
    {
      const rates block(0, 1000);
      CHECK(is_counting(entry) == waits(entry));
      CHECK(goes_straight_on(entry) != waits(entry));
    }
    CHECK(goes_straight_on(entry));
    const rates both(1000, 1000);
    CHECK(is_counting(entry));
  }
}

TEST_CASE("hot paths look at the number of contended locks of this process") {
  const rates on(1, 0);
  CHECK(contended_locks.load() == &mutexes().locks.used_now());
  const std::size_t before = mutexes().locks.used();
  some_locks l;
  {
    const standing_waiter waiting(&l.mutex);
    CHECK(contended_now_sig() != 0);
    CHECK(mutexes().locks.used() == before + 1);
  }
  CHECK(mutexes().locks.used() == before);
  CHECK((contended_now_sig() != 0) == (before != 0));
}

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

// ---- condition variables -------------------------------------------------------------------------------------------

namespace {

struct some_cond {
  os_mutex mutex = PTHREAD_MUTEX_INITIALIZER;
  os_cond cond = PTHREAD_COND_INITIALIZER;
  bool is_told = false;  // under the mutex

  void tell(bool all) {
    is_told = true;
    CHECK((all ? pthread_cond_broadcast(&cond) : pthread_cond_signal(&cond)) == 0);
  }
  // Returns what the last call answered.
  int wait_until_told(int (*wait)(some_cond& c, std::uint64_t ns), std::uint64_t ns) {
    int answer = -1;
    pthread_mutex_lock(&mutex);
    for (answer = 0; !is_told && answer == 0;) answer = wait(*this, ns);
    pthread_mutex_unlock(&mutex);
    return answer;
  }
};

struct cond_call {
  const char* name;
  bool has_time;
  int (*call)(some_cond& c, std::uint64_t ns);
};
constexpr cond_call cond_calls[] = {
    {"pthread_cond_wait", false, [](some_cond& c, std::uint64_t) { return pthread_cond_wait(&c.cond, &c.mutex); }},
    {"pthread_cond_timedwait", true,
     [](some_cond& c, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_REALTIME, ns);
       return pthread_cond_timedwait(&c.cond, &c.mutex, &until);
     }},
    {"pthread_cond_clockwait", true, [](some_cond& c, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_MONOTONIC, ns);
       return pthread_cond_clockwait(&c.cond, &c.mutex, CLOCK_MONOTONIC, &until);
     }}};

bool is_at_cond(std::uint32_t thread) {
  const wait_facts facts = wait_now(thread);
  return facts.thread == thread && facts.kind == wait_kind::cond;
}
// A thread waits at a condition variable, and has let its mutex go.
bool waits_at_cond(std::uint32_t thread, some_cond& c) {
  const bool is_there = becomes([thread] { return is_at_cond(thread); });
  pthread_mutex_lock(&c.mutex);
  pthread_mutex_unlock(&c.mutex);
  return is_there;
}

}  // namespace

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
      if (is_held) pthread_mutex_lock(&c.mutex);
      CHECK((all_of_them ? pthread_cond_broadcast(&c.cond) : pthread_cond_signal(&c.cond)) == 0);
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

// ---- the rates change ----------------------------------------------------------------------------------------------

TEST_CASE("a wait that began while both profiles were off is not seen") {
  const records before;
  some_locks l;
  std::atomic<bool> ended{false};
  l.hold(wait_kind::mutex);
  std::uint32_t id = 0;
  {
    const rates off(0, 0);
    worker waiting([&] {
      pthread_mutex_lock(&l.mutex);
      ended.store(true);
      pthread_mutex_unlock(&l.mutex);
    });
    id = waiting.id();
    CHECK(becomes([&l] { return os_is_waited_mutex_sig(l.mutex); }));
    const rates on(1, 1);
    const counted since(wait_kind::mutex);
    CHECK(wait_now(id).thread == 0);
    l.let_go(wait_kind::mutex);
    waiting.join();
    CHECK(ended.load());
    CHECK(since.blocked().count == 0);
    CHECK(since.holders().count == 0);
    CHECK(since.waiters().count == 0);
  }
  CHECK(wait_now(id).thread == 0);
  CHECK(records() == before);
}

TEST_CASE("a wait that both profiles were switched off for ends as it began, and leaves nothing") {
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  const rates off(0, 0);
  std::uint32_t id = 0;
  const auto take = [&l] {
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  };
  {
    l.hold(wait_kind::mutex);
    prof::set_mutex_profile_fraction(1);
    prof::set_block_profile_rate(1);
    worker waiting(take);
    id = waiting.id();
    REQUIRE(wait_of(id).thread == id);
    prof::set_mutex_profile_fraction(0);
    prof::set_block_profile_rate(0);
    l.let_go(wait_kind::mutex);
  }
  CHECK(wait_now(id).thread == 0);
  CHECK(since.blocked().count == one_wait);
  CHECK(since.holders().count == 0);
  CHECK(records() == before);
  // And the same lock is charged rightly the next time.
  const rates on(1, 1);
  const counted again(wait_kind::mutex);
  l.hold(wait_kind::mutex);
  worker waiting(take);
  const wait_facts facts = wait_of(waiting.id());
  os_sleep_ns(5 * ms);
  const std::uint64_t let_go = now();
  l.let_go(wait_kind::mutex);
  waiting.join();
  CHECK(again.holders().count == 1);
  check_between(again.holders().ns, let_go - facts.began_ns, now() - facts.began_ns);
  CHECK(records() == before);
}

TEST_CASE("what is waited while the mutex profile pauses is charged to nobody") {
  const records before;
  const rates on(1, 0);
  some_locks l;
  l.hold(wait_kind::mutex);
  worker waiting([&l] {
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  REQUIRE(wait_of(waiting.id()).lock != 0);
  const counted since(wait_kind::mutex);
  prof::set_mutex_profile_fraction(0);
  os_sleep_ns(30 * ms);
  const std::uint64_t resumed = now();
  prof::set_mutex_profile_fraction(1);
  os_sleep_ns(5 * ms);
  const std::uint64_t let_go = now();
  l.let_go(wait_kind::mutex);
  waiting.join();
  const std::uint64_t end = now();
  CHECK(since.holders().count == 1);
  CHECK(since.holders().ns <= end - resumed + clock_parts);
  CHECK(since.holders().ns + ms * 5 + clock_parts >= let_go - resumed);
  CHECK(records() == before);
}

// ---- who waits -----------------------------------------------------------------------------------------------------

TEST_CASE("waits of prof's own code are not seen") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  l.hold(wait_kind::mutex);
  int answer = -1;
  worker([&] {
    const own_code_scope own(all());
    const timespec until = from_now(CLOCK_REALTIME, 5 * ms);
    answer = pthread_mutex_timedlock(&l.mutex, &until);
  }).join();
  CHECK(answer == ETIMEDOUT);
  CHECK(since.blocked().count == 0);
  CHECK(since.waiters().count == 0);
  CHECK(records() == before);
  l.let_go(wait_kind::mutex);
  CHECK(since.holders().count == 0);
}

TEST_CASE("a wait and its charge have the labels and the stack of their thread") {
  const rates on(1, 1);
  some_locks l;
  l.hold(wait_kind::mutex);
  label_set_id of_waiter = no_labels;
  label_set_id of_holder = no_labels;
  worker waiting([&] {
    const prof::label_scope labels{{"lock_test", "waiter"}};
    of_waiter = labels_of_sig(all(), os_thread_id_sig());
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.labels == of_waiter);
  CHECK(facts.labels != no_labels);
  {
    const prof::label_scope labels{{"lock_test", "holder"}};
    of_holder = labels_of_sig(all(), os_thread_id_sig());
    l.let_go(wait_kind::mutex);
  }
  waiting.join();
  const auto of = [](label_set_id labels) { return [labels](const count_key& key) { return key.labels == labels; }; };
  CHECK(sum_of(block_of(all())->counts, of(of_waiter)).count == one_wait);
  CHECK(sum_of(mutexes().waiters, of(of_waiter)).count == 1);
  CHECK(sum_of(mutexes().holders, of(of_holder)).count == 1);
  CHECK(sum_of(block_of(all())->counts, [&](const count_key& key) {
          return key.labels == of_waiter && key.stack == facts.stack;
        }).count == one_wait);
}

namespace {

std::atomic<int> g_steps{0};
__attribute__((noinline, aligned(256))) int lock_from_here(os_mutex* mutex) {
  const int answer = pthread_mutex_lock(mutex);
  ++g_steps;  // so that the call is no jump
  return answer;
}
__attribute__((noinline, aligned(256))) int unlock_from_here(os_mutex* mutex) {
  const int answer = pthread_mutex_unlock(mutex);
  ++g_steps;
  return answer;
}
// Whether a stack comes from a function by way of hooks, of which a build without optimization has some.
template <class Function>
bool comes_from(stack_id id, Function function) {
  const stack_view stack = all().stacks.view(id);
  const auto begin = reinterpret_cast<std::uintptr_t>(function);
  for (std::size_t i = 0; i < stack.depth && i < 4; ++i) {
    const std::uintptr_t address = frame_address_sig(stack.frames[i]);
    if (address >= begin && address - begin < 256) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("stacks of waits and of unlocks begin where the program calls") {
  const rates on(1, 1);
  some_locks l;
  l.hold(wait_kind::mutex);
  worker waiting([&l] {
    lock_from_here(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  const stack_id waits = wait_of(waiting.id()).stack;
  CHECK(all().stacks.view(waits).depth > 2);
  CHECK(comes_from(waits, &lock_from_here));
  CHECK(unlock_from_here(&l.mutex) == 0);
  waiting.join();
  const amount charged =
      sum_of(mutexes().holders, [](const count_key& key) { return comes_from(key.stack, &unlock_from_here); });
  CHECK(charged.count == 1);
}

// ---- waits that are left -------------------------------------------------------------------------------------------

namespace {

// A handler that leaves what it interrupts.
sigjmp_buf g_way_out;
class leaving_handler {
 public:
  leaving_handler() {
    struct sigaction wanted = {};
    wanted.sa_handler = [](int) { siglongjmp(g_way_out, 1); };
    REQUIRE(sigaction(SIGUSR2, &wanted, &before_) == 0);
  }
  ~leaving_handler() { sigaction(SIGUSR2, &before_, nullptr); }
  leaving_handler(const leaving_handler&) = delete;
  leaving_handler& operator=(const leaving_handler&) = delete;

 private:
  struct sigaction before_ = {};
};

// What wait(object) answers, or `left`, if the handler left it: its frame is this one's then.
constexpr int left = -1;
__attribute__((noinline)) int answer_unless_left(int (*wait)(void* object), void* object) {
  if (sigsetjmp(g_way_out, 1) != 0) return left;
  return wait(object);
}

// A mutex, and how long to wait for it.
struct wanted_mutex {
  os_mutex* mutex;
  std::uint64_t ns;
};
int wait_for_mutex(void* object) {
  const auto& wanted = *static_cast<const wanted_mutex*>(object);
  const timespec until = from_now(CLOCK_REALTIME, wanted.ns);
  return pthread_mutex_timedlock(wanted.mutex, &until);
}
__attribute__((noinline)) int leave_or_end(os_mutex& mutex, std::uint64_t ns) {
  wanted_mutex wanted{&mutex, ns};
  return answer_unless_left(&wait_for_mutex, &wanted);
}
// The same from below a frame of its own, which uses what lay there.
__attribute__((noinline)) int leave_or_end_deeper(os_mutex& mutex, std::uint64_t ns) {
  volatile char room[16384];
  for (volatile char& byte : room) byte = 0;
  const int answer = leave_or_end(mutex, ns);
  return answer + room[0];
}

// So that what a thread has left for ever is not there in the tests behind this one.
void forget_waits_of(std::uint32_t thread) {
  all().waits.for_each([thread](std::size_t index, const wait_facts& facts) {
    if (facts.thread == thread) forget_left_wait_sig(all(), index);
  });
}

struct left_wait {
  std::atomic<int> step{0};
  int first = 0;
  int later = 0;
  bool until(int wanted) {
    return becomes([this, wanted] { return step.load() == wanted; });
  }
};

}  // namespace

TEST_CASE("a wait for a mutex that longjmp leaves is taken back by the thread's next wait, and its holder pays") {
  const rates on(1, 1);
  const leaving_handler handler;
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  some_locks other;
  l.hold(wait_kind::mutex);
  other.hold(wait_kind::mutex);
  left_wait state;
  worker waiting([&] {
    state.first = leave_or_end(l.mutex, long_enough);
    state.step.store(1);
    (void)state.until(2);
    state.later = leave_or_end(other.mutex, 5 * ms);
    state.step.store(3);
    (void)state.until(4);
  });
  const wait_facts facts = wait_of(waiting.id());
  REQUIRE(facts.object == address_of(&l.mutex));
  os_sleep_ns(10 * ms);
  const std::uint64_t before_leaving = now();
  pthread_kill(waiting.handle(), SIGUSR2);
  REQUIRE(state.until(1));
  CHECK(state.first == left);
  state.step.store(2);
  REQUIRE(state.until(3));
  CHECK(state.later == ETIMEDOUT);
  CHECK(wait_now(waiting.id()).thread == 0);
  CHECK(mutexes().locks.used() == before.locks + 2);  // until the unlocks pay for them
  const std::uint64_t end = now();
  l.let_go(wait_kind::mutex);
  CHECK(since.holders().count == 1);
  check_between(since.holders().ns, before_leaving - facts.began_ns, end - facts.began_ns);
  other.let_go(wait_kind::mutex);
  CHECK(since.holders().count == 2);
  CHECK(records() == before);
  state.step.store(4);
  waiting.join();
  CHECK(since.blocked().count == one_wait);  // the one that was not left
}

TEST_CASE("a wait at a condition variable that longjmp leaves is taken back by the thread's next wait") {
  const rates on(1, 1);
  const leaving_handler handler;
  for (const bool is_woken : {false, true}) {
    CAPTURE(is_woken);
    const records before;
    some_locks other;
    other.hold(wait_kind::mutex);
    static some_cond c;
    left_wait state;
    worker waiting([&] {
      state.first = answer_unless_left(
          [](void* object) {
            volatile char room[1024];  // to be below what waits later
            room[0] = 0;
            return static_cast<some_cond*>(object)->wait_until_told(cond_calls[0].call, 0) + room[0];
          },
          &c);
      pthread_mutex_unlock(&c.mutex);  // glibc's longjmp takes it again
      state.step.store(1);
      (void)state.until(2);
      state.later = leave_or_end(other.mutex, 5 * ms);
      state.step.store(3);
      (void)state.until(4);
    });
    REQUIRE(waits_at_cond(waiting.id(), c));
    pthread_kill(waiting.handle(), SIGUSR2);
    REQUIRE(state.until(1));
    CHECK(state.first == left);
    if (is_woken) CHECK(pthread_cond_signal(&c.cond) == 0);
    state.step.store(2);
    REQUIRE(state.until(3));
    CHECK(state.later == ETIMEDOUT);
    CHECK(wait_now(waiting.id()).thread == 0);
    CHECK(mutexes().conds.used() == before.conds);
    other.let_go(wait_kind::mutex);
    CHECK(records() == before);
    state.step.store(4);
  }
}

TEST_CASE("a wait that is left is taken back by the thread's next wait, which is deeper in its stack") {
  const rates on(1, 1);
  const leaving_handler handler;
  const records before;
  some_locks l;
  some_locks other;
  l.hold(wait_kind::mutex);
  other.hold(wait_kind::mutex);
  left_wait state;
  worker waiting([&] {
    state.first = leave_or_end(l.mutex, long_enough);
    state.step.store(1);
    (void)state.until(2);
    state.later = leave_or_end_deeper(other.mutex, 5 * ms);
    state.step.store(3);
    (void)state.until(4);
  });
  REQUIRE(wait_of(waiting.id()).object == address_of(&l.mutex));
  pthread_kill(waiting.handle(), SIGUSR2);
  REQUIRE(state.until(1));
  state.step.store(2);
  REQUIRE(state.until(3));
  CHECK(state.first == left);
  CHECK(state.later == ETIMEDOUT);
  CHECK(wait_now(waiting.id()).thread == 0);
  forget_waits_of(waiting.id());
  l.let_go(wait_kind::mutex);
  other.let_go(wait_kind::mutex);
  state.step.store(4);
  waiting.join();
  CHECK(records() == before);
}

TEST_CASE("a thread that is cancelled at a condition variable leaves nothing behind and has the mutex meanwhile") {
  const rates on(1, 1);
  struct unlocks {
    some_cond& c;
    std::atomic<bool>& held;
    ~unlocks() {
      held.store(os_mutex_owner_sig(c.mutex) == os_thread_id_sig());
      pthread_mutex_unlock(&c.mutex);
    }
  };
  for (const cond_call& one : cond_calls) {
    CAPTURE(std::string(one.name));
    const records before;
    const counted since(wait_kind::cond);
    some_cond c;
    std::atomic<bool> held{false};
    std::atomic<bool> came_back{false};
    worker waiting([&] {
      pthread_mutex_lock(&c.mutex);
      const unlocks at_end{c, held};
      (void)one.call(c, long_enough);
      came_back.store(true);
    });
    REQUIRE(waits_at_cond(waiting.id(), c));
    REQUIRE(pthread_cancel(waiting.handle()) == 0);
    waiting.join();
    CHECK_FALSE(came_back.load());
    CHECK(held.load());
    CHECK(wait_now(waiting.id()).thread == 0);
    CHECK(since.blocked().count == one_wait);
    CHECK(since.holders().ns == 0);
    CHECK(os_mutex_word_sig(c.mutex) == 0);
    CHECK(records() == before);
  }
}

TEST_CASE("a forked child has no waits, no contended locks, and counts its own") {
  const rates on(1, 1);
  const records before;
  some_locks l;
  some_cond c;
  l.hold(wait_kind::mutex);
  worker at_lock([&l] {
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  worker at_cond([&c] { CHECK(c.wait_until_told(cond_calls[0].call, 0) == 0); });
  REQUIRE(wait_of(at_lock.id()).thread != 0);
  REQUIRE(waits_at_cond(at_cond.id(), c));
  const pid_t child = fork();
  if (child == 0) {
    int wrong = 0;
    if (all().waits.used() != 0) wrong |= 1;
    if (mutexes().locks.used() != 0 || mutexes().conds.used() != 0) wrong |= 2;
    const counted since(wait_kind::mutex);
    if (leave_or_end(l.mutex, 5 * ms) != ETIMEDOUT) wrong |= 4;  // this thread holds it
    if (since.blocked().count != one_wait) wrong |= 8;
    if (since.waiters().ns < ms) wrong |= 16;
    l.let_go(wait_kind::mutex);
    if (since.holders().count != 1 || mutexes().locks.used() != 0) wrong |= 32;
    if (all().waits.used() != 0) wrong |= 64;
    _exit(wrong);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(wait_now(at_lock.id()).thread == at_lock.id());
  CHECK(wait_now(at_cond.id()).thread == at_cond.id());
  l.let_go(wait_kind::mutex);
  pthread_mutex_lock(&c.mutex);
  c.tell(false);
  pthread_mutex_unlock(&c.mutex);
  at_lock.join();
  at_cond.join();
  CHECK(records() == before);
}

// ---- answers -------------------------------------------------------------------------------------------------------

namespace {

// What calls of all kinds answer, and whether errno is left alone.
std::vector<int> answers() {
  std::vector<int> all_of_them;
  const auto note = [&all_of_them](int answer) {
    const int kept_errno = errno;
    all_of_them.push_back(answer);
    all_of_them.push_back(kept_errno);
    errno = 77;
  };
  errno = 77;
  const timespec past{};
  timespec wrong = from_now(CLOCK_REALTIME, long_enough);
  wrong.tv_nsec = 1000000000;
  constexpr clockid_t no_clock = 12345;
  for (const int type : {int{PTHREAD_MUTEX_NORMAL}, int{PTHREAD_MUTEX_RECURSIVE}, int{PTHREAD_MUTEX_ERRORCHECK}}) {
    typed_mutex m(type);
    note(pthread_mutex_lock(&m.mutex));
    note(pthread_mutex_trylock(&m.mutex));
    note(pthread_mutex_timedlock(&m.mutex, &past));
    note(pthread_mutex_timedlock(&m.mutex, &wrong));
    note(pthread_mutex_clocklock(&m.mutex, CLOCK_MONOTONIC, &past));
    note(pthread_mutex_clocklock(&m.mutex, no_clock, &past));
    note(type == PTHREAD_MUTEX_NORMAL ? 0 : pthread_mutex_lock(&m.mutex));
    while (pthread_mutex_unlock(&m.mutex) == 0 && os_mutex_owner_sig(m.mutex) != 0) note(0);
    if (type != PTHREAD_MUTEX_NORMAL) note(pthread_mutex_unlock(&m.mutex));
  }
  os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  note(pthread_rwlock_wrlock(&lock));
  note(pthread_rwlock_wrlock(&lock));
  note(pthread_rwlock_rdlock(&lock));
  note(pthread_rwlock_timedrdlock(&lock, &past));
  note(pthread_rwlock_timedwrlock(&lock, &wrong));
  note(pthread_rwlock_clockrdlock(&lock, no_clock, &past));
  note(pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, &past));
  note(pthread_rwlock_unlock(&lock));
  note(pthread_rwlock_rdlock(&lock));
  note(pthread_rwlock_rdlock(&lock));
  note(pthread_rwlock_timedrdlock(&lock, &past));
  note(pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &past));
  note(pthread_rwlock_timedwrlock(&lock, &past));
  note(pthread_rwlock_clockwrlock(&lock, CLOCK_REALTIME, &past));
  for (int i = 0; i < 4; ++i) note(pthread_rwlock_unlock(&lock));
  os_cond cond = PTHREAD_COND_INITIALIZER;
  typed_mutex e(PTHREAD_MUTEX_ERRORCHECK);
  note(pthread_cond_wait(&cond, &e.mutex));
  note(pthread_mutex_lock(&e.mutex));
  note(pthread_cond_timedwait(&cond, &e.mutex, &past));
  note(pthread_cond_timedwait(&cond, &e.mutex, &wrong));
  note(pthread_cond_clockwait(&cond, &e.mutex, CLOCK_MONOTONIC, &past));
  note(pthread_cond_clockwait(&cond, &e.mutex, no_clock, &past));
  note(pthread_cond_signal(&cond));
  note(pthread_cond_broadcast(&cond));
  note(pthread_mutex_unlock(&e.mutex));
  return all_of_them;
}

}  // namespace

TEST_CASE("calls answer the same and leave errno alone whether they are counted or not, and on every path") {
  const rates off(0, 0);
  const std::vector<int> wanted = answers();
  for (const int one : {0, EBUSY, ETIMEDOUT, EINVAL, EDEADLK, EPERM}) {
    CAPTURE(one);
    bool found = false;
    for (const int answer : wanted) found |= answer == one;
    CHECK(found);
  }
  for (std::size_t i = 1; i < wanted.size(); i += 2) CHECK(wanted[i] == 77);
  for (const unsigned fraction : {0u, 1u}) {
    for (const std::uint64_t block_ns : {0u, 1u}) {
      CAPTURE(fraction);
      CAPTURE(block_ns);
      const rates on(fraction, block_ns);
      CHECK(answers() == wanted);
      some_locks l;
      const standing_waiter contends(&l.mutex);
      CHECK(answers() == wanted);
    }
  }
  CHECK(wait_now(os_thread_id_sig()).thread == 0);
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
