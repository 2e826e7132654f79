// prof/hook/malloc.hpp - the malloc family as seen by the whole program, and who of several objects
// counts.
// Floor 9 (hook). Defines foreign symbols; everything it learns goes to sample/heap.hpp.
// Safety: replaces malloc: no allocation, no lock; errno is kept as the next definition left it.
//         Hot path of malloc: subtract from a thread-local, one branch, tail jump; of free: one
//         byte of the filter, one branch, tail jump.
// Memory: none of its own.
// Source: hooks are weak, used, noinline, default-visible functions: inline ones get inlined by clang -O2 and
//         g++ -flto, so that a plugin's malloc would miss them. They bear the hooked names, so that a definition of the
//         host's in the same file is an error that quotes the line which says what to do. Every entry forwards to the
//         next definition of the same entry (RTLD_NEXT), so that jemalloc, tcmalloc or mimalloc keep working, and no
//         pointer is ever altered.
#ifndef PROF_HOOK_MALLOC_HPP
#define PROF_HOOK_MALLOC_HPP

#include <cstdlib>

#include "prof/hook/allocation.hpp"

PROF_DETAIL_BEGIN

// libc's own entries, for links in which ours has no next definition. glibc exports __libc_malloc
// (2.36: a default-version symbol of libc.so.6); the reference to it is strong because in a static
// link it is what pulls libc's malloc.o in, which our definition of malloc would otherwise keep
// out. libc's malloc then wins over ours, which is weak.
#if defined(__GLIBC__)
extern "C" void* prof_libc_malloc(std::size_t) __asm__("__libc_malloc")
    __attribute__((__visibility__("default")));
#else
extern "C" void* prof_libc_malloc(std::size_t) PROF_DETAIL_WEAK_IMPORT("__libc_malloc");
#endif
extern "C" void prof_libc_free(void*) PROF_DETAIL_WEAK_IMPORT("__libc_free");
extern "C" void* prof_libc_calloc(std::size_t, std::size_t) PROF_DETAIL_WEAK_IMPORT("__libc_calloc");
extern "C" void* prof_libc_realloc(void*, std::size_t) PROF_DETAIL_WEAK_IMPORT("__libc_realloc");
extern "C" void* prof_libc_memalign(std::size_t, std::size_t)
    PROF_DETAIL_WEAK_IMPORT("__libc_memalign");

inline std::size_t product_or_max(std::size_t a, std::size_t b) PROF_DETAIL_SIG {
  std::size_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? ~std::size_t{0} : product;
}
inline void* null_without_memory() PROF_DETAIL_SIG {
  errno = ENOMEM;
  return nullptr;
}

// ---- the entries -----------------------------------------------------------------------------------

struct malloc_entry : alloc_entry<malloc_entry, void*(std::size_t) noexcept> {
  static constexpr int index = entry_malloc;
  static std::size_t size(std::size_t n) { return n; }
  static void* object(void* answer, std::size_t) { return answer; }
  static void* while_resolving(std::size_t n) noexcept { return bootstrap_alloc_sig(n); }
  static void* fallback(std::size_t n) noexcept {
#if defined(__GLIBC__)
    return prof_libc_malloc(n);
#else
    return prof_libc_malloc != nullptr ? prof_libc_malloc(n) : null_without_memory();
#endif
  }
};

struct calloc_entry : alloc_entry<calloc_entry, void*(std::size_t, std::size_t) noexcept> {
  static constexpr int index = entry_calloc;
  static std::size_t size(std::size_t n, std::size_t each) { return product_or_max(n, each); }
  static void* object(void* answer, std::size_t, std::size_t) { return answer; }
  static void* while_resolving(std::size_t n, std::size_t each) noexcept {
    return bootstrap_alloc_sig(product_or_max(n, each));  // never reused, so still zero
  }
  static void* fallback(std::size_t n, std::size_t each) noexcept {
    return prof_libc_calloc != nullptr ? prof_libc_calloc(n, each) : null_without_memory();
  }
};

// The three of the same shape: (alignment, size).
template <class Tag>
struct aligned_entry : alloc_entry<Tag, void*(std::size_t, std::size_t) noexcept> {
  static std::size_t size(std::size_t, std::size_t n) { return n; }
  static void* object(void* answer, std::size_t, std::size_t) { return answer; }
  static void* while_resolving(std::size_t alignment, std::size_t n) noexcept {
    return bootstrap_alloc_sig(n, alignment);
  }
  static void* fallback(std::size_t alignment, std::size_t n) noexcept {
    return prof_libc_memalign != nullptr ? prof_libc_memalign(alignment, n)
                                         : null_without_memory();
  }
};
struct memalign_entry : aligned_entry<memalign_entry> {
  static constexpr int index = entry_memalign;
};
struct aligned_alloc_entry : aligned_entry<aligned_alloc_entry> {
  static constexpr int index = entry_aligned_alloc;
};

template <class Tag>
struct page_entry : alloc_entry<Tag, void*(std::size_t) noexcept> {
  static std::size_t size(std::size_t n) { return n; }
  static void* object(void* answer, std::size_t) { return answer; }
  static void* while_resolving(std::size_t n) noexcept { return bootstrap_alloc_sig(n, 4096); }
  static void* fallback(std::size_t n) noexcept { return memalign_entry::fallback(4096, page_round(n)); }
};
struct valloc_entry : page_entry<valloc_entry> {
  static constexpr int index = entry_valloc;
};
struct pvalloc_entry : page_entry<pvalloc_entry> {
  static constexpr int index = entry_pvalloc;
};

struct posix_memalign_entry
    : alloc_entry<posix_memalign_entry, int(void**, std::size_t, std::size_t) noexcept> {
  static constexpr int index = entry_posix_memalign;
  static std::size_t size(void**, std::size_t, std::size_t n) { return n; }
  static void* object(int answer, void** place, std::size_t, std::size_t) {
    return answer == 0 ? *place : nullptr;
  }
  static int while_resolving(void** place, std::size_t alignment, std::size_t n) noexcept {
    *place = bootstrap_alloc_sig(n, alignment);
    return *place != nullptr ? 0 : ENOMEM;
  }
  static int fallback(void** place, std::size_t alignment, std::size_t n) noexcept {
    *place = memalign_entry::fallback(alignment, n);
    return *place != nullptr ? 0 : ENOMEM;
  }
};

// realloc and reallocarray: a free and an allocation in one, undone together when it fails.
struct resize_plan {
  any_function target = nullptr;  // null: `old` is a bootstrap object, to be moved by hand
  std::uint64_t rate = 0;         // to record the new object with, if any
  bool was_live = false;
  live_object old;
};

PROF_DETAIL_COLD inline resize_plan plan_resize_sig(int entry, const void* before,
                                                    std::size_t size) PROF_DETAIL_SIG {
  resize_plan plan;
  const hook_set& set = heap_hooks();
  plan.target = load_word_sig(set, entry, word_next);
  const bool is_probed = probed_sig(set, entry);
  if (is_probed || !is_resolved_sig(set)) {  // settled already, but the thread that resolves is not done
    alloc_countdown = 0;
    plan.target = unsettled_target_sig(set, entry);
    return plan;
  }
  process_state* const process = attached_process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  plan.was_live = heap != nullptr &&
                  heap->live.take_sig(reinterpret_cast<std::uintptr_t>(before), plan.old);
  if (plan.was_live && plan.old.counts == bootstrap_object) plan.target = nullptr;
  // A size beyond half of the address space wraps to a huge countdown.
  const bool counted_down = alloc_countdown > 0 && size <= ~std::size_t{0} / 2;
  if (plan.target != nullptr && !counted_down) plan.rate = sampling_rate_sig(size);
  return plan;
}

PROF_DETAIL_COLD inline void finish_resize_sig(const resize_plan& plan, const void* before,
                                               void* after, std::size_t size,
                                               const host_call& caller) PROF_DETAIL_SIG {
  if (plan.rate != 0) record_object_sig(after, size, plan.rate, caller);
  if (!plan.was_live) return;
  process_state& process = *attached_process_sig();
  heap_state& heap = *heap_sig(process);
  // Failed: the old object is still there. realloc(p, 0) freed it.
  const bool failed = after == nullptr && size != 0;
  if (!failed) count_freed_sig(heap, plan.old);
  else add_live_sig(process, heap, reinterpret_cast<std::uintptr_t>(before), plan.old);
}

PROF_DETAIL_COLD inline void* move_bootstrap(const void* before, std::size_t old_size,
                                             std::size_t size) {
  void* const after = malloc_entry::call_next(size);
  if (after != nullptr) std::memcpy(after, before, size < old_size ? size : old_size);
  return after;
}

template <class Tag, class... Size>
struct resize_entry : hooked_base<Tag, void*(void*, Size...) noexcept> {
  using base = hooked_base<Tag, void*(void*, Size...) noexcept>;
  static const hook_set& set() PROF_DETAIL_SIG { return heap_hooks(); }

  static void* counting(void* before, Size... sizes) noexcept {
    const bool fast = count_down_sig(alloc_countdown, Tag::size(sizes...));
    if (PROF_DETAIL_LIKELY(fast) && PROF_DETAIL_LIKELY(!filter_hit_sig(before))) {
      return base::call_next(before, sizes...);
    }
    return counting_slow(before, sizes...);
  }

  PROF_DETAIL_NOINLINE static void* counting_slow(void* before, Size... sizes) noexcept {
    const host_call caller = host_call_sig(PROF_DETAIL_CALL_FRAME(), own_functions_of<Tag>());
    const std::size_t size = Tag::size(sizes...);
    const resize_plan plan = plan_resize_sig(Tag::index, before, size);
    if (plan.target == nullptr) return move_bootstrap(before, plan.old.size, size);
    void* const after = base::call(plan.target, before, sizes...);
    finish_resize_sig(plan, before, after, size, caller);
    return after;
  }

  static void* while_resolving(void* before, Size... sizes) noexcept {
    return before == nullptr ? bootstrap_alloc_sig(Tag::size(sizes...)) : nullptr;
  }
};

struct realloc_entry : resize_entry<realloc_entry, std::size_t> {
  static constexpr int index = entry_realloc;
  static std::size_t size(std::size_t n) { return n; }
  static void* fallback(void* before, std::size_t n) noexcept {
    return prof_libc_realloc != nullptr ? prof_libc_realloc(before, n) : null_without_memory();
  }
};
struct reallocarray_entry : resize_entry<reallocarray_entry, std::size_t, std::size_t> {
  static constexpr int index = entry_reallocarray;
  static std::size_t size(std::size_t n, std::size_t each) { return product_or_max(n, each); }
  // The program's realloc, which is ours or the one that a static link put in its place.
  static void* fallback(void* before, std::size_t n, std::size_t each) noexcept {
    const std::size_t bytes = size(n, each);
    return bytes == ~std::size_t{0} ? null_without_memory() : std::realloc(before, bytes);
  }
};

struct free_entry_ : free_entry<free_entry_, void(void*)> {
  static constexpr int index = entry_free;
  static void while_resolving(void*) noexcept {}
  static void fallback(void* pointer) noexcept {
    if (prof_libc_free != nullptr) prof_libc_free(pointer);
  }
};

PROF_DETAIL_END

#define PROF_DETAIL_ROUTED(entry) ::prof::detail::entry::state.route.load(std::memory_order_relaxed)

// ---- the symbols. A compiler that quotes one of these lines has met another definition in the same file. -------------

extern "C" {
// Of these <cstdlib> says nothing.
void* memalign(std::size_t alignment, std::size_t n) PROF_DETAIL_C_NOEXCEPT;
void* pvalloc(std::size_t n) PROF_DETAIL_C_NOEXCEPT;

PROF_DETAIL_HOOKED
void* malloc(std::size_t n) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return ::prof::detail::malloc_entry::counting(n);
}
PROF_DETAIL_HOOKED
void free(void* pointer) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  ::prof::detail::free_entry_::counting(pointer);
}
PROF_DETAIL_HOOKED
void* calloc(std::size_t n, std::size_t each) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(calloc_entry)(n, each);
}
PROF_DETAIL_HOOKED
void* realloc(void* before, std::size_t n) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(realloc_entry)(before, n);
}
PROF_DETAIL_HOOKED
void* reallocarray(void* before, std::size_t n, std::size_t each) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(reallocarray_entry)(before, n, each);
}
PROF_DETAIL_HOOKED
void* memalign(std::size_t alignment, std::size_t n) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(memalign_entry)(alignment, n);
}
PROF_DETAIL_HOOKED
void* aligned_alloc(std::size_t alignment, std::size_t n) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(aligned_alloc_entry)(alignment, n);
}
PROF_DETAIL_HOOKED
int posix_memalign(void** place, std::size_t alignment, std::size_t n) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(posix_memalign_entry)(place, alignment, n);
}
PROF_DETAIL_HOOKED
void* valloc(std::size_t n) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(valloc_entry)(n);
}
PROF_DETAIL_HOOKED
void* pvalloc(std::size_t n) PROF_DETAIL_C_NOEXCEPT {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(pvalloc_entry)(n);
}
}

#endif  // PROF_HOOK_MALLOC_HPP
