// tests/unit/unwind/unwind_rule_test.cpp - rules survive 64 bits, and say so where they do not.

#include "prof/unwind/unwind_rule.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <vector>

namespace {

using namespace prof::detail;

constexpr rule_kind all_kinds[] = {rule_kind::none,  rule_kind::offset, rule_kind::deref,
                                   rule_kind::plt,   rule_kind::end,    rule_kind::signal_frame,
                                   rule_kind::unsupported};

unwind_rule rule_of(rule_kind kind, unsigned reg, std::int32_t offset, std::int32_t added = 0) {
  unwind_rule rule;
  rule.kind = kind;
  rule.reg = reg;
  rule.offset = offset;
  rule.added = added;
  return rule;
}

bool survives(const unwind_rule& rule) {
  const packed_rule packed = pack_rule_sig(rule);
  return (packed & packed_is_exact) == 0 && kind_of_sig(packed) == rule.kind &&
         unpack_rule_sig(packed) == rule;
}

bool too_large(const unwind_rule& rule) {
  return pack_rule_sig(rule) == static_cast<packed_rule>(rule_kind::unpackable);
}

}  // namespace

TEST_CASE("every kind with every register") {
  for (const rule_kind kind : all_kinds) {
    for (unsigned reg = 0; reg < 32; ++reg) {
      CAPTURE(static_cast<unsigned>(kind));
      CAPTURE(reg);
      CHECK(survives(rule_of(kind, reg, 16)));
    }
    CHECK(too_large(rule_of(kind, 32, 16)));
    CHECK(too_large(rule_of(kind, ~0u, 16)));
  }
}

TEST_CASE("nothing known is zero") {
  CHECK(pack_rule_sig(unwind_rule{}) == 0);
  CHECK(unpack_rule_sig(0) == unwind_rule{});
}

TEST_CASE("an offset has 24 bits") {
  for (const std::int32_t offset : {0, 1, -1, 8, -8, 0x7fffff, -0x800000}) {
    CAPTURE(offset);
    CHECK(survives(rule_of(rule_kind::offset, dwarf_sp, offset)));
  }
  for (const std::int32_t offset : {0x800000, -0x800001, 0x7fffffff, -0x7fffffff - 1}) {
    CAPTURE(offset);
    CHECK(too_large(rule_of(rule_kind::offset, dwarf_sp, offset)));
  }
}

TEST_CASE("what is read through memory has 14 bits of offset and 10 of sum") {
  for (const std::int32_t offset : {0, -8, 8191, -8192}) {
    for (const std::int32_t added : {0, 8, 511, -512}) {
      CAPTURE(offset);
      CAPTURE(added);
      CHECK(survives(rule_of(rule_kind::deref, 10, offset, added)));
    }
  }
  CHECK(too_large(rule_of(rule_kind::deref, 10, 8192)));
  CHECK(too_large(rule_of(rule_kind::deref, 10, -8193)));
  CHECK(too_large(rule_of(rule_kind::deref, 10, 0, 512)));
  CHECK(too_large(rule_of(rule_kind::deref, 10, 0, -513)));
}

TEST_CASE("saved registers: every base, 13 bits of words, apart from each other") {
  for (const saved_at base : {saved_at::same, saved_at::cfa, saved_at::fp, saved_at::lost}) {
    for (const std::int32_t offset : {0, 8, -8, -16, 32760, -32768}) {
      unwind_rule rule = rule_of(rule_kind::offset, dwarf_sp, -0x800000);
      rule.fp = {base, offset};
      CHECK(survives(rule));
      rule.rbx_or_lr = {saved_at::cfa, -24};
      CHECK(survives(rule));
      rule.fp = {};
      rule.rbx_or_lr = {base, offset};
      CHECK(survives(rule));
    }
  }
}

TEST_CASE("a saved register that is too far or off its alignment does not fit") {
  for (const std::int32_t offset : {32768, -32776, 4, -12, 1, 0x7fffffff, -0x7fffffff}) {
    CAPTURE(offset);
    unwind_rule rule = rule_of(rule_kind::offset, dwarf_sp, 0);
    rule.fp = {saved_at::cfa, offset};
    CHECK(too_large(rule));
    rule.fp = {};
    rule.rbx_or_lr = {saved_at::fp, offset};
    CHECK(too_large(rule));
  }
}

TEST_CASE("the mark of an exact address leaves the rule as it is") {
  unwind_rule rule = rule_of(rule_kind::deref, 31, -8192, -512);
  rule.fp = {saved_at::lost, -32768};
  rule.rbx_or_lr = {saved_at::lost, -32768};
  const packed_rule packed = pack_rule_sig(rule);
  CHECK(unpack_rule_sig(packed | packed_is_exact) == rule);
  CHECK(kind_of_sig(packed | packed_is_exact) == rule_kind::deref);
}

TEST_CASE("different rules have different bits") {
  std::vector<packed_rule> seen;
  const auto see = [&](const unwind_rule& rule) {
    const packed_rule packed = pack_rule_sig(rule);
    for (const packed_rule other : seen) CHECK(packed != other);
    seen.push_back(packed);
  };
  unwind_rule rule = rule_of(rule_kind::offset, dwarf_sp, 16);
  see(rule);
  rule.reg = dwarf_fp;
  see(rule);
  rule.offset = 24;
  see(rule);
  rule.fp = {saved_at::cfa, -16};
  see(rule);
  rule.rbx_or_lr = {saved_at::cfa, -16};
  see(rule);
  rule.fp = {};
  see(rule);
  rule.kind = rule_kind::deref;
  see(rule);
  rule.added = 8;
  see(rule);
}
