// tests/unit/base/deflate_window_test.cpp - matches are found, also one byte later; the window slides.
// What a whole stream looks like is in gzip_test.cpp.

#include "prof/base/deflate_window.hpp"

#include <doctest/doctest.h>

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

}  // namespace

TEST_CASE("a longer match at the next byte is taken") {
  // "bcdefgh" is found one byte later than "abcd"; greedily it would be two matches.
  const std::string lazy = "abcd--bcdefgh--abcdefgh";
  const std::string never = "abcd--bcdefgh--abcdefg!";
  CHECK(block_of(lazy).size() <= block_of(never).size());
}

TEST_CASE("a window takes a block, slides, and remembers 32 KiB") {
  const auto window = std::make_unique<deflate_window>();
  const std::string input(deflate_block + 10, 'x');
  const auto* const bytes = reinterpret_cast<const unsigned char*>(input.data());
  for (int round = 0; round < 5; ++round) {
    CHECK_FALSE(window->full());
    CHECK(window->fill(bytes, input.size()) == deflate_block);
    CHECK(window->full());
    CHECK(window->fill(bytes, 1) == 0);
    CHECK(window->block_size() == deflate_block);
    CHECK(window->block()[deflate_block - 1] == 'x');
    window->next_block();
    CHECK(window->block_size() == 0);
  }
}
