// tests/unit/base/deflate_test.cpp - symbols of lengths and distances, bits, forms of blocks.
// What a whole stream looks like is in gzip_test.cpp.

#include "prof/base/deflate.hpp"

#include "prof/base/deflate_window.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

namespace {

using namespace prof::detail;

bool append(void* context, const void* data, std::size_t size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  return true;
}

// A block of one text as one stream, with the parser's tokens.
std::string block_of(const std::string& text) {
  std::string bytes;
  const auto window = std::make_unique<deflate_window>();
  const auto tokens = std::make_unique<deflate_tokens>();
  const auto out = std::make_unique<bit_stream>(append, &bytes);
  REQUIRE(window->fill(reinterpret_cast<const unsigned char*>(text.data()), text.size()) ==
          text.size());
  tokens->clear();
  window->parse(*tokens);
  tokens->put_block(*out, window->block(), window->block_size(), true);
  out->pad_to_byte();
  REQUIRE(out->flush());
  return bytes;
}

int form_of(const std::string& block) { return block[0] >> 1 & 3; }

}  // namespace

TEST_CASE("lengths and distances have the symbols and extra bits of RFC 1951") {
  struct row {
    std::uint32_t number;
    unsigned symbol, extra_bits, extra;
  };
  for (const row& r : {row{3, 257, 0, 0}, {10, 264, 0, 0}, {11, 265, 1, 0}, {12, 265, 1, 1},
                       {13, 266, 1, 0}, {34, 272, 2, 3}, {35, 273, 3, 0}, {114, 279, 4, 15},
                       {115, 280, 4, 0}, {131, 281, 5, 0}, {257, 284, 5, 30}, {258, 285, 0, 0}}) {
    const deflate_symbol s = deflate_lengths.of[r.number];
    CHECK(s.symbol == r.symbol);
    CHECK(s.extra_bits == r.extra_bits);
    CHECK(s.extra == r.extra);
  }
  for (const row& r : {row{1, 0, 0, 0}, {4, 3, 0, 0}, {5, 4, 1, 0}, {8, 5, 1, 1}, {9, 6, 2, 0},
                       {24576, 28, 13, 8191}, {24577, 29, 13, 0}, {32768, 29, 13, 8191}}) {
    const deflate_symbol s = deflate_distance(r.number);
    CHECK(s.symbol == r.symbol);
    CHECK(s.extra_bits == r.extra_bits);
    CHECK(s.extra == r.extra);
  }
}

TEST_CASE("the fixed code is that of RFC 1951") {
  CHECK(deflate_fixed.literals.length[143] == 8);
  CHECK(deflate_fixed.literals.bits[0] == huffman_reversed(0x30, 8));
  CHECK(deflate_fixed.literals.bits[143] == huffman_reversed(0xbf, 8));
  CHECK(deflate_fixed.literals.bits[144] == huffman_reversed(0x190, 9));
  CHECK(deflate_fixed.literals.bits[256] == 0);
  CHECK(deflate_fixed.literals.length[256] == 7);
  CHECK(deflate_fixed.literals.bits[287] == huffman_reversed(0xc7, 8));
  CHECK(deflate_fixed.distances.bits[29] == huffman_reversed(29, 5));
}

TEST_CASE("bits go out lowest first, in pieces, and a refusal sticks") {
  std::string bytes;
  bit_stream out(append, &bytes);
  out.put(1, 1);
  out.put(0x2a, 6);
  CHECK(out.bits_in_byte() == 7);
  out.put(0xffffffff, 32);
  out.pad_to_byte();
  CHECK(out.flush());
  CHECK(bytes == std::string("\xd5\xff\xff\xff\x7f", 5));
  for (std::uint32_t i = 0; i < 20000; ++i) out.put(i, 32);
  CHECK(out.flush());
  REQUIRE(bytes.size() == 5 + 80000);
  std::uint32_t last = 0;
  std::memcpy(&last, bytes.data() + bytes.size() - 4, 4);
  CHECK(last == 19999);

  int calls = 0;
  bit_stream refused([](void* context, const void*, std::size_t) {
    ++*static_cast<int*>(context);
    return false;
  }, &calls);
  for (std::uint32_t i = 0; i < 20000; ++i) refused.put(i, 32);
  CHECK_FALSE(refused.flush());
  CHECK_FALSE(refused.ok());
  CHECK(calls == 1);
}

TEST_CASE("each block takes the form that is smallest") {
  std::string text;
  for (int i = 0; i < 300; ++i) text += "entry " + std::to_string(i * i) + ", ";
  std::string noise;
  std::uint64_t state = 5;
  for (int i = 0; i < 300; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    noise += static_cast<char>(state >> 56);
  }
  CHECK(form_of(block_of(noise)) == 0);
  CHECK(block_of(noise).size() == noise.size() + 5);
  CHECK(form_of(block_of("short")) == 1);
  CHECK(form_of(block_of(text)) == 2);
  CHECK(block_of(text).size() < text.size() / 2);
  CHECK(block_of("") == std::string("\x03\x00", 2));
}
