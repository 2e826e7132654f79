// prof/process/waited_conds.hpp - condition variables that threads wait at: whom a signal or a broadcast makes a waiter of
// the mutex.
// Floor 7 (process). Fed by the hooks of condition variables, by way of hook/followed_wait.hpp.
// Safety: as process/contended_locks.hpp.
// Memory: see there.
// Source: pthread_cond_wait(3p): who is woken takes the mutex again before it returns, which no call to a lock shows; of 20
//         that a broadcast wakes, each of which holds the mutex for 5 ms, that are 950 ms.
#ifndef PROF_PROCESS_WAITED_CONDS_HPP
#define PROF_PROCESS_WAITED_CONDS_HPP

#include "prof/process/contended_locks.hpp"

PROF_DETAIL_BEGIN

// Who waits at one is in `waiting` until a signal or a broadcast takes it out: from then on it waits for the mutex, and
// is one of the mutex's waiters. A signal does not say whom it woke; the next waiter that comes back is taken for it. Of
// each thread that waits exactly one count is taken back, whatever woke it.
struct cond_words {
  std::uint64_t broadcasts;  // so far; tells a waiter that one came
  std::uint64_t waiting;     // since the last broadcast, and not signalled
  std::uint64_t signalled;   // so far
  std::uint64_t answered;    // of those since the last broadcast, by a waiter that came back
  std::uint64_t overtaken;   // signalled before the last broadcast, and not back yet: they see that, too
  std::uint64_t overtaken_end;  // what `signalled` was then
};
inline constexpr unsigned cond_waiting_bits = 16;
inline constexpr unsigned cond_broadcast_bits = 8;
inline constexpr unsigned cond_signal_bits = 10;
inline constexpr std::uint64_t most_signalled = (std::uint64_t{1} << cond_signal_bits) - 24;  // at once

// Each field in its bits, the first lowest.
inline std::uint64_t take_bits_sig(std::uint64_t& state, unsigned bits) PROF_DETAIL_SIG {
  const std::uint64_t field = state & ((std::uint64_t{1} << bits) - 1);
  state >>= bits;
  return field;
}
inline cond_words unpack_sig(std::uint64_t state) PROF_DETAIL_SIG {
  cond_words words{};
  words.broadcasts = take_bits_sig(state, cond_broadcast_bits);
  words.waiting = take_bits_sig(state, cond_waiting_bits);
  words.signalled = take_bits_sig(state, cond_signal_bits);
  words.answered = take_bits_sig(state, cond_signal_bits);
  words.overtaken = take_bits_sig(state, cond_signal_bits);
  words.overtaken_end = take_bits_sig(state, cond_signal_bits);
  return words;
}
inline void put_bits_sig(std::uint64_t& state, std::uint64_t field, unsigned bits) PROF_DETAIL_SIG {
  state = state << bits | (field & ((std::uint64_t{1} << bits) - 1));
}
inline std::uint64_t pack_sig(const cond_words& words) PROF_DETAIL_SIG {
  std::uint64_t state = 0;
  put_bits_sig(state, words.overtaken_end, cond_signal_bits);
  put_bits_sig(state, words.overtaken, cond_signal_bits);
  put_bits_sig(state, words.answered, cond_signal_bits);
  put_bits_sig(state, words.signalled, cond_signal_bits);
  put_bits_sig(state, words.waiting, cond_waiting_bits);
  put_bits_sig(state, words.broadcasts, cond_broadcast_bits);
  return state;
}
// How many of those that were signalled since the last broadcast have not come back.
inline std::uint64_t unanswered_sig(const cond_words& words) PROF_DETAIL_SIG {
  return (words.signalled - words.answered) & ((std::uint64_t{1} << cond_signal_bits) - 1);
}

// A thread's wait at a condition variable.
struct cond_wait {
  std::size_t index = no_slot;
  std::uint64_t broadcasts = 0;  // when it began
};
inline cond_wait begin_cond_wait_sig(contended_locks& contended, std::uintptr_t cond, std::uintptr_t lock) PROF_DETAIL_SIG {
  cond_wait wait;
  wait.index = contended.conds.pin_or_make_sig(cond, [](waited_cond& slot) PROF_DETAIL_SIG {
    slot.state.store(0, std::memory_order_relaxed);
  });
  if (wait.index == no_slot) return wait;
  waited_cond& slot = contended.conds.at(wait.index);
  slot.mutex.store(lock);
  std::uint64_t before = slot.state.load();
  cond_words words{};
  do {
    words = unpack_sig(before);
    wait.broadcasts = words.broadcasts;
    ++words.waiting;
  } while (!slot.state.compare_exchange_weak(before, pack_sig(words)));
  return wait;
}

inline lock_wait load_woken_sig(const woken_wait& woken) PROF_DETAIL_SIG {
  lock_wait wait;
  wait.index = static_cast<std::size_t>(woken.index.load());
  wait.charged_before = woken.charged_before.load();
  return wait;
}
inline void store_woken_sig(woken_wait& woken, const lock_wait& wait) PROF_DETAIL_SIG {
  woken.index.store(wait.index);
  woken.charged_before.store(wait.charged_before);
}

// The wait for the mutex that began when the waiter that comes back was woken; index no_slot: it was not woken by what
// was seen. `timed_out`: more likely by its own clock than by a signal.
inline lock_wait end_cond_wait_sig(contended_locks& contended, const cond_wait& wait, bool timed_out) PROF_DETAIL_SIG {
  waited_cond& slot = contended.conds.at(wait.index);
  std::uint64_t before = slot.state.load();
  lock_wait woken;
  cond_words words{};
  do {
    words = unpack_sig(before);
    woken = {};
    const bool is_broadcast = words.broadcasts != wait.broadcasts;
    if (is_broadcast && words.overtaken != 0) {
      woken = load_woken_sig(slot.by_signal[(words.overtaken_end - words.overtaken) % waited_cond::remembered]);
      --words.overtaken;
    } else if (is_broadcast) {
      woken = load_woken_sig(slot.by_broadcast[(wait.broadcasts + 1) % waited_cond::remembered]);
      break;
    } else if (unanswered_sig(words) != 0 && (words.waiting == 0 || !timed_out)) {
      woken = load_woken_sig(slot.by_signal[words.answered % waited_cond::remembered]);
      ++words.answered;
    } else if (words.waiting != 0) {
      --words.waiting;
    }
  } while (!slot.state.compare_exchange_weak(before, pack_sig(words)));
  contended.conds.unpin_sig(wait.index);
  return woken;
}

// `count` waiters that were announced do not come: somebody else woke them.
inline void take_back_sig(contended_locks& contended, const lock_wait& wait, std::uint32_t count) PROF_DETAIL_SIG {
  contended_lock& lock = contended.locks.at(wait.index);
  change_waiters_sig(lock, -static_cast<std::int64_t>(count), wait.position);
  if (count > 1) lock.pins.fetch_sub(count - 1);
  contended.locks.unpin_sig(wait.index);
}

// Before a signal or a broadcast itself, of a condition variable that libc has `waiters` of, those that have been woken and
// are not back among them: a thread that is on its way to wait is not woken. is_held(address) tells whether somebody holds
// a mutex now.
template <class IsHeld>
inline void wake_cond_sig(process_state& process, contended_locks& contended, std::uintptr_t cond, bool all,
                          std::uint32_t waiters, IsHeld is_held) PROF_DETAIL_SIG {
  const std::size_t index = contended.conds.pin_sig(cond);
  if (index == no_slot) return;
  waited_cond& slot = contended.conds.at(index);
  const std::uintptr_t lock = slot.mutex.load();
  std::uint64_t before = slot.state.load();
  for (bool done = false; !done;) {
    cond_words words = unpack_sig(before);
    const auto count = static_cast<std::uint32_t>(all ? words.waiting : words.waiting != 0);
    const std::uint64_t on_their_way = unanswered_sig(words) + words.overtaken;
    if (count == 0 || waiters <= on_their_way || on_their_way >= most_signalled) break;
    // First, so that a waiter which comes back at once finds itself among the mutex's waiters.
    const lock_wait woken = begin_lock_wait_sig(process, contended, lock, os_monotonic_ns_sig(), is_held(lock), count);
    if (woken.index == no_slot) break;
    if (all) {
      ++words.broadcasts;
      words.waiting = 0;
      words.overtaken += unanswered_sig(words);
      words.overtaken_end = words.signalled;
      words.answered = words.signalled;
      store_woken_sig(slot.by_broadcast[words.broadcasts % waited_cond::remembered], woken);
    } else {
      store_woken_sig(slot.by_signal[words.signalled % waited_cond::remembered], woken);
      --words.waiting;
      ++words.signalled;
    }
    done = slot.state.compare_exchange_strong(before, pack_sig(words));
    if (!done) take_back_sig(contended, woken, count);
  }
  contended.conds.unpin_sig(index);
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_WAITED_CONDS_HPP
