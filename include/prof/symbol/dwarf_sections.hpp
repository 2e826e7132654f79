// prof/symbol/dwarf_sections.hpp - finds the sections of debug information in an ELF file, and unpacks those that are
// compressed.
// Floor 9 (symbol). Used by debug_info.hpp.
// Safety: ordinary context; thread-compatible. Pure, as elf_image.hpp.
// Memory: none for sections as they are; unpacked ones in the arena, within the caller's budget.
// Source: System V gABI 4.3 (SHF_COMPRESSED), GNU's .zdebug sections before it.
#ifndef PROF_SYMBOL_DWARF_SECTIONS_HPP
#define PROF_SYMBOL_DWARF_SECTIONS_HPP

#include "prof/base/inflate.hpp"
#include "prof/code/elf_image.hpp"
#include "prof/symbol/dwarf_units.hpp"

PROF_DETAIL_BEGIN

// Why debug information that is there was not read.
enum class unread : std::uint8_t {
  none,
  zstd,         // compressed by what prof cannot unpack
  damaged,      // compressed, and it cannot be unpacked
  too_large,    // beyond the memory that names may take
  split,        // in .dwo or .dwp files
  alternative,  // in a file that dwz made, which is not there
  late,         // the time for names was over
};

#if PROF_DETAIL_OS_LINUX

class dwarf_section_reader {
 public:
  // `may_go_on` is asked with `context` before each section that is there and each block of a compressed one.
  dwarf_section_reader(const elf_image& image, arena& memory, std::size_t budget, bool (*may_go_on)(void*), void* context) noexcept
      : image_(image), memory_(memory), budget_(budget), may_go_on_(may_go_on), context_(context) {}

  // False: not all of them could be had; problem() says why. What there is none of stays empty.
  bool read(dwarf_sections& out) noexcept {
    const struct {
      const char* name;  // behind ".debug_"
      text_view* place;
    } wanted[] = {{"info", &out.info},       {"abbrev", &out.abbrev},           {"line", &out.line},
                  {"str", &out.str},         {"line_str", &out.line_str},       {"str_offsets", &out.str_offsets},
                  {"addr", &out.addr},       {"ranges", &out.ranges},           {"rnglists", &out.rnglists}};
    for (const auto& section : wanted) {
      if (!read_one(section.name, *section.place)) return false;
    }
    return true;
  }
  unread problem() const noexcept { return problem_; }
  std::size_t unpacked() const noexcept { return unpacked_; }

 private:
  bool read_one(text_view name, text_view& place) noexcept {
    Elf64_Shdr head{};
    bounded_text<32> full;
    if (image_.find_section(full.put(".debug_").put(name).view(), head) != 0) {
      place = image_.content(head);
      return goes_on() && ((head.sh_flags & SHF_COMPRESSED) == 0 || unpack(place));
    }
    bounded_text<32> packed;
    if (image_.find_section(packed.put(".zdebug_").put(name).view(), head) == 0) return true;
    place = image_.content(head);
    return goes_on() && unpack_gnu(place);
  }

  bool fail(unread why) noexcept {
    problem_ = why;
    return false;
  }
  bool goes_on() noexcept { return may_go_on_(context_) || fail(unread::late); }

  bool unpack(text_view& place) noexcept {
    constexpr std::uint32_t by_zlib = 1;  // ELFCOMPRESS_ZLIB
    constexpr std::uint32_t by_zstd = 2;
    Elf64_Chdr head;  // may lie at any address
    if (place.size < sizeof head) return fail(unread::damaged);
    std::memcpy(&head, place.data, sizeof head);
    if (head.ch_type != by_zlib) return fail(head.ch_type == by_zstd ? unread::zstd : unread::damaged);
    return inflate_to(place, place.from(sizeof head), head.ch_size);
  }
  // "ZLIB" and the size, big-endian.
  bool unpack_gnu(text_view& place) noexcept {
    if (place.size < 12 || !place.starts_with({"ZLIB", 4})) return fail(unread::damaged);
    std::uint64_t size = 0;
    for (std::size_t i = 4; i < 12; ++i) size = size << 8 | static_cast<unsigned char>(place.data[i]);
    return inflate_to(place, place.from(12), size);
  }
  bool inflate_to(text_view& place, text_view packed, std::uint64_t size) noexcept {
    if (!inflate_can_fill(packed, static_cast<std::size_t>(size))) return fail(unread::damaged);
    if (size > budget_ - unpacked_) return fail(unread::too_large);
    char* const room = static_cast<char*>(memory_.allocate(static_cast<std::size_t>(size)));
    if (room == nullptr || !has_tables()) return fail(unread::too_large);
    unpacked_ += static_cast<std::size_t>(size);
    const auto asks = [this] { return goes_on(); };
    if (!inflate_zlib(packed, room, static_cast<std::size_t>(size), *tables_, asks)) {
      return problem_ == unread::late ? false : fail(unread::damaged);
    }
    place = {room, static_cast<std::size_t>(size)};
    return true;
  }

  bool has_tables() noexcept {
    if (tables_ != nullptr) return true;
    void* const room = memory_.allocate(sizeof(inflate_tables));
    if (room != nullptr) tables_ = new (room) inflate_tables;
    return room != nullptr;
  }

  const elf_image& image_;
  arena& memory_;
  inflate_tables* tables_ = nullptr;
  std::size_t budget_;
  bool (*may_go_on_)(void*);
  void* context_;
  std::size_t unpacked_ = 0;
  unread problem_ = unread::none;
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DWARF_SECTIONS_HPP
