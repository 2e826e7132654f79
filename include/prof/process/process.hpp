// prof/process/process.hpp - what is one per process: tables, code map, registered parts, owners of hooks. How an object
// finds it stands in attach.hpp.
// Floor 7 (process). Entered by every hook, handler and public call.
// Safety: data, each part of which says who may touch it; functions ending in _sig are async-signal-safe.
// Memory: some 400 KB at the start, of which the cache of rules is 256; tables are mapped as they grow. Never freed.
// Source: anchors and their notes: process/anchor.hpp.
#ifndef PROF_PROCESS_PROCESS_HPP
#define PROF_PROCESS_PROCESS_HPP

#include <initializer_list>

#include "prof/base/guard.hpp"
#include "prof/code/rule_lookup.hpp"
#include "prof/process/anchor.hpp"
#include "prof/process/count_table.hpp"
#include "prof/process/drops.hpp"
#include "prof/process/frame_pool.hpp"
#include "prof/process/gap_table.hpp"
#include "prof/process/hook_family.hpp"
#include "prof/process/labels.hpp"
#include "prof/process/part.hpp"
#include "prof/process/thread_state.hpp"
#include "prof/process/wait_table.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t default_depth = options{}.max_depth;

// Raised when a member of what objects share gets another meaning; other sizes show by themselves in layout_version.
inline constexpr std::uint32_t layout_revision = 7;
inline constexpr std::uint64_t process_magic = 0x70726f6670726f66u;  // "profprof"
inline constexpr std::size_t max_retired_maps = 16;
inline constexpr unsigned max_parts = part_count + 8;  // with those that are registered at run time

// A part as the process has it: what all objects that share this state agree on.
struct part_slot {
  std::atomic<std::uint32_t> layout;  // of the first object that brought the part; 0: none did yet
  std::atomic<const part_head*> descriptor;  // of an object that is pinned
  std::atomic<void*> state;
};

struct process_state;

// See sampling_signal.hpp.
struct signal_state {
  std::atomic<int> number;  // 0 until chosen
  std::atomic<const void*> handler;
  // Who gets it: functions of objects that stay loaded.
  std::atomic<void (*)(process_state& process, const timer_event& event)> ticked;
  std::atomic<void (*)(process_state& process, std::uint64_t token, const registers& regs)> asked;
  spin_lock lock;
};

struct process_state {
  process_head head;
  std::atomic<std::uint32_t> pid;
  std::atomic<bool> used;  // a profile was started or written: configure() is late
  std::atomic<std::size_t> depth;
  std::atomic<int> wanted_signal;
  std::atomic<symbols> detail_of_names;  // that symbols::standard stands for
  std::atomic<std::uint64_t> time_for_names;  // ns
  std::atomic<std::uint64_t> memory_for_names;  // bytes
  signal_state signal;
  std::atomic<std::uint64_t> objects_seen;  // os_objects_loaded() when the API's table was last offered to all
  std::atomic<void*> unnamed_session;  // of start_cpu_profile
  std::atomic<const code_map*> code;
  part_slot parts[max_parts];
  hook_owner hooks[hook_family_count];
  std::atomic<std::uint64_t> drops[drop_count];
  table_memory memory;
  std::atomic<std::uint64_t> code_map_bytes;  // of all code maps that are not given back
  std::atomic<std::uint32_t> code_readers;  // ordinary context: code maps are in use
  spin_lock refresh_lock;
  std::atomic<std::uint64_t> refreshed_at;  // os_monotonic_ns_sig()
  std::atomic<std::uint32_t> forks;       // under way
  std::atomic<bool> forks_hold_refresh;  // the first of them took refresh_lock
  const code_map* retired[max_retired_maps];  // under refresh_lock: replaced, maybe still read
  std::size_t retired_count;
  std::atomic<bool> code_map_outdated;   // a walk met code that the map does not know
  std::atomic<bool> put_off_tables;      // once, see refresh_code_map
  std::atomic<std::uint64_t> rule_epoch;  // rules may be other ones than before
  rule_cache* rules;
  code_registry registry;
  stack_table stacks;
  label_table labels;
  thread_states threads;
  wait_table waits;
  gap_table gaps;
  frame_pool buffers;
};

// Objects with another layout do not share the process state: two headers of the same version may differ, where a
// project vendors two snapshots. What parts share is compared part by part, see part_head::layout.
constexpr std::uint32_t layout_of(std::initializer_list<std::size_t> sizes) {
  std::uint32_t hash = 0x811c9dc5u;  // FNV-1a
  for (const std::size_t size : sizes) hash = (hash ^ static_cast<std::uint32_t>(size)) * 0x01000193u;
  return hash | 1;
}
inline constexpr std::uint32_t layout_version = layout_of(
    {layout_revision, sizeof(process_state), offsetof(process_state, parts), offsetof(process_state, hooks),
     offsetof(process_state, drops), offsetof(process_state, code), offsetof(process_state, stacks), sizeof(code_range),
     sizeof(code_map), sizeof(frame_buffer), offsetof(frame_buffer, frames), sizeof(stack_slot), sizeof(thread_state),
     sizeof(gap_slot), sizeof(wait_slot), offsetof(process_state, waits), sizeof(unwind_table), sizeof(hook_family_part), sizeof(hook_record), part_count, drop_count, hook_family_count, sizeof(rule_cache),
     offsetof(process_state, registry), offsetof(process_state, labels), offsetof(process_state, threads),
     offsetof(process_state, gaps), offsetof(process_state, buffers), piece_bytes, frame_pool::per_piece,
     range_registry::per_piece, max_range_number, max_depth, label_table::slot_bytes, label_table::max_labels,
     sizeof(profile_row), sizeof(profile_run), sizeof(profile_request), sizeof(profile), sizeof(status_value)});

// This object's anchor, and the note by which others find it.
__attribute__((__used__)) inline object_anchor this_object __asm__("prof_object_anchor_v2"){
    {nullptr}, {nullptr}, PROF_VERSION, layout_version};

PROF_DETAIL_END

PROF_DETAIL_NOTE(3, "prof_object_anchor_v2", "");

PROF_DETAIL_BEGIN

inline void count_drop_sig(process_state& process, drop cause, std::uint64_t n = 1)
    PROF_DETAIL_SIG {
  process.drops[static_cast<unsigned>(cause)].fetch_add(n, std::memory_order_relaxed);
}
inline std::uint64_t drops_of(const process_state& process, unsigned cause) noexcept {
  const std::uint64_t counted = process.drops[cause].load(std::memory_order_relaxed);
  const bool is_memory = cause == static_cast<unsigned>(drop::no_memory);
  return is_memory ? counted + process.memory.refused.load(std::memory_order_relaxed) : counted;
}

// A part's state, or null where the process has none yet. Objects share a process state only if they know their parts'
// states alike: see parts_fit_sig in attach.hpp.
template <class State>
inline State* state_of_sig(const process_state& process, part which) PROF_DETAIL_SIG {
  return static_cast<State*>(
      process.parts[static_cast<unsigned>(which)].state.load(std::memory_order_acquire));
}

// The descriptor that the process has for a part, or null. An earlier version's that lacks what this one asks of it is none.
template <class Part>
inline const Part* find_part_sig(const process_state& process, part which) PROF_DETAIL_SIG {
  const part_head* const found =
      process.parts[static_cast<unsigned>(which)].descriptor.load(std::memory_order_acquire);
  return found != nullptr && found->size >= sizeof(Part) ? reinterpret_cast<const Part*>(found) : nullptr;
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_PROCESS_HPP
