// prof/process/stack_table.hpp - gives every distinct stack one small number.
// Floor 7 (process). Called by samplers; read when a profile is snapshotted.
// Safety: intern_sig and the readers are async-signal-safe and wait-free (bounded probing).
// Memory: slots and 32 MiB of frame words, in pieces that are mapped when they are needed; nothing is freed.
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
  table_key key;
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

  void bind(table_memory& memory) noexcept {
    slots_.bind(memory, first_level, levels);
    words_.bind(memory);
  }

  stack_id intern_sig(const stack_view& stack) PROF_DETAIL_SIG {
    bool fresh = false;
    const std::uint64_t marks = (stack.truncated ? 1u << 15 : 0u) | (stack.approximate ? 1u << 14 : 0u);
    const std::uint64_t key = hash_words_sig(stack.frames, stack.depth, marks);
    const std::size_t index = slots_.find_or_add_sig(key, fresh);
    if (index == no_slot) return full_sig();
    stack_slot& slot = slots_.at(index);
    // What found no room is tried again: the system may give memory again. All who write, write the same.
    const bool lost = slot.where.load(std::memory_order_relaxed) == no_room;
    if (!fresh && !lost) return static_cast<stack_id>(index + 1);
    std::size_t begin = 0;
    if (!words_.reserve_sig(stack.depth * word, begin)) {
      slot.where.store(no_room, std::memory_order_relaxed);
      return full_sig();
    }
    if (stack.depth != 0) std::memcpy(words_.at_sig(begin), stack.frames, stack.depth * word);
    // Pairs with the acquire in view(): who sees `where` sees the frames.
    slot.where.store(std::uint64_t{begin / word} << 16 | marks | stack.depth, std::memory_order_release);
    return static_cast<stack_id>(index + 1);
  }

  // Empty for overflow_stack and for a stack whose writer was interrupted before publishing it.
  stack_view view(stack_id id) const noexcept {
    stack_view stack;
    if (id == overflow_stack) return stack;
    const std::uint64_t where = slots_.at(id - 1).where.load(std::memory_order_acquire);
    if (where == no_room) return stack;
    stack.depth = where & 0x3fff;
    if (stack.depth != 0) stack.frames = reinterpret_cast<const std::uintptr_t*>(words_.at_sig((where >> 16) * word));
    stack.approximate = (where >> 14 & 1) != 0;
    stack.truncated = (where >> 15 & 1) != 0;
    return stack;
  }

  std::size_t used() const noexcept { return slots_.used(); }
  std::uint64_t overflow() const noexcept { return overflow_.load(std::memory_order_relaxed); }

 private:
  static constexpr std::uint64_t no_room = ~std::uint64_t{0};
  static constexpr std::size_t word = sizeof(std::uintptr_t);

  stack_id full_sig() PROF_DETAIL_SIG {
    overflow_.fetch_add(1, std::memory_order_relaxed);
    return overflow_stack;
  }

  add_only_table<stack_slot> slots_;
  append_store<128> words_;
  std::atomic<std::uint64_t> overflow_{0};
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_STACK_TABLE_HPP
