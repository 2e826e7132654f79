// tests/unit/hook/heap_family_test.cpp - which hooks of malloc's family count, which forward, and that asking changes
// nothing.

#include "prof/hook/heap_family.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <set>
#include <string>

#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

void* (*volatile call_malloc)(std::size_t) = &std::malloc;
void (*volatile call_free)(void*) = &std::free;

std::string state_of(const prof::status_report& report, const char* name) {
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    if (std::string(report.hooks[i].name) == name) return report.hooks[i].state;
  }
  return "missing";
}

}  // namespace

TEST_CASE("every heap hook of this program is live or forwards, none is dead") {
  const prof::status_report report = prof::status();
  std::set<std::string> names;
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    const prof::hook_status& hook = report.hooks[i];
    const std::string state = hook.state;
    CAPTURE(hook.name);
    CAPTURE(hook.why);
    CHECK((state == "live" || state == "forwarding"));
    CHECK(std::string(hook.why).size() > 5);
    names.insert(hook.name);
  }
  CHECK(names.size() == 83);  // 30 of the heap, 1 of thread starts, 19 of locks, 6 of waits, 5 of joins, 22 of system calls
}

TEST_CASE("malloc's family counts; libstdc++'s new enters malloc and forwards") {
  const prof::status_report report = prof::status();
  for (const char* name : {"malloc", "free", "calloc", "realloc", "memalign", "posix_memalign",
                           "aligned_alloc", "valloc", "pvalloc"}) {
    CAPTURE(name);
    CHECK(state_of(report, name) == "live");
  }
  for (const char* name : {"_Znwm", "_Znam", "_ZdlPv", "_ZdaPv", "_ZdlPvm"}) {
    CAPTURE(name);
    CHECK(state_of(report, name) == "forwarding");
  }
}

TEST_CASE("the hooks that count are this object's") {
  process_state& process = *process_sig();
  constexpr auto family = static_cast<unsigned>(hook_family::heap);
  const hook_family_part* const owner = owner_of_sig(process, family);
  CHECK(owner == &prof_hooks_heap_v2);
  CHECK(owner == family_row(family).own);
  CHECK(owner->count == heap_entry_count);
  CHECK(owner->records == heap_records);
  CHECK(is_hook_family_sig(owner));
}

TEST_CASE("asking for the state records nothing and leaves the hooks as they were") {
  const std::size_t before_rate = prof::set_mem_profile_rate(1);
  heap_state& heap = *heap_sig(*process_sig());
  char* const filter = free_filter.load();
  const std::size_t live = heap.live.used();
  const std::uint64_t samples = heap.samples.load();
  const prof::status_report first = prof::status();
  const prof::status_report second = prof::status();
  CHECK(heap.samples.load() == samples);
  CHECK(heap.live.used() == live);
  CHECK(free_filter.load() == filter);
  CHECK(heap_role.load() == hook_role::counting);
  CHECK_FALSE(is_probing_sig());
  CHECK_FALSE(probe.thread.is_another_thread_sig());
  CHECK_FALSE(resolving.has_this_sig());
  CHECK(first.hook_count == second.hook_count);
  for (std::size_t i = 0; i < first.hook_count; ++i) {
    CHECK(std::string(first.hooks[i].state) == second.hooks[i].state);
  }
  call_free(call_malloc(4711));
  CHECK(heap.samples.load() > samples);
  prof::set_mem_profile_rate(before_rate);
}

TEST_CASE("nothing is resolved twice, and what another thread resolves is left to it") {
  call_free(call_malloc(1));
  CHECK(heap_resolver.load() == os_process_id_sig());
  char* const filter = free_filter.load();
  CHECK(resolve_slow_sig(heap_hooks()));
  CHECK(free_filter.load() == filter);
  CHECK(heap_role.load() == hook_role::counting);
  heap_role.store(hook_role::unresolved);  // as another thread that is not through sees it
  const bool mine = resolve_slow_sig(heap_hooks());
  heap_role.store(hook_role::counting);
  CHECK_FALSE(mine);
}

TEST_CASE("a call forwards uncounted while another thread resolves") {
  const std::size_t before_rate = prof::set_mem_profile_rate(1);
  const heap_state& heap = *heap_sig(*process_sig());
  const std::uint64_t samples = heap.samples.load();
  void* const object = malloc_entry::call(unsettled_target_sig(heap_hooks(), entry_malloc), 4713);
  const bool counted = heap.samples.load() != samples;
  const bool live = heap.live.contains_sig(reinterpret_cast<std::uintptr_t>(object));
  call_free(object);
  prof::set_mem_profile_rate(before_rate);
  CHECK(object != nullptr);
  CHECK_FALSE(counted);
  CHECK_FALSE(live);
}

TEST_CASE("a thread that met the resolver counts again as soon as that is done") {
  void* (*volatile call_realloc)(void*, std::size_t) = &std::realloc;
  const std::size_t before_rate = prof::set_mem_profile_rate(1);
  const heap_state& heap = *heap_sig(*process_sig());
  void* early[2];
  void* late[2];
  const std::uint64_t samples = heap.samples.load();
  heap_role.store(hook_role::unresolved);  // `heap_resolver` says that this process is at it
  early[0] = call_malloc(4714);
  early[1] = call_realloc(nullptr, 4715);
  heap_role.store(hook_role::counting);
  const std::uint64_t early_samples = heap.samples.load() - samples;
  late[0] = call_malloc(4716);
  late[1] = call_realloc(nullptr, 4717);
  const std::uint64_t late_samples = heap.samples.load() - samples;
  for (void* object : early) call_free(object);
  for (void* object : late) call_free(object);
  prof::set_mem_profile_rate(before_rate);
  CHECK(early_samples == 0);
  CHECK(late_samples == 2);
}

TEST_CASE("the next definitions are another object's") {
  const auto next = malloc_entry::state.next.load();
  REQUIRE(static_cast<bool>(next != nullptr));
  const bool ours = next == &malloc_entry::counting || next == &std::malloc;
  CHECK_FALSE(ours);
  CHECK(std::string(os_file_of(reinterpret_cast<const void*>(next))).find("libc") !=
        std::string::npos);
}

TEST_CASE("a changed rate redraws the gap of the thread that changed it") {
  alloc_countdown = 123;
  owner_of_sig(*process_sig(), static_cast<unsigned>(hook_family::heap))->rate_changed();
  CHECK(alloc_countdown == 0);
}

TEST_CASE("a probe tells which hook a symbol and its next definition enter") {
  const any_function malloc_symbol = load_function_sig(heap_facts[entry_malloc].hook);
  const any_function next_of_new = load_word_sig(heap_hooks(), entry_new_, word_next);
  const any_function next_of_malloc = load_word_sig(heap_hooks(), entry_malloc, word_next);
  int by_malloc = 0;
  int by_new = 0;
  int behind_malloc = 0;
  {
    const probe_scope probing;
    by_malloc = first_entered_by(entry_malloc, malloc_symbol);
    by_new = first_entered_by(entry_new_, next_of_new);
    behind_malloc = first_entered_by(entry_malloc, next_of_malloc);
  }
  CHECK(by_malloc == probe_number(heap_hooks(), entry_malloc));
  CHECK(by_new == probe_number(heap_hooks(), entry_malloc));  // libstdc++'s new calls malloc
  CHECK(behind_malloc == no_entry);
}

TEST_CASE("array and aligned forms are told from the others, for what a probe gets must be given back alike") {
  int arrays = 0;
  int aligned = 0;
  for (int entry = entry_new_; entry < heap_entry_count; ++entry) {
    const std::string name = heap_records[entry].name;
    CAPTURE(name);
    CHECK(is_array_entry(entry) == (name[3] == 'a'));
    CHECK(is_aligned_entry(entry) == (name.find("align_val_t") != std::string::npos));
    arrays += is_array_entry(entry) ? 1 : 0;
    aligned += is_aligned_entry(entry) ? 1 : 0;
  }
  CHECK(arrays == 10);
  CHECK(aligned == 10);
}

#endif
