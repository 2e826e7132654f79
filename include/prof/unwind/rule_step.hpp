// prof/unwind/rule_step.hpp - one frame by its unwind rule: from a function's registers to its caller's.
// Floor 4 (unwind). The steps of unwind.hpp's walks.
// Safety: async-signal-safe: pure functions of registers, a rule and a word reader.
// Memory: none.
// Source: DWARF 5 section 6.4; System V psABI x86-64 3.2.2 (red zone), AAPCS64 6.4.6.
#ifndef PROF_UNWIND_RULE_STEP_HPP
#define PROF_UNWIND_RULE_STEP_HPP

#include "prof/os/os.hpp"
#include "prof/unwind/call_site.hpp"
#include "prof/unwind/unwind_rule.hpp"

PROF_DETAIL_BEGIN

// Below sp there may be values that an epilogue has just popped (psABI 3.2.2: 128 bytes).
inline constexpr std::uintptr_t red_zone = 128;

// Of a register whose value is not known: no frame is at an odd address, and 0 would say that there is none.
inline constexpr std::uintptr_t unknown_register = 1;

// Where a step leads. doubted_root: it has the mark of a root, which may be a value like any other; lost: go on
// by other means, perhaps; cut: by none.
enum class step { caller, interrupted, root, doubted_root, lost, cut };

// A word near sp that no rule leads to. What is on another page than sp may be another thread's, to unmap between
// a probe and a load: the kernel copies it.
template <class Memory>
PROF_DETAIL_INLINE bool read_doubtful_sig(Memory& memory, std::uintptr_t sp, std::uintptr_t address,
                                          std::uintptr_t& word) PROF_DETAIL_SIG {
  constexpr std::uintptr_t page = 4096;
  const bool is_own = sp / page == address / page && address % page <= page - sizeof word;
  return is_own ? memory.read_word(address, word) : memory.read_copy(address, word);
}

// A frame that a walk is in: its registers, and whether a signal interrupted it, so that all of them are its
// own.
struct walked_frame {
  registers at;
  bool interrupted = true;
};

// Any but those three is known of an interrupted function only: hand-written assembly uses them.
template <class Memory>
PROF_DETAIL_COLD bool other_register_sig(Memory& memory, const walked_frame& frame, unsigned number,
                                         std::uintptr_t& value) PROF_DETAIL_SIG {
  if (!frame.interrupted || frame.at.context == nullptr) return false;
  const std::uintptr_t place = os_register_place_sig(frame.at.context, number);
  return place != 0 && memory.read_word(place, value);
}

template <class Memory>
PROF_DETAIL_INLINE bool register_sig(Memory& memory, const walked_frame& frame, unsigned number,
                                     std::uintptr_t& value) PROF_DETAIL_SIG {
  if (number == dwarf_sp) value = frame.at.sp;
  else if (number == dwarf_fp) value = frame.at.fp;
  else if (number == dwarf_rbx_or_lr) value = frame.at.rbx_or_lr;
  else return other_register_sig(memory, frame, number, value);
  return true;
}

template <class Memory>
bool cfa_sig(Memory& memory, const walked_frame& frame, const unwind_rule& rule, std::uintptr_t& cfa)
    PROF_DETAIL_SIG {
  const auto offset = static_cast<std::uintptr_t>(std::intptr_t{rule.offset});
  switch (rule.kind) {
    case rule_kind::offset:
      if (!register_sig(memory, frame, rule.reg, cfa)) return false;
      cfa += offset;
      return true;
    case rule_kind::deref:
      if (!register_sig(memory, frame, rule.reg, cfa) || !memory.read_word(cfa + offset, cfa)) return false;
      cfa += static_cast<std::uintptr_t>(std::intptr_t{rule.added});
      return true;
    case rule_kind::plt: cfa = frame.at.sp + ((frame.at.pc & 15) >= offset ? 16 : 8); return true;
    default: return false;
  }
}

// The caller's value of a register. What was saved lies in this frame or just below sp; GCC's rule for a
// realigned frame still says rbp = *(rbp) after the pop (g++ 12), when rbp is the caller's.
template <class Memory>
PROF_DETAIL_INLINE std::uintptr_t restored_sig(Memory& memory, const registers& at, saved_register saved,
                                               std::uintptr_t now, std::uintptr_t cfa) PROF_DETAIL_SIG {
  if (saved.base == saved_at::same) return now;
  if (saved.base == saved_at::lost) return unknown_register;
  const std::uintptr_t base = saved.base == saved_at::cfa ? cfa : at.fp;
  const std::uintptr_t place = base + static_cast<std::uintptr_t>(std::intptr_t{saved.offset});
  if (place >= cfa || place + red_zone < at.sp) return now;
  std::uintptr_t value = 0;
  return memory.read_word(place, value) ? value : unknown_register;
}

// The ABI's mark of the outermost frame. An interrupted function may have pushed zero for another purpose.
PROF_DETAIL_COLD inline step root_by_zeros_sig(bool interrupted, std::uintptr_t caller_fp) PROF_DETAIL_SIG {
  if (caller_fp != 0) return step::lost;
  return interrupted ? step::doubted_root : step::root;
}

// On failure the frame stays as it was.
template <class Memory>
PROF_DETAIL_INLINE step caller_at_sig(Memory& memory, walked_frame& frame, std::uintptr_t cfa, saved_register fp,
                                      saved_register rbx_or_lr) PROF_DETAIL_SIG {
  registers& at = frame.at;
  if ((cfa & 7) != 0 || cfa < at.sp) return step::lost;
  // Only a function that called nothing may have no frame at all (aarch64).
  if (cfa == at.sp && !frame.interrupted) return step::lost;
  std::uintptr_t pc = 0;
  if (!return_address_in_lr && !memory.read_word(cfa - 8, pc)) return step::lost;
  const std::uintptr_t caller_fp = restored_sig(memory, at, fp, at.fp, cfa);
  const std::uintptr_t caller_rbx_or_lr = restored_sig(memory, at, rbx_or_lr, at.rbx_or_lr, cfa);
  if (return_address_in_lr && caller_rbx_or_lr == unknown_register) return step::lost;
  pc = strip_address_sig(return_address_in_lr ? caller_rbx_or_lr : pc);
  if (PROF_DETAIL_UNLIKELY(pc == 0)) return root_by_zeros_sig(frame.interrupted, caller_fp);
  at.rbx_or_lr = caller_rbx_or_lr;
  at.fp = caller_fp;
  at.sp = cfa;
  at.pc = pc;
  return step::caller;
}

// The rule of all but a few frames, without unpacking what it does not need.
template <class Memory>
PROF_DETAIL_INLINE step offset_step_sig(Memory& memory, walked_frame& frame, packed_rule rule) PROF_DETAIL_SIG {
  std::uintptr_t cfa = 0;
  if (!register_sig(memory, frame, packed_reg_sig(rule), cfa)) return step::lost;
  cfa += static_cast<std::uintptr_t>(std::intptr_t{packed_offset_sig(rule)});
  return caller_at_sig(memory, frame, cfa, unpack_saved_sig(rule, packed_fp_shift),
                       unpack_saved_sig(rule, packed_rbx_or_lr_shift));
}

// Any rule that says where the caller is.
template <class Memory>
PROF_DETAIL_COLD step rule_step_sig(Memory& memory, walked_frame& frame, const unwind_rule& rule) PROF_DETAIL_SIG {
  std::uintptr_t cfa = 0;
  if (!cfa_sig(memory, frame, rule, cfa)) return step::lost;
  if (rule.return_register == on_stack) return caller_at_sig(memory, frame, cfa, rule.fp, rule.rbx_or_lr);
  std::uintptr_t pc = 0;
  if (!frame.interrupted || cfa < frame.at.sp || !register_sig(memory, frame, rule.return_register, pc)) {
    return step::lost;
  }
  frame.at.pc = pc;
  frame.at.sp = cfa;
  return step::caller;
}

// Where [rex.b] jmp *%reg goes, ff e0+n; n counts rax rcx rdx rbx rsp rbp rsi rdi. False: it is no such jump.
template <class Memory>
bool register_jump_sig(Memory& memory, const walked_frame& frame, std::uintptr_t code, std::uintptr_t& to)
    PROF_DETAIL_SIG {
  constexpr unsigned char dwarf_of[8] = {0, 2, 1, 3, 7, 6, 4, 5};
  const bool high = (code & 0xff) == 0x41;
  if (high) code >>= 8;
  if ((code & 0xf8ff) != 0xe0ff) return false;
  const unsigned n = static_cast<unsigned>(code >> 8) & 7;
  return register_sig(memory, frame, high ? 8 + n : dwarf_of[n], to);
}

PROF_DETAIL_END

#endif  // PROF_UNWIND_RULE_STEP_HPP
