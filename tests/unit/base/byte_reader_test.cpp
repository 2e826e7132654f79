// tests/unit/base/byte_reader_test.cpp - numbers and parts of bytes that end too early, or never.

#include "prof/base/byte_reader.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

namespace {

using namespace prof::detail;

byte_reader reader(const std::vector<unsigned char>& bytes) { return {bytes.data(), bytes.data() + bytes.size()}; }

TEST_CASE("fixed numbers are read in the machine's order, and zero past the end") {
  const std::vector<unsigned char> bytes = {0x34, 0x12, 0xff, 7, 8, 9};
  byte_reader from = reader(bytes);
  CHECK(from.fixed<std::uint16_t>() == 0x1234);
  CHECK(from.next_byte() == 0xff);
  CHECK(from.left() == 3);
  CHECK_FALSE(from.bad());
  CHECK(from.fixed<std::uint32_t>() == 0);
  CHECK(from.bad());
  CHECK(from.empty());
  CHECK(from.next_byte() == 0);
}

TEST_CASE("LEB128 of one byte and of many, with and without a sign") {
  const std::vector<unsigned char> bytes = {0x7f, 0xe5, 0x8e, 0x26, 0x7f, 0x80, 0x7f, 0x3f};
  byte_reader from = reader(bytes);
  CHECK(from.uleb() == 127);
  CHECK(from.uleb() == 624485);
  CHECK(from.sleb() == -1);
  CHECK(from.sleb() == -128);
  CHECK(from.sleb() == 63);
  CHECK(from.empty());
  CHECK_FALSE(from.bad());
}

TEST_CASE("LEB128 of all 64 bits, and of more than fit") {
  const std::vector<unsigned char> all = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
  CHECK(reader(all).uleb() == ~std::uint64_t{0});
  std::vector<unsigned char> least = {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f};
  CHECK(reader(least).sleb() == INT64_MIN);
  std::vector<unsigned char> padded(31, 0x80);
  padded[0] = 0x85;
  padded.push_back(0x00);
  byte_reader from = reader(padded);
  CHECK(from.uleb() == 5);
  CHECK(from.empty());
  CHECK_FALSE(from.bad());
}

TEST_CASE("LEB128 of more bytes than anybody pads with is none") {
  std::vector<unsigned char> padded(32, 0x80);
  padded.push_back(0x00);
  for (const bool is_signed : {false, true}) {
    byte_reader from = reader(padded);
    if (is_signed) from.sleb();
    else from.uleb();
    CHECK(from.bad());
  }
}

TEST_CASE("LEB128 without an end") {
  const std::vector<unsigned char> bytes(100, 0xff);
  byte_reader from = reader(bytes);
  from.uleb();
  CHECK(from.bad());
  CHECK(from.empty());
  byte_reader with_sign = reader(bytes);
  with_sign.sleb();
  CHECK(with_sign.bad());
}

TEST_CASE("what is skipped must be there") {
  const std::vector<unsigned char> bytes(4, 1);
  byte_reader from = reader(bytes);
  from.skip(4);
  CHECK(from.empty());
  CHECK_FALSE(from.bad());
  from = reader(bytes);
  from.skip(~std::uint64_t{0});
  CHECK(from.bad());
  CHECK(from.empty());
}

TEST_CASE("a part ends before the whole, and one that is too long is empty") {
  const std::vector<unsigned char> bytes = {1, 2, 3, 4};
  byte_reader from = reader(bytes);
  byte_reader inner = from.part(2);
  CHECK(inner.left() == 2);
  CHECK(from.next_byte() == 3);
  CHECK(inner.next_byte() == 1);
  byte_reader none = from.part(2);
  CHECK(none.empty());
  CHECK(from.bad());
}

TEST_CASE("addresses of a copy are those of what was copied") {
  const std::vector<unsigned char> bytes = {1, 2, 3};
  const auto at = reinterpret_cast<std::uintptr_t>(bytes.data());
  byte_reader from(bytes.data(), bytes.data() + 3, 0x1000 - at);
  CHECK(from.address() == 0x1000);
  from.skip(1);
  CHECK(from.address() == 0x1001);
  CHECK(from.part(1).address() == 0x1001);
}

TEST_CASE("no bytes at all") {
  byte_reader from;
  CHECK(from.empty());
  CHECK(from.uleb() == 0);
  CHECK(from.bad());
}

}  // namespace
