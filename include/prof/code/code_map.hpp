// prof/code/code_map.hpp - a snapshot of the executable segments that were mapped when it was read, and of those
// that had been before.
// Floor 5 (code). Made by modules.hpp, published by capture.hpp; walks and the profile builder look into it.
// Safety: immutable once published; all of it is async-signal-safe.
// Memory: pages of its own, see modules.hpp.
// Source: none; binary search.
#ifndef PROF_CODE_CODE_MAP_HPP
#define PROF_CODE_CODE_MAP_HPP

#include "prof/base/memory.hpp"
#include "prof/code/code_range.hpp"

PROF_DETAIL_BEGIN

// Into the order of a map's ranges.
inline void sort_ranges_sig(code_range* ranges, std::size_t count) PROF_DETAIL_SIG {
  heap_sort(ranges, count, [](const code_range& a, const code_range& b) {
    return a.start != b.start ? a.start < b.start : a.limit < b.limit;
  });
}

struct code_map {
  std::size_t bytes = 0;
  std::uint64_t fingerprint = 0;
  std::size_t registered = 0;  // of the registry's ranges are listed
  std::size_t count = 0;
  std::size_t current = 0;        // ranges[0..current) are mapped now, the rest was unloaded
  code_range* ranges = nullptr;  // both parts sorted by start; current ranges never overlap

  // What is or was at an address.
  const code_range* find(std::uintptr_t address) const PROF_DETAIL_SIG {
    const code_range* const now = find_current(address);
    return now != nullptr ? now : find_in(current, count, max_overlaps, address, 0);
  }
  const code_range* find_current(std::uintptr_t address) const PROF_DETAIL_SIG {
    return find_in(0, current, 1, address, 0);
  }
  // The range that has a number and a start; null: not listed.
  const code_range* find_numbered(range_number number, std::uintptr_t start) const PROF_DETAIL_SIG {
    const code_range* const now = find_in(0, current, 1, start, number);
    return now != nullptr ? now : find_in(current, count, max_overlaps, start, number);
  }
  // Whether code of the file whose first byte is at `header` is listed, and stays.
  bool lists_never_unloaded_sig(std::uintptr_t header) const PROF_DETAIL_SIG {
    const std::size_t first = first_behind_sig(0, current, header - 1);
    return first < current && ranges[first].header == header && ranges[first].never_unloaded;
  }
  // The range that a frame was in when it was walked.
  const code_range* find_frame(std::uintptr_t frame) const PROF_DETAIL_SIG {
    const std::uintptr_t address = frame_address_sig(frame);
    const range_number number = frame_range_sig(frame);
    const code_range* const now = find_current(address);
    // Without a number it is only known that code was there: not which, where that changes. Nor does what
    // was there once tell.
    if (number == 0) return now != nullptr && now->never_unloaded ? now : nullptr;
    if (now != nullptr && now->number == number) return now;
    return find_in(current, count, max_overlaps, address, number);
  }

 private:
  // Unloaded ranges may all overlap each other.
  static constexpr std::size_t max_overlaps = max_range_number;

  // The first range in [low, high) that starts behind an address.
  std::size_t first_behind_sig(std::size_t low, std::size_t high, std::uintptr_t address) const PROF_DETAIL_SIG {
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (ranges[middle].start <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  // `number` 0: any will do.
  const code_range* find_in(std::size_t first, std::size_t high, std::size_t overlaps,
                            std::uintptr_t address, range_number number) const PROF_DETAIL_SIG {
    for (std::size_t i = first_behind_sig(first, high, address); i > first && overlaps != 0; --overlaps) {
      const code_range& range = ranges[--i];
      if (address < range.limit && (number == 0 || range.number == number)) return &range;
    }
    return nullptr;
  }
};

PROF_DETAIL_END

#endif  // PROF_CODE_CODE_MAP_HPP
