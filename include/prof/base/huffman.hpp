// prof/base/huffman.hpp - prefix codes of least redundancy, limited in length, as Deflate sends them.
// Floor 2 (base). Used by base/deflate.hpp.
// Safety: pure; bounded by the number of symbols.
// Memory: the caller's, and some 3 KiB of stack.
// Source: A. Moffat and J. Katajainen, "In-place calculation of minimum-redundancy codes" (1995);
//         codes of more than the limit are shortened and the Kraft sum is paid back by the longest
//         shorter ones; canonical codes: RFC 1951 section 3.2.2.
#ifndef PROF_BASE_HUFFMAN_HPP
#define PROF_BASE_HUFFMAN_HPP

#include "prof/base/memory.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t huffman_max_symbols = 288;
inline constexpr unsigned huffman_max_length = 15;

// How many codes there are of each length.
struct huffman_lengths {
  std::uint32_t of_length[64] = {};
};

// Turns weights in ascending order into what M-J call parents: [0, n - 1) are inner nodes.
inline void huffman_pair_up(std::uint32_t* a, std::size_t n) noexcept {
  std::size_t leaf = 0;
  std::size_t node = 0;
  for (std::size_t next = 0; next + 1 < n; ++next) {
    std::uint32_t sum = 0;
    for (int i = 0; i < 2; ++i) {
      const bool take_leaf = node >= next || (leaf < n && a[leaf] <= a[node]);
      sum += take_leaf ? a[leaf] : a[node];
      // A node that is taken makes room for its parent; a leaf's weight is not needed again.
      if (take_leaf) ++leaf;
      else a[node++] = static_cast<std::uint32_t>(next);
    }
    a[next] = sum;
  }
}

// Parents to depths, from the root at n - 2 down; then how many leaves hang at each depth.
inline huffman_lengths huffman_count_depths(std::uint32_t* a, std::size_t n) noexcept {
  huffman_lengths lengths;
  a[n - 2] = 0;
  for (std::size_t i = n - 2; i-- > 0;) a[i] = a[a[i]] + 1;
  std::size_t node = n - 1;
  std::uint32_t open = 1;  // places at this depth
  for (std::uint32_t depth = 0; open != 0; ++depth) {
    std::uint32_t inner = 0;
    for (; node != 0 && a[node - 1] == depth; --node) ++inner;
    lengths.of_length[depth] = open - inner;
    open = 2 * inner;
  }
  return lengths;
}

// Codes that would be too long get the limit. (Package-merge would find the best such code; for the
// counts of real blocks the difference is some bytes, for the worst ones 6 %.) That overdraws the Kraft
// sum, in units of the limit's code; lengthening one shorter code makes room for another beside it and
// pays one unit back.
inline void huffman_limit(huffman_lengths& lengths, unsigned limit) noexcept {
  std::uint32_t* const of = lengths.of_length;
  for (unsigned i = limit + 1; i < 64; ++i) {
    of[limit] += of[i];
    of[i] = 0;
  }
  std::uint64_t sum = 0;
  for (unsigned i = 1; i <= limit; ++i) sum += std::uint64_t{of[i]} << (limit - i);
  for (; sum > std::uint64_t{1} << limit; --sum) {
    unsigned shorter = limit - 1;
    while (of[shorter] == 0) --shorter;
    --of[shorter];
    of[shorter + 1] += 2;
    --of[limit];
  }
}

constexpr std::uint16_t huffman_reversed(std::uint32_t code, unsigned count) noexcept {
  std::uint32_t result = 0;
  for (unsigned i = 0; i < count; ++i) result |= ((code >> i) & 1U) << (count - 1 - i);
  return static_cast<std::uint16_t>(result);
}

// A code for `Symbols` symbols. The code of symbol i is the low length[i] bits of bits[i], the first
// bit to be sent lowest; length 0: it has none.
template <std::size_t Symbols>
struct huffman_code {
  std::uint16_t bits[Symbols] = {};
  std::uint8_t length[Symbols] = {};

  // The code that makes a text with these counts shortest. At least two symbols get codes, even
  // if fewer occur: readers refuse an incomplete code.
  void build(const std::uint16_t* counts, unsigned limit) noexcept {
    std::uint32_t order[Symbols];  // count << 16 | symbol
    const std::size_t used = sort_used(counts, order);
    std::uint32_t weights[Symbols];
    for (std::size_t i = 0; i < used; ++i) weights[i] = order[i] >> 16;
    huffman_pair_up(weights, used);
    huffman_lengths lengths = huffman_count_depths(weights, used);
    huffman_limit(lengths, limit);
    std::memset(length, 0, sizeof length);
    std::size_t next = 0;  // rarest first, longest code first
    for (unsigned size = limit; size != 0; --size) {
      for (std::uint32_t i = 0; i < lengths.of_length[size]; ++i) {
        length[order[next++] & 0xffffu] = static_cast<std::uint8_t>(size);
      }
    }
    number();
  }

  // From lengths to canonical codes: shorter ones first, equal ones by symbol.
  constexpr void number() noexcept {
    std::uint32_t next[huffman_max_length + 2] = {};
    for (const std::uint8_t size : length) ++next[size + 1];
    next[1] = 0;  // symbols without a code
    for (unsigned size = 1; size <= huffman_max_length; ++size) {
      next[size + 1] += next[size];
      next[size + 1] <<= 1;
    }
    for (std::size_t i = 0; i < Symbols; ++i) {
      if (length[i] != 0) bits[i] = huffman_reversed(next[length[i]]++, length[i]);
    }
  }

  std::uint64_t cost(const std::uint16_t* counts) const noexcept {
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < Symbols; ++i) total += std::uint64_t{counts[i]} * length[i];
    return total;
  }

 private:
  static std::size_t sort_used(const std::uint16_t* counts, std::uint32_t* order) noexcept {
    std::size_t used = 0;
    for (std::uint32_t i = 0; i < Symbols; ++i) {
      if (counts[i] != 0) order[used++] = std::uint32_t{counts[i]} << 16 | i;
    }
    for (std::uint32_t i = 0; used < 2; ++i) {
      if (counts[i] == 0) order[used++] = std::uint32_t{1} << 16 | i;
    }
    heap_sort(order, used, [](std::uint32_t a, std::uint32_t b) { return a < b; });
    return used;
  }
};

PROF_DETAIL_END

#endif  // PROF_BASE_HUFFMAN_HPP
