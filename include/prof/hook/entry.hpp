// prof/hook/entry.hpp - what every hooked allocation entry has in common: its next definition, the
// route its symbol jumps to, and the probe that tells who counts.
// Floor 6 (hook). Used by hook/malloc.hpp and hook/new.hpp, which define the symbols.
// Safety: runs inside malloc: no lock, no allocation. Resolving (once) calls dlsym and reads
//         /proc/self/maps by raw system calls. One thread resolves; others forward meanwhile,
//         uncounted, because waiting could deadlock through the loader's lock.
// Memory: a few words per entry and object; an 8 KiB arena for allocations that dlsym makes.
// Source: design decisions "several DSOs", "count the outermost call only, without a depth flag".
#ifndef PROF_HOOK_ENTRY_HPP
#define PROF_HOOK_ENTRY_HPP

#include "prof/sample/heap.hpp"

PROF_DETAIL_BEGIN

// Per object: nothing resolved yet; this object's hooks count; another object's hooks count (the
// first in symbol order, which is entered first and claims the process) and these only forward.
enum class hook_role : int { unresolved, counting, forwarding };
inline std::atomic<hook_role> heap_role{hook_role::unresolved};

// What free() reads: the filter's base with its shift in the low six bits. Closed (every free takes
// the slow path) until resolved, open (none does) in objects that only forward. A pointer and not
// an integer, so that it is constant-initialised: base + 63, and hash >> 63 is 0 or 1.
alignas(64) inline char closed_filter[64] = {1, 1};
alignas(64) inline char open_filter[64] = {};
inline std::atomic<char*> free_filter{closed_filter + 63};

// Probing and resolving are states of a thread. first_hit: the entry of ours that was entered
// first since the probe began.
inline constexpr int no_entry = -1;
inline constexpr int probe_without_next = 2;  // value of `probing`: note the hit, call nothing
inline PROF_DETAIL_TLS int probing PROF_DETAIL_TLS_MODEL = 0;
inline PROF_DETAIL_TLS int resolving PROF_DETAIL_TLS_MODEL = 0;
inline PROF_DETAIL_TLS int first_hit PROF_DETAIL_TLS_MODEL = no_entry;

inline void note_hit_sig(int entry) PROF_DETAIL_SIG {
  if (first_hit == no_entry) first_hit = entry;
  hook_gap.left = 0;  // the next hooked call of this probe takes its slow path too
}
// Slow paths ask this first: a call that belongs to a probe is noted and counts nowhere.
inline bool probed_sig(int entry) PROF_DETAIL_SIG {
  if (probing == 0) return false;
  note_hit_sig(entry);
  return true;
}

// X(identifier, symbol, what it does); the order of status().
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

inline constexpr const char* heap_symbols[heap_entry_count] = {
#define PROF_DETAIL_SYMBOL(name, symbol) symbol,
    PROF_DETAIL_HEAP_ENTRIES(PROF_DETAIL_SYMBOL)
#undef PROF_DETAIL_SYMBOL
};

// What the owner found out about each entry, for status(). State and reason are literals.
inline hook_record heap_records[heap_entry_count] = {
#define PROF_DETAIL_RECORD(name, symbol) {symbol, {"unknown"}, {"not resolved yet"}},
    PROF_DETAIL_HEAP_ENTRIES(PROF_DETAIL_RECORD)
#undef PROF_DETAIL_RECORD
};

inline void set_record_sig(int entry, const char* state, const char* why) PROF_DETAIL_SIG {
  heap_records[entry].state.store(state, std::memory_order_relaxed);
  heap_records[entry].why.store(why, std::memory_order_relaxed);
}

// Resolves all entries of this object; false when another thread is at it. Defined in
// hook/resolve.hpp, which knows them all.
bool resolve_heap_slow_sig() PROF_DETAIL_SIG;

inline bool heap_resolved_sig() PROF_DETAIL_SIG {
  return heap_role.load(std::memory_order_acquire) != hook_role::unresolved;
}

// ---- allocations made while dlsym runs --------------------------------------------------------------

// They cannot be forwarded yet. Each is remembered as a live object of the kind that free() drops.
struct bootstrap_arena {
  std::atomic<std::size_t> used;
  alignas(16) char bytes[8192];
};
inline bootstrap_arena bootstrap{};

inline void* bootstrap_alloc_sig(std::size_t size, std::size_t alignment = 16) PROF_DETAIL_SIG {
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

// ---- one entry ----------------------------------------------------------------------------------------

inline bool filter_hit_sig(const void* pointer) PROF_DETAIL_SIG {
  const auto word =
      reinterpret_cast<std::uintptr_t>(free_filter.load(std::memory_order_relaxed));
  return filter_byte_sig(reinterpret_cast<std::uintptr_t>(pointer), word)
             .load(std::memory_order_relaxed) != 0;
}

// Tag: index, symbol, R fallback(args...) for "no next definition".
template <class Tag, class Signature>
struct hooked_base;

template <class Tag, class R, class... Args>
struct hooked_base<Tag, R(Args...)> {
  using function = R (*)(Args...);
  static R first_call(Args... args);
  // The definition behind ours, or the fallback.
  inline static std::atomic<function> next{nullptr};
  // What resolving decided: the next definition itself (another hook behind it counts, or another
  // object does) or this entry's counting path.
  inline static std::atomic<function> settled{nullptr};
  // Where our symbol jumps: first_call until settled, and again while the self-test runs.
  inline static std::atomic<function> route{&first_call};

  static R call_next(Args... args) { return next.load(std::memory_order_relaxed)(args...); }

  static void settle_sig(function decided) PROF_DETAIL_SIG {
    settled.store(decided, std::memory_order_relaxed);
    route.store(decided, std::memory_order_relaxed);
  }

  // While another thread resolves: on to the next definition, uncounted.
  static R forward_unsettled(Args... args) {
    if (next.load(std::memory_order_acquire) == nullptr) {
      ++resolving;  // dlsym may allocate
      find_next_sig();
      --resolving;
    }
    return call_next(args...);
  }

  static void find_next_sig() PROF_DETAIL_SIG {
    void* const found = os_next_symbol(Tag::symbol);
    function usable = &Tag::fallback;
    if (found != nullptr) std::memcpy(&usable, &found, sizeof usable);
    next.store(usable, std::memory_order_release);
  }
};

template <class Tag, class R, class... Args>
PROF_DETAIL_COLD R hooked_base<Tag, R(Args...)>::first_call(Args... args) {
  if (probed_sig(Tag::index)) return probing == probe_without_next ? R() : call_next(args...);
  if (resolving != 0) return Tag::while_resolving(args...);
  if (!heap_resolved_sig() && !resolve_heap_slow_sig()) return forward_unsettled(args...);
  return settled.load(std::memory_order_relaxed)(args...);
}

// Shared slow path of everything that allocates: decides, allocates, records. `allocate` returns
// the new object or null.
template <class Allocate>
inline void* sampled_alloc_sig(std::size_t size, const registers& caller, Allocate allocate) {
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  if (heap == nullptr || heap_role.load(std::memory_order_relaxed) == hook_role::forwarding) {
    hook_gap.left = parked_gap;
    return allocate();
  }
  seed_gap_sig(hook_gap);
  const std::uint64_t rate =
      sample_point_sig(hook_gap, heap->rate.load(std::memory_order_relaxed));
  void* const object = allocate();
  if (rate != 0 && object != nullptr && own_code_depth == 0) {
    record_sampled_alloc_sig(*process, *heap, reinterpret_cast<std::uintptr_t>(object), size, rate,
                             caller);
  }
  return object;
}

// Slow path of everything that frees; true: the object was ours to drop (bootstrap).
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

// Entries that allocate. Tag adds: std::size_t size(args...), void* object(R, args...).
template <class Tag, class Signature>
struct alloc_entry;

template <class Tag, class R, class... Args>
struct alloc_entry<Tag, R(Args...)> : hooked_base<Tag, R(Args...)> {
  using base = hooked_base<Tag, R(Args...)>;

  static R counting(Args... args) {
    if (PROF_DETAIL_LIKELY(count_down_sig(hook_gap, Tag::size(args...)))) {
      return base::call_next(args...);
    }
    return counting_slow(args...);
  }

  PROF_DETAIL_COLD static R counting_slow(Args... args) {
    const registers caller = PROF_DETAIL_CALLER_REGISTERS();
    if (probed_sig(Tag::index)) return base::call_next(args...);
    if (!heap_resolved_sig()) {
      hook_gap.left = 0;  // never below it: the next call must come here too
      if (resolving != 0) return Tag::while_resolving(args...);
      if (!resolve_heap_slow_sig()) return base::forward_unsettled(args...);
      hook_gap.left = 0;
      (void)count_down_sig(hook_gap, Tag::size(args...));
    }
    R answer{};
    sampled_alloc_sig(Tag::size(args...), caller, [&] {
      answer = base::call_next(args...);
      return Tag::object(answer, args...);
    });
    return answer;
  }
};

// Entries that free; the pointer is the first argument.
template <class Tag, class Signature>
struct free_entry;

template <class Tag, class... Rest>
struct free_entry<Tag, void(void*, Rest...)> : hooked_base<Tag, void(void*, Rest...)> {
  using base = hooked_base<Tag, void(void*, Rest...)>;

  static void counting(void* pointer, Rest... rest) {
    if (PROF_DETAIL_LIKELY(!filter_hit_sig(pointer))) return base::call_next(pointer, rest...);
    return counting_slow(pointer, rest...);
  }

  PROF_DETAIL_COLD static void counting_slow(void* pointer, Rest... rest) {
    if (probed_sig(Tag::index)) return base::call_next(pointer, rest...);
    if (!heap_resolved_sig()) {
      if (resolving != 0) return;  // a bootstrap object, or nothing that dlsym could have got
      if (!resolve_heap_slow_sig()) return base::forward_unsettled(pointer, rest...);
    }
    if (!sampled_free_sig(pointer)) base::call_next(pointer, rest...);
  }
};

PROF_DETAIL_END

#endif  // PROF_HOOK_ENTRY_HPP
