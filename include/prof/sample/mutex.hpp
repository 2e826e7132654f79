// prof/sample/mutex.hpp - who makes others wait: what unlocks are charged, by stack, and the same by waiter.
// Floor 8 (sample). Fed by the lock hooks and by prof's own locks; read by part/mutex_part.hpp.
// Safety: functions ending in _sig may run in any hook: no allocation, no lock, no libc.
// Memory: tables that are mapped as they grow, never freed; see process/contended_locks.hpp for those of locks.
// Source: process/contended_locks.hpp says what an unlock is charged, and why.
#ifndef PROF_SAMPLE_MUTEX_HPP
#define PROF_SAMPLE_MUTEX_HPP

#include "prof/process/attach.hpp"
#include "prof/process/profile_builder.hpp"
#include "prof/process/waited_conds.hpp"

PROF_DETAIL_BEGIN

enum delay_counter : std::size_t { contentions_counted, delay_ns, delay_counters };

struct mutex_state : contended_locks {
  count_table holders;  // by the stack that unlocks
  count_table waiters;  // by the stack that waits
  std::atomic<std::uint64_t> samples;
};
inline constexpr std::uint32_t mutex_layout =
    layout_of({sizeof(mutex_state), sizeof(contended_locks), offsetof(contended_locks, locks), offsetof(contended_locks, conds),
               sizeof(contended_lock), sizeof(waited_cond), sizeof(count_table)});

PROF_DETAIL_COLD inline mutex_state* make_mutex(process_state& process) PROF_DETAIL_SIG {
  void* const pages = process.memory.take_sig(sizeof(mutex_state));
  if (pages == nullptr) return nullptr;
  auto* const mutex = new (pages) mutex_state{};
  mutex->bind(process.memory);
  mutex->holders.bind(process.memory, delay_counters);
  mutex->waiters.bind(process.memory, delay_counters);
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
