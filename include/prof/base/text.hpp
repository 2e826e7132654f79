// prof/base/text.hpp - text output without stdio, locale or allocation; string views.
// Floor 2 (base). Used by writers, pages and the index.
// Safety: ordinary context; thread-compatible. The number formatters are pure.
// Memory: a 512-byte buffer inside the writer.
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

  text_writer& put(text_view text) noexcept {
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
  text_writer& decimal(std::uint64_t value) noexcept {
    char digits[20];
    return put({digits, format_decimal(value, digits)});
  }
  text_writer& signed_decimal(std::int64_t value) noexcept {
    if (value < 0) put("-");
    return decimal(value < 0 ? 0 - static_cast<std::uint64_t>(value)
                             : static_cast<std::uint64_t>(value));
  }
  text_writer& hex(std::uint64_t value) noexcept {
    char digits[16];
    return put("0x").put({digits, format_hex(value, digits)});
  }
  // value / 10^places with exactly `places` digits after the point.
  text_writer& fixed(std::int64_t value, unsigned places) noexcept {
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
  text_writer& printable(text_view text) noexcept {
    for (; text.size != 0; text = text.from(1)) {
      const auto byte = static_cast<unsigned char>(text.data[0]);
      put(byte < 0x20 || byte == 0x7f ? text_view("?", 1) : text_view(text.data, 1));
    }
    return *this;
  }
  text_writer& spaces(std::size_t count) noexcept {
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
