// prof/base/byte_reader.hpp - reads numbers as DWARF stores them, from bytes that nobody vouches for.
// Floor 2 (base). Used by unwind/ (call frame information) and symbol/ (debug information).
// Safety: async-signal-safe: reads only the bytes it is given; every loop is bounded by them.
// Memory: none.
// Source: DWARF 5 section 7.6 (LEB128).
#ifndef PROF_BASE_BYTE_READER_HPP
#define PROF_BASE_BYTE_READER_HPP

#include <cstring>

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// A position in a run of bytes. Reading past the end gives zeros and sets bad(). The bytes may be a copy; then `moved` is
// to be added for the address of what was copied.
class byte_reader {
 public:
  byte_reader() = default;
  byte_reader(const unsigned char* begin, const unsigned char* end, std::uintptr_t moved = 0) PROF_DETAIL_SIG
      : at_(begin), end_(end), moved_(moved) {}

  const unsigned char* at() const PROF_DETAIL_SIG { return at_; }
  std::uintptr_t address() const PROF_DETAIL_SIG { return reinterpret_cast<std::uintptr_t>(at_) + moved_; }
  bool bad() const PROF_DETAIL_SIG { return bad_; }
  bool empty() const PROF_DETAIL_SIG { return at_ == end_; }
  std::size_t left() const PROF_DETAIL_SIG { return static_cast<std::size_t>(end_ - at_); }

  void skip(std::uint64_t bytes) PROF_DETAIL_SIG {
    if (bytes > left()) fail();
    else at_ += bytes;
  }
  template <class Integer>
  Integer fixed() PROF_DETAIL_SIG {
    Integer value = 0;
    if (left() < sizeof value) {
      fail();
      return 0;
    }
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::uint8_t next_byte() PROF_DETAIL_SIG { return fixed<std::uint8_t>(); }

  std::uint64_t uleb() PROF_DETAIL_SIG { return at_ != end_ && *at_ < 0x80 ? *at_++ : leb128(false); }
  std::int64_t sleb() PROF_DETAIL_SIG { return static_cast<std::int64_t>(leb128(true)); }
  // The rest as a reader of its own, at most `bytes` long.
  byte_reader part(std::uint64_t bytes) PROF_DETAIL_SIG {
    if (bytes > left()) fail();
    const byte_reader inner(at_, bad_ ? at_ : at_ + bytes, moved_);
    skip(inner.left());
    return inner;
  }

 private:
  // Who looks at one number again and again must not pay for all the bytes that it may be padded with.
  static constexpr unsigned max_leb_bits = 32 * 7;

  std::uint64_t leb128(bool is_signed) PROF_DETAIL_SIG {
    std::uint64_t value = 0;
    unsigned shift = 0;
    std::uint8_t byte = 0x80;
    while ((byte & 0x80) != 0 && !bad_) {
      if (shift == max_leb_bits) fail();
      byte = next_byte();
      if (shift < 64) value |= std::uint64_t{byte & 0x7fu} << shift;
      shift += 7;
    }
    if (is_signed && (byte & 0x40) != 0 && shift < 64) value |= ~std::uint64_t{0} << shift;
    return value;
  }
  void fail() PROF_DETAIL_SIG {
    bad_ = true;
    at_ = end_;
  }
  const unsigned char* at_ = nullptr;
  const unsigned char* end_ = nullptr;
  std::uintptr_t moved_ = 0;
  bool bad_ = false;
};

PROF_DETAIL_END

#endif  // PROF_BASE_BYTE_READER_HPP
