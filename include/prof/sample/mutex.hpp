// prof/sample/mutex.hpp - who makes others wait: contended locks, and what each unlock is charged.
// Floor 8 (sample). Fed by the lock hooks and by prof::mutex; read by part/mutex_part.hpp.
// Safety: functions ending in _sig may run in any hook: no allocation, no lock, no libc. What a lock's holder does is
//         serialised by that lock; what waiters do is compare-and-swap.
// Memory: tables that are mapped as they grow: 88 bytes per lock that threads wait for now, 16,320 at most, and 544 per
//         condition variable.
// Source: an unlock is charged the overlap of every waiter's wait with that hold, as Go since 1.22 (golang/go#61015) and
//         Abseil's Mutex mean it. Here the sum is exact, whatever the number of waiters, in a few instructions:
//         each lock has a clock that runs while it is held. Of k waiters that began at positions p1..pk, an unlock at
//         position u ends k * u - (p1 + ... + pk) of waiting; then all of them begin again at u. What one waiter was
//         charged for is the difference of a second clock, which also counts the weight of the sampling.
#ifndef PROF_SAMPLE_MUTEX_HPP
#define PROF_SAMPLE_MUTEX_HPP

#include "prof/base/pinned_table.hpp"
#include "prof/process/attach.hpp"
#include "prof/process/profile_builder.hpp"
#include "prof/process/rate_windows.hpp"

PROF_DETAIL_BEGIN

enum delay_counter : std::size_t { contentions_counted, delay_ns, delay_counters };

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

struct mutex_state {
  static constexpr std::size_t locks_first = 64;
  static constexpr unsigned locks_levels = 8;

  rate_windows fraction;
  count_table holders;  // by the stack that unlocks
  count_table waiters;  // by the stack that waits
  pinned_table<contended_lock> locks;  // how many are in use is what hot paths look at
  pinned_table<waited_cond> conds;
  std::atomic<std::uint64_t> random;
  std::atomic<std::uint64_t> samples;
};
inline constexpr std::uint32_t mutex_layout =
    layout_of({sizeof(mutex_state), offsetof(mutex_state, holders), offsetof(mutex_state, locks), offsetof(mutex_state, conds),
               sizeof(contended_lock), sizeof(waited_cond), sizeof(count_table)});

PROF_DETAIL_COLD inline mutex_state* make_mutex(process_state& process) PROF_DETAIL_SIG {
  void* const pages = process.memory.take_sig(sizeof(mutex_state));
  if (pages == nullptr) return nullptr;
  auto* const mutex = new (pages) mutex_state{};
  mutex->holders.bind(process.memory, delay_counters);
  mutex->waiters.bind(process.memory, delay_counters);
  mutex->locks.bind(process.memory, mutex_state::locks_first, mutex_state::locks_levels);
  mutex->conds.bind(process.memory, mutex_state::locks_first, mutex_state::locks_levels);
  mutex->random.store(os_monotonic_ns_sig() ^ std::uint64_t{os_process_id_sig()} << 32);
  return mutex;
}
inline mutex_state* attached_mutex_sig(const process_state& process) PROF_DETAIL_SIG {
  return state_of_sig<mutex_state>(process, part::mutex);
}
inline mutex_state* mutex_of(process_state& process) noexcept {
  return part_state_sig<mutex_state>(process, part::mutex, &make_mutex, [](process_state& to, mutex_state* spare) {
    to.memory.give_back_sig(spare, sizeof(mutex_state));
  });
}

// The weight of what is waited until the next unlock: 1 in `fraction` stretches is charged, for all of them.
inline std::uint64_t draw_weight_sig(mutex_state& mutex) PROF_DETAIL_SIG {
  const std::uint64_t fraction = mutex.fraction.in_effect_sig();
  if (fraction <= 1) return fraction;
  const std::uint64_t random = mix_bits(mutex.random.fetch_add(0x9e3779b97f4a7c15u, std::memory_order_relaxed));
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
inline std::size_t pin_or_make_lock_sig(mutex_state& mutex, std::uintptr_t address, std::uint64_t now_ns,
                                        bool is_held) PROF_DETAIL_SIG {
  return mutex.locks.pin_or_make_sig(address, [&](contended_lock& lock) PROF_DETAIL_SIG {
    lock.turn.store(0, std::memory_order_relaxed);
    lock.waiting.store(0, std::memory_order_relaxed);
    lock.free_ns.store(is_held ? 0 : now_ns, std::memory_order_relaxed);
    lock.gap_ns.store(0, std::memory_order_relaxed);
    lock.last.store(now_ns >> clock_shift, std::memory_order_relaxed);
    lock.weight.store(draw_weight_sig(mutex), std::memory_order_relaxed);
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
inline lock_wait begin_lock_wait_sig(process_state& process, mutex_state& mutex, std::uintptr_t address,
                                     std::uint64_t now_ns, bool is_held = true, std::uint32_t count = 1) PROF_DETAIL_SIG {
  lock_wait wait;
  wait.index = pin_or_make_lock_sig(mutex, address, now_ns, is_held);
  if (wait.index == no_slot) {
    count_drop_sig(process, drop::contended_locks_full, count);
    return wait;
  }
  contended_lock& lock = mutex.locks.at(wait.index);
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
inline void note_hold_sig(mutex_state& mutex, std::uintptr_t address, std::uint64_t now_ns) PROF_DETAIL_SIG {
  const std::size_t index = mutex.locks.pin_sig(address);
  if (index == no_slot) return;
  hold_lock_sig(mutex.locks.at(index), now_ns);
  mutex.locks.unpin_sig(index);
}

// The waiter has got the lock: nobody held it until now, so its clock stands where the last unlock left it.
inline delay end_lock_wait_sig(mutex_state& mutex, const lock_wait& wait, std::uint64_t now_ns) PROF_DETAIL_SIG {
  contended_lock& lock = mutex.locks.at(wait.index);
  hold_lock_sig(lock, now_ns);
  const charge_clock clock = read_clock_sig(lock);
  change_waiters_sig(lock, -1, clock.last > wait.position ? clock.last : wait.position);
  mutex.locks.unpin_sig(wait.index);
  return charged_since_sig(clock, clock.charged, wait.charged_before, clock.last_weight);
}

// It has given up: what it waited in this hold is for the holder to pay.
inline delay abandon_lock_wait_sig(mutex_state& mutex, const lock_wait& wait, std::uint64_t now_ns) PROF_DETAIL_SIG {
  contended_lock& lock = mutex.locks.at(wait.index);
  const std::uint64_t position = position_sig(lock, now_ns);
  const charge_clock clock = read_clock_sig(lock);
  const std::uint64_t from = clock.last > wait.position ? clock.last : wait.position;
  if (position > from) lock.unpaid.fetch_add(clock.weight * (position - from));
  change_waiters_sig(lock, -1, from);
  mutex.locks.unpin_sig(wait.index);
  const std::uint64_t weight = position > clock.last ? clock.weight : clock.last_weight;
  return charged_since_sig(clock, clock.at(position), wait.charged_before, weight);
}

// ---- unlocking ---------------------------------------------------------------------------------------------------

// Before the unlock itself, by who holds the lock with `sharers` altogether. What it is to be charged.
inline delay account_unlock_sig(mutex_state& mutex, contended_lock& lock, std::uint64_t now_ns,
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
  lock.weight.store(draw_weight_sig(mutex), std::memory_order_relaxed);
  const std::uint64_t owed = lock.unpaid.fetch_add(waited) + waited;
  const std::uint64_t paid = sharers > 1 ? owed / sharers : owed;
  lock.unpaid.fetch_sub(paid);
  if (sharers <= 1) lock.free_ns.store(now_ns, std::memory_order_release);
  lock.turn.store(turn + 2, std::memory_order_release);
  return {is_contended ? weight : 0, paid << clock_shift};
}

// The same by address; nothing where nobody waits.
inline delay charge_unlock_sig(mutex_state& mutex, std::uintptr_t address, std::uint64_t now_ns,
                               std::uint64_t sharers = 1) PROF_DETAIL_SIG {
  const std::size_t index = mutex.locks.pin_sig(address);
  if (index == no_slot) return {};
  const delay charge = account_unlock_sig(mutex, mutex.locks.at(index), now_ns, sharers);
  mutex.locks.unpin_sig(index);
  return charge;
}

// ---- condition variables --------------------------------------------------------------------------------------------

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
inline cond_wait begin_cond_wait_sig(mutex_state& mutex, std::uintptr_t cond, std::uintptr_t lock) PROF_DETAIL_SIG {
  cond_wait wait;
  wait.index = mutex.conds.pin_or_make_sig(cond, [](waited_cond& slot) PROF_DETAIL_SIG {
    slot.state.store(0, std::memory_order_relaxed);
  });
  if (wait.index == no_slot) return wait;
  waited_cond& slot = mutex.conds.at(wait.index);
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
inline lock_wait end_cond_wait_sig(mutex_state& mutex, const cond_wait& wait, bool timed_out) PROF_DETAIL_SIG {
  waited_cond& slot = mutex.conds.at(wait.index);
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
  mutex.conds.unpin_sig(wait.index);
  return woken;
}

// `count` waiters that were announced do not come: somebody else woke them.
inline void take_back_sig(mutex_state& mutex, const lock_wait& wait, std::uint32_t count) PROF_DETAIL_SIG {
  contended_lock& lock = mutex.locks.at(wait.index);
  change_waiters_sig(lock, -static_cast<std::int64_t>(count), wait.position);
  if (count > 1) lock.pins.fetch_sub(count - 1);
  mutex.locks.unpin_sig(wait.index);
}

// Before a signal or a broadcast itself. is_held(address) tells whether somebody holds a mutex now.
template <class IsHeld>
inline void wake_cond_sig(process_state& process, mutex_state& mutex, std::uintptr_t cond, bool all,
                          IsHeld is_held) PROF_DETAIL_SIG {
  const std::size_t index = mutex.conds.pin_sig(cond);
  if (index == no_slot) return;
  waited_cond& slot = mutex.conds.at(index);
  const std::uintptr_t lock = slot.mutex.load();
  std::uint64_t before = slot.state.load();
  for (bool done = false; !done;) {
    cond_words words = unpack_sig(before);
    const auto count = static_cast<std::uint32_t>(all ? words.waiting : words.waiting != 0);
    if (count == 0 || unanswered_sig(words) + words.overtaken >= most_signalled) break;
    // First, so that a waiter which comes back at once finds itself among the mutex's waiters.
    const lock_wait woken = begin_lock_wait_sig(process, mutex, lock, os_monotonic_ns_sig(), is_held(lock), count);
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
    if (!done) take_back_sig(mutex, woken, count);
  }
  mutex.conds.unpin_sig(index);
}

// ---- counting ---------------------------------------------------------------------------------------------------------

// After it, so that nobody waits for this.
inline void count_delay_sig(process_state& process, mutex_state& mutex, count_table& counts, stack_id stack,
                            label_set_id labels, const delay& charge) PROF_DETAIL_SIG {
  bool lost = false;
  const std::size_t index = counts.find_or_add_sig({stack, labels, 0}, lost);
  if (lost) count_drop_sig(process, drop::count_table_full);
  mutex.samples.fetch_add(1, std::memory_order_relaxed);
  if (index == no_slot) return;
  counts.add_to_sig(index, contentions_counted, charge.contentions);
  counts.add_to_sig(index, delay_ns, charge.ns);
}

// Counting begins after a pause, in which no unlock was seen: who waits does so from now on.
inline void restart_locks(mutex_state& mutex) noexcept {
  const std::uint64_t now = os_monotonic_ns_sig();
  mutex.locks.for_each_sig([&](std::size_t index, contended_lock& slot) {
    const std::uint64_t key = slot.key.load();
    if (key <= add_remove_keys::claimed || !mutex.locks.pin_at_sig(index, key)) return;
    slot.free_ns.store(0);
    const std::uint64_t position = position_sig(slot, now);
    (void)restart_waiters_sig(slot, position);
    const std::uint64_t charged = read_clock_sig(slot).at(position);
    slot.charged.store(charged);
    slot.at_restart.store(charged);
    slot.last.store(position);
    slot.weight.store(draw_weight_sig(mutex));
    slot.unpaid.store(0);
    mutex.locks.unpin_sig(index);
  });
}

// In a forked child no thread waits; what the parent's waited is the parent's.
inline void forget_parent_mutex(mutex_state& mutex) noexcept {
  mutex.fraction.forget_windows();
  mutex.locks.forget_all();
  mutex.conds.forget_all();
}

// ---- a profile ----------------------------------------------------------------------------------------------------

// Waiters that wait now, with what they have been charged for so far.
struct waiter_in_progress {
  std::size_t index;
  wait_facts facts;
  delay so_far;
};
struct mutex_snapshot {
  explicit mutex_snapshot(arena& memory) noexcept : counts(memory), waits(memory) {}
  count_snapshot counts;
  arena_vector<waiter_in_progress> waits;
};

// See read_block in sample/block.hpp for the order.
inline void read_waiters(const process_state& process, mutex_state& mutex, mutex_snapshot& snapshot) noexcept {
  process.waits.for_each([&](std::size_t index, const wait_facts& facts) {
    if (facts.lock != 0 && facts.kind != wait_kind::cond) snapshot.waits.push({index, facts, {}});
  });
  mutex.waiters.read(snapshot.counts);
  for (waiter_in_progress& wait : snapshot.waits) {
    const charge_clock clock = read_clock_sig(mutex.locks.at(wait.facts.lock - 1));
    if (!process.waits.is_same_sig(wait.index, wait.facts)) continue;
    wait.so_far = charged_since_sig(clock, clock.charged, wait.facts.charged_before, 0);
  }
}

inline void add_delay(profile_builder& build, const count_key& key, std::uint64_t contentions, std::uint64_t ns) noexcept {
  const std::int64_t values[2] = {static_cast<std::int64_t>(contentions), static_cast<std::int64_t>(ns)};
  build.add(key.stack, key.labels, values);
}
inline void add_waiters_in_progress(profile_builder& build, const mutex_snapshot& snapshot, bool negative) noexcept {
  for (const waiter_in_progress& wait : snapshot.waits) {
    if (wait.so_far.ns == 0) continue;
    add_delay(build, {wait.facts.stack, wait.facts.labels, 0}, 0, negative ? 0 - wait.so_far.ns : wait.so_far.ns);
  }
}

// Of either view: `counts` is mutex.holders or mutex.waiters; `base` non-null: the difference to that snapshot.
inline void fill_mutex_profile(profile& p, const process_state& process, const count_table& counts,
                               const mutex_snapshot& now, const mutex_snapshot* base) noexcept {
  describe_delays(p);
  profile_builder build(p, process);
  counts.for_each_since(base != nullptr ? &base->counts : nullptr, now.counts,
                        [&](const count_key& key, const std::uint64_t* counted) {
                          add_delay(build, key, counted[contentions_counted], counted[delay_ns]);
                        });
  add_waiters_in_progress(build, now, false);
  if (base != nullptr) add_waiters_in_progress(build, *base, true);
  build.add_stack_comments();
}

PROF_DETAIL_END

#endif  // PROF_SAMPLE_MUTEX_HPP
