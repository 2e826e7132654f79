// prof/unwind/unwind.hpp - from registers, a way to read memory and unwind rules to call addresses.
// Floor 4 (unwind). Called by the CPU handler and by the hooks' slow paths.
// Safety: async-signal-safe: a pure function of registers, rules and a word reader, which does all loads; bounded.
// Memory: writes into the caller's frame buffer only.
// Source: DWARF 5 section 6.4; System V psABI x86-64 3.2.2 (frame records, red zone), AAPCS64 6.4.6.
//         Where no rule is known: frame records (approximate unless their call leads to where the walk
//         is), then a bounded scan for words behind a call that does; such a stack is marked approximate.
#ifndef PROF_UNWIND_UNWIND_HPP
#define PROF_UNWIND_UNWIND_HPP

#include "prof/unwind/frame_list.hpp"
#include "prof/unwind/rule_step.hpp"
#include "prof/unwind/stack_scan.hpp"
#include "prof/unwind/walk_effort.hpp"

PROF_DETAIL_BEGIN

inline constexpr unsigned max_signal_frames = 8;

// Memory: bool read_word(address, word&); bool read_copy of the same for what may be unmapped at any time.
// Code: bool contains(address); bool is_never_unloaded_sig(address), that it is not such code; code_rule rule_at_sig(pc,
// is_return, memory); bool known_rule_sig(return address, code_rule&), the quick half of it; unwind_rule
// unpack_sig(packed_rule, pc, memory), of an unpackable one; unwind_rule interpret_sig(pc, memory), afresh;
// std::uintptr_t function_start_sig(pc, memory), 0 when unknown.
template <class Memory, class Code>
class stack_walk {
 public:
  stack_walk(Memory& memory, Code& code, std::uintptr_t* out, std::size_t capacity,
             std::uint64_t period_ns = whole_period_ns) PROF_DETAIL_SIG
      : memory_(memory), code_(code), returns_(memory, code), scan_(memory, code, returns_), frames_(out, capacity),
        effort_(walk_limits_sig(period_ns)) {}

  // `leaf_is_return`: pc is a return address, a hook's caller. Inlined: two frames take more of a handler's stack.
  PROF_DETAIL_INLINE walked_stack run_sig(const registers& start, bool leaf_is_return) PROF_DETAIL_SIG {
    now_.at = start;
    exact_ = now_.interrupted = !leaf_is_return;
    step found = step::caller;
    while (found == step::caller && effort_.allows_sig(frames_.walked())) {
      const std::uintptr_t sp = now_.at.sp;
      const code_rule known = code_.rule_at_sig(now_.at.pc, !exact_, memory_);
      found = step::lost;
      if (PROF_DETAIL_LIKELY(exact_ || is_ordinary_sig(known.rule)) || believes_sig(known.rule)) {
        exact_ = exact_ || (known.rule & packed_is_exact) != 0;
        push_sig(known.number);
        found = PROF_DETAIL_LIKELY(!doubts_fp_) ? step_sig(known.rule) : doubted_step_sig(known.rule);
      }
      effort_.look_up_sig(known.missed, known.lookups);
      if (PROF_DETAIL_UNLIKELY(found == step::lost)) found = fallback_sig(known);
      else linked_ = false;
      exact_ = now_.interrupted = found == step::interrupted;
      if (exact_) found = step::caller;
      effort_.climb_sig(sp, now_.at.sp, 1);
      if (found == step::caller && !exact_ && !doubts_fp_) ordinary_frames_sig();
    }
    if (found == step::doubted_root) {
      result_.approximate = true;
      found = step::root;
    }
    result_.truncated = found != step::root || frames_.walked() > frames_.capacity();
    result_.depth = frames_.finish(found == step::root);
    return result_;
  }

 private:
  // An address in the walk's function: a return address may be behind its last instruction.
  std::uintptr_t inside_sig() const PROF_DETAIL_SIG { return exact_ ? now_.at.pc : now_.at.pc - 1; }
  entered_function function_sig() PROF_DETAIL_SIG {
    return {inside_sig(), code_.function_start_sig(inside_sig(), memory_)};
  }

  void push_sig(range_number number) PROF_DETAIL_SIG {
    // The one place where a return address becomes a call address: the byte before it belongs to
    // the call, the return address itself may belong to the next line or function.
    frames_.push(make_frame_sig(frame_address_sig(inside_sig()), number));  // it may be garbage
    if (now_.interrupted) interrupted_frame_ = frames_.walked();
  }

  // False: this return address is none, but what a frame had there for another purpose. With code but no call
  // before it, somebody pushed it: the kernel, makecontext(3) and, with the middle of a function, libgcc do. It
  // may be any other pointer to code (a label's, in an interpreter), and then the stack is marked approximate.
  PROF_DETAIL_COLD bool believes_sig(packed_rule rule) PROF_DETAIL_SIG {
    const rule_kind kind = kind_of_sig(rule);
    // A call may be the last instruction of its range.
    if (kind == rule_kind::none && frames_.walked() != 0 && !code_.contains(now_.at.pc - 1)) {
      return returns_.is_return_sig(now_.at.pc);
    }
    if ((rule & packed_is_exact) == 0 || kind == rule_kind::signal_frame) return true;
    const bool is_known = kind == rule_kind::end ? code_.interpret_sig(now_.at.pc, memory_).kind == kind ||
                                                       returns_.is_context_start_sig(now_.at.pc)
                                                 : may_land_;
    if (!is_known) result_.approximate = true;
    may_land_ = false;
    return true;
  }
  // Where it is lost, fallback_sig goes on; called from here it would stand on this function's stack.
  step step_sig(packed_rule rule) PROF_DETAIL_SIG {
    switch (kind_of_sig(rule)) {
      case rule_kind::offset:
        return (rule & packed_has_return_register) == 0 ? offset_step_sig(memory_, now_, rule)
                                                        : rule_step_sig(memory_, now_, unpack_rule_sig(rule));
      case rule_kind::end: return step::root;
      case rule_kind::signal_frame: return signal_step_sig();
      case rule_kind::deref:
      case rule_kind::plt: return rule_step_sig(memory_, now_, unpack_rule_sig(rule));
      case rule_kind::unpackable: return unpacked_step_sig(rule);
      case rule_kind::none:
      case rule_kind::unsupported: break;
    }
    return step::lost;
  }

  // ---- by rule -------------------------------------------------------------------------------------

  // Follows callers as long as their rules are known and ordinary; whatever is not is left to
  // step_sig. The registers are in variables here: through memory each frame takes half as long again.
  PROF_DETAIL_NOINLINE void ordinary_frames_sig() PROF_DETAIL_SIG {
    walked_frame now{now_.at, false};
    const std::size_t before = frames_.walked();
    const std::uintptr_t end = effort_.end_sig(now.at.sp);
    while (frames_.walked() < effort_.frames() && now.at.sp < end) {
      code_rule known;
      if (!code_.known_rule_sig(now.at.pc, known) || !is_ordinary_sig(known.rule)) break;
      const std::uintptr_t pc = now.at.pc;
      // When caches are cold, the next frames' words and rules would each wait for the one before.
      __builtin_prefetch(reinterpret_cast<const void*>(now.at.sp + 512));
      if (offset_step_sig(memory_, now, known.rule) != step::caller) break;
      frames_.push(make_frame_sig(pc - 1, known.number));
      linked_ = false;
    }
    effort_.climb_sig(now_.at.sp, now.at.sp, frames_.walked() - before);
    now_.at = now.at;
  }

  PROF_DETAIL_COLD step unpacked_step_sig(packed_rule packed) PROF_DETAIL_SIG {
    const unwind_rule rule = code_.unpack_sig(packed, inside_sig(), memory_);
    effort_.interpret_sig();
    // Only where the thrower itself, or what it called last, was interrupted.
    const bool may_be_landing = rule.is_eh_return && frames_.walked() - interrupted_frame_ <= 1;
    if (may_be_landing) may_land_ = true;
    if (may_be_landing && rule.return_register == on_stack && overwritten_step_sig(rule)) return step::caller;
    const std::uintptr_t frame = now_.at.sp;
    const step found = rule_step_sig(memory_, now_, rule);
    doubts_fp_ = may_be_landing && !return_address_in_lr && rule.fp.base == saved_at::cfa &&
                 scan_.points_to_sig(frame, now_.at.sp, now_.at.fp);
    return found;
  }

  // Where an exception is about to land, its thrower's return address may be the landing function's already
  // and lead elsewhere. The true one is kept in the thrower's frame (libgcc 12.2: _Unwind_Context.ra).
  PROF_DETAIL_INLINE bool overwritten_step_sig(const unwind_rule& rule) PROF_DETAIL_SIG {
    std::uintptr_t cfa = 0;
    std::uintptr_t pc = 0;
    if (rule.reg != dwarf_sp && rule.reg != dwarf_fp) return false;  // it has left its frame
    if (!cfa_sig(memory_, now_, rule, cfa)) return false;
    if (return_address_in_lr) pc = strip_address_sig(restored_sig(memory_, now_.at, rule.rbx_or_lr, now_.at.rbx_or_lr, cfa));
    else if (!memory_.read_word(cfa - 8, pc)) return false;
    const entered_function here = function_sig();
    if (returns_.leads_sig(pc, here, false)) return false;
    bool others = false;
    const std::uintptr_t kept = scan_.find_direct_sig(now_.at.sp, cfa, here, others);
    if (kept == 0) return false;
    // An indirect call may have led here; or the landing function made one.
    if (others || returns_.leads_sig(pc, here, true)) result_.approximate = true;
    scan_.land_sig(restored_sig(memory_, now_.at, rule.fp, 0, cfa), pc);
    now_.at.fp = now_.at.rbx_or_lr = unknown_register;
    now_.at.pc = kept;
    now_.at.sp = cfa;
    return true;
  }

  // A thrower's frame pointer is overwritten before its return address is: by what the landing function's callee
  // has saved, and a pointer to that is in the thrower's frame (_Unwind_Context.reg). Until a frame restores
  // another, the record of such a frame pointer may be the landing function's.
  PROF_DETAIL_COLD step doubted_step_sig(packed_rule rule) PROF_DETAIL_SIG {
    const bool by_fp = kind_of_sig(rule) == rule_kind::offset && packed_reg_sig(rule) == dwarf_fp;
    const registers before = now_.at;
    const step found = step_sig(rule);
    doubts_fp_ = !by_fp && found == step::caller && now_.at.fp == before.fp;
    if (!by_fp || found != step::caller || is_called_from_sig(now_.at, before)) return found;
    scan_.land_sig(before.fp, 0);
    now_.at = before;
    now_.at.fp = unknown_register;
    return step::lost;
  }
  // Whether a call at `caller` may have led to where the walk was, and none nearer did.
  bool is_called_from_sig(const registers& caller, const registers& before) PROF_DETAIL_SIG {
    const std::uintptr_t inside = exact_ ? before.pc : before.pc - 1;
    const entered_function here{inside, code_.function_start_sig(inside, memory_)};
    bool others = false;
    if (scan_.find_direct_sig(before.sp, caller.sp - 8, here, others) != 0) return false;
    if (returns_.leads_sig(caller.pc, here, false)) return true;
    result_.approximate = true;
    return returns_.leads_sig(caller.pc, here, true);
  }

  // The kernel pushed the registers of what the signal interrupted; sp may be another stack's.
  PROF_DETAIL_COLD step signal_step_sig() PROF_DETAIL_SIG {
    if (++signal_frames_ > max_signal_frames) return step::cut;
    registers next;
    if (!os_signal_frame_sig(now_.at.sp, memory_, next)) return step::cut;
    now_.at = next;
    jumped_ = false;
    return step::interrupted;
  }

  // ---- without a rule ------------------------------------------------------------------------------

  PROF_DETAIL_COLD step fallback_sig(const code_rule& known) PROF_DETAIL_SIG {
    const packed_rule rule = known.rule;
    effort_.go_without_rule_sig(code_.is_never_unloaded_sig(inside_sig()), known.number != 0);
    // A rule led to what no call precedes: while an exception's landing is prepared, the words that a
    // frame saved are another frame's (aarch64's lr among them).
    if (!exact_ && !returns_.is_return_sig(now_.at.pc)) result_.approximate = true;
    if (scan_.landed_step_sig(frames_, now_, rule, inside_sig()) || link_register_sig()) return step::caller;
    if (leaving_sig()) return jumped_ ? step::interrupted : step::caller;
    const bool is_read = is_read_from_code_sig(rule);
    const bool stays = is_read && packed_reg_sig(rule) == never_returns;
    if (is_read && !stays && read_step_sig(rule)) return step::caller;
    std::uintptr_t next_fp = 0;
    std::uintptr_t return_address = 0;
    if (frame_record_sig(next_fp, return_address)) {
      if (!linked_ && bridge_sig()) return step::caller;
      if (!leads_here_sig(return_address)) result_.approximate = true;
      linked_ = true;
      now_.at.sp = now_.at.fp + 16;
      now_.at.fp = next_fp;
      now_.at.pc = return_address;
      return step::caller;
    }
    if (last_scan_sig(stays ? 0 : indirect_words)) {
      // Its rule may still say where the caller's frame pointer is.
      if (kind_of_sig(rule) == rule_kind::offset && !is_read) restore_fp_sig(rule);
      return step::caller;
    }
    // Who called main or a thread's function never returns, and nothing leads there; but what looks like
    // the padding behind a call that does not return may be a loop's.
    if (stays && !exact_) {
      result_.approximate = true;
      return step::root;
    }
    // The ABI's mark of the outermost frame, and nothing that looks like a caller. Where no frame record says
    // so, 0 may be a value like any other.
    if (now_.at.fp != 0 || frames_.walked() == 1 || !code_.contains(now_.at.pc)) return step::lost;
    if (!linked_) result_.approximate = true;
    return step::root;
  }

  PROF_DETAIL_NOINLINE bool last_scan_sig(std::size_t indirect) PROF_DETAIL_SIG {
    scanned_from_ = now_.at.sp;
    return scan_sig(scan_words, ~std::uintptr_t{0}, indirect);
  }
  // Behind last_scan_sig: the caller's pc and sp are known, fp is still this frame's.
  PROF_DETAIL_NOINLINE void restore_fp_sig(packed_rule rule) PROF_DETAIL_SIG {
    registers frame = now_.at;
    frame.sp = scanned_from_;
    now_.at.fp = restored_sig(memory_, frame, unpack_rule_sig(rule).fp, frame.fp, now_.at.sp);
  }

  // What was read from code is believed only when it leads behind a call.
  PROF_DETAIL_NOINLINE bool read_step_sig(packed_rule packed) PROF_DETAIL_SIG {
    unwind_rule rule = unpack_rule_sig(packed);
    rule.reg -= read_from_code;
    const registers kept = now_.at;
    if (rule_step_sig(memory_, now_, rule) == step::caller && code_.contains(now_.at.pc) &&
        returns_.is_return_sig(now_.at.pc)) {
      result_.approximate = true;
      return true;
    }
    now_.at = kept;
    return false;
  }

  // A leaf function of aarch64 may not have stored its return address yet, and a PLT's code never does.
  bool link_register_sig() PROF_DETAIL_SIG {
    if (!return_address_in_lr || !now_.interrupted) return false;
    const std::uintptr_t link = strip_address_sig(now_.at.rbx_or_lr);
    std::uintptr_t stored = 0;
    std::uintptr_t depth = 0;
    const bool in_stub = returns_.stub_depth_sig(now_.at.pc, depth);
    const bool has_record = !in_stub && read_doubtful_sig(memory_, now_.at.sp, now_.at.fp + 8, stored);
    if (has_record && strip_address_sig(stored) == link) return false;
    if (!code_.contains(link) || !returns_.is_return_sig(link)) return false;
    // After a call of its own, lr leads back into the function itself.
    if (!in_stub && !leads_here_sig(link)) result_.approximate = true;
    now_.at.pc = link;
    now_.at.sp += depth;
    return true;
  }

  // Interrupted before an instruction that says itself where the return address is, and no usable rule
  // does: ret and jmp *%reg leave functions in unusual ways (_Unwind_Resume, longjmp); lld writes no
  // rules for its PLT.
  bool leaving_sig() PROF_DETAIL_SIG {
    std::uintptr_t code = 0;
    if (return_address_in_lr || !now_.interrupted || jumped_ || !memory_.read_word(now_.at.pc, code)) return false;
    std::uintptr_t target = 0;
    if (register_jump_sig(memory_, now_, code, target) && code_.contains(target)) return follow_jump_sig(target);
    std::uintptr_t depth = 0;
    std::uintptr_t to = 0;
    const bool returns = (code & 0xff) == 0xc3;
    if (!returns && !returns_.stub_depth_sig(now_.at.pc, depth)) return false;
    if (!memory_.read_word(now_.at.sp + depth, to) || !code_.contains(to)) return false;
    if (!returns_.is_return_sig(to)) return returns && return_by_hand_sig(to);
    now_.at.pc = to;
    now_.at.sp += depth + 8;
    return true;
  }

  // Interrupted at a ret that no call belongs to: what was pushed is jumped to (retpolines, longjmp, landing pads).
  bool return_by_hand_sig(std::uintptr_t to) PROF_DETAIL_SIG {
    now_.at.sp += 8;
    if (follow_jump_sig(to)) return true;
    now_.at.sp -= 8;
    return false;
  }

  // To a function's begin it is a tail call (musl's qsort to the comparison), which returns to where
  // sp says; to anywhere else it goes back (longjmp, landing pads), with all registers as they are. Where neither
  // function is known they may be one, and the jump a switch's.
  bool follow_jump_sig(std::uintptr_t target) PROF_DETAIL_SIG {
    std::uintptr_t to = 0;
    const std::uintptr_t start = code_.function_start_sig(target, memory_);
    if (start == code_.function_start_sig(now_.at.pc, memory_)) return false;
    const bool is_call = start == target &&
                         memory_.read_word(now_.at.sp, to) && code_.contains(to) &&
                         returns_.is_return_sig(to);
    now_.at.pc = is_call ? to : target;
    if (is_call) now_.at.sp += 8;
    jumped_ = !is_call;
    return true;
  }

  // {caller's fp, return address} at fp, plausible and further out than sp.
  PROF_DETAIL_NOINLINE bool frame_record_sig(std::uintptr_t& next_fp,
                                             std::uintptr_t& return_address) PROF_DETAIL_SIG {
    const std::uintptr_t fp = now_.at.fp;
    if (fp < now_.at.sp || fp - now_.at.sp > max_frame_size || (fp & 7) != 0) return false;
    if (!read_doubtful_sig(memory_, now_.at.sp, fp, next_fp)) return false;
    if (!read_doubtful_sig(memory_, now_.at.sp, fp + 8, return_address)) return false;
    return_address = strip_address_sig(return_address);
    if (!returns_.is_return_sig(return_address)) return false;
    // The caller may use the register for something else (libstdc++, libc's start code): then its
    // own record is gone and the walk goes on without, but this return address stands. 0 is the
    // ABI's mark of the outermost frame, and also a value like any other.
    return next_fp == 0 || next_fp > fp || code_.contains(return_address);
  }

  // Whether the call before a return address enters the function that the walk is in. If not, the frame
  // record may be a caller's: code without rules need not keep one. Where a function's begin is not known, the
  // call may enter one before it.
  bool leads_here_sig(std::uintptr_t return_address) PROF_DETAIL_SIG {
    const entered_function here = function_sig();
    return here.start != 0 && returns_.leads_sig(return_address, here, false);
  }

  // Between here and the first frame record there may be a function that keeps no frame pointer:
  // its return address lies within a few words of sp.
  bool bridge_sig() PROF_DETAIL_SIG {
    if (bridges_ >= 3) return false;
    ++bridges_;
    return scan_sig(bridge_words, now_.at.fp, indirect_words);
  }

  // Takes the first believable return address above sp.
  bool scan_sig(std::size_t words, std::uintptr_t limit, std::size_t indirect) PROF_DETAIL_SIG {
    const std::uintptr_t first = (now_.at.sp + 7) & ~std::uintptr_t{7};
    std::uintptr_t at = first;
    std::uintptr_t word = 0;
    if (first + 8 * words < limit) limit = first + 8 * words;
    if (!scan_.find_sig(at, limit, first + 8 * indirect, function_sig(), word)) return false;
    now_.at.pc = word;
    now_.at.sp = at + 8;
    result_.approximate = true;
    return true;
  }

  Memory& memory_;
  Code& code_;
  return_addresses<Memory, Code> returns_;
  stack_scan<Memory, Code> scan_;
  frame_list frames_;
  walk_effort effort_;
  walked_frame now_;
  bool exact_ = true;    // now_.at.pc is an address in the function, not one behind its call
  bool linked_ = false;  // the last step followed a frame record
  bool doubts_fp_ = false;  // it may be the function's where an exception is about to land
  bool jumped_ = false;  // since a signal, a step followed a jmp *%reg: one is enough
  std::size_t interrupted_frame_ = 0;  // how many had been walked with it
  bool may_land_ = false;  // a frame's return address may be a landing pad
  std::uintptr_t scanned_from_ = 0;    // sp before last_scan_sig
  unsigned bridges_ = 0;
  unsigned signal_frames_ = 0;
  walked_stack result_;
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_UNWIND_HPP
