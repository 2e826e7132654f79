// tests/unit/unwind/aarch64_test.cpp - what is aarch64's own: call instructions, signed addresses, PLT code,
// rules of the link register, and walks by them over made-up stacks. tests/elsewhere runs it.

#include "prof/unwind/unwind.hpp"

#include "prof/unwind/cfi_program.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <map>
#include <vector>

#include "cfi_bytes.hpp"

#if defined(__aarch64__) && PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using word = std::uintptr_t;

constexpr word text = 0x5500000000;
constexpr word stack = 0x7ffff000;
constexpr word signature = word{0x56} << 56;  // as a PAC lies above 48 bits

constexpr std::uint32_t nop = 0xd503201f;
constexpr std::uint32_t blr_x0 = 0xd63f0000;
constexpr std::uint32_t br_x17 = 0xd61f0220;
constexpr std::uint32_t bti_c = 0xd503245f;
constexpr std::uint32_t stub_adrp = 0x90000010;
constexpr std::uint32_t stub_load = 0xf9400211;
constexpr std::uint32_t stub_add = 0x91000210;
constexpr std::uint32_t stub_store = 0xa9bf7bf0;

// Everything that was not put is unreadable.
struct fake_memory {
  std::map<word, unsigned char> bytes;

  void put(word address, word value, unsigned size = 8) {
    for (unsigned i = 0; i < size; ++i) {
      bytes[address + i] = static_cast<unsigned char>(value >> (8 * i));
    }
  }
  void put_code(word address, std::initializer_list<std::uint32_t> instructions) {
    for (const std::uint32_t one : instructions) put(address, one, 4), address += 4;
  }
  bool read_copy(word at, word& to) const { return read_word(at, to); }
  bool read_word(word address, word& value) const {
    value = 0;
    for (unsigned i = 0; i < 8; ++i) {
      const auto found = bytes.find(address + i);
      if (found == bytes.end()) return false;
      value |= word{found->second} << (8 * i);
    }
    return true;
  }
};

struct fake_code {
  std::map<word, unwind_rule> rules;  // by the begin of a function, each 0x1000 long
  bool knows_begins = false;          // of functions without a rule, too

  const unwind_rule* find(word pc) const {
    const auto found = rules.find(pc & ~word{0xfff});
    return found == rules.end() ? nullptr : &found->second;
  }
  bool is_never_unloaded_sig(word address) const noexcept { return (address & 0x1000) == 0; }
  bool contains(word address) const { return address >= text && address < text + 0x10000; }
  bool known_rule_sig(word return_address, code_rule& found) const {
    const unwind_rule* const known = find(return_address - 1);
    if (known != nullptr) found = {pack_rule_sig(*known), 0};
    return known != nullptr;
  }
  code_rule rule_at_sig(word pc, bool is_return, fake_memory& memory) const {
    const unwind_rule* const known = find(is_return ? pc - 1 : pc);
    if (known != nullptr) return {pack_rule_sig(*known), 0};
    if (!os_is_signal_return_sig(pc, memory)) return {};
    return {static_cast<packed_rule>(rule_kind::signal_frame) | (is_return ? packed_is_exact : 0), 0};
  }
  unwind_rule unpack_sig(packed_rule, word pc, fake_memory&) const {
    const unwind_rule* const known = find(pc);
    return known != nullptr ? *known : unwind_rule{};
  }
  unwind_rule interpret_sig(word, fake_memory&) const { return {}; }
  word function_start_sig(word pc, fake_memory&) const {
    return knows_begins || find(pc) != nullptr ? pc & ~word{0xfff} : 0;
  }
};

// CFA = sp + size; {fp, lr} at its lower end, or nothing saved.
unwind_rule rule_of(std::int32_t size, bool saved = true) {
  unwind_rule rule;
  rule.kind = rule_kind::offset;
  rule.reg = dwarf_sp;
  rule.offset = size;
  if (saved) rule.fp = {saved_at::cfa, -size};
  if (saved) rule.rbx_or_lr = {saved_at::cfa, -size + 8};
  return rule;
}
unwind_rule root_rule() {
  unwind_rule rule;
  rule.kind = rule_kind::end;
  return rule;
}

struct fixture {
  fake_memory memory;
  fake_code code;
  std::vector<word> frames;
  walked_stack walked;

  fixture() {
    for (word at = text; at < text + 0x10000; at += 4) memory.put(at, nop, 4);
    for (word at = stack; at < stack + 0x2000; at += 8) memory.put(at, 0);
  }
  static word function(unsigned n) { return text + 0x1000 * n; }
  // Puts `bl` into function n; what it returns to.
  word call(unsigned n, word target, word at = 0x20) {
    const word from = function(n) + at;
    memory.put(from, 0x94000000 | ((target - from) >> 2 & 0x3ffffff), 4);
    return from + 4;
  }
  void record(word at, word fp, word lr) {
    memory.put(at, fp);
    memory.put(at + 8, lr);
  }
  void walk(word pc, word sp, word fp, word lr) {
    registers start;
    start.pc = pc;
    start.sp = sp;
    start.fp = fp;
    start.rbx_or_lr = lr;
    frames.assign(32, 0);
    stack_walk<fake_memory, fake_code> walker(memory, code, frames.data(), frames.size());
    walked = walker.run_sig(start, false);
    frames.resize(walked.depth);
  }
  bool is(std::initializer_list<word> expected) const {
    return frames == std::vector<word>(expected) && !walked.truncated && !walked.approximate;
  }
};

bool stub(fixture& f, word pc, word& depth) {
  return call_tracer<fake_memory>(f.memory).stub_depth_sig(pc, depth);
}

unwind_rule only_rule(const cfi_text& instructions) {
  cie_text cie;
  cie.code_align = 4;
  cie.return_register = dwarf_rbx_or_lr;
  cie.instructions = {0x0c, dwarf_sp, 0};
  cfi_section_text section;
  section.cie(cie);
  const std::size_t entry = section.fde(text, 0x1000, instructions);
  cfi_scratch scratch;
  REQUIRE(parse_fde_sig(section.at(entry), section.section(), scratch.fde));
  return find_row_sig(scratch, text);
}

}  // namespace

// ---- code ----------------------------------------------------------------------------------------

TEST_CASE("aarch64: calls before a return address") {
  const auto call_at = [](std::uint32_t instruction) {
    return call_before_sig(text, std::uint64_t{instruction} << 32 | nop);
  };
  CHECK(call_at(0x94000001).kind == call_kind::direct);  // bl .+4
  CHECK(call_at(0x94000001).target == text);
  CHECK(call_at(0x97ffffff).target == text - 8);
  CHECK(call_at(0x95ffffff).target == text - 4 + 0x7fffffc);
  CHECK(call_at(0x96000000).target == text - 4 - 0x8000000);
  for (const std::uint32_t indirect : {0xd63f0000u, 0xd63f03c0u, 0xd73f0a11u, 0xd63f081fu, 0xd63f0c1fu}) {
    CAPTURE(indirect);
    CHECK(call_at(indirect).kind == call_kind::indirect);  // blr, blraa, blraaz, blrabz
  }
  for (const std::uint32_t other : {nop, br_x17, 0x14000001u, 0xd65f03c0u, 0xd65f0bffu, 0u, ~0u}) {
    CAPTURE(other);
    CHECK(call_at(other).kind == call_kind::none);  // b, ret, retaa among them
  }
  CHECK(call_before_sig(text, blr_x0).kind == call_kind::none);  // one instruction too early
}

TEST_CASE("aarch64: the code of a signed address is stripped") {
  CHECK(strip_address_sig(text | signature) == text);
  CHECK(strip_address_sig(text | word{1} << 48) == text);
  CHECK(strip_address_sig(0x0000ffffffffffff) == 0x0000ffffffffffff);
}

TEST_CASE("aarch64: a PLT's entries, in which lr is the caller's") {
  fixture f;
  const std::uint32_t bti = 0xd503245f;
  const std::uint32_t autia1716 = 0xd503219f;
  f.memory.put_code(text, {bti, stub_store, stub_adrp, stub_load, stub_add, br_x17, nop, nop});
  f.memory.put_code(text + 32, {stub_adrp, stub_load, stub_add, br_x17});
  f.memory.put_code(text + 48, {bti, stub_adrp, stub_load, stub_add, autia1716, br_x17});
  word depth = 99;
  for (word at = 0; at < 72; at += 4) {
    CAPTURE(at);
    const bool inside = at != 24 && at != 28;
    CHECK(stub(f, text + at, depth) == inside);
    if (inside) CHECK(depth == (at >= 8 && at < 24 ? 16 : 0));
  }
}

TEST_CASE("aarch64: other code is no PLT's") {
  fixture f;
  word depth = 0;
  CHECK_FALSE(stub(f, text + 0x100, depth));
  f.memory.put_code(text + 0x100, {br_x17});  // as a tail call
  CHECK_FALSE(stub(f, text + 0x100, depth));
  f.memory.put_code(text + 0x200, {stub_adrp, stub_load, stub_add, nop, br_x17});
  CHECK_FALSE(stub(f, text + 0x200, depth));
  f.memory.put_code(text + 0x300, {stub_adrp, stub_add, br_x17});
  CHECK_FALSE(stub(f, text + 0x300, depth));
  CHECK_FALSE(stub(f, 0x1000, depth));
}

// ---- rules ---------------------------------------------------------------------------------------

TEST_CASE("aarch64: rules of the link register") {
  CHECK(only_rule({}) == rule_of(0, false));
  CHECK(only_rule({0x0e, 32, 0x9d, 4, 0x9e, 3}) == rule_of(32));
  CHECK(only_rule({0x2d, 0x0e, 32, 0x9d, 4, 0x9e, 3}) == rule_of(32));  // negate_ra_state
  CHECK(only_rule({0x07, dwarf_rbx_or_lr}).kind == rule_kind::end);
}

TEST_CASE("aarch64: a PLT's first entry pushed what lies above the CFA of _dl_runtime_resolve") {
  // As in glibc 2.36: cfi_rel_offset (lr, 8) at its begin, and 208 bytes later.
  unwind_rule rule = rule_of(16, false);
  rule.rbx_or_lr = {saved_at::cfa, -8};
  CHECK(only_rule({0x11, dwarf_rbx_or_lr, 0x7f}) == rule);
  rule.offset = 224;
  CHECK(only_rule({0x11, dwarf_rbx_or_lr, 0x7f, 0x0e, 0xd0, 0x01}) == rule);
  rule.fp = {saved_at::cfa, -32};
  CHECK(only_rule({0x11, dwarf_rbx_or_lr, 0x7f, 0x0e, 0xd0, 0x01, 0x9d, 2}) == rule);
}

TEST_CASE("aarch64: what else has lr above the CFA is no call's frame") {
  CHECK(only_rule({0x11, dwarf_rbx_or_lr, 0}).kind == rule_kind::unsupported);
  CHECK(only_rule({0x11, dwarf_rbx_or_lr, 0x7e}).kind == rule_kind::unsupported);
  CHECK(only_rule({0x0c, 0, 0, 0x11, dwarf_rbx_or_lr, 0x80, 0x7f}).kind == rule_kind::unsupported);  // setcontext
}

TEST_CASE("aarch64: a frame of any size whose registers lie next to sp is packed") {
  for (const std::int32_t size : {16, 32768, 32784, 716832, 0x7ffff0}) {
    CAPTURE(size);
    const packed_rule packed = pack_rule_sig(rule_of(size));
    CHECK(kind_of_sig(packed) == rule_kind::offset);
    CHECK(unpack_rule_sig(packed) == rule_of(size));
  }
  CHECK(pack_rule_sig(rule_of(0x800000)) == static_cast<packed_rule>(rule_kind::unpackable));
  unwind_rule apart = rule_of(716832);  // one at either end
  apart.fp.offset = -16;
  CHECK(pack_rule_sig(apart) == static_cast<packed_rule>(rule_kind::unpackable));
  apart.rbx_or_lr = {saved_at::fp, 32768};
  apart.fp.offset = -716832;
  CHECK(pack_rule_sig(apart) == static_cast<packed_rule>(rule_kind::unpackable));
}

// ---- walks ---------------------------------------------------------------------------------------

TEST_CASE("aarch64: a leaf without a frame is left through the link register") {
  fixture f;
  const word a = f.call(1, f.function(0));
  const word b = f.call(2, f.function(1));
  f.code.rules = {{f.function(0), rule_of(0, false)}, {f.function(1), rule_of(32)},
                  {f.function(2), root_rule()}};
  f.record(stack, 0, b | signature);
  for (const word sign : {word{0}, signature}) {
    f.walk(f.function(0) + 8, stack, 0, a | sign);
    CHECK(f.is({f.function(0) + 8, a - 1, b - 1}));
  }
}

TEST_CASE("aarch64: a large frame is left, by who was interrupted in it and by who called from it") {
  fixture f;
  constexpr std::int32_t size = 0x10000;
  const word a = f.call(1, f.function(0));
  const word b = f.call(2, f.function(1));
  f.code.rules = {{f.function(0), rule_of(size)}, {f.function(1), rule_of(size)},
                  {f.function(2), root_rule()}};
  f.record(stack, stack + size, a);
  f.record(stack + size, 0, b);
  f.walk(f.function(0) + 8, stack, stack, 0);
  CHECK(f.is({f.function(0) + 8, a - 1, b - 1}));
}

TEST_CASE("aarch64: only what was interrupted may have no frame") {
  fixture f;
  const word a = f.call(1, f.function(0));
  f.code.rules = {{f.function(0), rule_of(0, false)}, {f.function(1), rule_of(0, false)}};
  f.walk(f.function(0) + 8, stack, 1, a);
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, a - 1, truncation_mark});
}

TEST_CASE("aarch64: frame records lead to the root, signed or not, where no rule is known") {
  fixture f;
  const word a = f.call(1, f.function(0));
  const word b = f.call(2, f.function(1));
  f.record(stack + 0x20, stack + 0x80, a | signature);
  f.record(stack + 0x80, 0, b);
  f.walk(f.function(0) + 8, stack + 0x20, stack + 0x20, a);
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, a - 1, b - 1});
  CHECK(f.walked.approximate);  // the calls may lead to functions before these
  f.code.knows_begins = true;
  f.walk(f.function(0) + 8, stack + 0x20, stack + 0x20, a);  // its own record is there
  CHECK(f.is({f.function(0) + 8, a - 1, b - 1}));
  f.record(stack + 0x20, 0, 0);  // it is not there yet
  f.walk(f.function(0) + 8, stack, stack + 0x80, a | signature);
  CHECK(f.is({f.function(0) + 8, a - 1, b - 1}));
}

TEST_CASE("aarch64: a link register that follows no call is not believed") {
  fixture f;
  const word a = f.call(1, f.function(0));
  f.record(stack + 0x20, 0, a);
  f.code.knows_begins = true;
  f.walk(f.function(0) + 8, stack, stack + 0x20, f.function(3));
  CHECK(f.is({f.function(0) + 8, a - 1}));
}

TEST_CASE("aarch64: a signal's frame has the registers of what it interrupted, all of them") {
  fixture f;
  const word trampoline = f.function(9);
  f.memory.put(trampoline, signal_return_code);
  const word a = f.call(1, f.function(0));
  const word b = f.call(2, f.function(1));
  f.code.rules = {{f.function(0), rule_of(0, false)}, {f.function(1), rule_of(32)},
                  {f.function(2), root_rule()}, {f.function(5), rule_of(16)}};
  f.record(stack, stack + 0x1200, trampoline);  // the handler's
  const word machine = stack + 16 + signal_context_offset + offsetof(ucontext_t, uc_mcontext);
  f.memory.put(machine + offsetof(mcontext_t, regs) + 30 * 8, a | signature);
  f.memory.put(machine + offsetof(mcontext_t, sp), stack + 0x1800);
  f.memory.put(machine + offsetof(mcontext_t, pc), f.function(0));
  f.record(stack + 0x1800, 0, b);
  f.walk(f.function(5) + 8, stack, stack, 0);
  CHECK(f.is({f.function(5) + 8, trampoline, f.function(0), a - 1, b - 1}));
}

TEST_CASE("aarch64: in a PLT's first entry sp is lower by a pair") {
  fixture f;
  const word plt = f.function(3);
  f.memory.put_code(plt, {stub_store, stub_adrp, stub_load, stub_add, br_x17});
  const word a = f.call(1, plt + 32);
  const word b = f.call(2, f.function(1));
  f.code.rules = {{f.function(1), rule_of(32)}, {f.function(2), root_rule()}};
  f.record(stack + 16, stack + 0x100, b);
  f.walk(plt, stack + 16, stack + 16, a);
  CHECK(f.is({plt, a - 1, b - 1}));
  for (word at = 4; at < 20; at += 4) {
    CAPTURE(at);
    f.walk(plt + at, stack, stack + 16, a);
    CHECK(f.is({plt + at, a - 1, b - 1}));
  }
}

TEST_CASE("aarch64: a function that calls itself through the PLT is there twice") {
  fixture f;
  const word plt = f.function(3);
  f.memory.put_code(plt, {stub_adrp, stub_load, stub_add, br_x17});
  const word a = f.call(1, plt);
  const word b = f.call(2, f.function(1));
  f.code.rules = {{f.function(1), rule_of(32)}, {f.function(2), root_rule()}};
  f.record(stack, stack + 32, a);
  f.record(stack + 32, stack + 0x100, b);
  f.walk(plt + 4, stack, stack, a);
  CHECK(f.is({plt + 4, a - 1, a - 1, b - 1}));
}

TEST_CASE("aarch64: where a PLT's entry and a jump lead") {
  fixture f;
  const auto target = [&f](word at) { return call_tracer<fake_memory>(f.memory).jump_target_sig(at); };
  const word slot = text + 0x8018;
  f.memory.put(slot, f.function(1));
  constexpr std::uint32_t five_pages_up = stub_adrp | 1u << 29 | 1u << 5;
  constexpr std::uint32_t one_page_down = 0xf0fffff0;  // adrp x16, -1
  constexpr std::uint32_t third_word = stub_load | 3u << 10;
  f.memory.put_code(text + 0x3ff0, {five_pages_up, third_word, stub_add, br_x17});
  CHECK(target(text + 0x3ff0) == f.function(1));
  f.memory.put_code(text + 0x3ffc, {bti_c, five_pages_up, third_word, stub_add, br_x17});  // the next page's adrp
  f.memory.put(slot + 0x1000, f.function(2));
  CHECK(target(text + 0x3ffc) == f.function(2));
  f.memory.put_code(text + 0x9000, {one_page_down, third_word, stub_add, br_x17});
  CHECK(target(text + 0x9000) == f.function(1));
  f.memory.put_code(text + 0x4100, {0x14000400, 0x17fffbff});  // b .+0x1000, b .-0x1004
  CHECK(target(text + 0x4100) == text + 0x5100);
  CHECK(target(text + 0x4104) == text + 0x3100);
  f.memory.put_code(text + 0x4200, {nop, five_pages_up, nop, 0xb0000011, third_word, 0x94000400});
  for (const word at : {0u, 4u, 12u, 16u, 20u}) CHECK(target(text + 0x4200 + at) == 0);
  f.memory.put_code(text + 0x4300, {stub_adrp | 0x7fu << 5, third_word});  // its slot cannot be read
  CHECK(target(text + 0x4300) == 0);
}

// libgcc overwrites the registers that _Unwind_Resume saved by the landing function's, lr among them.
TEST_CASE("aarch64: a thrower's lr is another's already; its own is still in its frame") {
  fixture f;
  unwind_rule thrower = rule_of(0x60);
  thrower.is_eh_return = true;
  f.code.rules = {{f.function(0), thrower}, {f.function(1), rule_of(0x20)}, {f.function(2), rule_of(0x20)},
                  {f.function(3), root_rule()}};
  const word into_0 = f.call(1, f.function(5));  // through a stub
  const word into_1 = f.call(2, f.function(1));
  const word into_2 = f.call(3, f.function(2));
  f.memory.put_code(f.function(5), {stub_adrp | 1u << 29 | 1u << 5, stub_load, stub_add, br_x17});
  f.memory.put(f.function(10), f.function(0));  // its slot, five pages up
  f.record(stack + 0x60, stack + 0x80, into_1);
  f.record(stack + 0x80, stack + 0xa0, into_2);
  f.memory.put(stack + 0x28, into_0);  // _Unwind_Context.ra
  for (const word landing : {into_0, f.function(2) + 0x40}) {
    CAPTURE(landing);
    f.record(stack, stack + 0x60, landing | signature);
    f.walk(f.function(0) + 0x10, stack, stack, 0);
    CHECK(f.is({f.function(0) + 0x10, into_0 - 1, into_1 - 1, into_2 - 1}));
  }
}

TEST_CASE("aarch64: behind a call of its own, lr is no caller of a function without rules") {
  fixture f;
  const word inner = f.call(0, f.function(4));  // in the leaf itself
  const word b = f.call(2, f.function(0));
  f.code.rules = {{f.function(2), root_rule()}};
  f.record(stack, stack + 0x80, b);
  f.record(stack + 0x80, 0, 0);
  f.walk(inner + 4, stack, stack, inner);
  CHECK(f.walked.approximate);
}

TEST_CASE("aarch64: a word that a rule took for a return address and no call precedes is a guess") {
  fixture f;
  const word b = f.call(2, f.function(1));
  f.code.rules = {{f.function(0), rule_of(32)}, {f.function(2), root_rule()}};
  f.record(stack, stack + 0x80, 0x77);  // as in libgcc's uw_install_context
  f.record(stack + 0x80, 0, b);
  f.walk(f.function(0) + 8, stack, stack, b);
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, b - 1});  // 0x76 is no frame
  CHECK(f.walked.approximate);
}

#endif
