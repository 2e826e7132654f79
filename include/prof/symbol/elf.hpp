// prof/symbol/elf.hpp - the function symbols of one ELF image: file offset in, best symbol out.
// Floor 9 (symbol). Used by the symbolizer; knows no process, only bytes.
// Safety: ordinary context; thread-compatible. Pure: a truncated or hostile file gives wrong or no
//         names, never a wild read; see code/elf_image.hpp.
// Memory: 24 bytes per function symbol in the arena, plus the arena's growth; text stays in the
//         image, which must outlive this.
// Source: System V gABI 4.1 ch. 4 and 5; x86-64 psABI 1.0 5.2 (PLT), AAELF64 2023Q3 (mapping
//         symbols, PLT); symbol order as addr2line and perf choose among aliases.
#ifndef PROF_SYMBOL_ELF_HPP
#define PROF_SYMBOL_ELF_HPP

#include "prof/base/memory.hpp"
#include "prof/code/elf_image.hpp"

#include <initializer_list>

PROF_DETAIL_BEGIN

// What a symbol is worth when several cover an address; the lowest wins.
enum class symbol_tier : std::uint8_t {
  sized,  // a function with a size, or a stub of the procedure linkage table
  open,   // a function without one (assembly): reaches up to the next function of its section
  label,  // no type at all: hand-written assembly that did not bother
};

struct elf_symbol {
  std::uint64_t start = 0;  // virtual address as linked
  std::uint32_t size = 0;
  std::uint32_t reach = 0;  // distance to the highest end of this and all symbols before it
  std::uint32_t name = 0;   // offset in the string table
  symbol_tier tier = symbol_tier::sized;
  std::uint8_t rank = 0;  // 0 global, 1 weak, 2 local
  bool dynamic = false;   // named in .dynstr, not .strtab
  bool stub = false;      // jumps to the function of that name
};

#if PROF_DETAIL_OS_LINUX

// The address of the table slot through which the stub at `code` jumps; false: not a stub there.
//   x86-64   [endbr64] [bnd] jmp *disp(%rip)      (ff 25; both prefixes before it)
//   aarch64  adrp x16, page; ldr x17, [x16, #low]
inline bool read_stub(unsigned machine, text_view code, std::uint64_t address,
                      std::uint64_t& slot) noexcept {
  if (machine == EM_X86_64) {
    std::size_t at = code.starts_with({"\xf3\x0f\x1e\xfa", 4}) ? 4 : 0;
    if (at < code.size && code.data[at] == '\xf2') ++at;
    if (code.size < at + 6 || !code.from(at).starts_with({"\xff\x25", 2})) return false;
    std::int32_t distance = 0;
    std::memcpy(&distance, code.data + at + 2, sizeof distance);
    slot = address + at + 6 + static_cast<std::uint64_t>(std::int64_t{distance});
    return true;
  }
  std::uint32_t word[2];
  if (machine != EM_AARCH64 || code.size < sizeof word) return false;
  std::memcpy(word, code.data, sizeof word);
  const bool adrp_x16 = (word[0] & 0x9f00001fu) == 0x90000010u;
  const bool ldr_x17 = (word[1] & 0xffc003ffu) == 0xf9400211u;
  if (!adrp_x16 || !ldr_x17) return false;
  const std::uint64_t pages = (word[0] >> 29 & 3u) | (word[0] >> 5 & 0x7ffffu) << 2;
  const std::uint64_t signed_pages = (pages ^ 0x100000u) - 0x100000u;  // 21 bits, sign-extended
  const std::uint64_t low = word[1] >> 10 & 0xfffu;  // in units of the 8 bytes that ldr loads
  slot = (address & ~std::uint64_t{4095}) + (signed_pages << 12) + low * 8;
  return true;
}

class elf_symbols {
 public:
  explicit elf_symbols(arena& memory) noexcept : symbols_(memory), slots_(memory) {}

  // Reads all function symbols. Without any (no ELF64, stripped bare), find answers null.
  void load(const elf_image& image) noexcept {
    image_ = image;
    Elf64_Shdr head{};
    if (image_.find_section(SHT_SYMTAB, head) != 0) full_ = open_table(head);
    dynamic_index_ = image_.find_section(SHT_DYNSYM, head);
    if (dynamic_index_ != 0) dynamic_ = open_table(head);
    read_slots();
    if (!symbols_.resize(count_functions(full_) + count_functions(dynamic_))) return;
    symbols_.clear();  // one block of the right size instead of doubled copies
    take_functions(full_, false);
    take_functions(dynamic_, true);
    for (const char* name : {".plt", ".plt.sec", ".plt.got"}) take_stubs(name);
    sort();
    close_open_symbols();
    set_reach();
  }

  // The symbol of the code at an offset of the file; null when nothing covers it.
  const elf_symbol* find(std::uint64_t file_offset) const noexcept {
    std::uint64_t address = 0;
    if (!image_.address_of(file_offset, address)) return nullptr;
    std::size_t low = 0;
    std::size_t high = symbols_.size();
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (symbols_[middle].start <= address) low = middle + 1;
      else high = middle;
    }
    // Back to the innermost symbol that holds the address; reach ends the search in a gap.
    const elf_symbol* best = nullptr;
    while (low-- > 0 && address - symbols_[low].start < symbols_[low].reach) {
      const elf_symbol& s = symbols_[low];
      if (address - s.start >= s.size || (best != nullptr && s.tier >= best->tier)) continue;
      best = &s;
      if (s.tier == symbol_tier::sized) break;
    }
    return best;
  }

  // As linked, without "@plt". Not NUL-terminated when the string table is broken.
  text_view name_of(const elf_symbol& s) const noexcept {
    return elf_image::string_at(s.dynamic ? dynamic_.strings : full_.strings, s.name);
  }
  std::size_t size() const noexcept { return symbols_.size(); }

 private:
  struct table {
    text_view symbols;
    text_view strings;
    std::size_t count() const noexcept { return symbols.size / sizeof(Elf64_Sym); }
    Elf64_Sym at(std::size_t i) const noexcept {
      Elf64_Sym s;
      std::memcpy(&s, symbols.data + i * sizeof s, sizeof s);
      return s;
    }
  };
  struct slot {
    std::uint64_t address;
    std::uint32_t name;
  };

  table open_table(const Elf64_Shdr& head) const noexcept {
    Elf64_Shdr strings{};
    if (head.sh_entsize != sizeof(Elf64_Sym) || !image_.section(head.sh_link, strings)) return {};
    return {image_.content(head), image_.content(strings)};
  }

  // ---- functions -------------------------------------------------------------------------------

  static bool may_be_code(const Elf64_Sym& s) noexcept {
    const unsigned type = ELF64_ST_TYPE(s.st_info);
    return s.st_shndx != SHN_UNDEF &&
           (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE);
  }
  static std::size_t count_functions(const table& from) noexcept {
    std::size_t count = 0;
    for (std::size_t i = 0; i < from.count(); ++i) {
      if (may_be_code(from.at(i))) ++count;
    }
    return count;
  }
  static std::uint32_t narrow(std::uint64_t size) noexcept {
    return size < ~std::uint32_t{0} ? static_cast<std::uint32_t>(size) : ~std::uint32_t{0};
  }

  void take_functions(const table& from, bool dynamic) noexcept {
    for (std::size_t i = 0; i < from.count(); ++i) {
      const Elf64_Sym s = from.at(i);
      elf_symbol made;
      made.dynamic = dynamic;
      if (may_be_code(s) && describe(s, from, made)) symbols_.push(made);
    }
  }

  bool describe(const Elf64_Sym& s, const table& from, elf_symbol& made) const noexcept {
    const bool typed = ELF64_ST_TYPE(s.st_info) != STT_NOTYPE;
    const text_view name = elf_image::string_at(from.strings, s.st_name);
    // "$x" and "$d" mark code and data for disassemblers (AAELF64); they name nothing.
    if (name.size == 0 || (!typed && name.data[0] == '$')) return false;
    Elf64_Shdr home{};
    const bool placed = s.st_shndx < SHN_LORESERVE && image_.section(s.st_shndx, home) &&
                        s.st_value - home.sh_addr < home.sh_size;
    if (!placed && (!typed || s.st_size == 0)) return false;
    if (!typed && (home.sh_flags & SHF_EXECINSTR) == 0) return false;
    made.start = s.st_value;
    // Without a size: up to the section's end for now, see close_open_symbols.
    made.size = narrow(s.st_size != 0 ? s.st_size : home.sh_size - (s.st_value - home.sh_addr));
    made.tier = !typed           ? symbol_tier::label
                : s.st_size != 0 ? symbol_tier::sized
                                 : symbol_tier::open;
    made.stub = false;
    made.name = s.st_name;
    const unsigned binding = ELF64_ST_BIND(s.st_info);
    made.rank = binding == STB_LOCAL ? 2 : binding == STB_WEAK ? 1 : 0;
    // Until close_open_symbols, reach 1 marks a size that was made up.
    made.reach = s.st_size == 0 ? 1 : 0;
    return made.start + made.size > made.start;
  }

  // ---- stubs of the procedure linkage table ----------------------------------------------------

  static bool fills_slot(unsigned machine, std::uint64_t type) noexcept {
    if (machine == EM_X86_64) return type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT;
    return type == R_AARCH64_JUMP_SLOT || type == R_AARCH64_GLOB_DAT;
  }

  // Which function each slot of the global offset table leads to.
  void read_slots() noexcept {
    Elf64_Shdr head{};
    for (const char* name : {".rela.plt", ".rela.dyn"}) {
      if (image_.find_section(name, head) == 0 || head.sh_link != dynamic_index_) continue;
      const text_view entries = image_.content(head);
      for (std::size_t at = 0; entries.size - at >= sizeof(Elf64_Rela); at += sizeof(Elf64_Rela)) {
        Elf64_Rela entry;
        std::memcpy(&entry, entries.data + at, sizeof entry);
        const std::uint64_t index = ELF64_R_SYM(entry.r_info);
        if (index == 0 || index >= dynamic_.count()) continue;
        if (!fills_slot(image_.machine(), ELF64_R_TYPE(entry.r_info))) continue;
        slots_.push({entry.r_offset, dynamic_.at(static_cast<std::size_t>(index)).st_name});
      }
    }
    heap_sort(slots_.data(), slots_.size(), [](const slot& a, const slot& b) {
      return a.address != b.address ? a.address < b.address : a.name < b.name;
    });
  }

  const slot* find_slot(std::uint64_t address) const noexcept {
    std::size_t low = 0;
    std::size_t high = slots_.size();
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (slots_[middle].address < address) low = middle + 1;
      else high = middle;
    }
    return low < slots_.size() && slots_[low].address == address ? &slots_[low] : nullptr;
  }

  // Decodes the stubs instead of counting them: linkers differ in their order and headers.
  void take_stubs(text_view section) noexcept {
    Elf64_Shdr head{};
    if (slots_.empty() || image_.find_section(section, head) == 0) return;
    const text_view code = image_.content(head);
    const bool fixed = image_.machine() == EM_X86_64;  // entry size; else 16 bytes from the adrp
    const std::size_t size = fixed && head.sh_entsize == 8 ? 8 : 16;
    for (std::size_t at = 0; at < code.size; at += fixed ? size : 4) {
      const std::uint64_t address = head.sh_addr + at;
      std::uint64_t wanted = 0;
      if (!read_stub(image_.machine(), code.from(at), address, wanted)) continue;
      const slot* const found = find_slot(wanted);
      if (found == nullptr || address + size < address) continue;
      elf_symbol made;
      made.start = address;
      made.size = static_cast<std::uint32_t>(size);
      made.name = found->name;
      made.dynamic = true;
      made.stub = true;
      symbols_.push(made);
    }
  }

  // ---- order -----------------------------------------------------------------------------------

  // By address; at one address the best name comes last, where find meets it first.
  void sort() noexcept {
    heap_sort(symbols_.data(), symbols_.size(), [this](const elf_symbol& a, const elf_symbol& b) {
      if (a.start != b.start) return a.start < b.start;
      if (a.tier != b.tier) return a.tier > b.tier;
      if (a.rank != b.rank) return a.rank > b.rank;
      const text_view left = name_of(a);
      const text_view right = name_of(b);
      if (left.size != right.size) return left.size > right.size;
      const int order = std::memcmp(left.data, right.data, left.size);
      return order != 0 ? order > 0 : a.size > b.size;
    });
  }

  // A function without a size ends at the next function or global label, a label at anything.
  void close_open_symbols() noexcept {
    std::uint64_t next_any = ~std::uint64_t{0};
    std::uint64_t next_function = ~std::uint64_t{0};
    for (std::size_t end = symbols_.size(); end != 0;) {
      const std::uint64_t start = symbols_[end - 1].start;
      bool function = false;
      std::size_t at = end;
      for (; at != 0 && symbols_[at - 1].start == start; --at) {
        elf_symbol& s = symbols_[at - 1];
        const std::uint64_t room =
            (s.tier == symbol_tier::label ? next_any : next_function) - start;
        if (s.reach == 1 && s.size > room) s.size = static_cast<std::uint32_t>(room);
        function = function || s.tier != symbol_tier::label || s.rank == 0;
      }
      next_any = start;
      if (function) next_function = start;
      end = at;
    }
  }

  void set_reach() noexcept {
    std::uint64_t highest = 0;
    for (elf_symbol& s : symbols_) {
      const std::uint64_t end = s.start + s.size;
      if (end > highest) highest = end;
      s.reach = narrow(highest > s.start ? highest - s.start : 0);
    }
  }

  elf_image image_;
  table full_;
  table dynamic_;
  std::uint64_t dynamic_index_ = 0;
  arena_vector<elf_symbol> symbols_;
  arena_vector<slot> slots_;
};

#else

class elf_symbols {
 public:
  explicit elf_symbols(arena&) noexcept {}
  void load(const elf_image&) noexcept {}
  const elf_symbol* find(std::uint64_t) const noexcept { return nullptr; }
  text_view name_of(const elf_symbol&) const noexcept { return {}; }
  std::size_t size() const noexcept { return 0; }
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_ELF_HPP
