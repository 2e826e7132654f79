// prof/stack/stack_scan.hpp - looks through words of a stack for return addresses.
// Floor 3 (stack). unwind.hpp's last resort, and how it finds callers that an exception's landing hides.
// Safety: async-signal-safe: every load goes through the caller's reader; all scans of a walk share a budget of
//         words and of looks at code.
// Memory: none.
// Source: return_address.hpp says what a return address is.
#ifndef PROF_STACK_STACK_SCAN_HPP
#define PROF_STACK_STACK_SCAN_HPP

#include "prof/stack/return_address.hpp"
#include "prof/stack/rule_step.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t scan_budget = 2048;  // per stack: words, and
inline constexpr std::size_t code_cost = 16;      // for each that is an address of code, whose call is looked at
// A frame record, or what a frame points to, further away than this is not believed (Abseil bounds a frame at
// 100,000 bytes). Frames that a rule describes may be of any size.
inline constexpr std::uintptr_t max_frame_size = std::uintptr_t{256} * 1024;

// Memory, Code: see unwind.hpp.
template <class Memory, class Code>
class stack_scan {
 public:
  stack_scan(Memory& memory, Code& code, return_addresses<Memory, Code>& returns) PROF_DETAIL_SIG
      : memory_(memory), code_(code), returns_(returns) {}

  // Of the function where an exception is about to land, its frame pointer.
  void land_sig(std::uintptr_t fp) PROF_DETAIL_SIG { landing_fp_ = fp; }

  // The first believable return address in [at, limit): its call leads into `function`; below `near` also an
  // indirect call will do. Where an exception is about to land, so is what stands behind the landing function's
  // frame pointer: maybe the landing pad. `at` becomes its place.
  PROF_DETAIL_NOINLINE bool find_sig(std::uintptr_t& at, std::uintptr_t limit, std::uintptr_t near_limit,
                                     entered_function function, std::uintptr_t& found) PROF_DETAIL_SIG {
    const std::uintptr_t first = at;  // what is below it is no frame's
    for (; next_code_sig(first, at, limit, found); at += 8) {
      if (at != first && is_behind_landing_fp_sig(at)) return true;
      if (returns_.leads_sig(found, function, at < near_limit)) return true;
    }
    return false;
  }

  // The first word in [at, limit) whose direct call leads into `function`, 0: there is none; `others`: a word
  // that is another one follows.
  PROF_DETAIL_NOINLINE std::uintptr_t find_direct_sig(std::uintptr_t at, std::uintptr_t limit,
                                                      entered_function function, bool& others) PROF_DETAIL_SIG {
    const std::uintptr_t begin = at;
    std::uintptr_t first = 0;
    std::uintptr_t word = 0;
    for (; next_code_sig(begin, at, limit, word); at += 8) {
      if (word == first || !returns_.leads_sig(word, function, false)) continue;
      if (first != 0) others = true;
      else first = word;
    }
    return first;
  }

  // Whether a word in [at, limit) points to a place between there and `value` that holds `value`.
  bool points_to_sig(std::uintptr_t at, std::uintptr_t limit, std::uintptr_t value) PROF_DETAIL_SIG {
    std::uintptr_t word = 0;
    std::uintptr_t there = 0;
    for (; at < limit && budget_ != 0 && memory_.read_word(at, word); at += 8, --budget_) {
      const bool is_near = word >= limit && word - limit < max_frame_size;
      if (is_near && word < value && read_doubtful_sig(memory_, limit - 8, word, there) && there == value) return true;
    }
    return false;
  }

 private:
  // The next word from `at` on that is an address of code; the scan began at `begin`.
  bool next_code_sig(std::uintptr_t begin, std::uintptr_t& at, std::uintptr_t limit, std::uintptr_t& word) PROF_DETAIL_SIG {
    for (; at < limit && budget_ != 0; at += 8) {
      --budget_;
      if (!read_doubtful_sig(memory_, begin, at, word)) return false;
      word = strip_address_sig(word);
      if (!code_.contains(word)) continue;
      budget_ -= budget_ < code_cost ? budget_ : code_cost;
      return true;
    }
    return false;
  }
  bool is_behind_landing_fp_sig(std::uintptr_t at) PROF_DETAIL_SIG {
    std::uintptr_t before = 0;
    return landing_fp_ > at - 8 && memory_.read_word(at - 8, before) && before == landing_fp_;
  }

  Memory& memory_;
  Code& code_;
  return_addresses<Memory, Code>& returns_;
  std::uintptr_t landing_fp_ = 0;  // 0: no exception is about to land
  std::size_t budget_ = scan_budget;
};

PROF_DETAIL_END

#endif  // PROF_STACK_STACK_SCAN_HPP
