// tests/unit/symbol/dwarf_sections_test.cpp - sections as they are, compressed in both ways, and not to be had.

#include "prof/symbol/dwarf_sections.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "small_elf.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using namespace small_elfs;

std::string to_std(text_view text) { return std::string(text.data, text.size); }

std::string gnu(const std::string& text, std::uint64_t size) {
  std::string out = "ZLIB";
  for (int i = 7; i >= 0; --i) out += static_cast<char>(size >> (8 * i) & 255);
  return out + packed(text);
}

struct read_result {
  bool is_read = false;
  unread problem = unread::none;
  std::string info, abbrev, line, str, line_str;
  std::size_t unpacked = 0;
  std::size_t arena_bytes = 0;
};
// `most`: how often it is told to go on.
read_result read(const std::string& file, std::size_t budget = 1 << 20, int most = 1 << 30) {
  arena memory(os_pages);
  const elf_image image(file.data(), file.size());
  dwarf_section_reader reader(image, memory, budget, [](void* left) { return (*static_cast<int*>(left))-- > 0; }, &most);
  dwarf_sections sections;
  read_result result;
  result.is_read = reader.read(sections);
  result.problem = reader.problem();
  result.info = to_std(sections.info);
  result.abbrev = to_std(sections.abbrev);
  result.line = to_std(sections.line);
  result.str = to_std(sections.str);
  result.line_str = to_std(sections.line_str);
  result.unpacked = reader.unpacked();
  result.arena_bytes = memory.bytes();
  return result;
}
read_result read_info(const std::string& content, std::uint64_t flags, const char* name = ".debug_info") {
  small_elf elf;
  elf.add(name, SHT_PROGBITS, flags, 0, content);
  return read(elf.bytes());
}

TEST_CASE("sections are read until the time is over, within one, too") {
  small_elf elf;
  elf.add(".debug_info", SHT_PROGBITS, 0, 0, "INFO");
  const std::string large(300000, 'z');  // some blocks
  elf.add(".debug_str", SHT_PROGBITS, SHF_COMPRESSED, 0, compressed(large, large.size()));
  const std::string file = elf.bytes();
  const read_result whole = read(file);
  REQUIRE(whole.is_read);
  REQUIRE(whole.str == large);
  for (int most = 0; most < 2 + 5; ++most) {
    const read_result cut = read(file, 1 << 20, most);
    CHECK_FALSE(cut.is_read);
    CHECK(cut.problem == unread::late);
  }
}

TEST_CASE("each section is found by its whole name") {
  small_elf elf;
  elf.add(".debug_line_str", SHT_PROGBITS, 0, 0, "LINE_STR");
  elf.add(".debug_info.dwo", SHT_PROGBITS, 0, 0, "DWO");
  elf.add(".debug_in", SHT_PROGBITS, 0, 0, "IN");
  elf.add(".debug_info", SHT_PROGBITS, 0, 0, "INFO");
  elf.add(".debug_line", SHT_PROGBITS, 0, 0, "LINE");
  elf.add(".debug_str", SHT_PROGBITS, 0, 0, "STR");
  const read_result found = read(elf.bytes());
  CHECK(found.is_read);
  CHECK(found.problem == unread::none);
  CHECK(found.info == "INFO");
  CHECK(found.line == "LINE");
  CHECK(found.str == "STR");
  CHECK(found.line_str == "LINE_STR");
  CHECK(found.abbrev == "");
  CHECK(found.unpacked == 0);
}

TEST_CASE("a section's name at the very end of the names, without a terminator") {
  small_elf elf;
  elf.add(".debug_info", SHT_PROGBITS, 0, 0, "INFO");
  std::string file = elf.bytes();
  Elf64_Ehdr head;
  std::memcpy(&head, file.data(), sizeof head);
  Elf64_Shdr names;
  const std::size_t at = head.e_shoff + head.e_shstrndx * sizeof names;
  std::memcpy(&names, file.data() + at, sizeof names);
  // "\0\0.debug_info\0\0": the names of none, of it, and of the names themselves.
  names.sh_size = 1 + 1 + std::strlen(".debug_info");
  std::memcpy(&file[at], &names, sizeof names);
  CHECK(read(file).info == "INFO");
}

TEST_CASE("a section without bytes in the file is empty") {
  small_elf elf;
  elf.add(".debug_info", SHT_NOBITS, 0, 0, "INFO");
  const read_result found = read(elf.bytes());
  CHECK(found.is_read);
  CHECK(found.info == "");
  CHECK(read("no ELF at all").is_read);
}

TEST_CASE("compressed sections of both kinds are unpacked") {
  CHECK(read_info(compressed("hello", 5), SHF_COMPRESSED).info == "hello");
  CHECK(read_info(gnu("hello", 5), 0, ".zdebug_info").info == "hello");
  CHECK(read_info(compressed("hello", 5), SHF_COMPRESSED).unpacked == 5);
  const read_result plain = read_info(compressed("hello", 5), 0);
  CHECK(plain.info == compressed("hello", 5));  // nobody says that it is compressed
}

// G2: an unaligned SHF_COMPRESSED header.
TEST_CASE("trap: a compressed section may begin at any byte") {
  for (std::size_t shift = 0; shift < 8; ++shift) {
    small_elf elf;
    elf.add(".pad", SHT_PROGBITS, 0, 0, std::string(shift, 'p'));
    elf.add(".debug_info", SHT_PROGBITS, SHF_COMPRESSED, 0, compressed("shifted", 7));
    elf.add(".zdebug_str", SHT_PROGBITS, 0, 0, gnu("gnu", 3));
    const read_result found = read(elf.bytes());
    CHECK(found.is_read);
    CHECK(found.info == "shifted");
    CHECK(found.str == "gnu");
  }
}

TEST_CASE("what cannot be unpacked says why") {
  CHECK(read_info(compressed("hello", 5, 2), SHF_COMPRESSED).problem == unread::zstd);
  CHECK(read_info(compressed("hello", 5, 3), SHF_COMPRESSED).problem == unread::damaged);
  CHECK(read_info(compressed("hello", 4), SHF_COMPRESSED).problem == unread::damaged);
  CHECK(read_info(compressed("hello", 6), SHF_COMPRESSED).problem == unread::damaged);
  CHECK(read_info(gnu("hello", 6), 0, ".zdebug_info").problem == unread::damaged);
  CHECK(read_info("ZLIC" + gnu("hello", 5).substr(4), 0, ".zdebug_info").problem == unread::damaged);
  for (const read_result& found : {read_info(compressed("hello", 5, 2), SHF_COMPRESSED), read_info(gnu("hello", 6), 0, ".zdebug_info")}) {
    CHECK_FALSE(found.is_read);
  }
}

TEST_CASE("compressed sections cut short at every byte") {
  const std::string with_header = compressed("hello", 5);
  for (std::size_t size = 0; size < with_header.size(); ++size) {
    CHECK(read_info(with_header.substr(0, size), SHF_COMPRESSED).problem == unread::damaged);
  }
  const std::string of_gnu = gnu("hello", 5);
  for (std::size_t size = 0; size < of_gnu.size(); ++size) {
    CHECK(read_info(of_gnu.substr(0, size), 0, ".zdebug_info").problem == unread::damaged);
  }
}

TEST_CASE("a size that cannot be takes no memory, and one beyond the budget neither") {
  for (const std::uint64_t size : {std::uint64_t{1} << 20, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    const read_result found = read_info(compressed("hello", size), SHF_COMPRESSED);
    CHECK(found.problem == unread::damaged);
    CHECK(found.arena_bytes == 0);
  }
  small_elf elf;
  elf.add(".debug_info", SHT_PROGBITS, SHF_COMPRESSED, 0, compressed(std::string(600, 'a'), 600));
  elf.add(".debug_str", SHT_PROGBITS, SHF_COMPRESSED, 0, compressed(std::string(600, 'b'), 600));
  const std::string file = elf.bytes();
  CHECK(read(file, 1200).is_read);
  CHECK(read(file, 1200).unpacked == 1200);
  CHECK(read(file, 1199).problem == unread::too_large);
  CHECK(read(file, 0).problem == unread::too_large);
}

}  // namespace

#endif
