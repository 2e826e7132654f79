// prof/hook/lock_entries.hpp - what the hooks of mutexes and read-write locks do: take, try, let go.
// Floor 9 (hook). Used by hook/lock.hpp, which defines the symbols.
// Safety: as hook/waiting.hpp. Hot path of a lock: its word and the number of contended locks, both 0, then a jump; of an
//         unlock that number alone.
// Memory: none.
// Source: pthread_mutex_lock(3p), pthread_rwlock_rdlock(3p); glibc 2.36 for the clock variants. Every call is forwarded with
//         its arguments, once, so that types, protocols and misuse keep their meaning.
#ifndef PROF_HOOK_LOCK_ENTRIES_HPP
#define PROF_HOOK_LOCK_ENTRIES_HPP

#include "prof/hook/waiting.hpp"

PROF_DETAIL_BEGIN

using os_cond = pthread_cond_t;

// libc's own under second names, for static links, in which a definition of ours keeps libc's object from being pulled in.
// What C11 threads, messages and locales need brings it there (libc.a of glibc 2.36); dynamically these are some imports
// more. Of trying and of the timed variants of read-write locks nothing does: see os_rwlock_try_read.
// Those that are no cancellation points are known not to throw, or a thread that is cancelled in them (asynchronously) would
// find a function that must not.
#define PROF_DETAIL_SECOND(identifier, symbol, ...) \
  extern "C" int prof_libc_##identifier(__VA_ARGS__) noexcept PROF_DETAIL_WEAK_IMPORT(symbol);
#define PROF_DETAIL_SECOND_CANCELLABLE(identifier, symbol, ...) \
  extern "C" int prof_libc_##identifier(__VA_ARGS__) PROF_DETAIL_WEAK_IMPORT(symbol);
PROF_DETAIL_SECOND(mutex_lock, "__pthread_mutex_lock", os_mutex*)
PROF_DETAIL_SECOND(mutex_trylock, "__pthread_mutex_trylock", os_mutex*)
PROF_DETAIL_SECOND(mutex_timedlock, "__pthread_mutex_timedlock", os_mutex*, const timespec*)
PROF_DETAIL_SECOND(mutex_clocklock, "__pthread_mutex_clocklock", os_mutex*, clockid_t, const timespec*)
PROF_DETAIL_SECOND(mutex_unlock, "__pthread_mutex_unlock", os_mutex*)
PROF_DETAIL_SECOND(rwlock_rdlock, "__pthread_rwlock_rdlock", os_rwlock*)
PROF_DETAIL_SECOND(rwlock_wrlock, "__pthread_rwlock_wrlock", os_rwlock*)
PROF_DETAIL_SECOND(rwlock_unlock, "__pthread_rwlock_unlock", os_rwlock*)
PROF_DETAIL_SECOND_CANCELLABLE(cond_wait, "__pthread_cond_wait", os_cond*, os_mutex*)
PROF_DETAIL_SECOND_CANCELLABLE(cond_timedwait, "__pthread_cond_timedwait", os_cond*, os_mutex*, const timespec*)
PROF_DETAIL_SECOND_CANCELLABLE(cond_clockwait, "__pthread_cond_clockwait", os_cond*, os_mutex*, clockid_t,
                               const timespec*)
PROF_DETAIL_SECOND(cond_signal, "__pthread_cond_signal", os_cond*)
PROF_DETAIL_SECOND(cond_broadcast, "__pthread_cond_broadcast", os_cond*)

#if !PROF_DETAIL_GLIBC_BEFORE(28)
PROF_DETAIL_KEEP(mtx_lock)
PROF_DETAIL_KEEP(mtx_trylock)
PROF_DETAIL_KEEP(mtx_timedlock)
PROF_DETAIL_KEEP(mtx_unlock)
PROF_DETAIL_KEEP(cnd_wait)
PROF_DETAIL_KEEP(cnd_signal)
PROF_DETAIL_KEEP(cnd_broadcast)
#endif
PROF_DETAIL_KEEP(gettext)
PROF_DETAIL_KEEP(newlocale)

// Tries until a time has come. 0 or an errno, as libc's own answers to what it does not understand, and to who would wait
// for itself.
template <class Try>
PROF_DETAIL_COLD int try_until(const os_rwlock& lock, clockid_t clock, const timespec& until, Try try_it) PROF_DETAIL_SIG {
  if (!os_is_deadline(clock, until)) return EINVAL;
  if (os_rwlock_is_writer_sig(lock, os_thread_id_sig())) return EDEADLK;
  const std::uint64_t end = until.tv_sec < 0 ? 0 : static_cast<std::uint64_t>(until.tv_sec) * 1000000000u + static_cast<std::uint64_t>(until.tv_nsec);
  for (int answer = try_it(); answer != EBUSY || os_clock_ns_sig(clock) < end; answer = try_it()) {
    if (answer != EBUSY) return answer;
    os_sleep_ns(1000000);
  }
  return ETIMEDOUT;
}

// X(identifier, symbol, profiles that want to see it); the order of status().
#define PROF_DETAIL_LOCK_ENTRIES(X)                                          \
  X(mutex_lock, "pthread_mutex_lock", for_mutex | for_block)                 \
  X(mutex_trylock, "pthread_mutex_trylock", for_mutex)                       \
  X(mutex_timedlock, "pthread_mutex_timedlock", for_mutex | for_block)       \
  X(mutex_clocklock, "pthread_mutex_clocklock", for_mutex | for_block)       \
  X(mutex_unlock, "pthread_mutex_unlock", for_mutex)                         \
  X(rwlock_rdlock, "pthread_rwlock_rdlock", for_mutex | for_block)           \
  X(rwlock_timedrdlock, "pthread_rwlock_timedrdlock", for_mutex | for_block) \
  X(rwlock_clockrdlock, "pthread_rwlock_clockrdlock", for_mutex | for_block) \
  X(rwlock_tryrdlock, "pthread_rwlock_tryrdlock", for_mutex)                 \
  X(rwlock_wrlock, "pthread_rwlock_wrlock", for_mutex | for_block)           \
  X(rwlock_timedwrlock, "pthread_rwlock_timedwrlock", for_mutex | for_block) \
  X(rwlock_clockwrlock, "pthread_rwlock_clockwrlock", for_mutex | for_block) \
  X(rwlock_trywrlock, "pthread_rwlock_trywrlock", for_mutex)                 \
  X(rwlock_unlock, "pthread_rwlock_unlock", for_mutex)                       \
  X(cond_wait, "pthread_cond_wait", for_mutex | for_block)                   \
  X(cond_timedwait, "pthread_cond_timedwait", for_mutex | for_block)         \
  X(cond_clockwait, "pthread_cond_clockwait", for_mutex | for_block)         \
  X(cond_signal, "pthread_cond_signal", for_mutex)                           \
  X(cond_broadcast, "pthread_cond_broadcast", for_mutex)

enum lock_entry_index : int {
#define PROF_DETAIL_ENUM(identifier, symbol, wanted) entry_##identifier,
  PROF_DETAIL_LOCK_ENTRIES(PROF_DETAIL_ENUM)
#undef PROF_DETAIL_ENUM
      lock_entry_count
};
static_assert(lock_entry_count <= max_wait_entries);

inline std::atomic<hook_role> lock_role{hook_role::unresolved};
inline std::atomic<std::uint32_t> lock_resolver{0};
inline hook_record lock_records[lock_entry_count] = {
#define PROF_DETAIL_RECORD(identifier, symbol, wanted) {symbol, {"unknown"}, {"not called yet"}},
    PROF_DETAIL_LOCK_ENTRIES(PROF_DETAIL_RECORD)
#undef PROF_DETAIL_RECORD
};
const hook_set& lock_hooks() PROF_DETAIL_SIG;

// How many locks are contended, wherever the process counts them: what hot paths look at.
inline std::atomic<std::size_t> no_lock_is_contended{0};
inline std::atomic<const std::atomic<std::size_t>*> contended_locks{&no_lock_is_contended};
inline std::size_t contended_now_sig() PROF_DETAIL_SIG {
  return contended_locks.load(std::memory_order_relaxed)->load(std::memory_order_relaxed);
}

inline constexpr bool gets_lock(int answer) { return answer == 0 || answer == EOWNERDEAD; }

// ---- entries that lock --------------------------------------------------------------------------------------------

// Tag: kind; held_sig(lock), 0: free for certain; blocks_sig(lock): the caller would wait now. Rest: until when.
template <class Tag, class Lock, class... Rest>
struct locking_entry : waiting_base<Tag, int(Lock*, Rest...) noexcept> {
  using base = hooked_base<Tag, int(Lock*, Rest...) noexcept>;
  static const hook_set& set() PROF_DETAIL_SIG { return lock_hooks(); }

  static int counting(Lock* lock, Rest... rest) noexcept {
    if (PROF_DETAIL_LIKELY((Tag::held_sig(*lock) | contended_now_sig()) == 0)) return base::call_next(lock, rest...);
    return counting_slow(lock, rest...);
  }
  PROF_DETAIL_NOINLINE static int counting_slow(Lock* lock, Rest... rest) noexcept {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<Tag>());
    if (!Tag::blocks_sig(*lock)) {
      const int answer = base::call_next(lock, rest...);
      if (gets_lock(answer) && contended_now_sig() != 0) note_taken_sig(lock);
      return answer;
    }
    followed_wait wait(Tag::kind, lock, caller);
    wait.for_lock_sig();
    wait.begin_sig();
    const int answer = base::call_next(lock, rest...);
    wait.end_sig(gets_lock(answer));
    return answer;
  }
};

template <class Tag, class... Rest>
struct mutex_locking_entry : locking_entry<Tag, os_mutex, Rest...> {
  static constexpr wait_kind kind = wait_kind::mutex;
  static std::size_t held_sig(const os_mutex& mutex) PROF_DETAIL_SIG { return os_mutex_word_sig(mutex); }
  static bool blocks_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
    if (!os_mutex_is_held_sig(mutex)) return false;
    return !os_mutex_may_relock_sig(mutex) || !os_mutex_relocks_sig(mutex, os_thread_id_sig());
  }
};
template <class Tag, class... Rest>
struct read_locking_entry : locking_entry<Tag, os_rwlock, Rest...> {
  static constexpr wait_kind kind = wait_kind::rdlock;
  static std::size_t held_sig(const os_rwlock& lock) PROF_DETAIL_SIG { return os_rwlock_reader_bits_sig(lock); }
  static bool blocks_sig(const os_rwlock& lock) PROF_DETAIL_SIG { return os_rwlock_blocks_reader_sig(lock); }
};
template <class Tag, class... Rest>
struct write_locking_entry : locking_entry<Tag, os_rwlock, Rest...> {
  static constexpr wait_kind kind = wait_kind::wrlock;
  static std::size_t held_sig(const os_rwlock& lock) PROF_DETAIL_SIG { return os_rwlock_writer_bits_sig(lock); }
  static bool blocks_sig(const os_rwlock& lock) PROF_DETAIL_SIG { return os_rwlock_may_block_writer_sig(lock); }
};

// A call that has no next definition is answered by libc's own under another name.
#define PROF_DETAIL_FALLBACK(identifier, parameters, arguments)                                    \
  static constexpr int index = entry_##identifier;                                                 \
  static int fallback parameters {                                                                 \
    return prof_libc_##identifier != nullptr ? prof_libc_##identifier arguments : ENOSYS;          \
  }

struct mutex_lock_entry : mutex_locking_entry<mutex_lock_entry> {
  PROF_DETAIL_FALLBACK(mutex_lock, (os_mutex * mutex) noexcept, (mutex))
};
struct mutex_timedlock_entry : mutex_locking_entry<mutex_timedlock_entry, const timespec*> {
  PROF_DETAIL_FALLBACK(mutex_timedlock, (os_mutex * mutex, const timespec* until) noexcept, (mutex, until))
};
struct mutex_clocklock_entry : mutex_locking_entry<mutex_clocklock_entry, clockid_t, const timespec*> {
  PROF_DETAIL_FALLBACK(mutex_clocklock, (os_mutex * mutex, clockid_t clock, const timespec* until) noexcept,
                       (mutex, clock, until))
};
struct rwlock_rdlock_entry : read_locking_entry<rwlock_rdlock_entry> {
  PROF_DETAIL_FALLBACK(rwlock_rdlock, (os_rwlock * lock) noexcept, (lock))
};
struct rwlock_timedrdlock_entry : read_locking_entry<rwlock_timedrdlock_entry, const timespec*> {
  static constexpr int index = entry_rwlock_timedrdlock;
  static int fallback(os_rwlock* lock, const timespec* until) noexcept {
    return try_until(*lock, CLOCK_REALTIME, *until, [lock] { return os_rwlock_try_read(*lock); });
  }
};
struct rwlock_clockrdlock_entry : read_locking_entry<rwlock_clockrdlock_entry, clockid_t, const timespec*> {
  static constexpr int index = entry_rwlock_clockrdlock;
  static int fallback(os_rwlock* lock, clockid_t clock, const timespec* until) noexcept {
    return try_until(*lock, clock, *until, [lock] { return os_rwlock_try_read(*lock); });
  }
};
struct rwlock_wrlock_entry : write_locking_entry<rwlock_wrlock_entry> {
  PROF_DETAIL_FALLBACK(rwlock_wrlock, (os_rwlock * lock) noexcept, (lock))
};
struct rwlock_timedwrlock_entry : write_locking_entry<rwlock_timedwrlock_entry, const timespec*> {
  static constexpr int index = entry_rwlock_timedwrlock;
  static int fallback(os_rwlock* lock, const timespec* until) noexcept {
    return try_until(*lock, CLOCK_REALTIME, *until, [lock] { return os_rwlock_try_write(*lock, os_thread_id_sig()); });
  }
};
struct rwlock_clockwrlock_entry : write_locking_entry<rwlock_clockwrlock_entry, clockid_t, const timespec*> {
  static constexpr int index = entry_rwlock_clockwrlock;
  static int fallback(os_rwlock* lock, clockid_t clock, const timespec* until) noexcept {
    return try_until(*lock, clock, *until, [lock] { return os_rwlock_try_write(*lock, os_thread_id_sig()); });
  }
};

// Takes the lock if it is free: then its clock runs again where others wait for it.
template <class Tag, class Lock>
struct trying_entry : waiting_base<Tag, int(Lock*) noexcept> {
  using base = hooked_base<Tag, int(Lock*) noexcept>;
  static const hook_set& set() PROF_DETAIL_SIG { return lock_hooks(); }
  static int counting(Lock* lock) noexcept {
    if (PROF_DETAIL_LIKELY(contended_now_sig() == 0)) return base::call_next(lock);
    return counting_slow(lock);
  }
  PROF_DETAIL_COLD static int counting_slow(Lock* lock) noexcept {
    const int answer = base::call_next(lock);
    if (gets_lock(answer)) note_taken_sig(lock);
    return answer;
  }
};
struct mutex_trylock_entry : trying_entry<mutex_trylock_entry, os_mutex> {
  PROF_DETAIL_FALLBACK(mutex_trylock, (os_mutex * mutex) noexcept, (mutex))
};
struct rwlock_tryrdlock_entry : trying_entry<rwlock_tryrdlock_entry, os_rwlock> {
  static constexpr int index = entry_rwlock_tryrdlock;
  static int fallback(os_rwlock* lock) noexcept { return os_rwlock_try_read(*lock); }
};
struct rwlock_trywrlock_entry : trying_entry<rwlock_trywrlock_entry, os_rwlock> {
  static constexpr int index = entry_rwlock_trywrlock;
  static int fallback(os_rwlock* lock) noexcept { return os_rwlock_try_write(*lock, os_thread_id_sig()); }
};

// ---- entries that unlock ----------------------------------------------------------------------------------------------

// Whether the calling thread's unlock makes a mutex free. Who calls is asked only where it matters: a system call.
inline bool unlock_frees_sig(const os_mutex& mutex) PROF_DETAIL_SIG {
  return !os_mutex_refuses_others_sig(mutex) || os_mutex_unlock_frees_sig(mutex, os_thread_id_sig());
}

// What must be known before the unlock is little, for others wait meanwhile; all else is done behind it.
// Tag: frees_sig(lock, sharers): this call makes the lock free, or one of `sharers` leaves it.
template <class Tag, class Lock>
struct unlocking_entry : waiting_base<Tag, int(Lock*) noexcept> {
  using base = hooked_base<Tag, int(Lock*) noexcept>;
  static const hook_set& set() PROF_DETAIL_SIG { return lock_hooks(); }

  static int counting(Lock* lock) noexcept {
    if (PROF_DETAIL_LIKELY(contended_now_sig() == 0)) return base::call_next(lock);
    return counting_slow(lock);
  }
  PROF_DETAIL_NOINLINE static int counting_slow(Lock* lock) noexcept {
    return is_contended_sig(lock) ? unlock_contended(lock) : base::call_next(lock);
  }
  static constexpr typename base::function between = &unlocking_entry::counting_slow;

 private:
  PROF_DETAIL_NOINLINE static int unlock_contended(Lock* lock) noexcept {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<Tag>());
    std::uint64_t sharers = 1;
    delay charge;
    if (Tag::frees_sig(*lock, sharers)) charge = charge_unlock_sig(address_of(lock), sharers);
    const int answer = base::call_next(lock);  // from here on the lock may be gone
    note_unlock_sig(charge, caller);
    return answer;
  }
};
struct mutex_unlock_entry : unlocking_entry<mutex_unlock_entry, os_mutex> {
  PROF_DETAIL_FALLBACK(mutex_unlock, (os_mutex * mutex) noexcept, (mutex))
  static bool frees_sig(const os_mutex& mutex, std::uint64_t&) PROF_DETAIL_SIG { return unlock_frees_sig(mutex); }
};
struct rwlock_unlock_entry : unlocking_entry<rwlock_unlock_entry, os_rwlock> {
  PROF_DETAIL_FALLBACK(rwlock_unlock, (os_rwlock * lock) noexcept, (lock))
  static bool frees_sig(const os_rwlock& lock, std::uint64_t& sharers) PROF_DETAIL_SIG {
    sharers = os_rwlock_is_writer_sig(lock, os_thread_id_sig()) ? 1 : os_rwlock_readers_sig(lock);
    return true;
  }
};

PROF_DETAIL_END

#endif  // PROF_HOOK_LOCK_ENTRIES_HPP
