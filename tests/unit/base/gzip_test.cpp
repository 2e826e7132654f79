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
#include <utility>
#include <vector>

namespace {

using prof::detail::gzip_writer;
using bytes = std::vector<unsigned char>;

static_assert(sizeof(gzip_writer) <= 240 * 1024, "its user plans for 240 KiB of arena");
static_assert(!std::is_copy_constructible<gzip_writer>::value, "it is not copied by accident");
static_assert(std::is_trivially_destructible<gzip_writer>::value,
              "arena pages are dropped, not destroyed");

// ---- a plain inflater, canonical codes decoded one bit at a time (RFC 1951) ----

struct huffman {
  int count[16] = {};
  std::vector<int> symbols;

  explicit huffman(const std::vector<int>& lengths) {
    for (int length : lengths) ++count[length];
    count[0] = 0;
    for (int length = 1; length < 16; ++length) {
      for (std::size_t i = 0; i < lengths.size(); ++i) {
        if (lengths[i] == length) symbols.push_back(static_cast<int>(i));
      }
    }
  }
};

struct inflater {
  const bytes& in;
  std::size_t at;
  unsigned bit = 0;
  bytes out{};
  bool ok = true;
  int stored_blocks = 0;
  int fixed_blocks = 0;
  int dynamic_blocks = 0;
  std::size_t farthest = 0;
  std::size_t longest = 0;

  int read_bit() {
    if (at >= in.size()) {
      ok = false;
      return 0;
    }
    const int value = (in[at] >> bit) & 1;
    if (++bit == 8) {
      bit = 0;
      ++at;
    }
    return value;
  }

  std::size_t read_bits(int count) {
    std::size_t value = 0;
    for (int i = 0; i < count; ++i) value |= static_cast<std::size_t>(read_bit()) << i;
    return value;
  }

  int read_symbol(const huffman& codes) {
    int code = 0;
    int first = 0;
    int index = 0;
    for (int length = 1; length < 16 && ok; ++length) {
      code |= read_bit();
      if (code - codes.count[length] < first) {
        return codes.symbols[static_cast<std::size_t>(index + code - first)];
      }
      index += codes.count[length];
      first = (first + codes.count[length]) << 1;
      code <<= 1;
    }
    ok = false;
    return 256;
  }

  void align() {
    while (bit != 0) {
      if (read_bit() != 0) ok = false;  // padding should be zero
    }
  }

  void stored() {
    ++stored_blocks;
    align();
    const std::size_t size = read_bits(16);
    if ((read_bits(16) ^ 0xFFFFU) != size || at + size > in.size()) {
      ok = false;
      return;
    }
    for (std::size_t i = 0; i < size; ++i) out.push_back(in[at++]);
  }

  void copy_match(std::size_t length, std::size_t distance) {
    if (distance > out.size()) {
      ok = false;
      return;
    }
    if (distance > farthest) farthest = distance;
    if (length > longest) longest = length;
    for (std::size_t i = 0; i < length; ++i) out.push_back(out[out.size() - distance]);
  }

  void compressed(const huffman& literals, const huffman& distances) {
    static const int length_base[29] = {3,  4,  5,  6,   7,   8,   9,   10,  11, 13,
                                        15, 17, 19, 23,  27,  31,  35,  43,  51, 59,
                                        67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const int length_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                         2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const int distance_base[30] = {
        1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
        193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    while (ok) {
      const int symbol = read_symbol(literals);
      if (symbol == 256) return;
      if (symbol < 256) {
        out.push_back(static_cast<unsigned char>(symbol));
        continue;
      }
      if (symbol > 285) {
        ok = false;
        return;
      }
      const std::size_t length = static_cast<std::size_t>(length_base[symbol - 257]) +
                                 read_bits(length_extra[symbol - 257]);
      if (symbol == 284 && length == 258) ok = false;  // symbol 285 is the one for 258
      const int code = read_symbol(distances);
      if (code > 29) {
        ok = false;
        return;
      }
      const int extra = code < 4 ? 0 : code / 2 - 1;
      copy_match(length, static_cast<std::size_t>(distance_base[code]) + read_bits(extra));
    }
  }

  void fixed() {
    ++fixed_blocks;
    std::vector<int> lengths(288, 8);
    for (std::size_t i = 144; i < 256; ++i) lengths[i] = 9;
    for (std::size_t i = 256; i < 280; ++i) lengths[i] = 7;
    compressed(huffman(lengths), huffman(std::vector<int>(30, 5)));
  }

  void dynamic() {
    ++dynamic_blocks;
    static const std::size_t order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                          11, 4,  12, 3, 13, 2, 14, 1, 15};
    const std::size_t literal_count = read_bits(5) + 257;
    const std::size_t distance_count = read_bits(5) + 1;
    const std::size_t code_count = read_bits(4) + 4;
    std::vector<int> code_lengths(19, 0);
    for (std::size_t i = 0; i < code_count; ++i)
      code_lengths[order[i]] = static_cast<int>(read_bits(3));
    const huffman codes(code_lengths);
    std::vector<int> lengths;
    while (ok && lengths.size() < literal_count + distance_count) {
      const int symbol = read_symbol(codes);
      if (symbol < 16) {
        lengths.push_back(symbol);
        continue;
      }
      const int repeated = symbol == 16 && !lengths.empty() ? lengths.back() : 0;
      const int extra = symbol == 16 ? 2 : symbol == 17 ? 3 : 7;
      const std::size_t times = (symbol == 18 ? 11U : 3U) + read_bits(extra);
      lengths.insert(lengths.end(), times, repeated);
    }
    if (lengths.size() != literal_count + distance_count) ok = false;
    if (!ok) return;
    const auto split = lengths.begin() + static_cast<std::ptrdiff_t>(literal_count);
    compressed(huffman({lengths.begin(), split}), huffman({split, lengths.end()}));
  }

  void run() {
    for (bool last = false; ok && !last;) {
      last = read_bit() != 0;
      const std::size_t kind = read_bits(2);
      if (kind == 0)
        stored();
      else if (kind == 1)
        fixed();
      else if (kind == 2)
        dynamic();
      else
        ok = false;
    }
    align();
  }
};

std::uint32_t slow_crc32(const bytes& data) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (unsigned char byte : data) {
    crc ^= byte;
    for (int i = 0; i < 8; ++i) crc = (crc & 1U) != 0 ? (crc >> 1) ^ 0xEDB88320U : crc >> 1;
  }
  return ~crc;
}

std::uint32_t little_endian(const bytes& data, std::size_t at) {
  return static_cast<std::uint32_t>(data[at]) | (static_cast<std::uint32_t>(data[at + 1]) << 8) |
         (static_cast<std::uint32_t>(data[at + 2]) << 16) |
         (static_cast<std::uint32_t>(data[at + 3]) << 24);
}

struct unpacked {
  bool ok = false;
  bytes data{};
  int stored_blocks = 0;
  int fixed_blocks = 0;
  int dynamic_blocks = 0;
  std::size_t farthest = 0;
  std::size_t longest = 0;
};

// Exactly one member, exactly our header, nothing after the trailer.
unpacked gunzip(const bytes& file) {
  static const unsigned char header[10] = {0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255};
  if (file.size() < 18) return {};
  for (std::size_t i = 0; i < 10; ++i) {
    if (file[i] != header[i]) return {};
  }
  inflater body{file, 10};
  body.run();
  if (!body.ok || body.at + 8 != file.size()) return {};
  if (little_endian(file, body.at) != slow_crc32(body.out)) return {};
  if (little_endian(file, body.at + 4) != static_cast<std::uint32_t>(body.out.size())) return {};
  return {true,          std::move(body.out), body.stored_blocks, body.fixed_blocks,
          body.dynamic_blocks, body.farthest, body.longest};
}

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
