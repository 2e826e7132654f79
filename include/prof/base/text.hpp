// prof/base/text.hpp - text without stdio, locale or allocation: views, numbers, bounded texts, output, UTF-8.
// Floor 2 (base). Used wherever there is text.
// Safety: ordinary context; thread-compatible. Views and number formatters are pure.
// Memory: a 512-byte buffer inside the writer; a bounded text is its own room.
// Source: printf is avoided because it may allocate and follows the host's locale.
#ifndef PROF_BASE_TEXT_HPP
#define PROF_BASE_TEXT_HPP

#include <cstring>

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// A borrowed run of characters. (std::string_view would pull <string_view> into every includer.)
struct text_view {
  const char* data = "";
  std::size_t size = 0;

  constexpr text_view() = default;
  constexpr text_view(const char* text, std::size_t length) : data(text), size(length) {}
  text_view(const char* text) : data(text), size(std::strlen(text)) {}

  bool equals(text_view other) const noexcept {
    return size == other.size && std::memcmp(data, other.data, size) == 0;
  }
  bool starts_with(text_view prefix) const noexcept {
    return size >= prefix.size && std::memcmp(data, prefix.data, prefix.size) == 0;
  }
  text_view from(std::size_t begin) const noexcept { return {data + begin, size - begin}; }
  // Position of the first `c`, or size.
  std::size_t find(char c) const noexcept {
    const void* const hit = size == 0 ? nullptr : std::memchr(data, c, size);
    return hit == nullptr ? size
                          : static_cast<std::size_t>(static_cast<const char*>(hit) - data);
  }
  // Position after the first newline, or size.
  std::size_t next_line() const noexcept {
    const std::size_t end = find('\n');
    return end == size ? size : end + 1;
  }
  std::size_t rfind(char c) const noexcept {
    for (std::size_t i = size; i-- > 0;) {
      if (data[i] == c) return i;
    }
    return size;
  }
};

// Writes the digits of a number; returns their count. `out` holds at least 20 characters.
inline std::size_t format_decimal(std::uint64_t value, char* out) noexcept {
  char reversed[20];
  std::size_t n = 0;
  do {
    reversed[n++] = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  for (std::size_t i = 0; i < n; ++i) out[i] = reversed[n - 1 - i];
  return n;
}

inline std::size_t format_hex(std::uint64_t value, char* out) noexcept {
  std::size_t n = 1;
  while (n < 16 && (value >> (4 * n)) != 0) ++n;
  for (std::size_t i = 0; i < n; ++i) {
    out[n - 1 - i] = "0123456789abcdef"[(value >> (4 * i)) & 15];
  }
  return n;
}

// Two digits a byte. `out` holds them all.
inline void format_hex_bytes(text_view bytes, char* out) noexcept {
  for (std::size_t i = 0; i < bytes.size; ++i) {
    const auto byte = static_cast<unsigned char>(bytes.data[i]);
    out[2 * i] = "0123456789abcdef"[byte >> 4];
    out[2 * i + 1] = "0123456789abcdef"[byte & 15];
  }
}

// Parses a decimal number that fills the whole view; false on anything else or on overflow.
inline bool parse_decimal(text_view text, std::uint64_t& value) noexcept {
  value = 0;
  for (std::size_t i = 0; i < text.size; ++i) {
    const char c = text.data[i];
    if (c < '0' || c > '9') return false;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (~std::uint64_t{0} - digit) / 10) return false;
    value = value * 10 + digit;
  }
  return text.size != 0;
}

// Reads hex digits from the front of a view and shortens it; returns 0 digits read as 0.
inline std::uint64_t take_hex(text_view& text) noexcept {
  std::uint64_t value = 0;
  while (text.size != 0) {
    const char c = text.data[0];
    unsigned digit = 0;
    if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F') digit = static_cast<unsigned>(c - 'A') + 10;
    else break;
    value = value << 4 | digit;
    text = text.from(1);
  }
  return value;
}

// ---- UTF-8 -------------------------------------------------------------------------------------

// Length of the well-formed sequence that a non-empty text begins with, or 0. The ranges are those of table 3-7 of
// the Unicode standard: no overlong forms, no surrogates, none past U+10FFFF.
inline std::size_t utf8_length(text_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text.data[i]); };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size < length) return 0;
  const unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
  const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return 0;
  }
  return length;
}

// Replaces every byte that is not part of valid UTF-8 by '?': some readers reject a whole profile over one.
inline void clean_utf8(char* text, std::size_t size) noexcept {
  for (std::size_t at = 0; at < size;) {
    const std::size_t length = utf8_length({text + at, size - at});
    if (length == 0) text[at] = '?';
    at += length == 0 ? 1 : length;
  }
}

// ---- bounded texts -----------------------------------------------------------------------------

// What all bounded texts share: appends what fits, and keeps the NUL behind it.
PROF_DETAIL_NOINLINE inline void append_bounded(char* room, std::size_t capacity, std::size_t& used,
                                                text_view text) noexcept {
  const std::size_t left = capacity - used - 1;
  const std::size_t n = text.size < left ? text.size : left;
  std::memcpy(room + used, text.data, n);
  used += n;
  room[used] = '\0';
}

// A text of at most Capacity - 1 characters that is put together; what does not fit is cut.
template <std::size_t Capacity>
class bounded_text {
 public:
  bounded_text() noexcept { room_[0] = '\0'; }
  bounded_text& put(text_view text) noexcept {
    append_bounded(room_, Capacity, used_, text);
    return *this;
  }
  bounded_text& decimal(std::uint64_t value) noexcept {
    char digits[20];
    return put({digits, format_decimal(value, digits)});
  }
  bounded_text& hex(std::uint64_t value) noexcept {
    char digits[16];
    return put("0x").put({digits, format_hex(value, digits)});
  }
  // "05"; of larger numbers all digits.
  bounded_text& two_digits(std::uint64_t value) noexcept { return put(value < 10 ? "0" : "").decimal(value); }
  void clear() noexcept {
    used_ = 0;
    room_[0] = '\0';
  }
  std::size_t size() const noexcept { return used_; }
  text_view view() const noexcept { return {room_, used_}; }
  const char* c_str() const noexcept { return room_; }

 private:
  char room_[Capacity];
  std::size_t used_ = 0;
};

// ---- output ------------------------------------------------------------------------------------

// A destination for bytes: a function and its context. False means stop.
struct output {
  bool (*write)(void* context, const void* data, std::size_t size);
  void* context;
};

class text_writer {
 public:
  explicit text_writer(output out) noexcept : out_(out) {}
  ~text_writer() { flush(); }
  text_writer(const text_writer&) = delete;
  text_writer& operator=(const text_writer&) = delete;

  // Not inline, nor are the others: pages and tables are hundreds of calls, and none of them is hot.
  PROF_DETAIL_NOINLINE text_writer& put(text_view text) noexcept {
    while (text.size != 0) {
      if (used_ == sizeof buffer_) flush();
      const std::size_t room = sizeof buffer_ - used_;
      const std::size_t n = text.size < room ? text.size : room;
      std::memcpy(buffer_ + used_, text.data, n);
      used_ += n;
      text = text.from(n);
    }
    return *this;
  }
  PROF_DETAIL_NOINLINE text_writer& decimal(std::uint64_t value) noexcept {
    char digits[20];
    return put({digits, format_decimal(value, digits)});
  }
  PROF_DETAIL_NOINLINE text_writer& signed_decimal(std::int64_t value) noexcept {
    if (value < 0) put("-");
    return decimal(value < 0 ? 0 - static_cast<std::uint64_t>(value)
                             : static_cast<std::uint64_t>(value));
  }
  PROF_DETAIL_NOINLINE text_writer& hex(std::uint64_t value) noexcept {
    char digits[16];
    return put("0x").put({digits, format_hex(value, digits)});
  }
  // value / 10^places with exactly `places` digits after the point.
  PROF_DETAIL_NOINLINE text_writer& fixed(std::int64_t value, unsigned places) noexcept {
    std::uint64_t unit = 1;
    for (unsigned i = 0; i < places; ++i) unit *= 10;
    const std::uint64_t magnitude = value < 0 ? 0 - static_cast<std::uint64_t>(value)
                                              : static_cast<std::uint64_t>(value);
    if (value < 0) put("-");
    decimal(magnitude / unit);
    if (places == 0) return *this;
    char digits[20];
    const std::size_t n = format_decimal(magnitude % unit + unit, digits);
    return put(".").put({digits + 1, n - 1});
  }
  // Control characters as `?`: a line break in a name would start a record.
  PROF_DETAIL_NOINLINE text_writer& printable(text_view text) noexcept {
    for (; text.size != 0; text = text.from(1)) {
      const auto byte = static_cast<unsigned char>(text.data[0]);
      put(byte < 0x20 || byte == 0x7f ? text_view("?", 1) : text_view(text.data, 1));
    }
    return *this;
  }
  PROF_DETAIL_NOINLINE text_writer& spaces(std::size_t count) noexcept {
    for (; count != 0; --count) put(" ");
    return *this;
  }
  bool flush() noexcept {
    if (used_ != 0 && ok_) ok_ = out_.write(out_.context, buffer_, used_);
    used_ = 0;
    return ok_;
  }

 private:
  output out_;
  std::size_t used_ = 0;
  bool ok_ = true;
  char buffer_[512];
};

PROF_DETAIL_END

#endif  // PROF_BASE_TEXT_HPP
