// prof/base/table_memory.hpp - where tables get their pages: piece by piece, when an entry needs one.
// Floor 2 (base). Used by table.hpp, live_table.hpp and what else grows and never shrinks.
// Safety: functions ending in _sig are async-signal-safe and take no lock: two threads that need the same
//         piece both map one, and the second gives its own back.
// Memory: a piece is at most 256 KiB, so that a program under mlockall(MCL_FUTURE), where the kernel fills
//         in every page at once, loses some 60 us to one and not milliseconds to a table.
// Source: mlockall(2), mmap(2); kernel 6.18, where a raw mmap took 4 to 10 us beside another that maps.
#ifndef PROF_BASE_TABLE_MEMORY_HPP
#define PROF_BASE_TABLE_MEMORY_HPP

#include <cstring>

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t piece_bytes = std::size_t{256} << 10;
inline constexpr std::size_t page_bytes = 4096;
constexpr std::size_t page_round(std::size_t n) { return (n + page_bytes - 1) & ~(page_bytes - 1); }

// A source of zeroed pages that counts what it gave, one for all tables of a process.
struct table_memory {
  void* (*map_sig)(std::size_t size) noexcept = nullptr;
  void (*unmap_sig)(void* pages, std::size_t size) noexcept = nullptr;
  std::atomic<std::uint64_t> bytes{0};    // mapped and kept
  std::atomic<std::uint64_t> refused{0};  // pieces that the system did not give

  // Null when the system refuses, which is counted.
  void* take_sig(std::size_t size) PROF_DETAIL_SIG {
    void* const pages = map_sig(page_round(size));
    if (pages == nullptr) refused.fetch_add(1, std::memory_order_relaxed);
    else bytes.fetch_add(page_round(size), std::memory_order_relaxed);
    return pages;
  }
  void give_back_sig(void* pages, std::size_t size) PROF_DETAIL_SIG {
    unmap_sig(pages, page_round(size));
    bytes.fetch_sub(page_round(size), std::memory_order_relaxed);
  }
};

// The piece at a place, mapped when there is none yet; null when the system refuses.
PROF_DETAIL_NOINLINE inline char* piece_at_sig(std::atomic<char*>& place, table_memory& memory,
                                               std::size_t size) PROF_DETAIL_SIG {
  char* there = place.load(std::memory_order_acquire);
  if (there != nullptr) return there;
  char* const made = static_cast<char*>(memory.take_sig(size));
  if (made == nullptr) return nullptr;
  // Pairs with the acquire above and in readers: who sees the piece sees zeros in it.
  if (place.compare_exchange_strong(there, made, std::memory_order_acq_rel)) return made;
  memory.give_back_sig(made, size);
  return there;
}

// Room that is handed out front to back and never taken back: frames, paths, texts of labels. What is handed
// out lies in one piece; a place is an offset, which stays valid.
template <std::size_t Pieces, std::size_t PieceBytes = piece_bytes>
class append_store {
 public:
  static constexpr std::size_t capacity = Pieces * PieceBytes;

  void bind(table_memory& memory) noexcept { memory_ = &memory; }

  // False when no room is left or the system gives none: then nothing is used up but rests of pieces. No loop that
  // others could win again and again: under an emulator of aarch64 (qemu 7.2), four threads on two processors lost 16
  // times in a row, 30 times in 80,000.
  // Some of what is taken here may lie across the end of a piece, and is left unused.
  bool reserve_sig(std::size_t size, std::size_t& begin) PROF_DETAIL_SIG {
    if (size > PieceBytes) return false;
    for (int tries = 0; tries < 4; ++tries) {
      const std::size_t used = used_.load(std::memory_order_relaxed);
      if (used + size > capacity) return false;
      // Before anything is taken: who is refused may come back a million times.
      const std::size_t last = size == 0 ? used : used + size - 1;
      if (last < capacity && piece_at_sig(pieces_[last / PieceBytes], *memory_, PieceBytes) == nullptr) return false;
      begin = used_.fetch_add(size, std::memory_order_relaxed);
      if (begin + size > capacity) return false;
      if (begin / PieceBytes != (begin + size - (size != 0 ? 1 : 0)) / PieceBytes) continue;
      return piece_at_sig(pieces_[begin / PieceBytes], *memory_, PieceBytes) != nullptr;
    }
    return false;
  }
  bool is_full_sig(std::size_t size) const PROF_DETAIL_SIG {
    return size > PieceBytes || used_.load(std::memory_order_relaxed) + size > capacity;
  }
  char* at_sig(std::size_t begin) const PROF_DETAIL_SIG {
    return pieces_[begin / PieceBytes].load(std::memory_order_acquire) + begin % PieceBytes;
  }

 private:
  table_memory* memory_ = nullptr;
  std::atomic<std::size_t> used_{0};
  std::atomic<char*> pieces_[Pieces] = {};
};

PROF_DETAIL_END

#endif  // PROF_BASE_TABLE_MEMORY_HPP
