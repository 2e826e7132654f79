// tests/unit/hook/entry_test.cpp - what all hooked entries share: names, the filter word, the arena
// for allocations that dlsym makes.

#include "prof/hook/entry.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "prof/prof.hpp"

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
    names.insert(heap_symbols[i]);
    CHECK(std::string(heap_records[i].name) == heap_symbols[i]);
  }
  CHECK(names.size() == 30);
  CHECK(std::string(heap_symbols[entry_malloc]) == "malloc");
  CHECK(std::string(heap_symbols[entry_new_]) == "_Znwm");
  CHECK(std::string(heap_symbols[entry_delete_array_aligned_nothrow]) ==
        "_ZdaPvSt11align_val_tRKSt9nothrow_t");
}

TEST_CASE("after the first allocation this object counts") {
  call_free(call_malloc(1));
  CHECK(heap_resolved_sig());
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

#endif
