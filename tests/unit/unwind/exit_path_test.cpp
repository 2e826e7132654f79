// tests/unit/unwind/exit_path_test.cpp - lengths of instructions, and the way from code by hand to its ret.

#include "prof/unwind/exit_path.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#if defined(__x86_64__)

namespace {

using namespace prof::detail;

using bytes = std::vector<unsigned char>;

unsigned length_of(std::initializer_list<unsigned char> code) {
  unsigned char room[16] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
  std::size_t at = 0;
  for (const unsigned char one : code) room[at++] = one;
  std::uint64_t words[2];
  std::memcpy(words, room, sizeof words);
  x86_instruction decoded;
  return decoded.decode_sig(words[0], words[1]) ? decoded.length() : 0;
}

// The code at 0x1000; nothing else can be read.
struct code_memory {
  bytes code;
  bool read_word(std::uintptr_t address, std::uintptr_t& word) const {
    const std::uintptr_t at = address - 0x1000;
    if (at >= code.size()) return false;
    unsigned char room[8] = {};
    for (std::size_t i = 0; i < 8 && at + i < code.size(); ++i) room[i] = code[at + i];
    std::memcpy(&word, room, sizeof word);
    return true;
  }
};

unwind_rule rule_of(const bytes& code) {
  code_memory memory{code};
  return exit_path<code_memory>(0x1000, memory).find_sig();
}

constexpr unsigned read_sp = dwarf_sp + read_from_code;
constexpr unsigned read_fp = dwarf_fp + read_from_code;

}  // namespace

TEST_CASE("instruction lengths as an assembler writes them") {
  CHECK(length_of({0x55}) == 1);                                            // push %rbp
  CHECK(length_of({0x41, 0x57}) == 2);                                      // push %r15
  CHECK(length_of({0x48, 0x83, 0xec, 0x08}) == 4);                          // sub $8,%rsp
  CHECK(length_of({0x48, 0x81, 0xec, 0, 1, 0, 0}) == 7);                    // sub $256,%rsp
  CHECK(length_of({0x48, 0x8b, 0x84, 0x24, 0, 1, 0, 0}) == 8);              // mov 256(%rsp),%rax
  CHECK(length_of({0x8b, 0x04, 0x85, 0, 0, 0, 0}) == 7);                    // mov 0(,%rax,4),%eax
  CHECK(length_of({0x48, 0x8d, 0x05, 0, 0, 0, 0}) == 7);                    // lea 0(%rip),%rax
  CHECK(length_of({0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8}) == 10);             // movabs
  CHECK(length_of({0x66, 0xb8, 1, 2}) == 4);                                // mov $n,%ax
  CHECK(length_of({0xf6, 0xc0, 1}) == 3);                                   // test $1,%al
  CHECK(length_of({0xf6, 0xd0}) == 2);                                      // not %al
  CHECK(length_of({0xf7, 0xc0, 1, 0, 0, 0}) == 6);                          // test $1,%eax
  CHECK(length_of({0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0}) == 9);     // mov %fs:40,%rax
  CHECK(length_of({0xdb, 0x6c, 0x24, 0x10}) == 4);                          // fldt 16(%rsp)
  CHECK(length_of({0x0f, 0x05}) == 2);                                      // syscall
  CHECK(length_of({0x0f, 0xa2}) == 2);                                      // cpuid
  CHECK(length_of({0x0f, 0x84, 0, 0, 0, 0}) == 6);                          // je
  CHECK(length_of({0xf2, 0x0f, 0x10, 0x44, 0x24, 8}) == 6);                 // movsd 8(%rsp),%xmm0
  CHECK(length_of({0x66, 0x0f, 0x70, 0xc0, 0x1b}) == 5);                    // pshufd
  CHECK(length_of({0x66, 0x0f, 0x3a, 0x0f, 0xc1, 8}) == 6);                 // palignr
  CHECK(length_of({0x66, 0x0f, 0x38, 0x00, 0xc1}) == 5);                    // pshufb
  CHECK(length_of({0xc5, 0xf8, 0x77}) == 3);                                // vzeroupper
  CHECK(length_of({0xc4, 0xe3, 0x7d, 0x39, 0xc1, 1}) == 6);                 // vextracti128
  CHECK(length_of({0x62, 0xf1, 0x7c, 0x48, 0x10, 0x06}) == 6);              // vmovups (%rsi),%zmm0
  CHECK(length_of({0xf0, 0x0f, 0xb1, 0x57, 0x10}) == 5);                    // lock cmpxchg
  CHECK(length_of({0x2e, 0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0}) == 10);    // cs nopw
  CHECK(length_of({0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
                   0x66, 0x66}) == 0);
}

TEST_CASE("what lies between sp and the return address") {
  const unwind_rule leaf = rule_of({0xc3});
  CHECK(leaf.kind == rule_kind::offset);
  CHECK(leaf.reg == read_sp);
  CHECK(leaf.offset == 8);
  CHECK(leaf.fp == saved_register{});
  // add $24,%rsp; pop %rbx; pop %rbp; pop %r12; ret
  const unwind_rule frame = rule_of({0x48, 0x83, 0xc4, 0x18, 0x5b, 0x5d, 0x41, 0x5c, 0xc3});
  CHECK(frame.offset == 56);
  CHECK(frame.rbx_or_lr == saved_register{saved_at::cfa, -32});
  CHECK(frame.fp == saved_register{saved_at::cfa, -24});
  // The same from the begin: push %rbp; sub $16,%rsp; add $16,%rsp; pop %rbp; ret
  const unwind_rule whole =
      rule_of({0x55, 0x48, 0x83, 0xec, 0x10, 0x48, 0x83, 0xc4, 0x10, 0x5d, 0xc3});
  CHECK(whole.offset == 8);
  CHECK(whole.fp == saved_register{});
  // lea 8(%rsp),%rsp; ret $0
  CHECK(rule_of({0x48, 0x8d, 0x64, 0x24, 0x08, 0xc2, 0, 0}).offset == 16);
}

TEST_CASE("which pop brings the caller's register back") {
  // pop %rbx; pop %rbx; ret: the last one
  const unwind_rule twice = rule_of({0x5b, 0x5b, 0xc3});
  CHECK(twice.offset == 24);
  CHECK(twice.rbx_or_lr == saved_register{saved_at::cfa, -16});
  // push %rbx; add $8,%rsp; pop %rbx; ret: what was pushed was dropped
  const unwind_rule dropped = rule_of({0x53, 0x48, 0x83, 0xc4, 0x08, 0x5b, 0xc3});
  CHECK(dropped.offset == 16);
  CHECK(dropped.rbx_or_lr == saved_register{saved_at::cfa, -16});
  // push $1; pop %rbx; pop %rbp; ret: a number, then the caller's
  const unwind_rule number = rule_of({0x6a, 0x01, 0x5b, 0x5d, 0xc3});
  CHECK(number.offset == 16);
  CHECK(number.rbx_or_lr == saved_register{});
  CHECK(number.fp == saved_register{saved_at::cfa, -16});
  // pop %rcx; push %rdi; pop %rbx; ret: pushed where the frame had been
  CHECK(rule_of({0x59, 0x57, 0x5b, 0xc3}).rbx_or_lr == saved_register{});
  // pop %rbx; leave; ret: where sp was is not known from fp
  const unwind_rule left = rule_of({0x5b, 0xc9, 0xc3});
  CHECK(left.reg == read_fp);
  CHECK(left.rbx_or_lr == saved_register{});
  CHECK(left.fp == saved_register{saved_at::cfa, -16});
}

TEST_CASE("frames that end by their frame pointer") {
  const unwind_rule by_leave = rule_of({0xc9, 0xc3});
  CHECK(by_leave.reg == read_fp);
  CHECK(by_leave.offset == 16);
  CHECK(by_leave.fp == saved_register{saved_at::cfa, -16});
  // lea -8(%rbp),%rsp; pop %rbx; pop %rbp; ret
  const unwind_rule by_lea = rule_of({0x48, 0x8d, 0x65, 0xf8, 0x5b, 0x5d, 0xc3});
  CHECK(by_lea.reg == read_fp);
  CHECK(by_lea.offset == 16);
  CHECK(by_lea.rbx_or_lr == saved_register{saved_at::cfa, -24});
  // push %rbp; mov %rsp,%rbp; and $-16,%rsp; leave; ret
  const unwind_rule begin = rule_of({0x55, 0x48, 0x89, 0xe5, 0x48, 0x83, 0xe4, 0xf0, 0xc9, 0xc3});
  CHECK(begin.reg == read_sp);
  CHECK(begin.offset == 8);
  CHECK(begin.fp == saved_register{});
  // leave; jmp to: push %rbp; mov %rsp,%rbp; leave; ret
  const unwind_rule both = rule_of({0xc9, 0xe9, 0, 0, 0, 0, 0x55, 0x48, 0x89, 0xe5, 0xc9, 0xc3});
  CHECK(both.kind == rule_kind::offset);
  CHECK(both.reg == read_fp);
  CHECK(both.offset == 16);
  CHECK(both.fp == saved_register{saved_at::cfa, -16});
}

TEST_CASE("branches, tail calls and loops lead to the same end") {
  // je over hlt; pop %rbx; ret
  CHECK(rule_of({0x74, 0x01, 0xf4, 0x5b, 0xc3}).offset == 16);
  // jmp 2 further; (skipped); pop %rax; ret
  CHECK(rule_of({0xeb, 0x02, 0x0f, 0x0b, 0x58, 0xc3}).offset == 16);
  // pop %rax; jmp to: push %rbp; pop %rbp; ret - another function's frame is not this one's
  const unwind_rule tail = rule_of({0x58, 0xe9, 0, 0, 0, 0, 0x55, 0x5d, 0xc3});
  CHECK(tail.offset == 16);
  CHECK(tail.fp == saved_register{});
  // test; jne back to the begin; call; pop %rcx; ret
  CHECK(rule_of({0x85, 0xc0, 0x75, 0xfc, 0xe8, 0, 0, 0, 0, 0x59, 0xc3}).offset == 16);
}

TEST_CASE("code that never returns says so") {
  CHECK(rule_of({0xeb, 0xfe}).reg == never_returns);                          // for (;;)
  CHECK(rule_of({0x89, 0xc7, 0x0f, 0x05, 0xf4}).reg == never_returns);        // exit; hlt
  // call exit; padding; the next function
  CHECK(rule_of({0xe8, 0, 0, 0, 0, 0x0f, 0x1f, 0x00, 0x5d, 0xc3}).reg == never_returns);
  CHECK(rule_of({0xff, 0xd0, 0x66, 0x90, 0x5d, 0xc3}).reg == never_returns);
}

TEST_CASE("what cannot be followed gives no rule") {
  CHECK(rule_of({}).kind == rule_kind::none);
  CHECK(rule_of({0xff, 0xe0}).kind == rule_kind::none);                        // jmp *%rax
  CHECK(rule_of({0x48, 0x29, 0xc4, 0xc3}).kind == rule_kind::none);            // sub %rax,%rsp; ret
  CHECK(rule_of({0x48, 0x83, 0xe4, 0xf0, 0xc3}).kind == rule_kind::none);      // and $-16,%rsp; ret
  CHECK(rule_of(bytes(4000, 0x90)).kind == rule_kind::none);                   // past the budget
  CHECK(rule_of(bytes(64, 0x40)).kind == rule_kind::none);
}

TEST_CASE("any bytes at all: every walk through them ends") {
  std::uint64_t seed = 12345;
  for (int round = 0; round < 20000; ++round) {
    bytes code(64);
    for (unsigned char& one : code) {
      seed = seed * 6364136223846793005u + 1442695040888963407u;
      one = static_cast<unsigned char>(seed >> 56);
    }
    const unwind_rule rule = rule_of(code);
    CHECK((rule.kind == rule_kind::none || rule.reg >= read_from_code));
  }
}

#endif
