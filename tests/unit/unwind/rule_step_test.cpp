// tests/unit/unwind/rule_step_test.cpp - one step by each kind of rule over made-up words; what is no frame.

#include "prof/unwind/rule_step.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <map>

namespace {

using namespace prof::detail;
using word = std::uintptr_t;

constexpr word stack = 0x7000;
constexpr word caller = 0x400123;

// Words that were put; all others are unreadable.
struct fake_memory {
  std::map<word, word> words;
  bool read_word(word address, word& value) const {
    const auto found = words.find(address);
    if (found != words.end()) value = found->second;
    return found != words.end();
  }
};

// A frame of 0x40 bytes at `stack`: its return address where this machine has it, the caller's fp below.
struct fixture {
  fake_memory memory;
  walked_frame frame;
  unwind_rule rule;

  fixture() {
    frame.at.pc = 0x400800;
    frame.at.sp = stack;
    frame.at.fp = 0x1111;
    frame.at.rbx_or_lr = 0x2222;
    rule.kind = rule_kind::offset;
    rule.reg = dwarf_sp;
    rule.offset = 0x40;
    rule.fp = {saved_at::cfa, -16};
    if (return_address_in_lr) rule.rbx_or_lr = {saved_at::cfa, -8};
    memory.words[stack + 0x38] = caller;
    memory.words[stack + 0x30] = 0x7abc;
  }
  step take() { return rule_step_sig(memory, frame, rule); }
  bool unchanged() const { return frame.at.pc == 0x400800 && frame.at.sp == stack && frame.at.fp == 0x1111; }
};

}  // namespace

TEST_CASE("a step has the caller's registers") {
  fixture f;
  REQUIRE(f.take() == step::caller);
  CHECK(f.frame.at.pc == caller);
  CHECK(f.frame.at.sp == stack + 0x40);
  CHECK(f.frame.at.fp == 0x7abc);
}

TEST_CASE("the packed rule steps as the rule does") {
  fixture f;
  REQUIRE(offset_step_sig(f.memory, f.frame, pack_rule_sig(f.rule)) == step::caller);
  CHECK(f.frame.at.pc == caller);
  CHECK(f.frame.at.sp == stack + 0x40);
  CHECK(f.frame.at.fp == 0x7abc);
}

TEST_CASE("a CFA that is misaligned, below sp, or at sp of who called somebody is no frame") {
  for (const std::int32_t offset : {0x41, 0x3c, -8}) {
    CAPTURE(offset);
    fixture f;
    f.rule.offset = offset;
    for (std::int32_t at = -16; at < 0x80; ++at) f.memory.words[stack + static_cast<word>(at)] = caller;
    CHECK(f.take() == step::lost);
    CHECK(f.unchanged());
  }
  fixture f;
  f.rule.offset = 0;
  f.frame.interrupted = false;
  f.memory.words[stack - 8] = f.memory.words[stack - 16] = caller;
  CHECK(f.take() == step::lost);
  f.frame.interrupted = true;
  CHECK(f.take() == step::caller);
}

TEST_CASE("what cannot be read is lost, a register that cannot is unknown") {
  fixture f;
  f.memory.words.erase(stack + 0x30);
  REQUIRE(f.take() == step::caller);
  CHECK(f.frame.at.fp == unknown_register);
  fixture g;
  g.rule.fp = {saved_at::lost, 0};
  REQUIRE(g.take() == step::caller);
  CHECK(g.frame.at.fp == unknown_register);
  fixture h;
  h.rule.kind = rule_kind::deref;
  CHECK(h.take() == step::lost);
  CHECK(h.unchanged());
  h.memory.words[stack + 0x40] = stack + 0x38;
  h.rule.added = 8;
  CHECK(h.take() == step::caller);
  CHECK(h.frame.at.pc == caller);
}

TEST_CASE("an unknown register is no frame, and no root") {
  fixture f;
  f.frame.at.fp = unknown_register;
  f.rule.reg = dwarf_fp;
  CHECK(f.take() == step::lost);
}

TEST_CASE("zeros are the outermost frame's, or what an interrupted function has pushed") {
  fixture f;
  f.memory.words[stack + 0x38] = 0;
  CHECK(f.take() == step::lost);  // but rbp is not zero
  f.memory.words[stack + 0x30] = 0;
  CHECK(f.take() == step::doubted_root);
  f.frame.interrupted = false;
  CHECK(f.take() == step::root);
}

TEST_CASE("other registers are known of an interrupted function only") {
  fake_memory memory;
  walked_frame frame;
  word value = 0;
  CHECK_FALSE(register_sig(memory, frame, 12, value));  // without its context
  frame.at.sp = 5;
  frame.at.fp = 6;
  frame.at.rbx_or_lr = 7;
  frame.interrupted = false;
  CHECK((register_sig(memory, frame, dwarf_sp, value) && value == 5));
  CHECK((register_sig(memory, frame, dwarf_fp, value) && value == 6));
  CHECK((register_sig(memory, frame, dwarf_rbx_or_lr, value) && value == 7));
  CHECK_FALSE(register_sig(memory, frame, 12, value));
}

TEST_CASE("kinds that say nothing of a caller are lost") {
  for (const rule_kind kind : {rule_kind::none, rule_kind::end, rule_kind::signal_frame, rule_kind::unpackable,
                               rule_kind::unsupported}) {
    fixture f;
    f.rule.kind = kind;
    CHECK(f.take() == step::lost);
    CHECK(f.unchanged());
  }
}

#if defined(__x86_64__)

TEST_CASE("a return address in a register: vfork's, whose frame is empty") {
  fixture f;
  f.rule.return_register = dwarf_rbx_or_lr;
  f.rule.offset = 0;
  REQUIRE(f.take() == step::caller);
  CHECK(f.frame.at.pc == 0x2222);
  CHECK(f.frame.at.sp == stack);
  fixture g;
  g.rule.return_register = dwarf_rbx_or_lr;
  g.rule.offset = -16;
  CHECK(g.take() == step::lost);
  g.rule.offset = 0;
  g.frame.interrupted = false;
  CHECK(g.take() == step::lost);
}

#endif
