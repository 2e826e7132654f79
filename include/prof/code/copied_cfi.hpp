// prof/code/copied_cfi.hpp - the call frame information of an address in a module that may be unloaded meanwhile.
// Floor 5 (code). rule_lookup.hpp asks it instead of module_cfi.hpp's cfi_search where a module may go.
// Safety: async-signal-safe: copies by system calls that fail where memory is gone; what is read then is the copy.
// Memory: the caller's cfi_copy.
// Source: process_vm_readv(2); LSB 5.0 Core 10.6.2 (search table of .eh_frame_hdr).
#ifndef PROF_CODE_COPIED_CFI_HPP
#define PROF_CODE_COPIED_CFI_HPP

#include "prof/os/os.hpp"
#include "prof/code/module_cfi.hpp"

PROF_DETAIL_BEGIN

class copied_cfi_search {
 public:
  copied_cfi_search(cfi_place place, cfi_copy& copy) PROF_DETAIL_SIG : place_(place), copy_(copy) {}

  // The FDE that holds pc; its instructions are in the copy.
  bool find_fde_sig(std::uintptr_t pc, cfi_fde& fde) PROF_DETAIL_SIG {
    if (!copy_header_sig() || !find_entry_sig(pc) || !copy_entry_sig()) return false;
    fde.cie_at = nullptr;  // what was there may be another module's
    return parse_fde_sig(copy_.bytes + fde_begin_, section_, fde) && pc >= fde.begin && pc < fde.limit;
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

  PROF_DETAIL_NOINLINE bool copy_header_sig() PROF_DETAIL_SIG {
    if (place_.header == 0 || !os_copy_sig(copy_.bytes, place_.header, cfi_header_size)) return false;
    return parse_header_sig(copy_.bytes, place_.header, header_) && header_.count <= place_.most_entries();
  }

  // The last row whose function begins at or before pc; it is in the copy then.
  PROF_DETAIL_NOINLINE bool find_entry_sig(std::uintptr_t pc) PROF_DETAIL_SIG {
    std::size_t entry = 0;
    const auto start_of = [this](std::size_t i, std::uintptr_t& begin) PROF_DETAIL_SIG {
      if (!has_row_sig(i) && !copy_rows_sig(i)) return false;
      begin = away_sig(row_sig(i).start);
      return true;
    };
    if (!find_last_start_sig(header_.count, pc, start_of, entry)) return false;
    if (!has_row_sig(entry) && !copy_rows_sig(entry)) return false;
    entry_ = away_sig(row_sig(entry).fde);
    return true;
  }
  bool has_row_sig(std::size_t i) const PROF_DETAIL_SIG { return i >= first_ && i - first_ < copied_; }
  row row_sig(std::size_t i) const PROF_DETAIL_SIG {
    row there;
    std::memcpy(&there, copy_.bytes + (i - first_) * sizeof there, sizeof there);
    return there;
  }
  // Row i and its neighbours: the last steps of a search are next to each other.
  bool copy_rows_sig(std::size_t i) PROF_DETAIL_SIG {
    first_ = i < rows / 2 ? 0 : i - rows / 2;
    copied_ = header_.count - first_ < rows ? header_.count - first_ : rows;
    return os_copy_sig(copy_.bytes, place_.header + cfi_header_size + first_ * sizeof(row), copied_ * sizeof(row));
  }

  // The CIE to the begin and the FDE behind it, which points to that CIE then.
  PROF_DETAIL_NOINLINE bool copy_entry_sig() PROF_DETAIL_SIG {
    std::uint32_t back = 0;  // how far before this word the CIE is
    if (!is_inside_sig(entry_, 8) || !os_copy_sig(&back, entry_ + 4, sizeof back) || back == 0) return false;
    if (!copy_part_sig(entry_ + 4 - back, 0)) return false;
    fde_begin_ = (part_size_ + 7) & ~std::size_t{7};
    if (!copy_part_sig(entry_, fde_begin_) || part_size_ < 8) return false;
    back = static_cast<std::uint32_t>(fde_begin_ + 4);
    std::memcpy(copy_.bytes + fde_begin_ + 4, &back, sizeof back);
    section_.begin = copy_.bytes;
    section_.end = copy_.bytes + fde_begin_ + part_size_;
    section_.moved = entry_ - reinterpret_cast<std::uintptr_t>(copy_.bytes + fde_begin_);
    return true;
  }
  // An entry with its length, `to` bytes behind the begin.
  bool copy_part_sig(std::uintptr_t at, std::size_t to) PROF_DETAIL_SIG {
    std::uint32_t length = 0;
    if (!is_inside_sig(at, 4) || !os_copy_sig(&length, at, sizeof length)) return false;
    part_size_ = std::size_t{length} + 4;
    return to + part_size_ <= sizeof copy_.bytes && is_inside_sig(at, part_size_) &&
           os_copy_sig(copy_.bytes + to, at, part_size_) &&
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
  std::size_t first_ = 0;  // rows that are in the copy
  std::size_t copied_ = 0;
  std::uintptr_t entry_ = 0;  // where the FDE is
  std::size_t part_size_ = 0;
  std::size_t fde_begin_ = 0;  // of the FDE in the copy
};

PROF_DETAIL_END

#endif  // PROF_CODE_COPIED_CFI_HPP
