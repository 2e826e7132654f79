// prof/base/inflate.hpp - what zlib compressed, as it was: debug sections of files.
// Floor 2 (base). Used by symbol/.
// Safety: pure; any bytes may come in. Work is bounded by the bytes that come in and go out: some 150 ns for a byte
//         of the worst input, blocks that are all head.
// Memory: the caller's, and 4 KiB of stack.
// Source: RFC 1950, RFC 1951; refuses the codes that zlib 1.2.13 refuses (inftrees.c).
#ifndef PROF_BASE_INFLATE_HPP
#define PROF_BASE_INFLATE_HPP

#include "prof/base/deflate.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

// ---- bits ----------------------------------------------------------------------------------------

// Bits of the input, the lowest of a byte first. Zeros follow its end, so that nobody looks at the end between two
// symbols: they fill the output or read as a stored block, whose align() says that there are none.
struct inflate_bits {
  const unsigned char* next;
  const unsigned char* end;
  std::uint64_t bits = 0;      // above `count` of them: bits of `next`, which come again
  unsigned count = 0;
  std::size_t behind_end = 0;  // bytes of zeros, used or not

  // To at least 56 bits; a match takes 48.
  void refill() noexcept {
    if (end - next >= 8) {
      std::uint64_t word;
      std::memcpy(&word, next, sizeof word);
      if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) word = __builtin_bswap64(word);
      bits |= word << count;
      next += (63 - count) / 8;
      count |= 56;
      return;
    }
    for (; count < 56; count += 8) {
      if (next != end) bits |= std::uint64_t{*next++} << count;
      else ++behind_end;
    }
  }
  // At most 16.
  unsigned take(unsigned size) noexcept {
    const auto value = static_cast<unsigned>(bits) & ((1U << size) - 1U);
    skip(size);
    return value;
  }
  void skip(unsigned size) noexcept {
    bits >>= size;
    count -= size;
  }
  // Drops the rest of the byte, and gives back the bytes that were not used. False if bits behind the end were.
  bool align() noexcept {
    if (behind_end > count / 8) return false;
    next -= count / 8 - behind_end;
    bits = 0;
    count = 0;
    behind_end = 0;
    return true;
  }
};

// ---- codes ---------------------------------------------------------------------------------------

// A prefix code for reading. Short codes are found in a table, long ones by their place among all of their length.
class inflate_code {
 public:
  static constexpr unsigned none = 0xffff;  // no symbol

 protected:
  // False if two symbols would share a code, or if some bits are no code. There may be no code at all, or one of
  // one bit, if `may_be_single`.
  PROF_DETAIL_NOINLINE bool order(const std::uint8_t* lengths, std::size_t size, bool may_be_single,
                                  std::uint16_t* symbols) noexcept {
    std::memset(counts_, 0, sizeof counts_);
    for (std::size_t i = 0; i < size; ++i) ++counts_[lengths[i]];
    counts_[0] = 0;
    std::uint16_t place[huffman_max_length + 1] = {};
    unsigned room = 1;
    unsigned longest = 0;
    for (unsigned length = 1; length <= huffman_max_length; ++length) {
      place[length] = static_cast<std::uint16_t>(place[length - 1] + counts_[length - 1]);
      if (counts_[length] > 2 * room) return false;
      room = 2 * room - counts_[length];
      if (counts_[length] != 0) longest = length;
    }
    if (room != 0 && longest != 0 && !(may_be_single && longest == 1)) return false;
    for (std::size_t i = 0; i < size; ++i) {
      if (lengths[i] != 0) symbols[place[lengths[i]]++] = static_cast<std::uint16_t>(i);
    }
    return true;
  }

  // By the next bits: symbol << 4 | length; 0: a longer code, or none.
  PROF_DETAIL_NOINLINE void fill(std::uint16_t* table, unsigned bits,
                                 const std::uint16_t* symbols) const noexcept {
    const std::size_t size = std::size_t{1} << bits;
    std::memset(table, 0, size * sizeof *table);
    std::uint32_t code = 0;
    for (unsigned length = 1; length <= bits; ++length, code <<= 1) {
      for (unsigned i = 0; i < counts_[length]; ++i) {
        const auto entry = static_cast<std::uint16_t>(unsigned{*symbols++} << 4 | length);
        std::size_t at = huffman_reversed(code++, length);
        for (; at < size; at += std::size_t{1} << length) table[at] = entry;
      }
    }
  }

  // Codes of a length are consecutive, and begin behind those of the length before.
  PROF_DETAIL_NOINLINE unsigned find(std::uint64_t bits, const std::uint16_t* symbols) const noexcept {
    unsigned code = 0;
    unsigned first = 0;
    for (unsigned length = 1; length <= huffman_max_length; ++length, bits >>= 1) {
      code = code << 1 | (bits & 1U);
      first <<= 1;
      if (code < first + counts_[length]) return unsigned{symbols[code - first]} << 4 | length;
      first += counts_[length];
      symbols += counts_[length];
    }
    return none << 4;
  }

 private:
  std::uint16_t counts_[huffman_max_length + 1] = {};
};

template <unsigned Bits, std::size_t Symbols>
class inflate_table : inflate_code {
 public:
  bool build(const std::uint8_t* lengths, std::size_t size, bool may_be_single) noexcept {
    if (!order(lengths, size, may_be_single, symbols_)) return false;
    fill(table_, Bits, symbols_);
    return true;
  }
  // The next symbol, of bits that are at least 15.
  unsigned next(inflate_bits& in) const noexcept {
    unsigned entry = table_[in.bits & ((1U << Bits) - 1U)];
    if (PROF_DETAIL_UNLIKELY(entry == 0)) entry = find(in.bits, symbols_);
    in.skip(entry & 15U);
    return entry >> 4;
  }

 private:
  std::uint16_t table_[std::size_t{1} << Bits];
  std::uint16_t symbols_[Symbols];  // in the order of their codes
};

// ---- blocks --------------------------------------------------------------------------------------

class inflater {
 public:
  inflater(const unsigned char* in, std::size_t in_size, unsigned char* out, std::size_t size) noexcept
      : in_{in, in + in_size}, begin_(out), out_(out), end_(out + size) {}

  // True if the blocks fill the output.
  bool run() noexcept {
    for (bool is_last = false; !is_last;) {
      in_.refill();
      is_last = in_.take(1) != 0;
      if (!block(in_.take(2))) return false;
    }
    return out_ == end_ && in_.align();
  }
  const unsigned char* rest() const noexcept { return in_.next; }

 private:
  bool block(unsigned form) noexcept {
    if (form == 0) return stored();
    if (form == 1) return fixed() && body();
    return form == 2 && head() && body();
  }

  bool stored() noexcept {
    if (!in_.align() || in_.end - in_.next < 4) return false;
    const unsigned char* const head = in_.next;
    const unsigned size = head[0] | unsigned{head[1]} << 8;
    if ((head[2] | unsigned{head[3]} << 8) != (size ^ 0xffffU)) return false;
    in_.next += 4;
    if (in_.end - in_.next < std::ptrdiff_t{size} || end_ - out_ < std::ptrdiff_t{size}) return false;
    if (size != 0) std::memcpy(out_, in_.next, size);  // there may be no output at all
    in_.next += size;
    out_ += size;
    return true;
  }

  // Codes stay as they are until another block changes them: short blocks are many.
  bool fixed() noexcept {
    is_fixed_ = is_fixed_ || (literals_.build(deflate_fixed.literals.length, 288, false) &&
                              distances_.build(deflate_fixed.distances.length, 32, false));
    return is_fixed_;
  }

  bool head() noexcept {
    is_fixed_ = false;
    in_.refill();
    const std::size_t literals = in_.take(5) + 257;
    const std::size_t distances = in_.take(5) + 1;
    const std::size_t codes = in_.take(4) + 4;
    if (literals > deflate_literals || distances > deflate_distances) return false;
    std::uint8_t lengths[deflate_literals + deflate_distances] = {};
    for (std::size_t i = 0; i < codes; ++i) {
      in_.refill();
      lengths[deflate_length_order[i]] = static_cast<std::uint8_t>(in_.take(3));
    }
    // The code of the lengths is not needed any more when that of the distances is made.
    if (!distances_.build(lengths, deflate_length_codes, false)) return false;
    if (!read_lengths(lengths, literals + distances)) return false;
    return literals_.build(lengths, literals, true) && distances_.build(lengths + literals, distances, true);
  }

  bool read_lengths(std::uint8_t* lengths, std::size_t size) noexcept {
    for (std::size_t at = 0; at < size;) {
      in_.refill();
      const unsigned symbol = distances_.next(in_);
      if (symbol < 16) {
        lengths[at++] = static_cast<std::uint8_t>(symbol);
        continue;
      }
      if (symbol > 18 || (symbol == 16 && at == 0)) return false;
      const std::size_t times = symbol == 16 ? in_.take(2) + 3 : symbol == 17 ? in_.take(3) + 3 : in_.take(7) + 11;
      if (times > size - at) return false;
      std::memset(lengths + at, symbol == 16 ? lengths[at - 1] : 0, times);
      at += times;
    }
    return true;
  }

  bool body() noexcept {
    inflate_bits in = in_;  // not the members, which any byte that is written might be
    unsigned char* out = out_;
    for (;;) {
      in.refill();
      const unsigned symbol = literals_.next(in);
      if (symbol == deflate_end) break;
      if (symbol < deflate_end) {
        if (out == end_) return false;
        *out++ = static_cast<unsigned char>(symbol);
        continue;
      }
      if (symbol >= 257 + 29) return false;
      const std::size_t length = number(in, deflate_length_range(symbol));
      const unsigned place = distances_.next(in);
      if (place >= deflate_distances) return false;
      const std::size_t distance = number(in, deflate_distance_range(place));
      const auto room = static_cast<std::size_t>(end_ - out);
      if (distance > static_cast<std::size_t>(out - begin_) || length > room) return false;
      copy(out, distance, length, room);
      out += length;
    }
    in_ = in;
    out_ = out;
    return true;
  }
  static std::size_t number(inflate_bits& in, deflate_range range) noexcept {
    return range.first + in.take(range.extra_bits);
  }

  // Eight bytes at a time, some of them behind the match, where they will be written again. A match that reaches
  // into itself repeats its first bytes: two, four times as far back stand the same.
  static void copy(unsigned char* to, std::size_t distance, std::size_t length, std::size_t room) noexcept {
    const bool has_slack = room - length >= 8;
    for (; has_slack && distance < 8 && distance < length; distance *= 2) {
      for (std::size_t i = 0; i < distance; ++i) to[i] = *(to + i - distance);
      to += distance;
      length -= distance;
    }
    if (has_slack && distance >= 8) {
      for (std::size_t i = 0; i < length; i += 8) std::memcpy(to + i, to + i - distance, 8);
    } else {
      for (std::size_t i = 0; i < length; ++i) to[i] = *(to + i - distance);
    }
  }

  inflate_bits in_;
  unsigned char* begin_;
  unsigned char* out_;
  unsigned char* end_;
  bool is_fixed_ = false;
  // A bit less in the table of literals takes 15 % more time, a bit more saves none.
  inflate_table<10, 288> literals_;
  inflate_table<8, 32> distances_;
};

// ---- zlib's frame (RFC 1950) ---------------------------------------------------------------------

// Sums of at most 5552 bytes fit into 32 bits.
// Eight bytes at a time in lanes of 16 bits: their sum, and that of each times how many sums it is in, are the highest lanes
// of products. (Little-endian, as deflate.hpp.)
inline std::uint32_t adler32(const unsigned char* data, std::size_t size) noexcept {
  constexpr std::uint64_t bytes = 0x00ff00ff00ff00ffu;
  std::uint32_t sum = 1;
  std::uint32_t sums = 0;
  while (size != 0) {
    const unsigned char* const end = data + (size < 5552 ? size : 5552);
    size -= static_cast<std::size_t>(end - data);
    for (std::uint64_t word = 0; end - data >= 8; data += sizeof word) {
      std::memcpy(&word, data, sizeof word);
      const std::uint64_t even = word & bytes;
      const std::uint64_t odd = word >> 8 & bytes;
      sums += 8 * sum + static_cast<std::uint32_t>((even * 0x0008000600040002u + odd * 0x0007000500030001u) >> 48);
      sum += static_cast<std::uint32_t>(((even + odd) * 0x0001000100010001u) >> 48);
    }
    for (; data != end; ++data) sums += sum += *data;
    sum %= 65521;
    sums %= 65521;
  }
  return sums << 16 | sum;
}

// Whether so many bytes can come out at all: two bits stand for at most 258. To be asked before memory is found.
inline bool inflate_can_fill(text_view in, std::size_t size) noexcept { return size / 1032 <= in.size; }

// Writes exactly `size` bytes and returns true, or returns false: what comes in is no zlib stream, needs a dictionary,
// has another size or another checksum. The output is then undefined. What follows the stream is not looked at.
inline bool inflate_zlib(text_view in, char* out, std::size_t size) noexcept {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(in.data);
  if (in.size < 2 || (bytes[0] & 15) != 8 || (bytes[0] >> 4) > 7) return false;
  if ((bytes[0] * 256U + bytes[1]) % 31 != 0 || (bytes[1] & 32) != 0) return false;
  auto* const to = reinterpret_cast<unsigned char*>(out);
  inflater blocks(bytes + 2, in.size - 2, to, size);
  if (!blocks.run()) return false;
  const unsigned char* const sum = blocks.rest();
  if (bytes + in.size - sum < 4) return false;
  return adler32(to, size) == (std::uint32_t{sum[0]} << 24 | std::uint32_t{sum[1]} << 16 |
                               std::uint32_t{sum[2]} << 8 | std::uint32_t{sum[3]});
}

PROF_DETAIL_END

#endif  // PROF_BASE_INFLATE_HPP
