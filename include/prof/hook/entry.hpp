// prof/hook/entry.hpp - what every hooked allocation entry has in common: its next definition, the
// route its symbol jumps to, and the probe that tells who counts.
// Floor 9 (hook). Used by hook/malloc.hpp and hook/new.hpp, which define the symbols.
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

// ---- one entry ----------------------------------------------------------------------------------------

inline bool filter_hit_sig(const void* pointer) PROF_DETAIL_SIG {
  const auto word =
      reinterpret_cast<std::uintptr_t>(free_filter.load(std::memory_order_relaxed));
  return filter_byte_sig(reinterpret_cast<std::uintptr_t>(pointer), word)
             .load(std::memory_order_relaxed) != 0;
}

// A function of any of the entries' types; whoever calls it knows which.
using any_function = void (*)();
inline any_function load_function_sig(const void* place) PROF_DETAIL_SIG {
  any_function function = nullptr;
  std::memcpy(&function, place, sizeof function);
  return function;
}

// How an entry is called by a probe; see first_entered_by in hook/resolve.hpp.
enum class entry_shape : unsigned char {
  malloc_, calloc_, realloc_, reallocarray_, aligned, posix_memalign_, pvalloc_, free_,
  new_, new_nothrow, new_aligned, new_aligned_nothrow,
  delete_, delete_sized, delete_nothrow, delete_sized_aligned, delete_aligned_nothrow
};

// What code that serves all entries must know of one. The places hold pointers of the entry's own
// type: a cast to a common type would not be a constant, and there is no constructor here.
struct heap_entry_facts {
  int entry;
  void* state;            // hooked_base::state
  const void* functions;  // functions_of
  const void* hook;       // our definition of the symbol
  entry_shape shape;
};
// In hook/resolve.hpp, which knows all entries.
const heap_entry_facts& facts_of_sig(int entry) PROF_DETAIL_SIG;

// The words of an entry's state: function pointers, written while others read them.
enum entry_word : std::size_t {
  word_next,     // the definition behind ours, or the fallback
  word_settled,  // what resolving decided: `next` itself (another hook counts) or the counting path
  word_route,    // where our symbol jumps: first_call until settled, and again during self-tests
};
using aliasing_word = std::uintptr_t __attribute__((__may_alias__));
inline aliasing_word* state_word_sig(int entry, entry_word which) PROF_DETAIL_SIG {
  return static_cast<aliasing_word*>(facts_of_sig(entry).state) + which;
}
inline any_function load_word_sig(int entry, entry_word which) PROF_DETAIL_SIG {
  return reinterpret_cast<any_function>(
      __atomic_load_n(state_word_sig(entry, which), __ATOMIC_ACQUIRE));
}
inline void store_word_sig(int entry, entry_word which, any_function function) PROF_DETAIL_SIG {
  __atomic_store_n(state_word_sig(entry, which), reinterpret_cast<std::uintptr_t>(function),
                   __ATOMIC_RELEASE);
}

enum entry_function : std::size_t { function_counting, function_fallback, function_resolving };
inline any_function function_of_sig(int entry, entry_function which) PROF_DETAIL_SIG {
  return load_function_sig(static_cast<const char*>(facts_of_sig(entry).functions) +
                           which * sizeof(any_function));
}

inline void find_next_sig(int entry) PROF_DETAIL_SIG {
  void* const found = os_next_symbol(heap_symbols[entry]);
  store_word_sig(entry, word_next,
                 found != nullptr ? load_function_sig(&found)
                                  : function_of_sig(entry, function_fallback));
}
inline void settle_sig(int entry, any_function decided) PROF_DETAIL_SIG {
  store_word_sig(entry, word_settled, decided);
  store_word_sig(entry, word_route, decided);
}

// While another thread resolves: on to the next definition, uncounted.
PROF_DETAIL_COLD inline any_function unsettled_target_sig(int entry) PROF_DETAIL_SIG {
  if (load_word_sig(entry, word_next) == nullptr) {
    ++resolving;  // dlsym may allocate
    find_next_sig(entry);
    --resolving;
  }
  return load_word_sig(entry, word_next);
}

inline void* no_object(std::size_t) { return nullptr; }

// Where a call goes that found its entry unsettled, or a self-test at work.
PROF_DETAIL_COLD inline any_function first_target_sig(int entry) PROF_DETAIL_SIG {
  if (probed_sig(entry)) {
    return probing == probe_without_next ? reinterpret_cast<any_function>(&no_object)
                                         : load_word_sig(entry, word_next);
  }
  if (resolving != 0) return function_of_sig(entry, function_resolving);
  if (!heap_resolved_sig() && !resolve_heap_slow_sig()) return unsettled_target_sig(entry);
  return load_word_sig(entry, word_settled);
}

// Tag: index, R fallback(args...) for "no next definition", R while_resolving(args...), and
// R counting(args...) from one of the templates below.
template <class Tag, class Signature>
struct hooked_base;

template <class Tag, class R, class... Args>
struct hooked_base<Tag, R(Args...)> {
  using function = R (*)(Args...);
  static R first_call(Args... args) { return call(first_target_sig(Tag::index), args...); }

  struct words {
    std::atomic<function> next;
    std::atomic<function> settled;
    std::atomic<function> route;
  };
  static_assert(sizeof(words) == 3 * sizeof(std::uintptr_t), "see entry_word");
  inline static words state{{nullptr}, {nullptr}, {&first_call}};

  static R call(any_function target, Args... args) {
    return reinterpret_cast<function>(target)(args...);
  }
  static R call_next(Args... args) { return state.next.load(std::memory_order_relaxed)(args...); }
};
// In the order of entry_function.
template <class Tag>
inline constexpr typename Tag::function functions_of[3] = {&Tag::counting, &Tag::fallback,
                                                           &Tag::while_resolving};

// ---- slow paths, the same for all entries ------------------------------------------------------------

// What the sampler says of an allocation that used up its gap: the rate to weigh it with, or 0.
inline std::uint64_t sampling_rate_sig() PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  if (heap == nullptr || heap_role.load(std::memory_order_relaxed) == hook_role::forwarding) {
    hook_gap.left = parked_gap;
    return 0;
  }
  seed_gap_sig(hook_gap);
  return sample_point_sig(hook_gap, heap->rate.load(std::memory_order_relaxed));
}

// Where an allocation goes that used up its gap, and the rate to record it with afterwards, if any.
struct alloc_target {
  any_function function;
  std::uint64_t rate;
};
PROF_DETAIL_COLD inline alloc_target slow_alloc_target_sig(int entry,
                                                           std::size_t size) PROF_DETAIL_SIG {
  if (probed_sig(entry)) return {load_word_sig(entry, word_next), 0};
  if (!heap_resolved_sig()) {
    hook_gap.left = 0;  // never below it: the next call must come here too
    if (resolving != 0) return {function_of_sig(entry, function_resolving), 0};
    if (!resolve_heap_slow_sig()) return {unsettled_target_sig(entry), 0};
    hook_gap.left = 0;
    (void)count_down_sig(hook_gap, size);
  }
  return {load_word_sig(entry, word_next), sampling_rate_sig()};
}

// After the allocation; `object` may be null.
PROF_DETAIL_COLD inline void record_object_sig(void* object, std::size_t size, std::uint64_t rate,
                                               const registers& caller) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  if (heap == nullptr || object == nullptr || own_code_depth != 0) return;
  record_sampled_alloc_sig(*process, *heap, reinterpret_cast<std::uintptr_t>(object), size, rate,
                           caller);
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
  if (probed_sig(entry)) return load_word_sig(entry, word_next);
  if (!heap_resolved_sig()) {
    if (resolving != 0) return nullptr;  // a bootstrap object, or nothing dlsym could have got
    if (!resolve_heap_slow_sig()) return unsettled_target_sig(entry);
  }
  return sampled_free_sig(pointer) ? nullptr : load_word_sig(entry, word_next);
}

// ---- entries that allocate, entries that free --------------------------------------------------------

// Tag adds: std::size_t size(args...), void* object(R, args...).
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
    const registers caller = caller_registers_sig(PROF_DETAIL_CALL_FRAME());
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
struct free_entry<Tag, void(void*, Rest...)> : hooked_base<Tag, void(void*, Rest...)> {
  using base = hooked_base<Tag, void(void*, Rest...)>;

  static void counting(void* pointer, Rest... rest) {
    if (PROF_DETAIL_LIKELY(!filter_hit_sig(pointer))) return base::call_next(pointer, rest...);
    return counting_slow(pointer, rest...);
  }

  PROF_DETAIL_COLD static void counting_slow(void* pointer, Rest... rest) {
    const any_function target = slow_free_target_sig(Tag::index, pointer);
    if (target != nullptr) base::call(target, pointer, rest...);
  }
};

PROF_DETAIL_END

#endif  // PROF_HOOK_ENTRY_HPP
