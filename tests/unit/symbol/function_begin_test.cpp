// tests/unit/symbol/function_begin_test.cpp - begins of functions, by the search header and by a walk over all entries.

#include "prof/symbol/function_begin.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../unwind/cfi_bytes.hpp"
#include "small_elf.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using namespace small_elfs;

constexpr std::uint64_t frames_address = 0x50000;
constexpr std::uint64_t header_address = 0x60000;

// An image with call frame information, with or without the search header.
struct frames_elf {
  cfi_section_text frames;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> table{};  // begin, place of its entry
  bool has_header = true;
  std::uint32_t count = 0xffffffffu;  // as the header says; by default the right one
  unsigned encoding = 0x3b;

  explicit frames_elf(bool debug_frame = false) {
    frames.is_debug_frame = debug_frame;
    frames.cie();
  }
  void add(std::uint64_t begin, std::uint64_t size) {
    const std::size_t entry = frames.fde(begin, size);
    table.emplace_back(begin, frames_address + entry);
  }
  std::string header() const {
    cfi_text out = {1, 0x1b, 0x03};
    out.u8(encoding).fixed(static_cast<std::int32_t>(frames_address - header_address - 4));
    out.fixed(count == 0xffffffffu ? static_cast<std::uint32_t>(table.size()) : count);
    for (const auto& row : table) {
      out.fixed(static_cast<std::int32_t>(row.first - header_address)).fixed(static_cast<std::int32_t>(row.second - header_address));
    }
    return out.bytes;
  }
  // The segment of notes is made the one of the header.
  std::string bytes() const {
    small_elf elf;
    const std::string head = header();
    elf.add(".eh_frame_hdr", SHT_PROGBITS, SHF_ALLOC, header_address, head);
    elf.add(frames.is_debug_frame ? ".debug_frame" : ".eh_frame", SHT_PROGBITS, SHF_ALLOC, frames_address, frames.out.bytes);
    std::string file = elf.bytes();
    Elf64_Phdr segment{};
    segment.p_type = has_header ? PT_GNU_EH_FRAME : PT_NULL;
    segment.p_offset = file.find(head);
    segment.p_filesz = head.size();
    segment.p_vaddr = header_address;
    std::memcpy(&file[sizeof(Elf64_Ehdr) + sizeof segment], &segment, sizeof segment);
    return file;
  }
};

std::vector<std::uint64_t> find_all(const std::string& file, const std::vector<std::uint64_t>& addresses) {
  const auto exact = std::make_unique<char[]>(file.size());
  std::memcpy(exact.get(), file.data(), file.size());
  const elf_image image(exact.get(), file.size());
  std::vector<std::uint64_t> begins(addresses.size());
  function_begins(image).find(addresses.data(), addresses.size(), begins.data());
  return begins;
}
std::uint64_t find(const std::string& file, std::uint64_t address) { return find_all(file, {address})[0]; }

using numbers = std::vector<std::uint64_t>;

frames_elf three_functions(bool has_header, bool debug_frame = false) {
  frames_elf elf(debug_frame);
  elf.has_header = has_header;
  elf.add(0x11000, 0x100);
  elf.add(0x11100, 0x50);
  elf.add(0x12000, 0x10);
  return elf;
}

TEST_CASE("an address has the begin of the function that it is in, by the header, by a walk, and of .debug_frame") {
  for (const std::string& file : {three_functions(true).bytes(), three_functions(false).bytes(), three_functions(false, true).bytes(), three_functions(true, true).bytes()}) {
    const numbers addresses = {0x10fff, 0x11000, 0x110ff, 0x11100, 0x1114f, 0x11150, 0x12000, 0x1200f, 0x12010, ~std::uint64_t{0}};
    CHECK(find_all(file, addresses) == numbers{0, 0x11000, 0x11000, 0x11100, 0x11100, 0, 0x12000, 0x12000, 0, 0});
    for (const std::uint64_t address : addresses) CHECK(find(file, address) == find_all(file, {address, address})[1]);
  }
}

TEST_CASE("begins that are known are left alone") {
  for (const bool has_header : {true, false}) {
    const std::string file = three_functions(has_header).bytes();
    const elf_image image(file.data(), file.size());
    const numbers addresses = {0x11000, 0x11000, 0x12000};
    numbers begins = {0, 7, ~std::uint64_t{0}};
    function_begins(image).find(addresses.data(), 3, begins.data());
    CHECK(begins == numbers{0x11000, 7, ~std::uint64_t{0}});
  }
}

TEST_CASE("a header of another kind is not read, and the walk finds the same") {
  frames_elf elf = three_functions(true);
  elf.encoding = 0x0b;
  elf.table[1].second = 0;
  CHECK(find(elf.bytes(), 0x11100) == 0x11100);
}

TEST_CASE("a header that lies: counts, places outside, entries that are none, wrong functions") {
  frames_elf more = three_functions(true);
  more.count = 0xfffffff0u;
  CHECK(find(more.bytes(), 0x11100) == 0x11100);
  frames_elf fewer = three_functions(true);
  fewer.count = 1;
  CHECK(find(fewer.bytes(), 0x11100) == 0);
  const std::uint64_t places[] = {0, frames_address - 1, frames_address, frames_address + 1, frames_address + 0xffff, header_address};
  for (const std::uint64_t place : places) {
    frames_elf elf = three_functions(true);
    elf.table[1].second = place;
    CHECK(find(elf.bytes(), 0x11100) == 0);
    CHECK(find(elf.bytes(), 0x12000) == 0x12000);
  }
  frames_elf swapped = three_functions(true);
  swapped.table[1].second = swapped.table[0].second;
  CHECK(find(swapped.bytes(), 0x11100) == 0);
}

TEST_CASE("no call frame information, and no image") {
  small_elf elf;
  CHECK(find(elf.bytes(), 0x11000) == 0);
  CHECK(find("nothing", 0x11000) == 0);
  frames_elf without;
  CHECK(find(without.bytes(), 0x11000) == 0);
}

TEST_CASE("an image cut short at every byte, and with every byte changed") {
  for (const bool has_header : {true, false}) {
    const std::string whole = three_functions(has_header).bytes();
    const auto check = [](const std::string& file) {
      for (const std::uint64_t begin : find_all(file, {0x11000, 0x11120, 0x12001})) CHECK(begin <= 0x12001);
    };
    for (std::size_t size = 0; size < whole.size(); ++size) check(whole.substr(0, size));
    for (std::size_t i = 0; i < whole.size(); ++i) {
      for (const unsigned change : {0x01u, 0x80u, 0xffu}) {
        std::string file = whole;
        file[i] = static_cast<char>(static_cast<unsigned char>(file[i]) ^ change);
        check(file);
      }
    }
  }
}

TEST_CASE("of overlapping entries the first keeps an address, and too many of them end the walk") {
  for (const std::size_t entries : {std::size_t{100}, std::size_t{5000}}) {
    frames_elf elf;
    elf.has_header = false;
    for (std::size_t i = 0; i < entries; ++i) elf.add(0x100000 - i, 0x10000);
    elf.add(0x200000, 0x10);
    numbers addresses;
    for (std::uint64_t i = 0; i < 5000; ++i) addresses.push_back(0x100000 + i);
    addresses.push_back(0x200000);
    const numbers begins = find_all(elf.bytes(), addresses);
    CHECK(begins[0] == 0x100000);
    CHECK(begins[4999] == 0x100000);
    CHECK(begins[5000] == (entries == 100 ? 0x200000 : 0));  // 25 million looks are more than any honest file takes
  }
}

}  // namespace

#endif
