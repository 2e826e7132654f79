// prof/base/protobuf.hpp - the protocol-buffer wire format, write side.
// Floor 2 (base). Used by write/pprof.hpp.
// Safety: ordinary context; thread-compatible.
// Memory: one message at a time in an arena array; the caller empties it between messages.
// Source: protobuf.dev "Encoding" (varint, length-delimited, packed); proto3 leaves out fields
//         whose value is zero, which Go's writer does and strict readers expect.
#ifndef PROF_BASE_PROTOBUF_HPP
#define PROF_BASE_PROTOBUF_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t max_varint = 10;

// Writes up to max_varint bytes; returns the end.
inline char* put_varint(char* at, std::uint64_t value) noexcept {
  for (; value >= 0x80; value >>= 7) *at++ = static_cast<char>(value | 0x80);
  *at++ = static_cast<char>(value);
  return at;
}

class protobuf_message {
 public:
  explicit protobuf_message(arena& memory) noexcept : bytes_(memory) {}

  void integer(unsigned field, std::uint64_t value) noexcept {
    if (value == 0) return;
    varints(std::uint64_t{field} << 3, value);
  }
  void integer(unsigned field, std::int64_t value) noexcept {
    integer(field, static_cast<std::uint64_t>(value));
  }
  // Written even when empty: the first string of the string table must be there.
  void bytes(unsigned field, text_view value) noexcept {
    varints(std::uint64_t{field} << 3 | 2, value.size);
    bytes_.append(value.data, value.size);
  }
  void message(unsigned field, const protobuf_message& nested) noexcept {
    bytes(field, nested.view());
  }

  text_view view() const noexcept { return {bytes_.data(), bytes_.size()}; }
  void clear() noexcept { bytes_.clear(); }

  // Packed repeated integers: value_of(0) to value_of(count - 1). Zeros are kept, an empty list is left
  // out.
  template <class ValueOf>
  void packed(unsigned field, std::size_t count, ValueOf value_of) noexcept {
    pack(field, count, [&](char* at, std::size_t i) { return put_varint(at, value_of(i)); });
  }
  // The same of ids, which are never zero: zeros are left out.
  template <class IdOf>
  void packed_ids(unsigned field, std::size_t count, IdOf id_of) noexcept {
    pack(field, count, [&](char* at, std::size_t i) {
      const std::uint64_t id = id_of(i);
      return id == 0 ? at : put_varint(at, id);
    });
  }

 private:
  // The length stands before the body and is known after it: one byte is left for it, and a body of
  // 128 bytes or more moves.
  template <class Put>
  void pack(unsigned field, std::size_t count, Put put) noexcept {
    char* const start = bytes_.room((count + 2) * max_varint);
    if (start == nullptr) return;
    char* const body = put_varint(start, std::uint64_t{field} << 3 | 2) + 1;
    char* at = body;
    for (std::size_t i = 0; i < count; ++i) at = put(at, i);
    if (at != body) finish_packed(start, body, at);
  }
  PROF_DETAIL_NOINLINE void finish_packed(char* start, char* body, char* end) noexcept {
    const auto size = static_cast<std::size_t>(end - body);
    char length[max_varint];
    const auto digits = static_cast<std::size_t>(put_varint(length, size) - length);
    if (digits > 1) std::memmove(body - 1 + digits, body, size);
    std::memcpy(body - 1, length, digits);
    bytes_.take(static_cast<std::size_t>(body - start) - 1 + digits + size);
  }

  PROF_DETAIL_NOINLINE void varints(std::uint64_t tag, std::uint64_t value) noexcept {
    char* const begin = bytes_.room(2 * max_varint);
    if (begin == nullptr) return;
    bytes_.take(static_cast<std::size_t>(put_varint(put_varint(begin, tag), value) - begin));
  }

  arena_vector<char> bytes_;
};

PROF_DETAIL_END

#endif  // PROF_BASE_PROTOBUF_HPP
