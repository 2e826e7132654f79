// prof/code/elf_image.hpp - the bytes of one ELF file: segments, sections, strings, build id.
// Floor 5 (code). Used by module_cfi.hpp, symbol/elf.hpp and the symbolizer; knows no process, only
//          bytes.
// Safety: ordinary context; thread-compatible. Pure: every offset, size and index that comes from
//         the image is checked against it, so a truncated or hostile file has empty parts and
//         never causes a wild read. (One that is cut short while mapped is the mapper's risk.)
// Memory: none; views into the image, which must outlive them.
// Source: System V gABI 4.1 ch. 4 and 5.
#ifndef PROF_CODE_ELF_IMAGE_HPP
#define PROF_CODE_ELF_IMAGE_HPP

#include "prof/base/text.hpp"
#include "prof/os/os.hpp"

PROF_DETAIL_BEGIN

// Longer names are cut: real ones of template-heavy programs reach some 10 KiB.
inline constexpr std::size_t max_symbol_name = std::size_t{64} * 1024;

#if PROF_DETAIL_OS_LINUX

// The bytes of an ELF64 little-endian file, read through checks only.
class elf_image {
 public:
  elf_image() = default;
  elf_image(const void* data, std::size_t size) noexcept
      : bytes_(static_cast<const char*>(data), size) {
    usable_ = read(0, header_) && std::memcmp(header_.e_ident, ELFMAG, SELFMAG) == 0 &&
              header_.e_ident[EI_CLASS] == ELFCLASS64 && header_.e_ident[EI_DATA] == ELFDATA2LSB;
    if (!usable_) header_ = {};
    Elf64_Shdr first{};
    if (header_.e_shoff == 0 || !read(header_.e_shoff, first)) header_.e_shentsize = 0;
    if (header_.e_shentsize != sizeof first) return;  // no sections
    // Counts that do not fit 16 bits are in section 0 (gABI "Section header table").
    sections_ = header_.e_shnum != 0 ? header_.e_shnum : first.sh_size;
    names_ = header_.e_shstrndx != SHN_XINDEX ? header_.e_shstrndx : first.sh_link;
  }

  bool usable() const noexcept { return usable_; }
  unsigned machine() const noexcept { return header_.e_machine; }

  // The bytes [offset, offset + size), or an empty view when the image does not hold them all.
  text_view bytes(std::uint64_t offset, std::uint64_t size) const noexcept {
    if (offset > bytes_.size || size > bytes_.size - offset) return {};
    return {bytes_.data + offset, static_cast<std::size_t>(size)};
  }
  template <class T>
  bool read(std::uint64_t offset, T& value) const noexcept {
    const text_view found = bytes(offset, sizeof value);
    if (found.size != 0) std::memcpy(&value, found.data, sizeof value);
    return found.size != 0;
  }

  bool segment(std::size_t index, Elf64_Phdr& out) const noexcept {
    return header_.e_phentsize == sizeof out && index < header_.e_phnum &&
           entry(header_.e_phoff, index, out);
  }
  bool section(std::uint64_t index, Elf64_Shdr& out) const noexcept {
    return index < sections_ && entry(header_.e_shoff, index, out);
  }
  // The first section of a type, or of a name; its index, or 0 (never a real section).
  std::uint64_t find_section(std::uint32_t type, Elf64_Shdr& out) const noexcept {
    for (std::uint64_t i = 1; section(i, out); ++i) {
      if (out.sh_type == type) return i;
    }
    return 0;
  }
  std::uint64_t find_section(text_view name, Elf64_Shdr& out) const noexcept {
    Elf64_Shdr names{};
    if (!section(names_, names)) return 0;
    const text_view strings = content(names);
    for (std::uint64_t i = 1; section(i, out); ++i) {
      if (is_string_at(strings, out.sh_name, name)) return i;
    }
    return 0;
  }
  text_view content(const Elf64_Shdr& of) const noexcept {
    return of.sh_type == SHT_NOBITS ? text_view() : bytes(of.sh_offset, of.sh_size);
  }
  // A string table's entry; ends with the table when the terminator is missing.
  static text_view string_at(text_view strings, std::uint32_t offset) noexcept {
    if (offset >= strings.size) return {};
    text_view rest = strings.from(offset);
    if (rest.size > max_symbol_name) rest.size = max_symbol_name;
    return {rest.data, rest.find('\0')};
  }

  // Looks at no more than it compares: a file may have many sections whose names have no end.
  static bool is_string_at(text_view strings, std::uint32_t offset, text_view name) noexcept {
    if (offset >= strings.size || !strings.from(offset).starts_with(name)) return false;
    const std::size_t end = offset + name.size;
    return end == strings.size || strings.data[end] == '\0';
  }

  // Where a byte of the file is in the linker's address space; code wins where segments overlap.
  bool address_of(std::uint64_t offset, std::uint64_t& address) const noexcept {
    bool found = false;
    Elf64_Phdr s{};
    for (std::size_t i = 0; segment(i, s); ++i) {
      if (s.p_type != PT_LOAD || offset < s.p_offset || offset - s.p_offset >= s.p_filesz) continue;
      if (found && (s.p_flags & PF_X) == 0) continue;
      address = s.p_vaddr + (offset - s.p_offset);
      found = true;
    }
    return found;
  }

  // The linker's identity of the file; empty when it has none.
  text_view build_id() const noexcept {
    Elf64_Phdr s{};
    for (std::size_t i = 0; segment(i, s); ++i) {
      if (s.p_type != PT_NOTE) continue;
      const text_view id = build_id_in(bytes(s.p_offset, s.p_filesz), s.p_align == 8 ? 7 : 3);
      if (id.size != 0) return id;
    }
    Elf64_Shdr head{};  // files of dwz have no segments
    return find_section({".note.gnu.build-id", 18}, head) != 0 ? build_id_in(content(head), 3) : text_view();
  }

 private:
  template <class T>
  bool entry(std::uint64_t table, std::uint64_t index, T& out) const noexcept {
    return index <= bytes_.size && table <= bytes_.size && read(table + index * sizeof out, out);
  }

  static text_view build_id_in(text_view notes, std::uint64_t padding) noexcept {
    Elf64_Nhdr note;
    while (notes.size >= sizeof note) {
      std::memcpy(&note, notes.data, sizeof note);
      const std::uint64_t data = (sizeof note + note.n_namesz + padding) & ~padding;
      const std::uint64_t next = (data + note.n_descsz + padding) & ~padding;
      if (data + note.n_descsz > notes.size) break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
          std::memcmp(notes.data + sizeof note, "GNU", 4) == 0) {
        return {notes.data + data, note.n_descsz};
      }
      if (next >= notes.size) break;
      notes = notes.from(static_cast<std::size_t>(next));
    }
    return {};
  }

  text_view bytes_;
  Elf64_Ehdr header_{};
  std::uint64_t sections_ = 0;
  std::uint64_t names_ = 0;
  bool usable_ = false;
};

#else

class elf_image {
 public:
  elf_image() = default;
  elf_image(const void*, std::size_t) noexcept {}
  bool usable() const noexcept { return false; }
  text_view build_id() const noexcept { return {}; }
};

#endif

PROF_DETAIL_END

#endif  // PROF_CODE_ELF_IMAGE_HPP
