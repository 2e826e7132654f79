// tests/unit/unwind/unwind_test.cpp - walks over fake stacks and fake code, by rules and without.

#include "prof/unwind/unwind.hpp"

#include "prof/base/table.hpp"
#include "prof/process/anchor.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <map>
#include <vector>

#if defined(__x86_64__)

namespace {

using namespace prof::detail;

using word = std::uintptr_t;

// Memory as a few bytes here and there; everything else is unreadable.
struct fake_memory {
  std::map<word, unsigned char> bytes;
  std::uint64_t reads = 0;

  void put_bytes(word address, std::initializer_list<unsigned> values) {
    for (const unsigned value : values) bytes[address++] = static_cast<unsigned char>(value);
  }
  void put(word address, word value) {
    for (unsigned i = 0; i < 8; ++i) {
      bytes[address + i] = static_cast<unsigned char>(value >> (8 * i));
    }
  }
  void put_text(word address, word limit) {
    for (; address < limit; ++address) bytes.insert({address, 0x90});
  }
  word may_go = ~word{0};    // this page of text may be unloaded at any time
  std::uint64_t daring = 0;  // reads of it that would fault then
  bool read_copy(word at, word& to) {
    const std::uint64_t before = daring;
    const bool done = read_word(at, to);
    daring = before;
    return done;
  }
  bool read_word(word address, word& value) {
    ++reads;
    if (address >= may_go && address < may_go + 0x1000) ++daring;
    value = 0;
    for (unsigned i = 0; i < 8; ++i) {
      const auto found = bytes.find(address + i);
      if (found == bytes.end()) return false;
      value |= word{found->second} << (8 * i);
    }
    return true;
  }
};

// Rules hold from their address to the next one's; without any, nothing is known of the code.
struct fake_code {
  std::vector<std::pair<word, word>> ranges;
  std::map<word, packed_rule> rules;
  std::map<word, unwind_rule> interpreted;
  std::vector<word> starts;
  std::vector<word> asked_to_interpret;
  bool cached = false;  // the rules of all return addresses

  range_number number = 0;  // of all code
  std::uint16_t lookups = 0;  // for each rule that is not quickly known

  bool known_rule_sig(word return_address, code_rule& known) const {
    const auto next = rules.upper_bound(return_address - 1);
    if (!cached || next == rules.begin()) return false;
    known = {std::prev(next)->second, number};
    return true;
  }
  code_rule rule_at_sig(word pc, bool is_return, fake_memory&) const {
    const auto next = rules.upper_bound(is_return ? pc - 1 : pc);
    return {next == rules.begin() ? 0 : std::prev(next)->second, number, static_cast<std::uint16_t>(cached ? 0 : 1), lookups};
  }
  unwind_rule unpack_sig(packed_rule, word pc, fake_memory& memory) { return interpret_sig(pc, memory); }
  unwind_rule interpret_sig(word pc, fake_memory&) {
    asked_to_interpret.push_back(pc);
    const auto next = interpreted.upper_bound(pc);
    return next == interpreted.begin() ? unwind_rule{} : std::prev(next)->second;
  }
  word function_start_sig(word pc, fake_memory&) const {
    word found = 0;
    for (const word start : starts) found = start <= pc && start > found ? start : found;
    return found;
  }
  bool is_never_unloaded_sig(word address) const noexcept { return (address & 0x1000) == 0; }
  bool contains(word address) const {
    for (const auto& range : ranges) {
      if (address >= range.first && address < range.second) return true;
    }
    return false;
  }
};

constexpr word mark = truncation_mark;

// A program: text at 0x400000, functions every 0x1000, stack at 0x7000000.
constexpr word text = 0x400000;
constexpr word stack = 0x7000000;

unwind_rule rule_of(rule_kind kind, unsigned reg, std::int32_t offset, std::int32_t added = 0) {
  unwind_rule rule;
  rule.kind = kind;
  rule.reg = reg;
  rule.offset = offset;
  rule.added = added;
  return rule;
}

struct fixture {
  fake_memory memory;
  fake_code code;
  std::vector<word> frames;
  walked_stack walked;

  fixture() {
    code.ranges.push_back({text, text + 0x20000});
    memory.put_text(text, text + 0x20000);
  }
  static word function(unsigned n) { return text + 0x1000 * n; }
  void know_functions() {
    for (unsigned n = 0; n < 0x20; ++n) code.starts.push_back(function(n));
  }
  // Writes `call target` inside function n; returns the return address.
  word call(unsigned n, word target, word at = 0x20) {
    const word ra = function(n) + at + 5;
    const auto offset = static_cast<std::uint32_t>(target - ra);
    memory.put_bytes(ra - 5,
                     {0xe8, offset & 0xff, offset >> 8 & 0xff, offset >> 16 & 0xff, offset >> 24});
    return ra;
  }
  word indirect_call(unsigned n, word at = 0x40) {  // call *%rax
    memory.put_bytes(function(n) + at, {0xff, 0xd0});
    return function(n) + at + 2;
  }
  void record(word fp, word next_fp, word ra) {
    memory.put(fp, next_fp);
    memory.put(fp + 8, ra);
  }
  void walk(const registers& start, std::size_t capacity = 64, bool leaf_is_return = false) {
    code.cached = true;
    const walked_stack before = walk_once(start, capacity, leaf_is_return);
    const std::vector<word> frames_before = frames;
    code.cached = false;
    walked = walk_once(start, capacity, leaf_is_return);
    CHECK(frames == frames_before);
    CHECK(walked.approximate == before.approximate);
    CHECK(walked.truncated == before.truncated);
    check_numbers(start, capacity, leaf_is_return);
  }
  // Every frame has its code's number, whichever way its rule was found.
  void check_numbers(const registers& start, std::size_t capacity, bool leaf_is_return) {
    const std::vector<word> plain = frames;
    code.number = 5;
    for (const bool cached : {true, false}) {
      code.cached = cached;
      walk_once(start, capacity, leaf_is_return);
      REQUIRE(frames.size() == plain.size());
      for (std::size_t i = 0; i < frames.size(); ++i) {
        CHECK(frames[i] == (plain[i] == mark ? mark : make_frame_sig(plain[i], 5)));
      }
    }
    code.number = 0;
    frames = plain;
  }
  // Without the mark that the root was not reached.
  std::size_t found() const {
    return frames.empty() || frames.back() != mark ? frames.size() : frames.size() - 1;
  }
  walked_stack walk_once(const registers& start, std::size_t capacity, bool leaf_is_return) {
    memory.reads = 0;
    code.asked_to_interpret.clear();
    frames.assign(capacity + 8, 0xdead);
    stack_walk<fake_memory, fake_code> walker(memory, code, frames.data(), capacity);
    const walked_stack found = walker.run_sig(start, leaf_is_return);
    for (std::size_t i = capacity; i < frames.size(); ++i) CHECK(frames[i] == 0xdead);
    REQUIRE(found.depth <= capacity);
    frames.resize(found.depth);
    return found;
  }
};

registers at(word pc, word sp, word fp) {
  registers r;
  r.pc = pc;
  r.sp = sp;
  r.fp = fp;
  return r;
}

}  // namespace

// ---- frame records ------------------------------------------------------------------------------

TEST_CASE("a chain of frame records is followed to its root") {
  fixture f;
  f.know_functions();
  const word a = f.call(1, f.function(0));
  const word b = f.call(2, f.function(1));
  const word c = f.call(3, f.function(2));
  f.record(stack + 0x100, stack + 0x200, a);
  f.record(stack + 0x200, stack + 0x300, b);
  f.record(stack + 0x300, 0, c);
  f.walk(at(f.function(0) + 8, stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, a - 1, b - 1, c - 1});
  CHECK_FALSE(f.walked.approximate);
  CHECK_FALSE(f.walked.truncated);
}

// A call to somewhere before it may enter another function that keeps frame pointers, which called this one.
TEST_CASE("a frame record of a function whose begin is not known makes the stack approximate") {
  fixture f;
  const word a = f.call(1, f.function(0));
  f.record(stack + 0x100, 0, a);
  f.walk(at(f.function(0) + 8, stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, a - 1});
  CHECK(f.walked.approximate);
  f.know_functions();
  f.walk(at(f.function(0) + 8, stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, a - 1});
  CHECK_FALSE(f.walked.approximate);
}

TEST_CASE("whether a word is a return address is not asked of memory that may go") {
  fixture f;
  const word a = f.call(1, f.function(0));  // the page of function 1 is not code that stays
  f.memory.may_go = f.function(1);
  f.record(stack + 0x100, 0, a);
  f.walk(at(f.function(0) + 8, stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, a - 1});
  CHECK(f.memory.daring == 0);
}

TEST_CASE("a frame record that an indirect call left is believed, and the stack is approximate") {
  fixture f;
  const word a = f.indirect_call(1);
  const word b = f.call(2, f.function(1));
  f.record(stack + 0x100, stack + 0x200, a);
  f.record(stack + 0x200, 0, b);
  f.walk(at(f.function(0) + 8, stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, a - 1, b - 1});
  CHECK(f.walked.approximate);
  CHECK_FALSE(f.walked.truncated);
}

// Code that keeps no record, with a frame that no scan reaches across: fp is its caller's.
TEST_CASE("a caller that a frame record leaves out makes the stack approximate") {
  fixture f;
  const word caller = f.call(1, f.function(0));
  const word beyond = f.call(2, f.function(1));
  for (word at = stack; at < stack + 0x400; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 0x200, caller);
  f.record(stack + 0x300, 0, beyond);
  f.walk(at(f.function(0) + 8, stack, stack + 0x300));
  CHECK(f.frames == std::vector<word>{f.function(0) + 8, beyond - 1});
  CHECK(f.walked.approximate);
}

TEST_CASE("a register that is 0 where nothing leads on is the root, approximately") {
  fixture f;
  const word caller = f.call(1, f.function(0));
  for (word at = stack; at < stack + 0x1000; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 8, caller);
  f.walk(at(f.function(0) + 4, stack, 0));
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, caller - 1});
  CHECK(f.walked.approximate);
  CHECK_FALSE(f.walked.truncated);
}

TEST_CASE("an address that no frame has room for takes no range's number") {
  fixture f;
  f.walk_once(at(word{3} << frame_address_bits | 0x1234, stack, 0), 8, false);
  REQUIRE(!f.frames.empty());
  CHECK(f.frames[0] == 0x1234);
}

TEST_CASE("a leaf that is a return address is stored as its call") {
  fixture f;
  f.walk(at(f.function(0) + 8, stack, 0), 8, true);
  CHECK(f.frames == std::vector<word>{f.function(0) + 7, mark});
}

TEST_CASE("fp 0 in the registers: only the leaf") {
  fixture f;
  f.walk(at(f.function(0), stack + 0x100, 0));
  CHECK(f.frames == std::vector<word>{f.function(0), mark});
  CHECK(f.walked.truncated);
}

TEST_CASE("a frame pointer that goes down, stands still or is odd ends the walk") {
  for (const word next : {stack + 0x80, stack + 0x100, stack + 0x203}) {
    CAPTURE(next);
    fixture f;
    const word a = f.call(1, f.function(0));
    const word b = f.call(2, f.function(1));
    f.record(stack + 0x100, next, a);
    f.record(stack + 0x203, 0, b);
    f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
    CHECK(f.frames == std::vector<word>{f.function(0), a - 1, mark});
    CHECK(f.walked.truncated);
  }
}

TEST_CASE("a frame further away than the largest one is not believed") {
  fixture f;
  const word a = f.call(1, f.function(0));
  const word near = stack + max_frame_size;
  f.record(near, 0, a);
  f.walk(at(f.function(0), stack, near));
  CHECK(f.found() == 2);
  f.record(near + 8, 0, a);
  f.walk(at(f.function(0), stack, near + 8));
  CHECK(f.found() == 1);
}

TEST_CASE("a record below the stack pointer is not believed") {
  fixture f;
  const word elsewhere = f.call(1, f.function(9));
  f.record(stack + 0x100, 0, elsewhere);
  f.walk(at(f.function(0), stack + 0x110, stack + 0x100));
  CHECK(f.found() == 1);
  const word into_leaf = f.call(1, f.function(0));
  f.record(stack + 0x100, 0, into_leaf);
  f.walk(at(f.function(0), stack + 0x108, stack + 0x100));  // only the scan finds it
  CHECK(f.found() == 2);
  CHECK(f.walked.approximate);
}

TEST_CASE("records that point at each other cannot hold the walk") {
  fixture f;
  const word a = f.call(1, f.function(0));
  f.record(stack + 0x100, stack + 0x200, a);
  f.record(stack + 0x200, stack + 0x100, a);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100), 1024);
  CHECK(f.frames == std::vector<word>{f.function(0), a - 1, a - 1, mark});
  CHECK(f.walked.truncated);
}

TEST_CASE("unreadable records end the walk") {
  fixture f;
  const word a = f.call(1, f.function(0));
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));  // nothing mapped
  CHECK(f.found() == 1);
  f.record(stack + 0x100, stack + 0x200, a);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));  // the second one is missing
  CHECK(f.frames == std::vector<word>{f.function(0), a - 1, mark});
  f.memory.put(stack + 0x200, 0);  // only half of it
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0), a - 1, mark});
}

TEST_CASE("a return address that follows no call is not believed") {
  fixture f;
  f.record(stack + 0x100, 0, f.function(1) + 0x30);  // nops before it
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.found() == 1);
  f.record(stack + 0x100, 0, 0);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.found() == 1);
  f.record(stack + 0x100, 0, 5);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.found() == 1);
}

// A JIT compiler's code may keep frame pointers; what else follows a call by chance has no chain behind it.
TEST_CASE("a return address that is no file's code is believed only if its frame record leads on") {
  fixture f;
  const word outside = 0x600002;
  f.memory.put_text(outside - 8, outside + 8);
  f.memory.put_bytes(outside - 2, {0xff, 0xd0});  // call *%rax
  const word outer = f.call(1, f.function(0));
  f.record(stack + 0x100, stack + 0x200, outside);
  f.record(stack + 0x200, 0, outer);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0), outside - 1, outer - 1});
  f.record(stack + 0x100, stack + 0x80, outside);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0), mark});
}

TEST_CASE("the depth limit keeps both ends, marks what is missing and says so") {
  fixture f;
  const word ra = f.call(1, f.function(1));
  const word root = f.call(2, f.function(1));
  for (unsigned i = 0; i < 40; ++i) {
    const bool last = i == 39;
    f.record(stack + 0x100 + 16 * i, last ? 0 : stack + 0x110 + 16 * i, last ? root : ra);
  }
  const registers start = at(f.function(1), stack + 0x100, stack + 0x100);
  f.walk(start, 10);
  std::vector<word> wanted(10, ra - 1);
  wanted[0] = f.function(1);
  wanted[8] = mark;
  wanted[9] = root - 1;
  CHECK(f.frames == wanted);
  CHECK(f.walked.truncated);
  f.walk(start, 42);
  CHECK(f.walked.depth == 41);
  CHECK(f.frames[40] == root - 1);
  CHECK_FALSE(f.walked.truncated);
  f.walk(start, 41);
  CHECK(f.walked.depth == 41);
  CHECK_FALSE(f.walked.truncated);
  f.walk(start, 1);
  CHECK(f.frames == std::vector<word>{f.function(1)});
  CHECK(f.walked.truncated);
}

// A register that is no frame pointer may point to what another thread unmaps.
TEST_CASE("what no rule leads to is read by a copy, unless sp's page holds it") {
  for (const word page : {word{0}, word{0x1000}}) {
    CAPTURE(page);
    fixture f;
    const word first = f.call(2, f.function(1));
    f.code.rules[f.function(2)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
    f.code.rules[f.function(1)] = 0;
    f.memory.may_go = stack + page;
    f.record(stack + page + 0x100, stack + page + 0x200, first);
    f.memory.daring = 0;
    f.walk_once(at(f.function(1) + 0x20, stack + 0x40, stack + page + 0x100), 16, false);
    REQUIRE(f.frames.size() >= 2);
    CHECK(f.frames[1] == first - 1);
    CHECK((f.memory.daring != 0) == (page == 0));
  }
}

TEST_CASE("a scan leaves sp's page by copies") {
  fixture f;
  const word ra = f.call(2, f.function(1));
  f.know_functions();
  f.code.rules[f.function(2)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
  for (word i = 0xfc0; i < 0x1100; i += 8) f.memory.put(stack + i, 1);
  f.memory.put(stack + 0x1040, ra);
  f.memory.may_go = stack + 0x1000;
  f.memory.daring = 0;
  f.walk_once(at(f.function(1) + 0x20, stack + 0xfc0, 1), 16, false);
  REQUIRE(f.frames.size() >= 2);
  CHECK(f.frames[1] == ra - 1);
  CHECK(f.memory.daring == 0);
}

TEST_CASE("the walk ends somewhere, root or not") {
  fixture f;
  const word ra = f.call(1, f.function(1));
  const word most = walk_limits{}.frames + 100;
  for (word i = 0; i < most; ++i) f.record(stack + 0x100 + 16 * i, stack + 0x110 + 16 * i, ra);
  SUBCASE("by records") {}
  SUBCASE("by rules") { f.code.rules[f.function(1)] = pack_rule_sig(rule_of(rule_kind::offset, dwarf_sp, 16)); }
  f.walk(at(f.function(1), stack + 0x100, stack + 0x100), 16);
  CHECK(f.frames.back() == mark);
  CHECK(f.walked.truncated);
  CHECK(f.memory.reads >= 700);  // by records, in code that may go: the 192 that are allowed
  CHECK(f.memory.reads < 20000);
}

// A recursion of `frames` frames of `size` bytes whose root is function 2's.
static bool finds_root(fixture& f, word frames, word size = 16) {
  const word first = stack + 0x100;
  const word ra = f.call(1, f.function(1));
  for (word i = 0; i < frames; ++i) {
    const word at = first + size * i;
    f.record(at + size - 16, at + 2 * size - 16, ra);
    f.memory.put(at, at + size);  // also for a rule that reads its CFA
  }
  f.record(first + size * frames - 16, 0, f.call(2, f.function(1)));
  f.code.rules[f.function(2)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
  CHECK(f.walk_once(at(f.function(1), first, first + size - 16), 16, false).truncated);  // 16 are kept
  return f.frames.back() != mark;
}

TEST_CASE("a walk goes on as long as what it does is cheap") {
  struct {
    const char* what;
    rule_kind kind;
    bool cached;
    range_number number;
    std::uint16_t lookups;
    word most;
  } const cases[] = {
      {"by frame records, in a JIT", rule_kind::none, true, 0, 0, 12288 / 12},
      {"by frame records, in code that may go", rule_kind::none, true, 7, 0, 12288 / 64},
      {"by rules that the cache does not have", rule_kind::offset, false, 0, 0, 2048},
      {"the system is lookups at each", rule_kind::deref, true, 0, 1, 12288 / 7},
      {"by rules that are interpreted each time", rule_kind::unpackable, true, 0, 0, 12288 / 32},
  };
  for (const auto& one : cases) {
    for (const bool deeper : {false, true}) {
      CAPTURE(one.what);
      fixture f;
      f.code.cached = one.cached;
      f.code.number = one.number;
      f.code.lookups = one.lookups;
      const unwind_rule by_sp = rule_of(rule_kind::offset, dwarf_sp, 16);
      const unwind_rule by_word = rule_of(rule_kind::deref, dwarf_sp, 0);
      f.code.interpreted[f.function(1)] = by_sp;
      if (one.kind == rule_kind::offset) f.code.rules[f.function(1)] = pack_rule_sig(by_sp);
      if (one.kind == rule_kind::deref) f.code.rules[f.function(1)] = pack_rule_sig(by_word);
      if (one.kind == rule_kind::unpackable) f.code.rules[f.function(1)] = static_cast<packed_rule>(one.kind);
      CHECK(finds_root(f, deeper ? one.most + 20 : one.most - 20) == !deeper);
    }
  }
}

TEST_CASE("rules that are at hand cost nothing, also those that are not ordinary") {
  fixture f;
  f.code.cached = true;
  f.code.rules[f.function(1)] = pack_rule_sig(rule_of(rule_kind::deref, dwarf_sp, 0));
  CHECK(finds_root(f, 5000));
}

TEST_CASE("a walk reads no further than the pages that it may see") {
  std::uint64_t reads[2];
  for (const word more : {word{20}, word{3000}}) {
    fixture f;
    f.code.cached = true;
    f.code.rules[f.function(1)] = pack_rule_sig(rule_of(rule_kind::offset, dwarf_sp, 4096));
    CHECK_FALSE(finds_root(f, walk_limits{}.pages + more, 4096));
    reads[more == 20 ? 0 : 1] = f.memory.reads;
  }
  CHECK(reads[0] == reads[1]);
}

TEST_CASE("a huge frame behind many small ones has one page") {
  fixture f;
  f.code.cached = true;
  const word ra = f.call(1, f.function(1));
  const word frames = walk_limits{}.pages + 100;
  const word far = stack + 4096 * walk_limits{}.pages + 0x10000;
  for (word i = 0; i < frames; ++i) f.record(stack + 16 * i, 0, ra);
  f.memory.put(stack + 16 * (frames - 1) + 8, f.call(3, f.function(1)));
  f.record(far, 0, f.call(4, f.function(3)));
  f.record(far + 16, 0, f.call(2, f.function(4)));
  f.code.rules[f.function(1)] = f.code.rules[f.function(4)] = pack_rule_sig(rule_of(rule_kind::offset, dwarf_sp, 16));
  f.code.rules[f.function(3)] = pack_rule_sig(rule_of(rule_kind::offset, dwarf_fp, 16));
  f.code.rules[f.function(2)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
  f.walk_once(at(f.function(1), stack, far), 16, false);
  CHECK(f.frames.back() != mark);
}

TEST_CASE("a walk sees so many pages of a stack") {
  for (const bool ordinary : {false, true}) {
    for (const word more : {word{0}, word{20}}) {
      CAPTURE(ordinary);
      fixture f;
      f.code.cached = true;
      const unwind_rule rule = ordinary ? rule_of(rule_kind::offset, dwarf_sp, 4096) : rule_of(rule_kind::deref, dwarf_sp, 0);
      f.code.rules[f.function(1)] = pack_rule_sig(rule);
      CHECK(finds_root(f, walk_limits{}.pages - 10 + more, 4096) == (more == 0));
    }
  }
}

TEST_CASE("the root of a deep stack is found, up to so many frames") {
  std::uint64_t most_reads = 0;
  for (const word beyond : {word{0}, word{1}, word{1000}}) {
    CAPTURE(beyond);
    fixture f;
    const word ra = f.call(1, f.function(1));
    const word most = walk_limits{}.frames - 1 + beyond;
    for (word i = 0; i < most; ++i) f.record(stack + 0x100 + 16 * i, stack + 0x110 + 16 * i, ra);
    f.record(stack + 0x100 + 16 * (most - 1), stack + 0x100 + 16 * most, f.function(2) + 0x10);
    f.code.rules[f.function(1)] = pack_rule_sig(rule_of(rule_kind::offset, dwarf_sp, 16));
    f.code.rules[f.function(2)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
    f.code.cached = true;
    CHECK(f.walk_once(at(f.function(1), stack + 0x100, stack + 0x100), 16, false).truncated);
    CHECK((f.frames.back() == mark) == (beyond != 0));
    if (beyond == 0) CHECK(f.frames.back() == f.function(2) + 0xf);
    if (beyond == 1) most_reads = f.memory.reads;
    if (beyond == 1000) CHECK(f.memory.reads == most_reads);  // no further
    CHECK(f.memory.reads < 10 * walk_limits{}.frames);
  }
}

// ---- functions without a frame pointer ----------------------------------------------------------

TEST_CASE("a frameless leaf is bridged by the word that leads into it") {
  fixture f;
  const word into_leaf = f.call(1, f.function(0));  // pushed by the call, near sp
  const word outer = f.call(2, f.function(1));
  f.memory.put(stack, 0x1234);         // a local of the leaf
  f.memory.put(stack + 8, into_leaf);  // its return address
  for (word at = stack + 16; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.record(stack + 0x100, 0, outer);  // function 1's frame, fp untouched by the leaf
  f.walk(at(f.function(0) + 4, stack, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, into_leaf - 1, outer - 1});
  CHECK(f.walked.approximate);
}

TEST_CASE("a word that leads somewhere else is not taken for the bridge") {
  fixture f;
  f.know_functions();
  const word elsewhere = f.call(1, f.function(9));
  const word outer = f.call(2, f.function(0));
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 8, elsewhere);
  f.record(stack + 0x100, 0, outer);
  f.walk(at(f.function(0) + 4, stack, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, outer - 1});
  CHECK_FALSE(f.walked.approximate);
}

TEST_CASE("a call far before the leaf's code is not its entry") {
  fixture f;
  f.code.ranges[0].second = text + 0x40000;
  f.memory.put_text(text, text + 0x40000);
  const word into = f.call(1, f.function(2));
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 8, into);
  f.walk(at(f.function(2) + max_function_size - 1, stack, 0));
  CHECK(f.found() == 2);
  f.walk(at(f.function(2) + max_function_size, stack, 0));
  CHECK(f.found() == 1);
}

TEST_CASE("a direct call that leads elsewhere is not believed even next to sp") {
  fixture f;
  const word elsewhere = f.call(1, f.function(9));
  for (word at = stack; at < stack + 0x800; at += 8) f.memory.put(at, 0);
  f.memory.put(stack, elsewhere);
  f.walk(at(f.function(0) + 4, stack, 0));
  CHECK(f.found() == 1);
  const word proven = f.call(2, f.function(0));
  f.memory.put(stack + 16, proven);
  f.walk(at(f.function(0) + 4, stack, 0));
  REQUIRE(f.found() >= 2);
  CHECK(f.frames[1] == proven - 1);
}

TEST_CASE("an indirect call is believed only next to the stack pointer") {
  for (std::size_t slot = 0; slot < 10; ++slot) {
    CAPTURE(slot);
    fixture f;
    for (word at = stack; at < stack + 0x800; at += 8) f.memory.put(at, 0);
    const word ra = f.indirect_call(1);
    f.memory.put(stack + 8 * slot, ra);
    f.walk(at(f.function(0), stack, 0));
    CHECK((f.found() == 2) == (slot < indirect_words));
  }
}

TEST_CASE("the last resort finds direct calls further out, within its limits") {
  fixture f;
  for (word at = stack; at < stack + 0x1000; at += 8) f.memory.put(at, 7);
  const word into_leaf = f.call(1, f.function(0));
  const word into_one = f.call(2, f.function(1));
  f.memory.put(stack + 8 * (scan_words - 1), into_leaf);
  f.memory.put(stack + 8 * (scan_words + 20), into_one);
  f.walk(at(f.function(0), stack, 0));
  CHECK(f.frames == std::vector<word>{f.function(0), into_leaf - 1, into_one - 1});
  CHECK(f.walked.approximate);
  f.memory.put(stack + 8 * (scan_words - 1), 7);
  f.memory.put(stack + 8 * scan_words, into_leaf);
  f.walk(at(f.function(0), stack, 0));
  CHECK(f.found() == 1);
}

TEST_CASE("scanning has a budget per stack") {
  fixture f;
  const word again = f.call(0, f.function(0));
  for (word i = 0; i < 4000; ++i) {
    f.memory.put(stack + 8 * i, i % 50 == 49 ? again : 7);
  }
  f.memory.reads = 0;
  f.walk(at(f.function(0), stack, 0), 1000);
  CHECK(f.found() == 1 + scan_budget / (50 + code_cost));
  CHECK(f.memory.reads < 4 * scan_budget);
}

TEST_CASE("a word outside of code is no return address, whatever stands before it") {
  fixture f;
  const word data = 0x600000;
  f.memory.put_bytes(data, {0xff, 0xd0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90});
  f.memory.put_bytes(data - 8, {0, 0, 0, 0, 0, 0, 0, 0});
  for (word at = stack; at < stack + 0x800; at += 8) f.memory.put(at, data + 2);
  f.walk(at(f.function(0), stack, 0));
  CHECK(f.found() == 1);
}

// ---- by rules -----------------------------------------------------------------------------------

namespace {

// Functions 0, 1 and 2 have rules; 1 calls 0, 2 calls 1, and 2 is the outermost.
struct rule_fixture : fixture {
  word into_0 = call(1, function(0));
  word into_1 = call(2, function(1));

  rule_fixture() {
    rule(1, rule_of(rule_kind::offset, dwarf_sp, 0x20));
    rule(2, rule_of(rule_kind::end, 0, 0));
    memory.put(stack + 0x28, into_1);  // where 1's frame ends when 0's has 16 bytes
  }
  void rule(unsigned n, const unwind_rule& rule) { code.rules[function(n)] = pack_rule_sig(rule); }
  void mark_exact(unsigned n) { code.rules[function(n)] |= packed_is_exact; }
  std::vector<word> whole() const { return {function(0) + 4, into_0 - 1, into_1 - 1}; }
  void walk_from(word sp, word fp = 0, word rbx_or_lr = 0, const ucontext_t* context = nullptr) {
    for (unsigned n = 0; context != nullptr && n < 16; ++n) {
      const word place = os_register_place_sig(context, n);
      memory.put(place, *reinterpret_cast<const word*>(place));
    }
    registers start = at(function(0) + 4, sp, fp);
    start.rbx_or_lr = rbx_or_lr;
    start.context = context;
    walk(start);
  }
};

}  // namespace

TEST_CASE("rule: a register and an offset, to the end") {
  rule_fixture f;
  f.memory.put(stack + 8, f.into_0);
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK_FALSE(f.walked.approximate);
  CHECK_FALSE(f.walked.truncated);
  f.rule(0, rule_of(rule_kind::offset, dwarf_fp, -0x30));
  f.walk_from(stack, stack + 0x40);
  CHECK(f.frames == f.whole());
  f.rule(0, rule_of(rule_kind::offset, dwarf_rbx_or_lr, 0x10));
  f.walk_from(stack, 0, stack);
  CHECK(f.frames == f.whole());
}

TEST_CASE("rule: the CFA is read from memory, then added to") {
  rule_fixture f;
  f.memory.put(stack + 8, f.into_0);
  f.memory.put(stack - 0x20, stack + 8);
  f.rule(0, rule_of(rule_kind::deref, dwarf_fp, -0x70, 8));
  f.walk_from(stack, stack + 0x50);
  CHECK(f.frames == f.whole());
}

TEST_CASE("rule: an entry of a PLT, before and behind its push") {
  rule_fixture f;
  f.rule(0, rule_of(rule_kind::plt, 0, 11));
  for (word entry = 0; entry < 32; ++entry) {
    CAPTURE(entry);
    const word sp = (entry & 15) >= 11 ? stack : stack + 8;
    f.memory.put(stack + 8, f.into_0);
    f.walk(at(f.function(0) + entry, sp, 0));
    CHECK(f.frames == std::vector<word>{f.function(0) + entry, f.into_0 - 1, f.into_1 - 1});
  }
}

TEST_CASE("rule: registers are restored from where they were saved") {
  rule_fixture f;
  f.memory.put(stack, stack + 0x30);  // the caller's rbp
  f.memory.put(stack + 8, f.into_0);
  f.rule(1, rule_of(rule_kind::offset, dwarf_fp, 0));
  unwind_rule saves = rule_of(rule_kind::offset, dwarf_sp, 16);
  saves.fp = {saved_at::cfa, -16};
  f.rule(0, saves);
  f.walk_from(stack, 0x1234);
  CHECK(f.frames == f.whole());
  saves.fp = {saved_at::fp, -8};
  f.rule(0, saves);
  f.walk_from(stack, stack + 8);
  CHECK(f.frames == f.whole());
  saves.fp = {saved_at::lost, 0};
  f.rule(0, saves);
  f.walk_from(stack, stack + 0x30);
  CHECK(f.frames != f.whole());
  saves.fp = {};
  f.rule(0, saves);
  f.walk_from(stack, stack + 0x30);
  CHECK(f.frames == f.whole());
  saves.rbx_or_lr = {saved_at::cfa, -16};
  f.rule(0, saves);
  f.rule(1, rule_of(rule_kind::offset, dwarf_rbx_or_lr, 0));
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
}

TEST_CASE("rule: rbx that a frame restored counts for the next one, on the quick way too") {
  rule_fixture f;
  const word into_2 = f.call(3, f.function(2));
  f.memory.put(stack + 8, f.into_0);
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  unwind_rule saves = rule_of(rule_kind::offset, dwarf_sp, 0x20);
  saves.rbx_or_lr = {saved_at::cfa, -16};
  f.rule(1, saves);
  f.memory.put(stack + 0x20, stack + 0x80);  // the rbx of 2
  f.rule(2, rule_of(rule_kind::offset, dwarf_rbx_or_lr, 0x10));
  f.memory.put(stack + 0x88, into_2);
  f.rule(3, rule_of(rule_kind::end, 0, 0));
  f.walk_from(stack, 0, 0x1234);
  std::vector<word> whole = f.whole();
  whole.push_back(into_2 - 1);
  CHECK(f.frames == whole);
}

TEST_CASE("rule: what an epilogue has popped is read below sp, a red zone deep") {
  for (const word below : {word{8}, red_zone, red_zone + 8}) {
    CAPTURE(below);
    rule_fixture f;
    f.memory.put(stack + 8 - below, stack + 0x30);
    f.memory.put(stack + 8, f.into_0);
    unwind_rule popped = rule_of(rule_kind::offset, dwarf_sp, 8);
    popped.fp = {saved_at::cfa, -8 - static_cast<std::int32_t>(below)};
    f.rule(0, popped);
    f.rule(1, rule_of(rule_kind::offset, dwarf_fp, 0));
    f.walk(at(f.function(0) + 4, stack + 8, 0));
    CHECK((f.frames == f.whole()) == (below <= red_zone));
  }
}

TEST_CASE("rule: rbp at rbp, when that is the caller's already, is rbp") {
  rule_fixture f;
  f.memory.put(stack + 8, f.into_0);
  f.memory.put(stack + 0x30, 0x1234);
  unwind_rule realigned = rule_of(rule_kind::offset, dwarf_sp, 16);
  realigned.fp = {saved_at::fp, 0};
  f.rule(0, realigned);
  f.rule(1, rule_of(rule_kind::offset, dwarf_fp, 0));
  f.walk_from(stack, stack + 0x30);
  CHECK(f.frames == f.whole());
}

TEST_CASE("rule: what does not fit is interpreted, at the call's address") {
  rule_fixture f;
  const word far = stack + 0x1000000;
  f.memory.put(far - 8, f.into_0);
  f.memory.put(far + 0x18, f.into_1);
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 0x1000000));
  f.code.interpreted[f.function(0)] = rule_of(rule_kind::offset, dwarf_sp, 0x1000000);
  f.rule(1, rule_of(rule_kind::offset, 40, 0));
  f.code.interpreted[f.function(1)] = rule_of(rule_kind::offset, dwarf_sp, 0x20);
  REQUIRE(kind_of_sig(f.code.rules[f.function(0)]) == rule_kind::unpackable);
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK(f.code.asked_to_interpret == std::vector<word>{f.function(0) + 4, f.into_0 - 1});
}

// _Unwind_Resume copies the landing function's registers over those that it saved, the return address last.
TEST_CASE("rule: a thrower's return address is another's already; its own is still in its frame") {
  rule_fixture f;
  f.code.starts = {f.function(0), f.function(1), f.function(2)};
  unwind_rule thrower = rule_of(rule_kind::offset, dwarf_sp, 0x60);
  thrower.fp = {saved_at::cfa, -16};
  thrower.is_eh_return = true;
  f.rule(0, thrower);
  f.code.interpreted[f.function(0)] = thrower;
  REQUIRE(kind_of_sig(f.code.rules[f.function(0)]) == rule_kind::unpackable);
  f.rule(1, rule_of(rule_kind::offset, dwarf_fp, 0));
  for (word at = stack; at < stack + 0x78; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 0x50, stack + 0x80);  // rbp of 1, saved by 0
  f.memory.put(stack + 0x78, f.into_1);
  f.memory.put(stack + 0x18, f.into_1);  // leads elsewhere, and comes first
  f.memory.put(stack + 0x20, f.into_0);

  f.memory.put(stack + 0x58, f.into_0);
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK_FALSE(f.walked.approximate);

  f.memory.put(stack + 0x58, f.into_1);
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK(f.walked.approximate);  // rbp of 1 is lost: its return address was found by scanning
  f.memory.put(stack + 0x70, stack + 0x80);  // the landing function's frame pointer, as 1 saved it
  f.memory.put(stack + 0x78, f.function(2) + 0x31);  // and its landing pad, which no call precedes
  f.walk_from(stack);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1, f.function(2) + 0x30});
  CHECK(f.walked.approximate);
  f.memory.put(stack + 0x70, stack + 0x88);
  f.walk_from(stack);
  CHECK(f.walked.truncated);
  f.memory.put(stack + 0x78, f.into_1);
  f.rule(1, rule_of(rule_kind::offset, dwarf_sp, 0x20));
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK_FALSE(f.walked.approximate);

  f.memory.put(stack + 0x28, f.call(1, f.function(0), 0x60));  // which of two calls it was cannot be known
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK(f.walked.approximate);
  f.memory.put(stack + 0x28, 0);

  f.memory.put(stack + 0x20, 0);  // only what is behind the frame's end would do
  f.memory.put(stack + 0x60, f.into_0);
  f.walk_from(stack);
  CHECK(f.frames != f.whole());
}

// 0 throws and lands in 2; nobody from there up to 3, whose rule needs it, has saved the frame pointer.
struct landing_fixture : rule_fixture {
  word into_2 = call(3, function(2));
  word into_3 = call(4, function(3));

  landing_fixture() {
    unwind_rule thrower = rule_of(rule_kind::offset, dwarf_sp, 0x60);
    thrower.fp = {saved_at::cfa, -16};
    thrower.is_eh_return = true;
    rule(0, thrower);
    code.interpreted[function(0)] = thrower;
    rule(1, rule_of(rule_kind::offset, dwarf_sp, 0x20));
    rule(2, rule_of(rule_kind::offset, dwarf_sp, 0x20));
    rule(3, rule_of(rule_kind::offset, dwarf_fp, 16));
    rule(4, rule_of(rule_kind::end, 0, 0));
    for (word at = stack; at < stack + 0x100; at += 8) memory.put(at, 0);
    memory.put(stack + 0x20, into_0);  // what libgcc keeps
    memory.put(stack + 0x50, stack + 0xc0);
    memory.put(stack + 0x78, into_1);
    memory.put(stack + 0x98, into_2);
    memory.put(stack + 0xc8, into_3);
  }
  void walk_landing_at(word pc) {
    memory.put(stack + 0x58, pc);
    walk_from(stack);
  }
  void expect_whole() const {
    CHECK(frames == std::vector<word>{function(0) + 4, into_0 - 1, into_1 - 1, into_2 - 1, into_3 - 1});
    CHECK_FALSE(walked.approximate);
    CHECK_FALSE(walked.truncated);
  }
};

TEST_CASE("rule: behind the landing function its frame pointer is known again") {
  landing_fixture f;
  f.know_functions();
  word landing = f.function(2) + 0x31;
  f.walk_landing_at(landing);
  f.expect_whole();
  SUBCASE("it was not passed") { landing = f.function(5) + 0x31; }
  SUBCASE("the frame is another's") { f.memory.put(stack + 0xc8, f.call(4, f.function(1), 0x60)); }
  SUBCASE("it is this very function") { landing = f.function(3) + 0x31; }
  f.walk_landing_at(landing);
  CHECK((f.walked.approximate || f.walked.truncated));
}

TEST_CASE("rule: where no function's begin is known, its return address tells the landing function") {
  landing_fixture f;
  f.walk_landing_at(f.into_1);
  f.expect_whole();
  word landing = 0;
  SUBCASE("another call of the same function") { landing = f.call(2, f.function(1), 0x60); }
  SUBCASE("its landing pad") { landing = f.function(2) + 0x31; }
  SUBCASE("the function itself") { landing = f.into_2; }
  f.walk_landing_at(landing);
  CHECK((f.walked.approximate || f.walked.truncated));
}

TEST_CASE("rule: an unknown call may have led to a thrower; a thrower that has left its frame returns where it says") {
  rule_fixture f;
  f.code.starts = {f.function(0), f.function(1), f.function(2)};
  unwind_rule thrower = rule_of(rule_kind::offset, dwarf_sp, 0x60);
  thrower.is_eh_return = true;
  f.rule(0, thrower);
  f.code.interpreted[f.function(0)] = thrower;
  for (word at = stack; at < stack + 0x78; at += 8) f.memory.put(at, 0);
  const word unknown = f.indirect_call(1);
  f.memory.put(stack + 0x58, unknown);
  f.memory.put(stack + 0x78, f.into_1);
  f.walk_from(stack);  // nothing in its frame says otherwise
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, unknown - 1, f.into_1 - 1});
  CHECK_FALSE(f.walked.approximate);
  f.memory.put(stack + 0x20, f.into_0);  // the landing function's call was the unknown one, perhaps
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK(f.walked.approximate);
  thrower.reg = dwarf_rbx_or_lr;  // libgcc's epilogue has the CFA in a register
  f.code.interpreted[f.function(0)] = thrower;
  f.memory.put(stack + 0x58, f.into_1);
  f.walk_from(stack, 0, stack);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_1 - 1});
}

TEST_CASE("rule: a thrower whose caller was kept says nothing of that one's registers") {
  for (const unsigned reg : {dwarf_fp, dwarf_rbx_or_lr}) {
    CAPTURE(reg);
    rule_fixture f;
    f.code.starts = {f.function(0), f.function(1), f.function(2)};
    unwind_rule thrower = rule_of(rule_kind::offset, dwarf_sp, 0x60);
    thrower.is_eh_return = true;
    f.rule(0, thrower);
    f.code.interpreted[f.function(0)] = thrower;
    for (word at = stack; at < stack + 0x78; at += 8) f.memory.put(at, 0);
    f.memory.put(stack + 0x20, f.into_0);
    f.memory.put(stack + 0x58, f.into_1);
    const word other = f.call(3, f.function(2));
    f.memory.put(stack + 0x108, other);  // where function 1 returned, if its register were as it is
    f.memory.put(stack + 0x78, f.into_1);
    f.rule(1, rule_of(rule_kind::offset, reg, 0x10));
    f.walk_from(stack, stack + 0x100, stack + 0x100);
    CHECK(f.frames == f.whole());
    CHECK(f.walked.approximate);  // by scanning
  }
}

TEST_CASE("rule: a thrower is about to land only where it or what it called was interrupted") {
  rule_fixture f;
  f.know_functions();
  unwind_rule thrower = rule_of(rule_kind::offset, dwarf_sp, 0x60);
  thrower.is_eh_return = true;
  f.rule(0, thrower);
  f.code.interpreted[f.function(0)] = thrower;
  f.rule(5, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.rule(6, rule_of(rule_kind::offset, dwarf_sp, 16));
  const word into_5 = f.call(0, f.function(5));  // 0 calls 5, which calls 6
  const word into_6 = f.call(5, f.function(6));
  for (word at = stack - 0x20; at < stack + 0x80; at += 8) f.memory.put(at, 0);
  f.memory.put(stack - 0x18, into_6);
  f.memory.put(stack - 8, into_5);
  f.memory.put(stack + 0x20, f.into_0);  // kept in the thrower's frame
  f.memory.put(stack + 0x58, f.into_1);  // its return address
  f.memory.put(stack + 0x78, f.into_1);
  f.walk(at(f.function(0) + 4, stack, 0));
  CHECK(f.frames == f.whole());
  f.walk(at(f.function(5) + 4, stack - 0x10, 0));
  CHECK(f.frames == std::vector<word>{f.function(5) + 4, into_5 - 1, f.into_0 - 1, f.into_1 - 1});
  f.walk(at(f.function(6) + 4, stack - 0x20, 0));
  CHECK(f.frames == std::vector<word>{f.function(6) + 4, into_6 - 1, into_5 - 1, f.into_1 - 1});
}

// Its frame pointer is overwritten first. Function 0 throws, 1 called it, 2 called 1, and 3 is the outermost; 1
// and 2 keep frame pointers.
struct overwritten_fixture : rule_fixture {
  static constexpr word slot_of_fp = stack + 0x50;    // where 0 saved the fp of 1
  static constexpr word frame_of_1 = stack + 0x80;
  static constexpr word frame_of_2 = stack + 0x100;  // the exception lands in 2
  word into_2 = call(3, function(2));
  bool has_pointer = true;  // libgcc's, to where 1 saved the fp of 2

  overwritten_fixture() {
    know_functions();
    for (word at = stack; at < stack + 0x200; at += 8) memory.put(at, 0);
    unwind_rule thrower = rule_of(rule_kind::offset, dwarf_sp, 0x60);
    thrower.fp = {saved_at::cfa, -16};
    thrower.is_eh_return = true;
    rule(0, thrower);
    code.interpreted[function(0)] = thrower;
    unwind_rule by_fp = rule_of(rule_kind::offset, dwarf_fp, 16);
    by_fp.fp = {saved_at::cfa, -16};
    rule(1, by_fp);
    rule(2, by_fp);
    rule(3, rule_of(rule_kind::end, 0, 0));
    memory.put(stack + 0x58, into_0);
  }
  void walk_with(word saved_fp) {
    memory.put(slot_of_fp, saved_fp);
    memory.put(stack + 0x30, has_pointer ? frame_of_1 : 0);
    record(frame_of_1, frame_of_2, into_1);
    record(frame_of_2, 0, into_2);
    walk_from(stack);
  }
  std::vector<word> all() const { return {function(0) + 4, into_0 - 1, into_1 - 1, into_2 - 1}; }
};

TEST_CASE("rule: a thrower's saved fp is the landing function's already; its caller's frame is found") {
  overwritten_fixture f;
  f.walk_with(f.frame_of_1);
  CHECK(f.frames == f.all());
  CHECK_FALSE(f.walked.approximate);
  f.walk_with(f.frame_of_2);
  CHECK(f.frames == f.all());
  CHECK(f.walked.approximate);
  f.has_pointer = false;  // nothing says that it was overwritten
  f.walk_with(f.frame_of_2);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1, f.into_2 - 1});
}

TEST_CASE("rule: a thrower's saved fp is the landing function's, which calls what it was called by") {
  overwritten_fixture f;
  f.into_2 = f.call(2, f.function(1), 0x60);  // as a recursion does: it leads into 1 as well
  f.rule(2, rule_of(rule_kind::end, 0, 0));
  f.walk_with(f.frame_of_2);
  CHECK(f.frames == f.whole());
  CHECK(f.walked.approximate);
}

TEST_CASE("rule: a thrower's saved fp is the landing function's; unknown calls led here") {
  overwritten_fixture f;
  f.into_1 = f.indirect_call(2);
  f.walk_with(f.frame_of_2);  // behind what 1 saved of the landing function
  CHECK(f.frames == f.all());
  CHECK(f.walked.approximate);
  f.walk_with(f.frame_of_1);  // it points elsewhere
  CHECK(f.frames == f.all());
  CHECK_FALSE(f.walked.approximate);
  f.into_2 = f.indirect_call(3);
  f.walk_with(f.frame_of_2);  // as good as another
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1, f.into_2 - 1});
  CHECK(f.walked.approximate);
}

TEST_CASE("rule: a frame that restores another fp ends the doubt of it") {
  overwritten_fixture f;
  unwind_rule restores = rule_of(rule_kind::offset, dwarf_sp, 0x30);
  restores.fp = {saved_at::cfa, -16};
  f.rule(1, restores);
  f.memory.put(stack + 0x80, f.frame_of_2);  // saved by 1 below its return address
  f.memory.put(stack + 0x88, f.into_1);
  f.memory.put(f.slot_of_fp, 0x1234);
  f.record(f.frame_of_2, 0, f.into_2);
  f.memory.put(stack + 0x30, stack + 0x180);
  f.walk_from(stack);
  CHECK(f.frames == f.all());
  CHECK_FALSE(f.walked.approximate);
}

TEST_CASE("rule: a return address that was pushed by hand is itself in its function") {
  rule_fixture f;
  const word pushed = f.function(1);
  f.memory.put(stack + 8, pushed);
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.code.rules[f.function(1) - 1] = pack_rule_sig(rule_of(rule_kind::end, 0, 0)) | packed_is_exact;
  f.walk_from(stack);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, pushed});
  CHECK_FALSE(f.walked.truncated);
  CHECK(f.walked.approximate);  // it may be a pointer that a frame had there for another purpose
  f.code.interpreted[pushed] = rule_of(rule_kind::end, 0, 0);  // a root that says so, as __start_context
  f.walk_from(stack);
  CHECK_FALSE(f.walked.approximate);
}

TEST_CASE("rule: what is no address of code and follows no call is no frame") {
  for (const word garbage : {word{2}, word{0xcccccccd}, stack + 0x40}) {
    CAPTURE(garbage);
    rule_fixture f;
    f.memory.put(stack + 8, f.into_0);
    f.memory.put(stack + 0x28, garbage);
    f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
    f.rule(1, rule_of(rule_kind::offset, dwarf_sp, 0x20));
    f.code.rules[text + 0x20000] = 0;
    f.walk_from(stack, 0x1234);
    CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1, mark});
    CHECK(f.walked.truncated);
  }
}

TEST_CASE("rule: other registers are known of an interrupted function only") {
  ucontext_t context{};
  context.uc_mcontext.gregs[REG_R10] = static_cast<greg_t>(stack + 8);
  rule_fixture f;
  for (word at = stack; at < stack + 0x28; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 8, f.into_0);
  f.rule(0, rule_of(rule_kind::offset, 10, 8));
  f.walk_from(stack, 0, 0, &context);
  CHECK(f.frames == f.whole());
  f.walk_from(stack, 0, 0, nullptr);
  CHECK(f.walked.approximate);  // then only the scan finds a way
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.rule(1, rule_of(rule_kind::offset, 10, 0x28));
  f.walk_from(stack, 0, 0, &context);
  CHECK(f.walked.approximate);
}

TEST_CASE("rule: a CFA that is odd, below sp or stands still is not believed") {
  for (const std::int32_t offset : {-8, -16, 12, 0}) {
    CAPTURE(offset);
    rule_fixture f;
    f.memory.put(stack + 8, f.into_0);
    f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
    f.rule(1, rule_of(rule_kind::offset, dwarf_sp, offset));
    f.walk_from(stack, 0x1234);
    CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1, mark});
    CHECK(f.walked.truncated);
  }
}

TEST_CASE("rule: a return address of zero is the root") {
  rule_fixture f;
  f.memory.put(stack + 8, f.into_0);
  f.memory.put(stack + 0x28, 0);
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.walk_from(stack);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1});
  CHECK_FALSE(f.walked.truncated);
  CHECK_FALSE(f.walked.approximate);
  f.memory.put(stack + 8, 0);  // an interrupted function may have pushed it
  f.walk_from(stack);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4});
  CHECK(f.walked.approximate);
}

TEST_CASE("rule: the way on cannot be read") {
  rule_fixture f;
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 0x5000));
  f.walk_from(stack);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, mark});
  f.rule(0, rule_of(rule_kind::deref, dwarf_sp, 0x1000));
  f.walk_from(stack);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, mark});
  CHECK(f.walked.truncated);
}

TEST_CASE("rule: behind frames with rules, one without is bridged as the first one is") {
  fixture f;  // 0 has a record, 1 has a rule, 2 has neither, 3 has a record
  const word into_0 = f.call(1, f.function(0));
  const word into_1 = f.call(2, f.function(1));
  const word into_2 = f.call(3, f.function(2));
  const word into_3 = f.call(4, f.function(3));
  f.code.rules[f.function(1)] = pack_rule_sig(rule_of(rule_kind::offset, dwarf_sp, 0x20));
  f.code.rules[f.function(2)] = 0;
  f.code.rules[f.function(4)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
  f.record(stack, stack + 0x100, into_0);
  f.memory.put(stack + 0x28, into_1);
  for (word at = stack + 0x30; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 0x40, into_2);
  f.record(stack + 0x100, 0, into_3);
  f.walk(at(f.function(0) + 4, stack, stack));
  CHECK(f.frames ==
        std::vector<word>{f.function(0) + 4, into_0 - 1, into_1 - 1, into_2 - 1, into_3 - 1});
}

TEST_CASE("where a rule's own register is unknown and a scan found the caller, the rule restores its fp") {
  rule_fixture f;
  unwind_rule saves = rule_of(rule_kind::offset, 10, 8);
  saves.fp = {saved_at::cfa, -16};
  f.rule(0, saves);
  REQUIRE(kind_of_sig(f.code.rules[f.function(0)]) == rule_kind::offset);
  f.rule(1, rule_of(rule_kind::offset, dwarf_fp, 0x20));
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 0x10, stack + 0x60);  // the fp of 1
  f.memory.put(stack + 0x18, f.into_0);
  f.memory.put(stack + 0x78, f.into_1);
  f.memory.put(stack + 0x38, f.call(3, f.function(1)));  // what a scan from 1 would take
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK(f.walked.approximate);
}

TEST_CASE("where a scan found the caller, a rule that was read from code says nothing of its fp") {
  rule_fixture f;
  unwind_rule read = rule_of(rule_kind::offset, dwarf_sp + read_from_code, 16);
  read.fp = {saved_at::cfa, -16};
  f.rule(0, read);
  REQUIRE(is_read_from_code_sig(f.code.rules[f.function(0)]));
  f.rule(1, rule_of(rule_kind::offset, dwarf_fp, 0x20));
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 8, f.function(3) + 7);  // behind no call: the rule is wrong
  f.memory.put(stack + 0x10, 0x1234);          // and so is what it says of fp
  f.memory.put(stack + 0x18, f.into_0);
  f.memory.put(stack + 0x78, f.into_1);
  f.memory.put(stack + 0x38, f.call(3, f.function(1)));  // what a scan from 1 would take
  f.walk_from(stack, stack + 0x60);
  CHECK(f.frames == f.whole());
  CHECK(f.walked.approximate);
}

TEST_CASE("a rule that leads behind no call, to code without one, makes the stack approximate") {
  rule_fixture f;
  f.know_functions();
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.code.rules[f.function(1)] = 0;
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.record(stack + 0x100, 0, f.into_1);
  f.memory.put(stack + 8, f.into_0);
  f.walk_from(stack, stack + 0x100);
  CHECK(f.frames == f.whole());
  CHECK_FALSE(f.walked.approximate);
  f.memory.put(stack + 8, f.function(1) + 0x31);
  f.walk_from(stack, stack + 0x100);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.function(1) + 0x30, f.into_1 - 1});
  CHECK(f.walked.approximate);
}

TEST_CASE("fp 0 behind a rule is the root, approximately: only a frame record says so for certain") {
  rule_fixture f;
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.code.rules[f.function(1)] = 0;
  for (word at = stack; at < stack + 0x1000; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 8, f.into_0);
  f.walk_from(stack, 0);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1});
  CHECK_FALSE(f.walked.truncated);
  CHECK(f.walked.approximate);
}

TEST_CASE("fp 0 in what is no file's code, a JIT compiler's, is no root") {
  rule_fixture f;
  const word outside = 0x600002;
  f.memory.put_text(outside - 8, outside + 8);
  f.memory.put_bytes(outside - 2, {0xff, 0xd0});  // call *%rax
  f.code.rules[text + 0x20000] = 0;
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  for (word at = stack; at < stack + 0x1000; at += 8) f.memory.put(at, 0);
  f.memory.put(stack + 8, outside);
  f.walk_from(stack, 0);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, outside - 1, mark});
  CHECK(f.walked.truncated);
}

TEST_CASE("a stack has three bridges, then frame records stand as they are") {
  fixture f;  // functions in pairs: one without rule or record, which one with a rule calls
  for (word at = stack; at < stack + 0x400; at += 8) f.memory.put(at, 0);
  std::vector<word> wanted{f.function(0) + 4};
  word sp = stack;
  for (unsigned n = 0; n < 8; n += 2, sp += 0x30) {
    const word bridged = f.call(n + 1, f.function(n));
    const word ruled = f.call(n + 2, f.function(n + 1));
    f.code.rules[f.function(n)] = 0;
    f.code.rules[f.function(n + 1)] = pack_rule_sig(rule_of(rule_kind::offset, dwarf_sp, 0x20));
    f.memory.put(sp + 8, bridged);
    f.memory.put(sp + 0x28, ruled);
    if (n < 6) wanted.insert(wanted.end(), {bridged - 1, ruled - 1});
  }
  const word beyond = f.call(12, f.function(6), 0x80);
  f.code.rules[f.function(12)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
  f.record(stack + 0x380, stack + 0x3c0, beyond);
  wanted.push_back(beyond - 1);
  f.walk(at(f.function(0) + 4, stack, stack + 0x380));
  CHECK(f.frames == wanted);
}

// ---- signal frames ------------------------------------------------------------------------------

namespace {

// What the kernel pushed, where the handler's return leaves sp.
void put_signal_frame(fixture& f, word sp, const registers& interrupted) {
  const word registers_at = sp + offsetof(ucontext_t, uc_mcontext.gregs);
  f.memory.put(registers_at + 8 * REG_RIP, interrupted.pc);
  f.memory.put(registers_at + 8 * REG_RSP, interrupted.sp);
  f.memory.put(registers_at + 8 * REG_RBP, interrupted.fp);
  f.memory.put(registers_at + 8 * REG_RBX, interrupted.rbx_or_lr);
}

}  // namespace

TEST_CASE("signal frame: the walk goes on where the signal struck, on another stack") {
  rule_fixture f;
  const word trampoline = f.function(5);
  const word other_stack = stack - 0x100000;
  f.rule(5, rule_of(rule_kind::signal_frame, 0, 0));
  f.mark_exact(5);
  f.code.rules[trampoline - 1] = f.code.rules[trampoline];
  f.rule(4, rule_of(rule_kind::offset, dwarf_sp, 8));  // the handler
  f.rule(0, rule_of(rule_kind::offset, dwarf_rbx_or_lr, 16));
  f.memory.put(other_stack, trampoline);
  f.memory.put(stack + 8, f.into_0);
  registers interrupted = at(f.function(0) + 4, stack, 0);
  interrupted.rbx_or_lr = stack;
  put_signal_frame(f, other_stack + 8, interrupted);
  f.walk(at(f.function(4) + 2, other_stack, 0));
  CHECK(f.frames == std::vector<word>{f.function(4) + 2, trampoline, f.function(0) + 4,
                                      f.into_0 - 1, f.into_1 - 1});
  CHECK_FALSE(f.walked.truncated);
}

// Who pushed that is not known: a label's address, for an interpreter to jump to.
TEST_CASE("the middle of a function that no call precedes is believed, and marked") {
  for (const bool called : {false, true}) {
    CAPTURE(called);
    rule_fixture f;
    f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
    f.rule(1, rule_of(rule_kind::offset, dwarf_sp, 0x20));
    const word label = f.function(1) + 0x80;
    if (!called) f.mark_exact(1);
    f.memory.put(stack + 8, called ? f.into_0 : label);
    f.memory.put(stack + 0x28, f.into_1);
    f.walk(at(f.function(0) + 4, stack, 0));
    CHECK(f.frames == std::vector<word>{f.function(0) + 4, called ? f.into_0 - 1 : label, f.into_1 - 1});
    CHECK(f.walked.approximate == !called);
  }
}

TEST_CASE("signal frame: all registers of what it interrupted are known") {
  rule_fixture f;
  const word trampoline = f.function(5);
  f.rule(5, rule_of(rule_kind::signal_frame, 0, 0));
  f.mark_exact(5);
  f.code.rules[trampoline - 1] = f.code.rules[trampoline];
  f.rule(4, rule_of(rule_kind::offset, dwarf_sp, 8));  // the handler
  f.rule(0, rule_of(rule_kind::offset, 10, 16));
  f.memory.put(stack, trampoline);
  f.memory.put(stack + 0x1008, f.into_0);
  f.memory.put(stack + 0x1028, f.into_1);
  put_signal_frame(f, stack + 8, at(f.function(0) + 4, stack + 0x800, 0));
  f.memory.put(stack + 8 + offsetof(ucontext_t, uc_mcontext.gregs) + 8 * REG_R10, stack + 0x1000);
  f.walk(at(f.function(4) + 2, stack, 0));
  CHECK(f.frames == std::vector<word>{f.function(4) + 2, trampoline, f.function(0) + 4, f.into_0 - 1, f.into_1 - 1});
  CHECK_FALSE(f.walked.truncated);
  f.rule(1, rule_of(rule_kind::offset, 10, 0x20));  // the caller's r10 is not
  f.walk(at(f.function(4) + 2, stack, 0));
  CHECK(f.walked.approximate);
}

// One jump is followed between two signals: in the handler, and again in what it interrupted.
TEST_CASE("signal frame: where it struck, a jmp *%reg is followed although one was before") {
  rule_fixture f;
  f.know_functions();
  const word trampoline = f.function(5);
  const word other_stack = stack - 0x100000;
  f.rule(5, rule_of(rule_kind::signal_frame, 0, 0));
  f.mark_exact(5);
  f.code.rules[trampoline - 1] = f.code.rules[trampoline];
  f.rule(4, rule_of(rule_kind::offset, dwarf_sp, 8));  // the handler
  f.code.rules[f.function(6)] = 0;
  f.memory.put_bytes(f.function(6) + 4, {0xff, 0xe3});  // jmp *%rbx
  f.memory.put_bytes(f.function(0) + 4, {0xff, 0xe3});
  f.memory.put(other_stack, trampoline);
  registers interrupted = at(f.function(0) + 4, stack + 16, 0);
  interrupted.rbx_or_lr = f.into_0;
  put_signal_frame(f, other_stack + 8, interrupted);
  registers start = at(f.function(6) + 4, other_stack, 0);
  start.rbx_or_lr = f.function(4) + 2;
  f.walk(start);
  CHECK(f.frames == std::vector<word>{f.function(6) + 4, f.function(4) + 2, trampoline, f.function(0) + 4,
                                      f.into_0, f.into_1 - 1});
  CHECK_FALSE(f.walked.truncated);
  CHECK_FALSE(f.walked.approximate);
}

TEST_CASE("signal frames that lead to each other cannot hold the walk") {
  fixture f;
  f.code.rules[f.function(5)] = static_cast<packed_rule>(rule_kind::signal_frame);
  put_signal_frame(f, stack, at(f.function(5), stack, 0));
  f.walk(at(f.function(5), stack, 0));
  CHECK(f.frames == [&] {
    std::vector<word> wanted(1 + max_signal_frames, f.function(5));
    wanted.push_back(mark);
    return wanted;
  }());
  CHECK(f.walked.truncated);
}

// ---- leaving a function without a rule ----------------------------------------------------------

TEST_CASE("interrupted at ret: the return address is where sp points") {
  rule_fixture f;
  f.memory.put_bytes(f.function(0) + 4, {0xc3});
  f.memory.put(stack + 8, f.into_0);
  f.walk_from(stack + 8);
  CHECK(f.frames == f.whole());
  CHECK_FALSE(f.walked.approximate);
}

TEST_CASE("interrupted at ret: a word that is no address of code is no return address") {
  rule_fixture f;
  f.know_functions();
  const word outside = 0x600002;
  f.memory.put_text(outside - 8, outside + 8);
  f.memory.put_bytes(outside - 2, {0xff, 0xd0});  // call *%rax
  f.code.rules[text + 0x20000] = 0;
  f.memory.put_bytes(f.function(0) + 4, {0xc3});
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.record(stack + 0x20, 0, f.into_0);
  f.memory.put(stack + 0x48, f.into_1);
  for (const word at_sp : {outside, stack + 0x40, word{0}}) {
    CAPTURE(at_sp);
    f.memory.put(stack + 8, at_sp);
    f.walk_from(stack + 8, stack + 0x20);
    CHECK(f.frames == f.whole());
    CHECK_FALSE(f.walked.approximate);
  }
}

TEST_CASE("interrupted at ret that enters a function: it returns to where sp says then") {
  rule_fixture f;
  f.know_functions();
  f.memory.put_bytes(f.function(5) + 0x20, {0xc3});  // a retpoline, without a rule
  f.code.rules[f.function(5)] = 0;
  f.memory.put(stack, f.function(0));
  f.memory.put(stack + 8, f.into_0);
  f.walk(at(f.function(5) + 0x20, stack, 0));
  CHECK(f.frames == std::vector<word>{f.function(5) + 0x20, f.into_0 - 1, f.into_1 - 1});
  CHECK_FALSE(f.walked.truncated);
  CHECK_FALSE(f.walked.approximate);
}

TEST_CASE("interrupted at an instruction of a PLT's that other code has, too") {
  // push $imm32 and push disp(%rip) of arguments; a stale return address above sp, a frame record below the true one.
  for (const unsigned first : {0x68u, 0xffu}) {
    CAPTURE(first);
    rule_fixture f;
    f.know_functions();
    const word pc = f.function(0) + 0x10;
    if (first == 0x68) f.memory.put_bytes(pc, {0x68, 1, 0, 0, 0, 0x90, 0x90, 0x90});
    else f.memory.put_bytes(pc, {0xff, 0x35, 0, 1, 0, 0, 0x90, 0x90});
    for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
    const word stale = f.call(3, f.function(4));
    f.memory.put(stack + 8, stale);
    f.memory.put(stack + 16, stale);
    f.record(stack + 0x20, 0, f.into_0);
    f.memory.put(stack + 0x48, f.into_1);
    f.walk(at(pc, stack + 8, stack + 0x20));
    CHECK(f.frames == std::vector<word>{pc, f.into_0 - 1, f.into_1 - 1});
  }
}

// A function's own jump through a table, or a call at its end, has locals above sp.
TEST_CASE("interrupted at jmp *slot(%rip): as in a PLT only if the word at sp follows a call") {
  rule_fixture f;
  f.know_functions();
  const word pc = f.function(0) + 0x10;
  f.memory.put_bytes(pc, {0xff, 0x25, 0, 1, 0, 0});
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.record(stack + 0x20, 0, f.into_0);
  f.memory.put(stack + 0x48, f.into_1);
  f.memory.put(stack + 8, f.function(3) + 7);  // code, and behind no call
  f.walk(at(pc, stack + 8, stack + 0x20));
  CHECK(f.frames == std::vector<word>{pc, f.into_0 - 1, f.into_1 - 1});
  CHECK_FALSE(f.walked.approximate);
  const word other = f.call(3, f.function(0));
  f.code.rules[f.function(3)] = pack_rule_sig(rule_of(rule_kind::end, 0, 0));
  f.memory.put(stack + 8, other);
  f.walk(at(pc, stack + 8, stack + 0x20));
  CHECK(f.frames == std::vector<word>{pc, other - 1});
}

TEST_CASE("interrupted at jmp *%reg: the register says where") {
  const unsigned high_of[8] = {REG_R8,  REG_R9,  REG_R10, REG_R11,
                               REG_R12, REG_R13, REG_R14, REG_R15};
  const unsigned low_of[8] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX,
                              REG_RSP, REG_RBP, REG_RSI, REG_RDI};
  for (unsigned n = 0; n < 16; ++n) {
    CAPTURE(n);
    rule_fixture f;
    f.know_functions();
    if (n >= 8)
      f.memory.put_bytes(f.function(0) + 4, {0x41, 0xff, 0xe0 + n - 8});
    else
      f.memory.put_bytes(f.function(0) + 4, {0xff, 0xe0 + n});
    ucontext_t context{};
    const word to = f.into_0;
    context.uc_mcontext.gregs[n >= 8 ? high_of[n - 8] : low_of[n]] = static_cast<greg_t>(to);
    const word sp = n == 4 ? to : stack + 16;  // jmp *%rsp: only that it is read
    f.walk_from(sp, n == 5 ? to : 0, n == 3 ? to : 0, &context);
    REQUIRE(f.frames.size() >= 2);
    CHECK(f.frames[1] == to);  // it goes on there: what lies before may be another function
    std::vector<word> whole = f.whole();
    whole[1] = to;
    CHECK((f.frames == whole) == (n != 4));
  }
}

TEST_CASE("a jmp *%reg within a function, or where no function is known, is a switch's: it leaves nothing") {
  rule_fixture f;
  f.memory.put_bytes(f.function(0) + 4, {0xff, 0xe1});  // jmp *%rcx
  ucontext_t context{};
  context.uc_mcontext.gregs[REG_RCX] = static_cast<greg_t>(f.function(0) + 0x80);
  for (word at = stack; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.record(stack + 0x20, 0, f.into_0);
  f.memory.put(stack + 0x48, f.into_1);
  for (const bool known : {false, true}) {
    CAPTURE(known);
    if (known) f.know_functions();
    f.walk_from(stack, stack + 0x20, 0, &context);
    CHECK(f.frames == f.whole());
    CHECK(f.walked.approximate == !known);
  }
}

TEST_CASE("interrupted at jmp *%reg to a function's begin: a tail call, which returns for its caller") {
  rule_fixture f;
  const word other = f.function(5);
  f.memory.put_bytes(f.function(0) + 4, {0xff, 0xe1});  // jmp *%rcx
  ucontext_t context{};
  context.uc_mcontext.gregs[REG_RCX] = static_cast<greg_t>(other);
  f.code.starts = {other};
  f.memory.put(stack + 8, f.into_0);
  f.walk_from(stack + 8, 0, 0, &context);
  CHECK(f.frames == f.whole());
  f.memory.put(stack + 8, f.function(3) + 7);  // behind no call: it goes elsewhere
  f.walk_from(stack + 8, 0, 0, &context);
  REQUIRE(f.frames.size() >= 2);
  CHECK(f.frames[1] == other);
}

TEST_CASE("jumps to jumps are not followed for ever") {
  rule_fixture f;
  f.memory.put_bytes(f.function(0) + 4, {0xff, 0xe1});  // jmp *%rcx, to itself
  ucontext_t context{};
  context.uc_mcontext.gregs[REG_RCX] = static_cast<greg_t>(f.function(0) + 4);
  f.walk_from(stack + 8, 0, 0, &context);
  CHECK(f.frames.size() < 8);
}

TEST_CASE("a rule read from code is followed when it leads behind a call, and marks the stack") {
  rule_fixture f;
  f.memory.put(stack + 8, f.into_0);
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp + read_from_code, 16));
  f.walk_from(stack);
  CHECK(f.frames == f.whole());
  CHECK(f.walked.approximate);
  CHECK_FALSE(f.walked.truncated);
  f.rule(0, rule_of(rule_kind::offset, dwarf_fp + read_from_code, -0x30));
  f.walk_from(stack, stack + 0x40);
  CHECK(f.frames == f.whole());
  // A caller without other rules than such: also behind a call.
  f.rule(1, rule_of(rule_kind::offset, dwarf_sp + read_from_code, 0x20));
  f.walk_from(stack, stack + 0x40);
  CHECK(f.frames == f.whole());
  f.memory.put(stack + 8, f.function(3) + 7);
  f.walk_from(stack, stack + 0x40);
  CHECK(f.walked.truncated);
}

TEST_CASE("the root is a function that never returns, unless a call leads there") {
  rule_fixture f;
  for (word place = stack; place < stack + 0x400; place += 8) f.memory.put(place, 0);
  f.memory.put(stack + 8, f.into_0);
  f.rule(0, rule_of(rule_kind::offset, dwarf_sp, 16));
  f.rule(1, rule_of(rule_kind::offset, never_returns, 0));
  f.memory.put(stack + 0x28, f.indirect_call(4));  // may lead anywhere
  f.walk_from(stack, 0x1234);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, f.into_0 - 1});
  CHECK_FALSE(f.walked.truncated);
  CHECK(f.walked.approximate);  // padding in a loop may look the same
  f.memory.put(stack + 0x28, f.into_1);
  f.walk_from(stack, 0x1234);
  CHECK(f.frames == f.whole());
  // Interrupted there itself, nothing is known of how it got there.
  f.memory.put(stack + 0x28, 0);
  f.rule(0, rule_of(rule_kind::offset, never_returns, 0));
  f.memory.put(stack + 8, 0);
  f.walk_from(stack, 0x1234);
  CHECK(f.walked.truncated);
}

// ---- stubs between a call and the function it enters --------------------------------------------

namespace {

// A call of `stub` whose bytes lead to function 0: is the frame found?
struct stub_fixture : fixture {
  static constexpr word stub = text + 0x10000;
  static constexpr word slot = text + 0x18000;

  bool leads_to_leaf() {
    for (word at = stack; at < stack + 0x800; at += 8) memory.put(at, 0);
    const word ra = call(1, stub);
    memory.put(stack + 8, ra);  // only a call that leads here is believed
    walk(at(function(0) + 4, stack, 0));
    return walked.depth == 2 && frames[1] == ra - 1;
  }
  static unsigned byte(word value, unsigned n) {
    return static_cast<unsigned>(value >> (8 * n)) & 0xff;
  }
  static std::initializer_list<unsigned> none() { return {}; }
};

}  // namespace

TEST_CASE("stub: jmp *slot(%rip), as a PLT has it") {
  stub_fixture f;
  const word offset = f.slot - (f.stub + 6);
  f.memory.put_bytes(f.stub, {0xff, 0x25, f.byte(offset, 0), f.byte(offset, 1), f.byte(offset, 2),
                              f.byte(offset, 3)});
  CHECK_FALSE(f.leads_to_leaf());  // the slot holds nops
  f.memory.put(f.slot, f.function(0));
  CHECK(f.leads_to_leaf());
  f.memory.put(f.slot, f.function(5));
  CHECK_FALSE(f.leads_to_leaf());
}

TEST_CASE("stub: endbr64; jmp *slot(%rip)") {
  stub_fixture f;
  const word offset = f.slot - (f.stub + 10);
  f.memory.put_bytes(f.stub, {0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, f.byte(offset, 0),
                              f.byte(offset, 1), f.byte(offset, 2), f.byte(offset, 3)});
  f.memory.put(f.slot, f.function(0));
  CHECK(f.leads_to_leaf());
}

TEST_CASE("stub: endbr64; bnd jmp *slot(%rip), as -z ibtplt writes it") {
  stub_fixture f;
  const word offset = f.slot - (f.stub + 11);
  f.memory.put_bytes(f.stub, {0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, f.byte(offset, 0),
                              f.byte(offset, 1), f.byte(offset, 2), f.byte(offset, 3)});
  f.memory.put(f.slot, f.function(0));
  CHECK(f.leads_to_leaf());
}

TEST_CASE("stub: jmp rel32, back and forth") {
  stub_fixture f;
  const word offset = f.function(0) - (f.stub + 5);
  f.memory.put_bytes(
      f.stub, {0xe9, f.byte(offset, 0), f.byte(offset, 1), f.byte(offset, 2), f.byte(offset, 3)});
  CHECK(f.leads_to_leaf());
}

TEST_CASE("stub: mov slot(%rip),%rax; jmp *%rax, as our own hooks are compiled") {
  stub_fixture f;
  const word offset = f.slot - (f.stub + 7);
  f.memory.put_bytes(f.stub, {0x48, 0x8b, 0x05, f.byte(offset, 0), f.byte(offset, 1),
                              f.byte(offset, 2), f.byte(offset, 3), 0xff, 0xe0});
  f.memory.put(f.slot, f.function(0));
  CHECK(f.leads_to_leaf());
}

TEST_CASE("stubs in a row are followed up to a limit, circles end") {
  for (int length = 1; length <= max_hops + 2; ++length) {
    CAPTURE(length);
    stub_fixture f;
    for (int i = 0; i < length; ++i) {
      const word here = f.stub + 16 * static_cast<word>(i);
      const word to = i + 1 == length ? f.function(0) : here + 16;
      const word offset = to - (here + 5);
      f.memory.put_bytes(
          here, {0xe9, f.byte(offset, 0), f.byte(offset, 1), f.byte(offset, 2), f.byte(offset, 3)});
    }
    CHECK(f.leads_to_leaf() == (length < max_hops));
  }
  stub_fixture circle;
  circle.memory.put_bytes(circle.stub, {0xe9, 0xfb, 0xff, 0xff, 0xff});  // jumps to itself
  CHECK_FALSE(circle.leads_to_leaf());
}

// ---- rbx or lr -------------------------------------------------------------------------

TEST_CASE("rbx is no link register, even when it holds a return address") {
  fixture f;
  const word outer = f.call(1, f.function(0));
  f.record(stack + 0x100, 0, outer);
  registers start = at(f.function(0) + 4, stack + 0x100, stack + 0x100);
  start.rbx_or_lr = f.call(2, f.function(0));
  f.walk(start);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, outer - 1});
}

// ---- random bytes -------------------------------------------------------------------------------

namespace {

// 4 KiB of noise: calls at its beginning, then words that often look like frame records.
struct noise {
  static constexpr word base = 0x10000;
  static constexpr std::size_t size = 4096;
  unsigned char bytes[size + 8];
  std::uint64_t state;
  std::uint64_t reads = 0;

  std::uint64_t next() {
    state += 0x9e3779b97f4a7c15u;
    std::uint64_t x = state;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
  }
  void fill() {
    for (std::size_t i = 0; i < size; i += 8) {
      std::uint64_t value = next();
      const std::uint64_t what = value & 7;
      const bool record = what < 6 && i % 16 == 0;
      if (i < 512)
        value = what == 0 ? value >> 8 : 0xd0ff9090d0ff9090u;  // call *%rax, twice
      else if (record)
        value = base + i + 16 * ((value >> 8) % 4);  // a caller's fp
      else if (what < 6)
        value = base + 4 * ((value >> 8) % 128);  // a return address
      else if (what == 6)
        value = 0x25ff | (value & 0xfff0000);  // jmp *disp(%rip)
      std::memcpy(bytes + i, &value, 8);
    }
  }
  bool read_copy(word at, word& to) { return read_word(at, to); }
  bool read_word(word address, word& value) {
    ++reads;
    if (address < base || address > base + size - 8) return false;
    std::memcpy(&value, bytes + (address - base), 8);
    return true;
  }
  bool is_never_unloaded_sig(word address) const { return (address & 0x1000) == 0; }
  bool contains(word address) const { return address >= base && address < base + size; }
  // Half of the code has no rule; the other half has any.
  code_rule rule_at_sig(word pc, bool is_return, noise&) const {
    const word mixed = mix_bits(pc + (is_return ? 1 : 0));
    if ((mixed & 1) != 0) return {};
    unwind_rule rule = likely_rule(mixed);
    rule.kind = static_cast<rule_kind>(mixed >> 8 & 7);
    return {pack_rule_sig(rule) | ((mixed & 2) != 0 ? packed_is_exact : 0), 0};
  }
  bool known_rule_sig(word return_address, code_rule& known) {
    known = rule_at_sig(return_address, true, *this);
    return (return_address & 4) != 0;
  }
  unwind_rule interpret_sig(word pc, noise&) const { return likely_rule(mix_bits(pc)); }
  unwind_rule unpack_sig(packed_rule, word pc, noise&) const {
    unwind_rule rule = likely_rule(mix_bits(pc));
    rule.is_eh_return = (pc & 8) != 0;
    return rule;
  }
  word function_start_sig(word pc, noise&) const { return (pc & 256) != 0 ? pc & ~word{63} : 0; }
  static unwind_rule likely_rule(word mixed) {
    unwind_rule rule;
    rule.kind = rule_kind::offset;
    rule.reg = (mixed & 0x10000) != 0 ? dwarf_sp : static_cast<unsigned>(mixed >> 17 & 31);
    rule.offset = static_cast<std::int32_t>(mixed >> 24 & 127) * 8 - 64;
    rule.fp = {static_cast<saved_at>(mixed >> 32 & 3), -16};
    rule.rbx_or_lr = {static_cast<saved_at>(mixed >> 34 & 3), -24};
    return rule;
  }
};

}  // namespace

TEST_CASE("a hundred thousand walks over noise stay inside their buffer and end") {
  noise chaos{};
  chaos.state = 20240607;
  std::uint64_t deepest = 0;
  std::uint64_t most_reads = 0;
  bool inside = true;
  for (int i = 0; i < 100000; ++i) {
    if (i % 64 == 0) chaos.fill();
    constexpr std::size_t room = 40;
    word frames[room + 2];
    const std::size_t capacity = 1 + chaos.next() % room;
    for (word& frame : frames) frame = 0xdead;
    const registers start = {noise::base + chaos.next() % noise::size,
                             noise::base + chaos.next() % noise::size,
                             noise::base + chaos.next() % noise::size,
                             (i & 1) != 0 ? noise::base + chaos.next() % noise::size : 0, nullptr};
    chaos.reads = 0;
    stack_walk<noise, noise> walk(chaos, chaos, frames, capacity);
    const walked_stack walked = walk.run_sig(start, (i & 2) != 0);
    inside = inside && walked.depth >= 1 && walked.depth <= capacity;
    const bool marked = frames[walked.depth - 1] == truncation_mark;
    inside = inside && (!walked.truncated || walked.depth == capacity || marked);
    for (std::size_t k = capacity; k < room + 2; ++k) inside = inside && frames[k] == 0xdead;
    deepest = walked.depth > deepest ? walked.depth : deepest;
    most_reads = chaos.reads > most_reads ? chaos.reads : most_reads;
  }
  CHECK(inside);
  CHECK(deepest == 40);
  CHECK(most_reads < 40000);
}

#endif
