// prof/hook/resolve.hpp - finds next definitions, learns which entries reach each other, claims the
// process, and tests each hook for status().
// Floor 6 (hook). The one header that knows all heap entries.
// Safety: resolve_heap_slow_sig runs inside the first allocation of an object: dlsym (once per
//         entry) and small allocations through the next definitions, no lock of ours.
//         test_heap_hooks is for ordinary context.
// Memory: none.
// Source: design decision "count the outermost call only, without a depth flag": a probe calls each
//         next definition and sees whether another hook of ours is entered.
#ifndef PROF_HOOK_RESOLVE_HPP
#define PROF_HOOK_RESOLVE_HPP

#include "prof/hook/new.hpp"

PROF_DETAIL_BEGIN

// Calls visit(entry<...>{}) style functions for all entries: here and nowhere else is the list.
template <class Visitor>
inline void for_each_heap_entry(Visitor visit) {
  visit(malloc_entry{}), visit(free_entry_{}), visit(calloc_entry{}), visit(realloc_entry{});
  visit(reallocarray_entry{}), visit(memalign_entry{}), visit(posix_memalign_entry{});
  visit(aligned_alloc_entry{}), visit(valloc_entry{}), visit(pvalloc_entry{});
  visit(new_entry{}), visit(new_array_entry{}), visit(new_nothrow_entry{});
  visit(new_array_nothrow_entry{}), visit(new_aligned_entry{}), visit(new_array_aligned_entry{});
  visit(new_aligned_nothrow_entry{}), visit(new_array_aligned_nothrow_entry{});
  visit(delete_entry{}), visit(delete_array_entry{}), visit(delete_sized_entry{});
  visit(delete_array_sized_entry{}), visit(delete_nothrow_entry{});
  visit(delete_array_nothrow_entry{}), visit(delete_aligned_entry{});
  visit(delete_array_aligned_entry{}), visit(delete_sized_aligned_entry{});
  visit(delete_array_sized_aligned_entry{}), visit(delete_aligned_nothrow_entry{});
  visit(delete_array_aligned_nothrow_entry{});
}

// How one entry is exercised: `call` stands for its next definition (a probe) or for its public
// symbol (the self-test). What it allocates goes back by the partner's next definition. Size and
// alignment of a probe are the same number, so either may be passed for the other's parameter.
inline constexpr std::size_t probe_size = 64;

template <class Call>
void exercise(malloc_entry, Call call) { free_entry_::call_next(call(probe_size)); }
template <class Call>
void exercise(calloc_entry, Call call) { free_entry_::call_next(call(std::size_t{1}, probe_size)); }
template <class Call>
void exercise(valloc_entry, Call call) { free_entry_::call_next(call(probe_size)); }
template <class Call>
void exercise(pvalloc_entry, Call call) { free_entry_::call_next(call(probe_size)); }
template <class Call>
void exercise(memalign_entry, Call call) {
  free_entry_::call_next(call(probe_size, probe_size));
}
template <class Call>
void exercise(aligned_alloc_entry, Call call) {
  free_entry_::call_next(call(probe_size, probe_size));
}
template <class Call>
void exercise(posix_memalign_entry, Call call) {
  void* object = nullptr;
  if (call(&object, probe_size, probe_size) == 0) free_entry_::call_next(object);
}
template <class Call>
void exercise(realloc_entry, Call call) {
  free_entry_::call_next(call(malloc_entry::call_next(probe_size), std::size_t{4 * probe_size}));
}
template <class Call>
void exercise(reallocarray_entry, Call call) {
  free_entry_::call_next(call(malloc_entry::call_next(probe_size), probe_size, std::size_t{4}));
}
template <class Call>
void exercise(free_entry_, Call call) { call(malloc_entry::call_next(probe_size)); }

// The rest of a form's arguments, by type.
inline std::size_t probe_argument(std::size_t*) { return probe_size; }
inline const void* probe_argument(const void**) { return &std::nothrow; }
template <class T>
T probe_argument_of() { return probe_argument(static_cast<T*>(nullptr)); }

template <int Index, bool MayThrow, class... Rest, class Call>
void exercise(new_form<Index, MayThrow, Rest...>, Call call) {
  void* const object = call(probe_size, probe_argument_of<Rest>()...);
  constexpr bool aligned = Index == entry_new_aligned || Index == entry_new_array_aligned ||
                           Index == entry_new_aligned_nothrow ||
                           Index == entry_new_array_aligned_nothrow;
  constexpr bool array = Index == entry_new_array || Index == entry_new_array_nothrow ||
                         Index == entry_new_array_aligned ||
                         Index == entry_new_array_aligned_nothrow;
  if (aligned && array) delete_array_aligned_entry::call_next(object, probe_size);
  else if (aligned) delete_aligned_entry::call_next(object, probe_size);
  else if (array) delete_array_entry::call_next(object);
  else delete_entry::call_next(object);
}

template <int Index, class... Rest, class Call>
void exercise(delete_form<Index, Rest...>, Call call) {
  constexpr bool aligned = Index >= entry_delete_aligned;
  constexpr bool array = Index == entry_delete_array || Index == entry_delete_array_sized ||
                         Index == entry_delete_array_nothrow ||
                         Index == entry_delete_array_aligned ||
                         Index == entry_delete_array_sized_aligned ||
                         Index == entry_delete_array_aligned_nothrow;
  void* object = nullptr;
  if (aligned) {
    object = array ? new_array_aligned_entry::call_next(probe_size, probe_size)
                   : new_aligned_entry::call_next(probe_size, probe_size);
  } else {
    object = array ? new_array_entry::call_next(probe_size) : new_entry::call_next(probe_size);
  }
  call(object, probe_argument_of<Rest>()...);
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
    heap_left = 0;
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
    heap_left = 0;
  }
  probe_scope(const probe_scope&) = delete;
  probe_scope& operator=(const probe_scope&) = delete;
};

void test_heap_hooks() noexcept;

extern "C" __attribute__((weak, used, visibility("hidden"))) const hook_part
    prof_part_heap_hooks_v1 = {heap_records, heap_entry_count, &test_heap_hooks, &redraw_gap,
                               &own_code_depth_address};

// ---- resolving -------------------------------------------------------------------------------------------

template <class Entry>
inline void settle_counting_sig(Entry entry) {
  const bool base = Entry::index == entry_malloc || Entry::index == entry_free;
  const bool reaches =
      !base && first_entered_by(entry, [](auto... args) { return Entry::call_next(args...); }) !=
                   no_entry;
  Entry::settle_sig(reaches ? Entry::next.load() : &Entry::counting);
  if (reaches) {
    set_record_sig(Entry::index, "forwarding", "its next definition enters another hook, which counts");
  } else {
    set_record_sig(Entry::index, "live", "counts");
  }
}

PROF_DETAIL_COLD inline void resolve_heap_slow_sig() PROF_DETAIL_SIG {
  const errno_guard keep_errno;
  ++resolving;
  process_state* const process = process_sig();
  heap_state* const heap = process == nullptr ? nullptr : heap_sig(*process);
  const bool counting = heap != nullptr && claim_hooks_sig(process->heap_hooks, &prof_part_heap_hooks_v1);
  for_each_heap_entry([](auto entry) { decltype(entry)::find_next_sig(); });
  --resolving;
  if (counting) {
    const probe_scope probe;
    for_each_heap_entry([](auto entry) { settle_counting_sig(entry); });
    heap->fast_filter.store(&free_filter);
    free_filter.store(reinterpret_cast<char*>(heap->filter.load()));
  } else {
    for_each_heap_entry([](auto entry) {
      using hooked = decltype(entry);
      hooked::settle_sig(hooked::next.load());
      set_record_sig(hooked::index, "forwarding", "another object of the process counts");
    });
    free_filter.store(open_filter + 63);
  }
  heap_role.store(counting ? hook_role::counting : hook_role::forwarding,
                  std::memory_order_release);
}

// ---- the self-test -----------------------------------------------------------------------------------------

template <class Entry, class Function>
inline void test_hook(Entry entry, Function public_symbol) {
  Function volatile call = public_symbol;  // keeps the compiler from pairing and removing calls
  Entry::route.store(&Entry::first_call);
  const int entered = first_entered_by(entry, [&](auto... args) { return call(args...); });
  if (Entry::settled.load() != nullptr) Entry::route.store(Entry::settled.load());
  if (entered == Entry::index) return;  // live or forwarding, as the record says
  set_record_sig(Entry::index, "dead",
                 entered == no_entry
                     ? "another definition comes first in symbol order or in a static link"
                     : "another definition comes first; it enters another hook, which counts");
}

// Calls every hooked symbol as the program does and notes which of this object's hooks are entered.
inline void test_heap_hooks() noexcept {
  if (!heap_resolved_sig()) resolve_heap_slow_sig();
  const probe_scope probe;
  char* const filter = free_filter.exchange(closed_filter + 63);
  test_hook(malloc_entry{}, &prof_hook_malloc);
  test_hook(free_entry_{}, &prof_hook_free);
  test_hook(calloc_entry{}, &prof_hook_calloc);
  test_hook(realloc_entry{}, &prof_hook_realloc);
  test_hook(reallocarray_entry{}, &prof_hook_reallocarray);
  test_hook(memalign_entry{}, &prof_hook_memalign);
  test_hook(posix_memalign_entry{}, &prof_hook_posix_memalign);
  test_hook(aligned_alloc_entry{}, &prof_hook_aligned_alloc);
  test_hook(valloc_entry{}, &prof_hook_valloc);
  test_hook(pvalloc_entry{}, &prof_hook_pvalloc);
#define PROF_DETAIL_TEST_HOOK(name) test_hook(name##_entry{}, &prof_hook_##name)
  PROF_DETAIL_TEST_HOOK(new), PROF_DETAIL_TEST_HOOK(new_array);
  PROF_DETAIL_TEST_HOOK(new_nothrow), PROF_DETAIL_TEST_HOOK(new_array_nothrow);
  PROF_DETAIL_TEST_HOOK(new_aligned), PROF_DETAIL_TEST_HOOK(new_array_aligned);
  PROF_DETAIL_TEST_HOOK(new_aligned_nothrow), PROF_DETAIL_TEST_HOOK(new_array_aligned_nothrow);
  PROF_DETAIL_TEST_HOOK(delete), PROF_DETAIL_TEST_HOOK(delete_array);
  PROF_DETAIL_TEST_HOOK(delete_sized), PROF_DETAIL_TEST_HOOK(delete_array_sized);
  PROF_DETAIL_TEST_HOOK(delete_nothrow), PROF_DETAIL_TEST_HOOK(delete_array_nothrow);
  PROF_DETAIL_TEST_HOOK(delete_aligned), PROF_DETAIL_TEST_HOOK(delete_array_aligned);
  PROF_DETAIL_TEST_HOOK(delete_sized_aligned), PROF_DETAIL_TEST_HOOK(delete_array_sized_aligned);
  PROF_DETAIL_TEST_HOOK(delete_aligned_nothrow);
  PROF_DETAIL_TEST_HOOK(delete_array_aligned_nothrow);
#undef PROF_DETAIL_TEST_HOOK
  // A filter that grew meanwhile is in force already.
  char* closed = closed_filter + 63;
  free_filter.compare_exchange_strong(closed, filter);
}

PROF_DETAIL_END

#endif  // PROF_HOOK_RESOLVE_HPP
