// prof/process/stack_table.hpp - gives every distinct stack one small number.
// Floor 7 (process). Called by samplers; read when a profile is snapshotted.
// Safety: intern_sig and the readers are async-signal-safe and wait-free (bounded probing).
// Memory: two reservations given to bind(): slots and frame words; never grows, never frees.
//         A stack that finds no room gets id overflow_stack and is counted, so its weight is
//         still shown, under a frame that says so.
// Source: interning by 64-bit hash, as async-profiler's call trace storage does (idea only).
#ifndef PROF_PROCESS_STACK_TABLE_HPP
#define PROF_PROCESS_STACK_TABLE_HPP

#include <cstring>

#include "prof/base/table.hpp"

PROF_DETAIL_BEGIN

// 1 + slot index; 0 is the stack of everything that found no room.
using stack_id = std::uint32_t;
inline constexpr stack_id overflow_stack = 0;

struct stack_slot {
  std::atomic<std::uint64_t> key;
  // 0 until the frames are written; then begin << 16 | truncated << 15 | approximate << 14 | depth.
  std::atomic<std::uint64_t> where;
};

struct stack_view {
  const std::uintptr_t* frames = nullptr;  // call addresses, leaf first
  std::size_t depth = 0;
  bool approximate = false;
  bool truncated = false;
};

inline std::uint64_t hash_words_sig(const std::uintptr_t* words, std::size_t count,
                                    std::uint64_t seed) PROF_DETAIL_SIG {
  std::uint64_t hash = seed + count;
  for (std::size_t i = 0; i < count; ++i) hash = mix_bits(hash ^ words[i]) + 0x9e3779b97f4a7c15u;
  return hash > 2 ? hash : 3;  // 0 is "empty" in the table
}

class stack_table {
 public:
  static constexpr std::size_t first_level = 1024;
  static constexpr unsigned levels = 8;  // 261,120 slots; the first stack is refused at about 100,000
  static constexpr std::size_t slot_bytes = add_only_table<stack_slot>::bytes_for(first_level, levels);

  void bind(void* slot_memory, std::uintptr_t* words, std::size_t word_count) noexcept {
    slots_.bind(slot_memory, first_level, levels);
    words_ = words;
    capacity_ = word_count;
  }

  stack_id intern_sig(const stack_view& stack) PROF_DETAIL_SIG {
    bool fresh = false;
    const std::uint64_t marks = (stack.truncated ? 1u << 15 : 0u) | (stack.approximate ? 1u << 14 : 0u);
    const std::uint64_t key = hash_words_sig(stack.frames, stack.depth, marks);
    const std::size_t index = slots_.find_or_add_sig(key, fresh);
    if (index == no_slot) return full_sig();
    stack_slot& slot = slots_.at(index);
    if (!fresh) {
      const bool lost = slot.where.load(std::memory_order_relaxed) == no_room;
      return lost ? full_sig() : static_cast<stack_id>(index + 1);
    }
    std::size_t begin = 0;
    if (!reserve_sig(stack.depth, begin)) {
      slot.where.store(no_room, std::memory_order_relaxed);
      return full_sig();
    }
    std::memcpy(words_ + begin, stack.frames, stack.depth * sizeof words_[0]);
    // Pairs with the acquire in view(): who sees `where` sees the frames.
    slot.where.store(std::uint64_t{begin} << 16 | marks | stack.depth, std::memory_order_release);
    return static_cast<stack_id>(index + 1);
  }

  // Empty for overflow_stack and for a stack whose writer was interrupted before publishing it.
  stack_view view(stack_id id) const noexcept {
    stack_view stack;
    if (id == overflow_stack) return stack;
    const std::uint64_t where = slots_.at(id - 1).where.load(std::memory_order_acquire);
    if (where == no_room) return stack;
    stack.frames = words_ + (where >> 16);
    stack.depth = where & 0x3fff;
    stack.approximate = (where >> 14 & 1) != 0;
    stack.truncated = (where >> 15 & 1) != 0;
    return stack;
  }

  std::size_t used() const noexcept { return slots_.used(); }
  std::size_t bytes() const noexcept {
    const std::size_t used = used_.load(std::memory_order_relaxed);
    return (used < capacity_ ? used : capacity_) * sizeof words_[0] + slots_.span() * sizeof(stack_slot);
  }
  std::uint64_t overflow() const noexcept { return overflow_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t no_room = ~std::uint64_t{0};

  // Words for one stack; false when they run out. No loop that others could win again and again: under an
  // emulator of aarch64 (qemu 7.2), four threads on two processors lost 16 times in a row, 30 times in 80,000.
  bool reserve_sig(std::size_t depth, std::size_t& begin) PROF_DETAIL_SIG {
    if (used_.load(std::memory_order_relaxed) + depth > capacity_) return false;
    // What goes beyond the end is not given back: another may have got what is behind it meanwhile.
    begin = used_.fetch_add(depth, std::memory_order_relaxed);
    return begin + depth <= capacity_;
  }

  stack_id full_sig() PROF_DETAIL_SIG {
    overflow_.fetch_add(1, std::memory_order_relaxed);
    return overflow_stack;
  }

  add_only_table<stack_slot> slots_;
  std::uintptr_t* words_ = nullptr;
  std::size_t capacity_ = 0;
  std::atomic<std::size_t> used_{0};
  std::atomic<std::uint64_t> overflow_{0};
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_STACK_TABLE_HPP
