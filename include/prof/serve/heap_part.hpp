// prof/serve/heap_part.hpp - the heap part's descriptor, and explicit recording.
// Floor 9 (serve). Included by prof.hpp where PROF_ENABLE_HEAP is on.
// Safety: record_alloc and record_free may be called from an allocator; the rest is for ordinary
//         context, any thread.
// Memory: none of its own.
// Source: rates as in Go's runtime.MemProfileRate.
#ifndef PROF_SERVE_HEAP_PART_HPP
#define PROF_SERVE_HEAP_PART_HPP

#include "prof/serve/parts.hpp"

PROF_DETAIL_BEGIN

// Of record_alloc on this thread; see hook_gap.
inline PROF_DETAIL_TLS poisson_gap explicit_gap PROF_DETAIL_TLS_MODEL = {0, 0, 0, false};

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

inline void fill_heap(profile& p, process_state& process, const heap_reading* base) {
  heap_state* const heap = heap_sig(process);
  if (heap != nullptr) fill_heap_profile(p, process, *heap, base);
  p.time_ns = os_realtime_ns_sig();
}

extern "C" __attribute__((weak, used, visibility("hidden"))) const heap_part prof_part_heap_v1 = {
    &set_heap_rate, &read_heap_now, &fill_heap};

// The sampled half of record_alloc.
PROF_DETAIL_COLD inline void record_alloc_slow_sig(void* object,
                                                   std::size_t size) PROF_DETAIL_SIG {
  const registers caller = PROF_DETAIL_CALLER_REGISTERS();
  process_state* const process = process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  if (heap == nullptr) return;
  // Growing the filter of free() writes into the owner, which may have been unloaded.
  const hook_part* const hooks = process->heap_hooks.load(std::memory_order_acquire);
  if (hooks != nullptr && hooks != process->kept_heap_hooks.load(std::memory_order_relaxed)) {
    (void)owner_is_there_sig(*process, process->heap_hooks, hooks);
  }
  seed_gap_sig(explicit_gap);
  const std::uint64_t rate =
      sample_point_sig(explicit_gap, heap->rate.load(std::memory_order_relaxed));
  if (rate == 0) return;
  record_sampled_alloc_sig(*process, *heap, reinterpret_cast<std::uintptr_t>(object), size, rate,
                           caller);
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// Tells the heap profile of an object that no hook sees: from a pool, an mmap, a device. Sampled
// like malloc; costs a subtraction when not sampled. A null object is ignored. Any thread, also
// inside an allocator.
inline void record_alloc(void* object, std::size_t size) noexcept {
  if (object == nullptr) return;
  if (!detail::count_down_sig(detail::explicit_gap, size)) detail::record_alloc_slow_sig(object, size);
}

// To be called before the object's memory is given back. Unknown objects are ignored.
inline void record_free(void* object) noexcept {
  detail::process_state* const process = detail::attached_process_sig();
  if (process == nullptr) return;
  detail::heap_state* const heap = detail::heap_sig(*process);
  detail::live_object known;
  const auto address = reinterpret_cast<std::uintptr_t>(object);
  if (heap == nullptr || !heap->live.maybe_known_sig(address)) return;
  if (heap->live.take_sig(address, known)) detail::count_freed_sig(*heap, known);
}

PROF_PUBLIC_END

#endif  // PROF_SERVE_HEAP_PART_HPP
