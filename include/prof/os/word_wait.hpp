// prof/os/word_wait.hpp - waiting until a word changes: what prof's own locks ask of the system.
// Floor 3 (os). A contract of its own, so that the thin header does not bring the headers of os/os.hpp.
// Safety: async-signal-safe. A wait ends at a wake, at a signal, or for no reason: who waits looks again.
// Memory: none.
// Source: futex(2). Elsewhere nobody sleeps: who waits spins, which is right on one thread and dear on many.
#ifndef PROF_OS_WORD_WAIT_HPP
#define PROF_OS_WORD_WAIT_HPP

#include "prof/os/linux_call.hpp"

PROF_DETAIL_BEGIN

#if PROF_DETAIL_LINUX_CALLS

// Waits while the lower half of `word` is `value`.
inline void os_wait_word_sig(const std::atomic<std::uint64_t>& word, std::uint32_t value) PROF_DETAIL_SIG {
  constexpr long futex_wait_private = 128;
  (void)os_call_sig(SYS_futex, os_word(&word), futex_wait_private, static_cast<long>(value), 0);
}
// Wakes at most `count` threads that wait so. The word may be gone.
inline void os_wake_word_sig(const std::atomic<std::uint64_t>& word, int count) PROF_DETAIL_SIG {
  constexpr long futex_wake_private = 129;
  (void)os_call_sig(SYS_futex, os_word(&word), futex_wake_private, count);
}

#else

inline void os_wait_word_sig(const std::atomic<std::uint64_t>&, std::uint32_t) PROF_DETAIL_SIG {}
inline void os_wake_word_sig(const std::atomic<std::uint64_t>&, int) PROF_DETAIL_SIG {}

#endif

PROF_DETAIL_END

#endif  // PROF_OS_WORD_WAIT_HPP
