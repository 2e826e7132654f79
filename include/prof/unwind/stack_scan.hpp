// prof/unwind/stack_scan.hpp - looks through words of a stack for return addresses.
// Floor 4 (unwind). unwind.hpp's last resort, and how it finds callers that an exception's landing hides.
// Safety: async-signal-safe: every load goes through the caller's reader; all scans of a walk share a budget of
//         words and of looks at code.
// Memory: none.
// Source: return_address.hpp says what a return address is.
#ifndef PROF_UNWIND_STACK_SCAN_HPP
#define PROF_UNWIND_STACK_SCAN_HPP

#include "prof/unwind/frame_list.hpp"
#include "prof/unwind/return_address.hpp"
#include "prof/unwind/rule_step.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t bridge_words = 8;    // a frameless function near the leaf is small
// Last resort, per frame: while libgcc (12.2) installs a landing pad's registers, its functions of 872 bytes
// and more have lost their own frame pointer.
inline constexpr std::size_t scan_words = 192;
// An indirect call's target is unknown, so such a word is believed only this close to sp.
inline constexpr std::size_t indirect_words = 6;
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

  // Of the function where an exception is about to land, its frame pointer and an address in it: where its call
  // returns to (libgcc's copy of that frame's registers) or, soon, its landing pad. 0: that is not known.
  void land_sig(std::uintptr_t fp, std::uintptr_t pc) PROF_DETAIL_SIG {
    landing_fp_ = fp;
    landing_pc_ = pc;
    landing_function_ = pc == 0 ? 0 : code_.function_start_sig(pc, memory_);
  }

  // By a rule that needs a frame pointer, where a thrower's is lost: no frame has saved one since. So it is the
  // landing function's, once that was passed, if the step leads behind a call of the function at `inside`.
  PROF_DETAIL_NOINLINE bool landed_step_sig(const frame_list& frames, walked_frame& frame, packed_rule rule,
                                            std::uintptr_t inside) PROF_DETAIL_SIG {
    const bool needs_fp = kind_of_sig(rule) == rule_kind::offset && packed_reg_sig(rule) == dwarf_fp;
    if (landing_pc_ == 0 || frame.at.fp != unknown_register || !needs_fp || !has_passed_sig(frames)) return false;
    walked_frame next = frame;
    next.at.fp = landing_fp_;
    if (offset_step_sig(memory_, next, rule) != step::caller) return false;
    if (!returns_.leads_sig(next.at.pc, {inside, code_.function_start_sig(inside, memory_)}, true)) return false;
    frame.at = next.at;
    return true;
  }

  // The first believable return address in [at, limit): its call leads into `function`; below `near` also an
  // indirect call will do. Where an exception is about to land, so is what stands behind the landing function's
  // frame pointer: maybe the landing pad. `at` becomes its place.
  PROF_DETAIL_NOINLINE bool find_sig(std::uintptr_t& at, std::uintptr_t limit, std::uintptr_t near_limit,
                                     entered_function function, std::uintptr_t& found) PROF_DETAIL_SIG {
    bool is_found = false;
    for (begin_sig(at, limit, function); !is_found && next_code_sig(); at_ += 8) {
      at = at_;
      found = word_;
      is_found = (at != begin_ && is_behind_landing_fp_sig(at)) ||  // what is below the begin is no frame's
                 returns_.leads_sig(found, to_, at < near_limit);
    }
    return is_found;
  }

  // The first word in [at, limit) whose direct call leads into `function`, 0: there is none; `others`: a word
  // that is another one follows.
  PROF_DETAIL_NOINLINE std::uintptr_t find_direct_sig(std::uintptr_t at, std::uintptr_t limit,
                                                      entered_function function, bool& others) PROF_DETAIL_SIG {
    std::uintptr_t first = 0;
    for (begin_sig(at, limit, function); next_code_sig(); at_ += 8) {
      if (word_ == first || !returns_.leads_sig(word_, to_, false)) continue;
      if (first != 0) others = true;
      else first = word_;
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
  // Without a search header no function's begin is known, and only its return address tells the landing one.
  bool has_passed_sig(const frame_list& frames) PROF_DETAIL_SIG {
    for (std::size_t i = 0; i + 1 < frames.first_kept(); ++i) {
      const std::uintptr_t address = frame_address_sig(frames[i]);
      if (landing_function_ == 0 ? address == landing_pc_ - 1
                                 : code_.function_start_sig(address, memory_) == landing_function_) {
        return true;
      }
    }
    return false;
  }
  void begin_sig(std::uintptr_t at, std::uintptr_t limit, entered_function to) PROF_DETAIL_SIG {
    at_ = begin_ = at;
    limit_ = limit;
    to_ = to;
  }
  // The next word from at_ on that is an address of code.
  bool next_code_sig() PROF_DETAIL_SIG {
    for (; at_ < limit_ && budget_ != 0; at_ += 8) {
      --budget_;
      if (!read_doubtful_sig(memory_, begin_, at_, word_)) return false;
      word_ = strip_address_sig(word_);
      if (!code_.contains(word_)) continue;
      budget_ -= budget_ < code_cost ? budget_ : code_cost;
      return true;
    }
    return false;
  }
  bool is_behind_landing_fp_sig(std::uintptr_t at) PROF_DETAIL_SIG {
    std::uintptr_t before = 0;
    return landing_fp_ > at - 8 && read_doubtful_sig(memory_, begin_, at - 8, before) && before == landing_fp_;
  }

  Memory& memory_;
  Code& code_;
  return_addresses<Memory, Code>& returns_;
  std::uintptr_t landing_fp_ = 0;  // 0: no exception is about to land
  std::uintptr_t landing_pc_ = 0;
  std::uintptr_t landing_function_ = 0;  // its begin, if that is known
  // The scan that goes on; here, for a handler's stack.
  std::uintptr_t begin_ = 0;
  std::uintptr_t limit_ = 0;
  entered_function to_;
  std::uintptr_t at_ = 0;
  std::uintptr_t word_ = 0;
  std::size_t budget_ = scan_budget;
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_STACK_SCAN_HPP
