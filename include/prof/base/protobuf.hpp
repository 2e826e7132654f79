// prof/base/protobuf.hpp - the protocol-buffer wire format, write side.
// Floor 1 (base). Used by write/pprof.hpp.
// Safety: ordinary context; thread-compatible.
// Memory: one message at a time in an arena array; the caller empties it between messages.
// Source: protobuf.dev "Encoding" (varint, length-delimited, packed); proto3 leaves out fields
//         whose value is zero, which Go's writer does and strict readers expect.
#ifndef PROF_BASE_PROTOBUF_HPP
#define PROF_BASE_PROTOBUF_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

inline std::size_t varint_size(std::uint64_t value) noexcept {
  std::size_t n = 1;
  for (; value >= 0x80; value >>= 7) ++n;
  return n;
}

class protobuf_message {
 public:
  explicit protobuf_message(arena& memory) noexcept : bytes_(memory) {}

  void varint(std::uint64_t value) noexcept {
    char digits[10];
    std::size_t n = 0;
    for (; value >= 0x80; value >>= 7) digits[n++] = static_cast<char>(value | 0x80);
    digits[n++] = static_cast<char>(value);
    bytes_.append(digits, n);
  }
  void integer(unsigned field, std::uint64_t value) noexcept {
    if (value == 0) return;
    varint(std::uint64_t{field} << 3);
    varint(value);
  }
  void integer(unsigned field, std::int64_t value) noexcept {
    integer(field, static_cast<std::uint64_t>(value));
  }
  // Written even when empty: the first string of the string table must be there.
  void bytes(unsigned field, text_view value) noexcept {
    varint(std::uint64_t{field} << 3 | 2);
    varint(value.size);
    bytes_.append(value.data, value.size);
  }
  void message(unsigned field, const protobuf_message& nested) noexcept {
    bytes(field, nested.view());
  }
  // Packed repeated integers; zero elements are kept, an empty list is left out.
  template <class Integer>
  void packed(unsigned field, const Integer* values, std::size_t count) noexcept {
    if (count == 0) return;
    std::size_t size = 0;
    for (std::size_t i = 0; i < count; ++i) size += varint_size(static_cast<std::uint64_t>(values[i]));
    varint(std::uint64_t{field} << 3 | 2);
    varint(size);
    for (std::size_t i = 0; i < count; ++i) varint(static_cast<std::uint64_t>(values[i]));
  }

  text_view view() const noexcept { return {bytes_.data(), bytes_.size()}; }
  void clear() noexcept { bytes_.clear(); }

 private:
  arena_vector<char> bytes_;
};

PROF_DETAIL_END

#endif  // PROF_BASE_PROTOBUF_HPP
