// tests/fuzz/identity_fuzz.cpp - of any bytes that lie where a library is loaded: the file made from them has only symbols of
// code, and all that it says lies in it. Of any bytes taken for a file: what it says of other files lies in it, and a
// debug file's name leads out of no folder.

#include <sys/mman.h>

#include <algorithm>

#include "fuzz.hpp"
#include "prof/symbol/debug_files.hpp"
#include "prof/symbol/elf.hpp"
#include "prof/symbol/memory_image.hpp"

namespace {

using namespace prof::detail;

// Pages with nothing behind them.
char* library_pages(std::size_t size) {
  static char* const pages = static_cast<char*>(
      mmap(nullptr, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  static const bool is_open = munmap(pages + size, 4096) == 0;
  FUZZ_REQUIRE(is_open);
  return pages;
}

bool is_code(const elf_image& image, std::uint64_t address) {
  Elf64_Phdr s{};
  for (std::size_t i = 0; image.segment(i, s); ++i) {
    if (s.p_type == PT_LOAD && (s.p_flags & PF_X) != 0 && address - s.p_vaddr < s.p_filesz) return true;
  }
  return false;
}

void check_symbols(const elf_image& image, const fuzz::pages& pages) {
  Elf64_Shdr head{};
  FUZZ_REQUIRE(image.find_section(SHT_DYNSYM, head) != 0);
  const text_view symbols = image.content(head);
  FUZZ_REQUIRE(symbols.size != 0 && pages.book.holds(symbols));
  for (std::size_t at = 0; symbols.size - at >= sizeof(Elf64_Sym); at += sizeof(Elf64_Sym)) {
    Elf64_Sym s;
    std::memcpy(&s, symbols.data + at, sizeof s);
    FUZZ_REQUIRE(s.st_shndx == SHN_UNDEF || is_code(image, s.st_value));
  }
}

void check_memory(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t room = std::size_t{64} << 10;
  char* const at = library_pages(room);
  std::memset(at, 0, room);
  std::memcpy(at, data, size < room ? size : room);
  code_range range;
  range.header = reinterpret_cast<std::uintptr_t>(at);
  range.image = true;
  range.never_unloaded = true;
  range.build_id_length = size % (build_id_size + 1);
  elf_room scratch;
  range.cfi = find_cfi_sig(range.header, scratch);
  const fuzz::pages pages;
  arena memory(fuzz::pages::from(), fuzz::pages::first_chunk);
  const elf_image image = memory_image(memory).copy(range);
  if (!image.usable()) return;
  check_symbols(image, pages);
  FUZZ_REQUIRE(image.build_id().size == range.build_id_length);
  std::uint64_t addresses[room / 512];
  std::size_t count = 0;
  for (std::uint64_t offset = 0; offset < room; offset += 512) count += image.address_of(offset, addresses[count]) ? 1 : 0;
  std::sort(addresses, addresses + count);
  symbol_search names(image, memory);
  names.find(addresses, count);
  for (std::size_t i = 0; i < count; ++i) {
    const elf_symbol* const found = names.symbol_of(i);
    if (found != nullptr) FUZZ_REQUIRE(pages.book.holds(names.name_of(*found)));
  }
}

void check_links(const std::uint8_t* data, std::size_t size) {
  const elf_image image(data, size);
  const char* const begin = reinterpret_cast<const char*>(data);
  const debug_link link = debug_link_of(image);
  FUZZ_REQUIRE(link.name.size == 0 || fuzz::lies_in(link.name, begin, size));
  FUZZ_REQUIRE(link.name.find('/') == link.name.size && link.name.find('\0') == link.name.size);
  const supplement_link other = supplement_link_of(image);
  FUZZ_REQUIRE(other.path.size == 0 || fuzz::lies_in(other.path, begin, size));
  FUZZ_REQUIRE(other.id.size == 0 || fuzz::lies_in(other.id, begin, size));
  FUZZ_REQUIRE(other.path.find('\0') == other.path.size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  check_memory(data, size);
  check_links(data, size);
  return 0;
}
