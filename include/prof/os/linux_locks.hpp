// prof/os/linux_locks.hpp - the OS contract on Linux: what libc's locks say of themselves.
// Floor 3 (os). Included by os/os.hpp only, behind os/linux.hpp.
// Safety: async-signal-safe: relaxed loads of words that libc writes; nothing is ever written.
// Memory: none.
// Source: glibc 2.36, nptl: struct __pthread_mutex_s and pthread_mutex_lock.c (the word is 0 where a mutex is free; who
//         holds it, how often, its kind), pthread_rwlock_common.c (readers above bit 3, 2: a writer has or wants it),
//         sem_waitcommon.c. These words are the same since glibc 2.4, 2.25 and 2.21, for they are part of the ABI. musl's
//         functions cannot be reached from hooks in static links, of which most of its programs are.
#ifndef PROF_OS_LINUX_LOCKS_HPP
#define PROF_OS_LINUX_LOCKS_HPP

#include "prof/os/linux.hpp"

// Whether hooks of locks and waits can be defined here.
#if defined(__GLIBC__)
#define PROF_DETAIL_OS_LOCKS 1
#else
#define PROF_DETAIL_OS_LOCKS 0
#endif

#if PROF_DETAIL_OS_LOCKS

#include <linux/futex.h>
#include <semaphore.h>

PROF_DETAIL_BEGIN

using os_mutex = pthread_mutex_t;
using os_rwlock = pthread_rwlock_t;

inline std::uint32_t os_lock_word_sig(const int& word) PROF_DETAIL_SIG {
  return static_cast<std::uint32_t>(__atomic_load_n(&word, __ATOMIC_RELAXED));
}

// 0: free for certain. A mutex with a priority ceiling keeps that in its word; see os_mutex_is_held_sig.
inline std::uint32_t os_mutex_word_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  return os_lock_word_sig(mutex.__data.__lock);
}
inline constexpr int os_mutex_recursive = 1;
inline constexpr int os_mutex_errorcheck = 2;
inline constexpr int os_mutex_ceiling = 64;
inline int os_mutex_type_sig(const os_mutex& mutex) PROF_DETAIL_SIG { return mutex.__data.__kind & 3; }
// Robust ones and those of priority inheritance have their holder's id in their word, also one that got it from a dead one;
// the others beside it.
inline constexpr std::uint32_t os_holder_bits = 0x3fffffffu;  // FUTEX_TID_MASK
inline bool os_has_holder_in_word_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  return (mutex.__data.__kind & (16 | 32)) != 0;
}
inline std::uint32_t os_mutex_owner_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  if (os_has_holder_in_word_sig(mutex)) return os_mutex_word_sig(mutex) & os_holder_bits;
  return os_lock_word_sig(mutex.__data.__owner);
}
// The word without what is no holder: the ceiling, the mark that one has died.
inline std::uint32_t os_mutex_held_bits_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  constexpr std::uint32_t ceiling_bits = 0xfff80000u;
  const std::uint32_t word = os_mutex_word_sig(mutex);
  if (os_has_holder_in_word_sig(mutex)) return word & os_holder_bits;
  return (mutex.__data.__kind & os_mutex_ceiling) != 0 ? word & ~ceiling_bits : word;
}
inline bool os_mutex_is_held_sig(const os_mutex& mutex) PROF_DETAIL_SIG { return os_mutex_held_bits_sig(mutex) != 0; }
// Whether its holder may lock it again without waiting; whether `thread` is that one.
inline bool os_mutex_may_relock_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  const int type = os_mutex_type_sig(mutex);
  return type == os_mutex_recursive || type == os_mutex_errorcheck;
}
inline bool os_mutex_relocks_sig(const os_mutex& mutex, std::uint32_t thread) PROF_DETAIL_SIG {
  return os_mutex_may_relock_sig(mutex) && os_mutex_owner_sig(mutex) == thread;
}
// Whether unlocking it, by `thread`, makes it free: those that know their owner refuse others, and a recursive one only
// counts until the last time.
inline bool os_mutex_refuses_others_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  const bool is_special = os_has_holder_in_word_sig(mutex) || (mutex.__data.__kind & os_mutex_ceiling) != 0;
  return is_special || os_mutex_may_relock_sig(mutex);
}
inline bool os_mutex_unlock_frees_sig(const os_mutex& mutex, std::uint32_t thread) PROF_DETAIL_SIG {
  if (!os_mutex_refuses_others_sig(mutex)) return true;
  if (os_mutex_owner_sig(mutex) != thread) return false;
  return os_mutex_type_sig(mutex) != os_mutex_recursive || mutex.__data.__count == 1;
}

// Whether what may be a mutex is one that somebody waits for: its word says so, and its kind is one.
inline bool os_is_waited_mutex_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  constexpr std::uint32_t has_waiters = 0x80000000u;  // FUTEX_WAITERS
  const std::uint32_t word = os_mutex_word_sig(mutex);
  const bool is_kind = mutex.__data.__kind >= 0 && mutex.__data.__kind < 1024 && mutex.__data.__nusers < 0x10000;
  if (!is_kind) return false;
  return os_has_holder_in_word_sig(mutex) ? (word & has_waiters) != 0 : os_mutex_held_bits_sig(mutex) == 2;
}

// How many threads are in a wait at a condition variable; before glibc 2.25, which counts otherwise, any number.
inline std::uint32_t os_cond_waiters_sig(const pthread_cond_t& cond) PROF_DETAIL_SIG {
#if PROF_DETAIL_GLIBC_BEFORE(25)
  (void)cond;
  return ~std::uint32_t{0};
#else
  return __atomic_load_n(&cond.__data.__wrefs, __ATOMIC_RELAXED) >> 3;
#endif
}

inline std::uint32_t os_rwlock_writer_sig(const os_rwlock& lock) PROF_DETAIL_SIG {
  return os_lock_word_sig(lock.__data.__cur_writer);
}
inline std::uint32_t os_rwlock_word_sig(const os_rwlock& lock) PROF_DETAIL_SIG {
  return __atomic_load_n(&lock.__data.__readers, __ATOMIC_RELAXED);
}
// Not 0 where a reader, or a writer, may have to wait. As numbers, which hot paths test together with others.
inline std::uint32_t os_rwlock_reader_bits_sig(const os_rwlock& lock) PROF_DETAIL_SIG { return os_rwlock_word_sig(lock) & 2; }
inline std::uint32_t os_rwlock_writer_bits_sig(const os_rwlock& lock) PROF_DETAIL_SIG { return os_rwlock_word_sig(lock) & ~1u; }
inline bool os_rwlock_may_block_reader_sig(const os_rwlock& lock) PROF_DETAIL_SIG {
  return os_rwlock_reader_bits_sig(lock) != 0;
}
// A writer that waits for readers keeps out others only where it is preferred.
inline bool os_rwlock_blocks_reader_sig(const os_rwlock& lock) PROF_DETAIL_SIG {
  const bool prefers_writers = lock.__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
  return os_rwlock_may_block_reader_sig(lock) && ((os_rwlock_word_sig(lock) & 1) != 0 || prefers_writers);
}
inline bool os_rwlock_may_block_writer_sig(const os_rwlock& lock) PROF_DETAIL_SIG {
  return os_rwlock_writer_bits_sig(lock) != 0;
}
inline bool os_rwlock_is_writer_sig(const os_rwlock& lock, std::uint32_t thread) PROF_DETAIL_SIG {
  return os_rwlock_writer_sig(lock) == thread;
}
inline std::uint32_t os_rwlock_readers_sig(const os_rwlock& lock) PROF_DETAIL_SIG { return os_rwlock_word_sig(lock) >> 3; }

// pthread_rwlock_tryrdlock(3p) and pthread_rwlock_trywrlock(3p), for static links in which a hook keeps libc's own out. Of
// the word, bit 0 says that it is the writers' turn, bit 1 that one has or wants it; from bit 3 on it counts readers, and bit
// 31 is never set. The two words behind are what threads sleep at. 0 or an errno.
inline constexpr std::uint32_t os_rwlock_of_writers = 1;
inline constexpr std::uint32_t os_rwlock_wanted = 2;
inline constexpr std::uint32_t os_rwlock_one_reader = 8;
PROF_DETAIL_COLD inline int os_rwlock_try_read(os_rwlock& lock) PROF_DETAIL_SIG {
  const bool prefers_writers = lock.__data.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP;
  std::uint32_t seen = os_rwlock_word_sig(lock);
  std::uint32_t wanted = 0;
  do {
    const bool is_wanted = (seen & os_rwlock_wanted) != 0;
    if (is_wanted && ((seen & os_rwlock_of_writers) != 0 || prefers_writers)) return EBUSY;
    wanted = (seen + os_rwlock_one_reader) & ~os_rwlock_of_writers;
    if (wanted >> 31 != 0) return EAGAIN;  // too many readers
  } while (!__atomic_compare_exchange_n(&lock.__data.__readers, &seen, wanted, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
  if ((seen & os_rwlock_of_writers) == 0) return 0;
  // Its turn of readers begins: some may sleep until then.
  constexpr std::uint32_t has_sleepers = 2;
  if ((__atomic_exchange_n(&lock.__data.__wrphase_futex, 0u, __ATOMIC_RELAXED) & has_sleepers) != 0) {
    const long operation = lock.__data.__shared != 0 ? FUTEX_WAKE : FUTEX_WAKE | FUTEX_PRIVATE_FLAG;
    (void)os_call_sig(SYS_futex, os_word(&lock.__data.__wrphase_futex), operation, 0x7fffffff);
  }
  return 0;
}
PROF_DETAIL_COLD inline int os_rwlock_try_write(os_rwlock& lock, std::uint32_t thread) PROF_DETAIL_SIG {
  const bool prefers_writers = lock.__data.__flags != 0;
  std::uint32_t seen = os_rwlock_word_sig(lock);
  do {
    const bool has_readers = seen >= os_rwlock_one_reader;
    const bool overtakes = prefers_writers && (seen & os_rwlock_of_writers) != 0;
    if ((seen & os_rwlock_wanted) != 0 || (has_readers && !overtakes)) return EBUSY;
  } while (!__atomic_compare_exchange_n(&lock.__data.__readers, &seen, seen | os_rwlock_wanted | os_rwlock_of_writers, true,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
  __atomic_store_n(&lock.__data.__writers_futex, 1u, __ATOMIC_RELAXED);
  __atomic_store_n(&lock.__data.__wrphase_futex, 1u, __ATOMIC_RELAXED);
  __atomic_store_n(&lock.__data.__cur_writer, static_cast<int>(thread), __ATOMIC_RELAXED);
  return 0;
}

// ---- other things that threads wait for --------------------------------------------------------------------------

using os_semaphore = sem_t;

// Its value below, how many wait above.
inline std::uint64_t* os_semaphore_word_sig(os_semaphore& semaphore) PROF_DETAIL_SIG {
  return reinterpret_cast<std::uint64_t*>(&semaphore);
}
inline bool os_semaphore_is_open_sig(os_semaphore& semaphore) PROF_DETAIL_SIG {
  return static_cast<std::uint32_t>(__atomic_load_n(os_semaphore_word_sig(semaphore), __ATOMIC_RELAXED)) != 0;
}

// Whether libc waits until then: by one of two clocks, and with nanoseconds that are some.
inline bool os_is_deadline(clockid_t clock, const timespec& until) PROF_DETAIL_SIG {
  const bool is_known = clock == CLOCK_REALTIME || clock == CLOCK_MONOTONIC;
  return is_known && until.tv_nsec >= 0 && until.tv_nsec < 1000000000;
}

// A thread that waits for a semaphore counts there, also when it is cancelled.
struct os_semaphore_waiter {
  static constexpr std::uint64_t one = std::uint64_t{1} << 32;
  std::uint64_t* word;
  bool is_counted = true;
  explicit os_semaphore_waiter(std::uint64_t* at) PROF_DETAIL_SIG : word(at) { __atomic_add_fetch(word, one, __ATOMIC_RELAXED); }
  ~os_semaphore_waiter() {
    if (is_counted) __atomic_sub_fetch(word, one, __ATOMIC_RELAXED);
  }
  os_semaphore_waiter(const os_semaphore_waiter&) = delete;
  os_semaphore_waiter& operator=(const os_semaphore_waiter&) = delete;
};

// sem_wait(3) and sem_clockwait(3), for static links in which a hook keeps libc's own out; `until` null: for ever. 0 or an
// errno. The order of the halves is that of a little-endian machine.
PROF_DETAIL_COLD inline int os_semaphore_wait(os_semaphore& semaphore, clockid_t clock, const timespec* until) {
  if (until != nullptr && !os_is_deadline(clock, *until)) return EINVAL;
  std::uint64_t* const word = os_semaphore_word_sig(semaphore);
  int is_shared = 0;  // FUTEX_PRIVATE_FLAG where it is: behind the two halves
  std::memcpy(&is_shared, word + 1, sizeof is_shared);
  pthread_testcancel();
  os_semaphore_waiter waiter(word);
  for (int failed = until != nullptr && until->tv_sec < 0 ? ETIMEDOUT : 0;;) {
    std::uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);
    while (static_cast<std::uint32_t>(seen) != 0) {
      const std::uint64_t taken = seen - 1 - os_semaphore_waiter::one;
      if (!__atomic_compare_exchange_n(word, &seen, taken, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) continue;
      waiter.is_counted = false;
      return 0;
    }
    if (failed == EINTR || failed == ETIMEDOUT || failed == EINVAL) return failed;
    const long operation = (FUTEX_WAIT_BITSET | (clock == CLOCK_REALTIME ? FUTEX_CLOCK_REALTIME : 0) | FUTEX_PRIVATE_FLAG) ^ is_shared;
    int type = PTHREAD_CANCEL_DEFERRED;
    (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    failed = static_cast<int>(-os_call_sig(SYS_futex, os_word(word), operation, 0, os_word(until), 0, -1));
    (void)pthread_setcanceltype(type, nullptr);
  }
}

// Whether who comes now is the last that a barrier waits for: how many have come, before which of them this round began,
// how many it is for (glibc 2.25 and later, struct pthread_barrier).
inline bool os_barrier_is_complete_sig(const pthread_barrier_t& barrier) PROF_DETAIL_SIG {
  std::uint32_t words[3];
  std::memcpy(words, &barrier, sizeof words);
  return words[0] - words[1] + 1 >= words[2];
}

// Whether another thread is in pthread_once(3) for it now: 1 and what forks it has seen (glibc), 1 or 3 (musl).
inline bool os_once_is_running_sig(const pthread_once_t& once) PROF_DETAIL_SIG {
  return (os_lock_word_sig(once) & 1) != 0;
}

// Whether a system call waits at a futex, and at which: see syscall(2), futex(2).
inline bool os_is_futex_wait_sig(long number, long operation) PROF_DETAIL_SIG {
  constexpr long wait_requeue_pi = 11;
  constexpr long lock_pi2 = 13;
  if (number != SYS_futex) return false;
  const long command = operation & FUTEX_CMD_MASK;
  return command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET || command == FUTEX_LOCK_PI ||
         command == wait_requeue_pi || command == lock_pi2;
}

PROF_DETAIL_END

#endif  // PROF_DETAIL_OS_LOCKS

#endif  // PROF_OS_LINUX_LOCKS_HPP
