// prof/hook/resolve.hpp - finds next definitions, learns which hooks are live and which enter each
// other, and claims the process.
// Floor 9 (hook). The one header that knows all heap entries.
// Safety: resolve_heap_slow_sig runs inside the first allocation of an object: dlsym (once per
//         entry) and small allocations, no lock of ours.
// Memory: none.
// Source: design decision "count the outermost call only, without a depth flag": a probe calls each
//         next definition and sees whether another hook of ours is entered.
#ifndef PROF_HOOK_RESOLVE_HPP
#define PROF_HOOK_RESOLVE_HPP

#include "prof/hook/new.hpp"

PROF_DETAIL_BEGIN

// ---- all entries ---------------------------------------------------------------------------------

template <auto Hook>
inline constexpr auto hook_address = Hook;

template <class Entry, auto Hook>
constexpr heap_entry_facts facts(entry_shape shape) {
  return {Entry::index, &Entry::state, &functions_of<Entry>, &hook_address<Hook>, shape};
}

// In the order of PROF_DETAIL_HEAP_ENTRIES.
inline constexpr heap_entry_facts heap_facts[heap_entry_count] = {
    facts<malloc_entry, &prof_hook_malloc>(entry_shape::malloc_),
    facts<free_entry_, &prof_hook_free>(entry_shape::free_),
    facts<calloc_entry, &prof_hook_calloc>(entry_shape::calloc_),
    facts<realloc_entry, &prof_hook_realloc>(entry_shape::realloc_),
    facts<reallocarray_entry, &prof_hook_reallocarray>(entry_shape::reallocarray_),
    facts<memalign_entry, &prof_hook_memalign>(entry_shape::aligned),
    facts<posix_memalign_entry, &prof_hook_posix_memalign>(entry_shape::posix_memalign_),
    facts<aligned_alloc_entry, &prof_hook_aligned_alloc>(entry_shape::aligned),
    facts<valloc_entry, &prof_hook_valloc>(entry_shape::malloc_),
    facts<pvalloc_entry, &prof_hook_pvalloc>(entry_shape::pvalloc_),
    facts<new_entry, &prof_hook_new>(entry_shape::new_),
    facts<new_array_entry, &prof_hook_new_array>(entry_shape::new_),
    facts<new_nothrow_entry, &prof_hook_new_nothrow>(entry_shape::new_nothrow),
    facts<new_array_nothrow_entry, &prof_hook_new_array_nothrow>(entry_shape::new_nothrow),
    facts<new_aligned_entry, &prof_hook_new_aligned>(entry_shape::new_aligned),
    facts<new_array_aligned_entry, &prof_hook_new_array_aligned>(entry_shape::new_aligned),
    facts<new_aligned_nothrow_entry, &prof_hook_new_aligned_nothrow>(
        entry_shape::new_aligned_nothrow),
    facts<new_array_aligned_nothrow_entry, &prof_hook_new_array_aligned_nothrow>(
        entry_shape::new_aligned_nothrow),
    facts<delete_entry, &prof_hook_delete>(entry_shape::delete_),
    facts<delete_array_entry, &prof_hook_delete_array>(entry_shape::delete_),
    facts<delete_sized_entry, &prof_hook_delete_sized>(entry_shape::delete_sized),
    facts<delete_array_sized_entry, &prof_hook_delete_array_sized>(entry_shape::delete_sized),
    facts<delete_nothrow_entry, &prof_hook_delete_nothrow>(entry_shape::delete_nothrow),
    facts<delete_array_nothrow_entry, &prof_hook_delete_array_nothrow>(
        entry_shape::delete_nothrow),
    facts<delete_aligned_entry, &prof_hook_delete_aligned>(entry_shape::delete_sized),
    facts<delete_array_aligned_entry, &prof_hook_delete_array_aligned>(entry_shape::delete_sized),
    facts<delete_sized_aligned_entry, &prof_hook_delete_sized_aligned>(
        entry_shape::delete_sized_aligned),
    facts<delete_array_sized_aligned_entry, &prof_hook_delete_array_sized_aligned>(
        entry_shape::delete_sized_aligned),
    facts<delete_aligned_nothrow_entry, &prof_hook_delete_aligned_nothrow>(
        entry_shape::delete_aligned_nothrow),
    facts<delete_array_aligned_nothrow_entry, &prof_hook_delete_array_aligned_nothrow>(
        entry_shape::delete_aligned_nothrow)};

constexpr bool facts_are_in_order() {
  for (int i = 0; i < heap_entry_count; ++i) {
    if (heap_facts[i].entry != i) return false;
  }
  return true;
}
static_assert(facts_are_in_order(), "an entry's row is found by its number");

inline const heap_entry_facts& facts_of_sig(int entry) PROF_DETAIL_SIG {
  return heap_facts[entry];
}

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
  if (!is_aligned_entry(entry)) {
    return is_array_entry(entry) ? prof_hook_new_array(probe_size) : prof_hook_new(probe_size);
  }
  return is_array_entry(entry) ? prof_hook_new_array_aligned(probe_size, probe_size)
                               : prof_hook_new_aligned(probe_size, probe_size);
}
inline void give_back(int entry, void* object) {
  if (!is_aligned_entry(entry)) {
    return is_array_entry(entry) ? prof_hook_delete_array(object) : prof_hook_delete(object);
  }
  return is_array_entry(entry) ? prof_hook_delete_array_aligned(object, probe_size)
                               : prof_hook_delete_aligned(object, probe_size);
}

// One call with every hook of this object on its slow path; `hit`: the entry that was entered first.
template <class R, class... Args>
R probe_call(int& hit, any_function function, Args... args) {
  struct take_hit {
    int& hit;
    ~take_hit() { hit = first_hit; }
  } const after{hit};
  first_hit = no_entry;
  hook_gap.left = 0;
  return reinterpret_cast<R (*)(Args...)>(function)(args...);
}

PROF_DETAIL_COLD inline int entered_by_delete(int entry, any_function function) {
  int hit = no_entry;
  void* const object = get_object(entry);
  const void* const nothrow = &std::nothrow;
  switch (heap_facts[entry].shape) {
    case entry_shape::delete_sized:
      probe_call<void>(hit, function, object, probe_size);
      break;
    case entry_shape::delete_nothrow:
      probe_call<void>(hit, function, object, nothrow);
      break;
    case entry_shape::delete_sized_aligned:
      probe_call<void>(hit, function, object, probe_size, probe_size);
      break;
    case entry_shape::delete_aligned_nothrow:
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
    case entry_shape::new_nothrow:
      object = probe_call<void*>(hit, function, probe_size, nothrow);
      break;
    case entry_shape::new_aligned:
      object = probe_call<void*>(hit, function, probe_size, probe_size);
      break;
    case entry_shape::new_aligned_nothrow:
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
  const int before = probing;
  probing = probe_without_next;
  (void)probe_call<void*>(hit, function, probe_size);
  probing = before;
  return hit;
}

PROF_DETAIL_COLD inline int entered_by_malloc_family(int entry, any_function function) {
  int hit = no_entry;
  void* object = nullptr;
  switch (heap_facts[entry].shape) {
    case entry_shape::free_:
      probe_call<void>(hit, function, std::malloc(probe_size));
      return hit;
    case entry_shape::calloc_:
      object = probe_call<void*>(hit, function, std::size_t{1}, probe_size);
      break;
    case entry_shape::realloc_:
      object = probe_call<void*>(hit, function, std::malloc(probe_size), 4 * probe_size);
      break;
    case entry_shape::reallocarray_:
      object = probe_call<void*>(hit, function, std::malloc(probe_size), probe_size, std::size_t{4});
      break;
    case entry_shape::aligned:
      object = probe_call<void*>(hit, function, probe_size, probe_size);
      break;
    case entry_shape::posix_memalign_:
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

class probe_scope {
 public:
  probe_scope() PROF_DETAIL_SIG { ++probing; }
  ~probe_scope() {
    --probing;
    hook_gap.left = 0;
  }
  probe_scope(const probe_scope&) = delete;
  probe_scope& operator=(const probe_scope&) = delete;
};

inline void ensure_heap_resolved() noexcept {
  if (!heap_resolved_sig()) (void)resolve_heap_slow_sig();
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_part
    prof_part_heap_hooks_v1 = {hook_part_magic, heap_records, heap_entry_count,
                               &ensure_heap_resolved, &redraw_hook_gap, &own_code_depth_address};

// ---- resolving -------------------------------------------------------------------------------------------

// Where free is another definition's (static links), an object that is given back by free must not
// be counted: it would look live for ever.
inline bool given_back_unseen(int entry) noexcept {
  return entry != entry_free && entry < entry_new_ &&
         heap_records[entry_free].state.load(std::memory_order_relaxed)[0] == 'd';
}

// Decides what an entry of the counting object does, while every route still leads to first_call
// and the filter is closed, so that no hooked call goes unnoticed.
PROF_DETAIL_COLD inline void settle_counting_sig(int entry) {
  const any_function next = load_word_sig(entry, word_next);
  // volatile keeps the compiler from pairing and removing calls.
  const any_function volatile symbol = load_function_sig(heap_facts[entry].hook);
  const int entered = first_entered_by(entry, symbol);
  if (entered != entry) {
    settle_sig(entry, next);
    return set_record_sig(entry, "dead",
                          entered == no_entry
                              ? "another definition comes first in symbol order or a static link"
                              : "another definition comes first; it enters a hook that counts");
  }
  if (given_back_unseen(entry)) {
    settle_sig(entry, next);
    return set_record_sig(entry, "forwarding",
                          "not counted, because free is another definition's");
  }
  const bool base = entry == entry_malloc || entry == entry_free || entry == entry_pvalloc;
  if (!base && first_entered_by(entry, next) != no_entry) {
    settle_sig(entry, next);
    return set_record_sig(entry, "forwarding",
                          "its next definition enters another hook, which counts");
  }
  settle_sig(entry, function_of_sig(entry, function_counting));
  set_record_sig(entry, "live",
                 next == function_of_sig(entry, function_fallback)
                     ? "counts; no next definition, own fallback"
                     : "counts");
}

inline void settle_all_counting_sig() {
  const probe_scope probe;
  settle_counting_sig(entry_free);  // first: see given_back_unseen
  for (int entry = 0; entry < heap_entry_count; ++entry) {
    if (entry != entry_free) settle_counting_sig(entry);
  }
}

inline void settle_all_forwarding_sig() PROF_DETAIL_SIG {
  for (int entry = 0; entry < heap_entry_count; ++entry) {
    settle_sig(entry, load_word_sig(entry, word_next));
    set_record_sig(entry, "forwarding", "another object of the process counts");
  }
  free_filter.store(open_filter + 63);
}

// Process id of the one thread that resolves: in a forked child that thread may not be there.
inline std::atomic<std::uint32_t> resolver{0};

PROF_DETAIL_COLD inline bool resolve_heap_slow_sig() PROF_DETAIL_SIG {
  const std::uint32_t self = os_process_id_sig();
  std::uint32_t other = resolver.load();
  if (other == self || !resolver.compare_exchange_strong(other, self)) return heap_resolved_sig();
  const errno_guard keep_errno;
  ++resolving;
  process_state* const process = process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  const bool counting =
      heap != nullptr && claim_hooks_sig(process->heap_hooks, &prof_part_heap_hooks_v1);
  for (int entry = 0; entry < heap_entry_count; ++entry) find_next_sig(entry);
  --resolving;
  if (counting) {
    settle_all_counting_sig();
    heap->live.publish_filter_to_sig(free_filter);
  } else {
    settle_all_forwarding_sig();
  }
  heap_role.store(counting ? hook_role::counting : hook_role::forwarding,
                  std::memory_order_release);
  return true;
}

PROF_DETAIL_END

#endif  // PROF_HOOK_RESOLVE_HPP
