// prof/base/gzip.hpp - compresses a byte stream into one gzip member, in fixed memory.
// Floor 2 (base). Called by write/.
// Safety: not for signal handlers; thread-compatible (one object, one thread).
// Memory: everything inline in the object (about 233 KiB), never grows; place it in arena pages,
//         never on a stack. No allocation, no exceptions; of libc only memcpy and memset.
// Source: RFC 1952; Deflate: base/deflate.hpp and deflate_window.hpp; CRC by four tables: M. Kounavis and F. Berry,
//         "Novel Table Lookup-Based Algorithms for High-Performance CRC Generation" (2008).
#ifndef PROF_BASE_GZIP_HPP
#define PROF_BASE_GZIP_HPP

#include "prof/base/deflate_window.hpp"

PROF_DETAIL_BEGIN

// RFC 1952 section 8: the reflected polynomial 0xEDB88320. Table k: the byte is followed by k others.
struct gzip_crc_tables {
  std::uint32_t remainder[4][256];
};

constexpr gzip_crc_tables make_gzip_crc_tables() noexcept {
  gzip_crc_tables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t value = byte;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1U) != 0 ? 0xEDB88320U : 0U);
    tables.remainder[0][byte] = value;
  }
  for (std::size_t k = 1; k < 4; ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t before = tables.remainder[k - 1][byte];
      tables.remainder[k][byte] = (before >> 8) ^ tables.remainder[0][before & 0xffU];
    }
  }
  return tables;
}

inline constexpr gzip_crc_tables gzip_crc_remainders = make_gzip_crc_tables();

// The CRC-32 of what `crc` already covers followed by `size` bytes; start with 0.
inline std::uint32_t gzip_crc32(std::uint32_t crc, const unsigned char* data,
                                std::size_t size) noexcept {
  const auto& table = gzip_crc_remainders.remainder;
  crc = ~crc;
  for (; size >= 4; data += 4, size -= 4) {
    crc ^= std::uint32_t{data[0]} | std::uint32_t{data[1]} << 8 | std::uint32_t{data[2]} << 16 |
           std::uint32_t{data[3]} << 24;
    crc = table[3][crc & 0xffU] ^ table[2][crc >> 8 & 0xffU] ^ table[1][crc >> 16 & 0xffU] ^
          table[0][crc >> 24];
  }
  for (; size != 0; ++data, --size) crc = (crc >> 8) ^ table[0][(crc ^ *data) & 0xffU];
  return ~crc;
}

// write() any number of times, then finish() once and look at its answer: a refusal by write_fn
// sticks, and nothing more is sent. The bytes depend only on the input, not on how it was cut into
// writes.
class gzip_writer {
 public:
  using write_fn = bit_stream::write_fn;

  gzip_writer(write_fn send_bytes, void* context) noexcept : out_(send_bytes, context) {
    put_header();
  }
  gzip_writer(const gzip_writer&) = delete;
  gzip_writer& operator=(const gzip_writer&) = delete;

  bool write(const void* data, std::size_t size) noexcept {
    if (finished_ || !out_.ok()) return false;
    const auto* bytes = static_cast<const unsigned char*>(data);
    crc_ = gzip_crc32(crc_, bytes, size);
    input_size_ += static_cast<std::uint32_t>(size);
    while (size > 0) {
      // Only now, not when it became full: the last block must be known as the last.
      if (window_.full()) end_block(false);
      const std::size_t part = window_.fill(bytes, size);
      bytes += part;
      size -= part;
    }
    return out_.ok();
  }

  // Sends what is left and the trailer. Later calls repeat the answer; later writes are refused.
  [[nodiscard]] bool finish() noexcept {
    if (finished_ || !out_.ok()) return out_.ok();
    finished_ = true;
    end_block(true);
    out_.pad_to_byte();
    out_.put(crc_, 32);
    out_.put(input_size_, 32);
    return out_.flush();
  }

 private:
  void end_block(bool is_last) noexcept {
    tokens_.clear();
    window_.parse(tokens_);
    tokens_.put_block(out_, window_.block(), window_.block_size(), is_last);
    window_.next_block();
  }

  // Deflate, no flags, mtime 0, no extra flags, unknown system: equal input gives equal files.
  void put_header() noexcept {
    constexpr unsigned char header[10] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255};
    for (const unsigned char byte : header) out_.put(byte, 8);
  }

  std::uint32_t crc_ = 0;
  std::uint32_t input_size_ = 0;  // modulo 2^32, as the trailer wants it
  bool finished_ = false;
  bit_stream out_;
  deflate_window window_;
  deflate_tokens tokens_;
};

PROF_DETAIL_END

#endif  // PROF_BASE_GZIP_HPP
