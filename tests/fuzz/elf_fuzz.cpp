// tests/fuzz/elf_fuzz.cpp - of any bytes taken for an ELF file: every symbol found covers the address asked for, and where a
// plain reading of the symbol tables knows a function with a size, one is found, the same alone and among others; names lie
// in the file, and a build id in a segment of notes.

#include "prof/symbol/elf.hpp"

#include "fuzz.hpp"

#include <algorithm>

namespace {

using namespace prof::detail;

struct function {
  std::uint64_t start;
  std::uint64_t size;
};

// Functions with name, size and a usable range, in one symbol table.
void add_functions(const elf_image& image, std::uint32_t type, std::vector<function>& found) {
  Elf64_Shdr head{};
  Elf64_Shdr names{};
  if (image.find_section(type, head) == 0 || head.sh_entsize != sizeof(Elf64_Sym)) return;
  if (!image.section(head.sh_link, names)) return;
  const text_view symbols = image.content(head);
  for (std::size_t at = 0; symbols.size - at >= sizeof(Elf64_Sym); at += sizeof(Elf64_Sym)) {
    Elf64_Sym s;
    std::memcpy(&s, symbols.data + at, sizeof s);
    const bool is_sized = ELF64_ST_TYPE(s.st_info) == STT_FUNC && s.st_shndx != SHN_UNDEF &&
                          s.st_size != 0 && s.st_size < 0xffffffffU;
    if (!is_sized || s.st_value + s.st_size < s.st_value) continue;
    if (elf_image::string_at(image.content(names), s.st_name).size == 0) continue;
    found.push_back({s.st_value, s.st_size});
  }
}

bool is_covered(const std::vector<function>& functions, std::uint64_t address) {
  for (const function& one : functions) {
    if (address >= one.start && address - one.start < one.size) return true;
  }
  return false;
}

class checker {
 public:
  explicit checker(text_view file) : file_(file), image_(file.data, file.size), memory_(os_pages), search_(image_, memory_) {
    add_functions(image_, SHT_SYMTAB, functions_);
    add_functions(image_, SHT_DYNSYM, functions_);
  }

  void check() {
    const text_view id = image_.build_id();
    FUZZ_REQUIRE(id.size == 0 || lies_in_notes(id));
    collect_addresses();
    search_.find(addresses_.data(), addresses_.size());
    for (std::size_t i = 0; i < addresses_.size(); ++i) check_address(i);
    for (std::size_t i = 0; i < addresses_.size(); i += 1 + addresses_.size() / 8) check_alone(i);
  }

 private:
  bool lies_in_notes(text_view part) const {
    Elf64_Phdr s{};
    for (std::size_t i = 0; image_.segment(i, s); ++i) {
      const text_view notes = image_.bytes(s.p_offset, s.p_filesz);
      if (s.p_type == PT_NOTE && fuzz::lies_in(part, notes.data, notes.size)) return true;
    }
    return false;
  }

  // Where something begins or ends and beside it, and whatever else the file maps.
  void collect_addresses() {
    for (const function& one : functions_) {
      for (const std::uint64_t address : {one.start, one.start + one.size}) {
        addresses_.push_back(address - 1);
        addresses_.push_back(address);
      }
    }
    std::uint64_t address = 0;
    for (std::uint64_t offset = 0; offset < file_.size; offset += 7) {
      if (image_.address_of(offset, address)) addresses_.push_back(address);
    }
    std::sort(addresses_.begin(), addresses_.end());
  }

  void check_address(std::size_t i) const {
    const std::uint64_t address = addresses_[i];
    const elf_symbol* const found = search_.symbol_of(i);
    FUZZ_REQUIRE(found != nullptr || !is_covered(functions_, address));
    if (found == nullptr) return;
    FUZZ_REQUIRE(address - found->start < found->size);
    FUZZ_REQUIRE(found->tier == symbol_tier::sized || !is_covered(functions_, address));
    const text_view name = search_.name_of(*found);
    FUZZ_REQUIRE(name.size == 0 || fuzz::lies_in(name, file_.data, file_.size));
    FUZZ_REQUIRE(found->stub || name.size != 0);
  }

  // Among others an address has the symbol that it has by itself.
  void check_alone(std::size_t i) const {
    arena memory(os_pages);
    symbol_search alone(image_, memory);
    alone.find(&addresses_[i], 1);
    const elf_symbol* const one = alone.symbol_of(0);
    const elf_symbol* const among = search_.symbol_of(i);
    FUZZ_REQUIRE((one == nullptr) == (among == nullptr));
    if (one == nullptr) return;
    FUZZ_REQUIRE(one->start == among->start && one->size == among->size && one->tier == among->tier);
    FUZZ_REQUIRE(search_.name_of(*one).equals(search_.name_of(*among)));
  }

  text_view file_;
  elf_image image_;
  arena memory_;
  symbol_search search_;
  std::vector<function> functions_{};
  std::vector<std::uint64_t> addresses_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  checker({reinterpret_cast<const char*>(data), size}).check();
  return 0;
}
