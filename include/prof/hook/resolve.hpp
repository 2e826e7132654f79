// prof/hook/resolve.hpp - finds next definitions, learns which hooks are live and which enter each
// other, and claims the process.
// Floor 6 (hook). The one header that knows all heap entries.
// Safety: resolve_heap_slow_sig runs inside the first allocation of an object: dlsym (once per
//         entry) and small allocations, no lock of ours.
// Memory: none.
// Source: design decision "count the outermost call only, without a depth flag": a probe calls each
//         next definition and sees whether another hook of ours is entered.
#ifndef PROF_HOOK_RESOLVE_HPP
#define PROF_HOOK_RESOLVE_HPP

#include "prof/hook/new.hpp"

PROF_DETAIL_BEGIN

// Calls visit(entry, public symbol) for all entries: here and nowhere else is the list.
template <class Visitor>
inline void for_each_heap_entry(Visitor visit) {
  visit(free_entry_{}, &prof_hook_free);  // first: see given_back_unseen
  visit(malloc_entry{}, &prof_hook_malloc);
  visit(calloc_entry{}, &prof_hook_calloc);
  visit(realloc_entry{}, &prof_hook_realloc);
  visit(reallocarray_entry{}, &prof_hook_reallocarray);
  visit(memalign_entry{}, &prof_hook_memalign);
  visit(posix_memalign_entry{}, &prof_hook_posix_memalign);
  visit(aligned_alloc_entry{}, &prof_hook_aligned_alloc);
  visit(valloc_entry{}, &prof_hook_valloc);
  visit(pvalloc_entry{}, &prof_hook_pvalloc);
  visit(new_entry{}, &prof_hook_new);
  visit(new_array_entry{}, &prof_hook_new_array);
  visit(new_nothrow_entry{}, &prof_hook_new_nothrow);
  visit(new_array_nothrow_entry{}, &prof_hook_new_array_nothrow);
  visit(new_aligned_entry{}, &prof_hook_new_aligned);
  visit(new_array_aligned_entry{}, &prof_hook_new_array_aligned);
  visit(new_aligned_nothrow_entry{}, &prof_hook_new_aligned_nothrow);
  visit(new_array_aligned_nothrow_entry{}, &prof_hook_new_array_aligned_nothrow);
  visit(delete_entry{}, &prof_hook_delete);
  visit(delete_array_entry{}, &prof_hook_delete_array);
  visit(delete_sized_entry{}, &prof_hook_delete_sized);
  visit(delete_array_sized_entry{}, &prof_hook_delete_array_sized);
  visit(delete_nothrow_entry{}, &prof_hook_delete_nothrow);
  visit(delete_array_nothrow_entry{}, &prof_hook_delete_array_nothrow);
  visit(delete_aligned_entry{}, &prof_hook_delete_aligned);
  visit(delete_array_aligned_entry{}, &prof_hook_delete_array_aligned);
  visit(delete_sized_aligned_entry{}, &prof_hook_delete_sized_aligned);
  visit(delete_array_sized_aligned_entry{}, &prof_hook_delete_array_sized_aligned);
  visit(delete_aligned_nothrow_entry{}, &prof_hook_delete_aligned_nothrow);
  visit(delete_array_aligned_nothrow_entry{}, &prof_hook_delete_array_aligned_nothrow);
}

// How one entry is exercised: `call` stands for its public symbol (is our hook live?) or for its next
// definition (does that enter another hook?). What it needs and what it gives goes through the
// program's own malloc, free, new and delete, whoever they are: mixing two allocators' would crash.
// Size and alignment of a probe are the same number, so either may stand for the other.
inline constexpr std::size_t probe_size = 64;

template <class Call>
void exercise(malloc_entry, Call call) { std::free(call(probe_size)); }
template <class Call>
void exercise(calloc_entry, Call call) { std::free(call(std::size_t{1}, probe_size)); }
template <class Call>
void exercise(valloc_entry, Call call) { std::free(call(probe_size)); }
// jemalloc and tcmalloc have no pvalloc, so the program's pvalloc and free need not belong together
// (seen: jemalloc 5.3 crashes). Our hook, if live, answers without allocating; otherwise one page
// is lost, once in the process's life.
template <class Call>
void exercise(pvalloc_entry, Call call) {
  const int before = probing;
  probing = probe_without_next;
  (void)call(probe_size);
  probing = before;
}
template <class Call>
void exercise(memalign_entry, Call call) {
  std::free(call(probe_size, probe_size));
}
template <class Call>
void exercise(aligned_alloc_entry, Call call) {
  std::free(call(probe_size, probe_size));
}
template <class Call>
void exercise(posix_memalign_entry, Call call) {
  void* object = nullptr;
  if (call(&object, probe_size, probe_size) == 0) std::free(object);
}
template <class Call>
void exercise(realloc_entry, Call call) {
  std::free(call(std::malloc(probe_size), std::size_t{4 * probe_size}));
}
template <class Call>
void exercise(reallocarray_entry, Call call) {
  std::free(call(std::malloc(probe_size), probe_size, std::size_t{4}));
}
template <class Call>
void exercise(free_entry_, Call call) { call(std::malloc(probe_size)); }

// The rest of a form's arguments, by type.
inline std::size_t probe_argument(std::size_t*) { return probe_size; }
inline const void* probe_argument(const void**) { return &std::nothrow; }
template <class T>
T probe_argument_of() { return probe_argument(static_cast<T*>(nullptr)); }

inline void* get_object(bool aligned, bool array) {
  if (!aligned) return array ? prof_hook_new_array(probe_size) : prof_hook_new(probe_size);
  return array ? prof_hook_new_array_aligned(probe_size, probe_size)
               : prof_hook_new_aligned(probe_size, probe_size);
}
inline void give_back(void* object, bool aligned, bool array) {
  if (!aligned) return array ? prof_hook_delete_array(object) : prof_hook_delete(object);
  return array ? prof_hook_delete_array_aligned(object, probe_size)
               : prof_hook_delete_aligned(object, probe_size);
}

template <int Index, bool MayThrow, class... Rest, class Call>
void exercise(new_form<Index, MayThrow, Rest...>, Call call) {
  void* const object = call(probe_size, probe_argument_of<Rest>()...);
  constexpr bool aligned = Index == entry_new_aligned || Index == entry_new_array_aligned ||
                           Index == entry_new_aligned_nothrow ||
                           Index == entry_new_array_aligned_nothrow;
  constexpr bool array = Index == entry_new_array || Index == entry_new_array_nothrow ||
                         Index == entry_new_array_aligned ||
                         Index == entry_new_array_aligned_nothrow;
  give_back(object, aligned, array);
}

template <int Index, class... Rest, class Call>
void exercise(delete_form<Index, Rest...>, Call call) {
  constexpr bool aligned = Index >= entry_delete_aligned;
  constexpr bool array = Index == entry_delete_array || Index == entry_delete_array_sized ||
                         Index == entry_delete_array_nothrow ||
                         Index == entry_delete_array_aligned ||
                         Index == entry_delete_array_sized_aligned ||
                         Index == entry_delete_array_aligned_nothrow;
  call(get_object(aligned, array), probe_argument_of<Rest>()...);
}

// Runs one call with every hook of this object on its slow path and tells which was entered first.
template <class Entry, class Function>
inline int first_entered_by(Entry entry, Function function) {
  int verdict = no_entry;
  struct take_verdict {
    int& verdict;
    ~take_verdict() { verdict = first_hit; }
  };
  exercise(entry, [&](auto... args) {
    first_hit = no_entry;
    hook_gap.left = 0;
    const take_verdict after{verdict};
    return function(args...);
  });
  return verdict;
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

extern "C" __attribute__((weak, used, visibility("hidden"))) const hook_part
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
template <class Entry, class Function>
inline void settle_counting_sig(Entry entry, Function public_symbol) {
  Function volatile symbol = public_symbol;  // keeps the compiler from pairing and removing calls
  const int entered = first_entered_by(entry, [&](auto... args) { return symbol(args...); });
  if (entered != Entry::index) {
    Entry::settle_sig(Entry::next.load());
    return set_record_sig(Entry::index, "dead",
                          entered == no_entry
                              ? "another definition comes first in symbol order or a static link"
                              : "another definition comes first; it enters a hook that counts");
  }
  if (given_back_unseen(Entry::index)) {
    Entry::settle_sig(Entry::next.load());
    return set_record_sig(Entry::index, "forwarding",
                          "not counted, because free is another definition's");
  }
  const bool base = Entry::index == entry_malloc || Entry::index == entry_free ||
                    Entry::index == entry_pvalloc;
  const auto call_next = [](auto... args) { return Entry::call_next(args...); };
  if (!base && first_entered_by(entry, call_next) != no_entry) {
    Entry::settle_sig(Entry::next.load());
    return set_record_sig(Entry::index, "forwarding",
                          "its next definition enters another hook, which counts");
  }
  Entry::settle_sig(&Entry::counting);
  set_record_sig(Entry::index, "live",
                 Entry::next.load() == &Entry::fallback ? "counts; no next definition, own fallback"
                                                        : "counts");
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
  for_each_heap_entry([](auto entry, auto) { decltype(entry)::find_next_sig(); });
  --resolving;
  if (counting) {
    const probe_scope probe;
    for_each_heap_entry([](auto entry, auto symbol) { settle_counting_sig(entry, symbol); });
    heap->live.publish_filter_to_sig(free_filter);
  } else {
    for_each_heap_entry([](auto entry, auto) {
      using hooked = decltype(entry);
      hooked::settle_sig(hooked::next.load());
      set_record_sig(hooked::index, "forwarding", "another object of the process counts");
    });
    free_filter.store(open_filter + 63);
  }
  heap_role.store(counting ? hook_role::counting : hook_role::forwarding,
                  std::memory_order_release);
  return true;
}

PROF_DETAIL_END

#endif  // PROF_HOOK_RESOLVE_HPP
