// tests/unit/base/text_test.cpp - views, number formats and the buffered writer.

#include "prof/base/text.hpp"

#include <doctest/doctest.h>

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>

namespace {

using prof::detail::format_decimal;
using prof::detail::format_hex;
using prof::detail::output;
using prof::detail::parse_decimal;
using prof::detail::take_hex;
using prof::detail::text_view;
using prof::detail::text_writer;

// Appends to a string; refuses once `room` calls were taken.
struct receiver {
  std::string text{};
  int room = 1000;
  int calls = 0;

  static bool write(void* context, const void* data, std::size_t size) {
    receiver& self = *static_cast<receiver*>(context);
    ++self.calls;
    if (self.room-- <= 0) return false;
    self.text.append(static_cast<const char*>(data), size);
    return true;
  }
  output out() { return {write, this}; }
};

constexpr std::uint64_t edges[] = {0,
                                   1,
                                   9,
                                   10,
                                   15,
                                   16,
                                   99,
                                   100,
                                   4294967295U,
                                   4294967296U,
                                   std::uint64_t{1} << 60,
                                   9999999999999999999U,
                                   10000000000000000000U,
                                   std::numeric_limits<std::uint64_t>::max()};

template <class Put>
std::string written(Put put) {
  receiver taken;
  {
    text_writer writer(taken.out());
    put(writer);
  }
  return taken.text;
}

}  // namespace

TEST_CASE("bytes have two digits each") {
    char digits[6];
    prof::detail::format_hex_bytes({"\x00\x9f\xff", 3}, digits);
    CHECK(std::string(digits, 6) == "009fff");
}

TEST_CASE("views compare, cut and find") {
  const text_view path("/usr/lib/libc.so");
  CHECK(path.size == 16);
  CHECK(path.equals({"/usr/lib/libc.so.6", 16}));
  CHECK_FALSE(path.equals("/usr/lib/libc.sp"));
  CHECK_FALSE(path.equals("/usr/lib/libc.s"));
  CHECK(path.starts_with("/usr"));
  CHECK(path.starts_with(""));
  CHECK_FALSE(path.starts_with("/usr/lib/libc.so.6"));
  CHECK(path.find('/') == 0);
  CHECK(path.rfind('/') == 8);
  CHECK(path.find('#') == path.size);
  CHECK(path.rfind('#') == path.size);
  CHECK(path.from(9).equals("libc.so"));
  CHECK(path.from(16).size == 0);
  CHECK(text_view().equals(""));
  CHECK(text_view().find('a') == 0);
}

TEST_CASE("next_line steps through a text whether or not it ends in a newline") {
  text_view text("ab\n\ncd");
  CHECK(text.next_line() == 3);
  text = text.from(3);
  CHECK(text.next_line() == 1);
  text = text.from(1);
  CHECK(text.next_line() == 2);
  text = text.from(2);
  CHECK(text.next_line() == 0);
}

TEST_CASE("numbers are formatted as printf does") {
  for (const std::uint64_t number : edges) {
    char ours[20];
    char theirs[24];
    std::snprintf(theirs, sizeof theirs, "%" PRIu64, number);
    CHECK(std::string(ours, format_decimal(number, ours)) == theirs);
    std::snprintf(theirs, sizeof theirs, "%" PRIx64, number);
    CHECK(std::string(ours, format_hex(number, ours)) == theirs);
  }
}

TEST_CASE("decimals are parsed whole or not at all") {
  for (const std::uint64_t number : edges) {
    std::uint64_t read = 1;
    CHECK(parse_decimal(std::to_string(number).c_str(), read));
    CHECK(read == number);
  }
  std::uint64_t read = 0;
  CHECK(parse_decimal("007", read));
  CHECK(read == 7);
  for (const char* wrong : {"", " 1", "1 ", "-1", "+1", "0x1", "1.0", "18446744073709551616",
                            "99999999999999999999", "184467440737095516150"}) {
    INFO(wrong);
    CHECK_FALSE(parse_decimal(wrong, read));
  }
}

TEST_CASE("take_hex eats digits of both cases and nothing else") {
  text_view text("7fFf0a-123 x");
  CHECK(take_hex(text) == 0x7fff0a);
  CHECK(text.equals("-123 x"));
  CHECK(take_hex(text) == 0);
  CHECK(text.equals("-123 x"));
  text = text.from(1);
  CHECK(take_hex(text) == 0x123);
  text_view whole("ffffffffffffffff");
  CHECK(take_hex(whole) == std::numeric_limits<std::uint64_t>::max());
  CHECK(whole.size == 0);
}

TEST_CASE("the writer formats and chains") {
  CHECK(written([](text_writer& out) { out.put("a").decimal(7).put("b").hex(255); }) == "a7b0xff");
  CHECK(written([](text_writer& out) { out.signed_decimal(-5).put(" ").signed_decimal(5); }) ==
        "-5 5");
  CHECK(written([](text_writer& out) {
          out.signed_decimal(std::numeric_limits<std::int64_t>::min());
        }) == "-9223372036854775808");
  CHECK(written([](text_writer& out) { out.put("[").spaces(3).put("]").spaces(0); }) == "[   ]");
}

TEST_CASE("fixed keeps all its places") {
  const auto fixed = [](std::int64_t value, unsigned places) {
    return written([&](text_writer& out) { out.fixed(value, places); });
  };
  CHECK(fixed(0, 2) == "0.00");
  CHECK(fixed(5, 2) == "0.05");
  CHECK(fixed(-5, 2) == "-0.05");
  CHECK(fixed(12345, 2) == "123.45");
  CHECK(fixed(12300, 2) == "123.00");
  CHECK(fixed(12345, 0) == "12345");
  CHECK(fixed(1000000001, 9) == "1.000000001");
  CHECK(fixed(std::numeric_limits<std::int64_t>::min(), 3) == "-9223372036854775.808");
}

TEST_CASE("text longer than the buffer arrives whole and in few calls") {
  std::string wanted;
  receiver taken;
  {
    text_writer writer(taken.out());
    for (std::size_t n = 0; n < 200; ++n) {
      const std::string piece(n * 13 % 1200, static_cast<char>('a' + n % 26));
      writer.put({piece.data(), piece.size()});
      wanted += piece;
    }
  }
  CHECK(taken.text == wanted);
  CHECK(static_cast<std::size_t>(taken.calls) <= wanted.size() / 512 + 1);
}

TEST_CASE("flush tells whether all was taken, and nothing follows a refusal") {
  receiver taken;
  taken.room = 1;
  {
    text_writer writer(taken.out());
    writer.put("first");
    CHECK(writer.flush());
    CHECK(writer.flush());
    CHECK(taken.calls == 1);
    writer.put("second");
    CHECK_FALSE(writer.flush());
    writer.put("third");
    CHECK_FALSE(writer.flush());
  }
  CHECK(taken.text == "first");
  CHECK(taken.calls == 2);
}

// ---- bounded texts ----

TEST_CASE("a bounded text takes what fits, to its last byte, and ends in a NUL") {
  prof::detail::bounded_text<8> text;
  CHECK(text.size() == 0);
  CHECK(std::string(text.c_str()).empty());
  text.put("abc").put("");
  CHECK(std::string(text.c_str()) == "abc");
  text.put("defghi");
  CHECK(std::string(text.c_str()) == "abcdefg");
  text.put("j").decimal(5);
  CHECK(text.view().equals("abcdefg"));
  text.clear();
  CHECK(text.two_digits(7).put("-").decimal(120).view().equals("07-120"));
  const prof::detail::bounded_text<8> copy = text;
  text.clear();
  CHECK(copy.view().equals("07-120"));
}

// ---- UTF-8 ----

TEST_CASE("bytes that are no UTF-8 become question marks, and only they") {
  const auto cleaned = [](std::string text) {
    prof::detail::clean_utf8(&text[0], text.size());
    return text;
  };
  CHECK(cleaned("plain") == "plain");
  CHECK(cleaned("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80") == "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
  CHECK(cleaned("a\xff" "b") == "a?b");
  CHECK(cleaned("\xc0\x80") == "??");          // longer than needed
  CHECK(cleaned("\xed\xa0\x80") == "???");     // a surrogate
  CHECK(cleaned("\xf4\x90\x80\x80") == "????");  // above U+10FFFF
  CHECK(cleaned("\xe2\x82") == "??");          // cut short
}
