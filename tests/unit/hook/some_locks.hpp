// tests/unit/hook/some_locks.hpp - locks and condition variables that threads wait for, with every call that does, for the
// tests of lock hooks.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "../waits.hpp"
#include "prof/hook/lock.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

namespace some_locks_test __attribute__((__visibility__("hidden"))) {

using namespace waits_test;

constexpr std::uint64_t clock_parts = 2 << clock_shift;  // what a lock's clock may lose of a wait

inline timespec from_now(clockid_t clock, std::uint64_t ns) { return os_timespec(os_clock_ns_sig(clock) + ns); }

// ---- threads that wait ---------------------------------------------------------------------------------------------

// Records of locks and condition variables, which go with the last thread that waits for one.
struct records {
  std::size_t locks = mutexes().locks.used();
  std::size_t conds = mutexes().conds.used();
  bool operator==(const records& other) const { return locks == other.locks && conds == other.conds; }
};

// Within bounds that hold on any machine: what the clock said around both ends.
inline void check_between(std::uint64_t ns, std::uint64_t least, std::uint64_t most) {
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

inline std::mutex g_mutex;

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
inline bool goes_straight_on(int entry) {
  return load_word_sig(lock_hooks(), entry, word_route) == load_word_sig(lock_hooks(), entry, word_next);
}
inline bool is_counting(int entry) {
  return load_word_sig(lock_hooks(), entry, word_route) == function_of_sig(lock_hooks(), entry, function_counting);
}


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

inline bool is_at_cond(std::uint32_t thread) {
  const wait_facts facts = wait_now(thread);
  return facts.thread == thread && facts.kind == wait_kind::cond;
}
// A thread waits at a condition variable, and has let its mutex go.
inline bool waits_at_cond(std::uint32_t thread, some_cond& c) {
  const bool is_there = becomes([thread] { return is_at_cond(thread); });
  pthread_mutex_lock(&c.mutex);
  pthread_mutex_unlock(&c.mutex);
  return is_there;
}

}  // namespace some_locks_test

#endif
