// prof/part/heap_part.hpp - the heap part's descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_HEAP is on.
// Safety: functions ending in _sig may be called from an allocator; the rest is for ordinary context,
//         any thread.
// Memory: none of its own.
// Source: rates as in Go's runtime.MemProfileRate.
#ifndef PROF_PART_HEAP_PART_HPP
#define PROF_PART_HEAP_PART_HPP

#include "prof/part/parts.hpp"

PROF_DETAIL_BEGIN

inline void set_heap_rate(process_state& process, std::uint64_t bytes, std::uint64_t& before) {
  heap_state* const heap = heap_sig(process);
  if (heap == nullptr) return;
  before = heap->rate.exchange(bytes);
  redraw_sig(explicit_gap);
  const hook_part* const hooks = process.heap_hooks.load();
  if (hooks != nullptr) hooks->rate_changed();
}

inline bool read_heap_now(process_state& process, heap_reading& reading) {
  heap_state* const heap = heap_sig(process);
  if (heap != nullptr) read_heap(*heap, reading);
  return heap != nullptr;
}

inline void fill_heap(profile& p, process_state& process, const heap_reading& reading,
                      const heap_reading* base) {
  heap_state* const heap = heap_sig(process);
  if (heap != nullptr) fill_heap_profile(p, process, *heap, reading, base);
  p.time_ns = os_realtime_ns_sig();
}

// The sampled half of record_alloc.
inline void record_explicit_sig(process_state& process, poisson_gap& gap, void* object,
                                std::size_t size, const registers& caller) PROF_DETAIL_SIG {
  heap_state* const heap = heap_sig(process);
  if (heap == nullptr) return;
  // Growing the filter of free() writes into the owner, which may have been unloaded.
  const hook_part* const hooks = process.heap_hooks.load(std::memory_order_acquire);
  if (hooks != nullptr && hooks != process.kept_heap_hooks.load(std::memory_order_relaxed)) {
    (void)owner_is_there_sig(process, process.heap_hooks, hooks);
  }
  seed_gap_sig(gap);
  const std::uint64_t rate = sample_point_sig(gap, heap->rate.load(std::memory_order_relaxed));
  if (rate == 0) return;
  record_sampled_alloc_sig(process, *heap, reinterpret_cast<std::uintptr_t>(object), size, rate,
                           caller);
}

inline void record_explicit_free_sig(process_state& process, void* object) PROF_DETAIL_SIG {
  heap_state* const heap = heap_sig(process);
  live_object known;
  const auto address = reinterpret_cast<std::uintptr_t>(object);
  if (heap == nullptr || !heap->live.maybe_known_sig(address)) return;
  if (heap->live.take_sig(address, known)) count_freed_sig(*heap, known);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const heap_part
    prof_part_heap_v1 = {
    &set_heap_rate, &read_heap_now, &fill_heap, &record_explicit_sig, &record_explicit_free_sig};

PROF_DETAIL_END

#endif  // PROF_PART_HEAP_PART_HPP
