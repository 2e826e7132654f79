// prof/symbol/memory_image.hpp - an ELF file made from what of a loaded one is still in memory.
// Floor 9 (symbol). Used by module_file.hpp where the file itself is gone. It has the segments as the loaded file has them,
//          the dynamic symbols with their names, the call frame information and the build id; no code.
// Safety: ordinary context; thread-compatible. Another thread may unload the library meanwhile, and what lies there may be
//         anything: all of it is copied by system calls within bounds, and thrown away unless the library is there still.
// Memory: the file in the arena, at most max_copied_bytes.
// Source: System V gABI ch. 5 (dynamic section, hash table); the GNU hash table as binutils' elf/common.h and glibc 2.36's
//         elf/dl-lookup.c have it: the last symbol is the last one of the chain that begins last.
#ifndef PROF_SYMBOL_MEMORY_IMAGE_HPP
#define PROF_SYMBOL_MEMORY_IMAGE_HPP

#include "prof/base/memory.hpp"
#include "prof/code/elf_image.hpp"
#include "prof/code/mapped_image.hpp"
#include "prof/code/still_loaded.hpp"

PROF_DETAIL_BEGIN

#if PROF_DETAIL_OS_LINUX

class memory_image {
 public:
  static constexpr std::size_t max_copied_bytes = std::size_t{64} << 20;

  explicit memory_image(arena& memory) noexcept : memory_(memory) {}
  memory_image(const memory_image&) = delete;
  memory_image& operator=(const memory_image&) = delete;

  // Of the file that the range belongs to; not usable where it has no dynamic symbols, or has gone.
  elf_image copy(const code_range& range) noexcept {
    os_object object;
    if (!range.current || !range.image || !read_layout(range.header) || !read_dynamic() || !find_tables()) return {};
    if (range.cfi.header != 0) find_cfi(range.cfi);
    char* const file = write(range);
    return file != nullptr && still_loaded_sig(range, object) ? elf_image(file, size_) : elf_image();
  }

 private:
  // In the order of the file's section headers; the executable segments follow, one section each.
  enum section : std::uint16_t { none, symbols, symbol_names, section_names, cfi_header, cfi_frames, first_code };
  static constexpr std::size_t max_segments = 16;
  static constexpr std::size_t max_symbols = max_copied_bytes / 2 / sizeof(Elf64_Sym);
  struct part {
    std::uintptr_t at = 0;
    std::size_t size = 0;
  };

  // ---- what there is ---------------------------------------------------------------------------------

  bool read_layout(std::uintptr_t header) noexcept {
    begin_ = header;
    elf_room room;
    const auto take = [](void* context, const ElfW(Phdr)& segment, std::uintptr_t bias) {
      memory_image& to = *static_cast<memory_image*>(context);
      to.bias_ = bias;
      if (segment.p_type == PT_DYNAMIC) to.dynamic_ = {bias + segment.p_vaddr, segment.p_memsz};
      if (segment.p_type != PT_LOAD || to.segment_count_ == max_segments) return;
      to.segments_[to.segment_count_++] = segment;
      const std::uintptr_t end = bias + segment.p_vaddr + segment.p_memsz;
      if (end > to.end_) to.end_ = end;
    };
    if (!for_each_segment_sig(header, take, this, room)) return false;
    machine_ = room.header.e_machine;
    return dynamic_.at != 0 && end_ > begin_;
  }

  // Loaders write addresses into the dynamic section, or leave what the linker wrote there (musl; read-only ones).
  std::uintptr_t address_of(std::uint64_t value) const noexcept {
    if (value >= begin_ && value < end_) return value;
    const std::uintptr_t moved = bias_ + value;
    return moved >= begin_ && moved < end_ ? moved : 0;
  }

  bool read_dynamic() noexcept {
    constexpr std::size_t most = 512;
    Elf64_Dyn entry{};
    for (std::size_t i = 0; i < most && i < dynamic_.size / sizeof entry; ++i) {
      if (!os_copy_sig(&entry, dynamic_.at + i * sizeof entry, sizeof entry) || entry.d_tag == DT_NULL) break;
      const std::uint64_t value = entry.d_un.d_val;
      if (entry.d_tag == DT_SYMTAB) symbols_.at = address_of(value);
      if (entry.d_tag == DT_STRTAB) names_.at = address_of(value);
      if (entry.d_tag == DT_STRSZ) names_.size = value;
      if (entry.d_tag == DT_HASH) hash_ = address_of(value);
      if (entry.d_tag == DT_GNU_HASH) gnu_hash_ = address_of(value);
    }
    return symbols_.at != 0 && names_.at != 0;
  }

  bool is_inside(part p) const noexcept { return p.size <= max_copied_bytes / 2 && p.size <= end_ - p.at; }

  bool find_tables() noexcept {
    const std::size_t count = hash_ != 0 ? count_by_hash() : gnu_hash_ != 0 ? count_by_gnu_hash() : 0;
    if (count == 0 || count > max_symbols) return false;
    symbols_.size = count * sizeof(Elf64_Sym);
    return is_inside(symbols_) && is_inside(names_) && names_.size != 0;
  }

  std::size_t count_by_hash() const noexcept {
    std::uint32_t head[2];  // nbucket, nchain
    return os_copy_sig(head, hash_, sizeof head) ? head[1] : 0;
  }

  // Calls visit(word) for up to `count` words until it returns false; false also when they cannot be read.
  template <class Visit>
  static bool for_each_word(std::uintptr_t at, std::size_t count, Visit visit) noexcept {
    std::uint32_t words[128];
    for (std::size_t done = 0; done < count;) {
      // To the end of a page at most: the next one may be missing.
      std::size_t some = (4096 - (at + done * 4) % 4096) / 4;
      if (some == 0) return false;  // no words' place
      if (some > sizeof words / 4) some = sizeof words / 4;
      if (some > count - done) some = count - done;
      if (!os_copy_sig(words, at + done * 4, some * 4)) return false;
      for (std::size_t i = 0; i < some; ++i) {
        if (!visit(words[i])) return false;
      }
      done += some;
    }
    return true;
  }

  std::size_t count_by_gnu_hash() const noexcept {
    std::uint32_t head[4];  // buckets, the first symbol that is hashed, words of the filter, its shift
    if (!os_copy_sig(head, gnu_hash_, sizeof head) || head[0] > max_symbols || head[2] > max_symbols) return 0;
    const std::uintptr_t buckets = gnu_hash_ + sizeof head + std::size_t{head[2]} * 8;
    std::size_t last = 0;
    const auto take_highest = [&last](std::uint32_t first) {
      if (first > last) last = first;
      return true;
    };
    if (!for_each_word(buckets, head[0], take_highest) || last > max_symbols) return 0;
    if (last < head[1]) return head[1];  // none is hashed
    const std::uintptr_t chain = buckets + (std::size_t{head[0]} + last - head[1]) * 4;
    bool is_complete = false;
    for_each_word(chain, max_symbols, [&](std::uint32_t value) {
      ++last;
      is_complete = (value & 1) != 0;
      return !is_complete;
    });
    return is_complete ? last : 0;
  }

  // From the search header or .eh_frame, whichever comes first, to the end of their segment.
  void find_cfi(const cfi_place& place) noexcept {
    const std::uintptr_t frames = eh_frame_of_sig(place.header);
    const std::uintptr_t first = frames != 0 && frames < place.header ? frames : place.header;
    const part all{first, place.limit > first ? place.limit - first : 0};
    if (frames == 0 || place.header < begin_ || place.header >= end_ || first < begin_ || frames >= place.limit ||
        !is_inside(all)) {
      return;
    }
    cfi_ = all;
    header_ = {place.header, (frames > place.header ? frames : place.limit) - place.header};
    frames_ = {frames, (frames < place.header ? place.header : place.limit) - frames};
  }

  // ---- the file --------------------------------------------------------------------------------------

  char* write(const code_range& range) noexcept {
    static constexpr char names[] = "\0.dynsym\0.dynstr\0.shstrtab\0.eh_frame_hdr\0.eh_frame\0.text";
    const std::size_t segments_at = sizeof(Elf64_Ehdr);
    const std::size_t sections_at = segments_at + (segment_count_ + 1) * sizeof(Elf64_Phdr);
    const std::size_t note_at = sections_at + (first_code + segment_count_) * sizeof(Elf64_Shdr);
    const std::size_t names_at = note_at + note_size(range);
    const std::size_t symbols_at = (names_at + sizeof names + 15) & ~std::size_t{15};
    const std::size_t strings_at = symbols_at + symbols_.size;
    const std::size_t cfi_at = (strings_at + names_.size + 15) & ~std::size_t{15};
    size_ = cfi_at + cfi_.size;
    char* const file = static_cast<char*>(memory_.allocate(size_));
    if (file == nullptr || !os_copy_sig(file + symbols_at, symbols_.at, symbols_.size) ||
        !os_copy_sig(file + strings_at, names_.at, names_.size) ||
        (cfi_.size != 0 && !os_copy_sig(file + cfi_at, cfi_.at, cfi_.size))) {
      return nullptr;
    }
    std::memcpy(file + names_at, names, sizeof names);
    write_headers(file, segments_at, sections_at);
    write_note(range, file, note_at);
    sections_ = file + sections_at;
    put_section(symbols, 1, SHT_DYNSYM, symbols_, symbols_at);
    put_section(symbol_names, 9, SHT_STRTAB, names_, strings_at);
    put_section(section_names, 17, SHT_STRTAB, {bias_, sizeof names}, names_at);
    if (cfi_.size != 0) {
      put_section(cfi_header, 27, SHT_PROGBITS, header_, cfi_at + (header_.at - cfi_.at));
      put_section(cfi_frames, 41, SHT_PROGBITS, frames_, cfi_at + (frames_.at - cfi_.at));
    }
    for (std::size_t i = 0; i < segment_count_; ++i) put_code(i);
    place_symbols(file + symbols_at);
    return file;
  }

  static std::size_t note_size(const code_range& range) noexcept {
    return sizeof(Elf64_Nhdr) + 4 + ((range.build_id_length + std::size_t{3}) & ~std::size_t{3});
  }
  void write_note(const code_range& range, char* file, std::size_t at) const noexcept {
    Elf64_Phdr place{};
    place.p_type = PT_NOTE;
    place.p_offset = at;
    place.p_filesz = range.build_id_length == 0 ? 0 : note_size(range);
    std::memcpy(file + sizeof(Elf64_Ehdr) + segment_count_ * sizeof place, &place, sizeof place);
    const Elf64_Nhdr head{4, range.build_id_length, NT_GNU_BUILD_ID};
    std::memcpy(file + at, &head, sizeof head);
    std::memcpy(file + at + sizeof head, "GNU", 4);
    std::memcpy(file + at + sizeof head + 4, range.build_id, range.build_id_length);
  }

  void write_headers(char* file, std::size_t segments_at, std::size_t sections_at) const noexcept {
    Elf64_Ehdr head{};
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    head.e_type = ET_DYN;
    head.e_machine = machine_;
    head.e_phoff = segments_at;
    head.e_phentsize = sizeof(Elf64_Phdr);
    head.e_phnum = static_cast<Elf64_Half>(segment_count_ + 1);
    head.e_shoff = sections_at;
    head.e_shentsize = sizeof(Elf64_Shdr);
    head.e_shnum = static_cast<Elf64_Half>(first_code + segment_count_);
    head.e_shstrndx = section_names;
    std::memcpy(file, &head, sizeof head);
    std::memcpy(file + segments_at, segments_, segment_count_ * sizeof(Elf64_Phdr));
  }

  void put_section(std::size_t index, Elf64_Word name, Elf64_Word type, part of, std::size_t offset) noexcept {
    Elf64_Shdr head{};
    head.sh_name = name;
    head.sh_type = type;
    head.sh_flags = SHF_ALLOC;
    head.sh_addr = of.at - bias_;
    head.sh_offset = offset;
    head.sh_size = of.size;
    head.sh_link = index == symbols ? symbol_names : 0;
    head.sh_entsize = index == symbols ? sizeof(Elf64_Sym) : 0;
    std::memcpy(sections_ + index * sizeof head, &head, sizeof head);
  }
  // Without it a symbol that has no size would have no end.
  void put_code(std::size_t segment) noexcept {
    Elf64_Shdr head{};
    const Elf64_Phdr& from = segments_[segment];
    if ((from.p_flags & PF_X) != 0) {
      head.sh_name = 51;
      head.sh_type = SHT_NOBITS;
      head.sh_flags = SHF_ALLOC | SHF_EXECINSTR;
      head.sh_addr = from.p_vaddr;
      head.sh_size = from.p_filesz;
    }
    std::memcpy(sections_ + (first_code + segment) * sizeof head, &head, sizeof head);
  }

  // Each symbol of code is placed in its segment's section; the others are made undefined ones.
  void place_symbols(char* table) const noexcept {
    for (std::size_t at = 0; at < symbols_.size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, table + at, sizeof symbol);
      if (symbol.st_shndx == SHN_UNDEF) continue;
      symbol.st_shndx = section_of(symbol.st_value);
      std::memcpy(table + at, &symbol, sizeof symbol);
    }
  }
  Elf64_Half section_of(std::uint64_t address) const noexcept {
    for (std::size_t i = 0; i < segment_count_; ++i) {
      const Elf64_Phdr& segment = segments_[i];
      const bool is_in = address >= segment.p_vaddr && address - segment.p_vaddr < segment.p_filesz;
      if (is_in && (segment.p_flags & PF_X) != 0) return static_cast<Elf64_Half>(first_code + i);
    }
    return SHN_UNDEF;
  }

  arena& memory_;
  std::uintptr_t begin_ = 0;  // of the image in memory
  std::uintptr_t end_ = 0;
  std::uintptr_t bias_ = 0;   // of addresses in memory less those of the linker
  std::uintptr_t hash_ = 0;
  std::uintptr_t gnu_hash_ = 0;
  part dynamic_;
  part symbols_;
  part names_;
  part cfi_;
  part header_;  // of cfi_
  part frames_;
  Elf64_Phdr segments_[max_segments];
  std::size_t segment_count_ = 0;
  char* sections_ = nullptr;
  std::size_t size_ = 0;
  Elf64_Half machine_ = 0;
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_MEMORY_IMAGE_HPP
