// tests/unit/code/code_range_test.cpp - ranges keep their numbers; nothing that was registered changes.

#include "prof/code/code_range.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../base/own_memory.hpp"

namespace {

using namespace prof::detail;

struct fixture {
  own_memory memory;
  range_registry* registry = new range_registry;
  fixture() { registry->bind(memory); }
  ~fixture() { delete registry; }
  fixture(const fixture&) = delete;
  fixture& operator=(const fixture&) = delete;

  const code_range* add(const code_range& range) const { return registry->find_or_add_sig(range); }
};

// Paths live as long as the process, as those of files that are loaded.
code_range range_at(std::uintptr_t header, const std::string& name) {
  static std::mutex alone;
  static std::set<std::string> paths;
  const std::lock_guard<std::mutex> held(alone);
  const std::string& path = *paths.insert(name).first;
  code_range range;
  range.image = true;
  range.header = header;
  range.start = header + 0x1000;
  range.limit = header + 0x2000;
  range.path = path.data();
  range.path_size = static_cast<std::uint32_t>(path.size());
  return range;
}

}  // namespace

TEST_CASE("frames: an address and a number, and back") {
  for (const std::uintptr_t address : {std::uintptr_t{0}, std::uintptr_t{0x7fffffffffff},
                                       (std::uintptr_t{1} << 48) - 1}) {
    for (const range_number number : {0u, 1u, max_range_number}) {
      const std::uintptr_t frame = make_frame_sig(address, number);
      CHECK(frame_address_sig(frame) == address);
      CHECK(frame_range_sig(frame) == number);
    }
  }
  CHECK(fits_frame_sig((std::uintptr_t{1} << 48) - 1));
  CHECK_FALSE(fits_frame_sig(std::uintptr_t{1} << 48));
  CHECK(frame_range_sig(truncation_mark) == 0);
}

TEST_CASE("a range that was registered has its number for ever, and the registry's own text") {
  const fixture f;
  CHECK(f.registry->size() == 0);
  CHECK(f.registry->at(0) == nullptr);
  CHECK(f.registry->at(1) == nullptr);
  CHECK(f.registry->at(max_range_number + 1) == nullptr);
  std::string path = "/lib/a.so";
  const code_range* const a = f.add(range_at(0x10000, path));
  REQUIRE(a != nullptr);
  path = "/lib/b.so";
  const code_range* const b = f.add(range_at(0x10000, path));
  REQUIRE(b != nullptr);
  CHECK(std::string(a->path) == "/lib/a.so");
  CHECK(std::string(b->path) == "/lib/b.so");
  CHECK(a->number != b->number);
  CHECK(a->number != 0);
  CHECK(f.registry->at(a->number) == a);
  CHECK(f.add(range_at(0x10000, "/lib/a.so")) == a);
  CHECK(f.registry->size() == 2);
}

TEST_CASE("whatever tells two files apart makes two ranges") {
  const fixture f;
  const std::string path = "/lib/a.so";
  const code_range first = range_at(0x10000, path);
  const code_range* const known = f.add(first);
  code_range other = first;
  other.build_id_length = 8;
  CHECK(f.add(other) != known);
  code_range third = other;
  third.build_id[7] = 1;
  CHECK(f.add(third) != f.add(other));
  other = first;
  other.fallback_id = 1;
  CHECK(f.add(other) != known);
  other = first;
  other.offset = 4096;
  CHECK(f.add(other) != known);
  other = first;
  other.start += 16;
  CHECK(f.add(other) != known);
  other = first;
  other.limit += 16;
  CHECK(f.add(other) != known);
  CHECK(f.add(first) == known);
  CHECK(f.registry->size() == 7);
}

TEST_CASE("find goes by where the first byte is mapped") {
  const fixture f;
  for (std::uintptr_t i = 0; i < 100; ++i) f.add(range_at(0x10000 + (i % 10) * 0x10000, "/" + std::to_string(i)));
  int seen = 0;
  const auto none = [&](const code_range& range) {
    CHECK(range.header == 0x30000);
    ++seen;
    return false;
  };
  CHECK(f.registry->find_sig(0x30000, none) == nullptr);
  CHECK(seen == 10);
  CHECK(f.registry->find_sig(0x999000, none) == nullptr);
  const code_range* const found =
      f.registry->find_sig(0x30000, [](const code_range& range) { return range.holds(0x31fff); });
  REQUIRE(found != nullptr);
  CHECK_FALSE(found->holds(0x32000));
  CHECK_FALSE(found->holds(0x30fff));
}

TEST_CASE("a full registry refuses, says so and keeps what it has") {
  const fixture f;
  for (std::uintptr_t i = 1; i <= max_ranges; ++i) REQUIRE(f.add(range_at(i << 12, "/x")) != nullptr);
  CHECK_FALSE(f.registry->full());
  CHECK(f.add(range_at(0xffff000, "/y")) == nullptr);
  CHECK(f.registry->full());
  const code_range* const known = f.add(range_at(0x7000, "/x"));
  REQUIRE(known != nullptr);
  CHECK(known->header == 0x7000);
  CHECK(f.registry->size() == max_ranges);
}

TEST_CASE("code that is no image leaves room for images") {
  const fixture f;
  const auto other_at = [](std::uintptr_t header) {
    code_range range = range_at(header, "/memfd:doublemapper");
    range.image = false;
    return range;
  };
  for (std::uintptr_t i = 1; i <= max_other_ranges; ++i) REQUIRE(f.add(other_at(i << 12)) != nullptr);
  CHECK_FALSE(f.registry->others_full());
  for (std::uintptr_t i = 1; i <= 50000; ++i) CHECK(f.add(other_at((max_other_ranges + i) << 12)) == nullptr);
  CHECK(f.registry->others_full());
  CHECK_FALSE(f.registry->full());
  CHECK(f.registry->size() == max_other_ranges);
  CHECK(f.add(other_at(0x1000)) != nullptr);
  for (std::uintptr_t i = 1; i <= max_ranges - max_other_ranges; ++i) {
    REQUIRE(f.add(range_at(std::uintptr_t{0x7f0000000000} + (i << 12), "/lib/x")) != nullptr);
  }
  CHECK(f.registry->size() == max_ranges);
}

TEST_CASE("so does one without room for paths, and no text runs into another") {
  const fixture f;
  std::size_t added = 0;
  for (std::uintptr_t i = 1; i <= 1000; ++i) {
    const std::string path(1000, static_cast<char>('a' + i % 26));
    if (f.add(range_at(i << 12, path)) == nullptr) break;
    ++added;
  }
  CHECK(f.registry->full());
  CHECK(added == (std::size_t{512} << 10) / 1001 - 7);  // those that would lie in two of the eight pieces
  for (range_number n = 1; n <= max_range_number; ++n) {
    const code_range* const range = f.registry->at(n);
    if (range == nullptr) continue;
    REQUIRE(std::strlen(range->path) == 1000);
    REQUIRE(range->path[0] == range->path[999]);
    REQUIRE(range->path[0] == static_cast<char>('a' + (range->header >> 12) % 26));
  }
}

TEST_CASE("ranges take memory as they come, and without memory have no number") {
  fixture f;
  CHECK(f.memory.bytes.load() == 0);
  REQUIRE(f.add(range_at(1 << 16, "/lib/first")) != nullptr);
  const std::uint64_t first = f.memory.bytes.load();
  CHECK(first <= piece_bytes);
  f.memory.run_out();
  for (std::uintptr_t i = 2; i <= 256; ++i) REQUIRE(f.add(range_at(i << 16, "/lib/more")) != nullptr);
  CHECK(f.memory.bytes.load() == first);
  CHECK(f.add(range_at(257 << 16, "/lib/one/too/many")) == nullptr);
  CHECK_FALSE(f.registry->full());  // the system may give memory again
  CHECK(f.memory.refused.load() == 1);
  CHECK(f.registry->size() == 256);
  f.memory.has_more();
  const code_range* const later = f.add(range_at(257 << 16, "/lib/later"));
  REQUIRE(later != nullptr);
  CHECK(later->number == 257);
}

TEST_CASE("many threads at once: every range is found, whole") {
  const fixture f;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::uintptr_t i = 1; i <= 500; ++i) {
        const std::string path = "/lib/" + std::to_string(i);
        const code_range* const range = f.add(range_at(i << 16, path));
        if (range == nullptr || range->header != i << 16 || range->path != path) std::abort();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(f.registry->size() >= 500);
  CHECK(f.registry->size() <= 2000);  // two at once may both add
}

TEST_CASE("of what walks registered, the last ones are found") {
  const fixture f;
  const auto any = [](const code_range&) { return true; };
  CHECK(f.registry->find_recent_sig(any) == nullptr);
  const code_range* first = nullptr;
  const code_range* last = nullptr;
  for (std::uintptr_t i = 1; i <= 17; ++i) {
    last = f.add(range_at(i << 16, "/lib/late"));
    if (first == nullptr) first = last;
    f.registry->remember_recent_sig(last);
    f.registry->remember_recent_sig(last);  // takes no second place
  }
  const auto find = [&](const code_range* wanted) {
    return f.registry->find_recent_sig([wanted](const code_range& one) { return &one == wanted; });
  };
  CHECK(find(last) == last);
  CHECK(find(first) == nullptr);
  CHECK(find(f.registry->find_sig(2 << 16, any)) != nullptr);
}
