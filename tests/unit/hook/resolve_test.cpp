// tests/unit/hook/resolve_test.cpp - which hooks count, which forward, and that asking changes
// nothing.

#include "prof/hook/resolve.hpp"

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
  CHECK(names.size() == 31);  // 30 of the heap and pthread_create
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
  const process_state& process = *process_sig();
  const hook_part* const owner = process.heap_hooks.load();
  CHECK(owner == &prof_part_heap_hooks_v1);
  CHECK(owner->count == heap_entry_count);
  CHECK(owner->records == heap_records);
  CHECK(owner->own_depth() == &own_code_depth);
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
  CHECK(probing == 0);
  CHECK(resolving == 0);
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
  CHECK(resolver.load() == os_process_id_sig());
  char* const filter = free_filter.load();
  CHECK(resolve_heap_slow_sig());
  CHECK(free_filter.load() == filter);
  CHECK(heap_role.load() == hook_role::counting);
  heap_role.store(hook_role::unresolved);  // as another thread that is not through sees it
  const bool mine = resolve_heap_slow_sig();
  heap_role.store(hook_role::counting);
  CHECK_FALSE(mine);
}

TEST_CASE("a call forwards uncounted while another thread resolves") {
  const std::size_t before_rate = prof::set_mem_profile_rate(1);
  const heap_state& heap = *heap_sig(*process_sig());
  const std::uint64_t samples = heap.samples.load();
  void* const object = malloc_entry::call(unsettled_target_sig(entry_malloc), 4713);
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
  heap_role.store(hook_role::unresolved);  // `resolver` says that this process is at it
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
  hook_gap.left = 123;
  process_sig()->heap_hooks.load()->rate_changed();
  CHECK(hook_gap.left == 0);
}

#endif
