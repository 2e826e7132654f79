// tests/fuzz/elf_fuzz.cpp - of any bytes taken for an ELF file: every symbol found covers the
// address asked for, and where a plain reading of the symbol tables knows a function with a size,
// one is found; names lie in the file, and a build id in a segment of notes.

#include "prof/symbol/elf.hpp"

#include "fuzz.hpp"

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
  explicit checker(text_view file)
      : file_(file), image_(file.data, file.size), memory_(os_pages), symbols_(memory_) {
    symbols_.load(image_);
    add_functions(image_, SHT_SYMTAB, functions_);
    add_functions(image_, SHT_DYNSYM, functions_);
  }

  void check() const {
    const text_view id = image_.build_id();
    FUZZ_REQUIRE(id.size == 0 || lies_in_notes(id));
    // Where something begins or ends, and the bytes beside it.
    for (const function& one : functions_) {
      for (const std::uint64_t address : {one.start, one.start + one.size}) {
        check_address(address - 1);
        check_address(address);
      }
    }
    for (std::uint64_t offset = 0; offset < file_.size; offset += 7) check_offset(offset);
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

  // find() asks by file offset: the ones that a segment maps to the address.
  void check_address(std::uint64_t address) const {
    Elf64_Phdr s{};
    for (std::size_t i = 0; image_.segment(i, s) && i < 4; ++i) {
      if (s.p_type == PT_LOAD) check_offset(address - s.p_vaddr + s.p_offset);
    }
  }

  void check_offset(std::uint64_t offset) const {
    const elf_symbol* const found = symbols_.find(offset);
    std::uint64_t address = 0;
    const bool is_mapped = image_.address_of(offset, address);
    FUZZ_REQUIRE(found == nullptr || is_mapped);
    if (!is_mapped) return;
    FUZZ_REQUIRE(found != nullptr || !is_covered(functions_, address));
    if (found == nullptr) return;
    FUZZ_REQUIRE(address - found->start < found->size);
    FUZZ_REQUIRE(found->tier == symbol_tier::sized || !is_covered(functions_, address));
    const text_view name = symbols_.name_of(*found);
    FUZZ_REQUIRE(name.size == 0 || fuzz::lies_in(name, file_.data, file_.size));
    FUZZ_REQUIRE(found->stub || name.size != 0);
  }

  text_view file_;
  elf_image image_;
  arena memory_;
  elf_symbols symbols_;
  std::vector<function> functions_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  checker({reinterpret_cast<const char*>(data), size}).check();
  return 0;
}
