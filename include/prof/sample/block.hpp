// prof/sample/block.hpp - where threads wait, and for how long.
// Floor 8 (sample). Fed by the hooks of waiting calls; read by part/block_part.hpp.
// Safety: functions ending in _sig may run in any hook: no allocation, no lock, no libc.
// Memory: tables that are mapped as they grow, never freed.
// Source: Go's block profile (runtime/mprof.go, blocksampled): of a wait of c ns at a rate of r ns, c >= r is counted
//         as it is, a shorter one with probability c/r, and then as r/c waits of c ns. A draw u in [0, 1) that is made
//         when the wait begins decides the same: it is counted when c >= u * r. So a wait that goes on can be asked, too.
#ifndef PROF_SAMPLE_BLOCK_HPP
#define PROF_SAMPLE_BLOCK_HPP

#include "prof/base/random.hpp"
#include "prof/process/attach.hpp"
#include "prof/process/profile_builder.hpp"
#include "prof/process/rate_windows.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::uint64_t default_block_window_ns = 10000;  // of a profile over some seconds that does not say

// Waits are counted in parts of one, because a sampled one stands for r/c.
inline constexpr unsigned wait_count_bits = 16;
enum block_counter : std::size_t { waits_counted, waited_ns, block_counters };

struct block_state {
  rate_windows rate;  // ns
  count_table counts;
  std::atomic<std::uint64_t> random;
  std::atomic<std::uint64_t> samples;
};
inline constexpr std::uint32_t block_layout =
    layout_of({sizeof(block_state), offsetof(block_state, counts), sizeof(count_table), sizeof(wait_slot)});

PROF_DETAIL_COLD inline block_state* make_block(process_state& process) PROF_DETAIL_SIG {
  void* const pages = process.memory.take_sig(sizeof(block_state));
  if (pages == nullptr) return nullptr;
  auto* const block = new (pages) block_state{};
  block->counts.bind(process.memory, block_counters);
  block->random.store(os_monotonic_ns_sig() ^ std::uint64_t{os_process_id_sig()} << 32);
  return block;
}
inline block_state* attached_block_sig(const process_state& process) PROF_DETAIL_SIG {
  return state_of_sig<block_state>(process, part::block);
}
inline block_state* block_of(process_state& process) noexcept {
  return part_state_sig<block_state>(process, part::block, &make_block, [](process_state& to, block_state* spare) {
    to.memory.give_back_sig(spare, sizeof(block_state));
  });
}

// How much a wait of `ns` counts: waits in parts of one, and their time.
struct wait_weight {
  std::uint64_t waits = 0;
  std::uint64_t ns = 0;
};
inline wait_weight weigh_wait_sig(std::uint64_t ns, std::uint64_t rate_ns, std::uint64_t least_ns) PROF_DETAIL_SIG {
  if (rate_ns == 0 || ns < least_ns) return {};
  if (ns == 0) ns = 1;
  if (ns >= rate_ns) return {std::uint64_t{1} << wait_count_bits, ns};
  const int shift = rate_ns >> 40 != 0 ? 16 : 0;  // above 18 minutes a part of 65 us is exact enough
  const std::uint64_t part = (ns >> shift) != 0 ? ns >> shift : 1;
  return {(((rate_ns >> shift) << wait_count_bits) + part / 2) / part, rate_ns};
}

// The calling thread begins to wait: at which rate, and what it must last to be counted.
inline void draw_wait_sig(block_state& block, wait_facts& wait) PROF_DETAIL_SIG {
  const std::uint64_t rate = block.rate.in_effect_sig();
  wait.rate_ns = rate;
  if (rate > 1) wait.least_ns = mix_bits(block.random.fetch_add(0x9e3779b97f4a7c15u, std::memory_order_relaxed)) % rate + 1;
}

// It waits no longer.
inline void count_wait_sig(process_state& process, block_state& block, const wait_facts& wait,
                           std::uint64_t ns) PROF_DETAIL_SIG {
  const wait_weight weight = weigh_wait_sig(ns, wait.rate_ns, wait.least_ns);
  if (weight.waits == 0) return;
  bool lost = false;
  const count_key key{wait.stack, wait.labels, static_cast<std::uint64_t>(wait.kind)};
  const std::size_t index = block.counts.find_or_add_sig(key, lost);
  if (lost) count_drop_sig(process, drop::count_table_full);
  block.samples.fetch_add(1, std::memory_order_relaxed);
  if (index == no_slot) return;
  block.counts.add_to_sig(index, waits_counted, weight.waits);
  block.counts.add_to_sig(index, waited_ns, weight.ns);
}

// ---- a profile ----------------------------------------------------------------------------------------

// What goes on at one moment, beside what has been counted by then.
struct wait_in_progress {
  std::size_t index;
  wait_facts facts;
  wait_weight weight;
};
struct block_snapshot {
  explicit block_snapshot(arena& memory) noexcept : counts(memory), waits(memory) {}
  count_snapshot counts;
  arena_vector<wait_in_progress> waits;
};

// A wait that ends meanwhile is taken out, for its end may have been counted already: it is in the next snapshot then.
inline void read_block(const process_state& process, const block_state& block, block_snapshot& snapshot) noexcept {
  process.waits.for_each([&](std::size_t index, const wait_facts& facts) {
    if (facts.rate_ns != 0) snapshot.waits.push({index, facts, {}});
  });
  block.counts.read(snapshot.counts);
  const std::uint64_t now = os_monotonic_ns_sig();
  for (wait_in_progress& wait : snapshot.waits) {
    const std::uint64_t began = wait.facts.began_ns;
    if (!process.waits.is_same_sig(wait.index, wait.facts)) continue;
    wait.weight = weigh_wait_sig(now > began ? now - began : 0, wait.facts.rate_ns, wait.facts.least_ns);
  }
}

inline std::int64_t whole_waits(std::uint64_t parts) noexcept {
  const auto value = static_cast<std::int64_t>(parts);
  return (value + (std::int64_t{1} << (wait_count_bits - 1))) >> wait_count_bits;
}

inline void add_wait(profile_builder& build, profile& p, const count_key& key, std::uint64_t waits, std::uint64_t ns,
                     string_index wait_key) noexcept {
  const std::int64_t values[2] = {whole_waits(waits), static_cast<std::int64_t>(ns)};
  const profile_label kind{wait_key, p.string(wait_word(key.extra)), 0, 0};
  build.add(key.stack, key.labels, values, &kind, 1);
}

// Adds to `build` what went on, or its negative. A short wait counts as several, of which each is one when it has lasted for
// long enough; so what went on at the begin of a difference is taken off only where it counts as one already, and a
// difference has no negative waits.
inline void add_waits_in_progress(profile_builder& build, profile& p, const block_snapshot& snapshot, bool negative,
                                  string_index wait_key) noexcept {
  for (const wait_in_progress& wait : snapshot.waits) {
    if (wait.weight.waits == 0 || (negative && whole_waits(wait.weight.waits) != 1)) continue;
    const count_key key{wait.facts.stack, wait.facts.labels, static_cast<std::uint64_t>(wait.facts.kind)};
    const std::uint64_t waits = negative ? 0 - wait.weight.waits : wait.weight.waits;
    add_wait(build, p, key, waits, negative ? 0 - wait.weight.ns : wait.weight.ns, wait_key);
  }
}

// `base` non-null: the difference to that snapshot.
inline void fill_block_profile(profile& p, const process_state& process, const block_state& block,
                               const block_snapshot& now, const block_snapshot* base) noexcept {
  describe_delays(p);
  profile_builder build(p, process);
  const string_index wait_key = p.string("wait");
  block.counts.for_each_since(base != nullptr ? &base->counts : nullptr, now.counts,
                              [&](const count_key& key, const std::uint64_t* counted) {
                                add_wait(build, p, key, counted[waits_counted], counted[waited_ns], wait_key);
                              });
  add_waits_in_progress(build, p, now, false, wait_key);
  if (base != nullptr) add_waits_in_progress(build, p, *base, true, wait_key);
  build.add_stack_comments();
}

PROF_DETAIL_END

#endif  // PROF_SAMPLE_BLOCK_HPP
