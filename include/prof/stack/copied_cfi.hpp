// prof/stack/copied_cfi.hpp - the call frame information of an address in a module that may be unloaded meanwhile.
// Floor 3 (stack). rule_lookup.hpp asks it instead of module_cfi.hpp's cfi_search where a module may go.
// Safety: async-signal-safe: copies by system calls that fail where memory is gone; what is read then is the copy.
// Memory: the caller's cfi_copy.
// Source: process_vm_readv(2); LSB 5.0 Core 10.6.2 (search table of .eh_frame_hdr).
#ifndef PROF_STACK_COPIED_CFI_HPP
#define PROF_STACK_COPIED_CFI_HPP

#include "prof/os/os.hpp"
#include "prof/stack/module_cfi.hpp"

PROF_DETAIL_BEGIN

class copied_cfi_search {
 public:
  copied_cfi_search(cfi_place place, cfi_copy& copy) PROF_DETAIL_SIG : place_(place), copy_(copy) {}

  // The FDE that holds pc; its instructions are in the copy.
  bool find_fde_sig(std::uintptr_t pc, cfi_fde& fde) PROF_DETAIL_SIG {
    std::uintptr_t at = 0;
    std::size_t begin = 0;
    if (!find_entry_sig(pc, at) || !copy_entry_sig(at, begin)) return false;
    fde.cie_at = nullptr;  // what was there may be another module's
    return parse_fde_sig(copy_.bytes + begin, section_, fde) && pc >= fde.begin && pc < fde.limit;
  }

 private:
  struct row {  // of the header's table, relative to the header
    std::int32_t start;
    std::int32_t fde;
  };
  static constexpr std::size_t rows = sizeof(cfi_copy) / sizeof(row);

  std::uintptr_t away_sig(std::int32_t offset) const PROF_DETAIL_SIG {
    return place_.header + static_cast<std::uintptr_t>(std::intptr_t{offset});
  }

  // Where the FDE is whose function is the last that begins at or before pc.
  PROF_DETAIL_NOINLINE bool find_entry_sig(std::uintptr_t pc, std::uintptr_t& at) PROF_DETAIL_SIG {
    if (place_.header == 0 || !os_copy_sig(copy_.bytes, place_.header, cfi_header_size)) return false;
    if (!parse_header_sig(copy_.bytes, place_.header, header_)) return false;
    if (header_.count > place_.most_entries()) return false;
    first_ = copied_ = 0;
    std::size_t entry = 0;
    const auto start_of = [this](std::size_t i, std::uintptr_t& begin) PROF_DETAIL_SIG {
      row there;
      if (!read_row_sig(i, there)) return false;
      begin = away_sig(there.start);
      return true;
    };
    row found;
    if (!find_last_start_sig(header_.count, pc, start_of, entry) || !read_row_sig(entry, found)) return false;
    at = away_sig(found.fde);
    return true;
  }
  // Rows are copied together, for the last steps of a search are next to each other.
  bool read_row_sig(std::size_t i, row& there) PROF_DETAIL_SIG {
    if (i < first_ || i - first_ >= copied_) {
      first_ = i < rows / 2 ? 0 : i - rows / 2;
      copied_ = header_.count - first_ < rows ? header_.count - first_ : rows;
      const std::uintptr_t from = place_.header + cfi_header_size + first_ * sizeof(row);
      if (!os_copy_sig(copy_.bytes, from, copied_ * sizeof(row))) return false;
    }
    std::memcpy(&there, copy_.bytes + (i - first_) * sizeof(row), sizeof there);
    return true;
  }

  // The CIE to the begin, and behind it the FDE, which begins there at `begin` and points to that CIE.
  PROF_DETAIL_NOINLINE bool copy_entry_sig(std::uintptr_t at, std::size_t& begin) PROF_DETAIL_SIG {
    std::uint32_t head[2];  // length, and how far before this word the CIE is
    std::size_t cie_size = 0;
    std::size_t fde_size = 0;
    if (!is_inside_sig(at, 8) || !os_copy_sig(head, at, sizeof head) || head[1] == 0) return false;
    if (!copy_part_sig(at + 4 - head[1], 0, cie_size)) return false;
    begin = (cie_size + 7) & ~std::size_t{7};
    if (!copy_part_sig(at, begin, fde_size) || fde_size < 8) return false;
    const auto back = static_cast<std::uint32_t>(begin + 4);
    std::memcpy(copy_.bytes + begin + 4, &back, sizeof back);
    section_.begin = copy_.bytes;
    section_.end = copy_.bytes + begin + fde_size;
    section_.moved = at - reinterpret_cast<std::uintptr_t>(copy_.bytes + begin);
    return true;
  }
  // An entry with its length to `to`.
  bool copy_part_sig(std::uintptr_t at, std::size_t to, std::size_t& size) PROF_DETAIL_SIG {
    std::uint32_t length = 0;
    if (!is_inside_sig(at, 4) || !os_copy_sig(&length, at, sizeof length)) return false;
    size = std::size_t{length} + 4;
    return to + size <= sizeof copy_.bytes && is_inside_sig(at, size) && os_copy_sig(copy_.bytes + to, at, size) &&
           std::memcmp(copy_.bytes + to, &length, sizeof length) == 0;
  }
  bool is_inside_sig(std::uintptr_t at, std::size_t size) const PROF_DETAIL_SIG {
    const auto begin = reinterpret_cast<std::uintptr_t>(header_.eh_frame);
    return at >= begin && at < place_.limit && place_.limit - at >= size;
  }

  const cfi_place place_;
  cfi_copy& copy_;
  cfi_header header_;
  cfi_section section_;
  std::size_t first_ = 0;   // rows that are in the copy
  std::size_t copied_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_STACK_COPIED_CFI_HPP
