// prof/base/gzip.hpp - compresses a byte stream into one gzip member, in fixed memory.
// Floor 1 (base). Called by write/.
// Safety: not for signal handlers; thread-compatible (one object, one thread).
// Memory: everything inline in the object (about 96 KiB), never grows; place it in arena pages,
//         never on a stack. No allocation, no exceptions; of libc only memcpy and memset.
// Source: RFC 1951, RFC 1952.

#ifndef PROF_BASE_GZIP_HPP
#define PROF_BASE_GZIP_HPP

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// RFC 1952 section 8: the reflected polynomial 0xEDB88320, one byte per step.
struct gzip_crc_table {
  std::uint32_t remainder[256];
};

constexpr gzip_crc_table make_gzip_crc_table() noexcept {
  gzip_crc_table table{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1U) != 0 ? 0xEDB88320U : 0U);
    table.remainder[byte] = value;
  }
  return table;
}

inline constexpr gzip_crc_table gzip_crc_remainders = make_gzip_crc_table();

// The CRC-32 of what `crc` already covers followed by `size` bytes; start with 0.
inline std::uint32_t gzip_crc32(std::uint32_t crc, const unsigned char* data,
                                std::size_t size) noexcept {
  crc = ~crc;
  for (std::size_t i = 0; i < size; ++i) {
    crc = (crc >> 8) ^ gzip_crc_remainders.remainder[(crc ^ data[i]) & 0xFFU];
  }
  return ~crc;
}

// One code as it goes into the bit stream: lowest bit first, extra bits already appended.
struct gzip_code {
  std::uint16_t bits;
  std::uint8_t count;
};

constexpr std::uint32_t gzip_reversed(std::uint32_t code, unsigned count) noexcept {
  std::uint32_t result = 0;
  for (unsigned i = 0; i < count; ++i) result |= ((code >> i) & 1U) << (count - 1 - i);
  return result;
}

// RFC 1951 section 3.2.6: the fixed code of a literal or length symbol (0 to 287).
constexpr gzip_code gzip_fixed_symbol(std::uint32_t symbol) noexcept {
  const bool is_long = symbol >= 144 && symbol < 256;
  const bool is_short = symbol >= 256 && symbol < 280;
  const unsigned count = is_long ? 9U : is_short ? 7U : 8U;
  const std::uint32_t code = symbol < 144 ? 0x30U + symbol
                             : is_long    ? 0x190U + (symbol - 144)
                             : is_short   ? symbol - 256
                                          : 0xC0U + (symbol - 280);
  return {static_cast<std::uint16_t>(gzip_reversed(code, count)), static_cast<std::uint8_t>(count)};
}

inline constexpr std::size_t gzip_min_match = 4;    // bytes; Deflate allows 3, but we hash 4
inline constexpr std::size_t gzip_max_match = 258;  // bytes; RFC 1951 section 3.2.5

// RFC 1951 section 3.2.5: symbol and extra bits of a match length (3 to 258). From 11 on, each
// power of two is divided among four symbols, so symbol and extra bits are cut out of length - 3.
constexpr gzip_code gzip_fixed_length(std::uint32_t length) noexcept {
  if (length == gzip_max_match) return gzip_fixed_symbol(285);
  const std::uint32_t offset = length - 3;
  unsigned extra = 0;
  while ((offset >> extra) >= 8) ++extra;
  const gzip_code symbol = gzip_fixed_symbol(257 + 4 * extra + (offset >> extra));
  const std::uint32_t low = offset & ((1U << extra) - 1U);
  return {static_cast<std::uint16_t>(symbol.bits | (low << symbol.count)),
          static_cast<std::uint8_t>(symbol.count + extra)};
}

struct gzip_code_tables {
  gzip_code literal[256];
  gzip_code length[gzip_max_match + 1];  // 0 to 2 unused
  std::uint8_t distance[30];             // five bits each
};

constexpr gzip_code_tables make_gzip_code_tables() noexcept {
  gzip_code_tables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) tables.literal[i] = gzip_fixed_symbol(i);
  for (std::uint32_t i = 3; i <= gzip_max_match; ++i) tables.length[i] = gzip_fixed_length(i);
  for (std::uint32_t i = 0; i < 30; ++i)
    tables.distance[i] = static_cast<std::uint8_t>(gzip_reversed(i, 5));
  return tables;
}

inline constexpr gzip_code_tables gzip_codes = make_gzip_code_tables();

// write() any number of times, then finish() once and look at its answer: a refusal by write_fn
// sticks, and nothing more is sent. The bytes depend only on the input, not on how it was cut into
// writes.
class gzip_writer {
 public:
  using write_fn = bool (*)(void* context, const void* data, std::size_t size);

  gzip_writer(write_fn send_bytes, void* context) noexcept;
  gzip_writer(const gzip_writer&) = delete;
  gzip_writer& operator=(const gzip_writer&) = delete;

  bool write(const void* data, std::size_t size) noexcept;

  // Sends what is left and the trailer. Later calls repeat the answer; later writes are refused.
  [[nodiscard]] bool finish() noexcept;

 private:
  enum class state : std::uint8_t { open, finished, failed };

  // Where the bit stream stands; kept to take back a block that came out larger than stored.
  struct position {
    std::uint64_t bits;
    unsigned bit_count;
    std::size_t out_used;
  };

  static constexpr std::size_t history_size = 32768;  // bytes; farthest distance in RFC 1951
  static constexpr std::size_t window_size = 2 * history_size;  // bytes; positions fit 16 bits
  static constexpr std::size_t block_size = 16384;   // bytes of input; divides history_size
  static constexpr std::size_t header_size = 10;     // bytes; RFC 1952 section 2.3
  static constexpr std::size_t stored_overhead = 5;  // bytes; block header, LEN and NLEN
  static constexpr std::size_t token_slack = 64;     // bytes; pending bits, one token, end code
  static constexpr std::size_t out_size = header_size + block_size + stored_overhead + token_slack;
  static constexpr unsigned hash_bits = 13;

  bool end_block(bool is_last) noexcept;
  bool encode_fixed(bool is_last) noexcept;
  bool encode_stored(bool is_last) noexcept;
  void slide() noexcept;

  std::size_t longest_match(std::size_t at, std::size_t& candidate) noexcept;
  std::size_t common_length(std::size_t earlier, std::size_t later) const noexcept;
  void remember(std::size_t first, std::size_t last) noexcept;
  std::uint16_t& hash_slot(std::size_t at) noexcept;

  void put_bits(std::uint32_t value, unsigned count) noexcept;
  void put_match(std::size_t length, std::size_t distance) noexcept;
  void put_header() noexcept;
  void put_trailer() noexcept;
  void move_whole_bytes() noexcept;
  void pad_to_byte() noexcept;

  bool flush() noexcept;
  bool send(const void* data, std::size_t size) noexcept;

  write_fn write_;
  void* context_;
  std::uint64_t bits_ = 0;  // not yet in out_, lowest first
  unsigned bit_count_ = 0;  // < 32 between calls
  std::uint32_t crc_ = 0;
  std::uint32_t input_size_ = 0;  // modulo 2^32, as the trailer wants it
  state state_ = state::open;
  std::size_t block_start_ = 0;  // in window_
  std::size_t filled_ = 0;       // in window_
  std::size_t out_used_ = 0;
  std::uint16_t last_seen_[std::size_t{1} << hash_bits];  // hash of four bytes -> latest position
  unsigned char window_[window_size];
  unsigned char out_[out_size];
};

inline gzip_writer::gzip_writer(write_fn send_bytes, void* context) noexcept
    : write_(send_bytes), context_(context) {
  // Zero is not "none" but position 0: every candidate is compared byte by byte before use.
  std::memset(last_seen_, 0, sizeof last_seen_);
  put_header();
}

inline bool gzip_writer::write(const void* data, std::size_t size) noexcept {
  if (state_ != state::open) return false;
  const auto* bytes = static_cast<const unsigned char*>(data);
  while (size > 0) {
    // Only now, not when it became full: the last block must be known as the last.
    if (filled_ == block_start_ + block_size && !end_block(false)) return false;
    const std::size_t room = block_start_ + block_size - filled_;
    const std::size_t part = size < room ? size : room;
    std::memcpy(window_ + filled_, bytes, part);
    crc_ = gzip_crc32(crc_, bytes, part);
    input_size_ += static_cast<std::uint32_t>(part);
    filled_ += part;
    bytes += part;
    size -= part;
  }
  return true;
}

inline bool gzip_writer::finish() noexcept {
  if (state_ != state::open) return state_ == state::finished;
  if (!end_block(true)) return false;
  put_trailer();
  if (!flush()) return false;
  state_ = state::finished;
  return true;
}

inline bool gzip_writer::end_block(bool is_last) noexcept {
  // The header may wait for the first block, so that a small profile is a single write.
  if (out_used_ > header_size && !flush()) return false;
  const position before{bits_, bit_count_, out_used_};
  if (!encode_fixed(is_last)) {
    bits_ = before.bits;
    bit_count_ = before.bit_count;
    out_used_ = before.out_used;
    if (!encode_stored(is_last)) return false;
  }
  block_start_ = filled_;
  if (filled_ == window_size) slide();
  return true;
}

// False, with the bit stream in disorder, as soon as the block is no smaller than a stored one.
inline bool gzip_writer::encode_fixed(bool is_last) noexcept {
  const std::size_t limit = out_used_ + (filled_ - block_start_) + stored_overhead;
  put_bits((is_last ? 1U : 0U) | (1U << 1), 3);
  for (std::size_t at = block_start_; at < filled_;) {
    if (out_used_ >= limit) return false;
    std::size_t candidate = 0;
    const std::size_t length = longest_match(at, candidate);
    if (length >= gzip_min_match) {
      put_match(length, at - candidate);
      remember(at + 1, at + length);
      at += length;
    } else {
      const gzip_code code = gzip_codes.literal[window_[at]];
      put_bits(code.bits, code.count);
      ++at;
    }
  }
  put_bits(0, 7);  // end of block, symbol 256
  move_whole_bytes();
  return out_used_ < limit;
}

inline bool gzip_writer::encode_stored(bool is_last) noexcept {
  const std::size_t size = filled_ - block_start_;
  const auto length = static_cast<std::uint32_t>(size);
  put_bits(is_last ? 1U : 0U, 3);
  pad_to_byte();
  put_bits(length | ((~length & 0xFFFFU) << 16), 32);
  move_whole_bytes();
  return flush() && send(window_ + block_start_, size);
}

// Keeps the latest history_size bytes and makes room for as many.
inline void gzip_writer::slide() noexcept {
  std::memcpy(window_, window_ + history_size, history_size);
  for (std::uint16_t& seen : last_seen_) {
    seen = static_cast<std::uint16_t>(seen >= history_size ? seen - history_size : 0U);
  }
  block_start_ -= history_size;
  filled_ -= history_size;
}

// The length of the match at `at` with the latest place of the same hash, or 0; notes `at` there.
inline std::size_t gzip_writer::longest_match(std::size_t at, std::size_t& candidate) noexcept {
  if (filled_ - at < gzip_min_match) return 0;
  std::uint16_t& slot = hash_slot(at);
  candidate = slot;
  slot = static_cast<std::uint16_t>(at);
  if (candidate >= at || at - candidate > history_size) return 0;
  const std::size_t length = common_length(candidate, at);
  return length >= gzip_min_match ? length : 0;
}

inline std::size_t gzip_writer::common_length(std::size_t earlier,
                                              std::size_t later) const noexcept {
  const std::size_t room = filled_ - later;
  const std::size_t limit = room < gzip_max_match ? room : gzip_max_match;
  std::size_t length = 0;
  while (length + 8 <= limit) {
    std::uint64_t a;
    std::uint64_t b;
    std::memcpy(&a, window_ + earlier + length, sizeof a);
    std::memcpy(&b, window_ + later + length, sizeof b);
    if (a != b) break;
    length += 8;
  }
  while (length < limit && window_[earlier + length] == window_[later + length]) ++length;
  return length;
}

// Notes the positions in [first, last) that have enough bytes behind them.
inline void gzip_writer::remember(std::size_t first, std::size_t last) noexcept {
  const std::size_t end =
      last + gzip_min_match <= filled_ + 1 ? last : filled_ + 1 - gzip_min_match;
  for (std::size_t at = first; at < end; ++at) hash_slot(at) = static_cast<std::uint16_t>(at);
}

// Multiplicative hashing (Knuth, 2^32 divided by the golden ratio); byte order fixed, so that every
// machine writes the same file.
inline std::uint16_t& gzip_writer::hash_slot(std::size_t at) noexcept {
  const unsigned char* p = window_ + at;
  const std::uint32_t four =
      static_cast<std::uint32_t>(p[0]) | (static_cast<std::uint32_t>(p[1]) << 8) |
      (static_cast<std::uint32_t>(p[2]) << 16) | (static_cast<std::uint32_t>(p[3]) << 24);
  return last_seen_[(four * 2654435769U) >> (32 - hash_bits)];
}

// At most 32 bits at a time. The caller sees to room in out_.
inline void gzip_writer::put_bits(std::uint32_t value, unsigned count) noexcept {
  bits_ |= static_cast<std::uint64_t>(value) << bit_count_;
  bit_count_ += count;
  if (bit_count_ < 32) return;
  unsigned char* p = out_ + out_used_;
  p[0] = static_cast<unsigned char>(bits_ & 0xFFU);
  p[1] = static_cast<unsigned char>((bits_ >> 8) & 0xFFU);
  p[2] = static_cast<unsigned char>((bits_ >> 16) & 0xFFU);
  p[3] = static_cast<unsigned char>((bits_ >> 24) & 0xFFU);
  out_used_ += 4;
  bits_ >>= 32;
  bit_count_ -= 32;
}

// RFC 1951 section 3.2.5: each power of two of distance - 1 is halved between two symbols.
inline void gzip_writer::put_match(std::size_t length, std::size_t distance) noexcept {
  const gzip_code code = gzip_codes.length[length];
  put_bits(code.bits, code.count);
  const auto offset = static_cast<std::uint32_t>(distance - 1);
  unsigned extra = 0;
  if (offset >= 4) extra = 30U - static_cast<unsigned>(__builtin_clz(offset));
  const std::uint32_t symbol = 2 * extra + (offset >> extra);
  const std::uint32_t low = offset & ((1U << extra) - 1U);
  put_bits(gzip_codes.distance[symbol] | (low << 5), 5 + extra);
}

// Deflate, no flags, mtime 0, no extra flags, unknown system: equal input gives equal files.
inline void gzip_writer::put_header() noexcept {
  constexpr unsigned char header[header_size] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255};
  std::memcpy(out_, header, header_size);
  out_used_ = header_size;
}

inline void gzip_writer::put_trailer() noexcept {
  pad_to_byte();
  put_bits(crc_, 32);
  put_bits(input_size_, 32);
  move_whole_bytes();
}

inline void gzip_writer::move_whole_bytes() noexcept {
  for (; bit_count_ >= 8; bit_count_ -= 8, bits_ >>= 8) {
    out_[out_used_++] = static_cast<unsigned char>(bits_ & 0xFFU);
  }
}

inline void gzip_writer::pad_to_byte() noexcept {
  put_bits(0, (0U - bit_count_) & 7U);
}

inline bool gzip_writer::flush() noexcept {
  const std::size_t size = out_used_;
  out_used_ = 0;
  return size == 0 || send(out_, size);
}

inline bool gzip_writer::send(const void* data, std::size_t size) noexcept {
  if (write_(context_, data, size)) return true;
  state_ = state::failed;
  return false;
}

PROF_DETAIL_END

#endif  // PROF_BASE_GZIP_HPP
