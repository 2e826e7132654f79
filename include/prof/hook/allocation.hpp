// prof/hook/allocation.hpp - the entries of the heap family: what those that allocate and those that free have in
// common.
// Floor 9 (hook). Used by hook/malloc.hpp and hook/new.hpp, which define the symbols.
// Safety: runs inside malloc: no lock, no allocation.
// Memory: an 8 KiB arena per object for allocations that dlsym makes.
// Source: hook/entry.hpp for the mechanism; process/gap_table.hpp for what is sampled.
#ifndef PROF_HOOK_ALLOCATION_HPP
#define PROF_HOOK_ALLOCATION_HPP

#include "prof/hook/entry.hpp"
#include "prof/sample/heap.hpp"

PROF_DETAIL_BEGIN

inline std::atomic<hook_role> heap_role{hook_role::unresolved};
inline std::atomic<std::uint32_t> heap_resolver{0};

// In hook/heap_family.hpp, which knows all entries.
const hook_set& heap_hooks() PROF_DETAIL_SIG;

// What free() reads: the filter's base with its shift in the low six bits. Closed (every free takes
// the slow path) until resolved, open (none does) in objects that only forward. A pointer and not
// an integer, so that it is constant-initialised: base + 63, and hash >> 63 is 0 or 1.
alignas(64) inline char closed_filter[64] = {1, 1};
alignas(64) inline char open_filter[64] = {};
inline std::atomic<char*> free_filter{closed_filter + 63};

// X(identifier, symbol); the order of status().
#define PROF_DETAIL_HEAP_ENTRIES(X)                              \
  X(malloc, "malloc")                                            \
  X(free, "free")                                                \
  X(calloc, "calloc")                                            \
  X(realloc, "realloc")                                          \
  X(reallocarray, "reallocarray")                                \
  X(memalign, "memalign")                                        \
  X(posix_memalign, "posix_memalign")                            \
  X(aligned_alloc, "aligned_alloc")                              \
  X(valloc, "valloc")                                            \
  X(pvalloc, "pvalloc")                                          \
  X(new_, "_Znwm")                                               \
  X(new_array, "_Znam")                                          \
  X(new_nothrow, "_ZnwmRKSt9nothrow_t")                          \
  X(new_array_nothrow, "_ZnamRKSt9nothrow_t")                    \
  X(new_aligned, "_ZnwmSt11align_val_t")                         \
  X(new_array_aligned, "_ZnamSt11align_val_t")                   \
  X(new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t")   \
  X(new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t") \
  X(delete_, "_ZdlPv")                                           \
  X(delete_array, "_ZdaPv")                                      \
  X(delete_sized, "_ZdlPvm")                                     \
  X(delete_array_sized, "_ZdaPvm")                               \
  X(delete_nothrow, "_ZdlPvRKSt9nothrow_t")                      \
  X(delete_array_nothrow, "_ZdaPvRKSt9nothrow_t")                \
  X(delete_aligned, "_ZdlPvSt11align_val_t")                     \
  X(delete_array_aligned, "_ZdaPvSt11align_val_t")               \
  X(delete_sized_aligned, "_ZdlPvmSt11align_val_t")              \
  X(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")        \
  X(delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t") \
  X(delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t")

enum heap_entry : int {
#define PROF_DETAIL_ENUM(name, symbol) entry_##name,
  PROF_DETAIL_HEAP_ENTRIES(PROF_DETAIL_ENUM)
#undef PROF_DETAIL_ENUM
      heap_entry_count
};

// What the owner found out about each entry, for status(). State and reason are literals.
inline hook_record heap_records[heap_entry_count] = {
#define PROF_DETAIL_RECORD(name, symbol) {symbol, {"unknown"}, {"not resolved yet"}},
    PROF_DETAIL_HEAP_ENTRIES(PROF_DETAIL_RECORD)
#undef PROF_DETAIL_RECORD
};

// ---- allocations made while dlsym runs --------------------------------------------------------------

// They cannot be forwarded yet. Each is remembered as a live object of the kind that free() drops.
struct bootstrap_arena {
  std::atomic<std::size_t> used;
  alignas(16) char bytes[8192];
};
inline bootstrap_arena bootstrap{};

PROF_DETAIL_COLD inline void* bootstrap_alloc_sig(std::size_t size,
                                                  std::size_t alignment = 16) PROF_DETAIL_SIG {
  const std::size_t want = ((size + 15) & ~std::size_t{15}) + (alignment > 16 ? alignment : 0);
  if (size > sizeof bootstrap.bytes || alignment > 4096) return nullptr;
  const std::size_t begin = bootstrap.used.fetch_add(want, std::memory_order_relaxed);
  if (begin + want > sizeof bootstrap.bytes) return nullptr;
  const auto raw = reinterpret_cast<std::uintptr_t>(bootstrap.bytes + begin);
  const std::uintptr_t place = alignment > 16 ? (raw + alignment - 1) & ~(alignment - 1) : raw;
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  if (heap == nullptr) return nullptr;
  add_live_sig(*process, *heap, place, {size, 0, bootstrap_object});
  return reinterpret_cast<void*>(place);
}

// ---- slow paths, the same for all entries ------------------------------------------------------------

inline bool filter_hit_sig(const void* pointer) PROF_DETAIL_SIG {
  const auto word =
      reinterpret_cast<std::uintptr_t>(free_filter.load(std::memory_order_relaxed));
  return filter_byte_sig(reinterpret_cast<std::uintptr_t>(pointer), word)
             .load(std::memory_order_relaxed) != 0;
}

// How an entry is called by a probe; see first_entered_by in hook/heap_family.hpp.
enum entry_shape : int {
  shape_malloc, shape_calloc, shape_realloc, shape_reallocarray, shape_aligned, shape_posix_memalign, shape_pvalloc,
  shape_free, shape_new, shape_new_nothrow, shape_new_aligned, shape_new_aligned_nothrow, shape_delete,
  shape_delete_sized, shape_delete_nothrow, shape_delete_sized_aligned, shape_delete_aligned_nothrow
};

// What the sampler says of an allocation of `size` bytes that used the countdown up: the rate to weigh it with, or 0.
// Where another object counts, its sample points are passed over: they are for what record_alloc tells.
inline std::uint64_t sampling_rate_sig(std::size_t size) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  if (heap == nullptr) {
    alloc_countdown = max_gap;
    return 0;
  }
  const std::uint64_t rate = process->gaps.sample_sig(alloc_countdown, size, heap->rate.load(std::memory_order_relaxed));
  return heap_role.load(std::memory_order_relaxed) == hook_role::forwarding ? 0 : rate;
}

// Where an allocation goes that used the countdown up, and the rate to record it with afterwards, if any.
struct alloc_target {
  any_function function;
  std::uint64_t rate;
};
PROF_DETAIL_COLD inline alloc_target slow_alloc_target_sig(int entry, std::size_t size) PROF_DETAIL_SIG {
  const hook_set& set = heap_hooks();
  if (probed_sig(set, entry)) return {unsettled_target_sig(set, entry), 0};
  if (!is_resolved_sig(set)) {
    alloc_countdown = 0;  // never below it: the next call must come here too
    if (resolving.has_this_sig()) return {function_of_sig(set, entry, function_resolving), 0};
    if (!resolve_slow_sig(set)) return {unsettled_target_sig(set, entry), 0};
    alloc_countdown = 0;
    (void)count_down_sig(alloc_countdown, size);
  }
  return {load_word_sig(set, entry, word_next), sampling_rate_sig(size)};
}

// After the allocation; `object` may be null.
PROF_DETAIL_COLD inline void record_object_sig(void* object, std::size_t size, std::uint64_t rate,
                                               const host_call& caller) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  const std::uint32_t thread = os_thread_id_sig();
  if (heap == nullptr || object == nullptr || runs_own_code_sig(*process, thread)) return;
  record_sampled_alloc_sig(*process, *heap, thread, reinterpret_cast<std::uintptr_t>(object), size, rate, caller);
}

// True: the object was ours to drop (bootstrap).
inline bool sampled_free_sig(const void* pointer) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  live_object object;
  if (heap == nullptr ||
      !heap->live.take_sig(reinterpret_cast<std::uintptr_t>(pointer), object)) {
    return false;
  }
  count_freed_sig(*heap, object);
  return object.counts == bootstrap_object;
}

// Where a free goes whose pointer may be known; null: it ends here.
PROF_DETAIL_COLD inline any_function slow_free_target_sig(int entry,
                                                          const void* pointer) PROF_DETAIL_SIG {
  const hook_set& set = heap_hooks();
  if (probed_sig(set, entry)) return unsettled_target_sig(set, entry);
  if (!is_resolved_sig(set)) {
    if (resolving.has_this_sig()) return nullptr;  // a bootstrap object, or nothing dlsym could have got
    if (!resolve_slow_sig(set)) return unsettled_target_sig(set, entry);
  }
  return sampled_free_sig(pointer) ? nullptr : load_word_sig(set, entry, word_next);
}

// ---- entries that allocate, entries that free --------------------------------------------------------

// Tag adds: std::size_t size(args...), void* object(R, args...).
template <class Tag, class Signature>
struct alloc_entry;

template <class Tag, class R, class... Args, bool Nothrow>
struct alloc_entry<Tag, R(Args...) noexcept(Nothrow)> : hooked_base<Tag, R(Args...) noexcept(Nothrow)> {
  using base = hooked_base<Tag, R(Args...) noexcept(Nothrow)>;
  static const hook_set& set() PROF_DETAIL_SIG { return heap_hooks(); }

  static R counting(Args... args) noexcept(Nothrow) {
    if (PROF_DETAIL_LIKELY(count_down_sig(alloc_countdown, Tag::size(args...)))) {
      return base::call_next(args...);
    }
    return counting_slow(args...);
  }

  // Not cold: the call would be in a part of `counting` that is split off, which has no name of its own.
  PROF_DETAIL_NOINLINE static R counting_slow(Args... args) noexcept(Nothrow) {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<Tag>());
    const std::size_t size = Tag::size(args...);
    const alloc_target target = slow_alloc_target_sig(Tag::index, size);
    const R answer = base::call(target.function, args...);
    if (target.rate != 0) {
      record_object_sig(Tag::object(answer, args...), size, target.rate, caller);
    }
    return answer;
  }
};

// The pointer is the first argument.
template <class Tag, class Signature>
struct free_entry;

template <class Tag, class... Rest>
struct free_entry<Tag, void(void*, Rest...)> : hooked_base<Tag, void(void*, Rest...) noexcept> {
  using base = hooked_base<Tag, void(void*, Rest...) noexcept>;
  static const hook_set& set() PROF_DETAIL_SIG { return heap_hooks(); }

  static void counting(void* pointer, Rest... rest) noexcept {
    if (PROF_DETAIL_LIKELY(!filter_hit_sig(pointer))) return base::call_next(pointer, rest...);
    return counting_slow(pointer, rest...);
  }

  PROF_DETAIL_COLD static void counting_slow(void* pointer, Rest... rest) noexcept {
    const any_function target = slow_free_target_sig(Tag::index, pointer);
    if (target != nullptr) base::call(target, pointer, rest...);
  }
};

PROF_DETAIL_END

#endif  // PROF_HOOK_ALLOCATION_HPP
