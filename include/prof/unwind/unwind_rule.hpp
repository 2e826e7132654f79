// prof/unwind/unwind_rule.hpp - how to get from one frame's registers to its caller's, in 64 bits.
// Floor 4 (unwind). Written by cfi_program.hpp, kept in unwind_table.hpp and in the rule cache, followed
//          by unwind.hpp.
// Safety: pure functions; async-signal-safe.
// Memory: none.
// Source: DWARF 5 section 6.4 (CFA, register rules), reduced to the registers that walks need: sp, fp
//         and one more: rbx on x86-64, because _dl_runtime_resolve's CFA is rbx + n (glibc 2.36), lr
//         on aarch64, where it holds or held the return address.
//
// Glossary
//   CFA             canonical frame address: the caller's sp at the call
//   return address  x86-64: in the word below the CFA; aarch64: what the rule says of lr
#ifndef PROF_UNWIND_UNWIND_RULE_HPP
#define PROF_UNWIND_UNWIND_RULE_HPP

#include "prof/unwind/frame_list.hpp"

PROF_DETAIL_BEGIN

// DWARF numbers (psABI x86-64 fig. 3.36; AADWARF64 4.1) of the registers a walk carries.
#if defined(__aarch64__)
inline constexpr unsigned dwarf_sp = 31;
inline constexpr unsigned dwarf_fp = 29;
inline constexpr unsigned dwarf_rbx_or_lr = 30;  // lr
inline constexpr bool return_address_in_lr = true;
#else
inline constexpr unsigned dwarf_sp = 7;
inline constexpr unsigned dwarf_fp = 6;
inline constexpr unsigned dwarf_rbx_or_lr = 3;  // rbx
inline constexpr bool return_address_in_lr = false;
#endif
// The registers that a landing pad gets its arguments in begin with DWARF's 0: rax and rdx, x0 to x3. GCC's
// eh_return functions save them and not the next (rcx, x4), which others that save arguments do: _mcount,
// clang's preserve_most, the loader's trampolines. Seen in libgcc 12.2 of both.
inline constexpr unsigned eh_return_saves = return_address_in_lr ? 0x0f : 0x03;
inline constexpr unsigned eh_return_looks_at = return_address_in_lr ? 0x1f : 0x07;

enum class rule_kind : unsigned {
  none,          // nothing is known of this code
  offset,        // CFA = reg + offset
  deref,         // CFA = *(reg + offset) + added: realigned frames, hand-written assembly
  plt,           // CFA = sp + 8, or sp + 16 from the offset'th byte of a 16-byte PLT entry on
  end,           // the outermost frame: its return address is undefined
  signal_frame,  // the kernel pushed it: registers come from the ucontext at sp
  unpackable,    // known, but does not fit 64 bits, or is_eh_return: see packed_wide_shift
  unsupported,   // known to be more than a walk can follow (register pairs, unusual expressions)
};

// Where the caller's value of a register is.
enum class saved_at : unsigned { same, cfa, fp, lost };
struct saved_register {
  saved_at base = saved_at::same;
  std::int32_t offset = 0;  // from the CFA, or from this frame's fp
};

// Added to the register of a rule that exit_path.hpp read from code (x86-64, whose own end at 16).
inline constexpr unsigned read_from_code = 16;
inline constexpr unsigned never_returns = 16;  // instead: no way from there leads to a return

// x86-64: the return address is on the stack, but for vfork's, which has it in rdi.
inline constexpr unsigned on_stack = 0xff;

struct unwind_rule {
  rule_kind kind = rule_kind::none;
  unsigned reg = 0;  // DWARF number
  std::int32_t offset = 0;
  std::int32_t added = 0;
  saved_register fp;
  saved_register rbx_or_lr;
  unsigned return_register = on_stack;  // DWARF number; rbx_or_lr is not known then
  // Of _Unwind_Resume and its kin (GCC's __builtin_eh_return), by what they save: before they leave they
  // overwrite that, their return address too.
  bool is_eh_return = false;
};

inline bool operator==(saved_register a, saved_register b) PROF_DETAIL_SIG {
  return a.base == b.base && a.offset == b.offset;
}
inline bool operator==(const unwind_rule& a, const unwind_rule& b) PROF_DETAIL_SIG {
  return a.kind == b.kind && a.reg == b.reg && a.offset == b.offset && a.added == b.added &&
         a.fp == b.fp && a.rbx_or_lr == b.rbx_or_lr && a.return_register == b.return_register &&
         a.is_eh_return == b.is_eh_return;
}

// Bits: 0-2 kind, 3-7 reg, 8-31 offset (deref: 8-21 offset, 22-31 added), 32-46 fp, 47-61 rbx_or_lr, or, when
// 63 is set on x86-64, the register of the return address. On aarch64 bit 63 says that fp and lr are
// counted from the CFA's register: compilers save them next to sp, however large the frame is.
using packed_rule = std::uint64_t;
inline constexpr packed_rule packed_has_return_register = packed_rule{1} << 63;
inline constexpr packed_rule packed_from_register = packed_rule{1} << 63;

// 15 bits: two of base and 13 of a multiple of 8 from -32768 to 32760. False: does not fit.
inline bool pack_saved_sig(saved_register saved, unsigned shift, packed_rule& rule)
    PROF_DETAIL_SIG {
  const std::int32_t words = saved.offset / 8;
  if (words * 8 != saved.offset || words < -4096 || words > 4095) return false;
  const auto bits = static_cast<packed_rule>(saved.base) |
                    static_cast<packed_rule>(static_cast<std::uint32_t>(words) & 0x1fffu) << 2;
  rule |= bits << shift;
  return true;
}
inline saved_register unpack_saved_sig(packed_rule rule, unsigned shift) PROF_DETAIL_SIG {
  const auto bits = static_cast<std::uint32_t>(rule >> shift) & 0x7fffu;
  saved_register saved;
  saved.base = static_cast<saved_at>(bits & 3);
  saved.offset = (static_cast<std::int32_t>(bits << 17) >> 19) * 8;
  return saved;
}

inline bool fits_sig(std::int32_t value, unsigned bits) PROF_DETAIL_SIG {
  const std::int32_t limit = std::int32_t{1} << (bits - 1);
  return value >= -limit && value < limit;
}

// Bit 62, set by who looks up a return address: nothing was called there (makecontext pushes the
// address of a function's first byte), so the address itself says which function it is in.
inline constexpr packed_rule packed_is_exact = packed_rule{1} << 62;

// Of unpackable: above the kind stands which of its table's wide rules it is, from 1 on; 0: interpret it.
inline constexpr unsigned packed_wide_shift = 3;

inline constexpr unsigned packed_fp_shift = 32;
inline constexpr unsigned packed_rbx_or_lr_shift = 47;

inline packed_rule pack_from_cfa_sig(const unwind_rule& from) PROF_DETAIL_SIG {
  const bool is_deref = from.kind == rule_kind::deref;
  const auto offset = static_cast<std::uint32_t>(from.offset);
  const auto added = static_cast<std::uint32_t>(from.added);
  packed_rule rule = static_cast<packed_rule>(from.kind) | packed_rule{from.reg & 31u} << 3;
  bool fits = from.reg < 32 && (is_deref ? fits_sig(from.offset, 14) && fits_sig(from.added, 10)
                                         : fits_sig(from.offset, 24));
  rule |= packed_rule{is_deref ? (offset & 0x3fffu) | (added & 0x3ffu) << 14 : offset & 0xffffffu}
          << 8;
  fits = pack_saved_sig(from.fp, packed_fp_shift, rule) && fits;
  if (from.return_register != on_stack) {
    rule |= packed_has_return_register | packed_rule{from.return_register & 31u} << packed_rbx_or_lr_shift;
  } else {
    fits = pack_saved_sig(from.rbx_or_lr, packed_rbx_or_lr_shift, rule) && fits;
  }
  return fits && !from.is_eh_return ? rule : static_cast<packed_rule>(rule_kind::unpackable);
}

// Adds to what is saved at an offset from the CFA.
inline saved_register moved_sig(saved_register saved, std::int32_t by) PROF_DETAIL_SIG {
  const std::int64_t offset = std::int64_t{saved.offset} + by;
  const bool fits = saved.base == saved_at::cfa && offset == static_cast<std::int32_t>(offset);
  return fits ? saved_register{saved_at::cfa, static_cast<std::int32_t>(offset)} : saved;
}

inline packed_rule pack_rule_sig(const unwind_rule& from) PROF_DETAIL_SIG {
  const packed_rule rule = pack_from_cfa_sig(from);
  const bool unpackable = rule == static_cast<packed_rule>(rule_kind::unpackable);
  if (!unpackable || !return_address_in_lr || from.kind != rule_kind::offset) return rule;
  unwind_rule moved = from;
  moved.fp = moved_sig(from.fp, from.offset);
  moved.rbx_or_lr = moved_sig(from.rbx_or_lr, from.offset);
  const packed_rule packed = pack_from_cfa_sig(moved);
  return packed == rule ? rule : packed | packed_from_register;
}

inline rule_kind kind_of_sig(packed_rule rule) PROF_DETAIL_SIG {
  return static_cast<rule_kind>(rule & 7);
}

inline unsigned packed_reg_sig(packed_rule rule) PROF_DETAIL_SIG {
  return static_cast<unsigned>(rule >> 3) & 31u;
}
// Of every kind but deref.
inline std::int32_t packed_offset_sig(packed_rule rule) PROF_DETAIL_SIG {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(rule)) >> 8;
}

// That of all but a few return addresses: a register and an offset, with the caller's return address below the CFA.
inline bool is_ordinary_sig(packed_rule rule) PROF_DETAIL_SIG {
  constexpr packed_rule not_ordinary = packed_is_exact | packed_has_return_register | 7;
  return (rule & not_ordinary) == static_cast<packed_rule>(rule_kind::offset);
}

inline bool is_read_from_code_sig(packed_rule rule) PROF_DETAIL_SIG {
  return !return_address_in_lr && kind_of_sig(rule) == rule_kind::offset &&
         (rule & packed_has_return_register) == 0 && packed_reg_sig(rule) >= read_from_code;
}

inline unwind_rule unpack_rule_sig(packed_rule rule) PROF_DETAIL_SIG {
  unwind_rule to;
  to.kind = kind_of_sig(rule);
  to.reg = packed_reg_sig(rule);
  const auto low = static_cast<std::uint32_t>(rule);
  if (to.kind == rule_kind::deref) {
    to.offset = static_cast<std::int32_t>(low << 10) >> 18;
    to.added = static_cast<std::int32_t>(low) >> 22;
  } else {
    to.offset = packed_offset_sig(rule);
  }
  to.fp = unpack_saved_sig(rule, packed_fp_shift);
  if (!return_address_in_lr && (rule & packed_has_return_register) != 0) {
    to.return_register = static_cast<unsigned>(rule >> packed_rbx_or_lr_shift) & 31u;
    return to;
  }
  to.rbx_or_lr = unpack_saved_sig(rule, packed_rbx_or_lr_shift);
  if (return_address_in_lr && (rule & packed_from_register) != 0) {
    to.fp = moved_sig(to.fp, -to.offset);
    to.rbx_or_lr = moved_sig(to.rbx_or_lr, -to.offset);
  }
  return to;
}

// What is known of an address.
struct code_rule {
  packed_rule rule = 0;
  range_number number = 0;
  std::uint16_t missed = 0;   // it was not in the cache, and is now
  std::uint16_t lookups = 0;  // how often the system was asked what is at its address, or what took as long
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_UNWIND_RULE_HPP
