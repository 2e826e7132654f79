// prof/unwind/exit_path.hpp - an unwind rule for code that comes without one: how its instructions put the
// stack back before they return.
// Floor 4 (unwind). Asked by rule_lookup.hpp for code without call frame information: musl's libc (4 FDEs in
//          all of it), C built without unwind tables.
// Safety: async-signal-safe: every load goes through the caller's reader, every loop is bounded; works
//         in room that the caller has.
// Memory: none of its own.
// Source: Intel SDM vol. 2, chapter 2 (instruction format) and appendix A (opcode maps).
//
// Followed from an address on, whatever branches do, until one way comes to a ret: what lies between sp
// and the return address, and which registers were popped on the way, is the same on every way. Calls
// leave sp as it was. What stands behind a call that never returns is not known as such, so a walk
// believes such a rule only when it leads behind a call, and marks the stack approximate.
#ifndef PROF_UNWIND_EXIT_PATH_HPP
#define PROF_UNWIND_EXIT_PATH_HPP

#include "prof/unwind/unwind_rule.hpp"

PROF_DETAIL_BEGIN

#if defined(__x86_64__)

// One instruction: as much as tells its length, where it goes and what it does to sp.
class x86_instruction {
 public:
  // `low`, `high`: the 16 bytes from the instruction's address on. False: not in the maps below.
  bool decode_sig(std::uint64_t low, std::uint64_t high) PROF_DETAIL_SIG {
    low_ = low;
    high_ = high;
    take_prefixes_sig();
    if (!take_opcode_sig()) return false;
    if (has_modrm_sig()) take_modrm_sig();
    value_ = length_;
    length_ += immediate_size_sig();
    return length_ <= 15;
  }

  unsigned length() const PROF_DETAIL_SIG { return length_; }
  unsigned map() const PROF_DETAIL_SIG { return map_; }  // 1: one byte, 2: 0f, 3: 0f 38, 4: 0f 3a
  unsigned opcode() const PROF_DETAIL_SIG { return opcode_; }
  unsigned modrm() const PROF_DETAIL_SIG { return modrm_; }
  bool is_wide() const PROF_DETAIL_SIG { return (rex_ & 8) != 0; }
  unsigned reg() const PROF_DETAIL_SIG { return (modrm_ >> 3 & 7) | (rex_ & 4) << 1; }
  unsigned rm() const PROF_DETAIL_SIG { return (modrm_ & 7) | (rex_ & 1) << 3; }
  unsigned low_register() const PROF_DETAIL_SIG { return (opcode_ & 7) | (rex_ & 1) << 3; }
  unsigned sib() const PROF_DETAIL_SIG { return byte_sig(sib_); }
  std::int32_t displacement() const PROF_DETAIL_SIG { return number_sig(displacement_, shown_); }
  std::int32_t immediate() const PROF_DETAIL_SIG { return number_sig(value_, length_ - value_); }

 private:
  unsigned byte_sig(unsigned at) const PROF_DETAIL_SIG {
    const std::uint64_t word = at < 8 ? low_ : high_;
    return static_cast<unsigned>(word >> (8 * (at & 7))) & 0xffu;
  }
  std::int32_t number_sig(unsigned at, unsigned size) const PROF_DETAIL_SIG {
    if (size == 1) return static_cast<signed char>(byte_sig(at));
    std::uint32_t value = 0;
    for (unsigned i = 0; size >= 4 && i < 4; ++i) value |= byte_sig(at + i) << (8 * i);
    return static_cast<std::int32_t>(value);
  }

  void take_prefixes_sig() PROF_DETAIL_SIG {
    for (; length_ < 15; ++length_) {
      const unsigned byte = byte_sig(length_);
      const bool segment = (byte & 0xe7) == 0x26 || byte == 0x64 || byte == 0x65;
      const bool other = byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3;
      if (!segment && !other) break;
      short_ = short_ || byte == 0x66;
    }
    if ((byte_sig(length_) & 0xf0) == 0x40) rex_ = byte_sig(length_++);
  }

  bool take_opcode_sig() PROF_DETAIL_SIG {
    opcode_ = byte_sig(length_++);
    if (opcode_ == 0xc5 || opcode_ == 0xc4 || opcode_ == 0x62) return take_vector_sig();
    if (opcode_ != 0x0f) return true;
    map_ = 2;
    opcode_ = byte_sig(length_++);
    if (opcode_ != 0x38 && opcode_ != 0x3a) return true;
    map_ = opcode_ == 0x38 ? 3 : 4;
    opcode_ = byte_sig(length_++);
    return true;
  }
  // VEX and EVEX, which touch no register that matters here.
  bool take_vector_sig() PROF_DETAIL_SIG {
    const unsigned mode = opcode_ == 0xc5 ? 1u : byte_sig(length_) & (opcode_ == 0xc4 ? 0x1fu : 7u);
    length_ += opcode_ == 0xc5 ? 1 : opcode_ == 0xc4 ? 2 : 3;
    map_ = mode + 1;
    opcode_ = byte_sig(length_++);
    return mode >= 1 && mode <= 3;
  }

  bool has_modrm_sig() const PROF_DETAIL_SIG {
    const unsigned op = opcode_;
    if (map_ > 2) return true;
    if (map_ == 2) {
      const bool without = op == 0x05 || op == 0x06 || op == 0x08 || op == 0x09 || op == 0x0b ||
                           op == 0x0e || (op & 0xf8) == 0x30 || op == 0x77 || (op & 0xf0) == 0x80 ||
                           (op & 0xf6) == 0xa0 || op == 0xa2 || op == 0xaa || (op & 0xf8) == 0xc8;
      return !without;
    }
    if (op < 0x40) return (op & 4) == 0;
    return op == 0x63 || op == 0x69 || op == 0x6b || (op & 0xf0) == 0x80 || op == 0xc0 ||
           op == 0xc1 || op == 0xc6 || op == 0xc7 || (op & 0xfc) == 0xd0 || (op & 0xf8) == 0xd8 ||
           op == 0xf6 || op == 0xf7 || op >= 0xfe;
  }

  void take_modrm_sig() PROF_DETAIL_SIG {
    modrm_ = byte_sig(length_++);
    const unsigned mode = modrm_ >> 6;
    if (mode == 3) return;
    sib_ = length_;
    const bool has_sib = (modrm_ & 7) == 4;
    const unsigned base = has_sib ? byte_sig(length_++) & 7 : modrm_ & 7;
    displacement_ = length_;
    shown_ = mode == 1 ? 1 : mode == 2 || base == 5 ? 4 : 0;
    length_ += shown_;
  }

  unsigned immediate_size_sig() const PROF_DETAIL_SIG {
    const unsigned op = opcode_;
    const unsigned word = short_ ? 2 : 4;
    if (map_ == 4) return 1;
    if (map_ == 3) return 0;
    if (map_ == 2) {
      if ((op & 0xf0) == 0x80) return 4;
      return (op >= 0x70 && op <= 0x73) || op == 0xa4 || op == 0xac || op == 0xba || op == 0xc2 ||
             (op >= 0xc4 && op <= 0xc6);
    }
    if (op < 0x40) return (op & 7) == 4 ? 1 : (op & 7) == 5 ? word : 0;
    const bool tests = (modrm_ & 0x30) == 0;  // of f6 and f7, only test has a number
    switch (op) {
      case 0x68: case 0x69: case 0x81: case 0xa9: case 0xc7: return word;
      case 0xe8: case 0xe9: return 4;
      case 0xa0: case 0xa1: case 0xa2: case 0xa3: return 8;
      case 0xc2: case 0xca: return 2;
      case 0xc8: return 3;
      case 0x6a: case 0x6b: case 0x80: case 0x83: case 0xa8: case 0xc0: case 0xc1: case 0xc6:
      case 0xcd: case 0xeb: return 1;
      case 0xf6: return tests ? 1 : 0;
      case 0xf7: return tests ? word : 0;
      default: break;
    }
    if ((op & 0xf0) == 0x70 || (op & 0xf8) == 0xb0 || (op & 0xf8) == 0xe0) return 1;
    if ((op & 0xf8) == 0xb8) return is_wide() ? 8 : word;
    return 0;
  }

  std::uint64_t low_ = 0;
  std::uint64_t high_ = 0;
  unsigned length_ = 0;
  unsigned map_ = 1;
  unsigned opcode_ = 0;
  unsigned rex_ = 0;
  unsigned modrm_ = 0;
  unsigned sib_ = 0;
  unsigned displacement_ = 0;
  unsigned shown_ = 0;  // size of the displacement
  unsigned value_ = 0;
  bool short_ = false;
};

// Memory: bool read_word(address, word&).
template <class Memory>
class exit_path {
 public:
  exit_path(std::uintptr_t begin, Memory& memory) PROF_DETAIL_SIG : begin_(begin), memory_(memory) {}

  // The rule of `begin`, marked as read from code; of kind none when no way was found.
  unwind_rule find_sig() PROF_DETAIL_SIG {
    at_.pc = begin_;
    while (budget_ != 0) {
      --budget_;
      const step next = step_sig();
      if (next == step::returned) return rule_sig();
      if (next == step::unclear) is_clear_ = false;
      if (next == step::on) continue;
      if (pending_ == 0) break;
      at_ = waiting_[--pending_];
    }
    unwind_rule rule;
    if (budget_ == 0 || !is_clear_) return rule;
    rule.kind = rule_kind::offset;
    rule.reg = never_returns;
    return rule;
  }

 private:
  enum class step { on, returned, ended, unclear };
  static constexpr std::int32_t unknown = INT32_MIN;

  // Where one way is. Places are counted from what sp, or fp, is at `begin`.
  struct way {
    std::uintptr_t pc = 0;
    std::int32_t sp = 0;           // or unknown
    std::int32_t fp = unknown;     // of which sp's value fp is a copy
    std::int32_t fp_at = unknown;  // where fp and rbx were popped from
    std::int32_t rbx_at = unknown;
    bool from_fp = false;    // sp is counted from fp
    bool fp_is_new = false;  // fp is no longer what it was
    std::int32_t pushed_to = unknown;  // what pops give from below is what the way itself pushed
  };

  step step_sig() PROF_DETAIL_SIG {
    std::uintptr_t low = 0;
    std::uintptr_t high = 0;
    x86_instruction one;
    if (!memory_.read_word(at_.pc, low)) return step::unclear;
    if (!memory_.read_word(at_.pc + 8, high)) high = 0;  // the end of the mapping
    if (!one.decode_sig(low, high)) return step::unclear;
    const std::uintptr_t here = at_.pc;
    at_.pc += one.length();
    if (one.map() == 2) {
      if ((one.opcode() & 0xf0) == 0x80) return branch_sig(one);
      const bool is_padding = one.opcode() == 0x1f && behind_call_ == here;
      return one.opcode() == 0x0b || is_padding ? step::ended : step::on;
    }
    if (one.map() != 1) return step::on;
    return one_byte_sig(one, here);
  }

  step one_byte_sig(const x86_instruction& one, std::uintptr_t here) PROF_DETAIL_SIG {
    const unsigned op = one.opcode();
    if ((op & 0xf0) == 0x70 || (op & 0xfc) == 0xe0) return branch_sig(one);
    switch (op) {
      case 0xc2: case 0xc3: return at_.sp == unknown ? step::unclear : step::returned;
      case 0xe9: case 0xeb: return jump_sig(one);
      case 0xe8: behind_call_ = at_.pc; return step::on;
      case 0xf4: case 0xcc: return step::ended;  // hlt, int3
      case 0x90: return behind_call_ == here ? step::ended : step::on;  // it never came back
      case 0xff: break;
      default: return moves_sig(one);
    }
    const unsigned what = one.modrm() >> 3 & 7;
    if (what == 4 || what == 5) return step::unclear;
    if (what == 6) return push_sig();
    if (what == 2) behind_call_ = at_.pc;
    return step::on;
  }

  // What is not a jump.
  step moves_sig(const x86_instruction& one) PROF_DETAIL_SIG {
    const unsigned op = one.opcode();
    if ((op & 0xf8) == 0x50 || op == 0x68 || op == 0x6a || op == 0x9c) return push_sig();
    if ((op & 0xf8) == 0x58) return pop_sig(one.low_register());
    if (op == 0x9d || op == 0x8f) return moved_sig(8);
    if (op == 0xc9) return leave_sig();
    const bool registers_only = one.modrm() >> 6 == 3;
    if ((op == 0x81 || op == 0x83) && registers_only && one.rm() == sp_number) return add_sig(one);
    if (op == 0x8d && one.reg() == sp_number) return address_sig(one);
    if (op != 0x89 && op != 0x8b && op != 0x01 && op != 0x03 && op != 0x29 && op != 0x2b) {
      return step::on;
    }
    const bool to_rm = (op & 2) == 0;
    const unsigned to = to_rm ? one.rm() : one.reg();
    if (to_rm && !registers_only) return step::on;
    if (to != sp_number && to != fp_number) return step::on;
    const unsigned from = !registers_only ? 16 : to_rm ? one.reg() : one.rm();
    return copy_sig(op >= 0x80, from, to);
  }

  step copy_sig(bool whole, unsigned from, unsigned to) PROF_DETAIL_SIG {
    if (to == sp_number && whole && from == fp_number) return back_to_fp_sig(0);
    if (to == sp_number) at_.sp = unknown;
    if (to == fp_number) {
      at_.fp = whole && from == sp_number ? at_.sp : unknown;
      at_.fp_is_new = true;
    }
    return step::on;
  }

  step moved_sig(std::int32_t by) PROF_DETAIL_SIG {
    at_.sp = sum_sig(at_.sp, by);
    return step::on;
  }
  static std::int32_t sum_sig(std::int32_t place, std::int32_t by) PROF_DETAIL_SIG {
    constexpr std::int32_t most = 1 << 24;  // bytes; no stack has such a frame
    if (place == unknown || by > most || by < -most) return unknown;
    const std::int32_t sum = place + by;
    return sum > most || sum < -most ? unknown : sum;
  }
  step add_sig(const x86_instruction& one) PROF_DETAIL_SIG {
    const unsigned what = one.modrm() >> 3 & 7;
    if (what == 0) return moved_sig(one.immediate());
    if (what == 5 && one.immediate() != unknown) return moved_sig(-one.immediate());
    if (what != 7) at_.sp = unknown;  // aligned; a comparison changes nothing
    return step::on;
  }
  // lea n(%rsp),%rsp and lea n(%rbp),%rsp.
  step address_sig(const x86_instruction& one) PROF_DETAIL_SIG {
    const bool has_sib = (one.modrm() & 7) == 4;
    if (has_sib && one.sib() == 0x24) return moved_sig(one.displacement());
    if (!has_sib && one.rm() == fp_number) return back_to_fp_sig(one.displacement());
    at_.sp = unknown;
    return step::on;
  }
  step leave_sig() PROF_DETAIL_SIG {
    const step done = back_to_fp_sig(0);
    return done == step::on ? pop_sig(fp_number) : done;
  }
  step back_to_fp_sig(std::int32_t offset) PROF_DETAIL_SIG {
    if (at_.fp_is_new) {
      at_.sp = sum_sig(at_.fp, offset);
    } else {
      at_.sp = sum_sig(0, offset);
      if (!at_.from_fp) at_.fp_at = at_.rbx_at = at_.pushed_to = unknown;  // they were counted from sp
      at_.from_fp = true;
    }
    return step::on;
  }
  step push_sig() PROF_DETAIL_SIG {
    if (at_.sp > at_.pushed_to) at_.pushed_to = at_.sp;
    return moved_sig(-8);
  }
  // The last one counts: what a register has at the end is the caller's.
  step pop_sig(unsigned number) PROF_DETAIL_SIG {
    const bool was_saved = at_.sp >= at_.pushed_to;
    if (number == fp_number && was_saved) at_.fp_at = at_.sp;
    if (number == rbx_number && was_saved) at_.rbx_at = at_.sp;
    return moved_sig(8);
  }

  step branch_sig(const x86_instruction& one) PROF_DETAIL_SIG {
    const std::uintptr_t target = target_sig(one);
    if (pending_ == most_pending || seen_count_ == most_seen) {
      is_clear_ = false;
      return step::on;
    }
    if (!is_new_sig(target)) return step::on;
    waiting_[pending_] = at_;
    waiting_[pending_++].pc = target;
    return step::on;
  }
  // Also out of the function: who is called like that returns for it.
  step jump_sig(const x86_instruction& one) PROF_DETAIL_SIG {
    at_.pc = target_sig(one);
    return is_new_sig(at_.pc) ? step::on : step::ended;
  }
  std::uintptr_t target_sig(const x86_instruction& one) const PROF_DETAIL_SIG {
    return at_.pc + static_cast<std::uintptr_t>(std::intptr_t{one.immediate()});
  }
  // When there is no room to remember it, it may be seen again; the budget ends that.
  bool is_new_sig(std::uintptr_t target) PROF_DETAIL_SIG {
    const auto offset = static_cast<std::uint32_t>(target - begin_);
    for (unsigned i = 0; i < seen_count_; ++i) {
      if (seen_[i] == offset) return false;
    }
    if (seen_count_ < most_seen) seen_[seen_count_++] = offset;
    return true;
  }

  unwind_rule rule_sig() const PROF_DETAIL_SIG {
    unwind_rule rule;
    rule.kind = rule_kind::offset;
    rule.reg = (at_.from_fp ? dwarf_fp : dwarf_sp) + read_from_code;
    rule.offset = at_.sp + 8;
    const auto saved = [&](std::int32_t place) {
      return place == unknown ? saved_register{}
                              : saved_register{saved_at::cfa, place - rule.offset};
    };
    rule.fp = saved(at_.fp_at);
    rule.rbx_or_lr = saved(at_.rbx_at);
    return rule;
  }

  static constexpr unsigned rbx_number = 3;  // as instructions count: rax rcx rdx rbx rsp rbp
  static constexpr unsigned sp_number = 4;
  static constexpr unsigned fp_number = 5;
  static constexpr unsigned most_pending = 8;
  static constexpr unsigned most_seen = 32;

  const std::uintptr_t begin_;
  Memory& memory_;
  way at_;
  std::uintptr_t behind_call_ = 0;
  unsigned budget_ = 1500;  // instructions
  unsigned pending_ = 0;
  unsigned seen_count_ = 0;
  bool is_clear_ = true;  // no way was given up
  way waiting_[most_pending];
  std::uint32_t seen_[most_seen];
};

#endif

PROF_DETAIL_END

#endif  // PROF_UNWIND_EXIT_PATH_HPP
