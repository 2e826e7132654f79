// prof/hook/new.hpp - operator new and delete, all 20 replaceable forms.
// Floor 9 (hook). Defines foreign symbols; same mechanism as hook/malloc.hpp.
// Safety: as hook/malloc.hpp. A throwing new may throw through these functions: they are not
//         noexcept and hold nothing that needs cleaning up.
// Memory: none.
// Source: [new.delete] of the C++17 standard; Itanium C++ ABI mangling (size_t is m on the LP64
//         targets). glibc's libstdc++ new calls malloc, so there each form only forwards and
//         malloc counts; a preloaded tcmalloc or jemalloc does not, so there they count. In static
//         links there may be no next definition: then new is malloc, the new-handler and
//         bad_alloc, as [new.delete.single] describes the default.
#ifndef PROF_HOOK_NEW_HPP
#define PROF_HOOK_NEW_HPP

#include <new>
#if defined(__GLIBCXX__)
#include <bits/functexcept.h>
#endif

#include "prof/hook/malloc.hpp"

PROF_DETAIL_BEGIN

inline void* default_new_once(std::size_t n, std::size_t alignment) noexcept {
  if (n == 0) n = 1;
  if (alignment <= 16) return std::malloc(n);
  void* object = nullptr;
  return posix_memalign(&object, alignment, n) == 0 ? object : nullptr;
}

PROF_DETAIL_COLD inline void* default_new(std::size_t n, std::size_t alignment, bool may_throw) {
  for (;;) {
    void* const object = default_new_once(n, alignment);
    if (object != nullptr) return object;
    const std::new_handler handler = std::get_new_handler();
    if (handler != nullptr) {
      handler();
      continue;
    }
    if (!may_throw) return nullptr;
    std::__throw_bad_alloc();
  }
}

// What follows the size in a form of new: nothing, const nothrow_t&, alignment, or both. The ABI
// passes them as a pointer and a size_t.
inline std::size_t alignment_in() { return 16; }
inline std::size_t alignment_in(const void*) { return 16; }
inline std::size_t alignment_in(std::size_t alignment, const void* = nullptr) { return alignment; }

template <int Index, bool MayThrow, class... Rest>
struct new_form
    : alloc_entry<new_form<Index, MayThrow, Rest...>, void*(std::size_t, Rest...) noexcept(!MayThrow)> {
  static constexpr int index = Index;
  static std::size_t size(std::size_t n, Rest...) { return n; }
  static void* object(void* answer, std::size_t, Rest...) { return answer; }
  static void* while_resolving(std::size_t n, Rest... rest) noexcept(!MayThrow) {
    return bootstrap_alloc_sig(n, alignment_in(rest...));
  }
  static void* fallback(std::size_t n, Rest... rest) noexcept(!MayThrow) {
    return default_new(n, alignment_in(rest...), MayThrow);
  }
};

// What does not depend on the index: compiled once for all forms of the same arguments.
template <class... Rest>
struct unhooked_delete {
  static void while_resolving(void*, Rest...) noexcept {}
  static void fallback(void* pointer, Rest...) noexcept { std::free(pointer); }
};

template <int Index, class... Rest>
struct delete_form : unhooked_delete<Rest...>,
                     free_entry<delete_form<Index, Rest...>, void(void*, Rest...)> {
  static constexpr int index = Index;
};

using new_entry = new_form<entry_new_, true>;
using new_array_entry = new_form<entry_new_array, true>;
using new_nothrow_entry = new_form<entry_new_nothrow, false, const void*>;
using new_array_nothrow_entry = new_form<entry_new_array_nothrow, false, const void*>;
using new_aligned_entry = new_form<entry_new_aligned, true, std::size_t>;
using new_array_aligned_entry = new_form<entry_new_array_aligned, true, std::size_t>;
using new_aligned_nothrow_entry =
    new_form<entry_new_aligned_nothrow, false, std::size_t, const void*>;
using new_array_aligned_nothrow_entry =
    new_form<entry_new_array_aligned_nothrow, false, std::size_t, const void*>;
using delete_entry = delete_form<entry_delete_>;
using delete_array_entry = delete_form<entry_delete_array>;
using delete_sized_entry = delete_form<entry_delete_sized, std::size_t>;
using delete_array_sized_entry = delete_form<entry_delete_array_sized, std::size_t>;
using delete_nothrow_entry = delete_form<entry_delete_nothrow, const void*>;
using delete_array_nothrow_entry = delete_form<entry_delete_array_nothrow, const void*>;
using delete_aligned_entry = delete_form<entry_delete_aligned, std::size_t>;
using delete_array_aligned_entry = delete_form<entry_delete_array_aligned, std::size_t>;
using delete_sized_aligned_entry = delete_form<entry_delete_sized_aligned, std::size_t, std::size_t>;
using delete_array_sized_aligned_entry =
    delete_form<entry_delete_array_sized_aligned, std::size_t, std::size_t>;
using delete_aligned_nothrow_entry =
    delete_form<entry_delete_aligned_nothrow, std::size_t, const void*>;
using delete_array_aligned_nothrow_entry =
    delete_form<entry_delete_array_aligned_nothrow, std::size_t, const void*>;

PROF_DETAIL_END

// ---- the symbols. A compiler that quotes one of these lines has met another definition in the same file. -------------

// Of these <new> says nothing without sized deallocation.
void operator delete(void* p, std::size_t n) noexcept;
void operator delete[](void* p, std::size_t n) noexcept;
void operator delete(void* p, std::size_t n, std::align_val_t a) noexcept;
void operator delete[](void* p, std::size_t n, std::align_val_t a) noexcept;

PROF_DETAIL_HOOKED
void* operator new(std::size_t n) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_entry)(n);
}
PROF_DETAIL_HOOKED
void* operator new[](std::size_t n) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_array_entry)(n);
}
PROF_DETAIL_HOOKED
void* operator new(std::size_t n, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_nothrow_entry)(n, &t);
}
PROF_DETAIL_HOOKED
void* operator new[](std::size_t n, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_array_nothrow_entry)(n, &t);
}
PROF_DETAIL_HOOKED
void* operator new(std::size_t n, std::align_val_t a) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_aligned_entry)(n, static_cast<std::size_t>(a));
}
PROF_DETAIL_HOOKED
void* operator new[](std::size_t n, std::align_val_t a) {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_array_aligned_entry)(n, static_cast<std::size_t>(a));
}
PROF_DETAIL_HOOKED
void* operator new(std::size_t n, std::align_val_t a, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_aligned_nothrow_entry)(n, static_cast<std::size_t>(a), &t);
}
PROF_DETAIL_HOOKED
void* operator new[](std::size_t n, std::align_val_t a, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  return PROF_DETAIL_ROUTED(new_array_aligned_nothrow_entry)(n, static_cast<std::size_t>(a), &t);
}
PROF_DETAIL_HOOKED
void operator delete(void* p) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_entry)(p);
}
PROF_DETAIL_HOOKED
void operator delete[](void* p) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_array_entry)(p);
}
PROF_DETAIL_HOOKED
void operator delete(void* p, std::size_t n) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_sized_entry)(p, n);
}
PROF_DETAIL_HOOKED
void operator delete[](void* p, std::size_t n) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_array_sized_entry)(p, n);
}
PROF_DETAIL_HOOKED
void operator delete(void* p, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_nothrow_entry)(p, &t);
}
PROF_DETAIL_HOOKED
void operator delete[](void* p, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_array_nothrow_entry)(p, &t);
}
PROF_DETAIL_HOOKED
void operator delete(void* p, std::align_val_t a) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_aligned_entry)(p, static_cast<std::size_t>(a));
}
PROF_DETAIL_HOOKED
void operator delete[](void* p, std::align_val_t a) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_array_aligned_entry)(p, static_cast<std::size_t>(a));
}
PROF_DETAIL_HOOKED
void operator delete(void* p, std::size_t n, std::align_val_t a) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_sized_aligned_entry)(p, n, static_cast<std::size_t>(a));
}
PROF_DETAIL_HOOKED
void operator delete[](void* p, std::size_t n, std::align_val_t a) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_array_sized_aligned_entry)(p, n, static_cast<std::size_t>(a));
}
PROF_DETAIL_HOOKED
void operator delete(void* p, std::align_val_t a, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_aligned_nothrow_entry)(p, static_cast<std::size_t>(a), &t);
}
PROF_DETAIL_HOOKED
void operator delete[](void* p, std::align_val_t a, const std::nothrow_t& t) noexcept {  // Yours? Include prof.hpp elsewhere.
  PROF_DETAIL_ROUTED(delete_array_aligned_nothrow_entry)(p, static_cast<std::size_t>(a), &t);
}

#endif  // PROF_HOOK_NEW_HPP
