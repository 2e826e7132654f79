// tests/unit/base/memory_test.cpp - arena, arena_vector and heap_sort over a counting page source.

#include "prof/base/memory.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

using prof::detail::arena;
using prof::detail::arena_vector;
using prof::detail::heap_sort;
using prof::detail::page_source;

// ---- pages from the heap, so that sanitizers see every byte past a chunk ----

std::size_t g_maps_left = 0;
std::size_t g_bytes_mapped = 0;
std::size_t g_chunks_mapped = 0;

void* map_pages(std::size_t size) noexcept {
  if (g_maps_left == 0) return nullptr;
  --g_maps_left;
  ++g_chunks_mapped;
  g_bytes_mapped += size;
  return std::calloc(1, size);
}

void unmap_pages(void* pages, std::size_t size) noexcept {
  --g_chunks_mapped;
  g_bytes_mapped -= size;
  std::free(pages);
}

page_source pages(std::size_t maps) {
  g_maps_left = maps;
  g_bytes_mapped = 0;
  g_chunks_mapped = 0;
  return {map_pages, unmap_pages};
}

bool is_zero(const void* memory, std::size_t size) {
  const char* const bytes = static_cast<const char*>(memory);
  return std::all_of(bytes, bytes + size, [](char byte) { return byte == 0; });
}

}  // namespace

TEST_CASE("an arena gives zeroed memory aligned to 16 that does not overlap") {
  arena memory(pages(100), 256);
  std::vector<std::pair<char*, std::size_t>> given;
  for (std::size_t size = 1; size < 600; size += 7) {
    char* const place = static_cast<char*>(memory.allocate(size));
    REQUIRE(place != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(place) % 16 == 0);
    CHECK(is_zero(place, size));
    std::memset(place, 0xAB, size);
    for (const auto& other : given) {
      CHECK((place >= other.first + other.second || place + size <= other.first));
    }
    given.emplace_back(place, size);
  }
  CHECK_FALSE(memory.exhausted());
}

TEST_CASE("an arena maps nothing before it is used, grows by doubling and gives all back") {
  {
    arena memory(pages(100), 4096);
    CHECK(g_chunks_mapped == 0);
    CHECK(memory.bytes() == 0);
    memory.allocate(1);
    CHECK(memory.bytes() == 4096);
    memory.allocate(4096);
    CHECK(memory.bytes() == 4096 + 8192);
    memory.allocate(100000);  // larger than the next chunk would be
    CHECK(memory.bytes() == g_bytes_mapped);
    CHECK(g_chunks_mapped == 3);

    memory.release();
    CHECK(g_bytes_mapped == 0);
    CHECK(memory.bytes() == 0);
    CHECK(is_zero(memory.allocate(64), 64));
  }
  CHECK(g_chunks_mapped == 0);
  CHECK(g_bytes_mapped == 0);
}

TEST_CASE("an arena that is used again is as new, and keeps a first chunk that was enough") {
  arena memory(pages(100), 4096);
  memory.reuse();
  CHECK(g_chunks_mapped == 0);
  for (const std::size_t size : {1u, 3000u, 4080u}) {
    void* const place = memory.allocate(size);
    REQUIRE(place != nullptr);
    CHECK(is_zero(place, size));
    std::memset(place, 0xAB, size);
    memory.reuse();
    CHECK(g_chunks_mapped == 1);
    CHECK(memory.bytes() == 4096);
    CHECK(memory.used() == 0);
  }
  void* const old = memory.allocate_again(4080);
  memory.give_back(old, 4080);
  memory.reuse();
  CHECK(is_zero(memory.allocate_again(4080), 4080));  // not what was given back before
  memory.allocate(5000);
  memory.reuse();
  CHECK(g_chunks_mapped == 0);
  memory.allocate(5000);  // larger than a first chunk
  memory.reuse();
  CHECK(g_chunks_mapped == 0);
  CHECK(is_zero(memory.allocate(4000), 4000));
  CHECK(memory.bytes() == 4096);  // not twice the last one
  g_maps_left = 0;
  CHECK(memory.allocate(5000) == nullptr);
  CHECK(memory.exhausted());
  memory.reuse();
  CHECK_FALSE(memory.exhausted());
}

TEST_CASE("what is used of an arena is what was asked for, not what was mapped for it") {
    arena memory(pages(100), 4096);
    memory.allocate(100);
    memory.allocate(100000);
    CHECK(memory.used() == 112 + 100000);
    CHECK(memory.bytes() > memory.used());
    memory.release();
    CHECK(memory.used() == 0);
}

TEST_CASE("what is before is counted, whatever the length") {
    for (std::size_t count = 0; count < 20; ++count) {
        for (std::size_t before = 0; before <= count; ++before) {
            CHECK(prof::detail::count_before(count, [&](std::size_t i) { return i < before; }) == before);
        }
    }
}

TEST_CASE("an exhausted arena says so for ever and still serves what fits") {
  arena memory(pages(1), 256);
  CHECK(memory.allocate(64) != nullptr);
  CHECK_FALSE(memory.exhausted());
  CHECK(memory.allocate(1000) == nullptr);
  CHECK(memory.exhausted());
  CHECK(memory.allocate(64) != nullptr);
  CHECK(memory.exhausted());
}

TEST_CASE("copies of text end in NUL") {
  arena memory(pages(2), 64);
  const char* const copy = memory.copy("abcdef", 3);
  REQUIRE(copy != nullptr);
  CHECK(std::string(copy) == "abc");
  CHECK(std::string(memory.copy("", 0)).empty());
  CHECK(memory.copy("", 0) != nullptr);
  arena none(pages(0));
  CHECK(none.copy("a", 1) == nullptr);
}

TEST_CASE("a vector keeps its values while it grows") {
  arena memory(pages(100), 64);
  arena_vector<std::uint32_t> numbers(memory);
  CHECK(numbers.empty());
  for (std::uint32_t i = 0; i < 1000; ++i) REQUIRE(numbers.push(i * i));
  REQUIRE(numbers.size() == 1000);
  for (std::uint32_t i = 0; i < 1000; ++i) CHECK(numbers[i] == i * i);
  CHECK(numbers.end() - numbers.begin() == 1000);
  CHECK_FALSE(numbers.full());
  while (!numbers.full()) REQUIRE(numbers.push(0));
  CHECK(numbers.size() == 1024);
  const std::uint32_t* const before = numbers.begin();
  REQUIRE(numbers.push(0));
  CHECK(numbers.begin() != before);
  numbers.clear();
  CHECK(numbers.empty());
  CHECK(numbers.begin() == numbers.end());
}

TEST_CASE("what a growing vector leaves behind is used again, and never twice") {
  arena memory(pages(100), 64);
  arena_vector<std::uint32_t> some(memory);
  arena_vector<std::uint64_t> others(memory);
  arena_vector<unsigned char> bytes(memory);
  for (std::uint32_t i = 0; i < 100000; ++i) {
    REQUIRE(some.push(i));
    REQUIRE(others.push(~std::uint64_t{i}));
    REQUIRE(bytes.push(static_cast<unsigned char>(i)));
  }
  bool kept = true;
  for (std::uint32_t i = 0; i < 100000; ++i) {
    kept = kept && some[i] == i && others[i] == ~std::uint64_t{i} &&
           bytes[i] == static_cast<unsigned char>(i);
  }
  CHECK(kept);
  const std::size_t mapped = memory.bytes();
  arena_vector<std::uint64_t> later(memory);  // the old copies of `others` alone are as much
  REQUIRE(later.resize(32768));
  CHECK(memory.bytes() == mapped);
  CHECK(is_zero(later.data(), 32768 * sizeof(std::uint64_t)));
}

TEST_CASE("memory that was given back goes out in parts until it is used up") {
  arena memory(pages(100), 64);
  char* const place = static_cast<char*>(memory.allocate_again(65536));
  REQUIRE(place != nullptr);
  memory.give_back(place, 65536);
  const std::size_t mapped = memory.bytes();
  std::vector<char*> parts;
  for (int i = 0; i < 6; ++i) {
    parts.push_back(static_cast<char*>(memory.allocate_again(10000)));
    std::memset(parts.back(), i, 10000);
  }
  std::sort(parts.begin(), parts.end());
  for (std::size_t i = 0; i < 6; ++i) {
    CHECK(parts[i] >= place);
    CHECK(parts[i] + 10000 <= place + 65536);
    if (i > 0) CHECK(parts[i] - parts[i - 1] >= 10000);
  }
  CHECK(memory.bytes() == mapped);
  memory.release();
  char* const fresh = static_cast<char*>(memory.allocate_again(8192));
  REQUIRE(fresh != nullptr);
  std::memset(fresh, 1, 8192);  // a sanitizer sees memory of a chunk that is gone
}

TEST_CASE("values of the vector itself can be added to it, also where it grows") {
  arena memory(pages(100), 64);
  arena_vector<std::uint64_t> pushed(memory);
  arena_vector<std::uint64_t> appended(memory);
  for (std::uint64_t i = 0; i < 1024; ++i) {  // as many as fit: the next one moves them
    pushed.push(~i);
    appended.push(i + 7);
  }
  CHECK(pushed.push(pushed[0]));
  CHECK(pushed[1024] == ~std::uint64_t{0});
  CHECK(appended.append(appended.data(), 1024));
  bool equal = true;
  for (std::size_t i = 0; i < 1024; ++i) equal = equal && appended[1024 + i] == i + 7;
  CHECK(equal);
}

TEST_CASE("a vector that is taken over by itself stays") {
  arena memory(pages(100), 64);
  arena_vector<std::uint32_t> numbers(memory);
  numbers.push(5);
  numbers.take_over(numbers);
  REQUIRE(numbers.size() == 1);
  CHECK(numbers[0] == 5);
}

TEST_CASE("what a vector had before it took over is used again") {
  arena memory(pages(100), 64);
  arena_vector<std::uint32_t> one(memory);
  arena_vector<std::uint32_t> two(memory);
  REQUIRE(one.resize(4096));
  REQUIRE(two.resize(16));
  const void* const before = one.data();
  one.take_over(two);
  arena_vector<std::uint32_t> three(memory);
  REQUIRE(three.resize(4096));
  CHECK(three.data() == before);
}

TEST_CASE("a vector takes over what another holds") {
  arena memory(pages(100), 64);
  arena_vector<std::uint32_t> one(memory);
  arena_vector<std::uint32_t> two(memory);
  one.push(1);
  two.push(2);
  two.push(3);
  one.take_over(two);
  REQUIRE(one.size() == 2);
  CHECK(one[1] == 3);
  CHECK(two.empty());
  two.push(4);
  CHECK(one[0] == 2);
  CHECK(two[0] == 4);
}

TEST_CASE("append takes any number of values, none included") {
  arena memory(pages(100), 64);
  arena_vector<char> text(memory);
  CHECK(text.append(nullptr, 0));
  std::string wanted;
  for (std::size_t n = 0; n < 100; ++n) {
    const std::string piece(n, static_cast<char>('a' + n % 26));
    CHECK(text.append(piece.data(), piece.size()));
    wanted += piece;
  }
  CHECK(std::string(text.data(), text.size()) == wanted);
}

TEST_CASE("resize adds zeros, where values have been before too") {
  arena memory(pages(100), 64);
  arena_vector<std::uint64_t> numbers(memory);
  for (std::uint64_t i = 0; i < 20; ++i) numbers.push(~i);
  numbers.resize(5);
  CHECK(numbers.size() == 5);
  CHECK(numbers[4] == ~std::uint64_t{4});
  numbers.resize(40);
  CHECK(numbers[4] == ~std::uint64_t{4});
  for (std::size_t i = 5; i < 40; ++i) CHECK(numbers[i] == 0);
}

TEST_CASE("a vector without memory refuses and keeps what it has") {
  arena memory(pages(1), 256);
  arena_vector<std::uint32_t> numbers(memory);
  std::uint32_t pushed = 0;
  while (numbers.push(pushed)) ++pushed;
  CHECK(memory.exhausted());
  CHECK(numbers.size() == pushed);
  CHECK_FALSE(numbers.append(&pushed, 1));
  CHECK_FALSE(numbers.resize(10000));
  REQUIRE(numbers.size() == pushed);
  for (std::uint32_t i = 0; i < pushed; ++i) CHECK(numbers[i] == i);
}

TEST_CASE("heap_sort sorts, whatever the length and order") {
  std::uint32_t state = 1;
  for (std::size_t size = 0; size < 70; ++size) {
    for (unsigned range : {1U, 3U, 1000U}) {
      std::vector<std::uint32_t> values(size);
      for (std::uint32_t& value : values) {
        state = state * 1664525U + 1013904223U;
        value = (state >> 8) % range;
      }
      std::vector<std::uint32_t> wanted = values;
      std::sort(wanted.begin(), wanted.end());
      heap_sort(values.data(), values.size(),
                [](std::uint32_t a, std::uint32_t b) { return a < b; });
      CHECK(values == wanted);
      heap_sort(values.data(), values.size(),
                [](std::uint32_t a, std::uint32_t b) { return a > b; });
      std::reverse(wanted.begin(), wanted.end());
      CHECK(values == wanted);
    }
  }
}
