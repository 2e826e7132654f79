// tests/fuzz/inflate_fuzz.cpp - of any bytes taken for a zlib stream: what comes out lies in the room that there is,
// twice the same, and of one size only; what an inflater that shares no line with prof reads comes out as that
// reads it, once the right checksum stands behind it, and not with a wrong one.
//
// The input: how much room there is, blocks, a checksum.

#include "prof/base/inflate.hpp"

#include "../unit/base/inflate.hpp"
#include "fuzz.hpp"

#include <memory>

namespace {

using plain_gzip::bytes;

constexpr std::size_t size_limit = 100000;

struct unpacked {
  bool ok;
  bytes data;
};

// Into a block of exactly that size.
unpacked unpack(const bytes& stream, std::size_t size) {
  const auto out = std::make_unique<unsigned char[]>(size);
  const auto tables = std::make_unique<prof::detail::inflate_tables>();
  const bool ok = prof::detail::inflate_zlib({reinterpret_cast<const char*>(stream.data()), stream.size()},
                                             reinterpret_cast<char*>(out.get()), size, *tables, [] { return true; });
  return {ok, bytes(out.get(), out.get() + size)};
}

bytes adler_of(const bytes& data) {
  std::uint32_t a = 1;
  std::uint32_t b = 0;
  for (const unsigned char byte : data) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  bytes sum;
  for (const std::uint32_t part : {b >> 8, b, a >> 8, a}) sum.push_back(static_cast<unsigned char>(part & 255));
  return sum;
}

void check_whole(bytes stream, std::size_t size) {
  const bytes first = unpack(stream, size).data;
  FUZZ_REQUIRE(unpack(stream, size).data == first);
  FUZZ_REQUIRE(!unpack(stream, size + 1).ok);
  FUZZ_REQUIRE(size == 0 || !unpack(stream, size - 1).ok);
  FUZZ_REQUIRE(prof::detail::inflate_can_fill({reinterpret_cast<const char*>(stream.data()), stream.size()}, size));
}

// The plain inflater is the stricter one: it wants no incomplete codes, and padding of zeros.
void check(const bytes& head, const bytes& blocks, std::size_t room) {
  plain_gzip::inflater plain{blocks, 0};
  plain.limit = size_limit;
  plain.run();
  bytes stream = head;
  stream.insert(stream.end(), blocks.begin(), blocks.end());
  if (unpack(stream, room).ok) check_whole(stream, room);
  if (!plain.ok) return;

  stream.resize(head.size() + plain.at);
  const bytes sum = adler_of(plain.out);
  stream.insert(stream.end(), sum.begin(), sum.end());
  const unpacked got = unpack(stream, plain.out.size());
  FUZZ_REQUIRE(got.ok);
  FUZZ_REQUIRE(got.data == plain.out);
  check_whole(stream, got.data.size());
  stream.back() ^= 1;
  FUZZ_REQUIRE(!unpack(stream, got.data.size()).ok);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source in(data, size);
  const std::size_t room = in.number<std::uint16_t>();
  const fuzz::text_view rest = in.rest();
  check({0x78, 0x9c}, bytes(rest.data, rest.data + rest.size), room);
  return 0;
}
