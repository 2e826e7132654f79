// prof/collect/locks.hpp - prof::mutex and prof::shared_mutex, and contention that code reports itself: what feeds the
// mutex and the block profile where hooks of locks are off or dead.
// Floor 11 (collect). Public; part of the thin header.
// Safety: as std::mutex and std::shared_mutex: ordinary context. They do not throw.
// Memory: 8 bytes per lock.
// Source: Drepper, Futexes Are Tricky (2011): a word whose lower half is the lock and what waiters sleep at; the upper half
//         counts them, so that an unlock knows before it lets go whether somebody waits, and touches nothing behind it.
#ifndef PROF_COLLECT_LOCKS_HPP
#define PROF_COLLECT_LOCKS_HPP

#include "prof/collect/api_table.hpp"
#include "prof/os/word_wait.hpp"

PROF_DETAIL_BEGIN

// Kinds of a wait for a lock, as objects tell each other.
enum class lock_wait_kind : std::uint32_t { mutex, rdlock, wrlock };

inline constexpr std::uint64_t one_lock_waiter = std::uint64_t{1} << 32;
inline std::uint64_t lock_waiters(std::uint64_t word) PROF_DETAIL_SIG { return word / one_lock_waiter; }

// A lock of either class, as the functions of the table see it: `word` is what identifies it.
using lock_word = std::atomic<std::uint64_t>;

// Changes the word to wanted(word) where may(word) holds, in one step; whether it did.
template <class May, class Wanted>
bool try_lock_word(lock_word& word, std::uint64_t& seen, May may, Wanted wanted) noexcept {
  while (may(seen)) {
    if (word.compare_exchange_weak(seen, wanted(seen), std::memory_order_acquire, std::memory_order_relaxed)) return true;
  }
  return false;
}

// Waits until it can be taken, and takes it. One waiter is counted meanwhile.
template <class May, class Wanted>
void wait_for_word(lock_word& word, May may, Wanted wanted) noexcept {
  std::uint64_t seen = word.fetch_add(one_lock_waiter, std::memory_order_relaxed) + one_lock_waiter;
  while (!try_lock_word(word, seen, may, [&](std::uint64_t now) { return wanted(now) - one_lock_waiter; })) {
    os_wait_word_sig(word, static_cast<std::uint32_t>(seen));
    seen = word.load(std::memory_order_relaxed);
  }
}

// A thread has taken a lock that others wait for.
inline void tell_lock_taken(lock_word& word) noexcept {
  const api_table* const table = api_sig();
  if (table != nullptr) table->lock_taken(&word);
}
// wait(lock) waits and takes it.
inline void wait_for_lock(lock_word& word, lock_wait_kind kind, void (*wait)(void*), const call_frame& call) {
  const api_table* const table = api_sig();
  if (table == nullptr) return wait(&word);
  table->lock_waits(&word, static_cast<std::uint32_t>(kind), wait, call);
}
// unlock(lock) lets go of it, of which `sharers` hold it.
inline void unlock_contended(lock_word& word, std::uint64_t sharers, void (*unlock)(void*), const call_frame& call) {
  const api_table* const table = api_sig();
  if (table == nullptr) return unlock(&word);
  table->lock_unlocks(&word, sharers, unlock, call);
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// A mutex as std::mutex: not recursive, no owner, no fairness. Its waits and holds are in the profiles mutex and block
// whether hooks are there or not, and once only; without prof.hpp in the process it is just a mutex. Uncontended it costs
// one atomic operation to lock and one to unlock.
class mutex {
 public:
  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  PROF_DETAIL_LOCAL PROF_DETAIL_INLINE void lock() {
    std::uint64_t free = 0;
    if (PROF_DETAIL_UNLIKELY(!word_.compare_exchange_strong(free, held, std::memory_order_acquire))) lock_slow();
  }
  PROF_DETAIL_LOCAL bool try_lock() noexcept {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    if (!detail::try_lock_word(word_, seen, is_free, taken)) return false;
    if (PROF_DETAIL_UNLIKELY(detail::lock_waiters(seen) != 0)) detail::tell_lock_taken(word_);
    return true;
  }
  PROF_DETAIL_LOCAL PROF_DETAIL_INLINE void unlock() {
    std::uint64_t seen = held;
    if (PROF_DETAIL_UNLIKELY(!word_.compare_exchange_strong(seen, 0, std::memory_order_release))) unlock_slow();
  }

 private:
  static constexpr std::uint64_t held = 1;
  static bool is_free(std::uint64_t word) noexcept { return (word & held) == 0; }
  static std::uint64_t taken(std::uint64_t word) noexcept { return word | held; }

  PROF_DETAIL_LOCAL PROF_DETAIL_NOINLINE void lock_slow() {
    if (try_lock()) return;
    detail::wait_for_lock(word_, detail::lock_wait_kind::mutex, [](void* word) {
      detail::wait_for_word(*static_cast<detail::lock_word*>(word), is_free, taken);
    }, PROF_DETAIL_CALL_FRAME());
  }
  PROF_DETAIL_LOCAL PROF_DETAIL_NOINLINE void unlock_slow() {
    detail::unlock_contended(word_, 1, [](void* lock) {
      auto& word = *static_cast<detail::lock_word*>(lock);
      const std::uint64_t before = word.fetch_sub(held, std::memory_order_release);
      if (detail::lock_waiters(before) != 0) detail::os_wake_word_sig(word, 1);
    }, PROF_DETAIL_CALL_FRAME());
  }

  std::atomic<std::uint64_t> word_{0};
};

// A mutex as std::shared_mutex: many readers, or one writer. Readers come before writers that wait, as in glibc's. What
// is said of prof::mutex holds here, too; an unlock of one of k readers is charged 1/k of what is unpaid, the last pays
// the rest.
class shared_mutex {
 public:
  constexpr shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  PROF_DETAIL_LOCAL PROF_DETAIL_INLINE void lock() {
    std::uint64_t free = 0;
    if (PROF_DETAIL_UNLIKELY(!word_.compare_exchange_strong(free, writer, std::memory_order_acquire))) lock_slow();
  }
  PROF_DETAIL_LOCAL bool try_lock() noexcept { return try_taking(is_free, written); }
  PROF_DETAIL_LOCAL PROF_DETAIL_INLINE void unlock() {
    std::uint64_t seen = writer;
    if (PROF_DETAIL_UNLIKELY(!word_.compare_exchange_strong(seen, 0, std::memory_order_release))) unlock_slow(1, &leave_writing);
  }

  PROF_DETAIL_LOCAL PROF_DETAIL_INLINE void lock_shared() {
    if (PROF_DETAIL_UNLIKELY(!try_lock_shared())) lock_shared_slow();
  }
  PROF_DETAIL_LOCAL bool try_lock_shared() noexcept { return try_taking(is_readable, read_once_more); }
  PROF_DETAIL_LOCAL PROF_DETAIL_INLINE void unlock_shared() {
    const std::uint64_t seen = word_.load(std::memory_order_relaxed);
    if (PROF_DETAIL_UNLIKELY(detail::lock_waiters(seen) != 0)) return unlock_slow(seen & readers, &leave_reading);
    leave_reading(&word_);
  }

 private:
  static constexpr std::uint64_t writer = std::uint64_t{1} << 31;
  static constexpr std::uint64_t readers = writer - 1;
  static bool is_free(std::uint64_t word) noexcept { return (word & (writer | readers)) == 0; }
  static std::uint64_t written(std::uint64_t word) noexcept { return word | writer; }
  static bool is_readable(std::uint64_t word) noexcept { return (word & writer) == 0; }
  static std::uint64_t read_once_more(std::uint64_t word) noexcept { return word + 1; }

  template <class May, class Wanted>
  bool try_taking(May may, Wanted wanted) noexcept {
    std::uint64_t seen = word_.load(std::memory_order_relaxed);
    if (!detail::try_lock_word(word_, seen, may, wanted)) return false;
    if (PROF_DETAIL_UNLIKELY(detail::lock_waiters(seen) != 0)) detail::tell_lock_taken(word_);
    return true;
  }
  // Readers that wait are woken all, for they share.
  static void leave_writing(void* lock) {
    auto& word = *static_cast<detail::lock_word*>(lock);
    const std::uint64_t before = word.fetch_sub(writer, std::memory_order_release);
    if (detail::lock_waiters(before) != 0) detail::os_wake_word_sig(word, 0x7fffffff);
  }
  // Behind the last reader only writers wait, and those that have been woken.
  static void leave_reading(void* lock) {
    auto& word = *static_cast<detail::lock_word*>(lock);
    const std::uint64_t before = word.fetch_sub(1, std::memory_order_release);
    if (detail::lock_waiters(before) != 0 && (before & readers) == 1) detail::os_wake_word_sig(word, 1);
  }
  PROF_DETAIL_LOCAL PROF_DETAIL_NOINLINE void lock_slow() {
    if (try_lock()) return;
    detail::wait_for_lock(word_, detail::lock_wait_kind::wrlock, [](void* word) {
      detail::wait_for_word(*static_cast<detail::lock_word*>(word), is_free, written);
    }, PROF_DETAIL_CALL_FRAME());
  }
  PROF_DETAIL_LOCAL PROF_DETAIL_NOINLINE void lock_shared_slow() {
    detail::wait_for_lock(word_, detail::lock_wait_kind::rdlock, [](void* word) {
      detail::wait_for_word(*static_cast<detail::lock_word*>(word), is_readable, read_once_more);
    }, PROF_DETAIL_CALL_FRAME());
  }
  PROF_DETAIL_LOCAL PROF_DETAIL_NOINLINE void unlock_slow(std::uint64_t sharers, void (*leave)(void*)) {
    detail::unlock_contended(word_, sharers, leave, PROF_DETAIL_CALL_FRAME());
  }

  std::atomic<std::uint64_t> word_{0};
};

// Tells the mutex profile that the caller's unlock of a lock that no hook sees made others wait, for `ns` nanoseconds in
// all: one contention at the caller's stack, or, at a fraction of n, n contentions of n times that at every n-th call.
// Any thread; not in a signal handler. While the profile is off it costs a call.
PROF_DETAIL_LOCAL PROF_DETAIL_NOINLINE inline void record_contention(std::uint64_t ns) {
  const detail::api_table* const table = detail::api_sig();
  if (table != nullptr) table->record_contention(ns, PROF_DETAIL_CALL_FRAME());
}

// Feeds the mutex profile from Abseil's mutexes, whose times are in cycles of a clock of its own:
//
//   absl::RegisterMutexProfiler(&prof::absl_mutex_profiler<absl::base_internal::CycleClock>);
//
// Abseil keeps one such function per process, and tells it of unlocks that others waited for.
template <class CycleClock>
PROF_DETAIL_LOCAL PROF_DETAIL_NOINLINE void absl_mutex_profiler(std::int64_t wait_cycles) {
  const detail::api_table* const table = detail::api_sig();
  if (table == nullptr || wait_cycles <= 0) return;
  const double ns = static_cast<double>(wait_cycles) * 1e9 / CycleClock::Frequency();
  table->record_contention(static_cast<std::uint64_t>(ns), PROF_DETAIL_CALL_FRAME());
}

PROF_PUBLIC_END

#endif  // PROF_COLLECT_LOCKS_HPP
