// tests/unit/process/enter_test.cpp - the first public call brings this object's parts; owners of hooks are kept.

#include "prof/process/enter.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include "own_process.hpp"
#include "prof/api.hpp"
#include "prof/sample/heap.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

constexpr unsigned heap_part_number = static_cast<unsigned>(part::heap);
constexpr unsigned heap_family = static_cast<unsigned>(hook_family::heap);
constexpr unsigned thread_family = static_cast<unsigned>(hook_family::thread);

}  // namespace

// ---- parts ----------------------------------------------------------------------------------------------------

TEST_CASE("a part is absent until it is registered, and the first one stays") {
  const own_process own;
  const profile_part first = idle_part();
  const profile_part second = idle_part();
  constexpr unsigned cpu = static_cast<unsigned>(part::cpu);
  CHECK(find_part_sig<profile_part>(*own.state, part::cpu) == nullptr);
  register_part(*own.state, cpu, nullptr);
  CHECK(find_part_sig<profile_part>(*own.state, part::cpu) == nullptr);
  register_part(*own.state, cpu, &first.head);
  register_part(*own.state, cpu, &second.head);
  CHECK(find_part_sig<profile_part>(*own.state, part::cpu) == &first);
  CHECK(find_part_sig<profile_part>(*own.state, part::heap) == nullptr);
}

TEST_CASE("parts that no switch knows are registered once each, as long as there is room") {
  const own_process own;
  profile_part plugins[max_parts - part_count + 1] = {};
  for (profile_part& plugin : plugins) plugin = idle_part();
  constexpr unsigned room = max_parts - part_count;
  for (unsigned i = 0; i < room; ++i) CHECK(register_profile_part(*own.state, plugins[i]));
  CHECK_FALSE(register_profile_part(*own.state, plugins[room]));
  CHECK(register_profile_part(*own.state, plugins[0]));  // it is there
  for (unsigned i = 0; i < room; ++i) CHECK(profile_part_at(*own.state, part_count + i) == &plugins[i]);
}

TEST_CASE("a descriptor of an earlier version, which lacks something, is none") {
  const own_process own;
  profile_part early = idle_part();
  early.head.size -= static_cast<std::uint32_t>(sizeof(void*));
  register_part(*own.state, static_cast<unsigned>(part::cpu), &early.head);
  CHECK(find_part_sig<profile_part>(*own.state, part::cpu) == nullptr);
}

TEST_CASE("entering brings this program's parts") {
  process_state* const process = enter_process();
  REQUIRE(process != nullptr);
  CHECK(process == process_sig());
  CHECK(find_part_sig<profile_part>(*process, part::cpu) == &prof_part_cpu_v2);
  CHECK(find_part_sig<profile_part>(*process, part::heap) == &prof_part_heap_v2);
  CHECK(find_part_sig<record_part>(*process, part::records) == &prof_part_records_v2);
  CHECK(find_part_sig<symbolize_part>(*process, part::symbolize) == &prof_part_symbolize_v2);
  CHECK(enter_process() == process);
}

TEST_CASE("every descriptor is complete") {
  for (const profile_part* const each : {&prof_part_cpu_v2, &prof_part_heap_v2}) {
    CHECK(each->head.size == sizeof(profile_part));
    CHECK(each->head.layout != 0);
    CHECK(each->run_bytes != 0);
    CHECK(static_cast<bool>(each->visit_rows != nullptr && each->begin != nullptr && each->end != nullptr &&
                            each->cancel != nullptr && each->fill != nullptr && each->set_rate != nullptr &&
                            each->report != nullptr && each->forget_parent != nullptr));
  }
  CHECK(static_cast<bool>(prof_part_heap_v2.count != nullptr && prof_part_heap_v2.hooks_unloaded_sig != nullptr));
  CHECK(static_cast<bool>(prof_part_records_v2.record_alloc_sig != nullptr &&
                          prof_part_records_v2.record_free_sig != nullptr));
  CHECK(static_cast<bool>(prof_part_symbolize_v2.symbolize != nullptr && prof_part_symbolize_v2.name_all != nullptr));
  CHECK(prof_hooks_heap_v2.count == 30);
  CHECK(prof_hooks_thread_v2.count == 1);
}

// ---- owners of hooks ------------------------------------------------------------------------------------------

TEST_CASE("the object whose hooks count is kept") {
  static const hook_family_part hooks{hook_family_magic, nullptr, 0, nullptr, nullptr};
  const own_process own;
  hook_owner& family = own.state->hooks[heap_family];
  hook_owner& other = own.state->hooks[thread_family];
  keep_owners(*own.state);  // nobody counts
  CHECK(family.owner.load() == nullptr);
  CHECK(family.kept.load() == nullptr);
  family.owner.store(&hooks);
  CHECK(is_hook_family_sig(&hooks));
  for (int i = 0; i < 2; ++i) {
    keep_owners(*own.state);
    CHECK(family.owner.load() == &hooks);
    CHECK(family.kept.load() == &hooks);
    CHECK(owner_of_sig(*own.state, heap_family) == &hooks);
    CHECK(other.owner.load() == nullptr);
    CHECK(other.kept.load() == nullptr);
  }
  // Both of this program are valid, and kept since the first public call.
  process_state& process = *enter_process();
  for (const hook_owner& each : process.hooks) CHECK(each.kept.load() == each.owner.load());
  CHECK(is_hook_family_sig(process.hooks[heap_family].owner.load()));
}

TEST_CASE("hooks whose object was unloaded are forgotten, so that others may count") {
  void* const pages =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(static_cast<bool>(pages != MAP_FAILED));
  auto* const hooks = new (pages) hook_family_part{hook_family_magic, nullptr, 0, nullptr, nullptr};
  const own_process own;
  register_part(*own.state, heap_part_number, &prof_part_heap_v2.head);
  hook_owner& family = own.state->hooks[heap_family];
  family.owner.store(hooks);
  live_table& live = heap_sig(*own.state)->live;
  std::atomic<char*> fast{nullptr};  // stands for the free_filter of the object that is gone
  live.publish_filter_to_sig(fast);
  char* const word = fast.load();
  SUBCASE("nothing is mapped there now") {
    REQUIRE(munmap(pages, 4096) == 0);
    CHECK_FALSE(is_hook_family_sig(hooks));
    keep_owners(*own.state);
  }
  SUBCASE("something else is mapped there now") {
    ++hooks->magic;
    CHECK_FALSE(is_hook_family_sig(hooks));
    keep_owners(*own.state);
    munmap(pages, 4096);
  }
  SUBCASE("an allocator is the first to ask") {
    REQUIRE(munmap(pages, 4096) == 0);
    CHECK(owner_of_sig(*own.state, heap_family) == nullptr);
  }
  CHECK(family.owner.load() == nullptr);
  CHECK(family.kept.load() == nullptr);
  const hook_family_part other{hook_family_magic, nullptr, 0, nullptr, nullptr};
  CHECK(claim_hooks_sig(family, &other));
  live.grow_filter_sig();
  CHECK(live.filter() != reinterpret_cast<std::uintptr_t>(word));
  CHECK(fast.load() == word);  // nothing is written into memory that is gone
}

TEST_CASE("hooks that were unloaded are forgotten where their part has nothing to tidy up, or is not there") {
  const own_process own;
  const hook_family_part gone{};
  profile_part without = idle_part();
  for (int i = 0; i < 2; ++i) {
    for (hook_owner& family : own.state->hooks) family.owner.store(&gone);
    keep_owners(*own.state);
    for (const hook_owner& family : own.state->hooks) {
      CHECK(family.owner.load() == nullptr);
      CHECK(family.kept.load() == nullptr);
    }
    for (const part each : {part::cpu, part::heap}) {
      register_part(*own.state, static_cast<unsigned>(each), &without.head);
    }
  }
}

#endif
