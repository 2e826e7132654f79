// prof/base/deflate.hpp - Deflate: literals and matches as the smallest block that stands for them.
// Floor 2 (base). Used by base/deflate_window.hpp, which finds the matches, and base/gzip.hpp.
// Safety: ordinary context; thread-compatible; bounded work per byte.
// Memory: inline in the objects: 64 KiB for the tokens of a block, 8 KiB of output.
// Source: RFC 1951.
#ifndef PROF_BASE_DEFLATE_HPP
#define PROF_BASE_DEFLATE_HPP

#include "prof/base/huffman.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t deflate_max_match = 258;  // RFC 1951 section 3.2.5
inline constexpr std::size_t deflate_block = 32768;    // input of a block at most

// ---- lengths and distances (RFC 1951 section 3.2.5) ----------------------------------------------

inline constexpr std::uint16_t deflate_end = 256;  // end of block
inline constexpr std::size_t deflate_literals = 286;
inline constexpr std::size_t deflate_distances = 30;

// A symbol and the number beside it.
struct deflate_symbol {
  std::uint16_t symbol;
  std::uint16_t extra;
  std::uint8_t extra_bits;
};

// From 8 on, each power of two of length - 3 is divided among four symbols; from 4 on, each of
// distance - 1 between two: symbol and extra bits are cut out of the number.
constexpr deflate_symbol deflate_length(std::uint32_t length) noexcept {
  if (length == deflate_max_match) return {285, 0, 0};
  const std::uint32_t offset = length - 3;
  unsigned extra = 0;
  while ((offset >> extra) >= 8) ++extra;
  return {static_cast<std::uint16_t>(257 + 4 * extra + (offset >> extra)),
          static_cast<std::uint16_t>(offset & ((1U << extra) - 1U)),
          static_cast<std::uint8_t>(extra)};
}
inline deflate_symbol deflate_distance(std::uint32_t distance) noexcept {
  const std::uint32_t offset = distance - 1;
  unsigned extra = 0;
  if (offset >= 4) extra = 30U - static_cast<unsigned>(__builtin_clz(offset));
  return {static_cast<std::uint16_t>(2 * extra + (offset >> extra)),
          static_cast<std::uint16_t>(offset & ((1U << extra) - 1U)),
          static_cast<std::uint8_t>(extra)};
}

// The same the other way: the first number that a symbol stands for, and how many bits are added to it.
struct deflate_range {
  std::uint32_t first;
  unsigned extra_bits;
};
constexpr deflate_range deflate_length_range(std::uint32_t symbol) noexcept {
  if (symbol == 285) return {deflate_max_match, 0};
  const std::uint32_t index = symbol - 257;
  const unsigned extra = index < 8 ? 0 : index / 4 - 1;
  return {3 + ((index - 4 * extra) << extra), extra};
}
constexpr deflate_range deflate_distance_range(std::uint32_t symbol) noexcept {
  const unsigned extra = symbol < 4 ? 0 : symbol / 2 - 1;
  return {1 + ((symbol - 2 * extra) << extra), extra};
}

struct deflate_length_table {
  deflate_symbol of[deflate_max_match + 1];  // 0 to 2 unused
};
constexpr deflate_length_table make_deflate_lengths() noexcept {
  deflate_length_table table{};
  for (std::uint32_t i = 3; i <= deflate_max_match; ++i) table.of[i] = deflate_length(i);
  return table;
}
inline constexpr deflate_length_table deflate_lengths = make_deflate_lengths();

struct deflate_code {
  huffman_code<288> literals;  // 286 and 287 only fill the fixed code
  huffman_code<32> distances;  // so do 30 and 31
};
// RFC 1951 section 3.2.6.
constexpr deflate_code make_deflate_fixed() noexcept {
  deflate_code code{};
  for (std::size_t i = 0; i < 288; ++i) {
    code.literals.length[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  }
  for (std::size_t i = 0; i < 32; ++i) code.distances.length[i] = 5;
  code.literals.number();
  code.distances.number();
  return code;
}
inline constexpr deflate_code deflate_fixed = make_deflate_fixed();

// ---- the bit stream ------------------------------------------------------------------------------

// Bits to bytes, lowest bit first, to `write` in pieces of some KiB. A refusal sticks.
class bit_stream {
 public:
  using write_fn = bool (*)(void* context, const void* data, std::size_t size);

  bit_stream(write_fn write, void* context) noexcept : write_(write), context_(context) {}

  // At most 32 bits.
  void put(std::uint32_t value, unsigned count) noexcept {
    bits_ |= std::uint64_t{value} << bit_count_;
    bit_count_ += count;
    if (bit_count_ >= 32) move_word();
  }
  void pad_to_byte() noexcept { put(0, (0U - bit_count_) & 7U); }
  // Whole bytes; the stream is at a byte.
  void bytes(const unsigned char* data, std::size_t size) noexcept {
    flush();
    send(data, size);
  }
  // What is complete so far.
  bool flush() noexcept {
    for (; bit_count_ >= 8; bit_count_ -= 8, bits_ >>= 8) {
      out_[used_++] = static_cast<unsigned char>(bits_ & 0xffU);
    }
    const std::size_t size = used_;
    used_ = 0;
    return send(out_, size);
  }
  bool ok() const noexcept { return ok_; }
  unsigned bits_in_byte() const noexcept { return bit_count_ & 7U; }

 private:
  void move_word() noexcept {
    for (unsigned i = 0; i < 4; ++i) {
      out_[used_ + i] = static_cast<unsigned char>((bits_ >> (8 * i)) & 0xffU);
    }
    used_ += 4;
    bits_ >>= 32;
    bit_count_ -= 32;
    if (used_ > sizeof out_ - 16) flush();
  }
  bool send(const void* data, std::size_t size) noexcept {
    if (ok_ && size != 0) ok_ = write_(context_, data, size);
    return ok_;
  }

  write_fn write_;
  void* context_;
  std::uint64_t bits_ = 0;  // not yet in out_
  unsigned bit_count_ = 0;  // < 32 between calls
  bool ok_ = true;
  std::size_t used_ = 0;
  unsigned char out_[8192];
};

// ---- the head of a block with a code of its own (RFC 1951 section 3.2.7) -------------------------

inline constexpr std::size_t deflate_length_codes = 19;  // 16: the last length again, 17 and 18: zeros
inline constexpr unsigned char deflate_length_order[deflate_length_codes] = {
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};

class deflate_head {
 public:
  explicit deflate_head(const deflate_code& code) noexcept {
    literals_ = used_of(code.literals.length, deflate_literals, 257);
    distances_ = used_of(code.distances.length, deflate_distances, 1);
    std::uint8_t lengths[deflate_literals + deflate_distances];
    std::memcpy(lengths, code.literals.length, literals_);
    std::memcpy(lengths + literals_, code.distances.length, distances_);
    find_runs(lengths, literals_ + distances_);
    code_.build(counts_, 7);
    codes_ = deflate_length_codes;
    while (codes_ > 4 && code_.length[deflate_length_order[codes_ - 1]] == 0) --codes_;
  }

  std::uint64_t bits() const noexcept { return 14 + 3 * codes_ + code_.cost(counts_) + extra_; }

  void put(bit_stream& out) const noexcept {
    out.put(static_cast<std::uint32_t>(literals_ - 257), 5);
    out.put(static_cast<std::uint32_t>(distances_ - 1), 5);
    out.put(static_cast<std::uint32_t>(codes_ - 4), 4);
    for (std::size_t i = 0; i < codes_; ++i) out.put(code_.length[deflate_length_order[i]], 3);
    for (std::size_t i = 0; i < size_; ++i) {
      out.put(code_.bits[runs_[i].symbol], code_.length[runs_[i].symbol]);
      out.put(runs_[i].extra, extra_bits(runs_[i].symbol));
    }
  }

 private:
  struct run {
    std::uint8_t symbol;  // a length, or 16 to 18
    std::uint8_t extra;
  };
  static constexpr unsigned extra_bits(unsigned symbol) noexcept {
    return symbol == 16 ? 2 : symbol == 17 ? 3 : symbol == 18 ? 7 : 0;
  }
  static std::size_t used_of(const std::uint8_t* lengths, std::size_t count,
                             std::size_t least) noexcept {
    while (count > least && lengths[count - 1] == 0) --count;
    return count;
  }

  void find_runs(const std::uint8_t* lengths, std::size_t count) noexcept {
    for (std::size_t i = 0; i < count;) {
      const std::uint8_t value = lengths[i];
      std::size_t end = i + 1;
      while (end < count && lengths[end] == value) ++end;
      std::size_t left = end - i;
      i = end;
      if (value == 0) left = push_zeros(left);
      else if (left > 3) left = push_repeats(value, left);
      for (; left != 0; --left) push(value, 0);
    }
  }
  std::size_t push_zeros(std::size_t left) noexcept {
    for (; left >= 11; left -= smaller(left, 138)) push(18, smaller(left, 138) - 11);
    if (left < 3) return left;
    push(17, left - 3);
    return 0;
  }
  std::size_t push_repeats(std::uint8_t value, std::size_t left) noexcept {
    push(value, 0);
    for (--left; left >= 3; left -= smaller(left, 6)) push(16, smaller(left, 6) - 3);
    return left;
  }
  void push(unsigned symbol, std::size_t extra) noexcept {
    runs_[size_++] = {static_cast<std::uint8_t>(symbol), static_cast<std::uint8_t>(extra)};
    ++counts_[symbol];
    extra_ += extra_bits(symbol);
  }
  static constexpr std::size_t smaller(std::size_t a, std::size_t b) noexcept {
    return a < b ? a : b;
  }

  std::size_t literals_ = 0;
  std::size_t distances_ = 0;
  std::size_t codes_ = 0;
  std::size_t size_ = 0;
  std::uint64_t extra_ = 0;
  std::uint16_t counts_[deflate_length_codes] = {};
  huffman_code<deflate_length_codes> code_;
  run runs_[deflate_literals + deflate_distances];
};

// ---- a block -------------------------------------------------------------------------------------

// The tokens of one block: a literal is its byte; a match is 256 + length, then distance - 1.
class deflate_tokens {
 public:
  void clear() noexcept {
    size_ = 0;
    extra_ = 0;
    std::memset(literal_counts_, 0, sizeof literal_counts_);
    std::memset(distance_counts_, 0, sizeof distance_counts_);
    literal_counts_[deflate_end] = 1;
  }
  void literal(unsigned char byte) noexcept {
    tokens_[size_++] = byte;
    ++literal_counts_[byte];
  }
  void match(std::size_t length, std::size_t distance) noexcept {
    const deflate_symbol& length_symbol = deflate_lengths.of[length];
    const deflate_symbol distance_symbol = deflate_distance(static_cast<std::uint32_t>(distance));
    tokens_[size_++] = static_cast<std::uint16_t>(256 + length);
    tokens_[size_++] = static_cast<std::uint16_t>(distance - 1);
    ++literal_counts_[length_symbol.symbol];
    ++distance_counts_[distance_symbol.symbol];
    extra_ += length_symbol.extra_bits + distance_symbol.extra_bits;
  }

  // Writes the block in the form that takes the least room. `raw`: what the tokens stand for.
  void put_block(bit_stream& out, const unsigned char* raw, std::size_t raw_size,
                 bool is_last) noexcept {
    code_.literals.build(literal_counts_, huffman_max_length);
    code_.distances.build(distance_counts_, huffman_max_length);
    const deflate_head head(code_);
    const std::uint64_t own = head.bits() + body_bits(code_);
    const std::uint64_t fixed = body_bits(deflate_fixed);
    const unsigned padding = (0U - (out.bits_in_byte() + 3)) & 7U;
    const std::uint64_t stored = padding + 32 + 8 * std::uint64_t{raw_size};
    const std::uint32_t last = is_last ? 1 : 0;
    if (stored <= own && stored <= fixed) return put_stored(out, raw, raw_size, last);
    out.put(last | (fixed <= own ? 1U << 1 : 2U << 1), 3);
    if (fixed <= own) return put_body(out, deflate_fixed);
    head.put(out);
    put_body(out, code_);
  }

 private:
  std::uint64_t body_bits(const deflate_code& code) const noexcept {
    return code.literals.cost(literal_counts_) + code.distances.cost(distance_counts_) + extra_;
  }

  static void put_stored(bit_stream& out, const unsigned char* raw, std::size_t size,
                         std::uint32_t last) noexcept {
    const auto length = static_cast<std::uint32_t>(size);
    out.put(last, 3);
    out.pad_to_byte();
    out.put(length | ((~length & 0xffffU) << 16), 32);
    out.bytes(raw, size);
  }

  void put_body(bit_stream& out, const deflate_code& code) const noexcept {
    for (std::size_t i = 0; i < size_; ++i) {
      const std::uint16_t token = tokens_[i];
      if (token < 256) out.put(code.literals.bits[token], code.literals.length[token]);
      else put_match(out, code, token - 256U, tokens_[++i] + 1U);
    }
    out.put(code.literals.bits[deflate_end], code.literals.length[deflate_end]);
  }
  static void put_match(bit_stream& out, const deflate_code& code, std::uint32_t length,
                        std::uint32_t distance) noexcept {
    put_symbol(out, code.literals.bits, code.literals.length, deflate_lengths.of[length]);
    put_symbol(out, code.distances.bits, code.distances.length, deflate_distance(distance));
  }
  static void put_symbol(bit_stream& out, const std::uint16_t* bits, const std::uint8_t* lengths,
                         const deflate_symbol& s) noexcept {
    const unsigned length = lengths[s.symbol];
    out.put(bits[s.symbol] | std::uint32_t{s.extra} << length, length + s.extra_bits);
  }

  std::size_t size_ = 0;
  std::uint64_t extra_ = 0;
  std::uint16_t literal_counts_[288];
  std::uint16_t distance_counts_[32];
  deflate_code code_;
  std::uint16_t tokens_[deflate_block + 2];
};

PROF_DETAIL_END

#endif  // PROF_BASE_DEFLATE_HPP
