// tests/unit/base/protobuf_test.cpp - the wire format byte by byte (protobuf.dev "Encoding").

#include "prof/base/protobuf.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

using prof::detail::arena;
using prof::detail::page_source;
using prof::detail::protobuf_message;

int g_maps_left = 0;

void* map_pages(std::size_t size) noexcept {
  return g_maps_left-- > 0 ? std::calloc(1, size) : nullptr;
}
void unmap_pages(void* pages, std::size_t) noexcept {
  std::free(pages);
}

page_source pages(int maps) {
  g_maps_left = maps;
  return {map_pages, unmap_pages};
}

std::string bytes_of(const protobuf_message& message) {
  return message.view().size == 0 ? "" : std::string(message.view().data, message.view().size);
}

void pack(protobuf_message& message, unsigned field, const std::vector<std::uint64_t>& numbers) {
  message.packed(field, numbers.size(), [&](std::size_t i) { return numbers[i]; });
}

}  // namespace

TEST_CASE("varints are little-endian groups of seven bits") {
  const auto varint = [](std::uint64_t value) {
    char bytes[prof::detail::max_varint];
    return std::string(bytes, prof::detail::put_varint(bytes, value));
  };
  CHECK(varint(0) == std::string(1, '\0'));
  CHECK(varint(1) == "\x01");
  CHECK(varint(127) == "\x7f");
  CHECK(varint(128) == "\x80\x01");
  CHECK(varint(150) == "\x96\x01");  // the example of the specification
  CHECK(varint(16383) == "\xff\x7f");
  CHECK(varint(16384) == "\x80\x80\x01");
  CHECK(varint(std::numeric_limits<std::uint64_t>::max()) ==
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

TEST_CASE("integers of value zero are left out, negative ones take ten bytes") {
  arena memory(pages(10));
  protobuf_message message(memory);
  message.integer(1, std::uint64_t{0});
  message.integer(1, std::int64_t{0});
  CHECK(message.view().size == 0);
  message.integer(1, std::uint64_t{150});
  CHECK(bytes_of(message) == "\x08\x96\x01");
  message.clear();
  message.integer(16, std::int64_t{1});  // field numbers from 16 on take two bytes
  CHECK(bytes_of(message) == "\x80\x01\x01");
  message.clear();
  message.integer(2, std::int64_t{-1});
  CHECK(bytes_of(message) == "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

TEST_CASE("bytes are written even when there are none") {
  arena memory(pages(10));
  protobuf_message message(memory);
  message.bytes(2, "testing");
  CHECK(bytes_of(message) == "\x12\x07testing");
  message.clear();
  message.bytes(6, {});
  CHECK(bytes_of(message) == std::string("\x32\x00", 2));
  message.clear();
  const std::string large(300, 'x');
  message.bytes(1, {large.data(), large.size()});
  CHECK(bytes_of(message) == "\x0a\xac\x02" + large);
}

TEST_CASE("packed lists keep their zeros and vanish when empty") {
  arena memory(pages(10));
  protobuf_message message(memory);
  pack(message, 6, {3, 270, 86942});
  CHECK(bytes_of(message) == "\x32\x06\x03\x8e\x02\x9e\xa7\x05");  // the specification's example
  message.clear();
  pack(message, 2, {0, ~std::uint64_t{0}, 0});
  CHECK(bytes_of(message) ==
        std::string("\x12\x0c\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 14));
  message.clear();
  pack(message, 2, {});
  CHECK(message.view().size == 0);
}

TEST_CASE("packed lists of any length follow their length, after what was there") {
  arena memory(pages(100));
  protobuf_message message(memory);
  const std::pair<std::size_t, std::string> lengths[] = {
      {1, "\x01"},        {127, "\x7f"},           {128, "\x80\x01"},
      {16383, "\xff\x7f"}, {16384, "\x80\x80\x01"}};
  for (const auto& [count, length] : lengths) {
    message.clear();
    message.integer(1, std::uint64_t{5});
    pack(message, 2, std::vector<std::uint64_t>(count, 7));
    message.integer(3, std::uint64_t{9});
    CHECK(bytes_of(message) == "\x08\x05\x12" + length + std::string(count, '\x07') + "\x18\x09");
  }
}

TEST_CASE("packed ids leave out what has none") {
  arena memory(pages(10));
  protobuf_message message(memory);
  const std::uint64_t ids[] = {0, 4, 0, 300, 0};
  message.packed_ids(1, 5, [&](std::size_t i) { return ids[i]; });
  CHECK(bytes_of(message) == "\x0a\x03\x04\xac\x02");
  message.clear();
  message.packed_ids(1, 1, [&](std::size_t i) { return ids[i]; });
  CHECK(message.view().size == 0);
}

TEST_CASE("packed lists of the longest varints fit, at every size of the message before") {
  for (std::size_t before = 0; before < 40; ++before) {
    arena memory(pages(100), 64);
    protobuf_message message(memory);
    for (std::size_t i = 0; i < before; ++i) message.integer(1, std::uint64_t{1});
    const std::size_t head = message.view().size;
    for (std::size_t count = 1; count < 30; ++count) {
      pack(message, 2, std::vector<std::uint64_t>(count, ~std::uint64_t{0}));
    }
    std::size_t bytes = 0;
    for (std::size_t count = 1; count < 30; ++count) bytes += 10 * count + (count < 13 ? 2 : 3);
    CHECK(message.view().size == head + bytes);
  }
}

TEST_CASE("messages nest") {
  arena memory(pages(10));
  protobuf_message inner(memory);
  protobuf_message outer(memory);
  inner.integer(1, std::uint64_t{150});
  outer.message(3, inner);
  inner.clear();
  outer.message(4, inner);
  CHECK(bytes_of(outer) == std::string("\x1a\x03\x08\x96\x01\x22\x00", 7));
}

TEST_CASE("without memory nothing is written and the arena tells") {
  arena memory(pages(0));
  protobuf_message message(memory);
  const std::uint64_t number = 1;
  message.integer(1, number);
  message.bytes(1, "text");
  pack(message, 1, {number});
  CHECK(message.view().size == 0);
  CHECK(memory.exhausted());
}
