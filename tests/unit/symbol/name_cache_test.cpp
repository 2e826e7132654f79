// tests/unit/symbol/name_cache_test.cpp - what is kept of names, until there is too much of it.

#include "prof/symbol/name_cache.hpp"

#include <doctest/doctest.h>

#include <string>

namespace {

using namespace prof::detail;

struct own_cache {
  name_cache names{};
  ~own_cache() {
    if (names.has_store) names.store().~name_store();
  }
};

// A profile with one location of two lines, the inner one in a function "inner_N".
struct named_profile {
  arena memory{os_pages};
  profile p{memory};
  std::uint32_t location;
  explicit named_profile(const std::string& number = "") : location(p.add_location(no_index, 1)) {
    const std::uint32_t inner = p.add_function(("inner_" + number).c_str(), "_Z5inner", "a.cpp");
    p.functions[inner].start_line = 7;
    p.add_line(p.locations[location], {inner, 9, 3});
    p.add_line(p.locations[location], {p.add_function("outer", "_Z5outer", "b.cpp"), 11, 0});
  }
  const profile_location& there() const { return p.locations[location]; }
};

constexpr std::uint64_t always = ~std::uint64_t{0};

std::string text_of(const name_store& store, string_index text) {
  return std::string(store.lines().strings[text].data, store.lines().strings[text].size);
}

}  // namespace

TEST_CASE("lines are found again with all that they say, by file, place and detail") {
  own_cache cache;
  name_store& store = cache.names.store();
  const named_profile named("0");
  CHECK(store.find({1, 2, 3}, 1) == nullptr);
  store.add({1, 2, 3}, named.p, named.there(), true, always);
  CHECK(store.find({2, 2, 3}, 1) == nullptr);
  CHECK(store.find({1, 3, 3}, 1) == nullptr);
  CHECK(store.find({1, 2, 2}, 1) == nullptr);
  const cached_name* const found = store.find({1, 2, 3}, 1);
  REQUIRE(found != nullptr);
  CHECK(found->is_made_up);
  REQUIRE(found->line_count == 2);
  const profile_line& line = store.lines().lines[found->first_line];
  const profile_function& function = store.lines().functions[line.function];
  CHECK(line.line == 9);
  CHECK(line.column == 3);
  CHECK(text_of(store, function.name) == "inner_0");
  CHECK(text_of(store, function.system_name) == "_Z5inner");
  CHECK(text_of(store, function.file) == "a.cpp");
  CHECK(function.start_line == 7);
  CHECK(store.lines().lines[found->first_line + 1].line == 11);
}

TEST_CASE("functions and texts are kept once, and so is a name that comes twice") {
  own_cache cache;
  name_store& store = cache.names.store();
  const named_profile named;
  for (std::uint64_t place = 0; place < 100; ++place) store.add({1, place % 50, 0}, named.p, named.there(), false, always);
  CHECK(store.size() == 50);
  CHECK(store.lines().functions.size() == 2);
}

TEST_CASE("what is worth another look is not found again when its time is over, and then another takes its place") {
  own_cache cache;
  name_store& store = cache.names.store();
  const named_profile first("1");
  const named_profile second("2");
  store.add({1, 2, 3}, first.p, first.there(), true, 100);
  CHECK(store.find({1, 2, 3}, 99) != nullptr);
  CHECK(store.find({1, 2, 3}, 100) == nullptr);
  store.add({1, 2, 3}, second.p, second.there(), false, always);
  CHECK(store.size() == 1);
  const cached_name* const found = store.find({1, 2, 3}, 100);
  REQUIRE(found != nullptr);
  CHECK_FALSE(found->is_made_up);
  CHECK(text_of(store, store.lines().functions[store.lines().lines[found->first_line].function].name) == "inner_2");
}

TEST_CASE("a store says when it is full, and a new one is empty") {
  own_cache cache;
  std::uint64_t number = 0;
  for (; !cache.names.store().is_full(); ++number) {
    REQUIRE(number < 200000);
    const named_profile named(std::to_string(number) + std::string(200, 'x'));
    cache.names.store().add({1, number, 0}, named.p, named.there(), false, always);
  }
  CHECK(number > 5000);
  CHECK(cache.names.store().bytes() > std::size_t{8} << 20);
  CHECK(cache.names.store().bytes() < std::size_t{9} << 20);  // a table that has just doubled
  CHECK(cache.names.store().find({1, number - 1, 0}, 1) != nullptr);
  CHECK(cache.names.renew().size() == 0);
  CHECK_FALSE(cache.names.store().is_full());
  CHECK(cache.names.store().find({1, number - 1, 0}, 1) == nullptr);
}

TEST_CASE("a file has one remark") {
  own_cache cache;
  name_store& store = cache.names.store();
  store.add_remark(1, "first");
  store.add_remark(2, "second");
  store.add_remark(1, "third");
  REQUIRE(store.remarks().size() == 2);
  CHECK(text_of(store, store.remarks()[0].text) == "first");
  CHECK(store.remarks()[1].module == 2);
}

TEST_CASE("a child gives up what another thread of its parent may have been changing") {
  own_cache cache;
  const named_profile named;
  cache.names.store().add({1, 2, 3}, named.p, named.there(), false, always);
  cache.names.forget_parent();  // nobody held it
  CHECK(cache.names.store().size() == 1);
  REQUIRE(cache.names.lock.try_lock());
  cache.names.store().~name_store();  // the child leaks it; the test does not
  cache.names.forget_parent();
  CHECK_FALSE(cache.names.lock.held());
  CHECK(cache.names.store().size() == 0);
}
