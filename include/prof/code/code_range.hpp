// prof/code/code_range.hpp - every executable segment that was ever seen loaded, each with a number.
// Floor 5 (code). Filled by modules.hpp, and by range_lookup.hpp when a walk meets new code. A frame is a
//          call address and the number of its range, so that a library which is loaded later at the same
//          address does not take the frame over.
// Safety: async-signal-safe; entries are added without a lock and never change.
// Memory: given; nothing is ever removed. 3072 ranges, 1024 of them of no image, and 512 KiB of paths, then new ones
//         have no number.
// Source: proc(5), /proc/pid/maps; what tells two files of one layout apart is in still_loaded.hpp.
#ifndef PROF_CODE_CODE_RANGE_HPP
#define PROF_CODE_CODE_RANGE_HPP

#include <cstring>

#include "prof/base/table.hpp"
#include "prof/base/text.hpp"
#include "prof/unwind/frame_list.hpp"
#include "prof/code/module_cfi.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t build_id_size = 32;  // sha1 is 20, sha256 would be 32

inline constexpr range_number max_range_number = 4096;
// A quarter stays free, so that looking for what is not there ends soon.
inline constexpr std::size_t max_ranges = std::size_t{max_range_number} * 3 / 4;
// A third of them for code that is no image: some JITs map thousands of pieces of a file (CoreCLR's doublemapper),
// and libraries, which are higher up, would have no names.
inline constexpr std::size_t max_other_ranges = max_ranges / 3;

// One executable segment of one file (or of the vdso), loaded once.
struct code_range {
  std::uintptr_t start = 0;
  std::uintptr_t limit = 0;
  std::uint64_t offset = 0;      // of start in the file
  std::uintptr_t header = 0;     // where the file's ELF header is mapped, 0 when unknown
  cfi_place cfi;                 // its call frame information
  module_cfi* module = nullptr;  // what is known of it beyond this range; null: nothing
  const char* path = "";         // NUL-terminated, lives as long as the registry
  std::uint32_t path_size = 0;
  std::uint32_t build_id_length = 0;
  unsigned char build_id[build_id_size] = {};
  std::uintptr_t build_id_at = 0;  // in memory
  std::uint64_t fallback_id = 0;      // for the build id where there is none: see fallback_id_sig; else 0
  std::uint64_t cfi_hash = 0;      // of a file without build id that may go: see hash_cfi_sig; else 0
  std::uint64_t mapping = 0;       // a hash of its line in /proc/self/maps
  range_number number = 0;
  bool image = false;    // of an ELF file
  bool never_unloaded = false;  // cannot be unloaded
  bool current = true;   // false: was unmapped since it was first seen

  bool holds(std::uintptr_t address) const PROF_DETAIL_SIG {
    return address >= start && address < limit;
  }
};

inline bool same_range_sig(const code_range& a, const code_range& b) PROF_DETAIL_SIG {
  return a.start == b.start && a.limit == b.limit && a.offset == b.offset &&
         a.fallback_id == b.fallback_id && a.cfi_hash == b.cfi_hash && a.build_id_length == b.build_id_length &&
         std::memcmp(a.build_id, b.build_id, a.build_id_length) == 0 &&
         text_view(a.path, a.path_size).equals({b.path, b.path_size});
}

// ---- the registry ------------------------------------------------------------------------------------

// Open addressing by where the file's first byte is mapped. All zero when empty.
class range_registry {
 public:
  std::size_t size() const PROF_DETAIL_SIG { return ready_.load(std::memory_order_acquire); }
  bool full() const PROF_DETAIL_SIG { return full_.load(std::memory_order_relaxed); }
  bool others_full() const PROF_DETAIL_SIG { return others_full_.load(std::memory_order_relaxed); }

  const code_range* at(range_number number) const PROF_DETAIL_SIG {
    if (number == 0 || number > max_range_number) return nullptr;
    const slot& there = slots_[number - 1];
    return there.state.load(std::memory_order_acquire) == state_ready ? &there.range : nullptr;
  }

  // The first range of the file mapped at `first` for which matches(range); null: none.
  template <class Matches>
  const code_range* find_sig(std::uintptr_t first, Matches matches) const PROF_DETAIL_SIG {
    for (std::size_t step = 0; step < max_steps; ++step) {
      const slot& there = slots_[place_of(first, step)];
      const std::uint32_t state = there.state.load(std::memory_order_acquire);
      if (state == state_free) return nullptr;
      if (state == state_ready && first_of(there.range) == first && matches(there.range)) {
        return &there.range;
      }
    }
    return nullptr;
  }

  // Of the ranges that walks registered the last 16 are kept at hand, for walks that have no loader to ask
  // which file is at an address.
  void remember_recent_sig(const code_range* range) PROF_DETAIL_SIG {
    for (const std::atomic<const code_range*>& known : recent_) {
      if (known.load(std::memory_order_acquire) == range) return;
    }
    recent_[next_recent_.fetch_add(1) % recent_count].store(range, std::memory_order_release);
  }
  // One of those for which matches(range); null: none.
  template <class Matches>
  const code_range* find_recent_sig(Matches matches) const PROF_DETAIL_SIG {
    for (const std::atomic<const code_range*>& known : recent_) {
      const code_range* const range = known.load(std::memory_order_acquire);
      if (range != nullptr && matches(*range)) return range;
    }
    return nullptr;
  }

  // That range with its number, added when it is new. Null when there is no room.
  const code_range* find_or_add_sig(const code_range& range) PROF_DETAIL_SIG {
    const code_range* const known = find_sig(
        first_of(range), [&](const code_range& there) { return same_range_sig(there, range); });
    return known != nullptr ? known : add_slow_sig(range);
  }

 private:
  enum : std::uint32_t { state_free, state_filling, state_ready };
  struct slot {
    std::atomic<std::uint32_t> state;
    code_range range;
  };
  // Three quarters full, chains of up to 203 slots were seen in 500 random fills.
  static constexpr std::size_t max_steps = 512;
  static constexpr std::size_t path_room = std::size_t{512} << 10;
  static constexpr std::size_t recent_count = 16;

  static std::uintptr_t first_of(const code_range& range) PROF_DETAIL_SIG {
    return range.header != 0 ? range.header : range.start;
  }
  static std::size_t place_of(std::uintptr_t first, std::size_t step) PROF_DETAIL_SIG {
    return static_cast<std::size_t>(mix_bits(first) + step) % max_range_number;
  }

  // Two that add the same at once make two entries, which does no harm.
  PROF_DETAIL_COLD const code_range* add_slow_sig(const code_range& range) PROF_DETAIL_SIG {
    const bool is_other = !range.image;
    if (is_other && others_.load(std::memory_order_relaxed) >= max_other_ranges) {
      others_full_.store(true, std::memory_order_relaxed);
      return nullptr;
    }
    const std::size_t text = path_used_.fetch_add(range.path_size + std::size_t{1});
    const bool has_room = text + range.path_size < path_room && size() < max_ranges;
    for (std::size_t step = 0; has_room && step < max_steps; ++step) {
      const std::size_t place = place_of(first_of(range), step);
      slot& there = slots_[place];
      std::uint32_t free = state_free;
      if (!there.state.compare_exchange_strong(free, state_filling)) continue;
      there.range = range;
      there.range.path = paths_ + text;
      there.range.number = static_cast<range_number>(place + 1);
      std::memcpy(paths_ + text, range.path, range.path_size);  // a zero follows
      there.state.store(state_ready, std::memory_order_release);
      if (is_other) others_.fetch_add(1, std::memory_order_relaxed);
      ready_.fetch_add(1, std::memory_order_release);
      return &there.range;
    }
    full_.store(true, std::memory_order_relaxed);
    return nullptr;
  }

  slot slots_[max_range_number];
  std::atomic<const code_range*> recent_[recent_count];
  std::atomic<std::size_t> next_recent_;
  std::atomic<std::size_t> ready_;
  std::atomic<std::size_t> others_;  // of those, the ones that are no images
  std::atomic<std::size_t> path_used_;
  std::atomic<bool> full_;
  std::atomic<bool> others_full_;
  char paths_[path_room];
};

PROF_DETAIL_END

#endif  // PROF_CODE_CODE_RANGE_HPP
