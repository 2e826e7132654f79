// tests/unit/base/inflate_test.cpp - streams of zlib's, of our own encoder's and made by hand, whole and broken.
// Thousands more, with zlib as the judge: e2e/test_gzip.py.

#include "prof/base/inflate.hpp"

#include "prof/base/gzip.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace prof::detail;
using lengths = std::vector<unsigned>;

static_assert(sizeof(inflater) <= 256, "on any stack");
static_assert(sizeof(inflate_tables) <= 11 * 1024, "as the header says");

// ---- streams by hand ----

std::uint32_t plain_adler(const std::string& text) {
  std::uint64_t a = 1;
  std::uint64_t b = 0;
  for (const char c : text) {
    a = (a + static_cast<unsigned char>(c)) % 65521;
    b = (b + a) % 65521;
  }
  return static_cast<std::uint32_t>(b << 16 | a);
}

std::string framed(const std::string& blocks, const std::string& text) {
  const std::uint32_t sum = plain_adler(text);
  std::string stream = "\x78\x9c" + blocks;
  for (int shift = 24; shift >= 0; shift -= 8) stream += static_cast<char>(sum >> shift & 255);
  return stream;
}

// Blocks, bit by bit.
struct maker {
  std::string bytes{};
  unsigned bit = 0;

  maker& put(unsigned value, unsigned count) {
    for (unsigned i = 0; i < count; ++i, bit = (bit + 1) % 8) {
      if (bit == 0) bytes += '\0';
      bytes.back() = static_cast<char>(static_cast<unsigned char>(bytes.back()) | (value >> i & 1U) << bit);
    }
    return *this;
  }
  // The first bit of a code is its highest.
  maker& code(unsigned value, unsigned count) {
    while (count-- != 0) put(value >> count & 1U, 1);
    return *this;
  }
  maker& fixed_symbol(unsigned symbol) {
    if (symbol < 144) return code(symbol + 48, 8);
    if (symbol < 256) return code(symbol - 144 + 400, 9);
    if (symbol < 280) return code(symbol - 256, 7);
    return code(symbol - 280 + 192, 8);
  }
  maker& fixed_match(std::uint32_t length, std::uint32_t distance) {
    const deflate_symbol l = deflate_length(length);
    const deflate_symbol d = deflate_distance(distance);
    fixed_symbol(l.symbol).put(l.extra, l.extra_bits);
    return code(d.symbol, 5).put(d.extra, d.extra_bits);
  }
  maker& stored(const std::string& text, bool last) {
    put(last ? 1 : 0, 3);
    bit = 0;
    const auto size = static_cast<unsigned>(text.size());
    put(size, 16).put(size ^ 0xffffU, 16);
    bytes += text;
    return *this;
  }
  // Of the code of lengths, 0 to 12 have four bits, the rest five.
  maker& length(unsigned l) { return l < 13 ? code(l, 4) : code(26 + l - 13, 5); }
  maker& head(std::size_t literals, std::size_t distances) {
    put(5, 3).put(static_cast<unsigned>(literals - 257), 5).put(static_cast<unsigned>(distances - 1), 5).put(15, 4);
    for (const unsigned symbol : deflate_length_order) put(symbol < 13 ? 4 : 5, 3);
    return *this;
  }
  maker& head(const lengths& literals, const lengths& distances) {
    head(literals.size(), distances.size());
    for (const unsigned l : literals) length(l);
    for (const unsigned l : distances) length(l);
    return *this;
  }
};

// ---- reading ----

// As they were left by whatever was read before.
inflate_tables& tables() {
  static inflate_tables kept;
  return kept;
}

constexpr auto always = [] { return true; };

struct read_back {
  bool ok;
  std::string text;
};

// From and to blocks of exactly these sizes, for sanitizers; and no byte of what lies around is written.
read_back read(const std::string& stream, std::size_t size) {
  const auto in = std::make_unique<char[]>(stream.size());
  std::memcpy(in.get(), stream.data(), stream.size());
  const auto exact = std::make_unique<char[]>(size);
  const bool ok = inflate_zlib({in.get(), stream.size()}, exact.get(), size, tables(), always);
  std::string guarded(size + 32, '#');
  CHECK(inflate_zlib({in.get(), stream.size()}, &guarded[16], size, tables(), always) == ok);
  CHECK(guarded.substr(0, 16) + guarded.substr(size + 16) == std::string(32, '#'));
  return {ok, std::string(exact.get(), size)};
}

bool gives(const std::string& stream, const std::string& text) {
  const read_back got = read(stream, text.size());
  return got.ok && got.text == text;
}
bool gives(const maker& blocks, const std::string& text) { return gives(framed(blocks.bytes, text), text); }

// Whether the end follows, of a length that a code made by mistake might have.
bool ends(const maker& blocks) {
  for (unsigned size = 1; size <= 17; ++size) {
    maker longer = blocks;
    if (gives(longer.put(0, size), "")) return true;
  }
  return false;
}

// ---- inputs ----

std::string noise(std::size_t size, std::uint32_t seed = 1) {
  std::string text;
  for (; text.size() < size; seed = seed * 1664525U + 1013904223U) text += static_cast<char>(seed >> 24);
  return text;
}

std::string words(std::size_t size) {
  std::string text;
  for (std::size_t i = 0; text.size() < size; ++i) text += "line " + std::to_string(i * i % 977) + " of file;";
  return text.substr(0, size);
}

std::string repeated(std::string text, std::size_t length, std::size_t distance) {
  for (; length != 0; --length) text += text[text.size() - distance];
  return text;
}

// What our own encoder writes, in zlib's frame.
std::string encoded(const std::string& text) {
  std::string file;
  const auto append = [](void* context, const void* data, std::size_t size) {
    static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
    return true;
  };
  const auto writer = std::make_unique<gzip_writer>(append, &file);
  CHECK(writer->write(text.data(), text.size()));
  CHECK(writer->finish());
  return framed(file.substr(10, file.size() - 18), text);
}

// zlib 1.2.13 at level 9: one block with a code of its own.
std::string zlib_text() {
  std::string text;
  for (std::size_t i = 0; i < 400; ++i) text += "aaaaaaabbbccdwxz"[(i * i / 3 + i * i * i / 7) % 16];
  return text;
}
const unsigned char zlib_stream[] = {
    0x78, 0xda, 0xa5, 0x90, 0xd1, 0x95, 0x05, 0x31, 0x08, 0x42, 0x6b, 0x05, 0xec, 0x41, 0x8f, 0xd5, 0xbf, 0x6b, 0x66,
    0x3b, 0xd8, 0xaf, 0x89, 0x84, 0xe0, 0x65, 0x24, 0x69, 0x1c, 0x8d, 0x96, 0x93, 0x7b, 0xba, 0x93, 0x51, 0xe4, 0x1d,
    0xa9, 0x77, 0xbc, 0x72, 0x2d, 0x02, 0xbe, 0xc2, 0x64, 0x39, 0x15, 0xeb, 0xdc, 0x8c, 0x58, 0x07, 0xf3, 0x09, 0x93,
    0xb4, 0x92, 0x8d, 0x4a, 0xa7, 0xf7, 0x2c, 0x99, 0x6d, 0x8f, 0xdb, 0xb9, 0x00, 0x71, 0xa7, 0xce, 0xed, 0xb2, 0xff,
    0x32, 0xfd, 0x3e, 0x0a, 0x0c, 0xc8, 0xeb, 0x26, 0xb3, 0x82, 0x9d, 0x45, 0xc8, 0x01, 0x29, 0xde, 0x1b, 0x86, 0x4c,
    0x4f, 0xe0, 0x32, 0x83, 0xfa, 0x7b, 0x78, 0xdc, 0xd5, 0x26, 0xb3, 0xe1, 0x69, 0x10, 0xf0, 0x3d, 0x34, 0xee, 0x73,
    0x4b, 0xc2, 0xae, 0xba, 0x8e, 0x29, 0x62, 0xfa, 0x74, 0x3a, 0xbe, 0xbe, 0xc0, 0x37, 0xdd, 0x7d, 0x5c, 0x2f, 0xf3,
    0x0e, 0x23, 0xfa, 0x9e, 0x71, 0x6a, 0xd9, 0xb4, 0x57, 0x0e, 0x66, 0x7d, 0x0f, 0xf5, 0xa1, 0x9d, 0x3e, 0x5f, 0xf8,
    0xf8, 0x40, 0x17, 0x9e, 0xdd, 0x17, 0xfa, 0x9f, 0xff, 0xf9, 0x03, 0x68, 0xa9, 0xa2, 0x90};
std::string from_zlib() { return {reinterpret_cast<const char*>(zlib_stream), sizeof zlib_stream}; }

// 257 literals of which only the end has a code, or these.
lengths literals_with(unsigned of_end) {
  lengths l(257);
  l[256] = of_end;
  return l;
}

}  // namespace

TEST_CASE("symbols of lengths and distances stand for the numbers that have them") {
  for (std::uint32_t length = 3; length <= deflate_max_match; ++length) {
    const deflate_symbol s = deflate_length(length);
    const deflate_range r = deflate_length_range(s.symbol);
    CHECK(r.first + s.extra == length);
    CHECK(r.extra_bits == s.extra_bits);
  }
  for (std::uint32_t distance = 1; distance <= 32768; ++distance) {
    const deflate_symbol s = deflate_distance(distance);
    const deflate_range r = deflate_distance_range(s.symbol);
    if (r.first + s.extra == distance && r.extra_bits == s.extra_bits) continue;
    FAIL("distance " << distance);
  }
}

TEST_CASE("adler32 gives the published value, and does not overflow") {
  CHECK(adler32(reinterpret_cast<const unsigned char*>("Wikipedia"), 9) == 0x11E60398U);
  CHECK(adler32(nullptr, 0) == 1);
  for (const std::size_t size : {5551U, 5552U, 5553U, 11105U, 300000U}) {
    const std::string text(size, '\xff');
    CHECK(adler32(reinterpret_cast<const unsigned char*>(text.data()), size) == plain_adler(text));
  }
}

TEST_CASE("what zlib wrote is read") {
  CHECK(gives(from_zlib(), zlib_text()));
  const std::string empty("\x78\x9c\x03\x00\x00\x00\x00\x01", 8);
  CHECK(gives(empty, ""));
  CHECK(inflate_zlib({empty.data(), empty.size()}, nullptr, 0, tables(), always));
}

TEST_CASE("another size than the stream's is refused, and so is a stream cut at any byte") {
  const std::string stream = from_zlib();
  const std::size_t size = zlib_text().size();
  for (std::size_t other = 0; other < 2 * size; ++other) CHECK(read(stream, other).ok == (other == size));
  for (std::size_t cut = 0; cut < stream.size(); ++cut) CHECK_FALSE(read(stream.substr(0, cut), size).ok);
  // The checksum of so many zeros is that of nothing.
  CHECK_FALSE(read(framed(maker().put(3, 3).fixed_symbol(256).bytes, ""), 65521).ok);
  const std::string plain = maker().stored("abc", true).bytes;
  for (std::size_t other = 0; other < 10; ++other) CHECK(read(framed(plain, "abc"), other).ok == (other == 3));
  for (std::size_t cut = 0; cut < plain.size() + 6; ++cut)
    CHECK_FALSE(read(framed(plain, "abc").substr(0, cut), 3).ok);
}

TEST_CASE("what follows the stream is not looked at") {
  CHECK(gives(from_zlib() + std::string(40, '\x55'), zlib_text()));
  CHECK(gives(from_zlib() + "x", zlib_text()));
}

TEST_CASE("no changed bit goes unnoticed") {
  const std::string text = zlib_text();
  std::size_t equal = 0;
  for (std::size_t bit = 0; bit < 8 * sizeof zlib_stream; ++bit) {
    std::string stream = from_zlib();
    stream[bit / 8] = static_cast<char>(static_cast<unsigned char>(stream[bit / 8]) ^ 1U << bit % 8);
    const read_back got = read(stream, text.size());
    if (!got.ok) continue;
    ++equal;
    CHECK(got.text == text);
  }
  CHECK(equal <= 7);  // between the blocks and the checksum
}

TEST_CASE("the header says zlib, a window of at most 32 KiB and no dictionary") {
  const std::string body = from_zlib().substr(2);
  const std::size_t size = zlib_text().size();
  int accepted = 0;
  for (unsigned first = 0; first < 256; ++first) {
    for (unsigned second = 0; second < 256; ++second) {
      const bool right = (first & 15) == 8 && first <= 0x78 && (first * 256 + second) % 31 == 0 && (second & 32) == 0;
      std::string stream{static_cast<char>(first), static_cast<char>(second)};
      stream += body;
      std::vector<char> out(size);
      if (inflate_zlib({stream.data(), stream.size()}, out.data(), size, tables(), always) != right) FAIL(first << " " << second);
      accepted += right ? 1 : 0;
    }
  }
  CHECK(accepted == 8 * 4);
}

TEST_CASE("what our encoder wrote is read") {
  for (std::size_t size = 0; size < 300; ++size) CHECK(gives(encoded(words(size)), words(size)));
  for (const std::size_t size : {32767U, 32768U, 32769U, 70000U, 400000U}) {
    CHECK(gives(encoded(words(size)), words(size)));
    CHECK(gives(encoded(noise(size)), noise(size)));
    CHECK(gives(encoded(std::string(size, 'x')), std::string(size, 'x')));
    const std::string mixed = words(size) + noise(size / 2) + words(size);
    CHECK(gives(encoded(mixed), mixed));
  }
}

TEST_CASE("matches reach back to every distance") {
  std::string text = noise(32768);
  maker blocks;
  blocks.stored(text, false).put(3, 3);
  for (std::uint32_t distance = 1; distance <= 32768; ++distance) {
    const std::uint32_t length = 3 + distance * 7 % 256;
    blocks.fixed_match(length, distance);
    text = repeated(std::move(text), length, distance);
  }
  CHECK(gives(blocks.fixed_symbol(256), text));
}

TEST_CASE("matches of every length repeat what is near, at the output's end and before it") {
  for (std::uint32_t distance = 1; distance <= 20; ++distance) {
    for (std::uint32_t length = 3; length <= 258; ++length) {
      maker blocks;
      const std::string start = noise(20);
      blocks.stored(start, false).put(3, 3).fixed_match(length, distance);
      std::string text = repeated(start, length, distance);
      maker longer = blocks;
      if (!gives(blocks.fixed_symbol(256), text)) FAIL(length << " from " << distance);
      for (const char c : std::string("0123456789")) longer.fixed_symbol(static_cast<unsigned char>(c));
      if (!gives(longer.fixed_symbol(256), text + "0123456789")) FAIL(length << " from " << distance << ", then more");
    }
  }
}

TEST_CASE("matches stay inside the output") {
  const std::string five = "abcde";
  maker far;
  far.stored(five, false).put(3, 3).fixed_match(3, 6).fixed_symbol(256);
  CHECK_FALSE(read(framed(far.bytes, five + "abc"), 8).ok);
  maker farthest;
  farthest.stored(noise(32767), false).put(3, 3).fixed_match(3, 32768).fixed_symbol(256);
  CHECK_FALSE(read(framed(farthest.bytes, ""), 32770).ok);
  maker many;
  many.stored(five, false).put(3, 3).fixed_match(258, 5).fixed_symbol(256);
  CHECK(gives(many, repeated(five, 258, 5)));
  for (std::size_t size = 5; size < 263; ++size) CHECK_FALSE(read(framed(many.bytes, five), size).ok);
}

namespace {

// So much of it that nothing before is near an end of the input or the output.
maker with_more(maker blocks) {
  for (int i = 0; i < 400; ++i) blocks.fixed_symbol(static_cast<unsigned char>("ab\xff"[i % 3]));
  return blocks.fixed_symbol(256);
}
std::string with_more(std::string text) {
  for (int i = 0; i < 400; ++i) text += "ab\xff"[i % 3];
  return text;
}

}  // namespace

TEST_CASE("far from both ends the same is read, and the same is refused") {
  const std::string start = noise(20);
  const maker begun = maker().stored(start, false).put(3, 3);
  for (std::uint32_t distance = 1; distance <= 20; ++distance) {
    for (std::uint32_t length = 3; length <= 258; ++length) {
      maker blocks = begun;
      blocks.fixed_match(length, distance);
      if (!gives(with_more(blocks), with_more(repeated(start, length, distance)))) FAIL(length << " from " << distance);
    }
  }
  maker far = begun;
  far.fixed_match(3, 21);  // what stands before the output in one of the reads
  CHECK_FALSE(gives(with_more(far), with_more(start + "#" + start.substr(0, 2))));
  for (const unsigned symbol : {286U, 287U}) {
    const deflate_range range = deflate_length_range(symbol);
    maker blocks = begun;
    blocks.fixed_symbol(symbol).put(0, range.extra_bits).code(0, 5);
    CHECK_FALSE(gives(with_more(blocks), with_more(repeated(start, range.first, 1))));
    CHECK_FALSE(gives(with_more(blocks), with_more(start)));
  }
  for (const unsigned symbol : {30U, 31U}) {
    maker blocks = begun;
    blocks.fixed_symbol(257).code(symbol, 5);
    CHECK_FALSE(gives(with_more(blocks), with_more(repeated(start, 3, 1))));
    CHECK_FALSE(gives(with_more(blocks), with_more(start)));
  }
}

TEST_CASE("stored blocks: any place in a byte, no size that does not fit") {
  const std::string text = "stored";
  CHECK(gives(maker().stored(text, true), text));
  CHECK(gives(maker().put(2, 3).fixed_symbol('a').fixed_symbol(256).stored(text, true), "a" + text));
  CHECK(gives(maker().stored("", false).stored(text, false).stored("", true), text));
  CHECK(gives(maker().stored(noise(65535), true), noise(65535)));
  maker wrong = maker().stored(text, true);
  wrong.bytes[3] = static_cast<char>(wrong.bytes[3] ^ 1);
  CHECK_FALSE(read(framed(wrong.bytes, text), text.size()).ok);
  maker too_large = maker().put(1, 3);
  too_large.bit = 0;
  too_large.put(60000, 16).put(60000 ^ 0xffff, 16);
  CHECK_FALSE(read(framed(too_large.bytes + text, text), 60000).ok);
}

TEST_CASE("before each block is asked whether it goes on") {
  maker blocks;
  for (int i = 0; i < 9; ++i) blocks.put(2, 3).fixed_symbol('z').fixed_symbol(256);
  const std::string stream = framed(blocks.put(3, 3).fixed_symbol('z').fixed_symbol(256).bytes, std::string(10, 'z'));
  for (int most = 0; most <= 11; ++most) {
    char out[10];
    int asked = 0;
    CHECK(inflate_zlib({stream.data(), stream.size()}, out, 10, tables(), [&] { return asked++ < most; }) == (most >= 10));
    CHECK(asked == (most < 10 ? most + 1 : 10));
  }
}

TEST_CASE("empty blocks by the thousand are read") {
  maker blocks;
  for (int i = 0; i < 5000; ++i) blocks.put(2, 3).fixed_symbol(256);
  for (int i = 0; i < 5000; ++i) blocks.stored("", false);
  CHECK(gives(blocks.put(3, 3).fixed_symbol('z').fixed_symbol(256), "z"));
}

TEST_CASE("symbols that the fixed code has and Deflate has not are refused") {
  // Each is followed by what its place in the tables would make of it.
  const std::string start = noise(65535);
  for (const unsigned symbol : {286U, 287U}) {
    const deflate_range range = deflate_length_range(symbol);
    maker blocks = maker().stored(start, false).put(3, 3).fixed_symbol(symbol).put(0, range.extra_bits);
    CHECK_FALSE(gives(blocks.code(0, 5).fixed_symbol(256), repeated(start, range.first, 1)));
  }
  for (const unsigned symbol : {30U, 31U}) {
    const deflate_range range = deflate_distance_range(symbol);
    maker blocks = maker().stored(start, false).put(3, 3).fixed_symbol(257).code(symbol, 5);
    CHECK_FALSE(gives(blocks.put(0, range.extra_bits).fixed_symbol(256), repeated(start, 3, range.first)));
  }
  CHECK_FALSE(read(framed(maker().put(7, 3).bytes + std::string(20, '\0'), ""), 0).ok);  // no such form
}

TEST_CASE("codes of all lengths are read, those of 15 bits too") {
  lengths literals = literals_with(15);
  for (unsigned i = 1; i <= 14; ++i) literals['a' + i] = i;
  literals['p'] = 15;
  maker blocks = maker().head(literals, {0});
  std::string text;
  for (const unsigned i : {14U, 1U, 15U, 9U, 10U, 11U, 12U, 2U, 13U, 8U, 14U}) {
    blocks.code((1U << i) - 2, i);  // i - 1 ones and a zero
    text += static_cast<char>('a' + i);
  }
  // The two of 15 bits are p, which is the lower symbol, and the end.
  CHECK(gives(blocks.code((1U << 15) - 1, 15), text));
}

TEST_CASE("over-subscribed and incomplete codes are refused") {
  const auto reads = [](const lengths& literals, const lengths& distances) {
    return ends(maker().head(literals, distances));
  };
  const lengths full = [] {  // 0: a literal, 1: the end
    lengths l = literals_with(1);
    l['a'] = 1;
    return l;
  }();
  // The end is the only code: its bit is 0.
  CHECK(reads(literals_with(1), {0}));
  CHECK(reads(literals_with(1), {1}));
  CHECK(reads(literals_with(1), {1, 1}));
  CHECK_FALSE(reads(literals_with(2), {0}));
  CHECK_FALSE(reads(literals_with(15), {0}));
  CHECK_FALSE(reads(literals_with(0), {1, 1}));  // no end
  CHECK_FALSE(reads(literals_with(1), {2}));
  CHECK_FALSE(reads(literals_with(1), {1, 2}));
  CHECK_FALSE(reads(literals_with(1), {1, 1, 1}));
  CHECK_FALSE(reads(literals_with(1), {1, 1, 15}));
  lengths more = full;
  more['b'] = 1;
  CHECK_FALSE(reads(more, {0}));
  more['b'] = 15;
  CHECK_FALSE(reads(more, {0}));
  const auto gives_a = [&](const lengths& literals) {
    return gives(maker().head(literals, {0}).put(0, 1).put(1, 1), "a");
  };
  CHECK(gives_a(full));
  CHECK_FALSE(gives_a(more));
}

TEST_CASE("a code that a single distance leaves unused is refused when it comes") {
  lengths literals(258);
  literals['a'] = 1;    // 0
  literals[256] = 2;    // 10
  literals[257] = 2;    // 11: three bytes
  const auto blocks = [&](unsigned bit, const lengths& distances) {
    return maker().head(literals, distances).put(0, 1).code(3, 2).put(bit, 1).code(2, 2);
  };
  CHECK(gives(blocks(0, {1}), "aaaa"));
  CHECK_FALSE(gives(blocks(1, {1}), "aaaa"));
  CHECK_FALSE(gives(blocks(0, {0}), "aaaa"));
  CHECK(gives(maker().head(literals, {0}).put(0, 2).code(2, 2), "aa"));
  CHECK_FALSE(gives(maker().head(literals_with(1), {0}).put(1, 1).put(0, 16), ""));
}

TEST_CASE("heads: no more symbols than there are, no repeat of nothing or past the end") {
  const auto zeros = [](maker& m, unsigned count) { m.length(18).put(count - 11, 7); };
  for (std::size_t count = 257; count <= 288; ++count) {
    maker blocks = maker().head(count, 1);
    for (std::size_t i = 0; i < 256; ++i) blocks.length(0);
    blocks.length(1);
    for (std::size_t i = 257; i < count + 1; ++i) blocks.length(0);
    CHECK(ends(blocks) == (count <= 286));
  }
  for (std::size_t count = 1; count <= 32; ++count) {
    maker blocks = maker().head(257, count);
    for (std::size_t i = 0; i < 256; ++i) blocks.length(0);
    blocks.length(1);
    for (std::size_t i = 0; i < count; ++i) blocks.length(0);
    CHECK(ends(blocks) == (count <= 30));
  }
  maker nothing = maker().head(257, 1);
  nothing.length(16).put(0, 2);
  for (std::size_t i = 3; i < 256; ++i) nothing.length(0);
  CHECK_FALSE(ends(nothing.length(1).length(0)));
  // 1 for the end, and twice or four times more: distances, of which there are three.
  for (unsigned times = 3; times <= 6; ++times) {
    maker blocks = maker().head(257, 4);
    zeros(blocks, 138);
    zeros(blocks, 118);
    blocks.length(1).length(16).put(times - 3, 2);
    if (times == 3) blocks.length(0);
    CHECK_FALSE(ends(blocks));  // three or four of one bit
  }
  maker exact = maker().head(257, 11);
  zeros(exact, 138);
  zeros(exact, 118);
  exact.length(1);
  maker over = exact;
  zeros(exact, 11);
  CHECK(ends(exact));
  zeros(over, 12);
  CHECK_FALSE(ends(over));
  maker sevenths = maker().head(257, 10);
  zeros(sevenths, 138);
  zeros(sevenths, 118);
  sevenths.length(1);
  maker one_more = sevenths;
  CHECK(ends(sevenths.length(17).put(7, 3)));
  CHECK_FALSE(ends(one_more.length(17).put(6, 3).length(17).put(0, 3)));
}

TEST_CASE("the code of the lengths is complete") {
  const auto reads = [](unsigned of_0, unsigned of_1, unsigned of_18) {
    maker m;
    m.put(5, 3).put(0, 5).put(0, 5).put(14, 4);  // 18 lengths: 16 17 18 0 ... 1
    m.put(0, 3).put(0, 3).put(of_18, 3).put(of_0, 3);
    for (int i = 4; i < 17; ++i) m.put(0, 3);
    m.put(of_1, 3);
    // 0 has 0, 1 has 10, 18 has 11: 138 zeros, 118, then the end and no distance.
    m.code(3, 2).put(127, 7).code(3, 2).put(107, 7).code(2, 2).code(0, 1);
    return ends(m);
  };
  CHECK(reads(1, 2, 2));
  CHECK_FALSE(reads(1, 2, 3));
  CHECK_FALSE(reads(1, 2, 1));
  CHECK_FALSE(reads(0, 0, 0));
  CHECK_FALSE(reads(0, 0, 1));
}

TEST_CASE("the fixed code is still there behind another") {
  lengths literals = literals_with(1);
  literals['x'] = 1;
  maker blocks;
  blocks.put(2, 3).fixed_symbol('a').fixed_symbol(256);
  maker own = maker().head(literals, {0});
  own.bytes[0] = static_cast<char>(own.bytes[0] & ~1);  // not the last
  // Both begin at a byte: an empty stored block is between them.
  blocks.stored("", false);
  blocks.bytes += own.bytes;
  blocks.bit = own.bit;
  blocks.put(0, 1).put(1, 1);
  CHECK(gives(blocks.put(3, 3).fixed_symbol('b').fixed_symbol(256), "axb"));
}

TEST_CASE("how much can come out of so many bytes") {
  const std::string stream = encoded(std::string(1000000, 'q'));
  CHECK(inflate_can_fill({stream.data(), stream.size()}, 1000000));
  CHECK_FALSE(inflate_can_fill({stream.data(), 100}, std::size_t{1} << 40));
}
