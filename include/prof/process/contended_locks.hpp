// prof/process/contended_locks.hpp - locks that threads wait for: since when each is held, who waits, and what an unlock
// makes them wait.
// Floor 7 (process). Fed by the lock hooks and prof's own locks, by way of hook/followed_wait.hpp; part of the mutex
//         profile's state (sample/mutex.hpp).
// Safety: functions ending in _sig may run in any hook: no allocation, no lock, no libc. What a lock's holder does is
//         serialised by that lock; what waiters do is compare-and-swap.
// Memory: tables that are mapped as they grow: 88 bytes per lock that threads wait for now, 16,320 at most, and 544 per
//         condition variable.
// Source: an unlock is charged the overlap of every waiter's wait with that hold, as Go since 1.22 (golang/go#61015) and
//         Abseil's Mutex mean it. Here the sum is exact, whatever the number of waiters, in a few instructions:
//         each lock has a clock that runs while it is held. Of k waiters that began at positions p1..pk, an unlock at
//         position u ends k * u - (p1 + ... + pk) of waiting; then all of them begin again at u. What one waiter was
//         charged for is the difference of a second clock, which also counts the weight of the sampling.
#ifndef PROF_PROCESS_CONTENDED_LOCKS_HPP
#define PROF_PROCESS_CONTENDED_LOCKS_HPP

#include "prof/base/pinned_table.hpp"
#include "prof/base/random.hpp"
#include "prof/process/process.hpp"
#include "prof/process/rate_windows.hpp"

PROF_DETAIL_BEGIN

// Positions are kept in parts of 16 ns, so that a sum of them modulo 2^48 tells 52 days of waiting apart.
inline constexpr unsigned clock_shift = 4;
inline constexpr unsigned sum_bits = 48;
inline constexpr std::uint64_t sum_mask = (std::uint64_t{1} << sum_bits) - 1;

// A lock that threads wait for, or for whose hold one has waited in vain.
struct contended_lock {
  table_key key;                         // its address
  std::atomic<std::uint32_t> pins;       // threads that wait for it or look at this record
  std::atomic<std::uint32_t> turn;       // odd: an unlock is being accounted for
  std::atomic<std::uint64_t> waiting;    // waiters << 48 | sum of the positions they wait from
  std::atomic<std::uint64_t> free_ns;    // since when nobody holds it; 0: it is held
  std::atomic<std::uint64_t> gap_ns;     // all the time that nobody held it
  std::atomic<std::uint64_t> last;       // position of the last unlock
  std::atomic<std::uint64_t> weight;     // of what is waited from there on: the fraction, or 0
  std::atomic<std::uint64_t> last_weight;
  std::atomic<std::uint64_t> charged;    // weighted position: what one waiter that is always there would be charged
  std::atomic<std::uint64_t> at_restart;  // the same when counting last began after a pause
  std::atomic<std::uint64_t> unpaid;     // weighted, of waits that ended in vain and of readers that share
  bool is_settled_sig() const PROF_DETAIL_SIG { return unpaid.load() == 0; }
};

struct woken_wait {
  std::atomic<std::uint64_t> index;
  std::atomic<std::uint64_t> charged_before;
};

// A condition variable that threads wait at. Who has been woken waits for the mutex.
struct waited_cond {
  static constexpr unsigned remembered = 16;  // broadcasts, and signals whose waiter has not come back yet

  table_key key;                    // its address
  std::atomic<std::uint32_t> pins;  // threads that are in a wait at it or look at this record
  std::atomic<std::uintptr_t> mutex;
  std::atomic<std::uint64_t> state;  // see cond_words
  // The waits for the mutex that the last broadcasts and signals began: its record, and what its charge clock said.
  woken_wait by_broadcast[remembered];
  woken_wait by_signal[remembered];
  bool is_settled_sig() const PROF_DETAIL_SIG { return true; }
};

struct contended_locks {
  static constexpr std::size_t first_level = 64;
  static constexpr unsigned levels = 8;

  rate_windows fraction;
  pinned_table<contended_lock> locks;  // how many are in use is what hot paths look at
  pinned_table<waited_cond> conds;     // see process/waited_conds.hpp
  std::atomic<std::uint64_t> random;

  void bind(table_memory& memory) noexcept {
    locks.bind(memory, first_level, levels);
    conds.bind(memory, first_level, levels);
  }
};

// The weight of what is waited until the next unlock: 1 in `fraction` stretches is charged, for all of them.
inline std::uint64_t draw_weight_sig(contended_locks& contended) PROF_DETAIL_SIG {
  const std::uint64_t fraction = contended.fraction.in_effect_sig();
  if (fraction <= 1) return fraction;
  const std::uint64_t random = mix_bits(contended.random.fetch_add(0x9e3779b97f4a7c15u, std::memory_order_relaxed));
  return random % fraction == 0 ? fraction : 0;
}

// ---- a lock's clock ---------------------------------------------------------------------------------------------

// Its position at a time: of all time, without what it was free.
inline std::uint64_t position_sig(const contended_lock& lock, std::uint64_t now_ns) PROF_DETAIL_SIG {
  const std::uint64_t free_since = lock.free_ns.load(std::memory_order_acquire);
  return ((free_since != 0 ? free_since : now_ns) - lock.gap_ns.load(std::memory_order_relaxed)) >> clock_shift;
}

// Words that only an unlock changes, as they belong together.
struct charge_clock {
  std::uint64_t last = 0;
  std::uint64_t weight = 0;
  std::uint64_t last_weight = 0;
  std::uint64_t charged = 0;
  std::uint64_t at_restart = 0;
  // What a waiter that is always there is charged up to a position.
  std::uint64_t at(std::uint64_t position) const PROF_DETAIL_SIG {
    return position > last ? charged + weight * (position - last) : charged;
  }
};
inline charge_clock read_clock_sig(const contended_lock& lock) PROF_DETAIL_SIG {
  charge_clock clock;
  for (int tries = 0; tries < 100; ++tries) {  // an unlocking thread may have been preempted: then it is nearly right
    const std::uint32_t turn = lock.turn.load(std::memory_order_acquire);
    clock.last = lock.last.load(std::memory_order_relaxed);
    clock.weight = lock.weight.load(std::memory_order_relaxed);
    clock.last_weight = lock.last_weight.load(std::memory_order_relaxed);
    clock.charged = lock.charged.load(std::memory_order_relaxed);
    clock.at_restart = lock.at_restart.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    if ((turn & 1) == 0 && lock.turn.load(std::memory_order_relaxed) == turn) break;
  }
  return clock;
}

inline std::uint64_t waiters_of_sig(const contended_lock& lock) PROF_DETAIL_SIG {
  return lock.waiting.load(std::memory_order_relaxed) >> sum_bits;
}
// Adds waiters (or, negative, takes them away) that wait from a position.
inline void change_waiters_sig(contended_lock& lock, std::int64_t count, std::uint64_t position) PROF_DETAIL_SIG {
  std::uint64_t before = lock.waiting.load(std::memory_order_relaxed);
  std::uint64_t after = 0;
  do {
    const std::uint64_t waiters = (before >> sum_bits) + static_cast<std::uint64_t>(count);
    after = waiters << sum_bits | ((before + static_cast<std::uint64_t>(count) * position) & sum_mask);
  } while (!lock.waiting.compare_exchange_weak(before, after, std::memory_order_acq_rel));
}
// All of them wait from this position on; returns what they had waited.
inline std::uint64_t restart_waiters_sig(contended_lock& lock, std::uint64_t position) PROF_DETAIL_SIG {
  std::uint64_t before = lock.waiting.load(std::memory_order_relaxed);
  std::uint64_t after = 0;
  do {
    after = (before & ~sum_mask) | (((before >> sum_bits) * position) & sum_mask);
  } while (!lock.waiting.compare_exchange_weak(before, after, std::memory_order_acq_rel));
  const std::uint64_t waited = (after - before) & sum_mask;
  // Slightly less than nothing: a waiter came while the lock changed hands.
  constexpr std::uint64_t least = sum_mask - (std::uint64_t{1} << 36);
  return waited > least ? 0 : waited;
}

// ---- records of contended locks ---------------------------------------------------------------------------------------

// The same for all who come, pinned for each; no_slot: there is no room.
inline std::size_t pin_or_make_lock_sig(contended_locks& contended, std::uintptr_t address, std::uint64_t now_ns,
                                        bool is_held) PROF_DETAIL_SIG {
  return contended.locks.pin_or_make_sig(address, [&](contended_lock& lock) PROF_DETAIL_SIG {
    lock.turn.store(0, std::memory_order_relaxed);
    lock.waiting.store(0, std::memory_order_relaxed);
    lock.free_ns.store(is_held ? 0 : now_ns, std::memory_order_relaxed);
    lock.gap_ns.store(0, std::memory_order_relaxed);
    lock.last.store(now_ns >> clock_shift, std::memory_order_relaxed);
    lock.weight.store(draw_weight_sig(contended), std::memory_order_relaxed);
    lock.last_weight.store(0, std::memory_order_relaxed);
    lock.charged.store(0, std::memory_order_relaxed);
    lock.at_restart.store(0, std::memory_order_relaxed);
    lock.unpaid.store(0, std::memory_order_relaxed);
  });
}

// ---- waiting -----------------------------------------------------------------------------------------------------

// A wait for a lock. `index` no_slot: it is not followed.
struct lock_wait {
  std::size_t index = no_slot;
  std::uint64_t position = 0;        // of the lock's clock when it began
  std::uint64_t charged_before = 0;  // and of the charging one
};

// The calling thread, or `count` others, wait from now on. Each keeps a pin.
inline lock_wait begin_lock_wait_sig(process_state& process, contended_locks& contended, std::uintptr_t address,
                                     std::uint64_t now_ns, bool is_held = true, std::uint32_t count = 1) PROF_DETAIL_SIG {
  lock_wait wait;
  wait.index = pin_or_make_lock_sig(contended, address, now_ns, is_held);
  if (wait.index == no_slot) {
    count_drop_sig(process, drop::contended_locks_full, count);
    return wait;
  }
  contended_lock& lock = contended.locks.at(wait.index);
  if (count > 1) lock.pins.fetch_add(count - 1);
  wait.position = position_sig(lock, now_ns);
  wait.charged_before = read_clock_sig(lock).at(wait.position);
  change_waiters_sig(lock, count, wait.position);
  return wait;
}

// What a waiter's stack is charged.
struct delay {
  std::uint64_t contentions = 0;
  std::uint64_t ns = 0;
};

// `before`: what the charge clock said when a wait began. What was before a pause of the profile does not count.
inline delay charged_since_sig(const charge_clock& clock, std::uint64_t charged, std::uint64_t before,
                               std::uint64_t weight) PROF_DETAIL_SIG {
  const std::uint64_t from = before > clock.at_restart ? before : clock.at_restart;
  return charged > from ? delay{weight, (charged - from) << clock_shift} : delay{};
}

// Somebody holds a lock from now on, for whose record there is a pin.
inline void hold_lock_sig(contended_lock& lock, std::uint64_t now_ns) PROF_DETAIL_SIG {
  std::uint64_t since = lock.free_ns.load();
  if (since == 0 || !lock.free_ns.compare_exchange_strong(since, 0)) return;
  lock.gap_ns.fetch_add(now_ns > since ? now_ns - since : 0);
}
inline void note_hold_sig(contended_locks& contended, std::uintptr_t address, std::uint64_t now_ns) PROF_DETAIL_SIG {
  const std::size_t index = contended.locks.pin_sig(address);
  if (index == no_slot) return;
  hold_lock_sig(contended.locks.at(index), now_ns);
  contended.locks.unpin_sig(index);
}

// The waiter has got the lock: nobody held it until now, so its clock stands where the last unlock left it.
inline delay end_lock_wait_sig(contended_locks& contended, const lock_wait& wait, std::uint64_t now_ns) PROF_DETAIL_SIG {
  contended_lock& lock = contended.locks.at(wait.index);
  hold_lock_sig(lock, now_ns);
  const charge_clock clock = read_clock_sig(lock);
  change_waiters_sig(lock, -1, clock.last > wait.position ? clock.last : wait.position);
  contended.locks.unpin_sig(wait.index);
  return charged_since_sig(clock, clock.charged, wait.charged_before, clock.last_weight);
}

// It has given up: what it waited in this hold is for the holder to pay.
inline delay abandon_lock_wait_sig(contended_locks& contended, const lock_wait& wait, std::uint64_t now_ns) PROF_DETAIL_SIG {
  contended_lock& lock = contended.locks.at(wait.index);
  const std::uint64_t position = position_sig(lock, now_ns);
  const charge_clock clock = read_clock_sig(lock);
  const std::uint64_t from = clock.last > wait.position ? clock.last : wait.position;
  if (position > from) lock.unpaid.fetch_add(clock.weight * (position - from));
  change_waiters_sig(lock, -1, from);
  contended.locks.unpin_sig(wait.index);
  const std::uint64_t weight = position > clock.last ? clock.weight : clock.last_weight;
  return charged_since_sig(clock, clock.at(position), wait.charged_before, weight);
}

// ---- unlocking ---------------------------------------------------------------------------------------------------

// Before the unlock itself, by who holds the lock with `sharers` altogether. What it is to be charged.
inline delay account_unlock_sig(contended_locks& contended, contended_lock& lock, std::uint64_t now_ns,
                                std::uint64_t sharers) PROF_DETAIL_SIG {
  std::uint32_t turn = lock.turn.load(std::memory_order_relaxed);
  // Another reader is at it: the next unlock pays for both.
  if ((turn & 1) != 0 || !lock.turn.compare_exchange_strong(turn, turn + 1, std::memory_order_acquire)) return {};
  std::atomic_thread_fence(std::memory_order_release);
  hold_lock_sig(lock, now_ns);  // whoever took it was not seen: since when it is held nobody knows
  const std::uint64_t position = position_sig(lock, now_ns);
  const std::uint64_t last = lock.last.load(std::memory_order_relaxed);
  const std::uint64_t weight = lock.weight.load(std::memory_order_relaxed);
  const bool is_contended = waiters_of_sig(lock) != 0 || lock.unpaid.load() != 0;
  const std::uint64_t waited = weight * restart_waiters_sig(lock, position);
  if (position > last) {
    lock.charged.store(lock.charged.load(std::memory_order_relaxed) + weight * (position - last), std::memory_order_relaxed);
    lock.last.store(position, std::memory_order_relaxed);
  }
  lock.last_weight.store(weight, std::memory_order_relaxed);
  lock.weight.store(draw_weight_sig(contended), std::memory_order_relaxed);
  const std::uint64_t owed = lock.unpaid.fetch_add(waited) + waited;
  const std::uint64_t paid = sharers > 1 ? owed / sharers : owed;
  lock.unpaid.fetch_sub(paid);
  if (sharers <= 1) lock.free_ns.store(now_ns, std::memory_order_release);
  lock.turn.store(turn + 2, std::memory_order_release);
  return {is_contended ? weight : 0, paid << clock_shift};
}

// The same by address; nothing where nobody waits.
inline delay charge_unlock_sig(contended_locks& contended, std::uintptr_t address, std::uint64_t now_ns,
                               std::uint64_t sharers = 1) PROF_DETAIL_SIG {
  const std::size_t index = contended.locks.pin_sig(address);
  if (index == no_slot) return {};
  const delay charge = account_unlock_sig(contended, contended.locks.at(index), now_ns, sharers);
  contended.locks.unpin_sig(index);
  return charge;
}

// ---- pauses and forks ----------------------------------------------------------------------------------------------

// Counting begins after a pause, in which no unlock was seen: who waits does so from now on.
inline void restart_locks(contended_locks& contended) noexcept {
  const std::uint64_t now = os_monotonic_ns_sig();
  contended.locks.for_each_sig([&](std::size_t index, contended_lock& slot) {
    const std::uint64_t key = slot.key.load();
    if (key <= add_remove_keys::claimed || !contended.locks.pin_at_sig(index, key)) return;
    slot.free_ns.store(0);
    const std::uint64_t position = position_sig(slot, now);
    (void)restart_waiters_sig(slot, position);
    const std::uint64_t charged = read_clock_sig(slot).at(position);
    slot.charged.store(charged);
    slot.at_restart.store(charged);
    slot.last.store(position);
    slot.weight.store(draw_weight_sig(contended));
    slot.unpaid.store(0);
    contended.locks.unpin_sig(index);
  });
}

// In a forked child no thread waits; what the parent's waited is the parent's.
inline void forget_parent_locks(contended_locks& contended) noexcept {
  contended.fraction.forget_windows();
  contended.locks.forget_all();
  contended.conds.forget_all();
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_CONTENDED_LOCKS_HPP
