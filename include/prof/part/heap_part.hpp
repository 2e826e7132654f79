// prof/part/heap_part.hpp - the heap part: the profiles heap and allocs, and explicit records; their descriptors.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_HEAP is on.
// Safety: functions ending in _sig may be called from an allocator; the rest is for ordinary context,
//         any thread.
// Memory: none of its own; snapshots live in the collection's arena.
// Source: Go's runtime/pprof: heap and allocs are one profile with two default columns; rates as in
//         runtime.MemProfileRate.
#ifndef PROF_PART_HEAP_PART_HPP
#define PROF_PART_HEAP_PART_HPP

#include "prof/process/enter.hpp"
#include "prof/sample/heap.hpp"
#include "prof/write/text.hpp"

PROF_DETAIL_BEGIN

struct heap_run {
  heap_run(const heap_state& state, arena& memory) noexcept : heap(state), base(memory), now(memory) {}
  const heap_state& heap;
  count_snapshot base;  // of a difference over some seconds
  count_snapshot now;
};

inline result begin_heap(profile_run& run) {
  heap_state* const heap = heap_sig(run.process);
  if (heap == nullptr) return result(error::out_of_memory, "the heap profile's tables");
  auto& made = *new (run.state) heap_run(*heap, run.memory);
  if (run.request.seconds != 0) heap->counts.read(made.base);
  return {};
}
inline result end_heap(profile_run& run) {
  auto& counted = *static_cast<heap_run*>(run.state);
  counted.heap.counts.read(counted.now);
  return {};
}
inline void fill_heap(profile& p, profile_run& run) {
  const auto& counted = *static_cast<const heap_run*>(run.state);
  const count_snapshot* const base = run.request.seconds != 0 ? &counted.base : nullptr;
  fill_heap_profile(p, run.process, counted.heap, counted.now, base);
}

inline std::uint64_t set_heap_rate(process_state& process, std::uint64_t bytes) {
  heap_state* const heap = heap_sig(process);
  if (heap == nullptr) return 0;
  const std::uint64_t before = heap->rate.exchange(bytes);
  alloc_countdown = 0;  // of this object: the calling thread draws a new gap
  tell_hooks(process, hook_family::heap);
  return before;
}

// prof's own hooks, which are frames of their own at -O0. A name may begin with a return type.
inline bool is_own_frame(text_view name) noexcept {
  constexpr text_view own{"prof::v1::detail::", 18};
  for (; name.size > own.size; name = name.from(1)) {
    if (name.starts_with(own)) return true;
    if (name.data[0] == '(' || name.data[0] == '<') return false;
  }
  return false;
}
// The functions through which memory is asked for and given back, as demangled.
inline bool is_allocator_frame(text_view name) noexcept {
  if (name.starts_with("operator new(") || name.starts_with("operator new[](")) return true;
  if (is_own_frame(name)) return true;
  for (const char* known : {"malloc", "calloc", "realloc", "free", "reallocarray", "memalign",
                            "posix_memalign", "aligned_alloc", "valloc", "pvalloc"}) {
    if (name.equals(known)) return true;
  }
  return false;
}

inline void visit_heap_rows(process_state&, visitor<profile_row> visit) {
  static constexpr profile_row rows[] = {
      {{"allocs", 6}, {"A sampling of all past memory allocations", 41}, 0, {"alloc_space", 11}, {"allocs-delta", 12},
       &write_heap_text, &is_allocator_frame},
      {{"heap", 4}, {"A sampling of memory allocations of live objects", 48}, 0, {}, {"heap-delta", 10},
       &write_heap_text, &is_allocator_frame}};
  for (const profile_row& row : rows) visit(row);
}

inline std::uint64_t count_heap(const process_state& process) {
  const auto* const heap = state_of_sig<heap_state>(process, part::heap);
  return heap != nullptr ? heap->counts.used() : 0;
}

inline void report_heap(const process_state& process, visitor<status_value> visit) {
  const auto* const heap = state_of_sig<heap_state>(process, part::heap);
  visit({"heap rate (bytes per sample)", heap != nullptr ? heap->rate.load() : default_heap_rate, nullptr});
  visit({"heap samples", heap != nullptr ? heap->samples.load() : 0, nullptr});
  visit({"heap sampled live objects", heap != nullptr ? heap->live.used() : 0, nullptr});
}

inline void forget_heap_parent(process_state& process, bool alone) {
  auto* const heap = state_of_sig<heap_state>(process, part::heap);
  if (heap == nullptr) return;
  outwait(alone, [&] { return heap->live.growing(); });
  heap->live.forget_growing();
}

// What free() reads was in that object.
inline void heap_hooks_unloaded_sig(process_state& process) PROF_DETAIL_SIG {
  auto* const heap = state_of_sig<heap_state>(process, part::heap);
  if (heap != nullptr) heap->live.stop_publishing_sig(heap->live.published_to_sig());
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const profile_part prof_part_heap_v2 = {
    {sizeof(profile_part), heap_layout},
    sizeof(heap_run),
    &visit_heap_rows,
    &begin_heap,
    &end_heap,
    [](profile_run&) {},
    &fill_heap,
    &set_heap_rate,
    &count_heap,
    &report_heap,
    &forget_heap_parent,
    &heap_hooks_unloaded_sig};

// ---- explicit records --------------------------------------------------------------------------------

inline void record_explicit_sig(process_state& process, std::int64_t& countdown, void* object, std::size_t size,
                                const call_frame& call) PROF_DETAIL_SIG {
  heap_state* const heap = heap_sig(process);
  if (heap == nullptr) {
    countdown = max_gap;
    return;
  }
  // Growing the filter of free() writes into the owner, which may have been unloaded.
  (void)owner_of_sig(process, static_cast<unsigned>(hook_family::heap));
  const std::uint64_t rate = process.gaps.sample_sig(countdown, size, heap->rate.load(std::memory_order_relaxed));
  if (rate == 0) return;
  record_sampled_alloc_sig(process, *heap, os_thread_id_sig(), reinterpret_cast<std::uintptr_t>(object), size, rate,
                           host_call_sig(call));
}

inline void record_explicit_free_sig(process_state& process, void* object) PROF_DETAIL_SIG {
  heap_state* const heap = heap_sig(process);
  live_object known;
  const auto address = reinterpret_cast<std::uintptr_t>(object);
  if (heap == nullptr || !heap->live.maybe_known_sig(address)) return;
  if (heap->live.take_sig(address, known)) count_freed_sig(*heap, known);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const record_part prof_part_records_v2 = {
    {sizeof(record_part), 0}, &record_explicit_sig, &record_explicit_free_sig};

PROF_DETAIL_END

#endif  // PROF_PART_HEAP_PART_HPP
