// tests/unit/code/code_map_test.cpp - which range is found at an address, and which for a frame.

#include "prof/code/code_map.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace {

using namespace prof::detail;

struct fake_map {
  std::vector<code_range> ranges;
  code_map map;
  void add(std::uintptr_t start, std::uintptr_t limit, const char* path, bool current = true) {
    code_range range;
    range.start = start;
    range.limit = limit;
    range.path = path;
    range.path_size = static_cast<std::uint32_t>(std::strlen(path));
    range.current = current;
    ranges.insert(current ? ranges.begin() : ranges.end(), range);
    map.ranges = ranges.data();
    map.count = ranges.size();
    map.current += current ? 1 : 0;
    sort_ranges_sig(map.ranges, map.current);
    sort_ranges_sig(map.ranges + map.current, map.count - map.current);
  }
  std::string find(std::uintptr_t address) const {
    const code_range* const range = map.find(address);
    return range == nullptr ? "none" : range->path;
  }
};

}  // namespace

TEST_CASE("find() at edges and in gaps") {
  fake_map m;
  m.add(0x3000, 0x4000, "b");
  m.add(0x1000, 0x2000, "a");
  m.add(0x4000, 0x5000, "c");
  CHECK(m.find(0) == "none");
  CHECK(m.find(0xfff) == "none");
  CHECK(m.find(0x1000) == "a");
  CHECK(m.find(0x1fff) == "a");
  CHECK(m.find(0x2000) == "none");
  CHECK(m.find(0x3fff) == "b");
  CHECK(m.find(0x4000) == "c");
  CHECK(m.find(0x5000) == "none");
  CHECK(m.find(~std::uintptr_t{0}) == "none");
  CHECK(fake_map().find(0x1000) == "none");
}

TEST_CASE("a current range goes before an unloaded one at the same addresses") {
  fake_map m;
  m.add(0x1000, 0x9000, "old and large", false);
  m.add(0x2000, 0x3000, "new", true);
  m.add(0x2000, 0x2800, "old and small", false);
  CHECK(m.find(0x2400) == "new");
  CHECK(m.find(0x2fff) == "new");
  CHECK(m.find(0x1800) == "old and large");
  CHECK(m.find(0x3000) == "old and large");
}

TEST_CASE("a current range is found behind many unloaded ones that start later") {
  fake_map m;
  m.add(0x10000, 0x80000, "now");
  for (std::uintptr_t i = 1; i <= 20; ++i) {
    m.add(0x10000 + i * 0x1000, 0x10800 + i * 0x1000, "then", false);
  }
  CHECK(m.find(0x70000) == "now");
}

TEST_CASE("a frame is of the range that it was walked in, whatever is there now") {
  fake_map m;
  m.add(0x1000, 0x3000, "stays");
  m.ranges[0].number = 1;
  m.ranges[0].never_unloaded = true;
  m.add(0x8000, 0x9000, "now");
  m.ranges[1].number = 3;
  m.add(0x8000, 0xa000, "before", false);
  m.ranges[2].number = 2;
  const auto at = [&m](std::uintptr_t address, range_number number) {
    const code_range* const range = m.map.find_frame(make_frame_sig(address, number));
    return std::string(range == nullptr ? "none" : range->path);
  };
  CHECK(at(0x8800, 3) == "now");
  CHECK(at(0x8800, 2) == "before");
  CHECK(at(0x9800, 2) == "before");
  CHECK(at(0x9800, 3) == "none");
  CHECK(at(0x8800, 4) == "none");
  // Without a number only what stays is known.
  CHECK(at(0x1800, 0) == "stays");
  CHECK(at(0x8800, 0) == "none");
  CHECK(at(0x9800, 0) == "none");
}

TEST_CASE("of as many ranges as there can be at one address, each frame finds its own") {
  fake_map m;
  for (std::size_t i = 0; i < max_ranges; ++i) m.add(0x1000, 0x3000, "then", false);
  range_number next = 0;
  for (code_range& range : m.ranges) range.number = ++next;
  for (const std::size_t number : {std::size_t{1}, max_ranges / 2, max_ranges}) {
    const auto wanted = static_cast<range_number>(number);
    const code_range* const range = m.map.find_frame(make_frame_sig(0x1800, wanted));
    REQUIRE(range != nullptr);
    CHECK(range->number == wanted);
  }
}
