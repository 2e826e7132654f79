// tests/unit/unwind/cfi_program_test.cpp - every instruction of call frame information by hand.

#include "prof/unwind/cfi_program.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

#include "cfi_bytes.hpp"

#if defined(__x86_64__)

namespace {

using namespace prof::detail;

constexpr std::uintptr_t code = 0x400000;
constexpr std::uintptr_t size = 0x10000;
constexpr saved_register same = {};
constexpr saved_register lost = {saved_at::lost, 0};

saved_register at_cfa(std::int32_t offset) {
  return {saved_at::cfa, offset};
}

struct row {
  std::uintptr_t begin = 0;  // relative to the function
  std::uintptr_t limit = 0;
  unwind_rule rule;
};

// One function whose CIE says: CFA = rsp + 8, return address below it.
struct program {
  cie_text cie;
  cfi_section_text text;
  cfi_scratch scratch;

  std::vector<row> run(const cfi_text& instructions) {
    text = {};
    text.cie(cie);
    const std::size_t entry = text.fde(code, size, instructions);
    REQUIRE(parse_fde_sig(text.at(entry), text.section(), scratch.fde));
    cfi_program rows(scratch.fde);
    std::vector<row> all;
    row next;
    while (rows.next_sig(next.begin, next.limit, next.rule)) {
      next.begin -= code;
      next.limit -= code;
      CHECK(next.begin == (all.empty() ? 0 : all.back().limit));
      CHECK(next.begin < next.limit);
      all.push_back(next);
    }
    CHECK(all.back().limit == size);
    return all;
  }
  // The only row's.
  unwind_rule rule(const cfi_text& instructions) {
    const std::vector<row> rows = run(instructions);
    CHECK(rows.size() == 1);
    return rows[0].rule;
  }
};

unwind_rule rule_of(const cfi_text& instructions) {
  return program{}.rule(instructions);
}

unwind_rule cfa(unsigned reg, std::int32_t offset, saved_register fp = {},
                saved_register rbx_or_lr = {}) {
  unwind_rule rule;
  rule.kind = rule_kind::offset;
  rule.reg = reg;
  rule.offset = offset;
  rule.fp = fp;
  rule.rbx_or_lr = rbx_or_lr;
  return rule;
}

unwind_rule deref(unsigned reg, std::int32_t offset, std::int32_t added) {
  unwind_rule rule = cfa(reg, offset);
  rule.kind = rule_kind::deref;
  rule.added = added;
  return rule;
}

unwind_rule only(rule_kind kind) {
  unwind_rule rule;
  rule.kind = kind;
  return rule;
}

constexpr unsigned rsp = 7;
constexpr unsigned rbp = 6;
constexpr unsigned rbx = 3;
constexpr unsigned rip = 16;

// def_cfa_expression
unwind_rule cfa_expression(const cfi_text& expression) {
  return rule_of(cfi_text{0x0f}.block(expression));
}
// expression: where rbp is
saved_register fp_expression(const cfi_text& expression) {
  return rule_of(cfi_text{0x10, rbp}.block(expression)).fp;
}

}  // namespace

// ---- where the CFA is
// ----------------------------------------------------------------------------

TEST_CASE("without instructions the CIE's rule holds everywhere") {
  CHECK(rule_of({}) == cfa(rsp, 8));
  CHECK(rule_of({0x00, 0x00, 0x00}) == cfa(rsp, 8));  // nop
}

TEST_CASE("def_cfa, def_cfa_register, def_cfa_offset") {
  CHECK(rule_of({0x0c, rbp, 16}) == cfa(rbp, 16));
  CHECK(rule_of(cfi_text{0x0c, 11}.uleb(70000)) == cfa(11, 70000));
  CHECK(rule_of({0x0d, rbp}) == cfa(rbp, 8));
  CHECK(rule_of(cfi_text{0x0e}.uleb(1000000)) == cfa(rsp, 1000000));
}

TEST_CASE("def_cfa_sf and def_cfa_offset_sf are multiples of the data alignment") {
  CHECK(rule_of(cfi_text{0x12, rbp}.sleb(-3)) == cfa(rbp, 24));
  CHECK(rule_of(cfi_text{0x12, rbp}.sleb(3)) == cfa(rbp, -24));
  CHECK(rule_of(cfi_text{0x13}.sleb(-100)) == cfa(rsp, 800));
}

TEST_CASE("offsets that no stack has become large, not small") {
  CHECK(rule_of(cfi_text{0x0e}.uleb(std::uint64_t{1} << 32)).offset == 0x7fffffff);
  CHECK(rule_of(cfi_text{0x13}.sleb(std::int64_t{1} << 62)).offset == -0x7fffffff);
  CHECK(rule_of(cfi_text{0x0c, rsp}.uleb(~std::uint64_t{0})).offset == 0x7fffffff);
}

TEST_CASE("a register that has no number of a machine does not fit a rule") {
  CHECK(rule_of(cfi_text{0x0c}.uleb(31).u8(8)) == cfa(31, 8));
  for (const std::uint64_t number : {std::uint64_t{32}, std::uint64_t{1} << 40}) {
    const unwind_rule rule = rule_of(cfi_text{0x0c}.uleb(number).u8(8));
    CHECK(pack_rule_sig(rule) == static_cast<packed_rule>(rule_kind::unpackable));
  }
}

TEST_CASE("who saves a landing pad's argument is one of the unwinder's that overwrite their frame") {
  unwind_rule wanted = cfa(rsp, 8);
  CHECK(rule_of({0x80 + 1, 2}) == wanted);  // rdx
  CHECK(rule_of({0x80, 3}) == wanted);      // rax: others save it too
  wanted.is_eh_return = true;
  CHECK(rule_of({0x80, 3, 0x81, 4}) == wanted);
  CHECK(rule_of({0x80, 3, 0x81, 4, 0x0a, 0xc0, 0x0b}) == wanted);  // remember, restore, recall
  wanted.is_eh_return = false;
  CHECK(rule_of({0x80, 3, 0x81, 4, 0xc0}) == wanted);
  CHECK(rule_of({0x80, 3, 0x81, 4, 0x08, 0}) == wanted);  // same_value
  CHECK(rule_of({0x80, 3, 0x81, 4, 0x82, 5}) == wanted);  // rcx: _mcount, preserve_most
}

TEST_CASE("register or offset without the other is beyond a walk") {
  program p;
  p.cie.instructions = {0x90, 1};
  CHECK(p.rule({}) == only(rule_kind::unsupported));
  CHECK(p.rule({0x0d, rbp}) == only(rule_kind::unsupported));
  CHECK(p.rule({0x0e, 16}) == only(rule_kind::unsupported));
  CHECK(p.rule({0x0c, rsp, 16}) == cfa(rsp, 16));
}

// ---- expressions
// ---------------------------------------------------------------------------------

TEST_CASE("a realigned frame: the CFA is read from the frame (GCC's DRAP)") {
  CHECK(cfa_expression({0x76, 0x78, 0x06}) == deref(rbp, -8, 0));  // breg6 -8; deref
}

TEST_CASE("hand-written assembly: read, then add") {
  CHECK(cfa_expression({0x77, 0xc8, 0x00, 0x06, 0x23, 0x08}) == deref(rsp, 72, 8));
  CHECK(cfa_expression({0x77, 0x08, 0x06, 0x38, 0x22}) == deref(rsp, 8, 8));  // lit8; plus
  CHECK(cfa_expression({0x77, 0x08, 0x06, 0x38, 0x22, 0x23, 0x10}) == deref(rsp, 8, 24));
}

TEST_CASE("an expression that is a register and an offset") {
  CHECK(cfa_expression({0x7a, 0x10}) == cfa(10, 16));
  CHECK(cfa_expression({0x8f, 0x10}) == cfa(31, 16));
  CHECK(cfa_expression({0x92, 0x0d, 0x10}) == cfa(13, 16));                // bregx
  CHECK(cfa_expression({0x77, 0x08, 0x23, 0x80, 0x01}) == cfa(rsp, 136));  // plus_uconst
  CHECK(cfa_expression({0x77, 0x08, 0x4f, 0x22}) == cfa(rsp, 39));         // lit31; plus
}

TEST_CASE("PLT expressions with every literal, 11 and the 9 of IBT entries among them") {
  for (unsigned literal = 0; literal < 32; ++literal) {
    CAPTURE(literal);
    const unwind_rule rule =
        cfa_expression({0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x30 + literal, 0x2a, 0x33, 0x24, 0x22});
    if (literal >= 16) {
      CHECK(rule == only(rule_kind::unsupported));
      continue;
    }
    CHECK(rule.kind == rule_kind::plt);
    CHECK(rule.offset == static_cast<std::int32_t>(literal));
  }
}

TEST_CASE("what only resembles a PLT expression is beyond a walk") {
  const std::vector<unsigned> plt = {0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22};
  for (std::size_t i = 0; i < plt.size(); ++i) {
    if (i == 6) continue;
    CAPTURE(i);
    cfi_text other;
    for (std::size_t k = 0; k < plt.size(); ++k) other.u8(plt[k] + (k == i ? 1u : 0u));
    CHECK(cfa_expression(other) == only(rule_kind::unsupported));
  }
  CHECK(cfa_expression({0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24}) ==
        only(rule_kind::unsupported));
  CHECK(cfa_expression({0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22, 0x96}) ==
        only(rule_kind::unsupported));
}

TEST_CASE("other expressions are beyond a walk") {
  CHECK(cfa_expression({}) == only(rule_kind::unsupported));
  CHECK(cfa_expression({0x06}) == only(rule_kind::unsupported));
  CHECK(cfa_expression({0x50}) == only(rule_kind::unsupported));                    // reg0
  CHECK(cfa_expression({0x77, 0x08, 0x06, 0x06}) == only(rule_kind::unsupported));  // twice
  CHECK(cfa_expression({0x77, 0x08, 0x1c}) == only(rule_kind::unsupported));        // minus
  CHECK(cfa_expression({0x77, 0x08, 0x38, 0x1c}) == only(rule_kind::unsupported));  // lit8; minus
  CHECK(cfa_expression({0x77, 0x08, 0x38}) == only(rule_kind::unsupported));
  CHECK(cfa_expression({0x77}) == only(rule_kind::unsupported));
  CHECK(cfa_expression({0x77, 0x88}) == only(rule_kind::unsupported));
  CHECK(cfa_expression({0x77, 0x08, 0x23, 0x80}) == only(rule_kind::unsupported));
  CHECK(cfa_expression({0x77, 0x08, 0x23, 0x08, 0x1c, 0x23, 0x08}) == only(rule_kind::unsupported));
}

TEST_CASE("sums in expressions that no stack has stay large") {
  cfi_text huge = {0x77, 0x08, 0x23};
  huge.uleb(0x7fffffffffffffff);
  CHECK(cfa_expression(huge).offset == 0x7fffffff);
  cfi_text read_first = {0x77, 0x08, 0x06, 0x23};
  read_first.uleb(0x7fffffffffffffff);
  CHECK(cfa_expression(read_first).added == 0x7fffffff);
}

TEST_CASE("a CFA that is an expression has no register or offset to change") {
  const cfi_text expression = cfi_text{0x0f}.block({0x77, 0x08, 0x06});
  CHECK(rule_of(cfi_text().add(expression).add({0x0e, 16})) == only(rule_kind::unsupported));
  CHECK(rule_of(cfi_text().add(expression).add({0x0c, rsp, 16})) == cfa(rsp, 16));
}

// ---- where registers are
// -------------------------------------------------------------------------

TEST_CASE("offset: in every form") {
  const unwind_rule wanted = cfa(rsp, 8, at_cfa(-16), at_cfa(-24));
  CHECK(rule_of({0x86, 2, 0x83, 3}) == wanted);
  CHECK(rule_of({0x05, rbp, 2, 0x05, rbx, 3}) == wanted);          // offset_extended
  CHECK(rule_of({0x11, rbp, 2, 0x11, rbx, 3}) == wanted);          // offset_extended_sf
  CHECK(rule_of({0x11, rbp, 0x7e}) == cfa(rsp, 8, at_cfa(16)));    // -2
  CHECK(rule_of({0x2f, rbp, 2}) == cfa(rsp, 8, at_cfa(16)));       // GNU_negative_offset_extended
  CHECK(rule_of({0x8c, 2, 0x8d, 3, 0x05, 14, 4}) == cfa(rsp, 8));  // r12, r13, r14: not carried
}

TEST_CASE("the largest operand of GNU_negative_offset_extended is no undefined behaviour") {
  const cfi_text instructions = cfi_text{0x2f, rbp}.uleb(std::uint64_t{1} << 63);
  CHECK(rule_of(instructions).fp.base == saved_at::cfa);
}

TEST_CASE("restore: in both forms, to what the CIE said") {
  program p;
  p.cie.instructions.add({0x86, 5});
  CHECK(p.rule({}) == cfa(rsp, 8, at_cfa(-40)));
  CHECK(p.rule({0x86, 2, 0x83, 3, 0xc6}) == cfa(rsp, 8, at_cfa(-40), at_cfa(-24)));
  CHECK(p.rule({0x86, 2, 0x83, 3, 0xc3}) == cfa(rsp, 8, at_cfa(-16), same));
  CHECK(p.rule({0x86, 2, 0x83, 3, 0x06, rbp, 0x06, rbx}) == cfa(rsp, 8, at_cfa(-40)));
  CHECK(p.rule({0x08, rbp}) == cfa(rsp, 8, same));  // same_value
}

TEST_CASE("undefined, register, val_offset, val_expression") {
  CHECK(rule_of({0x86, 2, 0x07, rbp}) == cfa(rsp, 8, same));
  CHECK(rule_of({0x09, rbp, 1}) == cfa(rsp, 8, lost));
  CHECK(rule_of({0x14, rbp, 1}) == cfa(rsp, 8, lost));
  CHECK(rule_of({0x15, rbx, 0x7f}) == cfa(rsp, 8, same, lost));
  CHECK(rule_of(cfi_text{0x16, rbp}.block({0x77, 0x08})) == cfa(rsp, 8, lost));
}

TEST_CASE("expression: a place behind rbp is known, others are lost") {
  CHECK(fp_expression({0x76, 0x00}) == saved_register{saved_at::fp, 0});
  CHECK(fp_expression({0x76, 0x68}) == saved_register{saved_at::fp, -24});
  CHECK(fp_expression({0x77, 0x08}) == lost);
  CHECK(fp_expression({0x76, 0x00, 0x06}) == lost);
  CHECK(fp_expression({}) == lost);
  CHECK(rule_of(cfi_text{0x10, rbx}.block({0x76, 0x70})) == cfa(rsp, 8, same, {saved_at::fp, -16}));
}

TEST_CASE("instructions without a meaning for walks are stepped over") {
  CHECK(rule_of(cfi_text{0x2e}.uleb(300).add({0x86, 2})) == cfa(rsp, 8, at_cfa(-16)));  // args_size
  CHECK(rule_of({0x2d, 0x86, 2}) == cfa(rsp, 8, at_cfa(-16)));  // negate_ra_state
  CHECK(rule_of({0x2c, 0x86, 2}) == cfa(rsp, 8, at_cfa(-16)));  // negate_ra_state_with_pc
}

// ---- the return address
// --------------------------------------------------------------------------

TEST_CASE("an undefined return address is the end of the stack") {
  CHECK(rule_of({0x07, rip}) == only(rule_kind::end));
  CHECK(rule_of({0x07, rip, 0x90, 1}) == cfa(rsp, 8));
  CHECK(rule_of({0x07, rip, 0xd0}) == cfa(rsp, 8));  // restore
}

TEST_CASE("a return address that is not below the CFA is beyond a walk") {
  CHECK(rule_of({0x90, 2}) == only(rule_kind::unsupported));
  CHECK(rule_of(cfi_text{0x09, rip}.uleb(40)) == only(rule_kind::unsupported));
  CHECK(rule_of({0x08, rip}) == only(rule_kind::unsupported));
  CHECK(rule_of(cfi_text{0x10, rip}.block({0x77, 0x08})) == only(rule_kind::unsupported));
  CHECK(rule_of({0x90, 2, 0x90, 1}) == cfa(rsp, 8));
  CHECK(rule_of({0x90, 2, 0xd0}) == cfa(rsp, 8));
  program silent;
  silent.cie.instructions = {0x0c, rsp, 8};
  CHECK(silent.rule({}) == only(rule_kind::unsupported));
}

TEST_CASE("a return address in another register is there until it is saved") {
  const unwind_rule rule = rule_of({0x09, rip, 2});  // rcx, as behind syscall
  CHECK(rule.kind == rule_kind::offset);
  CHECK(rule.return_register == 2);
  CHECK(rule_of({0x09, rip, 2, 0x90, 1}) == cfa(rsp, 8));
  CHECK(rule_of({0x09, rip, 2, 0xd0}) == cfa(rsp, 8));
}

TEST_CASE("a signal frame is one, whatever its rules are") {
  program p;
  p.cie.letters = "zRS";
  CHECK(p.rule({}) == only(rule_kind::signal_frame));
  CHECK(p.rule(cfi_text{0x0f}.block({0x77, 0xa0, 0x01, 0x06})) == only(rule_kind::signal_frame));
  CHECK(p.rule({0x07, rip}) == only(rule_kind::signal_frame));
}

// ---- rows
// ----------------------------------------------------------------------------------------

TEST_CASE("advance: in every form") {
  const cfi_text change = {0x0e, 16};
  const auto moved = [&](const cfi_text& advance) {
    program p;
    p.cie.code_align = 2;
    const std::vector<row> rows = p.run(cfi_text().add(advance).add(change));
    REQUIRE(rows.size() == 2);
    CHECK(rows[0].rule == cfa(rsp, 8));
    CHECK(rows[1].rule == cfa(rsp, 16));
    return rows[1].begin;
  };
  CHECK(moved({0x41}) == 2);
  CHECK(moved({0x7f}) == 126);
  CHECK(moved({0x02, 0xff}) == 510);
  CHECK(moved(cfi_text{0x03}.fixed(std::uint16_t{0x1234})) == 0x2468);
  CHECK(moved(cfi_text{0x04}.fixed(std::uint32_t{0x4321})) == 0x8642);
  CHECK(moved(cfi_text{0x01}.fixed(code + 0x777)) == 0x777);  // set_loc
}

TEST_CASE("rows follow each other; an advance by nothing makes none") {
  program p;
  const std::vector<row> rows =
      p.run({0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, rbp, 0x40, 0x50, 0x0c, rsp, 8});
  REQUIRE(rows.size() == 4);
  CHECK(rows[1].begin == 1);
  CHECK(rows[1].rule == cfa(rsp, 16, at_cfa(-16)));
  CHECK(rows[2].begin == 4);
  CHECK(rows[2].rule == cfa(rbp, 16, at_cfa(-16)));
  CHECK(rows[3].begin == 20);
  CHECK(rows[3].rule == cfa(rsp, 8, at_cfa(-16)));
}

TEST_CASE("the rule of one address") {
  program p;
  p.run({0x44, 0x0e, 16, 0x44, 0x0e, 24});
  for (std::uintptr_t i = 0; i < 12; ++i) {
    CAPTURE(i);
    CHECK(find_row_sig(p.scratch, code + i) == cfa(rsp, 8 + 8 * static_cast<std::int32_t>(i / 4)));
  }
  CHECK(find_row_sig(p.scratch, code + size - 1) == cfa(rsp, 24));
  CHECK(find_row_sig(p.scratch, code + size) == unwind_rule{});
}

TEST_CASE("an advance behind the function ends the rows") {
  program p;
  for (const std::uint32_t to : {std::uint32_t{size}, std::uint32_t{size + 1}, 0xffffffffu}) {
    const std::vector<row> rows = p.run(cfi_text{0x04}.fixed(to).add({0x0e, 16}));
    CHECK(rows.size() == 1);
    CHECK(rows[0].rule == cfa(rsp, 8));
  }
  p.cie.code_align = ~std::uint64_t{0};
  CHECK(p.run({0x41, 0x0e, 16}).size() == 1);  // one byte back
}

TEST_CASE("remember and restore, one in another") {
  program p;
  const std::vector<row> rows = p.run({0x0e, 16, 0x86, 2, 0x0a,         // remember
                                       0x41, 0x0c, rsp, 8, 0xc6, 0x0a,  // and again
                                       0x41, 0x0e, 64,                  //
                                       0x41, 0x0b,                      // restore
                                       0x41, 0x0b});
  REQUIRE(rows.size() == 5);
  CHECK(rows[0].rule == cfa(rsp, 16, at_cfa(-16)));
  CHECK(rows[1].rule == cfa(rsp, 8));
  CHECK(rows[2].rule == cfa(rsp, 64));
  CHECK(rows[3].rule == cfa(rsp, 8));
  CHECK(rows[4].rule == cfa(rsp, 16, at_cfa(-16)));
}

TEST_CASE("four states are remembered; a fifth, or one too many restored, is beyond a walk") {
  cfi_text four;
  for (unsigned i = 0; i < 4; ++i) four.add({0x0a, 0x0e, 16 + 8 * i});
  CHECK(rule_of(four) == cfa(rsp, 40));
  CHECK(rule_of(cfi_text().add(four).add({0x0b, 0x0b, 0x0b, 0x0b})) == cfa(rsp, 8));
  CHECK(rule_of(cfi_text().add(four).add({0x0a})) == only(rule_kind::unsupported));
  CHECK(rule_of(cfi_text().add(four).add({0x0b, 0x0b, 0x0b, 0x0b, 0x0b})) ==
        only(rule_kind::unsupported));
}

// ---- broken programs
// -----------------------------------------------------------------------------

TEST_CASE("unknown instructions end the rows; those before them stand") {
  for (const unsigned operation : {0x17u, 0x1cu, 0x1du, 0x20u, 0x2cu, 0x30u, 0x3fu}) {
    CAPTURE(operation);
    program p;
    const std::vector<row> rows = p.run({0x41, 0x0e, 16, 0x41, operation, 1, 0x41, 0x0e, 24});
    REQUIRE(rows.size() == 3);
    CHECK(rows[1].rule == cfa(rsp, 16));
    CHECK(rows[2].rule == only(rule_kind::unsupported));
  }
}

TEST_CASE("instructions that are cut end the rows") {
  const cfi_text cut[] = {{0x0c},       {0x0c, 7},    {0x0d},    {0x0e, 0x80}, {0x0f, 5, 1},
                          {0x10, 6, 9}, {0x86},       {0x02},    {0x03, 1},    {0x04, 1, 2, 3},
                          {0x05, 6},    {0x11, 6},    {0x01, 1}, {0x2e},       {0x13, 0xff},
                          {0x16, 6, 2}, {0x07, 0x80}, {0x06},    {0x12, 7},    {0x2f, 6}};
  for (const cfi_text& instructions : cut) {
    CAPTURE(static_cast<unsigned char>(instructions.bytes[0]));
    program p;
    const std::vector<row> rows = p.run(cfi_text{0x41, 0x0e, 16, 0x41}.add(instructions));
    REQUIRE(rows.size() == 3);
    CHECK(rows[1].rule == cfa(rsp, 16));
    CHECK(rows[2].rule == only(rule_kind::unsupported));
  }
}

TEST_CASE("set_loc does not go back") {
  program p;
  const std::vector<row> rows = p.run(cfi_text{0x44}.u8(0x01).fixed(code + 3).add({0x0e, 16}));
  REQUIRE(rows.size() == 2);
  CHECK(rows[1].rule == only(rule_kind::unsupported));
}

TEST_CASE("set_loc has the bias of its section") {
  program p;
  p.text.is_debug_frame = true;
  p.text.cie(p.cie);
  const std::size_t entry =
      p.text.fde(0x1000, 0x100, cfi_text{0x01}.fixed(std::uintptr_t{0x1010}).add({0x0e, 16}));
  cfi_section section = p.text.section();
  section.bias = 0x550000;
  REQUIRE(parse_fde_sig(p.text.at(entry), section, p.scratch.fde));
  CHECK(find_row_sig(p.scratch, 0x55100f) == cfa(rsp, 8));
  CHECK(find_row_sig(p.scratch, 0x551010) == cfa(rsp, 16));
}

TEST_CASE("a broken CIE breaks its functions") {
  program p;
  p.cie.instructions.add({0x3f});
  CHECK(p.rule({0x41, 0x0e, 16}) == only(rule_kind::unsupported));
}

TEST_CASE("noise makes rows that follow each other and ends") {
  std::uint64_t state = 20241121;
  const auto next = [&state] {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  };
  std::size_t most = 0;
  for (int i = 0; i < 20000; ++i) {
    cfi_text noise;
    for (std::size_t n = next() % 48; n != 0; --n) noise.u8(static_cast<unsigned>(next() & 0xff));
    program p;
    const std::size_t rows = p.run(noise).size();  // which checks that they follow each other
    most = rows > most ? rows : most;
    REQUIRE(rows <= noise.bytes.size() + 1);
  }
  CHECK(most > 5);
}

#endif
