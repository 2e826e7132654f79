// tests/fuzz/gzip_fuzz.cpp - whatever is compressed comes back from an inflater that shares no line
// with prof; the file does not depend on how the input was cut into writes, and is never larger
// than the input, 0.1 % and 64 bytes.
//
// The input is a small program that builds what is compressed: libFuzzer's inputs are short, and
// matches, full blocks and slides of the window need tens of KiB.

#include "prof/base/gzip.hpp"

#include "../unit/base/inflate.hpp"
#include "fuzz.hpp"

#include <memory>

namespace {

using plain_gzip::bytes;
using prof::detail::gzip_writer;

constexpr std::size_t size_limit = 100000;  // a slide of the window needs 65,536

// Linear congruential (Knuth): bytes that do not compress.
void add_noise(bytes& to, std::size_t size, std::uint32_t seed) {
  for (; size != 0; --size) {
    seed = seed * 1664525U + 1013904223U;
    to.push_back(static_cast<unsigned char>(seed >> 24));
  }
}

void add_copy(bytes& to, std::size_t size, std::size_t distance) {
  if (distance > to.size()) return;
  for (; size != 0; --size) to.push_back(to[to.size() - distance]);
}

void add_text(bytes& to, fuzz::text_view text) {
  to.insert(to.end(), text.data, text.data + text.size);
}

bytes build_input(fuzz::source& in) {
  bytes built;
  while (!in.empty() && built.size() < size_limit) {
    const unsigned what = in.byte();
    const unsigned count = what >> 2;
    switch (what & 3) {
      case 0: add_text(built, in.text(count + 1)); break;
      case 1: add_copy(built, count * count + 3, in.number<std::uint16_t>() + 1U); break;
      case 2: add_noise(built, count * count * 4, in.byte()); break;
      default: built.insert(built.end(), count * count, in.byte());
    }
  }
  return built;
}

bool receive(void* context, const void* data, std::size_t size) {
  const auto* const first = static_cast<const unsigned char*>(data);
  auto& file = *static_cast<bytes*>(context);
  file.insert(file.end(), first, first + size);
  return true;
}

// Writes of these sizes, again and again; empty ones between them are allowed.
bytes compress(const bytes& input, const std::vector<std::size_t>& sizes) {
  bytes file;
  const auto writer = std::make_unique<gzip_writer>(receive, &file);
  std::size_t at = 0;
  for (std::size_t turn = 0; at < input.size(); ++turn) {
    const std::size_t left = input.size() - at;
    const std::size_t wanted = sizes[turn % sizes.size()];
    const std::size_t size = wanted < left ? wanted : left;
    FUZZ_REQUIRE(writer->write(input.data() + at, size));
    at += size;
  }
  FUZZ_REQUIRE(writer->finish());
  return file;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source in(data, size);
  std::vector<std::size_t> sizes(in.byte() % 8);
  for (std::size_t& one : sizes) one = in.number<std::uint16_t>();
  sizes.push_back(1000);  // so that they do not sum to nothing
  const bytes input = build_input(in);

  const bytes file = compress(input, sizes);
  const plain_gzip::unpacked back = plain_gzip::gunzip(file);
  FUZZ_REQUIRE(back.ok);
  FUZZ_REQUIRE(back.data == input);
  FUZZ_REQUIRE(file == compress(input, {input.size()}));
  FUZZ_REQUIRE(file.size() <= input.size() + input.size() / 1000 + 64);
  return 0;
}
