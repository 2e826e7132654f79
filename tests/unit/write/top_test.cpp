// tests/unit/write/top_test.cpp - write_top's rows and order, which are those of
// `go tool pprof -top` (Go 1.26; compared over random profiles).

#include "prof/write/top.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

namespace {

using prof::detail::arena;
using prof::detail::no_index;
using prof::detail::page_source;
using prof::detail::profile;
using prof::detail::profile_mapping;
using prof::detail::text_view;
using prof::detail::top_options;
using prof::detail::write_top;

std::size_t g_maps_left = 0;

void* map_pages(std::size_t size) noexcept {
  if (g_maps_left == 0) return nullptr;
  --g_maps_left;
  return std::calloc(1, size);
}
void unmap_pages(void* pages, std::size_t) noexcept {
  std::free(pages);
}

page_source pages(std::size_t maps) {
  g_maps_left = maps;
  return {map_pages, unmap_pages};
}

bool append(void* context, const void* data, std::size_t size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  return true;
}
bool refuse(void*, const void*, std::size_t) {
  return false;
}

std::string text_of(const profile& p, const top_options& options = {}) {
  std::string text;
  arena scratch(pages(100));
  CHECK(write_top(p, scratch, {append, &text}, options));
  return text;
}

// The rows below the column titles.
std::string rows_of(const profile& p, const top_options& options = {}) {
  const std::string text = text_of(p, options);
  const std::string titles = "      flat  flat%   sum%        cum   cum%\n";
  const std::size_t at = text.find(titles);
  REQUIRE(at != std::string::npos);
  return text.substr(at + titles.size());
}

top_options of_type(const char* type, std::size_t limit = 10) {
  top_options options;
  options.type = type;
  options.limit = limit;
  return options;
}

// A location of its own for each function.
std::uint32_t at(profile& p, const char* function) {
  return p.add_named_location(function);
}

void add(profile& p, const std::vector<std::uint32_t>& stack, std::int64_t value) {
  const std::vector<std::int64_t> values(p.value_types.size(), value);
  p.add_sample(stack.data(), stack.size(), nullptr, 0, values.data());
}

}  // namespace

TEST_CASE("the whole text of a small profile") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  p.add_value_type("cpu", "nanoseconds");
  p.period_type = {p.string("cpu"), p.string("nanoseconds")};
  p.period = 10000000;
  p.time_ns = 1798761599999999999U;
  p.duration_ns = 10000000000U;
  const std::uint32_t main = at(p, "main");
  const std::int64_t many[] = {150, 1500000000};
  const std::int64_t few[] = {50, 500000000};
  const std::uint32_t hot[] = {at(p, "hot"), main};
  const std::uint32_t cold[] = {at(p, "cold"), main};
  p.add_sample(hot, 2, nullptr, 0, many);
  p.add_sample(cold, 2, nullptr, 0, few);
  CHECK(text_of(p) ==
        "Type: cpu\n"
        "Time: 2026-12-31 23:59:59 UTC\n"
        "Duration: 10s, Total samples = 2000ms (20.00%)\n"
        "Period: 10ms cpu\n"
        "Showing nodes accounting for 2000ms, 100% of 2000ms total\n"
        "      flat  flat%   sum%        cum   cum%\n"
        "    1500ms 75.00% 75.00%     1500ms 75.00%  hot\n"
        "     500ms 25.00%   100%      500ms 25.00%  cold\n"
        "         0     0%   100%     2000ms   100%  main\n");
  CHECK(text_of(p, of_type("samples", 1)) ==
        "Type: samples\n"
        "Time: 2026-12-31 23:59:59 UTC\n"
        "Duration: 10s, Total samples = 200\n"
        "Period: 10ms cpu\n"
        "Showing nodes accounting for 150, 75.00% of 200 total\n"
        "Showing top 1 nodes out of 3\n"
        "      flat  flat%   sum%        cum   cum%\n"
        "       150 75.00% 75.00%        150 75.00%  hot\n");
}

TEST_CASE("recursion counts once in cum") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  const std::uint32_t f = at(p, "f");
  const std::uint32_t g = at(p, "g");
  add(p, {f, g, f, g, f}, 3);
  add(p, {g, f}, 1);
  CHECK(rows_of(p) ==
        "         3 75.00% 75.00%          4   100%  f\n"
        "         1 25.00%   100%          4   100%  g\n");
}

TEST_CASE("inlined lines are frames; flat goes to the innermost line of the leaf") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  const std::uint32_t leaf = p.add_location(no_index, 1);
  const std::uint32_t root = p.add_location(no_index, 2);
  for (const char* name : {"inner", "middle", "outer"}) {
    p.add_line(p.locations[leaf], {p.add_function(name, name), 1, 0});
  }
  for (const char* name : {"inner", "root"}) {
    p.add_line(p.locations[root], {p.add_function(name, name), 1, 0});
  }
  add(p, {leaf, root}, 2);
  add(p, {root}, 1);
  CHECK(rows_of(p) ==
        "         3   100%   100%          3   100%  inner\n"
        "         0     0%   100%          2 66.67%  middle\n"
        "         0     0%   100%          2 66.67%  outer\n"
        "         0     0%   100%          3   100%  root\n");
}

TEST_CASE("functions of one name are one row, code without names is its file's") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  profile_mapping mapping;
  mapping.file = p.string("/usr/lib/libx.so");
  p.mappings.push(mapping);
  std::vector<std::uint32_t> stack;
  for (std::uint64_t i = 1; i <= 2; ++i) stack.push_back(p.add_location(0, i));
  for (std::uint64_t i = 1; i <= 2; ++i) stack.push_back(p.add_location(no_index, i));
  for (const char* file : {"a.cpp", "b.cpp"}) {
    stack.push_back(p.add_location(no_index, 100 + stack.size()));
    p.add_line(p.locations[stack.back()], {p.add_function("same", file, file), 1, 0});
  }
  add(p, stack, 1);
  CHECK(rows_of(p) ==
        "         1   100%   100%          1   100%  [libx.so]\n"
        "         0     0%   100%          1   100%  <unknown>\n"
        "         0     0%   100%          1   100%  same\n");
}

TEST_CASE("rows come by flat, then by name") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  for (const char* name : {"b", "ab", "a", "c"}) add(p, {at(p, name)}, 1);
  add(p, {at(p, "z")}, 2);
  add(p, {at(p, "y")}, -3);
  CHECK(rows_of(p) ==
        "        -3 33.33% 33.33%         -3 33.33%  y\n"
        "         2 22.22% 11.11%          2 22.22%  z\n"
        "         1 11.11%     0%          1 11.11%  a\n"
        "         1 11.11% 11.11%          1 11.11%  ab\n"
        "         1 11.11% 22.22%          1 11.11%  b\n"
        "         1 11.11% 33.33%          1 11.11%  c\n");
}

TEST_CASE("the column is chosen by name, by index, by the profile, or is the last") {
  arena memory(pages(100));
  profile p(memory);
  for (const char* type : {"first", "second", "third"}) p.add_value_type(type, "count");
  const auto type_of = [&](const top_options& options) {
    const std::string whole = text_of(p, options);
    return whole.substr(0, whole.find('\n'));
  };
  CHECK(type_of({}) == "Type: third");
  p.default_type = p.string("second");
  CHECK(type_of({}) == "Type: second");
  CHECK(type_of(of_type("first")) == "Type: first");
  top_options by_index;
  by_index.column = 2;
  CHECK(type_of(by_index) == "Type: third");
  p.default_type = p.string("unknown");
  CHECK(type_of({}) == "Type: third");

  std::string text;
  arena scratch(pages(100));
  CHECK_FALSE(write_top(p, scratch, {append, &text}, of_type("unknown")));
  by_index.column = 3;
  CHECK_FALSE(write_top(p, scratch, {append, &text}, by_index));
  profile untyped(memory);
  CHECK_FALSE(write_top(untyped, scratch, {append, &text}, {}));
  CHECK(text.empty());
}

TEST_CASE("the limit cuts rows, 0 does not; units follow the rows shown") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("inuse_space", "bytes");
  for (unsigned i = 0; i < 30; ++i) {
    add(p, {at(p, ("f" + std::to_string(i)).c_str())}, std::int64_t{1} << i);
  }
  const auto lines = [&](std::size_t limit) {
    std::size_t count = 0;
    for (const char c : rows_of(p, of_type("inuse_space", limit))) count += c == '\n' ? 1U : 0U;
    return count;
  };
  CHECK(lines(10) == 10);
  CHECK(lines(30) == 30);
  CHECK(lines(31) == 30);
  CHECK(lines(0) == 30);
  CHECK(rows_of(p, of_type("inuse_space", 2)) ==
        "     512MB 50.00% 50.00%      512MB 50.00%  f29\n"
        "     256MB 25.00% 75.00%      256MB 25.00%  f28\n");
  CHECK(rows_of(p, of_type("inuse_space", 0)).substr(0, 48) ==
        "536870912B 50.00% 50.00% 536870912B 50.00%  f29\n");
}

TEST_CASE("an empty profile is a table without rows") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("cpu", "nanoseconds");
  CHECK(text_of(p) ==
        "Type: cpu\n"
        "Showing nodes accounting for 0, 0% of 0 total\n"
        "      flat  flat%   sum%        cum   cum%\n");
}

TEST_CASE("names cannot move the cursor") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  add(p, {at(p, "a\x1b[2Jb\nc")}, 1);
  CHECK(rows_of(p) == "         1   100%   100%          1   100%  a?[2Jb?c\n");
}

TEST_CASE("refusal and lack of memory are reported") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  for (unsigned i = 0; i < 100; ++i) add(p, {at(p, std::to_string(i).c_str())}, 1);
  arena scratch(pages(100));
  CHECK_FALSE(write_top(p, scratch, {refuse, nullptr}, {}));
  for (std::size_t chunk = 64; chunk < 16384; chunk += 512) {
    for (std::size_t maps = 0; maps < 3; ++maps) {
      std::string text;
      arena little(pages(maps), chunk);
      const bool good = write_top(p, little, {append, &text}, {});
      CHECK(good == !little.exhausted());
      CHECK(text.empty() != good);
    }
  }
}

TEST_CASE("indices that lead nowhere do no harm") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  const auto place = p.add_location(77, 1);
  p.add_line(p.locations[place], {55, 1, 0});
  add(p, {no_index, place, 12345}, 1);
  CHECK(rows_of(p) == "         1   100%   100%          1   100%  <unknown>\n");
  arena none(pages(0));
  profile empty(none);
  std::string text;
  arena scratch(pages(100));
  CHECK_FALSE(write_top(empty, scratch, {append, &text}, {}));
}
