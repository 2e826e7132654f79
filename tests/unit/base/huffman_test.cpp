// tests/unit/base/huffman_test.cpp - codes are complete, canonical, limited, and as short as can be.

#include "prof/base/huffman.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <queue>
#include <utility>
#include <vector>

namespace {

using prof::detail::huffman_code;

constexpr std::size_t symbols = 30;
using counts = std::vector<std::uint16_t>;

// Huffman's own way, with a priority queue: the cost that no prefix code can beat.
std::uint64_t least_cost(const counts& of) {
  std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<std::uint64_t>> heap;
  for (const std::uint16_t n : of) {
    if (n != 0) heap.push(n);
  }
  std::uint64_t total = heap.size() == 1 ? heap.top() : 0;
  while (heap.size() > 1) {
    const std::uint64_t a = heap.top();
    heap.pop();
    const std::uint64_t sum = a + heap.top();
    heap.pop();
    heap.push(sum);
    total += sum;
  }
  return total;
}

// The least cost of codes no longer than `limit`: package-merge (Larmore and Hirschberg, 1990).
std::uint64_t least_limited_cost(const counts& of, unsigned limit) {
  std::vector<std::uint64_t> leaves;
  for (const std::uint16_t n : of) {
    if (n != 0) leaves.push_back(n);
  }
  std::sort(leaves.begin(), leaves.end());
  std::vector<std::uint64_t> row = leaves;
  for (unsigned level = 1; level < limit; ++level) {
    std::vector<std::uint64_t> next = leaves;
    for (std::size_t i = 0; i + 1 < row.size(); i += 2) next.push_back(row[i] + row[i + 1]);
    std::sort(next.begin(), next.end());
    row = next;
  }
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < 2 * leaves.size() - 2; ++i) total += row[i];
  return total;
}

double kraft_sum(const huffman_code<symbols>& code) {
  double sum = 0;
  for (const std::uint8_t length : code.length) {
    if (length != 0) sum += 1.0 / static_cast<double>(1u << length);
  }
  return sum;
}

std::uint32_t forwards(std::uint32_t bits, unsigned count) {
  std::uint32_t code = 0;
  for (unsigned i = 0; i < count; ++i) code = code << 1 | ((bits >> i) & 1u);
  return code;
}

huffman_code<symbols> built(const counts& of, unsigned limit = 15) {
  huffman_code<symbols> code;
  code.build(of.data(), limit);
  return code;
}

std::uint64_t next_random(std::uint64_t& state) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return state >> 33;
}

}  // namespace

TEST_CASE("a code of less than two symbols still has two, so that it is complete") {
  counts of(symbols, 0);
  for (const auto& [n, first] : {std::pair{0, 0u}, {1, 0u}, {1, 1u}, {1, 29u}}) {
    of.assign(symbols, 0);
    if (n == 1) of[first] = 7;
    const auto code = built(of);
    CHECK(kraft_sum(code) == 1.0);
    CHECK(code.length[first] == 1);
  }
}

TEST_CASE("random counts: as short as Huffman's, complete and canonical") {
  std::uint64_t state = 1;
  for (int round = 0; round < 3000; ++round) {
    counts of(symbols);
    const unsigned shift = static_cast<unsigned>(next_random(state) % 16);
    for (auto& n : of) {
      n = static_cast<std::uint16_t>(next_random(state) % 3 == 0 ? 0
                                                                 : next_random(state) % 1000 >> shift);
    }
    of[0] = of[1] = 1;
    const auto code = built(of);
    CAPTURE(round);
    REQUIRE(kraft_sum(code) == 1.0);
    REQUIRE(code.cost(of.data()) == least_cost(of));
    std::uint32_t last_code = 0;
    for (unsigned length = 1, size = 0; length <= 15; ++length) {
      for (std::size_t i = 0; i < symbols; ++i) {
        REQUIRE((code.length[i] == 0) == (of[i] == 0));
        if (code.length[i] != length) continue;
        const std::uint32_t here = forwards(code.bits[i], length);
        if (size != 0) REQUIRE(here == (last_code + 1) << (length - size));
        else REQUIRE(here == 0);
        last_code = here;
        size = length;
      }
    }
  }
}

// Counts like Fibonacci's make the deepest tree there is and lose the most: 5.5 % at 7 bits.
TEST_CASE("lengths are limited; the cost stays within 6 % of the best limited code") {
  counts fibonacci(symbols, 0);
  std::uint32_t a = 1;
  std::uint32_t b = 1;
  for (std::size_t i = 0; i < 22; ++i) {
    fibonacci[i] = static_cast<std::uint16_t>(a);
    const std::uint32_t sum = a + b;
    a = b;
    b = sum;
  }
  for (const unsigned limit : {5u, 7u, 9u, 15u}) {
    const auto code = built(fibonacci, limit);
    CAPTURE(limit);
    CHECK(kraft_sum(code) == 1.0);
    for (std::size_t i = 0; i < symbols; ++i) CHECK(code.length[i] <= limit);
    const auto best = static_cast<double>(least_limited_cost(fibonacci, limit));
    CHECK(static_cast<double>(code.cost(fibonacci.data())) <= 1.06 * best);
  }
}
