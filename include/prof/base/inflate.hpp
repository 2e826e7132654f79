// prof/base/inflate.hpp - what zlib compressed, as it was: debug sections of files.
// Floor 2 (base). Used by symbol/.
// Safety: pure; any bytes may come in. Work is bounded by the bytes that come in and go out: some 150 ns for a byte
//         of the worst input, blocks that are all head.
// Memory: the caller's, 11 KiB of it for tables.
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
    if (end - next >= 8) return refill_fast();
    for (; count < 56; count += 8) {
      if (next != end) bits |= std::uint64_t{*next++} << count;
      else ++behind_end;
    }
  }
  // Where there are 8 bytes.
  void refill_fast() noexcept {
    std::uint64_t word;
    std::memcpy(&word, next, sizeof word);
    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) word = __builtin_bswap64(word);
    bits |= word << count;
    next += (63 - count) / 8;
    count |= 56;
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

// What a symbol stands for: a byte, the first of the numbers whose extra bits follow it, or the block's end, which is the
// number 0 among lengths. Bits 0 to 7: how many extra bits; 16 to 30: the byte or number; 31: it is a byte.
using inflate_meaning = std::uint32_t;
inline constexpr inflate_meaning inflate_byte = 1U << 31;
inline constexpr inflate_meaning inflate_nothing = ~0U;  // Deflate has no such symbol

// The same with the code's length: in bits 8 to 15, and added to bits 0 to 7. Never 0, which is for no code.
using inflate_entry = std::uint32_t;
constexpr inflate_entry inflate_entry_of(inflate_meaning meaning, unsigned length) noexcept {
  return meaning == inflate_nothing ? 0 : meaning + (length | length << 8);
}
constexpr bool inflate_is_byte(inflate_entry entry) noexcept { return (entry & inflate_byte) != 0; }
constexpr std::size_t inflate_first(inflate_entry entry) noexcept { return entry >> 16 & 0x7fff; }

constexpr inflate_meaning inflate_meaning_of(deflate_range range) noexcept { return range.first << 16 | range.extra_bits; }

struct inflate_meanings {
  inflate_meaning literals[288];
  inflate_meaning distances[32];
  inflate_meaning lengths[deflate_length_codes];  // of codes: as they are
};
constexpr inflate_meanings make_inflate_meanings() noexcept {
  inflate_meanings all{};
  for (std::uint32_t i = 0; i < 288; ++i) {
    all.literals[i] = i < deflate_end        ? inflate_byte | i << 16
                      : i == deflate_end     ? 0
                      : i < deflate_literals ? inflate_meaning_of(deflate_length_range(i))
                                             : inflate_nothing;
  }
  for (std::uint32_t i = 0; i < 32; ++i) {
    all.distances[i] = i < deflate_distances ? inflate_meaning_of(deflate_distance_range(i)) : inflate_nothing;
  }
  for (std::uint32_t i = 0; i < deflate_length_codes; ++i) all.lengths[i] = i << 16;
  return all;
}
inline constexpr inflate_meanings inflate_symbols = make_inflate_meanings();

// A prefix code for reading. Short codes are found in a table, long ones by their place among all of their length.
class inflate_code {
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

  // By the next bits: the entry of their symbol; 0: a longer code, or none.
  PROF_DETAIL_NOINLINE void fill(inflate_entry* table, unsigned bits, const std::uint16_t* symbols,
                                 const inflate_meaning* meanings) const noexcept {
    const std::size_t size = std::size_t{1} << bits;
    std::memset(table, 0, size * sizeof *table);
    std::uint32_t code = 0;
    for (unsigned length = 1; length <= bits; ++length, code <<= 1) {
      for (unsigned i = 0; i < counts_[length]; ++i) {
        const inflate_entry entry = inflate_entry_of(meanings[*symbols++], length);
        std::size_t at = huffman_reversed(code++, length);
        for (; at < size; at += std::size_t{1} << length) table[at] = entry;
      }
    }
  }

  // Codes of a length are consecutive, and begin behind those of the length before. 0: no code, or one without a meaning.
  PROF_DETAIL_NOINLINE inflate_entry find(std::uint64_t bits, const std::uint16_t* symbols,
                                          const inflate_meaning* meanings) const noexcept {
    unsigned code = 0;
    unsigned first = 0;
    for (unsigned length = 1; length <= huffman_max_length; ++length, bits >>= 1) {
      code = code << 1 | (bits & 1U);
      first <<= 1;
      if (code < first + counts_[length]) return inflate_entry_of(meanings[symbols[code - first]], length);
      first += counts_[length];
      symbols += counts_[length];
    }
    return 0;
  }

 private:
  std::uint16_t counts_[huffman_max_length + 1] = {};
};

template <unsigned Bits, std::size_t Symbols>
class inflate_table : inflate_code {
 public:
  bool build(const std::uint8_t* lengths, std::size_t size, bool may_be_single, const inflate_meaning* meanings) noexcept {
    if (!order(lengths, size, may_be_single, symbols_)) return false;
    meanings_ = meanings;
    fill(table_, Bits, symbols_, meanings);
    return true;
  }
  // What the next bits stand for, of which there are at least 15. They are not taken.
  inflate_entry look(std::uint64_t bits) const noexcept {
    const inflate_entry entry = look_fast(bits);
    return PROF_DETAIL_LIKELY(entry != 0) ? entry : find(bits, symbols_, meanings_);
  }
  // 0 also for a code of more than Bits bits.
  inflate_entry look_fast(std::uint64_t bits) const noexcept { return table_[bits & ((1U << Bits) - 1U)]; }

 private:
  inflate_entry table_[std::size_t{1} << Bits];
  std::uint16_t symbols_[Symbols];  // in the order of their codes
  const inflate_meaning* meanings_ = nullptr;
};

// A bit less in the table of literals takes 5 % more time, a bit more saves none.
struct inflate_tables {
  inflate_table<11, 288> literals;
  inflate_table<8, 32> distances;
};

// ---- blocks --------------------------------------------------------------------------------------

class inflater {
 public:
  inflater(const unsigned char* in, std::size_t in_size, unsigned char* out, std::size_t size, inflate_tables& tables) noexcept
      : in_{in, in + in_size}, begin_(out), out_(out), end_(out + size), tables_(tables) {}

  // True if the blocks fill the output.
  template <class GoesOn>
  bool run(GoesOn goes_on) noexcept {
    for (bool is_last = false; !is_last;) {
      if (!goes_on()) return false;
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
    is_fixed_ = is_fixed_ || (tables_.literals.build(deflate_fixed.literals.length, 288, false, inflate_symbols.literals) &&
                              tables_.distances.build(deflate_fixed.distances.length, 32, false, inflate_symbols.distances));
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
    if (!tables_.distances.build(lengths, deflate_length_codes, false, inflate_symbols.lengths)) return false;
    if (!read_lengths(lengths, literals + distances)) return false;
    return tables_.literals.build(lengths, literals, true, inflate_symbols.literals) &&
           tables_.distances.build(lengths + literals, distances, true, inflate_symbols.distances);
  }

  bool read_lengths(std::uint8_t* lengths, std::size_t size) noexcept {
    for (std::size_t at = 0; at < size;) {
      in_.refill();
      const inflate_entry entry = tables_.distances.look(in_.bits);
      const std::size_t symbol = inflate_first(entry);
      in_.skip(entry & 0xff);
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

  enum class step { on, end, wrong };

  // What a turn without a look at the ends may read, twice seven bytes and one more, and write: three bytes, a match, and what
  // copies leave behind it.
  static constexpr std::ptrdiff_t fast_in = 16;
  static constexpr std::ptrdiff_t fast_out = 3 + deflate_max_match + 16;

  // A block between its head and its end.
  bool body() noexcept {
    for (;;) {
      const step at_end = in_.end - in_.next >= fast_in && end_ - out_ >= fast_out ? run_fast() : one_symbol();
      if (at_end != step::on) return at_end == step::end;
    }
  }

  step run_fast() noexcept {
    inflate_bits in = in_;  // not the members, which any byte that is written might be
    unsigned char* out = out_;
    const unsigned char* const last_in = in.end - fast_in;
    const unsigned char* const last_out = end_ - fast_out;
    step reached = step::on;
    while (reached == step::on && in.next <= last_in && out <= last_out) reached = turn_fast(in, out);
    in_ = in;
    out_ = out;
    return reached;
  }

  // Up to three bytes, or up to two and a match: 56 bits hold the codes of three bytes, or those of a match with its extra bits.
  PROF_DETAIL_INLINE step turn_fast(inflate_bits& in, unsigned char*& out) noexcept {
    in.refill_fast();
    inflate_entry entry = tables_.literals.look_fast(in.bits);
    if (inflate_is_byte(entry)) {
      put(in, out, entry);
      entry = tables_.literals.look_fast(in.bits);
      if (inflate_is_byte(entry)) {
        put(in, out, entry);
        entry = tables_.literals.look_fast(in.bits);
        if (inflate_is_byte(entry)) {
          put(in, out, entry);
          return step::on;
        }
      }
      in.refill_fast();
    }
    if (PROF_DETAIL_UNLIKELY(entry == 0)) entry = tables_.literals.look(in.bits);
    return finish<true>(in, out, entry);
  }

  // The same with a look at both ends.
  step one_symbol() noexcept {
    in_.refill();
    const inflate_entry entry = tables_.literals.look(in_.bits);
    if (inflate_is_byte(entry) && out_ == end_) return step::wrong;
    return finish<false>(in_, out_, entry);
  }

  PROF_DETAIL_INLINE static void put(inflate_bits& in, unsigned char*& out, inflate_entry entry) noexcept {
    *out++ = static_cast<unsigned char>(entry >> 16);
    in.skip(entry & 0xff);
  }

  // Of whatever symbol, with at least 48 bits of it and what follows.
  template <bool has_slack>
  PROF_DETAIL_INLINE step finish(inflate_bits& in, unsigned char*& out, inflate_entry entry) noexcept {
    if (inflate_is_byte(entry)) {
      put(in, out, entry);
      return step::on;
    }
    const std::size_t length = number(in, entry);
    if (PROF_DETAIL_UNLIKELY(length == 0)) return entry == 0 ? step::wrong : step::end;
    const inflate_entry place = tables_.distances.look(in.bits);
    const std::size_t distance = number(in, place);
    if (place == 0 || distance > static_cast<std::size_t>(out - begin_)) return step::wrong;
    const auto room = static_cast<std::size_t>(end_ - out);
    if (!has_slack && length > room) return step::wrong;
    if (has_slack && PROF_DETAIL_LIKELY(distance >= 8)) copy_far(out, distance, length);
    else copy(out, distance, length, room);
    out += length;
    return step::on;
  }

  // Takes the code and the extra bits behind it.
  PROF_DETAIL_INLINE static std::size_t number(inflate_bits& in, inflate_entry entry) noexcept {
    const std::uint64_t bits = in.bits;
    in.skip(entry & 0xff);
    const std::uint64_t with_code = bits & ((std::uint64_t{1} << (entry & 0xff)) - 1);
    return inflate_first(entry) + static_cast<std::size_t>(with_code >> (entry >> 8 & 0xff));
  }

  // Nine of ten have no more than 16 bytes. What is behind the match will be written again.
  PROF_DETAIL_INLINE static void copy_far(unsigned char* to, std::size_t distance, std::size_t length) noexcept {
    std::memcpy(to, to - distance, 8);
    std::memcpy(to + 8, to + 8 - distance, 8);
    for (std::size_t i = 16; PROF_DETAIL_UNLIKELY(i < length); i += 8) std::memcpy(to + i, to + i - distance, 8);
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
  inflate_tables& tables_;
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
// has another size or another checksum, or goes_on(), asked before each block, said no. The output is then undefined. What
// follows the stream is not looked at. What is in the tables before does not matter.
template <class GoesOn>
bool inflate_zlib(text_view in, char* out, std::size_t size, inflate_tables& tables, GoesOn goes_on) noexcept {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(in.data);
  if (in.size < 2 || (bytes[0] & 15) != 8 || (bytes[0] >> 4) > 7) return false;
  if ((bytes[0] * 256U + bytes[1]) % 31 != 0 || (bytes[1] & 32) != 0) return false;
  auto* const to = reinterpret_cast<unsigned char*>(out);
  inflater blocks(bytes + 2, in.size - 2, to, size, tables);
  if (!blocks.run(goes_on)) return false;
  const unsigned char* const sum = blocks.rest();
  if (bytes + in.size - sum < 4) return false;
  return adler32(to, size) == (std::uint32_t{sum[0]} << 24 | std::uint32_t{sum[1]} << 16 |
                               std::uint32_t{sum[2]} << 8 | std::uint32_t{sum[3]});
}

PROF_DETAIL_END

#endif  // PROF_BASE_INFLATE_HPP
