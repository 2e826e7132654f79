// tests/unit/base/gzip_test.cpp - gzip_writer against an inflater that shares no line with it.

#include "prof/base/gzip.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "inflate.hpp"

namespace {

using plain_gzip::bytes;
using plain_gzip::gunzip;
using plain_gzip::inflater;
using plain_gzip::unpacked;
using prof::detail::gzip_writer;

static_assert(sizeof(gzip_writer) <= 240 * 1024, "its user plans for 240 KiB of arena");
static_assert(!std::is_copy_constructible<gzip_writer>::value, "it is not copied by accident");
static_assert(std::is_trivially_destructible<gzip_writer>::value,
              "arena pages are dropped, not destroyed");

// ---- the writer's side ----

struct collector {
  bytes data{};
  int calls = 0;
  int refuse_from = -1;  // which call, counted from 0, is the first to be refused

  static bool receive(void* context, const void* data, std::size_t size) {
    auto& self = *static_cast<collector*>(context);
    if (self.refuse_from >= 0 && self.calls++ >= self.refuse_from) return false;
    if (self.refuse_from < 0) ++self.calls;
    const auto* first = static_cast<const unsigned char*>(data);
    self.data.insert(self.data.end(), first, first + size);
    return true;
  }
};

bytes compress(const bytes& input, std::size_t piece = static_cast<std::size_t>(-1)) {
  collector sink;
  const auto writer = std::make_unique<gzip_writer>(collector::receive, &sink);
  for (std::size_t at = 0; at < input.size();) {
    const std::size_t size = input.size() - at < piece ? input.size() - at : piece;
    CHECK(writer->write(input.data() + at, size));
    at += size;
  }
  CHECK(writer->finish());
  return sink.data;
}

bool survives(const bytes& input) {
  const unpacked result = gunzip(compress(input));
  return result.ok && result.data == input;
}

struct random_source {
  std::uint64_t state;

  unsigned char next() {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<unsigned char>(state >> 56);
  }
};

bytes random_bytes(std::size_t size, std::uint64_t seed = 1) {
  random_source source{seed};
  bytes result(size);
  for (unsigned char& byte : result) byte = source.next();
  return result;
}

bytes text_bytes(std::size_t size) {
  static const char* const words[] = {"profile ",
                                      "sample ",
                                      "stack\n",
                                      "the ",
                                      "allocator ",
                                      "of ",
                                      "mutex::lock() ",
                                      "frame ",
                                      "std::vector<int>::push_back ",
                                      "0x",
                                      "and ",
                                      "writes. "};
  random_source source{7};
  std::string text;
  while (text.size() < size) {
    const unsigned pick = source.next();
    text += words[pick % 12];
    if (pick % 5 == 0) text += std::to_string(source.next() * 251U);
  }
  return bytes(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(size));
}

bytes bytes_of(const std::string& text) {
  return bytes(text.begin(), text.end());
}

}  // namespace

TEST_CASE("the inflater of this test reads what zlib wrote") {
  // zlib, raw deflate at level 9, of the 300 letters built below
  const bytes packed = {
      0xA5, 0x8F, 0x81, 0x11, 0xC0, 0x30, 0x08, 0x02, 0x67, 0x05, 0xDC, 0x41, 0xCF, 0xE9,
      0x8B, 0xB4, 0x1B, 0x14, 0xCF, 0x8B, 0x31, 0xBE, 0x1A, 0x00, 0x05, 0xD0, 0xB6, 0x38,
      0xB1, 0xC9, 0x69, 0x07, 0xCB, 0x25, 0x66, 0x92, 0x23, 0xD0, 0x76, 0xC8, 0x65, 0x2A,
      0xBB, 0xCD, 0x5C, 0x85, 0x45, 0x1E, 0xA2, 0x06, 0x15, 0xF6, 0x9A, 0x69, 0x72, 0xF0,
      0xF8, 0xC5, 0x84, 0x75, 0x6F, 0x4D, 0x58, 0xA2, 0xAB, 0xDF, 0x89, 0xC6, 0x2A, 0xAC,
      0x53, 0xA8, 0xB5, 0x70, 0xE5, 0xF2, 0x0A, 0x1E, 0x4F, 0x47, 0x1A, 0x1E, 0x2F, 0xAB,
      0xAF, 0x08, 0xAC, 0x8F, 0xCA, 0xE6, 0xD5, 0x77, 0x75, 0xB4, 0x5A, 0x37, 0x1F, 0x66,
      0x94, 0xDE, 0xC5, 0xE5, 0x28, 0xB3, 0x9D, 0x32, 0x87, 0x1F, 0xFF, 0x7D, 0x00};
  inflater body{packed, 0};
  body.run();
  std::string expected;
  for (std::size_t i = 0; i < 300; ++i)
    expected += "aaaaaaabbbccdwxz"[(i * i * i / 5 + i * 7 / 3) % 16];
  CHECK(body.ok);
  CHECK(body.at == packed.size());
  CHECK(body.stored_blocks + body.fixed_blocks == 0);
  CHECK(body.dynamic_blocks == 1);
  CHECK(body.longest > 3);
  CHECK(body.out == bytes_of(expected));
}

TEST_CASE("crc32 gives the published check value, in one piece or several") {
  const bytes digits = bytes_of("123456789");
  CHECK(prof::detail::gzip_crc32(0, digits.data(), 9) == 0xCBF43926U);
  const std::uint32_t half = prof::detail::gzip_crc32(0, digits.data(), 4);
  CHECK(prof::detail::gzip_crc32(half, digits.data() + 4, 5) == 0xCBF43926U);
  CHECK(prof::detail::gzip_crc32(0, digits.data(), 0) == 0);
}

TEST_CASE("empty input gives the smallest valid file") {
  const bytes file = compress({});
  CHECK(file == bytes{0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0});
  CHECK(gunzip(file).ok);
}

TEST_CASE("tiny inputs come back, in one call to the sink") {
  CHECK(survives(bytes_of("a")));
  CHECK(survives(bytes_of("abc")));
  CHECK(survives(bytes_of("abcabcabcabc")));
  CHECK(survives({0}));
  CHECK(survives({255, 255, 255, 255, 255}));
  collector sink;
  const auto writer = std::make_unique<gzip_writer>(collector::receive, &sink);
  writer->write("hello", 5);
  CHECK(writer->finish());
  CHECK(sink.calls == 1);
}

TEST_CASE("every size from 0 to 600 comes back: text, random, one byte") {
  const bytes text = text_bytes(600);
  const bytes noise = random_bytes(600);
  for (std::ptrdiff_t size = 0; size <= 600; ++size) {
    CAPTURE(size);
    CHECK(survives(bytes(text.begin(), text.begin() + size)));
    CHECK(survives(bytes(noise.begin(), noise.begin() + size)));
    CHECK(survives(bytes(static_cast<std::size_t>(size), 'x')));
  }
}

TEST_CASE("sizes around block, history and window edges come back") {
  for (std::size_t edge : {16384U, 32768U, 65536U, 98304U, 131072U}) {
    for (std::size_t size = edge - 5; size <= edge + 5; ++size) {
      CAPTURE(size);
      CHECK(survives(text_bytes(size)));
      CHECK(survives(random_bytes(size)));
      CHECK(survives(bytes(size, 0)));
    }
  }
}

TEST_CASE("repetitive input uses the longest matches and shrinks by more than a hundred") {
  const bytes input(300000, 'z');
  const bytes file = compress(input);
  const unpacked result = gunzip(file);
  CHECK(result.data == input);
  CHECK(result.longest == 258);
  CHECK(file.size() < input.size() / 100);
}

TEST_CASE("every match length from 4 to 258 is written and comes back") {
  for (std::size_t length = 4; length <= 258; ++length) {
    bytes input(length + 1, 'q');  // one literal, then one match at distance 1
    input.push_back('\n');
    const unpacked result = gunzip(compress(input));
    CAPTURE(length);
    CHECK(result.data == input);
    CHECK(result.longest == length);
    CHECK(result.farthest == 1);
  }
}

TEST_CASE("matches reach back to 32768 bytes and no farther") {
  for (std::size_t distance : {32767U, 32768U, 32769U}) {
    const bytes mark = random_bytes(200, 99);
    bytes input = mark;
    input.resize(distance,
                 0);  // one long run keeps the blocks compressible and the mark in the table
    input.insert(input.end(), mark.begin(), mark.end());
    const unpacked result = gunzip(compress(input));
    CAPTURE(distance);
    CHECK(result.data == input);
    if (distance <= 32768)
      CHECK(result.farthest == distance);
    else
      CHECK(result.farthest < 32768);
  }
}

TEST_CASE("the window's slides lose no match") {
  bytes unit = random_bytes(4000);
  unit.resize(30000, 0);  // each copy of the noise can be found only in the one before it
  bytes input;
  for (int copy = 0; copy < 12; ++copy) input.insert(input.end(), unit.begin(), unit.end());
  const bytes file = compress(input);
  CHECK(gunzip(file).data == input);
  CHECK(file.size() < 9000);  // 44000 when a slide forgets
}

TEST_CASE("what the memory held before does not show") {
  // A word across the end of the first block is not in the table; stale memory could point at it.
  constexpr std::uint16_t word_at = 32765;
  bytes input(word_at, 'a');
  const bytes rest = bytes_of("wxyz, and once more: wxyz.");
  input.insert(input.end(), rest.begin(), rest.end());
  const auto place = std::make_unique<unsigned char[]>(sizeof(gzip_writer));
  bytes files[2];
  for (std::uint16_t dirt : {std::uint16_t{0}, word_at}) {
    for (std::size_t i = 0; i + 2 <= sizeof(gzip_writer); i += 2)
      std::memcpy(place.get() + i, &dirt, 2);
    collector sink;
    auto* writer = new (place.get()) gzip_writer(collector::receive, &sink);
    CHECK(writer->write(input.data(), input.size()));
    CHECK(writer->finish());
    files[dirt == 0 ? 0 : 1] = sink.data;
  }
  CHECK(gunzip(files[0]).data == input);
  CHECK(files[0] == files[1]);
}

TEST_CASE("all distances come back, across slides of the window") {
  bytes input;
  random_source source{3};
  const bytes mark = bytes_of("0123456789abcdefghijklmnopqrstuv");
  for (std::size_t gap = 1; gap < 40000; gap += gap / 9 + 1) {
    input.insert(input.end(), mark.begin(), mark.end());
    for (std::size_t i = 0; i < gap; ++i) input.push_back(source.next() % 3 == 0 ? 'b' : 'a');
  }
  CHECK(input.size() > 200000);
  CHECK(survives(input));
}

TEST_CASE("text of a megabyte comes back and shrinks at least by half") {
  const bytes input = text_bytes(1U << 20);
  const bytes file = compress(input);
  CHECK(gunzip(file).data == input);
  CHECK(file.size() * 2 <= input.size());
}

TEST_CASE("random bytes are stored, with at most 0.1 % and 64 bytes on top") {
  for (std::size_t size : {1U, 100U, 1000U, 16384U, 16385U, 65536U, 1000000U}) {
    const bytes input = random_bytes(size);
    const bytes file = compress(input);
    const unpacked result = gunzip(file);
    CAPTURE(size);
    CHECK(result.data == input);
    CHECK(file.size() <= size + size / 1000 + 64);
    if (size >= 100) CHECK(result.stored_blocks > 0);
    CHECK(result.fixed_blocks + result.dynamic_blocks <= 1);  // a last byte or two fit one better
  }
}

TEST_CASE("stored and compressed blocks mix, in any order") {
  bytes input;
  for (std::uint64_t round = 0; round < 12; ++round) {
    const bytes noise = random_bytes(49000 + 1777 * round, round);
    const bytes text = text_bytes(61000 - 1333 * round);
    input.insert(input.end(), noise.begin(), noise.end());
    input.insert(input.end(), text.begin(), text.end());
  }
  const unpacked result = gunzip(compress(input));
  CHECK(result.data == input);
  CHECK(result.stored_blocks > 0);
  CHECK(result.dynamic_blocks > 0);
}

TEST_CASE("input of any entropy comes back and never grows past stored") {
  for (unsigned symbols = 1; symbols <= 256; symbols += 5) {
    random_source source{symbols};
    bytes input(70000);
    for (unsigned char& byte : input)
      byte = static_cast<unsigned char>(source.next() * symbols / 256U);
    const bytes file = compress(input);
    CAPTURE(symbols);
    CHECK(gunzip(file).data == input);
    CHECK(file.size() <= input.size() + 5 * 5 + 20);
  }
}

TEST_CASE("the file does not depend on how the input was cut into writes") {
  bytes input = text_bytes(90000);
  const bytes noise = random_bytes(40000);
  input.insert(input.end(), noise.begin(), noise.end());
  const bytes whole = compress(input);
  CHECK(gunzip(whole).data == input);
  for (std::size_t piece : {1U, 7U, 1000U, 16383U, 16384U, 16385U, 65536U}) {
    CAPTURE(piece);
    CHECK(compress(input, piece) == whole);
  }
}

TEST_CASE("empty writes change nothing, also with a null pointer") {
  collector sink;
  const auto writer = std::make_unique<gzip_writer>(collector::receive, &sink);
  CHECK(writer->write(nullptr, 0));
  CHECK(writer->write("ab", 2));
  CHECK(writer->write(nullptr, 0));
  CHECK(writer->finish());
  CHECK(sink.data == compress(bytes_of("ab")));
}

TEST_CASE("finish repeats its answer and ends the file") {
  collector sink;
  const auto writer = std::make_unique<gzip_writer>(collector::receive, &sink);
  CHECK(writer->write("ab", 2));
  CHECK(writer->finish());
  const bytes file = sink.data;
  CHECK(writer->finish());
  CHECK_FALSE(writer->write("cd", 2));
  CHECK(writer->finish());
  CHECK(sink.data == file);
}

TEST_CASE("a refusing sink is reported by finish, whichever call it refuses, and is left alone") {
  bytes input = text_bytes(60000);
  const bytes noise = random_bytes(60000);
  input.insert(input.end(), noise.begin(), noise.end());
  collector all;
  const auto complete = std::make_unique<gzip_writer>(collector::receive, &all);
  CHECK(complete->write(input.data(), input.size()));
  CHECK(complete->finish());
  REQUIRE(all.calls > 4);
  for (int refused = 0; refused < all.calls; ++refused) {
    collector sink;
    sink.refuse_from = refused;
    const auto writer = std::make_unique<gzip_writer>(collector::receive, &sink);
    writer->write(input.data(), input.size());
    CAPTURE(refused);
    CHECK_FALSE(writer->finish());
    CHECK_FALSE(writer->write("more", 4));
    CHECK_FALSE(writer->finish());
    CHECK(sink.calls == refused + 1);
  }
}

TEST_CASE("a sink that refuses in the middle makes write itself fail") {
  collector sink;
  sink.refuse_from = 0;
  const auto writer = std::make_unique<gzip_writer>(collector::receive, &sink);
  const bytes input = random_bytes(200000);
  CHECK_FALSE(writer->write(input.data(), input.size()));
  CHECK(sink.calls == 1);
}
