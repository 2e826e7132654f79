// tests/unit/unwind/cfi_test.cpp - call frame information made by hand, whole and broken.

#include "prof/unwind/cfi.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "cfi_bytes.hpp"

namespace {

using namespace prof::detail;

std::uint64_t uleb_of(const cfi_text& text) {
  byte_reader reader = text.reader();
  const std::uint64_t value = reader.uleb();
  CHECK_FALSE(reader.bad());
  CHECK(reader.empty());
  return value;
}
std::int64_t sleb_of(const cfi_text& text) {
  byte_reader reader = text.reader();
  const std::int64_t value = reader.sleb();
  CHECK_FALSE(reader.bad());
  CHECK(reader.empty());
  return value;
}

bool cie_parses(const cie_text& text, cfi_cie& cie) {
  const cfi_text body = text.body();
  byte_reader reader = body.reader();
  return parse_cie_sig(reader, cfi_section{}, cie);
}
bool cie_parses(const cie_text& text) {
  cfi_cie cie;
  return cie_parses(text, cie);
}

cie_text with_letters(const std::string& letters, const cfi_text& augmentation) {
  cie_text text;
  text.letters = letters;
  text.augmentation = augmentation;
  return text;
}

// A value with an encoding, read from `text` with bias 0x1000 and data at 0x20000.
bool encoded(unsigned encoding, const cfi_text& text, std::uintptr_t& value) {
  byte_reader reader = text.reader();
  return read_encoded_sig(reader, static_cast<std::uint8_t>(encoding), 0x1000, 0x20000, value);
}

constexpr std::uintptr_t code = 0x400000;

}  // namespace

// ---- readers
// -------------------------------------------------------------------------------------

TEST_CASE("a reader gives zeros at the end of its bytes, and is bad from then on") {
  const cfi_text text = {1, 2, 3};
  byte_reader reader = text.reader();
  CHECK(reader.fixed<std::uint16_t>() == 0x0201);
  CHECK(reader.left() == 1);
  CHECK_FALSE(reader.bad());
  CHECK(reader.fixed<std::uint16_t>() == 0);
  CHECK(reader.bad());
  CHECK(reader.empty());
  CHECK(reader.next_byte() == 0);
  CHECK(reader.uleb() == 0);
  CHECK(reader.sleb() == 0);
}

TEST_CASE("every integer that ends with the bytes is read; one byte less is bad") {
  const std::string bytes = "\x11\x22\x33\x44\x55\x66\x77\x11";
  const auto both = [&](auto zero) {
    using integer = decltype(zero);
    cfi_text whole;
    whole.text(bytes.substr(0, sizeof zero));
    byte_reader reader = whole.reader();
    CHECK(reader.fixed<integer>() != 0);
    CHECK_FALSE(reader.bad());
    whole.bytes.pop_back();
    reader = whole.reader();
    CHECK(reader.fixed<integer>() == 0);
    CHECK(reader.bad());
  };
  both(std::uint8_t{});
  both(std::uint16_t{});
  both(std::uint32_t{});
  both(std::uint64_t{});
}

TEST_CASE("a reader without bytes is empty, not bad") {
  byte_reader nothing;
  CHECK(nothing.empty());
  CHECK_FALSE(nothing.bad());
  CHECK(nothing.left() == 0);
  CHECK(nothing.next_byte() == 0);
  CHECK(nothing.bad());
}

TEST_CASE("skipping and parts stay in the bytes") {
  const cfi_text text = {1, 2, 3, 4};
  byte_reader reader = text.reader();
  byte_reader inner = reader.part(3);
  CHECK(inner.left() == 3);
  CHECK(reader.left() == 1);
  inner.skip(2);
  CHECK(inner.next_byte() == 3);
  inner.skip(0);
  CHECK_FALSE(inner.bad());
  inner.skip(1);
  CHECK(inner.bad());
  CHECK(reader.part(~std::uint64_t{0}).left() == 0);
  CHECK(reader.bad());
  CHECK(reader.empty());
}

TEST_CASE("LEB128 of every size there and back") {
  for (unsigned bit = 0; bit < 64; ++bit) {
    for (const std::uint64_t more : {std::uint64_t{0}, (std::uint64_t{1} << bit) - 1}) {
      const std::uint64_t value = (std::uint64_t{1} << bit) | more;
      CAPTURE(value);
      CHECK(uleb_of(cfi_text().uleb(value)) == value);
      const auto negative = static_cast<std::int64_t>(~value);
      CHECK(sleb_of(cfi_text().sleb(negative)) == negative);
      CHECK(sleb_of(cfi_text().sleb(static_cast<std::int64_t>(value))) ==
            static_cast<std::int64_t>(value));
    }
  }
  CHECK(uleb_of({0}) == 0);
  CHECK(sleb_of({0x7f}) == -1);
  CHECK(sleb_of({0x3f}) == 63);
  CHECK(sleb_of({0x40}) == -64);
}

TEST_CASE("overlong LEB128 has the same value; bits behind the 64th are lost") {
  CHECK(uleb_of({0x85, 0x80, 0x80, 0x00}) == 5);
  CHECK(sleb_of({0x85, 0x80, 0x00}) == 5);
  CHECK(sleb_of({0xfb, 0xff, 0x7f}) == -5);
  cfi_text long_one;
  for (int i = 0; i < 30; ++i) long_one.u8(0xff);
  CHECK(uleb_of(cfi_text().add(long_one).u8(0x7f)) == ~std::uint64_t{0});
  CHECK(sleb_of(cfi_text().add(long_one).u8(0x7f)) == -1);
  cfi_text zeros;
  for (int i = 0; i < 30; ++i) zeros.u8(0x80);
  CHECK(uleb_of(cfi_text().add(zeros).u8(1)) == 0);
}

TEST_CASE("LEB128 that does not end is bad") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{40}}) {
    cfi_text text;
    for (std::size_t i = 0; i < size; ++i) text.u8(0xff);
    byte_reader reader = text.reader();
    reader.uleb();
    CHECK(reader.bad());
    reader = text.reader();
    reader.sleb();
    CHECK(reader.bad());
  }
}

// ---- encoded pointers
// ----------------------------------------------------------------------------

TEST_CASE("every format of an encoded pointer, signed ones too") {
  struct format {
    unsigned encoding;
    cfi_text text;
    std::intptr_t value;
  };
  const cfi_text word = cfi_text().fixed(std::uint64_t{0x123456789abc});
  const cfi_text negative = cfi_text().fixed(std::int64_t{-0x123456789abc});
  const std::vector<format> formats = {
      {0x00, word, 0x123456789abc},
      {0x04, word, 0x123456789abc},
      {0x0c, negative, -0x123456789abc},
      {0x01, cfi_text().uleb(0x12345), 0x12345},
      {0x09, cfi_text().sleb(-0x12345), -0x12345},
      {0x02, cfi_text().fixed(std::uint16_t{0xfffe}), 0xfffe},
      {0x0a, cfi_text().fixed(std::int16_t{-2}), -2},
      {0x03, cfi_text().fixed(std::uint32_t{0xfffffffe}), 0xfffffffe},
      {0x0b, cfi_text().fixed(std::int32_t{-2}), -2},
  };
  for (const format& f : formats) {
    CAPTURE(f.encoding);
    const auto value = static_cast<std::uintptr_t>(f.value);
    const auto here = reinterpret_cast<std::uintptr_t>(f.text.begin());
    std::uintptr_t read = 0;
    CHECK(encoded(f.encoding, f.text, read));
    CHECK(read == value + 0x1000);
    CHECK(encoded(f.encoding | 0x10, f.text, read));
    CHECK(read == value + here);
    CHECK(encoded(f.encoding | 0x30, f.text, read));
    CHECK(read == value + 0x20000);
    for (const unsigned base : {0x20u, 0x40u, 0x50u, 0x60u, 0x70u, 0x80u, 0x90u}) {
      CAPTURE(base);
      CHECK_FALSE(encoded(f.encoding | base, f.text, read));
    }
    cfi_text cut = f.text;
    cut.bytes.pop_back();
    CHECK_FALSE(encoded(f.encoding, cut, read));
  }
}

TEST_CASE("other formats of encoded pointers, and none, are refused") {
  const cfi_text text = cfi_text().fixed(std::uint64_t{8}).fixed(std::uint64_t{8});
  std::uintptr_t value = 0;
  for (const unsigned encoding : {0x05u, 0x06u, 0x07u, 0x08u, 0x0du, 0x0eu, 0x0fu, 0xffu}) {
    CAPTURE(encoding);
    CHECK_FALSE(encoded(encoding, text, value));
  }
}

// ---- CIEs
// ----------------------------------------------------------------------------------------

TEST_CASE("a CIE of every version") {
  for (const unsigned version : {1u, 3u, 4u}) {
    CAPTURE(version);
    cie_text text;
    text.version = version;
    text.code_align = 4;
    text.data_align = -4;
    text.return_register = 30;
    cfi_cie cie;
    CHECK(cie_parses(text, cie));
    CHECK(cie.code_align == 4);
    CHECK(cie.data_align == -4);
    CHECK(cie.return_register == 30);
    CHECK(cie.address_encoding == 0);
    CHECK(cie.has_augmentation);
    CHECK_FALSE(cie.is_signal_frame);
    CHECK(cie.instructions.left() == text.instructions.bytes.size());
  }
  for (const unsigned version : {0u, 2u, 5u, 255u}) {
    CAPTURE(version);
    cie_text text;
    text.version = version;
    CHECK_FALSE(cie_parses(text));
  }
}

TEST_CASE("version 1 has a byte for the return register, later ones a LEB128") {
  cie_text text;
  text.return_register = 0x90;
  cfi_cie cie;
  CHECK(cie_parses(text, cie));
  CHECK(cie.return_register == 0x90);
  text.version = 3;
  CHECK(cie_parses(text, cie));
  CHECK(cie.return_register == 0x90);
}

TEST_CASE("version 4 with segments or other addresses is refused") {
  for (const std::size_t at : {std::size_t{4}, std::size_t{5}}) {  // behind version and "zR"
    cie_text text;
    text.version = 4;
    cfi_text body = text.body();
    body.bytes[at] = 4;
    byte_reader reader = body.reader();
    cfi_cie cie;
    CHECK_FALSE(parse_cie_sig(reader, cfi_section{}, cie));
  }
}

TEST_CASE("augmentations: every letter that compilers write, in any order") {
  cfi_cie cie;
  CHECK(cie_parses(with_letters("", {}), cie));
  CHECK_FALSE(cie.has_augmentation);
  CHECK(cie_parses(with_letters("z", {}), cie));
  CHECK(cie.has_augmentation);
  CHECK(cie_parses(with_letters("zR", {0x1b}), cie));
  CHECK(cie.address_encoding == 0x1b);
  CHECK(cie_parses(with_letters("zRS", {0x1b}), cie));
  CHECK(cie.is_signal_frame);
  CHECK(cie_parses(with_letters("zPLR", {0x9b, 1, 2, 3, 4, 0x1b, 0x1b}), cie));
  CHECK(cie.address_encoding == 0x1b);
  CHECK_FALSE(cie.is_signal_frame);
  CHECK(cie_parses(with_letters("zRPLBS", {0x1b, 0x03, 1, 2, 3, 4, 0x03}), cie));
  CHECK(cie.is_signal_frame);
  CHECK(cie_parses(with_letters("zRB", {0x1b}), cie));
  CHECK(cie.instructions.left() == cie_text{}.instructions.bytes.size());
}

TEST_CASE("augmentations of more letters than anybody writes are refused") {
  cfi_cie cie;
  CHECK(cie_parses(with_letters("zR" + std::string(13, 'B'), {0x1b}), cie));
  CHECK_FALSE(cie_parses(with_letters("zR" + std::string(14, 'B'), {0x1b}), cie));
  CHECK_FALSE(cie_parses(with_letters("zR" + std::string(5000, 'B'), {0x1b}), cie));
}

TEST_CASE("an unknown letter is stepped over by the length of the data") {
  cfi_cie cie;
  CHECK(cie_parses(with_letters("zRq", {0x1b, 9, 9, 9}), cie));
  CHECK(cie.address_encoding == 0x1b);
  CHECK(cie.instructions.left() == cie_text{}.instructions.bytes.size());
  CHECK_FALSE(cie_parses(with_letters("R", {0x1b})));  // no length
  CHECK_FALSE(cie_parses(with_letters("eh", {})));
}

TEST_CASE("augmentation data that ends too soon is refused") {
  CHECK_FALSE(cie_parses(with_letters("zR", {})));
  CHECK_FALSE(cie_parses(with_letters("zRL", {0x1b})));
  CHECK_FALSE(cie_parses(with_letters("zP", {0x1b, 1, 2, 3})));
  CHECK_FALSE(cie_parses(with_letters("zP", {0x0f, 1, 2, 3, 4})));
}

TEST_CASE("a CIE cut anywhere before its instructions is refused") {
  for (const unsigned version : {1u, 3u, 4u}) {
    cie_text text;
    text.version = version;
    const cfi_text body = text.body();
    const std::size_t head = body.bytes.size() - text.instructions.bytes.size();
    for (std::size_t size = 0; size <= body.bytes.size(); ++size) {
      CAPTURE(size);
      cfi_text cut;
      cut.text(body.bytes.substr(0, size));
      byte_reader reader = cut.reader();
      cfi_cie cie;
      CHECK(parse_cie_sig(reader, cfi_section{}, cie) == (size >= head));
    }
  }
}

// ---- FDEs
// ----------------------------------------------------------------------------------------

TEST_CASE("an FDE of .eh_frame and of .debug_frame") {
  for (const bool is_debug_frame : {false, true}) {
    CAPTURE(is_debug_frame);
    cfi_section_text text;
    text.is_debug_frame = is_debug_frame;
    const std::size_t cie = text.cie();
    const std::size_t first = text.fde(code, 0x100, {0x41, 0x0e, 16});
    text.cie(with_letters("", {}));
    const std::size_t second = text.fde(code + 0x100, 0x10, {}, false);
    cfi_fde fde;
    REQUIRE(parse_fde_sig(text.at(first), text.section(), fde));
    CHECK(fde.begin == code);
    CHECK(fde.limit == code + 0x100);
    CHECK(fde.cie.has_augmentation);
    CHECK(fde.instructions.left() == 3);
    CHECK(*fde.instructions.at() == 0x41);
    REQUIRE(parse_fde_sig(text.at(second), text.section(), fde));
    CHECK(fde.begin == code + 0x100);
    CHECK_FALSE(fde.cie.has_augmentation);
    CHECK(fde.instructions.empty());
    CHECK_FALSE(parse_fde_sig(text.at(cie), text.section(), fde));
  }
}

TEST_CASE("absolute addresses get the section's bias, sizes do not") {
  cfi_section_text text;
  text.is_debug_frame = true;
  text.cie();
  const std::size_t entry = text.fde(0x1200, 0x34);
  cfi_section section = text.section();
  section.bias = 0x550000;
  cfi_fde fde;
  REQUIRE(parse_fde_sig(text.at(entry), section, fde));
  CHECK(fde.begin == 0x551200);
  CHECK(fde.limit == 0x551234);
}

TEST_CASE("addresses relative to their place, as compilers write them") {
  cfi_section_text text;
  text.cie(with_letters("zR", {0x1b}));
  const std::size_t entry = text.out.bytes.size();
  cfi_text body;
  body.fixed(static_cast<std::uint32_t>(entry + 4)).fixed(std::int32_t{-0x5000});
  body.fixed(std::uint32_t{0x80}).u8(0);
  text.entry(body);
  cfi_fde fde;
  REQUIRE(parse_fde_sig(text.at(entry), text.section(), fde));
  CHECK(fde.begin == reinterpret_cast<std::uintptr_t>(text.at(entry) + 8) - 0x5000);
  CHECK(fde.limit - fde.begin == 0x80);
}

TEST_CASE("augmentation data of an FDE is stepped over") {
  cfi_section_text text;
  text.cie();
  const cfi_text behind_augmentation = {3, 9, 9, 9, 0x41};
  const std::size_t entry = text.fde(code, 16, behind_augmentation, false);
  cfi_fde fde;
  REQUIRE(parse_fde_sig(text.at(entry), text.section(), fde));
  CHECK(fde.instructions.left() == 1);
  CHECK(*fde.instructions.at() == 0x41);
}

TEST_CASE("64-bit lengths: four bytes of CIE pointer in .eh_frame") {
  cfi_section_text text;
  text.long_lengths = true;
  text.cie();
  const std::size_t entry = text.fde(code, 0x100, {0x41});
  cfi_fde fde;
  REQUIRE(parse_fde_sig(text.at(entry), text.section(), fde));
  CHECK(fde.begin == code);
  CHECK(fde.instructions.left() == 1);
}

TEST_CASE("64-bit .debug_frame has ids of eight bytes, and may stand beside a 32-bit one") {
  cfi_section_text text;
  text.is_debug_frame = true;
  text.long_lengths = true;
  cfi_text cie;
  text.entry(cie.fixed(~std::uint64_t{0}).add(cie_text{}.body()));
  cfi_text body;
  const std::size_t entry =
      text.entry(body.fixed(std::uint64_t{0}).fixed(code).fixed(std::uint64_t{16}).u8(0).add({0x41}));
  text.long_lengths = false;
  const std::size_t narrow_cie = text.cie();
  const std::size_t narrow = text.fde(code + 0x100, 0x20, {0x42});
  cfi_fde fde;
  REQUIRE(parse_fde_sig(text.at(entry), text.section(), fde));
  CHECK(fde.begin == code);
  CHECK(fde.limit == code + 16);
  CHECK(fde.instructions.left() == 1);
  CHECK(*fde.instructions.at() == 0x41);
  REQUIRE(parse_fde_sig(text.at(narrow), text.section(), fde));
  CHECK(fde.begin == code + 0x100);
  CHECK_FALSE(parse_fde_sig(text.at(0), text.section(), fde));  // a CIE
  CHECK_FALSE(parse_fde_sig(text.at(narrow_cie), text.section(), fde));
}

TEST_CASE("a section cut anywhere in its last entry has no such FDE") {
  for (const bool is_debug_frame : {false, true}) {
    cfi_section_text text;
    text.is_debug_frame = is_debug_frame;
    text.cie();
    const std::size_t entry = text.fde(code, 0x100, {0x41, 0x0e, 16});
    for (std::size_t size = 0; size < text.out.bytes.size(); ++size) {
      CAPTURE(size);
      const cfi_text cut = cfi_text().text(text.out.bytes.substr(0, size));
      cfi_section section = text.section();
      section.begin = cut.begin();
      section.end = cut.end();
      cfi_fde fde;
      CHECK_FALSE(parse_fde_sig(cut.begin() + entry, section, fde));
    }
  }
}

TEST_CASE("an FDE that is cut by its own length is refused") {
  cfi_section_text text;
  text.cie();
  const std::size_t entry = text.fde(code, 0x100);
  const std::uint32_t whole = 4 + 8 + 8 + 1;
  for (std::uint32_t length = 0; length <= whole; ++length) {
    CAPTURE(length);
    std::memcpy(&text.out.bytes[entry], &length, sizeof length);
    cfi_fde fde;
    CHECK(parse_fde_sig(text.at(entry), text.section(), fde) == (length == whole));
  }
}

TEST_CASE("an FDE of no code, or of code that wraps around, is refused") {
  cfi_section_text text;
  text.cie();
  const std::size_t empty = text.fde(code, 0);
  const std::size_t wraps = text.fde(code, ~std::uintptr_t{0} - 0x1000);
  const std::size_t last = text.fde(~std::uintptr_t{0} - 16, 16);
  cfi_fde fde;
  CHECK_FALSE(parse_fde_sig(text.at(empty), text.section(), fde));
  CHECK_FALSE(parse_fde_sig(text.at(wraps), text.section(), fde));
  CHECK(parse_fde_sig(text.at(last), text.section(), fde));
}

TEST_CASE("a CIE pointer that leads nowhere is refused") {
  for (const bool is_debug_frame : {false, true}) {
    cfi_section_text text;
    text.is_debug_frame = is_debug_frame;
    text.cie();
    const std::size_t first = text.fde(code, 0x100);
    const std::size_t entry = text.fde(code + 0x100, 0x100);
    const auto to_first = static_cast<std::uint32_t>(is_debug_frame ? first : entry + 4 - first);
    for (const std::uint32_t pointer : {to_first, 2u, 0x7fffffffu, 0xfffffff0u}) {
      CAPTURE(pointer);
      std::memcpy(&text.out.bytes[entry + 4], &pointer, sizeof pointer);
      cfi_fde fde;
      CHECK_FALSE(parse_fde_sig(text.at(entry), text.section(), fde));
    }
  }
}

TEST_CASE("an entry outside of the section is refused") {
  cfi_section_text text;
  text.cie();
  const std::size_t entry = text.fde(code, 0x100);
  cfi_section section = text.section();
  cfi_fde fde;
  CHECK_FALSE(parse_fde_sig(section.end, section, fde));
  CHECK_FALSE(parse_fde_sig(section.begin - 8, section, fde));
  section.begin = text.at(entry) + 1;
  CHECK_FALSE(parse_fde_sig(text.at(entry), section, fde));
}

TEST_CASE("entries follow each other until a terminator or the end") {
  cfi_section_text text;
  text.cie();
  text.fde(code, 0x10);
  text.fde(code + 0x10, 0x10);
  const auto count = [&] {
    byte_reader rest = text.out.reader();
    byte_reader body;
    int entries = 0;
    while (next_entry_sig(rest, body)) ++entries;
    return entries;
  };
  CHECK(count() == 3);
  text.terminator();
  text.fde(code + 0x20, 0x10);
  CHECK(count() == 3);
}

// ---- .eh_frame_hdr
// -------------------------------------------------------------------------------

namespace {

// A header with two entries, relative to itself.
struct header_text {
  cfi_text text;
  explicit header_text(unsigned pointer_encoding = 0x1b) {
    text.u8(1).u8(pointer_encoding).u8(0x03).u8(0x3b).fixed(std::int32_t{0x4000}).fixed(2u);
    text.fixed(std::int32_t{-0x2000}).fixed(std::int32_t{0x4020});
    text.fixed(std::int32_t{0x1000}).fixed(std::int32_t{0x4040});
  }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(text.begin()); }
  std::uintptr_t of(const cfi_byte* place) const {
    return reinterpret_cast<std::uintptr_t>(place) - address();
  }
};

}  // namespace

TEST_CASE("a search header says where .eh_frame is, and each function with its FDE") {
  const header_text made;
  cfi_header header;
  REQUIRE(parse_header_sig(made.address(), header));
  CHECK(header.count == 2);
  CHECK(made.of(header.eh_frame) == 0x4004);  // relative to its own place
  CHECK(header.start(0) == made.address() - 0x2000);
  CHECK(header.start(1) == made.address() + 0x1000);
  CHECK(made.of(header.fde(0)) == 0x4020);
  CHECK(made.of(header.fde(1)) == 0x4040);
  const header_text relative(0x3b);
  REQUIRE(parse_header_sig(relative.address(), header));
  CHECK(relative.of(header.eh_frame) == 0x4000);  // relative to the header
}

TEST_CASE("another kind of search header is refused") {
  for (const auto& changed : {std::pair{0u, 2},
                              {1u, 0x1c},
                              {1u, 0xff},
                              {1u, 0x9b},
                              {2u, 0x0b},
                              {2u, 0xff},
                              {3u, 0x1b},
                              {3u, 0xff}}) {
    const unsigned at = changed.first;
    const int value = changed.second;
    CAPTURE(at);
    CAPTURE(value);
    header_text made;
    made.text.bytes[at] = static_cast<char>(value);
    cfi_header header;
    CHECK_FALSE(parse_header_sig(made.address(), header));
  }
}
