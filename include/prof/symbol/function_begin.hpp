// prof/symbol/function_begin.hpp - where the function of an address begins, as the call frame information says, which
// stripped files have, too.
// Floor 9 (symbol). Used by the symbolizer for code without a symbol.
// Safety: ordinary context; thread-compatible. Pure, as elf_image.hpp.
// Memory: none; views into the image.
// Source: LSB 5.0 Core 10.6 (.eh_frame_hdr, .eh_frame). A function's part that was split off (.cold) has an entry of its own,
//         and so has all of a procedure linkage table.
#ifndef PROF_SYMBOL_FUNCTION_BEGIN_HPP
#define PROF_SYMBOL_FUNCTION_BEGIN_HPP

#include "prof/code/elf_image.hpp"
#include "prof/unwind/cfi.hpp"

PROF_DETAIL_BEGIN

#if PROF_DETAIL_OS_LINUX

class function_begins {
 public:
  explicit function_begins(const elf_image& image) noexcept : image_(image) {
    Elf64_Shdr head{};
    if (image.find_section(".eh_frame", head) != 0) open_frames(head.sh_addr, image.content(head), false);
    else if (image.find_section(".debug_frame", head) != 0) open_frames(0, image.content(head), true);
    Elf64_Phdr segment{};
    for (std::size_t i = 0; image.segment(i, segment); ++i) {
      if (segment.p_type == PT_GNU_EH_FRAME) open_header(segment);
    }
  }

  // Of addresses as linked, sorted. Fills in those of `begins` that are 0; 0 stays where nothing is known of the code.
  void find(const std::uint64_t* addresses, std::size_t count, std::uint64_t* begins) const noexcept {
    if (header_.size == 0) return find_by_walk(addresses, count, begins);
    cfi_fde fde;
    for (std::size_t i = 0; i < count; ++i) {
      if (begins[i] == 0 && find_by_header(addresses[i], fde)) begins[i] = fde.begin;
    }
  }

 private:
  void open_frames(std::uint64_t address, text_view bytes, bool is_debug_frame) noexcept {
    frames_.begin = reinterpret_cast<const cfi_byte*>(bytes.data);
    frames_.end = frames_.begin + bytes.size;
    frames_.is_debug_frame = is_debug_frame;
    frames_.moved = address - reinterpret_cast<std::uintptr_t>(bytes.data);
  }
  void open_header(const Elf64_Phdr& segment) noexcept {
    const text_view bytes = image_.bytes(segment.p_offset, segment.p_filesz);
    cfi_header header;
    const bool is_usable = bytes.size > cfi_header_size && !frames_.is_debug_frame && frames_.begin != nullptr &&
                           parse_header_sig(reinterpret_cast<const cfi_byte*>(bytes.data), segment.p_vaddr, header);
    if (!is_usable) return;
    header_ = bytes.from(cfi_header_size);
    address_ = segment.p_vaddr;
    count_ = header_.size / 8 < header.count ? header_.size / 8 : header.count;
  }
  std::uint64_t relative(std::size_t word) const noexcept {
    std::int32_t distance = 0;
    std::memcpy(&distance, header_.data + 4 * word, sizeof distance);
    return address_ + static_cast<std::uint64_t>(std::int64_t{distance});
  }

  bool find_by_header(std::uint64_t address, cfi_fde& fde) const noexcept {
    std::size_t entry = 0;
    const auto start = [&](std::size_t i, std::uintptr_t& at) { return at = relative(2 * i), true; };
    if (!find_last_start_sig(count_, address, start, entry)) return false;
    const std::uint64_t at = relative(2 * entry + 1) - frames_.moved;  // of its FDE, in the image
    const auto first = reinterpret_cast<std::uintptr_t>(frames_.begin);
    if (at < first || at - first >= frames_.size()) return false;
    return parse_fde_sig(frames_.begin + (at - first), frames_, fde) && address >= fde.begin && address < fde.limit;
  }

  // Each entry is shown to the addresses that it may be for; the first one keeps them.
  void find_by_walk(const std::uint64_t* addresses, std::size_t count, std::uint64_t* begins) const noexcept {
    byte_reader rest(frames_.begin, frames_.end);
    byte_reader body;
    cfi_fde fde;
    std::size_t looks = 0;
    for (const cfi_byte* entry = rest.at(); next_entry_sig(rest, body); entry = rest.at()) {
      if (!parse_fde_sig(entry, frames_, fde)) continue;
      for (std::size_t i = first_from(addresses, count, fde.begin); i < count && addresses[i] < fde.limit; ++i) {
        if (begins[i] == 0) begins[i] = fde.begin;
        if (++looks > max_looks) return;
      }
    }
  }
  static std::size_t first_from(const std::uint64_t* addresses, std::size_t count, std::uint64_t begin) noexcept {
    return count_before(count, [&](std::size_t i) { return addresses[i] < begin; });
  }

  // Honest entries do not overlap: in a file where all of them do it would be entries times addresses.
  static constexpr std::size_t max_looks = std::size_t{1} << 24;

  const elf_image& image_;
  cfi_section frames_;
  text_view header_;            // behind its first fields; empty when there is none
  std::uint64_t address_ = 0;   // of the header, as linked
  std::size_t count_ = 0;
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_FUNCTION_BEGIN_HPP
