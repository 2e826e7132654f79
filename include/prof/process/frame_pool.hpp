// prof/process/frame_pool.hpp - buffers that walks write their frames to, so that a handler's stack stays small.
// Floor 7 (process). Leased by process/capture.hpp for the time of one walk.
// Safety: async-signal-safe; no lock: a buffer is taken by one exchange.
// Memory: 64 buffers of 12.5 KB, eight at a time as more are in use at once; never given back.
// Source: none; one flag per buffer.
#ifndef PROF_PROCESS_FRAME_POOL_HPP
#define PROF_PROCESS_FRAME_POOL_HPP

#include "prof/base/table_memory.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t max_depth = 1024;  // frames of one stack

struct frame_buffer {
  std::atomic<std::uint32_t> taken;
  alignas(16) unsigned char scratch[4352];  // capture.hpp's walk_scratch
  std::uintptr_t frames[max_depth];
};

class frame_pool {
 public:
  static constexpr std::size_t per_piece = 8;
  static constexpr std::size_t pieces = 8;
  static_assert(per_piece * sizeof(frame_buffer) <= piece_bytes);

  void bind(table_memory& memory) noexcept { memory_ = &memory; }

  // A buffer that nobody else has; null when all are taken or the system gives no more. `seed` spreads those who ask.
  frame_buffer* take_sig(std::size_t seed) PROF_DETAIL_SIG {
    for (std::atomic<char*>& place : pieces_) {
      char* const piece = piece_at_sig(place, *memory_, per_piece * sizeof(frame_buffer));
      if (piece == nullptr) return nullptr;
      auto* const buffers = reinterpret_cast<frame_buffer*>(piece);
      for (std::size_t i = 0; i < per_piece; ++i) {
        frame_buffer& buffer = buffers[(seed + i) % per_piece];
        // In the single order of all threads: see give_back_maps.
        if (buffer.taken.exchange(1) == 0) return &buffer;
      }
    }
    return nullptr;
  }

  // Calls visit(buffer) for every buffer that there is until it returns false; false if it did.
  template <class Visit>
  bool for_each(Visit visit) {
    for (std::atomic<char*>& place : pieces_) {
      auto* const buffers = reinterpret_cast<frame_buffer*>(place.load());
      for (std::size_t i = 0; buffers != nullptr && i < per_piece; ++i) {
        if (!visit(buffers[i])) return false;
      }
    }
    return true;
  }

 private:
  table_memory* memory_ = nullptr;
  std::atomic<char*> pieces_[pieces] = {};
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_FRAME_POOL_HPP
