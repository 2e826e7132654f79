// prof/symbol/elf.hpp - the function symbols of one ELF image: addresses in, the best symbol of each out.
// Floor 9 (symbol). Used by the symbolizer; knows no process, only bytes.
// Safety: ordinary context; thread-compatible. Pure: a truncated or hostile file gives wrong or no
//         names, never a wild read; see code/elf_image.hpp.
// Memory: some 150 bytes per address in the arena; text stays in the image, which must outlive this.
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
  std::uint64_t size = 0;   // of one without a size: up to the end of its section
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

// Finds the symbols of many addresses at once: one pass over the tables, in which each symbol is shown to the addresses that
// it may be for. Neither the symbols are sorted nor copied, but for the best one of each address.
class symbol_search {
 public:
  // A file in which everything overlaps would cost addresses times symbols.
  static constexpr std::uint64_t max_offers = std::uint64_t{1} << 26;

  // The bytes of the image must stay.
  symbol_search(const elf_image& image, arena& memory) noexcept
      : image_(image), found_(memory), functions_(memory), labels_(memory), buckets_(memory), slots_(memory) {
    Elf64_Shdr head{};
    if (image_.find_section(SHT_SYMTAB, head) != 0) full_ = open_table(head);
    dynamic_index_ = image_.find_section(SHT_DYNSYM, head);
    if (dynamic_index_ != 0) dynamic_ = open_table(head);
  }

  bool has_symbols() const noexcept { return full_.symbols.size != 0; }

  // Of addresses as linked, sorted, which must stay there. Without symbols (no ELF64, stripped bare) none has one.
  void find(const std::uint64_t* addresses, std::size_t count) noexcept {
    addresses_ = addresses;
    count_ = count;
    if (!found_.resize(count) || !functions_.resize(count) || !labels_.resize(count) || !fill_buckets()) count_ = 0;
    if (count_ == 0) return;
    take_functions(full_, false);
    take_functions(dynamic_, true);
    for (const char* name : {".plt", ".plt.sec", ".plt.got"}) take_stubs(name);
    settle();
  }

  // The symbol of addresses[i], or null.
  const elf_symbol* symbol_of(std::size_t i) const noexcept {
    return i < count_ && found_[i].size != 0 ? &found_[i] : nullptr;
  }

  // As linked, without "@plt". Not NUL-terminated when the string table is broken.
  text_view name_of(const elf_symbol& s) const noexcept {
    return elf_image::string_at(s.dynamic ? dynamic_.strings : full_.strings, s.name);
  }

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
  // The last thing that begins at or before an address.
  struct nearest {
    std::uint64_t start;
    elf_symbol symbol;  // what begins there without a size; size 0: nothing does
    bool is_set;
  };

  table open_table(const Elf64_Shdr& head) const noexcept {
    Elf64_Shdr strings{};
    if (head.sh_entsize != sizeof(Elf64_Sym) || !image_.section(head.sh_link, strings)) return {};
    return {image_.content(head), image_.content(strings)};
  }

  // ---- addresses -------------------------------------------------------------------------------

  // Cuts the span of the addresses into pieces of one size, so that the first one behind a symbol's start is near.
  bool fill_buckets() noexcept {
    if (count_ == 0) return false;
    const std::uint64_t span = addresses_[count_ - 1] - addresses_[0];
    for (shift_ = 0; (span >> shift_) >= 4 * count_; ++shift_) {}
    const std::size_t buckets = static_cast<std::size_t>(span >> shift_) + 2;
    if (!buckets_.resize(buckets)) return false;
    std::size_t next = 0;
    for (std::size_t b = 0; b < buckets; ++b) {
      while (next < count_ && (addresses_[next] - addresses_[0]) >> shift_ < b) ++next;
      buckets_[b] = static_cast<std::uint32_t>(next);
    }
    return true;
  }
  // The first address that is not below `start`; count_ when there is none.
  std::size_t first_from(std::uint64_t start) const noexcept {
    if (start <= addresses_[0]) return 0;
    const std::uint64_t bucket = (start - addresses_[0]) >> shift_;
    if (bucket >= buckets_.size()) return count_;
    std::size_t i = buckets_[static_cast<std::size_t>(bucket)];
    while (i < count_ && addresses_[i] < start) ++i;
    return i;
  }

  // ---- candidates ------------------------------------------------------------------------------

  // Whether `a` is the better of two symbols that begin at one address and are of one tier.
  bool is_better(const elf_symbol& a, const elf_symbol& b) const noexcept {
    if (a.rank != b.rank) return a.rank < b.rank;
    const text_view left = name_of(a);
    const text_view right = name_of(b);
    if (left.size != right.size) return left.size < right.size;
    const int order = std::memcmp(left.data, right.data, left.size);
    return order != 0 ? order < 0 : a.size < b.size;
  }

  // One with a size is for each address in it that no symbol further in has.
  void offer_sized(const elf_symbol& s, std::size_t first) noexcept {
    for (std::size_t i = first; i < count_ && addresses_[i] - s.start < s.size; ++i) {
      if (++offers_ > max_offers) return;
      elf_symbol& best = found_[i];
      if (best.size == 0 || s.start > best.start || (s.start == best.start && is_better(s, best))) best = s;
    }
  }
  // One without holds up to whatever begins next: the nearest of all that begin at or before an address.
  void offer_nearest(arena_vector<nearest>& nearests, const elf_symbol& s, std::size_t first, bool is_candidate) noexcept {
    if (first == count_) return;
    nearest& there = nearests[first];
    if (there.is_set && there.start > s.start) return;
    if (!there.is_set || there.start < s.start) there = nearest{s.start, elf_symbol{}, true};
    if (is_candidate && (there.symbol.size == 0 || is_better(s, there.symbol))) there.symbol = s;
  }
  void offer(const elf_symbol& s) noexcept {
    const std::size_t first = first_from(s.start);
    if (s.tier == symbol_tier::sized) offer_sized(s, first);
    // A function ends at the next function or global label, a label at anything.
    if (s.tier != symbol_tier::label || s.rank == 0) offer_nearest(functions_, s, first, s.tier == symbol_tier::open);
    offer_nearest(labels_, s, first, s.tier == symbol_tier::label);
  }

  // What begins before an address is near the later ones, too, until something begins in between.
  static void spread(arena_vector<nearest>& nearests) noexcept {
    for (std::size_t i = 1; i < nearests.size(); ++i) {
      const nearest& before = nearests[i - 1];
      if (before.is_set && (!nearests[i].is_set || nearests[i].start < before.start)) nearests[i] = before;
    }
  }
  void settle() noexcept {
    if (offers_ > max_offers) count_ = 0;  // and none has a symbol
    spread(functions_);
    spread(labels_);
    for (std::size_t i = 0; i < count_; ++i) {
      for (const nearest* last : {&functions_[i], &labels_[i]}) {
        if (found_[i].size == 0 && addresses_[i] - last->symbol.start < last->symbol.size) found_[i] = last->symbol;
      }
    }
  }

  // ---- functions -------------------------------------------------------------------------------

  static bool may_be_code(const Elf64_Sym& s) noexcept {
    const unsigned type = ELF64_ST_TYPE(s.st_info);
    return s.st_shndx != SHN_UNDEF &&
           (type == STT_FUNC || type == STT_GNU_IFUNC || type == STT_NOTYPE);
  }

  void take_functions(const table& from, bool dynamic) noexcept {
    for (std::size_t i = 0; i < from.count(); ++i) {
      const Elf64_Sym s = from.at(i);
      if (s.st_value > addresses_[count_ - 1] || !may_be_code(s)) continue;
      elf_symbol made;
      made.dynamic = dynamic;
      if (describe(s, from, made)) offer(made);
    }
  }

  bool describe(const Elf64_Sym& s, const table& from, elf_symbol& made) const noexcept {
    const bool typed = ELF64_ST_TYPE(s.st_info) != STT_NOTYPE;
    if (s.st_name >= from.strings.size || from.strings.data[s.st_name] == '\0') return false;
    // "$x" and "$d" mark code and data for disassemblers (AAELF64); they name nothing.
    if (!typed && from.strings.data[s.st_name] == '$') return false;
    const bool sized = typed && s.st_size != 0;
    Elf64_Shdr home{};
    const bool placed = !sized && s.st_shndx < SHN_LORESERVE && image_.section(s.st_shndx, home) &&
                        s.st_value - home.sh_addr < home.sh_size;
    if (!placed && !sized) return false;
    if (!typed && (home.sh_flags & SHF_EXECINSTR) == 0) return false;
    made.start = s.st_value;
    made.size = s.st_size != 0 ? s.st_size : home.sh_size - (s.st_value - home.sh_addr);
    made.tier = sized ? symbol_tier::sized : typed ? symbol_tier::open : symbol_tier::label;
    made.stub = false;
    made.name = s.st_name;
    const unsigned binding = ELF64_ST_BIND(s.st_info);
    made.rank = binding == STB_LOCAL ? 2 : binding == STB_WEAK ? 1 : 0;
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
    const std::size_t i = count_before(slots_.size(), [&](std::size_t k) { return slots_[k].address < address; });
    return i < slots_.size() && slots_[i].address == address ? &slots_[i] : nullptr;
  }

  // Decodes the stubs instead of counting them: linkers differ in their order and headers.
  void take_stubs(text_view section) noexcept {
    Elf64_Shdr head{};
    if (image_.find_section(section, head) == 0 || !has_any_in(head)) return;
    if (slots_.empty()) read_slots();
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
      made.size = size;
      made.name = found->name;
      made.dynamic = true;
      made.stub = true;
      offer(made);
    }
  }
  bool has_any_in(const Elf64_Shdr& section) const noexcept {
    const std::size_t first = first_from(section.sh_addr);
    return first < count_ && addresses_[first] - section.sh_addr < section.sh_size;
  }

  elf_image image_;
  table full_;
  table dynamic_;
  std::uint64_t dynamic_index_ = 0;
  const std::uint64_t* addresses_ = nullptr;
  std::size_t count_ = 0;
  unsigned shift_ = 0;
  std::uint64_t offers_ = 0;
  arena_vector<elf_symbol> found_;
  arena_vector<nearest> functions_;  // with a type, and global labels
  arena_vector<nearest> labels_;     // all
  arena_vector<std::uint32_t> buckets_;
  arena_vector<slot> slots_;
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_ELF_HPP
