// tests/unit/symbol/memory_image_test.cpp - dynamic symbols read in memory against those of the files.

#include "prof/symbol/memory_image.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "../code/own_library.hpp"
#include "symbol_at.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

std::string text_of(text_view text) { return std::string(text.data, text.size); }

struct dynamic_function {
  std::uint64_t offset;  // of its first byte in the file
  std::string name;
};

// Those with a size, by the section table of the file.
std::vector<dynamic_function> dynamic_functions(const elf_image& image) {
  std::vector<dynamic_function> found;
  Elf64_Shdr head{};
  Elf64_Shdr names{};
  if (image.find_section(SHT_DYNSYM, head) == 0) return found;
  REQUIRE(image.section(head.sh_link, names));
  const text_view symbols = image.content(head);
  for (std::size_t at = 0; at < symbols.size; at += sizeof(Elf64_Sym)) {
    Elf64_Sym symbol;
    std::memcpy(&symbol, symbols.data + at, sizeof symbol);
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF || symbol.st_size == 0) continue;
    Elf64_Phdr s{};
    for (std::size_t i = 0; image.segment(i, s); ++i) {
      if (s.p_type != PT_LOAD || symbol.st_value < s.p_vaddr || symbol.st_value - s.p_vaddr >= s.p_filesz) continue;
      found.push_back({symbol.st_value - s.p_vaddr + s.p_offset,
                       text_of(elf_image::string_at(image.content(names), symbol.st_name))});
    }
  }
  return found;
}

std::string section_content(const elf_image& image, const char* name) {
  Elf64_Shdr head{};
  return image.find_section(name, head) == 0 ? "none" : text_of(image.content(head));
}

}  // namespace

TEST_CASE("of every library the memory has the functions that its file exports, and its frames") {
  const code_map* const map = read_code_map();
  int compared = 0;
  for (std::size_t i = 0; i < map->current; ++i) {
    const code_range& range = map->ranges[i];
    if (range.path[0] != '/') continue;
    CAPTURE(range.path);
    std::size_t size = 0;
    const void* const pages = os_map_file(range.path, size);
    const elf_image file(pages, size);
    arena memory(os_pages);
    memory_image source(memory);
    const elf_image copy = source.copy(range);
    REQUIRE(copy.usable());
    CHECK(text_of(copy.build_id()) == text_of(file.build_id()));
    CHECK(copy.machine() == file.machine());
    for (const dynamic_function& function : dynamic_functions(file)) {
      const found_symbol found = symbol_at_offset(copy, function.offset);
      REQUIRE(found.is_found);
      CHECK(found.symbol.start == symbol_at_offset(file, function.offset).symbol.start);
      ++compared;
    }
    if (range.cfi.header != 0) {
      for (const char* const section : {".eh_frame_hdr", ".eh_frame"}) {  // of the copy up to the next one
        const std::string frames = section_content(file, section);
        CHECK(section_content(copy, section).substr(0, frames.size()) == frames);
      }
    }
    os_unmap_sig(const_cast<void*>(pages), size);
  }
  CHECK(compared > 1000);
}

TEST_CASE("what has gone, or may have, gives nothing") {
  const own_registry registry;
  own_library library;
  code_range range = code_of(read_code_map_sig(nullptr, *registry.code), library.path);
  arena memory(os_pages);
  CHECK(memory_image(memory).copy(range).usable());
  code_range other = range;
  other.build_id[0] = static_cast<unsigned char>(other.build_id[0] ^ 1);  // another library came to this place
  CHECK_FALSE(memory_image(memory).copy(other).usable());
  other = range;
  other.current = false;
  CHECK_FALSE(memory_image(memory).copy(other).usable());
  library.unload();
  CHECK_FALSE(memory_image(memory).copy(range).usable());
}

namespace {

// A library by hand, in pages of memory: one function, a table of symbols, a hash table.
class small_library {
 public:
  static constexpr std::size_t size = 3 * 4096;
  enum place : std::size_t {
    header_at = 0,
    dynamic_at = 0x200,
    symbols_at = 0x400,
    names_at = 0x600,
    hash_at = 0x800,
    code_at = 0x1000
  };

  explicit small_library(bool absolute = false, bool gnu = false)
      : bytes(static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    REQUIRE(bytes != MAP_FAILED);
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = 3;
    header.e_machine = EM_X86_64;
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    put(header_at, header);
    segment(0, PT_LOAD, PF_R, 0, 0x1000);
    segment(1, PT_LOAD, PF_R | PF_X, code_at, 0x1000);
    segment(2, PT_DYNAMIC, PF_R, dynamic_at, 0x100);
    const std::uint64_t base = absolute ? address() : 0;
    entry(0, DT_SYMTAB, base + symbols_at);
    entry(1, DT_STRTAB, base + names_at);
    entry(2, DT_STRSZ, 32);
    entry(3, gnu ? DT_GNU_HASH : DT_HASH, base + hash_at);
    symbol(1, 1, code_at + 0x10, 0x20);
    symbol(2, 7, code_at + 0x40, 0);  // has no size, reaches to the next
    symbol(3, 12, code_at + 0x80, 0x10);
    std::memcpy(bytes + names_at, "\0first\0open\0last", 17);
    if (gnu) {
      const std::uint32_t words[] = {2, 1, 1, 0, 0, 0, 1, 3, 0, 1, 1};  // buckets 1 and 3, chains of 1 2 and of 3
      std::memcpy(bytes + hash_at, words, sizeof words);
    } else {
      word(0, 1);
      word(1, 4);
    }
  }
  ~small_library() { munmap(bytes, size); }
  small_library(const small_library&) = delete;
  small_library& operator=(const small_library&) = delete;

  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(bytes); }
  template <class T>
  void put(std::size_t at, const T& value) {
    std::memcpy(bytes + at, &value, sizeof value);
  }
  void segment(std::size_t i, std::uint32_t type, std::uint32_t flags, std::uint64_t at, std::uint64_t bytes_of) {
    Elf64_Phdr made{};
    made.p_type = type;
    made.p_flags = flags;
    made.p_offset = made.p_vaddr = at;
    made.p_filesz = made.p_memsz = bytes_of;
    put(sizeof(Elf64_Ehdr) + i * sizeof made, made);
  }
  void entry(std::size_t i, std::int64_t tag, std::uint64_t value) {
    Elf64_Dyn made{};
    made.d_tag = tag;
    made.d_un.d_val = value;
    put(dynamic_at + i * sizeof made, made);
  }
  void symbol(std::size_t i, std::uint32_t name, std::uint64_t at, std::uint64_t length) {
    Elf64_Sym made{};
    made.st_name = name;
    made.st_info = STB_GLOBAL << 4 | STT_FUNC;
    made.st_shndx = 9;
    made.st_value = at;
    made.st_size = length;
    put(symbols_at + i * sizeof made, made);
  }
  void word(std::size_t i, std::uint32_t value) { put(hash_at + i * sizeof value, value); }

  code_range range() const {
    code_range made;
    made.header = address();
    made.start = address() + code_at;
    made.limit = address() + code_at + 0x1000;
    made.image = true;
    made.never_unloaded = true;
    return made;
  }
  // The name of the function at an offset of its code; "none": not usable; "": no name.
  std::string name_at(std::size_t offset) const {
    arena memory(os_pages);
    const elf_image image = memory_image(memory).copy(range());
    if (!image.usable()) return "none";
    return text_of(symbol_at_offset(image, code_at + offset).name);
  }

  char* const bytes;
  Elf64_Ehdr header{};
};

}  // namespace

TEST_CASE("either hash table counts the symbols, and addresses may be the linker's or the loader's") {
  for (const bool absolute : {false, true}) {
    for (const bool gnu : {false, true}) {
      const small_library library(absolute, gnu);
      CAPTURE(absolute);
      CAPTURE(gnu);
      CHECK(library.name_at(0x0) == "");
      CHECK(library.name_at(0x10) == "first");
      CHECK(library.name_at(0x2f) == "first");
      CHECK(library.name_at(0x30) == "");
      CHECK(library.name_at(0x7f) == "open");
      CHECK(library.name_at(0x80) == "last");
      CHECK(library.name_at(0x90) == "");
    }
  }
}

TEST_CASE("a symbol of data names no code") {
  small_library library;
  library.symbol(1, 1, 0x10, 0x20);
  CHECK(library.name_at(0x10) == "");
  CHECK(library.name_at(0x80) == "last");
}

TEST_CASE("tables that lead astray give nothing, and take no time") {
  struct wrong {
    const char* what;
    void (*make)(small_library&);
  };
  const wrong all[] = {
      {"more symbols than there is room for", [](small_library& l) { l.word(1, 0x7fffffff); }},
      {"more than the image holds", [](small_library& l) { l.word(1, 0x400); }},
      {"no symbols", [](small_library& l) { l.word(1, 0); }},
      {"a hash table far away", [](small_library& l) { l.entry(3, DT_HASH, 0x7000000); }},
      {"symbols far away", [](small_library& l) { l.entry(0, DT_SYMTAB, ~std::uint64_t{0}); }},
      {"names without end", [](small_library& l) { l.entry(2, DT_STRSZ, ~std::uint64_t{0}); }},
      {"names that end outside", [](small_library& l) { l.entry(2, DT_STRSZ, 0x2000 - small_library::names_at + 1); }},
      {"no names", [](small_library& l) { l.entry(2, DT_STRSZ, 0); }},
      {"no dynamic section", [](small_library& l) { l.segment(2, PT_NULL, 0, 0, 0); }},
      {"an unreadable dynamic section", [](small_library& l) { l.segment(2, PT_DYNAMIC, PF_R, 0x100000000, 0x100); }},
      {"no header", [](small_library& l) { l.bytes[0] = 0; }},
      {"unreadable symbols",
       [](small_library& l) {
         l.entry(0, DT_SYMTAB, 0x1000);
         REQUIRE(mprotect(l.bytes + 0x1000, 4096, PROT_NONE) == 0);
       }},
  };
  for (const wrong& one : all) {
    small_library library;
    one.make(library);
    CAPTURE(one.what);
    CHECK(library.name_at(0x10) == "none");
  }
  const wrong gnu[] = {
      {"buckets without number", [](small_library& l) { l.word(0, ~0u); }},
      {"a filter without end", [](small_library& l) { l.word(2, ~0u); }},
      {"a chain that ends nowhere",
       [](small_library& l) {
         const std::uint32_t words[] = {2, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0};  // the last ones of the image
         std::memcpy(l.bytes + 0x2000 - sizeof words, words, sizeof words);
         l.entry(3, DT_GNU_HASH, 0x2000 - sizeof words);
         REQUIRE(mprotect(l.bytes + 0x2000, 4096, PROT_NONE) == 0);
       }},
      {"a bucket far away", [](small_library& l) { l.word(7, ~0u); }},
  };
  for (const wrong& one : gnu) {
    small_library library(false, true);
    one.make(library);
    CAPTURE(one.what);
    CHECK(library.name_at(0x10) == "none");
  }
}

#endif
