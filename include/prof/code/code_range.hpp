// prof/code/code_range.hpp - every executable segment that was ever seen loaded, each with a number.
// Floor 5 (code). Filled by modules.hpp, and by range_lookup.hpp when a walk meets new code. A frame is a
//          call address and the number of its range, so that a library which is loaded later at the same
//          address does not take the frame over.
// Safety: async-signal-safe; entries are added without a lock and never change.
// Memory: in pieces, as ranges are added; nothing is ever removed. 3072 ranges, 1024 of them of no image, and 512 KiB of
//         paths, then new ones have no number.
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
  std::uint64_t device = 0;        // of the file, as os_mapping has them; 0: unknown
  std::uint64_t inode = 0;
  std::uint64_t seen_ns = 0;       // since 1970: when it was registered
  range_number number = 0;
  bool image = false;    // of an ELF file
  bool never_unloaded = false;  // cannot be unloaded
  bool moved = false;    // copied from the file to pages of no file: see moved_code.hpp
  bool current = true;   // false: was unmapped since it was first seen

  bool holds(std::uintptr_t address) const PROF_DETAIL_SIG {
    return address >= start && address < limit;
  }
};

inline bool same_range_sig(const code_range& a, const code_range& b) PROF_DETAIL_SIG {
  return a.start == b.start && a.limit == b.limit && a.offset == b.offset && a.device == b.device && a.inode == b.inode &&
         a.fallback_id == b.fallback_id && a.cfi_hash == b.cfi_hash && a.build_id_length == b.build_id_length &&
         std::memcmp(a.build_id, b.build_id, a.build_id_length) == 0 &&
         text_view(a.path, a.path_size).equals({b.path, b.path_size});
}

// ---- the registry ------------------------------------------------------------------------------------

// Ranges are numbered as they come; a small table of numbers, open addressing by where the file's first byte is mapped,
// finds them. All zero, but for where its memory comes from, when empty.
class range_registry {
 public:
  static constexpr std::size_t per_piece = 256;

  void bind(table_memory& memory) noexcept {
    memory_ = &memory;
    paths_.bind(memory);
  }

  std::size_t size() const PROF_DETAIL_SIG { return ready_.load(std::memory_order_acquire); }
  bool full() const PROF_DETAIL_SIG { return full_.load(std::memory_order_relaxed); }
  bool others_full() const PROF_DETAIL_SIG { return others_full_.load(std::memory_order_relaxed); }

  const code_range* at(range_number number) const PROF_DETAIL_SIG {
    if (number == 0 || number > max_ranges) return nullptr;
    const slot* const there = slot_of(number);
    const bool is_ready = there != nullptr && there->ready.load(std::memory_order_acquire);
    return is_ready ? &there->range : nullptr;
  }

  // The first range of the file mapped at `first` for which matches(range); null: none.
  template <class Matches>
  const code_range* find_sig(std::uintptr_t first, Matches matches) const PROF_DETAIL_SIG {
    for (std::size_t step = 0; step < max_steps; ++step) {
      const range_number number = numbers_[place_of(first, step)].load(std::memory_order_acquire);
      if (number == 0) return nullptr;
      const code_range* const there = at(number);
      if (there != nullptr && first_of(*there) == first && matches(*there)) return there;
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
  struct slot {
    std::atomic<bool> ready;
    code_range range;
  };
  static constexpr std::size_t pieces = max_ranges / per_piece;
  static_assert(max_ranges % per_piece == 0 && per_piece * sizeof(slot) <= piece_bytes);
  // Three quarters full, chains of up to 203 slots were seen in 500 random fills.
  static constexpr std::size_t max_steps = 512;
  static constexpr std::size_t recent_count = 16;

  static std::uintptr_t first_of(const code_range& range) PROF_DETAIL_SIG {
    return range.header != 0 ? range.header : range.start;
  }
  static std::size_t place_of(std::uintptr_t first, std::size_t step) PROF_DETAIL_SIG {
    return static_cast<std::size_t>(mix_bits(first) + step) % max_range_number;
  }

  slot* slot_of(std::size_t number) const PROF_DETAIL_SIG {
    char* const piece = pieces_[(number - 1) / per_piece].load(std::memory_order_acquire);
    return piece == nullptr ? nullptr : reinterpret_cast<slot*>(piece) + (number - 1) % per_piece;
  }

  // Two that add the same at once make two entries, which does no harm.
  PROF_DETAIL_COLD const code_range* add_slow_sig(const code_range& range) PROF_DETAIL_SIG {
    const bool is_other = !range.image;
    if (is_other && others_.load(std::memory_order_relaxed) >= max_other_ranges) {
      others_full_.store(true, std::memory_order_relaxed);
      return nullptr;
    }
    if (last_.load(std::memory_order_relaxed) >= max_ranges || paths_.is_full_sig(range.path_size + std::size_t{1})) {
      full_.store(true, std::memory_order_relaxed);
      return nullptr;
    }
    const code_range* const added = fill_sig(range);
    if (added == nullptr) return nullptr;
    if (!list_sig(*added)) {
      full_.store(true, std::memory_order_relaxed);
      return nullptr;
    }
    if (is_other) others_.fetch_add(1, std::memory_order_relaxed);
    ready_.fetch_add(1, std::memory_order_release);
    return added;
  }
  // A copy of it, with the next number and its path. Null where the system gives no memory, which it may do again: no
  // number is taken then.
  const code_range* fill_sig(const code_range& range) PROF_DETAIL_SIG {
    std::size_t text = 0;
    const std::size_t next = last_.load(std::memory_order_relaxed);
    if (next >= max_ranges || piece_at_sig(pieces_[next / per_piece], *memory_, per_piece * sizeof(slot)) == nullptr) {
      return nullptr;
    }
    if (!paths_.reserve_sig(range.path_size + std::size_t{1}, text)) return nullptr;
    const std::size_t number = last_.fetch_add(1, std::memory_order_relaxed) + 1;
    if (number > max_ranges) return nullptr;
    char* const piece = piece_at_sig(pieces_[(number - 1) / per_piece], *memory_, per_piece * sizeof(slot));
    if (piece == nullptr) return nullptr;
    slot& there = reinterpret_cast<slot*>(piece)[(number - 1) % per_piece];
    there.range = range;
    there.range.path = paths_.at_sig(text);
    there.range.number = static_cast<range_number>(number);
    there.range.seen_ns = os_realtime_ns_sig();
    std::memcpy(paths_.at_sig(text), range.path, range.path_size);  // a zero follows
    there.ready.store(true, std::memory_order_release);
    return &there.range;
  }
  // Into the table of numbers.
  bool list_sig(const code_range& range) PROF_DETAIL_SIG {
    const auto number = static_cast<std::uint16_t>(range.number);
    for (std::size_t step = 0; step < max_steps; ++step) {
      std::uint16_t none = 0;
      if (numbers_[place_of(first_of(range), step)].compare_exchange_strong(none, number)) return true;
    }
    return false;
  }

  table_memory* memory_ = nullptr;
  std::atomic<std::uint16_t> numbers_[max_range_number] = {};
  std::atomic<char*> pieces_[pieces] = {};
  std::atomic<const code_range*> recent_[recent_count] = {};
  std::atomic<std::size_t> next_recent_{0};
  std::atomic<std::size_t> last_{0};  // the highest number that was given
  std::atomic<std::size_t> ready_{0};
  std::atomic<std::size_t> others_{0};  // of those, the ones that are no images
  std::atomic<bool> full_{false};
  std::atomic<bool> others_full_{false};
  append_store<8, std::size_t{64} << 10> paths_;
};

PROF_DETAIL_END

#endif  // PROF_CODE_CODE_RANGE_HPP
