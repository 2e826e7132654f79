// prof/unwind/frame_list.hpp - what a frame is; the frames of one walk in a buffer that may be too small.
// Floor 4 (unwind). Filled by unwind.hpp; frames and their mark are named by process/profile_builder.hpp.
// Safety: async-signal-safe.
// Memory: the caller's buffer.
// Source: both ends of a deep stack are needed: the leaf says where time goes, the root which thread or
//         request it is. Addresses of x86-64 and aarch64 Linux processes have 48 bits, unless a program
//         asks mmap(2) for higher ones (kernel Documentation/arch/x86/x86_64/5level-paging.rst).
#ifndef PROF_UNWIND_FRAME_LIST_HPP
#define PROF_UNWIND_FRAME_LIST_HPP

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// A frame is a call address and above it the number of the code range that it lies in (code_range.hpp),
// so that a library loaded later at the same address does not take it over. 0: no range is known.
using range_number = std::uint32_t;
inline constexpr unsigned frame_address_bits = 48;

inline bool fits_frame_sig(std::uintptr_t address) PROF_DETAIL_SIG {
  return std::uint64_t{address} >> frame_address_bits == 0;
}
inline std::uintptr_t make_frame_sig(std::uintptr_t address, range_number number) PROF_DETAIL_SIG {
  return address | static_cast<std::uintptr_t>(std::uint64_t{number} << frame_address_bits);
}
inline std::uintptr_t frame_address_sig(std::uintptr_t frame) PROF_DETAIL_SIG {
  constexpr auto mask = (std::uint64_t{1} << frame_address_bits) - 1;
  return static_cast<std::uintptr_t>(frame & mask);
}
inline range_number frame_range_sig(std::uintptr_t frame) PROF_DETAIL_SIG {
  return static_cast<range_number>(std::uint64_t{frame} >> frame_address_bits);
}

// Of the frames that are kept of a longer stack, one in four is of the root's end.
inline constexpr std::size_t root_share = 4;
// Stands where frames were left out. No code has this address.
inline constexpr std::uintptr_t truncation_mark = 1;

// What is said of them.
struct walked_stack {
  std::size_t depth = 0;
  // A frame was found by scanning, by reading code, by a record that no call confirms, or its caller may be
  // what somebody pushed for another purpose.
  bool approximate = false;
  bool truncated = false;  // frames are missing: too many, or no way on
};

// The frames of a walk. When there are more than fit, the leaf's end, a mark and the root's end stay:
// the last quarter of the buffer is a ring.
class frame_list {
 public:
  frame_list(std::uintptr_t* out, std::size_t capacity) PROF_DETAIL_SIG
      : out_(out), capacity_(capacity), head_(capacity - capacity / root_share) {}

  std::size_t walked() const PROF_DETAIL_SIG { return walked_; }
  std::size_t capacity() const PROF_DETAIL_SIG { return capacity_; }
  // How many of the first frames are in their places until finish().
  std::size_t first_kept() const PROF_DETAIL_SIG { return walked_ < head_ ? walked_ : head_; }
  std::uintptr_t operator[](std::size_t i) const PROF_DETAIL_SIG { return out_[i]; }
  void push(std::uintptr_t frame) PROF_DETAIL_SIG {
    if (walked_ < capacity_ || head_ != capacity_) out_[place(walked_)] = frame;
    ++walked_;
  }

  // Puts the list in order and marks what is missing; returns its length.
  std::size_t finish(bool reached_root) PROF_DETAIL_SIG {
    if (walked_ > capacity_ && head_ != capacity_) {
      rotate_sig(place(walked_));
      out_[head_] = truncation_mark;
    }
    const bool has_root = reached_root && (walked_ <= capacity_ || head_ != capacity_);
    if (has_root || capacity_ == 1) return walked_ < capacity_ ? walked_ : capacity_;
    const std::size_t depth = walked_ < capacity_ ? walked_ + 1 : capacity_;
    out_[depth - 1] = truncation_mark;
    return depth;
  }

 private:
  std::size_t place(std::size_t frame) const PROF_DETAIL_SIG {
    if (frame < head_) return frame;
    const std::size_t ring = capacity_ - head_;
    return ring == 0 ? capacity_ - 1 : head_ + (frame - head_) % ring;
  }
  // Brings the ring's oldest frame to its begin.
  void rotate_sig(std::size_t oldest) PROF_DETAIL_SIG {
    reverse_sig(head_, oldest);
    reverse_sig(oldest, capacity_);
    reverse_sig(head_, capacity_);
  }
  void reverse_sig(std::size_t begin, std::size_t end) PROF_DETAIL_SIG {
    for (; begin + 1 < end; ++begin, --end) {
      const std::uintptr_t kept = out_[begin];
      out_[begin] = out_[end - 1];
      out_[end - 1] = kept;
    }
  }

  std::uintptr_t* const out_;
  const std::size_t capacity_;
  const std::size_t head_;
  std::size_t walked_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_FRAME_LIST_HPP
