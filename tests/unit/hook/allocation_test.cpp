// tests/unit/hook/allocation_test.cpp - what the entries of the heap family share: names, the filter word, the arena
// for allocations that dlsym makes, and which allocations are sampled.

#include "prof/hook/allocation.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "prof/hook/heap_family.hpp"
#include "prof/api.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

void* (*volatile call_malloc)(std::size_t) = &std::malloc;
void (*volatile call_free)(void*) = &std::free;
void* (*volatile call_realloc)(void*, std::size_t) = &std::realloc;

heap_state& heap() {
  heap_state* const there = heap_sig(*process_sig());
  REQUIRE(there != nullptr);
  return *there;
}

bool is_live(const void* object) {
  return heap().live.contains_sig(reinterpret_cast<std::uintptr_t>(object));
}

struct rate_scope {
  std::size_t before;
  explicit rate_scope(std::size_t rate) : before(prof::set_mem_profile_rate(rate)) {}
  ~rate_scope() { prof::set_mem_profile_rate(before); }
  rate_scope(const rate_scope&) = delete;
  rate_scope& operator=(const rate_scope&) = delete;
};

}  // namespace

TEST_CASE("30 entries: ten of malloc's family, twenty of new and delete, each named once") {
  CHECK(heap_entry_count == 30);
  std::set<std::string> names;
  for (int i = 0; i < heap_entry_count; ++i) {
    names.insert(heap_records[i].name);
  }
  CHECK(names.size() == 30);
  CHECK(heap_hooks().records == heap_records);
  CHECK(heap_hooks().count == heap_entry_count);
  CHECK(std::string(heap_records[entry_malloc].name) == "malloc");
  CHECK(std::string(heap_records[entry_new_].name) == "_Znwm");
  CHECK(std::string(heap_records[entry_delete_array_aligned_nothrow].name) == "_ZdaPvSt11align_val_tRKSt9nothrow_t");
}

TEST_CASE("after the first allocation this object counts") {
  call_free(call_malloc(1));
  CHECK(is_resolved_sig(heap_hooks()));
  CHECK(counts_here_sig(heap_hooks()));
  CHECK(heap_role.load() == hook_role::counting);
  CHECK(reinterpret_cast<std::uintptr_t>(free_filter.load()) == heap().live.filter());
  const std::uint64_t before = heap().live.filter();
  heap().live.grow_filter_sig();  // free_filter is what the table keeps up to date
  CHECK(heap().live.filter() != before);
  CHECK(reinterpret_cast<std::uintptr_t>(free_filter.load()) == heap().live.filter());
}

TEST_CASE("the closed filter catches every pointer, the open one none") {
  char* const before = free_filter.load();
  bool always = true;
  bool never = true;
  free_filter.store(closed_filter + 63);
  for (std::uintptr_t p = 1; p != 0; p *= 3) {
    always = always && filter_hit_sig(reinterpret_cast<const void*>(p));
    if (p > (std::uintptr_t{1} << 62)) break;
  }
  free_filter.store(open_filter + 63);
  for (std::uintptr_t p = 1; p != 0; p *= 3) {
    never = never && !filter_hit_sig(reinterpret_cast<const void*>(p));
    if (p > (std::uintptr_t{1} << 62)) break;
  }
  free_filter.store(before);
  CHECK(always);
  CHECK(never);
}

TEST_CASE("a sampled object hits the filter until it is freed") {
  const rate_scope all(1);
  void* const object = call_malloc(777);
  CHECK(filter_hit_sig(object));
  CHECK(is_live(object));
  const auto address = reinterpret_cast<std::uintptr_t>(object);
  call_free(object);
  CHECK_FALSE(heap().live.contains_sig(address));
}

TEST_CASE("bootstrap objects are aligned, zeroed, and known as such") {
  void* const object = bootstrap_alloc_sig(40, 64);
  REQUIRE(object != nullptr);
  CHECK(reinterpret_cast<std::uintptr_t>(object) % 64 == 0);
  CHECK(object >= bootstrap.bytes);
  CHECK(object < bootstrap.bytes + sizeof bootstrap.bytes);
  const char zeros[40] = {};
  CHECK(std::memcmp(object, zeros, sizeof zeros) == 0);
  CHECK(is_live(object));
  std::memset(object, 1, 40);
  call_free(object);
  CHECK_FALSE(is_live(object));
  void* const other = bootstrap_alloc_sig(1);
  CHECK(other != object);
  CHECK(reinterpret_cast<std::uintptr_t>(other) % 16 == 0);
  call_free(other);
}

TEST_CASE("a bootstrap object moves to the real heap when it is resized") {
  char* const object = static_cast<char*>(bootstrap_alloc_sig(20));
  REQUIRE(object != nullptr);
  std::memcpy(object, "nineteen characters", 20);
  char* const grown = static_cast<char*>(call_realloc(object, 1000));
  REQUIRE(grown != nullptr);
  CHECK(grown != object);
  CHECK(std::string(grown) == "nineteen characters");
  CHECK_FALSE(is_live(object));
  call_free(grown);
}

TEST_CASE("what the bootstrap arena cannot hold is refused") {
  CHECK(bootstrap_alloc_sig(sizeof bootstrap.bytes + 1) == nullptr);
  CHECK(bootstrap_alloc_sig(16, 8192) == nullptr);
  CHECK(bootstrap_alloc_sig(~std::size_t{0}) == nullptr);
}

TEST_CASE("at rate 1 each allocation is sampled, at rate 0 none is") {
  const rate_scope all(1);
  alloc_countdown = -100;  // an object of 100 bytes has used it up
  CHECK(sampling_rate_sig(100) == 1);
  CHECK(alloc_countdown == 0);  // the next one asks again
  const rate_scope none(0);
  alloc_countdown = -100;
  CHECK(sampling_rate_sig(100) == 0);
  CHECK(alloc_countdown > 0);
}

TEST_CASE("where another object counts, a sample point is passed over and the countdown goes on") {
  const rate_scope all(1);
  heap_role.store(hook_role::forwarding);
  alloc_countdown = -100;
  const std::uint64_t at_rate_1 = sampling_rate_sig(100);
  const std::int64_t left = alloc_countdown;
  heap_role.store(hook_role::counting);
  CHECK(at_rate_1 == 0);
  CHECK(left == 0);
}

TEST_CASE("a probe is answered before anything is sampled, and notes the entry") {
  const rate_scope all(1);
  const std::uint64_t samples = heap().samples.load();
  alloc_target target{nullptr, 1};
  any_function freed = nullptr;
  int hit = no_entry;
  {
    const probe_scope probing;
    probe.first_hit = no_entry;
    target = slow_alloc_target_sig(entry_calloc, 100);
    freed = slow_free_target_sig(entry_free, nullptr);
    hit = probe.first_hit;
  }
  CHECK(target.rate == 0);
  CHECK(static_cast<bool>(target.function == load_word_sig(heap_hooks(), entry_calloc, word_next)));
  CHECK(static_cast<bool>(freed == load_word_sig(heap_hooks(), entry_free, word_next)));
  CHECK(hit == probe_number(heap_hooks(), entry_calloc));
  CHECK(heap().samples.load() == samples);
}

TEST_CASE("inside dlsym objects come from the arena, and what is freed there is left") {
  heap_role.store(hook_role::unresolved);  // as at the start of the program
  const bool entered = resolving.enter_sig();
  const alloc_target target = slow_alloc_target_sig(entry_malloc, 100);
  void* const object = call_malloc(24);
  char freed_object = 0;
  const any_function freed = slow_free_target_sig(entry_free, &freed_object);
  resolving.leave_sig();
  heap_role.store(hook_role::counting);
  CHECK(entered);
  CHECK(static_cast<bool>(target.function == function_of_sig(heap_hooks(), entry_malloc, function_resolving)));
  CHECK(target.rate == 0);
  CHECK(static_cast<bool>(freed == nullptr));
  CHECK(object >= bootstrap.bytes);
  CHECK(object < bootstrap.bytes + sizeof bootstrap.bytes);
  CHECK(is_live(object));
  call_free(object);
  CHECK_FALSE(is_live(object));
}

TEST_CASE("a free that knows its object ends there only when it was the arena's") {
  const rate_scope all(1);
  void* const object = call_malloc(778);
  void* const early = bootstrap_alloc_sig(16);
  CHECK_FALSE(sampled_free_sig(object));
  CHECK_FALSE(sampled_free_sig(object));  // unknown by now
  CHECK(sampled_free_sig(early));
  CHECK_FALSE(sampled_free_sig(early));
  call_free(object);
}

#endif
