// prof/unwind/cfi_program.hpp - runs an FDE's instructions and says, row by row, which unwind rule holds
// for which addresses.
// Floor 4 (unwind). Used by unwind_table.hpp, for every row, and by walks, for the row of one address.
// Safety: async-signal-safe; every instruction consumes a byte of the FDE, which bounds the loop.
// Memory: some 400 bytes of the caller's. What more than four nested DW_CFA_remember_state
//         remember is lost; compilers nest one or two.
// Source: DWARF 5 section 6.4.2 and 7.24; GNU extensions: LSB 5.0 Core 10.6.1, AADWARF64 4.5
//         (negate_ra_state).
//         Expressions: those that binutils 2.40, GCC 12, clang 14, glibc 2.36 and OpenSSL 3.0 write.
#ifndef PROF_UNWIND_CFI_PROGRAM_HPP
#define PROF_UNWIND_CFI_PROGRAM_HPP

#include <new>

#include "prof/unwind/cfi.hpp"
#include "prof/unwind/unwind_rule.hpp"

PROF_DETAIL_BEGIN

// What an expression computes, where it is one of the few shapes that occur.
struct cfi_expression {
  enum class shape { other, offset, deref, plt };
  shape form = shape::other;
  unsigned reg = 0;
  std::int32_t offset = 0;
  std::int32_t added = 0;
};

inline std::int32_t clamp_sig(std::int64_t value) PROF_DETAIL_SIG {
  constexpr std::int64_t limit = 0x7fffffff;  // does not fit a packed rule either
  return static_cast<std::int32_t>(value > limit ? limit : value < -limit ? -limit : value);
}

inline std::int64_t positive_sig(std::uint64_t value) PROF_DETAIL_SIG {
  return static_cast<std::int64_t>(value < 0x7fffffff ? value : 0x7fffffff);
}

// breg7 8, breg16 0, lit15, and, litN, ge, lit3, shl, plus: sp + 8 + ((pc & 15) >= N) * 8. N is 11
// where the entry is jmp, push, jmp, and 9 in an IBT entry of older linkers.
inline bool is_plt_expression_sig(const byte_reader& bytes, std::int32_t& literal) PROF_DETAIL_SIG {
  constexpr cfi_byte wanted[] = {0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x30, 0x2a, 0x33, 0x24, 0x22};
  if (bytes.left() != sizeof wanted) return false;
  for (std::size_t i = 0; i < sizeof wanted; ++i) {
    const cfi_byte there = bytes.at()[i];
    if (i == 6) literal = there - 0x30;
    else if (there != wanted[i]) return false;
  }
  return literal >= 0 && literal < 16;
}

inline cfi_expression parse_expression_sig(byte_reader&& bytes) PROF_DETAIL_SIG {
  cfi_expression found;
  if (is_plt_expression_sig(bytes, found.offset)) {
    found.form = cfi_expression::shape::plt;
    return found;
  }
  const std::uint8_t operation = bytes.next_byte();
  if (operation >= 0x70 && operation <= 0x8f) found.reg = operation - 0x70u;  // DW_OP_bregN
  else if (operation == 0x92) found.reg = static_cast<unsigned>(bytes.uleb() & 0xff);  // DW_OP_bregx
  else return found;
  found.offset = clamp_sig(bytes.sleb());
  found.form = cfi_expression::shape::offset;
  if (!bytes.empty() && *bytes.at() == 0x06) {  // DW_OP_deref
    bytes.skip(1);
    found.form = cfi_expression::shape::deref;
  }
  while (!bytes.empty() && !bytes.bad()) {
    const std::uint8_t next = bytes.next_byte();
    std::int64_t more = 0;
    if (next == 0x23) more = positive_sig(bytes.uleb());  // DW_OP_plus_uconst
    else if (next >= 0x30 && next <= 0x4f && !bytes.empty() && bytes.next_byte() == 0x22) more = next - 0x30;
    else found.form = cfi_expression::shape::other;
    std::int32_t& sum = found.form == cfi_expression::shape::deref ? found.added : found.offset;
    sum = clamp_sig(sum + more);
  }
  if (bytes.bad()) found.form = cfi_expression::shape::other;
  return found;
}

// The columns of a row that walks need.
struct cfi_columns {
  cfi_expression cfa;
  saved_register fp;
  saved_register rbx_or_lr;
  // Of the return address, where it has a column of its own (x86-64).
  bool return_address_lost = true;
  unsigned char return_register = on_stack;
  bool return_address_undefined = false;
  unsigned saved_arguments = 0;  // bit n: register n of eh_return_looks_at is saved at the CFA
};

class cfi_program {
 public:
  explicit cfi_program(const cfi_fde& fde) PROF_DETAIL_SIG : fde_(fde), at_(fde.begin) {
    run_sig(fde.cie.instructions, false);
    initial_ = now_;
    rest_ = fde.instructions;
  }

  // The next row: [begin, limit) and its rule. False after the last.
  bool next_sig(std::uintptr_t& begin, std::uintptr_t& limit, unwind_rule& rule) PROF_DETAIL_SIG {
    if (done_) return false;
    begin = at_;
    advance_ = 0;
    run_sig(rest_, true);
    give_rule_sig(rule);  // an advance stops a run: what comes behind it is the next row's
    const bool wrapped = at_ + advance_ < at_;
    at_ += advance_;
    done_ = broken_ || advance_ == 0 || wrapped || at_ >= fde_.limit;
    limit = done_ ? fde_.limit : at_;
    return true;
  }

 private:
  static constexpr std::size_t max_remembered = 4;

  // Runs until an advance (when `rows`), or to the end. Leaves the position in `code`.
  void run_sig(byte_reader& code, bool rows) PROF_DETAIL_SIG {
    while (!code.empty() && !broken_) {
      step_sig(code);
      if (rows && advance_ != 0) return;
    }
    broken_ = broken_ || code.bad();
  }
  void run_sig(const byte_reader& code, bool rows) PROF_DETAIL_SIG {
    byte_reader copy = code;
    run_sig(copy, rows);
  }

  void step_sig(byte_reader& code) PROF_DETAIL_SIG {
    const std::uint8_t operation = code.next_byte();
    const unsigned operand = operation & 0x3fu;
    switch (operation & 0xc0) {
      case 0x40: return advance_sig(operand);
      case 0x80: return save_sig(operand, factored(static_cast<std::int64_t>(code.uleb())));
      case 0xc0: return restore_sig(operand);
      default: return extended_sig(operation, code);
    }
  }

  void extended_sig(std::uint8_t operation, byte_reader& code) PROF_DETAIL_SIG {
    switch (operation) {
      case 0x00: return;  // nop
      case 0x01: return set_location_sig(code);
      case 0x02: return advance_sig(code.next_byte());
      case 0x03: return advance_sig(code.fixed<std::uint16_t>());
      case 0x04: return advance_sig(code.fixed<std::uint32_t>());
      case 0x0a: return remember_sig();
      case 0x0b: return recall_sig();
      case 0x2c:          // AARCH64_negate_ra_state_with_pc, and
      case 0x2d: return;  // AARCH64_negate_ra_state: the code of a signed address is always stripped
      case 0x2e: code.uleb(); return;  // GNU_args_size
      default: break;
    }
    const bool is_cfa = operation >= 0x0c && operation <= 0x13 && operation != 0x10 && operation != 0x11;
    if (is_cfa) define_cfa_sig(operation, code);
    else save_by_sig(operation, code);
  }

  void define_cfa_sig(std::uint8_t operation, byte_reader& code) PROF_DETAIL_SIG {
    using shape = cfi_expression::shape;
    switch (operation) {
      case 0x0c: now_.cfa = {shape::offset, reg(code), offset(code, 1), 0}; return;  // def_cfa
      case 0x12: now_.cfa = {shape::offset, reg(code), factored(code.sleb()), 0}; return;
      case 0x0d: now_.cfa.reg = reg(code); break;           // def_cfa_register
      case 0x0e: now_.cfa.offset = offset(code, 1); break;  // def_cfa_offset
      case 0x13: now_.cfa.offset = factored(code.sleb()); break;
      case 0x0f: return define_by_expression_sig(code);
      default: return;
    }
    if (now_.cfa.form != shape::offset) broken_ = true;  // register + offset needs both
  }

  // Apart, so that a handler's stack holds its reader only then.
  PROF_DETAIL_NOINLINE void define_by_expression_sig(byte_reader& code) PROF_DETAIL_SIG {
    now_.cfa = parse_expression_sig(code.part(code.uleb()));
  }

  // Everything that says where one register is.
  void save_by_sig(std::uint8_t operation, byte_reader& code) PROF_DETAIL_SIG {
    const std::uint64_t column = code.uleb();
    switch (operation) {
      case 0x05: return save_sig(column, factored(static_cast<std::int64_t>(code.uleb())));
      case 0x11: return save_sig(column, factored(code.sleb()));
      case 0x2f: return save_sig(column, factored(-positive_sig(code.uleb())));
      case 0x06: return restore_sig(column);
      case 0x07: return undefine_sig(column);
      case 0x08: return set_sig(column, {saved_at::same, 0});
      case 0x09: return save_in_register_sig(column, reg(code));
      case 0x14: code.uleb(); return set_sig(column, {saved_at::lost, 0});   // val_offset
      case 0x15: code.sleb(); return set_sig(column, {saved_at::lost, 0});   // val_offset_sf
      case 0x10: return save_by_expression_sig(column, code.part(code.uleb()));
      case 0x16: code.part(code.uleb()); return set_sig(column, {saved_at::lost, 0});
      default: broken_ = true;
    }
  }

  void advance_sig(std::uint64_t units) PROF_DETAIL_SIG {
    advance_ += static_cast<std::uintptr_t>(units * fde_.cie.code_align);
  }
  void set_location_sig(byte_reader& code) PROF_DETAIL_SIG {
    std::uintptr_t to = 0;
    broken_ = !read_encoded_sig(code, fde_.cie.address_encoding, fde_.bias, 0, to) || to < at_;
    advance_ = broken_ ? 0 : to - at_;
  }
  void remember_sig() PROF_DETAIL_SIG {
    if (remembered_ == max_remembered) broken_ = true;
    else stack_[remembered_++] = now_;
  }
  void recall_sig() PROF_DETAIL_SIG {
    if (remembered_ == 0) broken_ = true;
    else now_ = stack_[--remembered_];
  }

  void save_sig(std::uint64_t column, std::int32_t from_cfa) PROF_DETAIL_SIG {
    // The return address of x86-64 is in the word below the CFA, or the walk cannot use it.
    if (is_return_address(column) && from_cfa != -8) return set_sig(column, {saved_at::lost, 0});
    set_sig(column, {saved_at::cfa, from_cfa});
  }
  void save_by_expression_sig(std::uint64_t column, byte_reader&& bytes) PROF_DETAIL_SIG {
    const cfi_expression where = parse_expression_sig(static_cast<byte_reader&&>(bytes));
    const bool known = where.form == cfi_expression::shape::offset && where.reg == dwarf_fp;
    set_sig(column, {known ? saved_at::fp : saved_at::lost, known ? where.offset : 0});
  }
  void save_in_register_sig(std::uint64_t column, unsigned number) PROF_DETAIL_SIG {
    set_sig(column, {saved_at::lost, 0});
    if (!is_return_address(column) || number >= 32) return;
    now_.return_register = static_cast<unsigned char>(number);
    now_.return_address_lost = false;
  }
  void restore_sig(std::uint64_t column) PROF_DETAIL_SIG {
    if (column == dwarf_fp) now_.fp = initial_.fp;
    if (column == dwarf_rbx_or_lr) now_.rbx_or_lr = initial_.rbx_or_lr;
    if (is_argument(column)) note_argument(column, (initial_.saved_arguments >> column & 1) != 0);
    if (column != fde_.cie.return_register) return;
    now_.return_address_undefined = initial_.return_address_undefined;
    now_.return_address_lost = initial_.return_address_lost;
    now_.return_register = initial_.return_register;
  }
  void undefine_sig(std::uint64_t column) PROF_DETAIL_SIG {
    if (column == fde_.cie.return_register) now_.return_address_undefined = true;
    else set_sig(column, {saved_at::same, 0});  // clobbered: as good as any other value
  }
  void set_sig(std::uint64_t column, saved_register where) PROF_DETAIL_SIG {
    if (column == dwarf_fp) now_.fp = where;
    if (column == dwarf_rbx_or_lr) now_.rbx_or_lr = where;
    if (is_argument(column)) note_argument(column, where.base == saved_at::cfa);
    if (column == fde_.cie.return_register) now_.return_address_undefined = false;
    if (!is_return_address(column)) return;
    now_.return_address_lost = where.base != saved_at::cfa;
    now_.return_register = on_stack;
  }
  static bool is_argument(std::uint64_t column) PROF_DETAIL_SIG {
    return column < 8 && (eh_return_looks_at >> column & 1) != 0;
  }
  void note_argument(std::uint64_t column, bool saved) PROF_DETAIL_SIG {
    const unsigned bit = 1u << column;
    now_.saved_arguments = saved ? now_.saved_arguments | bit : now_.saved_arguments & ~bit;
  }
  bool is_return_address(std::uint64_t column) const PROF_DETAIL_SIG {
    return !return_address_in_lr && column == fde_.cie.return_register;
  }

  unsigned reg(byte_reader& code) PROF_DETAIL_SIG {
    const std::uint64_t number = code.uleb();
    return number < 32 ? static_cast<unsigned>(number) : 32u;
  }
  std::int32_t offset(byte_reader& code, std::int64_t factor) PROF_DETAIL_SIG {
    return clamp_sig(static_cast<std::int64_t>(code.uleb() & 0xffffffffffu) * factor);
  }
  std::int32_t factored(std::int64_t value) PROF_DETAIL_SIG {
    constexpr std::int64_t limit = std::int64_t{1} << 40;  // products stay in 64 bits
    const std::int64_t bounded = value > limit ? limit : value < -limit ? -limit : value;
    const std::int64_t align = fde_.cie.data_align;
    return clamp_sig(bounded * (align < -1024 ? -1024 : align > 1024 ? 1024 : align));
  }

  // In place: a copy of what was just written member by member waits for all of it, which was a quarter of the
  // time that a table took (g++ 12: 16 bytes at once).
  PROF_DETAIL_NOINLINE void give_rule_sig(unwind_rule& rule) const PROF_DETAIL_SIG {
    rule = {};
    if (fde_.cie.is_signal_frame) rule.kind = rule_kind::signal_frame;
    else if (now_.return_address_undefined) rule.kind = rule_kind::end;
    else if (broken_ || (!return_address_in_lr && now_.return_address_lost)) {
      rule.kind = rule_kind::unsupported;
    } else {
      switch (now_.cfa.form) {
        case cfi_expression::shape::offset: rule.kind = rule_kind::offset; break;
        case cfi_expression::shape::deref: rule.kind = rule_kind::deref; break;
        case cfi_expression::shape::plt: rule.kind = rule_kind::plt; break;
        case cfi_expression::shape::other: rule.kind = rule_kind::unsupported; break;
      }
    }
    if (rule.kind >= rule_kind::end) return;
    rule.reg = now_.cfa.reg;
    rule.offset = now_.cfa.offset;
    rule.added = now_.cfa.added;
    rule.fp = now_.fp;
    rule.return_register = now_.return_register;
    rule.is_eh_return = now_.saved_arguments == eh_return_saves;
    if (rule.return_register == on_stack) rule.rbx_or_lr = now_.rbx_or_lr;
    raise_cfa_sig(rule);
  }
  // aarch64: a PLT's first entry pushes {x16, lr} before it jumps to _dl_runtime_resolve, whose CFA
  // lies below that pair (glibc 2.36). The caller's sp is behind it. What else has lr above the CFA
  // (setcontext) is no frame that a call made.
  static void raise_cfa_sig(unwind_rule& rule) PROF_DETAIL_SIG {
    constexpr std::int64_t pushed = 16;
    if (!return_address_in_lr || rule.rbx_or_lr.base != saved_at::cfa || rule.rbx_or_lr.offset < 0) return;
    if (rule.kind != rule_kind::offset || rule.rbx_or_lr.offset != 8) {
      rule = {};
      rule.kind = rule_kind::unsupported;
      return;
    }
    rule.offset = clamp_sig(rule.offset + pushed);
    rule.rbx_or_lr.offset = clamp_sig(rule.rbx_or_lr.offset - pushed);
    if (rule.fp.base == saved_at::cfa) rule.fp.offset = clamp_sig(rule.fp.offset - pushed);
  }

  const cfi_fde& fde_;
  byte_reader rest_;
  std::uintptr_t at_;
  std::uintptr_t advance_ = 0;
  bool broken_ = false;
  bool done_ = false;
  std::size_t remembered_ = 0;
  cfi_columns now_;
  cfi_columns initial_;
  cfi_columns stack_[max_remembered];
};

// Room for a copy of an FDE and its CIE: of libLLVM-14's 94,994 FDEs the longest has 2,392 bytes, of all CIEs seen
// one 40. What does not fit is as if it were not there.
struct cfi_copy {
  alignas(8) cfi_byte bytes[2560];
};

// Room for interpreting one FDE, which is too large for a signal handler's stack.
struct cfi_scratch {
  alignas(16) unsigned char search[160];  // module_cfi.hpp's cfi_search or copied_cfi.hpp's
  cfi_copy copy;
  cfi_fde fde;
  unwind_rule rule;
  alignas(cfi_program) unsigned char program[sizeof(cfi_program)];
};

// The rule at `pc`, which the FDE in the scratch holds; it is kept there, too, for a handler's stack.
PROF_DETAIL_NOINLINE inline const unwind_rule& find_row_sig(cfi_scratch& scratch,
                                                            std::uintptr_t pc) PROF_DETAIL_SIG {
  cfi_program& rows = *new (static_cast<void*>(scratch.program)) cfi_program(scratch.fde);
  std::uintptr_t begin = 0;
  std::uintptr_t limit = 0;
  while (rows.next_sig(begin, limit, scratch.rule)) {
    if (pc < limit) return scratch.rule;
  }
  return scratch.rule = unwind_rule{};
}

PROF_DETAIL_END

#endif  // PROF_UNWIND_CFI_PROGRAM_HPP
