// tests/unit/write/pprof_test.cpp - write_pprof read back by a decoder that shares no line with it.

#include "prof/write/pprof.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

#include "../../bench/heap_10000.hpp"

namespace {

using prof::detail::arena;
using prof::detail::no_index;
using prof::detail::output;
using prof::detail::page_source;
using prof::detail::profile;
using prof::detail::profile_label;
using prof::detail::profile_location;
using prof::detail::profile_mapping;
using prof::detail::write_pprof;

// ---- pages that run out, and a receiver that may refuse ----

std::size_t g_maps_left = 0;

void* map_pages(std::size_t size) noexcept {
  if (g_maps_left == 0) return nullptr;
  --g_maps_left;
  return std::calloc(1, size);
}
void unmap_pages(void* pages, std::size_t) noexcept {
  std::free(pages);
}

page_source pages(std::size_t maps) {
  g_maps_left = maps;
  return {map_pages, unmap_pages};
}

struct receiver {
  std::string bytes{};
  std::size_t room = std::numeric_limits<std::size_t>::max();
  std::size_t calls = 0;

  static bool write(void* context, const void* data, std::size_t size) {
    receiver& self = *static_cast<receiver*>(context);
    ++self.calls;
    if (size > self.room) return false;
    self.room -= size;
    self.bytes.append(static_cast<const char*>(data), size);
    return true;
  }
  output out() { return {write, this}; }
};

// ---- a plain decoder: fields in order, wire types 0 and 2 ----

struct field {
  unsigned number = 0;
  bool is_bytes = false;
  std::uint64_t number_value = 0;
  std::string bytes{};
};

std::uint64_t read_varint(const std::string& from, std::size_t& at) {
  std::uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    REQUIRE(at < from.size());
    REQUIRE(shift < 64);
    const auto byte = static_cast<unsigned char>(from[at++]);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) {
      CHECK((byte != 0 || shift == 0));  // shortest form
      return value;
    }
  }
}

std::vector<field> read_fields(const std::string& message) {
  std::vector<field> fields;
  for (std::size_t at = 0; at < message.size();) {
    const std::uint64_t key = read_varint(message, at);
    field one;
    one.number = static_cast<unsigned>(key >> 3);
    one.is_bytes = (key & 7) == 2;
    REQUIRE((one.is_bytes || (key & 7) == 0));
    one.number_value = read_varint(message, at);
    if (one.is_bytes) {
      REQUIRE(one.number_value <= message.size() - at);
      one.bytes = message.substr(at, one.number_value);
      at += one.number_value;
    } else {
      CHECK(one.number_value != 0);  // proto3 leaves zeros out
    }
    fields.push_back(one);
  }
  return fields;
}

struct message {
  std::vector<field> fields{};

  explicit message(const std::string& bytes) : fields(read_fields(bytes)) {}

  std::uint64_t number(unsigned wanted) const {
    std::uint64_t value = 0;
    int seen = 0;
    for (const field& one : fields) {
      if (one.number == wanted) value = one.number_value, ++seen;
    }
    CHECK(seen <= 1);
    return value;
  }
  std::vector<std::string> all(unsigned wanted) const {
    std::vector<std::string> found;
    for (const field& one : fields) {
      if (one.number != wanted) continue;
      CHECK(one.is_bytes);
      found.push_back(one.bytes);
    }
    return found;
  }
  std::vector<std::int64_t> packed(unsigned wanted) const {
    std::vector<std::int64_t> values;
    for (const std::string& bytes : all(wanted)) {
      for (std::size_t at = 0; at < bytes.size();) {
        values.push_back(static_cast<std::int64_t>(read_varint(bytes, at)));
      }
    }
    return values;
  }
};

// A profile as read: strings resolved, otherwise as on the wire.
struct decoded {
  message top;
  std::vector<std::string> strings;

  explicit decoded(const std::string& bytes) : top(bytes), strings(top.all(6)) {
    REQUIRE(!strings.empty());
    CHECK(strings[0].empty());
  }
  const std::string& text(std::uint64_t index) const {
    REQUIRE(index < strings.size());
    return strings[index];
  }
  std::string text(const message& from, unsigned wanted) const { return text(from.number(wanted)); }
  message nth(unsigned wanted, std::size_t index) const {
    const std::vector<std::string> found = top.all(wanted);
    REQUIRE(index < found.size());
    return message(found[index]);
  }
  std::size_t count(unsigned wanted) const { return top.all(wanted).size(); }
};

std::string plain(const profile& p) {
  receiver taken;
  arena scratch(pages(100));
  CHECK(write_pprof(p, scratch, taken.out(), false));
  return taken.bytes;
}

// Ids 1..N in order, and every reference to one that is there.
void check_references(const decoded& read) {
  for (const unsigned kind : {3U, 4U, 5U}) {
    for (std::size_t i = 0; i < read.count(kind); ++i) CHECK(read.nth(kind, i).number(1) == i + 1);
  }
  for (std::size_t i = 0; i < read.count(4); ++i) {
    CHECK(read.nth(4, i).number(2) <= read.count(3));
    for (const std::string& line : read.nth(4, i).all(4)) {
      CHECK(message(line).number(1) >= 1);
      CHECK(message(line).number(1) <= read.count(5));
    }
  }
  for (std::size_t i = 0; i < read.count(2); ++i) {
    for (const std::int64_t id : read.nth(2, i).packed(1)) {
      CHECK(id >= 1);
      CHECK(static_cast<std::size_t>(id) <= read.count(4));
    }
    CHECK(read.nth(2, i).packed(2).size() == read.count(1));
  }
}

void add_cpu_types(profile& p) {
  p.add_value_type("samples", "count");
  p.add_value_type("cpu", "nanoseconds");
}

std::string cleaned(const char* bytes) {
  arena memory(pages(100));
  profile p(memory);
  p.add_comment(bytes);
  const decoded read(plain(p));
  return read.text(static_cast<std::uint64_t>(read.top.packed(13).at(0)));
}

}  // namespace

TEST_CASE("an empty profile is a string table with the empty string") {
  arena memory(pages(100));
  profile p(memory);
  CHECK(plain(p) == std::string("\x32\x00", 2));
}

TEST_CASE("every field of the profile itself arrives") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  p.period_type = {p.string("cpu"), p.string("nanoseconds")};
  p.period = 10309278;
  p.time_ns = 1790000000123456789U;
  p.duration_ns = 10000000001U;
  p.drop_frames = p.string("^drop$");
  p.keep_frames = p.string("^keep$");
  p.doc_url = p.string("https://example.org/");
  p.default_type = p.string("cpu");
  p.add_comment("one");
  p.add_comment("");
  p.add_comment("two");

  const decoded read(plain(p));
  REQUIRE(read.count(1) == 2);
  CHECK(read.text(read.nth(1, 0), 1) == "samples");
  CHECK(read.text(read.nth(1, 0), 2) == "count");
  CHECK(read.text(read.nth(1, 1), 1) == "cpu");
  CHECK(read.text(read.nth(1, 1), 2) == "nanoseconds");
  CHECK(read.text(read.top, 7) == "^drop$");
  CHECK(read.text(read.top, 8) == "^keep$");
  CHECK(read.top.number(9) == 1790000000123456789U);
  CHECK(read.top.number(10) == 10000000001U);
  REQUIRE(read.count(11) == 1);
  CHECK(read.text(read.nth(11, 0), 1) == "cpu");
  CHECK(read.text(read.nth(11, 0), 2) == "nanoseconds");
  CHECK(read.top.number(12) == 10309278);
  CHECK(read.top.packed(13).size() == 2);
  CHECK(read.text(static_cast<std::uint64_t>(read.top.packed(13)[1])) == "two");
  CHECK(read.text(read.top, 14) == "cpu");
  CHECK(read.text(read.top, 15) == "https://example.org/");
}

TEST_CASE("every mapping arrives with all its fields, used or not") {
  arena memory(pages(100));
  profile p(memory);
  profile_mapping mapping;
  mapping.start = 0x400000;
  mapping.limit = 0x500000;
  mapping.offset = 0x2000;
  mapping.file = p.string("/bin/program");
  mapping.build_id = p.string("0123abcd");
  mapping.has_functions = true;
  mapping.has_line_numbers = true;
  p.mappings.push(mapping);
  profile_mapping bare;
  bare.limit = ~std::uint64_t{0};
  bare.has_filenames = true;
  bare.has_inline_frames = true;
  bare.current = false;
  p.mappings.push(bare);

  const decoded read(plain(p));
  REQUIRE(read.count(3) == 2);
  const message first = read.nth(3, 0);
  CHECK(first.number(1) == 1);
  CHECK(first.number(2) == 0x400000);
  CHECK(first.number(3) == 0x500000);
  CHECK(first.number(4) == 0x2000);
  CHECK(read.text(first, 5) == "/bin/program");
  CHECK(read.text(first, 6) == "0123abcd");
  CHECK(first.number(7) == 1);
  CHECK(first.number(8) == 0);
  CHECK(first.number(9) == 1);
  CHECK(first.number(10) == 0);
  const message second = read.nth(3, 1);
  CHECK(second.number(1) == 2);
  CHECK(second.number(3) == ~std::uint64_t{0});
  CHECK(second.number(8) == 1);
  CHECK(second.number(10) == 1);
  CHECK(second.fields.size() == 4);
}

TEST_CASE("locations carry address, mapping and several lines; functions all their names") {
  arena memory(pages(100));
  profile p(memory);
  p.mappings.resize(2);
  const auto inlined = p.add_location(1, 0x1234);
  const auto inner = p.add_function("inner()", "_Z5innerv", "inner.cpp");
  const auto outer = p.add_function("outer()", "_Z5outerv", "outer.cpp");
  p.functions[outer].start_line = 40;
  p.add_line(p.locations[inlined], {inner, 7, 3});
  p.add_line(p.locations[inlined], {outer, 42, 0});
  p.add_named_location("[truncated]");
  p.add_location(no_index, ~std::uint64_t{0});

  const decoded read(plain(p));
  check_references(read);
  REQUIRE(read.count(4) == 3);
  const message place = read.nth(4, 0);
  CHECK(place.number(2) == 2);
  CHECK(place.number(3) == 0x1234);
  REQUIRE(place.all(4).size() == 2);
  const message innermost(place.all(4)[0]);
  CHECK(innermost.number(1) == 1);
  CHECK(innermost.number(2) == 7);
  CHECK(innermost.number(3) == 3);
  const message outermost(place.all(4)[1]);
  CHECK(outermost.number(1) == 2);
  CHECK(outermost.number(2) == 42);
  CHECK(outermost.number(3) == 0);

  const message function = read.nth(5, 1);
  CHECK(read.text(function, 2) == "outer()");
  CHECK(read.text(function, 3) == "_Z5outerv");
  CHECK(read.text(function, 4) == "outer.cpp");
  CHECK(function.number(5) == 40);

  const message named = read.nth(4, 1);  // a name without address and mapping
  CHECK(named.number(2) == 0);
  CHECK(named.number(3) == 0);
  REQUIRE(named.all(4).size() == 1);
  CHECK(read.text(read.nth(5, message(named.all(4)[0]).number(1) - 1), 2) == "[truncated]");

  const message unknown = read.nth(4, 2);
  CHECK(unknown.number(3) == ~std::uint64_t{0});
  CHECK(unknown.all(4).empty());
}

TEST_CASE("samples carry frames leaf first, values with their sign, and are merged") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  const std::uint32_t a = p.add_location(no_index, 1);
  const std::uint32_t b = p.add_location(no_index, 2);
  const std::uint32_t stack[] = {b, a, b};
  const std::int64_t values[] = {1, -300};
  p.add_sample(stack, 3, nullptr, 0, values);
  p.add_sample(stack, 3, nullptr, 0, values);
  const std::int64_t half[] = {0, std::numeric_limits<std::int64_t>::min()};
  p.add_sample(stack, 2, nullptr, 0, half);
  p.add_sample(nullptr, 0, nullptr, 0, values);

  const decoded read(plain(p));
  check_references(read);
  REQUIRE(read.count(2) == 3);
  CHECK(read.nth(2, 0).packed(1) == std::vector<std::int64_t>{2, 1, 2});
  CHECK(read.nth(2, 0).packed(2) == std::vector<std::int64_t>{2, -600});
  CHECK(read.nth(2, 1).packed(1) == std::vector<std::int64_t>{2, 1});
  CHECK(read.nth(2, 1).packed(2) == std::vector<std::int64_t>{half[0], half[1]});
  CHECK(read.nth(2, 2).packed(1).empty());
}

TEST_CASE("samples of zeros only are left out") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  const std::uint32_t stack[] = {p.add_location(no_index, 1), p.add_location(no_index, 2)};
  const std::int64_t up[] = {1, 10};
  const std::int64_t down[] = {-1, -10};
  const std::int64_t partly[] = {0, 10};
  p.add_sample(stack, 1, nullptr, 0, up);
  p.add_sample(stack, 1, nullptr, 0, down);
  p.add_sample(stack, 2, nullptr, 0, partly);
  const decoded read(plain(p));
  REQUIRE(read.count(2) == 1);
  CHECK(read.nth(2, 0).packed(2) == std::vector<std::int64_t>{0, 10});
}

TEST_CASE("labels are a text or a number with its unit, a hundred of them if need be") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  std::vector<profile_label> marks;
  for (unsigned i = 0; i < 100; ++i) {
    const auto key = p.string(("key" + std::to_string(i)).c_str());
    if (i % 3 == 0) {
      marks.push_back({key, p.string(("value" + std::to_string(i)).c_str()), 0, 0});
    } else {
      marks.push_back({key, 0, -static_cast<std::int64_t>(i), i % 3 == 1 ? p.string("bytes") : 0});
    }
  }
  const std::uint32_t stack[] = {p.add_location(no_index, 1)};
  const std::int64_t values[] = {1, 10};
  p.add_sample(stack, 1, marks.data(), marks.size(), values);

  const decoded read(plain(p));
  const std::vector<std::string> labels = read.nth(2, 0).all(3);
  REQUIRE(labels.size() == 100);
  for (unsigned i = 0; i < 100; ++i) {
    const message label(labels[i]);
    CHECK(read.text(label, 1) == "key" + std::to_string(i));
    CHECK(read.text(label, 2) == (i % 3 == 0 ? "value" + std::to_string(i) : ""));
    CHECK(static_cast<std::int64_t>(label.number(3)) == (i % 3 == 0 ? 0 : -static_cast<int>(i)));
    CHECK(read.text(label, 4) == (i % 3 == 1 ? "bytes" : ""));
  }
}

TEST_CASE("labels that say nothing are left out") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  const auto key = p.string("key");
  const profile_label marks[] = {
      {0, key, 0, 0}, {key, 0, 0, 0}, {key, 0, 0, p.string("bytes")}, {key, key, 5, key}};
  const std::uint32_t stack[] = {p.add_location(no_index, 1)};
  const std::int64_t values[] = {1, 10};
  p.add_sample(stack, 1, marks, 4, values);
  const decoded read(plain(p));
  const std::vector<std::string> labels = read.nth(2, 0).all(3);
  REQUIRE(labels.size() == 2);
  CHECK(read.text(message(labels[0]), 4) == "bytes");
  CHECK(message(labels[1]).fields.size() == 2);  // a text has neither number nor unit
}

TEST_CASE("strings become valid UTF-8") {
  for (const char* good : {"plain", "gr\xc3\xbc\xc3\x9f", "\xe2\x82\xac", "\xed\x9f\xbf",
                           "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\x01\x7f"}) {
    CHECK(cleaned(good) == good);
  }
  CHECK(cleaned("a\x80z") == "a?z");  // continuation without a start
  CHECK(cleaned("a\xc3") == "a?");    // cut at the end
  CHECK(cleaned("\xe2\x82") == "??");
  CHECK(cleaned("\xe2\x82z") == "??z");
  CHECK(cleaned("\xc0\xaf") == "??");  // overlong
  CHECK(cleaned("\xc1\xbf") == "??");
  CHECK(cleaned("\xe0\x9f\xbf") == "???");
  CHECK(cleaned("\xf0\x8f\xbf\xbf") == "????");
  CHECK(cleaned("\xed\xa0\x80") == "???");       // surrogate
  CHECK(cleaned("\xf4\x90\x80\x80") == "????");  // past U+10FFFF
  CHECK(cleaned("\xf5\x80\x80\x80") == "????");
  CHECK(cleaned("\xff\xfe") == "??");
  CHECK(cleaned("\xc3\xc3\xbc") == "?\xc3\xbc");  // resumes at the next good sequence
}

TEST_CASE("compressed output is one gzip member of the plain bytes, and deterministic") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  for (unsigned i = 0; i < 2000; ++i) {
    const std::uint32_t stack[] = {p.add_location(no_index, 0x1000 + i)};
    const std::int64_t values[] = {1, static_cast<std::int64_t>(i) * 1000};
    p.add_sample(stack, 1, nullptr, 0, values);
  }
  const std::string wanted = plain(p);
  receiver packed[2];
  for (receiver& taken : packed) {
    arena scratch(pages(100));
    REQUIRE(write_pprof(p, scratch, taken.out(), true));
    CHECK(scratch.bytes() <= 256 * 1024);
  }
  CHECK(packed[0].bytes == packed[1].bytes);
  const std::string& gz = packed[0].bytes;
  REQUIRE(gz.size() > 18);
  CHECK(gz.size() < wanted.size());
  CHECK(gz.substr(0, 3) == "\x1f\x8b\x08");

  std::uint32_t crc = ~std::uint32_t{0};
  for (const char c : wanted) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320U : 0U);
  }
  crc = ~crc;
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(static_cast<unsigned char>(gz[gz.size() - 8 + i]) == ((crc >> (8 * i)) & 0xFF));
    CHECK(static_cast<unsigned char>(gz[gz.size() - 4 + i]) == ((wanted.size() >> (8 * i)) & 0xFF));
  }
}

TEST_CASE("scratch memory does not grow with the profile, and the output comes in few pieces") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  for (unsigned i = 0; i < 20000; ++i) {
    const std::uint32_t stack[] = {p.add_location(no_index, 0x1000 + i)};
    const std::int64_t values[] = {1, 10};
    p.add_sample(stack, 1, nullptr, 0, values);
  }
  receiver taken;
  arena scratch(pages(100));
  CHECK(write_pprof(p, scratch, taken.out(), false));
  CHECK(scratch.bytes() <= 64 * 1024);
  CHECK(taken.calls <= taken.bytes.size() / 4096 + 1);
  CHECK(decoded(taken.bytes).count(2) == 20000);
}

TEST_CASE("a refusal is reported and ends the writing") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  for (unsigned i = 0; i < 2000; ++i) {
    const std::uint32_t stack[] = {p.add_location(no_index, 0x1000 + i)};
    const std::int64_t values[] = {1, 10};
    p.add_sample(stack, 1, nullptr, 0, values);
  }
  for (const bool compress : {false, true}) {
    receiver whole;
    arena enough(pages(100));
    REQUIRE(write_pprof(p, enough, whole.out(), compress));
    for (std::size_t room : {std::size_t{0}, whole.bytes.size() / 2, whole.bytes.size() - 1}) {
      receiver taken;
      taken.room = room;
      arena scratch(pages(100));
      CHECK_FALSE(write_pprof(p, scratch, taken.out(), compress));
      CHECK(taken.bytes == whole.bytes.substr(0, taken.bytes.size()));
      CHECK(taken.calls <= whole.calls);
    }
  }
}

TEST_CASE("exhausted scratch memory is reported, and no broken message is sent") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  const std::string name(3000, 'x');
  for (unsigned i = 0; i < 50; ++i) {
    const std::uint32_t stack[] = {p.add_location(no_index, 0x1000 + i)};
    const std::int64_t values[] = {1, 10};
    p.add_sample(stack, 1, nullptr, 0, values);
    p.string((name + std::to_string(i)).c_str());
  }
  const std::string whole = plain(p);
  for (std::size_t chunk = 64; chunk <= 64 * 1024; chunk *= 2) {
    for (std::size_t maps = 0; maps < 3; ++maps) {
      for (const bool compress : {false, true}) {
        receiver taken;
        arena scratch(pages(maps), chunk);
        const bool good = write_pprof(p, scratch, taken.out(), compress);
        CHECK(good == !scratch.exhausted());
        if (!compress) CHECK(whole.substr(0, taken.bytes.size()) == taken.bytes);
        if (!compress && good) CHECK(taken.bytes == whole);
      }
    }
  }
}

TEST_CASE("a profile that ran out of memory is still written as a valid one") {
  for (std::size_t chunk = 64; chunk < 2048; chunk += 80) {
    for (std::size_t maps = 0; maps < 8; ++maps) {
      INFO("chunk ", chunk, ", maps ", maps);
      arena memory(pages(maps), chunk);
      profile p(memory);
      add_cpu_types(p);
      p.add_comment("comment");
      p.default_type = p.string("cpu");
      for (unsigned i = 0; i < 20; ++i) {
        const std::uint32_t stack[] = {p.add_location(no_index, i + 1),
                                       p.add_named_location(i % 2 == 0 ? "[even]" : "[odd]")};
        const profile_label mark = {p.string("thread"), p.string(std::to_string(i).c_str()), 0, 0};
        const std::int64_t values[] = {1, 10};
        p.add_sample(stack, 2, &mark, 1, values);
      }
      const decoded read(plain(p));
      if (p.complete()) CHECK(read.count(2) == 20);
      if (read.count(1) == 2) check_references(read);
    }
  }
}

TEST_CASE("indices that lead nowhere are not written") {
  arena memory(pages(100));
  profile p(memory);
  add_cpu_types(p);
  p.doc_url = 999;
  const std::uint32_t good = p.add_location(77, 1);
  p.add_line(p.locations[good], {55, 1, 0});
  const std::uint32_t stack[] = {no_index, good, 12345};
  const profile_label marks[] = {{999, 1, 0, 0}, {1, 999, 0, 0}};
  const std::int64_t values[] = {1, 10};
  p.add_sample(stack, 3, marks, 2, values);
  const decoded read(plain(p));
  check_references(read);
  CHECK(read.nth(2, 0).packed(1) == std::vector<std::int64_t>{1});
  CHECK(read.nth(2, 0).all(3).empty());
  CHECK(read.nth(4, 0).all(4).empty());
  CHECK(read.nth(4, 0).number(2) == 0);
  CHECK(read.top.number(15) == 0);
}

// zlib's level 1 makes 272,347 bytes of it, level 6 makes 248,000.
TEST_CASE("a heap profile of 10,000 stacks takes 275 KB at most") {
  arena memory(pages(1000));
  arena scratch(pages(1000));
  profile p(memory);
  heap_10000::fill(p, heap_10000::make_stacks());
  CHECK(p.samples.size() > 10000);
  receiver plain;
  receiver packed;
  CHECK(write_pprof(p, scratch, plain.out(), false));
  CHECK(write_pprof(p, scratch, packed.out(), true));
  CHECK(plain.bytes.size() > 600000);
  CHECK(packed.bytes.size() <= 275000);
}
