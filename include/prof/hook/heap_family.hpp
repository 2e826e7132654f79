// prof/hook/heap_family.hpp - the family of malloc, operator new and their kin: which of its hooks are live and which
// enter each other, and who counts.
// Floor 9 (hook). The one header that knows all heap entries.
// Safety: settling runs inside the first allocation of an object: small allocations, no lock of ours.
// Memory: none.
// Source: design decision "count the outermost call only, without a depth flag": a probe calls each
//         next definition and sees whether another hook of ours is entered.
#ifndef PROF_HOOK_HEAP_FAMILY_HPP
#define PROF_HOOK_HEAP_FAMILY_HPP

#include "prof/hook/new.hpp"

PROF_DETAIL_BEGIN

// ---- all entries ---------------------------------------------------------------------------------

// The forms of operator new and delete, to tell the overloads apart.
using plain_new = void* (*)(std::size_t);
using nothrow_new = void* (*)(std::size_t, const std::nothrow_t&) noexcept;
using aligned_new = void* (*)(std::size_t, std::align_val_t);
using aligned_nothrow_new = void* (*)(std::size_t, std::align_val_t, const std::nothrow_t&) noexcept;
using plain_delete = void (*)(void*) noexcept;
using sized_delete = void (*)(void*, std::size_t) noexcept;
using nothrow_delete = void (*)(void*, const std::nothrow_t&) noexcept;
using aligned_delete = void (*)(void*, std::align_val_t) noexcept;
using sized_aligned_delete = void (*)(void*, std::size_t, std::align_val_t) noexcept;
using aligned_nothrow_delete = void (*)(void*, std::align_val_t, const std::nothrow_t&) noexcept;

// In the order of PROF_DETAIL_HEAP_ENTRIES.
inline constexpr hook_entry_facts heap_facts[heap_entry_count] = {
    facts_of<malloc_entry, &malloc>(shape_malloc),
    facts_of<free_entry_, &free>(shape_free),
    facts_of<calloc_entry, &calloc>(shape_calloc),
    facts_of<realloc_entry, &realloc>(shape_realloc),
    facts_of<reallocarray_entry, &reallocarray>(shape_reallocarray),
    facts_of<memalign_entry, &memalign>(shape_aligned),
    facts_of<posix_memalign_entry, &posix_memalign>(shape_posix_memalign),
    facts_of<aligned_alloc_entry, &aligned_alloc>(shape_aligned),
    facts_of<valloc_entry, &valloc>(shape_malloc),
    facts_of<pvalloc_entry, &pvalloc>(shape_pvalloc),
    facts_of<new_entry, static_cast<plain_new>(&::operator new)>(shape_new),
    facts_of<new_array_entry, static_cast<plain_new>(&::operator new[])>(shape_new),
    facts_of<new_nothrow_entry, static_cast<nothrow_new>(&::operator new)>(shape_new_nothrow),
    facts_of<new_array_nothrow_entry, static_cast<nothrow_new>(&::operator new[])>(shape_new_nothrow),
    facts_of<new_aligned_entry, static_cast<aligned_new>(&::operator new)>(shape_new_aligned),
    facts_of<new_array_aligned_entry, static_cast<aligned_new>(&::operator new[])>(shape_new_aligned),
    facts_of<new_aligned_nothrow_entry, static_cast<aligned_nothrow_new>(&::operator new)>(shape_new_aligned_nothrow),
    facts_of<new_array_aligned_nothrow_entry, static_cast<aligned_nothrow_new>(&::operator new[])>(shape_new_aligned_nothrow),
    facts_of<delete_entry, static_cast<plain_delete>(&::operator delete)>(shape_delete),
    facts_of<delete_array_entry, static_cast<plain_delete>(&::operator delete[])>(shape_delete),
    facts_of<delete_sized_entry, static_cast<sized_delete>(&::operator delete)>(shape_delete_sized),
    facts_of<delete_array_sized_entry, static_cast<sized_delete>(&::operator delete[])>(shape_delete_sized),
    facts_of<delete_nothrow_entry, static_cast<nothrow_delete>(&::operator delete)>(shape_delete_nothrow),
    facts_of<delete_array_nothrow_entry, static_cast<nothrow_delete>(&::operator delete[])>(shape_delete_nothrow),
    facts_of<delete_aligned_entry, static_cast<aligned_delete>(&::operator delete)>(shape_delete_sized),
    facts_of<delete_array_aligned_entry, static_cast<aligned_delete>(&::operator delete[])>(shape_delete_sized),
    facts_of<delete_sized_aligned_entry, static_cast<sized_aligned_delete>(&::operator delete)>(shape_delete_sized_aligned),
    facts_of<delete_array_sized_aligned_entry, static_cast<sized_aligned_delete>(&::operator delete[])>(shape_delete_sized_aligned),
    facts_of<delete_aligned_nothrow_entry, static_cast<aligned_nothrow_delete>(&::operator delete)>(shape_delete_aligned_nothrow),
    facts_of<delete_array_aligned_nothrow_entry, static_cast<aligned_nothrow_delete>(&::operator delete[])>(shape_delete_aligned_nothrow)};
static_assert(facts_are_in_order(heap_facts));

// ---- probes --------------------------------------------------------------------------------------

// What a probe needs and what it gives goes through the program's own malloc, free, new and delete,
// whoever they are: mixing two allocators' would crash. Size and alignment of a probe are the same
// number, so either may stand for the other.
inline constexpr std::size_t probe_size = 64;

constexpr bool is_aligned_entry(int entry) {
  return (entry >= entry_new_aligned && entry <= entry_new_array_aligned_nothrow) ||
         entry >= entry_delete_aligned;
}
constexpr bool is_array_entry(int entry) { return (entry - entry_new_) % 2 == 1; }

inline void* get_object(int entry) {
  constexpr auto alignment = static_cast<std::align_val_t>(probe_size);
  if (!is_aligned_entry(entry)) return is_array_entry(entry) ? ::operator new[](probe_size) : ::operator new(probe_size);
  return is_array_entry(entry) ? ::operator new[](probe_size, alignment) : ::operator new(probe_size, alignment);
}
inline void give_back(int entry, void* object) {
  constexpr auto alignment = static_cast<std::align_val_t>(probe_size);
  // No conditional expression: clang 14 calls both operators of `c ? ::operator delete[](p) : ::operator delete(p)`.
  if (is_aligned_entry(entry)) {
    if (is_array_entry(entry)) ::operator delete[](object, alignment);
    else ::operator delete(object, alignment);
  } else {
    if (is_array_entry(entry)) ::operator delete[](object);
    else ::operator delete(object);
  }
}

PROF_DETAIL_COLD inline int entered_by_delete(int entry, any_function function) {
  int hit = no_entry;
  void* const object = get_object(entry);
  const void* const nothrow = &std::nothrow;
  switch (heap_facts[entry].shape) {
    case shape_delete_sized:
      probe_call<void>(hit, function, object, probe_size);
      break;
    case shape_delete_nothrow:
      probe_call<void>(hit, function, object, nothrow);
      break;
    case shape_delete_sized_aligned:
      probe_call<void>(hit, function, object, probe_size, probe_size);
      break;
    case shape_delete_aligned_nothrow:
      probe_call<void>(hit, function, object, probe_size, nothrow);
      break;
    default:
      probe_call<void>(hit, function, object);
  }
  return hit;
}

inline int entered_by_new(int entry, any_function function) {
  int hit = no_entry;
  void* object = nullptr;
  const void* const nothrow = &std::nothrow;
  switch (heap_facts[entry].shape) {
    case shape_new_nothrow:
      object = probe_call<void*>(hit, function, probe_size, nothrow);
      break;
    case shape_new_aligned:
      object = probe_call<void*>(hit, function, probe_size, probe_size);
      break;
    case shape_new_aligned_nothrow:
      object = probe_call<void*>(hit, function, probe_size, probe_size, nothrow);
      break;
    default:
      object = probe_call<void*>(hit, function, probe_size);
  }
  give_back(entry, object);
  return hit;
}

// jemalloc and tcmalloc have no pvalloc, so the program's pvalloc and free need not belong together
// (seen: jemalloc 5.3 crashes). Our hook, if live, answers without allocating; otherwise one page
// is lost, once in the process's life.
inline int entered_by_pvalloc(any_function function) {
  int hit = no_entry;
  probe.without_next = true;
  (void)probe_call<void*>(hit, function, probe_size);
  probe.without_next = false;
  return hit;
}

PROF_DETAIL_COLD inline int entered_by_malloc_family(int entry, any_function function) {
  int hit = no_entry;
  void* object = nullptr;
  switch (heap_facts[entry].shape) {
    case shape_free:
      probe_call<void>(hit, function, std::malloc(probe_size));
      return hit;
    case shape_calloc:
      object = probe_call<void*>(hit, function, std::size_t{1}, probe_size);
      break;
    case shape_realloc:
      object = probe_call<void*>(hit, function, std::malloc(probe_size), 4 * probe_size);
      break;
    case shape_reallocarray:
      object = probe_call<void*>(hit, function, std::malloc(probe_size), probe_size, std::size_t{4});
      break;
    case shape_aligned:
      object = probe_call<void*>(hit, function, probe_size, probe_size);
      break;
    case shape_posix_memalign:
      if (probe_call<int>(hit, function, &object, probe_size, probe_size) != 0) return hit;
      break;
    default:
      object = probe_call<void*>(hit, function, probe_size);
  }
  std::free(object);
  return hit;
}

// Which hook of this object is entered first when `function` is called as this entry is: its public
// symbol (is our hook live?) or its next definition (does that enter another hook?).
inline int first_entered_by(int entry, any_function function) {
  if (entry >= entry_delete_) return entered_by_delete(entry, function);
  if (entry >= entry_new_) return entered_by_new(entry, function);
  if (entry == entry_pvalloc) return entered_by_pvalloc(function);
  return entered_by_malloc_family(entry, function);
}

// ---- the family ----------------------------------------------------------------------------------------

inline void ensure_heap_resolved() noexcept {
  if (!is_resolved_sig(heap_hooks())) (void)resolve_slow_sig(heap_hooks());
}
inline void forget_heap_gap() noexcept { alloc_countdown = 0; }

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_family_part prof_hooks_heap_v2 = {
    hook_family_magic, heap_records, heap_entry_count, &ensure_heap_resolved, &forget_heap_gap};

bool settle_heap_sig(const hook_set& set, process_state* process, bool counting);
inline constexpr hook_set heap_hook_set = {
    hook_family::heap, &prof_hooks_heap_v2, heap_facts,       heap_records,
    &heap_role,        &heap_resolver,      heap_entry_count, &settle_heap_sig};
inline const hook_set& heap_hooks() PROF_DETAIL_SIG { return heap_hook_set; }

// Where free is another definition's (static links), an object that is given back by free must not
// be counted: it would look live for ever.
inline bool given_back_unseen(int entry) noexcept {
  return entry != entry_free && entry < entry_new_ &&
         heap_records[entry_free].state.load(std::memory_order_relaxed)[0] == 'd';
}

// Decides what an entry of the counting object does, while every route still leads to first_call
// and the filter is closed, so that no hooked call goes unnoticed.
PROF_DETAIL_COLD inline void settle_counting_sig(const hook_set& set, int entry) {
  // volatile keeps the compiler from pairing and removing calls.
  const any_function volatile symbol = load_function_sig(heap_facts[entry].hook);
  const int entered = first_entered_by(entry, symbol);
  if (entered != probe_number(set, entry)) {
    return settle_to_next_sig(set, entry, "dead",
                              entered == no_entry
                                  ? "another definition comes first in symbol order or a static link"
                                  : "another definition comes first; it enters a hook that counts");
  }
  if (given_back_unseen(entry)) {
    return settle_to_next_sig(set, entry, "forwarding", "not counted, because free is another definition's");
  }
  const bool base = entry == entry_malloc || entry == entry_free || entry == entry_pvalloc;
  if (!base && first_entered_by(entry, load_word_sig(set, entry, word_next)) != no_entry) {
    return settle_to_next_sig(set, entry, "forwarding", "its next definition enters another hook, which counts");
  }
  settle_live_sig(set, entry);
}

inline bool settle_heap_sig(const hook_set& set, process_state* process, bool counting) {
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  const probe_scope probing;
  if (!counting || heap == nullptr || !probing.alone()) {
    settle_all_forwarding_sig(set);
    free_filter.store(open_filter + 63);
    return false;
  }
  settle_counting_sig(set, entry_free);  // first: see given_back_unseen
  for (int entry = 0; entry < heap_entry_count; ++entry) {
    if (entry != entry_free) settle_counting_sig(set, entry);
  }
  heap->live.publish_filter_to_sig(free_filter);
  return true;
}

PROF_DETAIL_END

#endif  // PROF_HOOK_HEAP_FAMILY_HPP
