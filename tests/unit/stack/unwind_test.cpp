// tests/unit/stack/unwind_test.cpp - walks over fake stacks and fake code; decoding of call
// instructions by hand.

#include "prof/stack/unwind.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
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
  bool read_word(word address, word& value) {
    ++reads;
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
  std::vector<std::pair<word, word>> ranges;
  word function_table(word) const { return 0; }
  bool contains(word address) const {
    for (const auto& range : ranges) {
      if (address >= range.first && address < range.second) return true;
    }
    return false;
  }
};

// A program: text at 0x400000, functions every 0x1000, stack at 0x7000000.
constexpr word text = 0x400000;
constexpr word stack = 0x7000000;

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
  // Writes `call target` inside function n; returns the return address.
  word call(unsigned n, word target, word at = 0x20) {
    const word ra = function(n) + at + 5;
    const auto offset = static_cast<std::uint32_t>(target - ra);
    memory.put_bytes(ra - 5, {0xe8, offset & 0xff, offset >> 8 & 0xff, offset >> 16 & 0xff,
                              offset >> 24});
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
    frames.assign(capacity + 8, 0xdead);
    stack_walk<fake_memory, fake_code> walker(memory, code, frames.data(), capacity);
    walked = walker.run_sig(start, leaf_is_return);
    for (std::size_t i = capacity; i < frames.size(); ++i) CHECK(frames[i] == 0xdead);
    REQUIRE(walked.depth <= capacity);
    frames.resize(walked.depth);
  }
};

registers at(word pc, word sp, word fp) {
  registers r;
  r.pc = pc;
  r.sp = sp;
  r.fp = fp;
  return r;
}

// The 8 bytes that end with these.
std::uint64_t before(std::initializer_list<unsigned> last) {
  unsigned char bytes[8] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};
  std::size_t i = 8 - last.size();
  for (const unsigned value : last) bytes[i++] = static_cast<unsigned char>(value);
  std::uint64_t joined = 0;
  std::memcpy(&joined, bytes, 8);
  return joined;
}

call_kind kind_of(std::initializer_list<unsigned> last) {
  return call_before_sig(0x1000, before(last)).kind;
}

}  // namespace

// ---- decoding ----------------------------------------------------------------------------------

TEST_CASE("call rel32 is direct, with its target") {
  const call_site forward = call_before_sig(0x1000, before({0xe8, 0x10, 0, 0, 0}));
  CHECK(forward.kind == call_kind::direct);
  CHECK(forward.target == 0x1010);
  const call_site backward = call_before_sig(0x1000, before({0xe8, 0xf0, 0xff, 0xff, 0xff}));
  CHECK(backward.kind == call_kind::direct);
  CHECK(backward.target == 0xff0);
}

TEST_CASE("every form of an indirect call is recognised") {
  CHECK(kind_of({0xff, 0xd0}) == call_kind::indirect);                          // *%rax
  CHECK(kind_of({0xff, 0xd7}) == call_kind::indirect);                          // *%rdi
  CHECK(kind_of({0x41, 0xff, 0xd4}) == call_kind::indirect);                    // *%r12
  CHECK(kind_of({0x41, 0xff, 0xd5}) == call_kind::indirect);                    // *%r13
  CHECK(kind_of({0xff, 0x10}) == call_kind::indirect);                          // *(%rax)
  CHECK(kind_of({0xff, 0x13}) == call_kind::indirect);                          // *(%rbx)
  CHECK(kind_of({0x41, 0xff, 0x14, 0x24}) == call_kind::indirect);              // *(%r12)
  CHECK(kind_of({0xff, 0x14, 0xc8}) == call_kind::indirect);                    // *(%rax,%rcx,8)
  CHECK(kind_of({0xff, 0x50, 0x18}) == call_kind::indirect);                    // *0x18(%rax)
  CHECK(kind_of({0x41, 0xff, 0x55, 0x00}) == call_kind::indirect);              // *0(%r13)
  CHECK(kind_of({0xff, 0x54, 0x24, 0x08}) == call_kind::indirect);              // *8(%rsp)
  CHECK(kind_of({0xff, 0x54, 0xc8, 0x08}) == call_kind::indirect);              // *8(%rax,%rcx,8)
  CHECK(kind_of({0xff, 0x90, 0x00, 0x01, 0x00, 0x00}) == call_kind::indirect);  // *0x100(%rax)
  CHECK(kind_of({0xff, 0x15, 0x00, 0x01, 0x00, 0x00}) == call_kind::indirect);  // *0x100(%rip)
  CHECK(kind_of({0xff, 0x94, 0x24, 0x00, 0x01, 0x00, 0x00}) == call_kind::indirect);  // (%rsp)
  CHECK(kind_of({0x41, 0xff, 0x94, 0xc4, 0, 1, 0, 0}) == call_kind::indirect);  // (%r12,%rax,8)
}

TEST_CASE("an absolute indexed call is recognised: *disp32(,%rax,8)") {
  CHECK(kind_of({0xff, 0x14, 0xc5, 0x00, 0x10, 0x40, 0x00}) == call_kind::indirect);
}

TEST_CASE("all register and memory forms with every register") {
  for (unsigned base = 0; base < 8; ++base) {
    CAPTURE(base);
    CHECK(kind_of({0xff, 0xd0 + base}) == call_kind::indirect);
    if (base != 4) CHECK(kind_of({0xff, 0x50 + base, 0x11}) == call_kind::indirect);
    if (base != 4) CHECK(kind_of({0xff, 0x90 + base, 1, 2, 3, 4}) == call_kind::indirect);
    if (base != 4 && base != 5) CHECK(kind_of({0xff, 0x10 + base}) == call_kind::indirect);
  }
}

TEST_CASE("other instructions are no calls") {
  CHECK(kind_of({0x90}) == call_kind::none);
  CHECK(kind_of({0xff, 0xe0}) == call_kind::none);                          // jmp *%rax
  CHECK(kind_of({0xff, 0x25, 0, 1, 0, 0}) == call_kind::none);              // jmp *0x100(%rip)
  CHECK(kind_of({0xff, 0x30}) == call_kind::none);                          // push (%rax)
  CHECK(kind_of({0xff, 0xc0}) == call_kind::none);                          // inc %eax
  CHECK(kind_of({0xe9, 1, 0, 0, 0}) == call_kind::none);                    // jmp rel32
  CHECK(kind_of({0x48, 0x8b, 0x05, 1, 0, 0, 0}) == call_kind::none);        // mov
  CHECK(kind_of({0xc3}) == call_kind::none);                                // ret
  CHECK(call_before_sig(0x1000, 0).kind == call_kind::none);
  CHECK(call_before_sig(0x1000, ~std::uint64_t{0}).kind == call_kind::none);
}

// ---- frame records -----------------------------------------------------------------------------

TEST_CASE("a chain of frame records is followed to its root") {
  fixture f;
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

TEST_CASE("a leaf that is a return address is stored as its call") {
  fixture f;
  f.walk(at(f.function(0) + 8, stack, 0), 8, true);
  CHECK(f.frames == std::vector<word>{f.function(0) + 7});
}

TEST_CASE("fp 0 in the registers: only the leaf") {
  fixture f;
  f.walk(at(f.function(0), stack + 0x100, 0));
  CHECK(f.walked.depth == 1);
  CHECK_FALSE(f.walked.truncated);
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
    CHECK(f.walked.depth <= 2);
    for (std::size_t i = 1; i < f.frames.size(); ++i) CHECK(f.frames[i] == a - 1);
  }
}

TEST_CASE("a frame further away than the largest one is not believed") {
  fixture f;
  const word a = f.call(1, f.function(0));
  const word near = stack + max_frame_size;
  f.record(near, 0, a);
  f.walk(at(f.function(0), stack, near));
  CHECK(f.walked.depth == 2);
  f.record(near + 8, 0, a);
  f.walk(at(f.function(0), stack, near + 8));
  CHECK(f.walked.depth == 1);
}

TEST_CASE("a record below the stack pointer is not believed") {
  fixture f;
  const word elsewhere = f.call(1, f.function(9));
  f.record(stack + 0x100, 0, elsewhere);
  f.walk(at(f.function(0), stack + 0x110, stack + 0x100));
  CHECK(f.walked.depth == 1);
  const word into_leaf = f.call(1, f.function(0));
  f.record(stack + 0x100, 0, into_leaf);
  f.walk(at(f.function(0), stack + 0x108, stack + 0x100));  // only the scan finds it
  CHECK(f.walked.depth == 2);
  CHECK(f.walked.approximate);
}

TEST_CASE("records that point at each other cannot hold the walk") {
  fixture f;
  const word a = f.call(1, f.function(0));
  f.record(stack + 0x100, stack + 0x200, a);
  f.record(stack + 0x200, stack + 0x100, a);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100), 1024);
  CHECK(f.walked.depth <= 3);
  CHECK_FALSE(f.walked.truncated);
}

TEST_CASE("unreadable records end the walk") {
  fixture f;
  const word a = f.call(1, f.function(0));
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));  // nothing mapped
  CHECK(f.walked.depth == 1);
  f.record(stack + 0x100, stack + 0x200, a);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));  // the second one is missing
  CHECK(f.frames == std::vector<word>{f.function(0), a - 1});
  f.memory.put(stack + 0x200, 0);  // only half of it
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0), a - 1});
}

TEST_CASE("a return address that follows no call is not believed") {
  fixture f;
  f.record(stack + 0x100, 0, f.function(1) + 0x30);  // nops before it
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.walked.depth == 1);
  f.record(stack + 0x100, 0, 0);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.walked.depth == 1);
  f.record(stack + 0x100, 0, 5);
  f.walk(at(f.function(0), stack + 0x100, stack + 0x100));
  CHECK(f.walked.depth == 1);
}

TEST_CASE("the depth limit cuts and says so") {
  fixture f;
  const word ra = f.call(1, f.function(1));
  for (unsigned i = 0; i < 40; ++i) {
    f.record(stack + 0x100 + 16 * i, i == 39 ? 0 : stack + 0x110 + 16 * i, ra);
  }
  const registers start = at(f.function(1), stack + 0x100, stack + 0x100);
  f.walk(start, 10);
  CHECK(f.walked.depth == 10);
  CHECK(f.walked.truncated);
  f.walk(start, 42);
  CHECK(f.walked.depth == 41);
  CHECK_FALSE(f.walked.truncated);
  f.walk(start, 1);
  CHECK(f.walked.depth == 1);
  CHECK(f.walked.truncated);
}

// ---- functions without a frame pointer ---------------------------------------------------------

TEST_CASE("a frameless leaf is bridged by the word that leads into it") {
  fixture f;
  const word into_leaf = f.call(1, f.function(0));  // pushed by the call, near sp
  const word outer = f.call(2, f.function(1));
  f.memory.put(stack, 0x1234);          // a local of the leaf
  f.memory.put(stack + 8, into_leaf);   // its return address
  for (word at = stack + 16; at < stack + 0x100; at += 8) f.memory.put(at, 0);
  f.record(stack + 0x100, 0, outer);    // function 1's frame, fp untouched by the leaf
  f.walk(at(f.function(0) + 4, stack, stack + 0x100));
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, into_leaf - 1, outer - 1});
  CHECK(f.walked.approximate);
}

TEST_CASE("a word that leads somewhere else is not taken for the bridge") {
  fixture f;
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
  CHECK(f.walked.depth == 2);
  f.walk(at(f.function(2) + max_function_size, stack, 0));
  CHECK(f.walked.depth == 1);
}

TEST_CASE("a direct call that leads elsewhere is not believed even next to sp") {
  fixture f;
  const word elsewhere = f.call(1, f.function(9));
  for (word at = stack; at < stack + 0x800; at += 8) f.memory.put(at, 0);
  f.memory.put(stack, elsewhere);
  f.walk(at(f.function(0) + 4, stack, 0));
  CHECK(f.walked.depth == 1);
  const word proven = f.call(2, f.function(0));
  f.memory.put(stack + 16, proven);
  f.walk(at(f.function(0) + 4, stack, 0));
  REQUIRE(f.walked.depth >= 2);
  CHECK(f.frames[1] == proven - 1);
}

TEST_CASE("function starts are read from an .eh_frame_hdr") {
  fixture f;
  const word table = text + 0x20000;
  const auto put_entry = [&](word at, word start) {
    f.memory.put(at, (start - table) & 0xffffffffu);
  };
  f.memory.put_text(table, table + 0x100);
  f.memory.put(table, 0x3b031b01u);  // version 1, pcrel sdata4, udata4, datarel sdata4
  f.memory.put(table + 8, 3);
  put_entry(table + 12, f.function(0));
  put_entry(table + 20, f.function(1));
  put_entry(table + 28, f.function(3));
  CHECK(function_start_sig(table, f.function(0), f.memory) == f.function(0));
  CHECK(function_start_sig(table, f.function(1) - 1, f.memory) == f.function(0));
  CHECK(function_start_sig(table, f.function(1) + 5, f.memory) == f.function(1));
  CHECK(function_start_sig(table, f.function(7), f.memory) == f.function(3));
  CHECK(function_start_sig(table, f.function(0) - 1, f.memory) == 0);
  f.memory.put(table, 0x3b031b02u);  // another version
  CHECK(function_start_sig(table, f.function(1), f.memory) == 0);
  CHECK(function_start_sig(0, f.function(1), f.memory) == 0);
}

TEST_CASE("an indirect call is believed only next to the stack pointer") {
  for (std::size_t slot = 0; slot < 10; ++slot) {
    CAPTURE(slot);
    fixture f;
    for (word at = stack; at < stack + 0x800; at += 8) f.memory.put(at, 0);
    const word ra = f.indirect_call(1);
    f.memory.put(stack + 8 * slot, ra);
    f.walk(at(f.function(0), stack, 0));
    CHECK((f.walked.depth == 2) == (slot < indirect_words));
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
  CHECK(f.walked.depth == 1);
}

TEST_CASE("scanning has a budget per stack") {
  fixture f;
  const word again = f.call(0, f.function(0));
  for (word i = 0; i < 4000; ++i) {
    f.memory.put(stack + 8 * i, i % 50 == 49 ? again : 7);
  }
  f.memory.reads = 0;
  f.walk(at(f.function(0), stack, 0), 1000);
  CHECK(f.walked.depth == 1 + scan_budget / 50);
  CHECK(f.memory.reads < 4 * scan_budget);
}

TEST_CASE("a word outside of code is no return address, whatever stands before it") {
  fixture f;
  const word data = 0x600000;
  f.memory.put_bytes(data, {0xff, 0xd0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90});
  f.memory.put_bytes(data - 8, {0, 0, 0, 0, 0, 0, 0, 0});
  for (word at = stack; at < stack + 0x800; at += 8) f.memory.put(at, data + 2);
  f.walk(at(f.function(0), stack, 0));
  CHECK(f.walked.depth == 1);
}

// ---- stubs between a call and the function it enters
// -----------------------------------------------

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
  f.memory.put_bytes(f.stub, {0xe9, f.byte(offset, 0), f.byte(offset, 1), f.byte(offset, 2),
                              f.byte(offset, 3)});
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
      f.memory.put_bytes(here, {0xe9, f.byte(offset, 0), f.byte(offset, 1), f.byte(offset, 2),
                                f.byte(offset, 3)});
    }
    CHECK(f.leads_to_leaf() == (length < max_hops));
  }
  stub_fixture circle;
  circle.memory.put_bytes(circle.stub, {0xe9, 0xfb, 0xff, 0xff, 0xff});  // jumps to itself
  CHECK_FALSE(circle.leads_to_leaf());
}

// ---- a stored link register (aarch64) works on any machine's fake memory
// -----------------------------

TEST_CASE("a link register that is not stored yet is a frame of its own") {
  fixture f;
  const word lr = f.call(1, f.function(0));
  const word outer = f.call(2, f.function(1));
  f.record(stack + 0x100, 0, outer);
  registers start = at(f.function(0) + 4, stack + 0x100, stack + 0x100);
  start.lr = lr;
  f.walk(start);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, lr - 1, outer - 1});
  start.lr = outer;  // stored already: not twice
  f.walk(start);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, outer - 1});
  start.lr = 0x1234;  // garbage in a scratch register
  f.walk(start);
  CHECK(f.frames == std::vector<word>{f.function(0) + 4, outer - 1});
}

// ---- random bytes
// ------------------------------------------------------------------------------------

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
      if (i < 512) value = what == 0 ? value >> 8 : 0xd0ff9090d0ff9090u;  // call *%rax, twice
      else if (record) value = base + i + 16 * ((value >> 8) % 4);        // a caller's fp
      else if (what < 6) value = base + 4 * ((value >> 8) % 128);         // a return address
      else if (what == 6) value = 0x25ff | (value & 0xfff0000);           // jmp *disp(%rip)
      std::memcpy(bytes + i, &value, 8);
    }
  }
  bool read_word(word address, word& value) {
    ++reads;
    if (address < base || address > base + size - 8) return false;
    std::memcpy(&value, bytes + (address - base), 8);
    return true;
  }
  word function_table(word) const { return 0; }
  bool contains(word address) const { return address >= base && address < base + size; }
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
                             (i & 1) != 0 ? noise::base + chaos.next() % noise::size : 0};
    chaos.reads = 0;
    stack_walk<noise, noise> walk(chaos, chaos, frames, capacity);
    const walked_stack walked = walk.run_sig(start, (i & 2) != 0);
    inside = inside && walked.depth >= 1 && walked.depth <= capacity;
    inside = inside && (!walked.truncated || walked.depth == capacity);
    for (std::size_t k = capacity; k < room + 2; ++k) inside = inside && frames[k] == 0xdead;
    deepest = walked.depth > deepest ? walked.depth : deepest;
    most_reads = chaos.reads > most_reads ? chaos.reads : most_reads;
  }
  CHECK(inside);
  CHECK(deepest == 40);
  CHECK(most_reads < 40000);
}

#endif

#if PROF_DETAIL_OS_LINUX

// ---- the real thing
// ------------------------------------------------------------------------------------

TEST_CASE("probed memory reads what is there and nothing else") {
  using namespace prof::detail;
  probed_memory memory;
  const std::uintptr_t value = 0x1122334455667788;
  std::uintptr_t read = 0;
  CHECK(memory.read_word(reinterpret_cast<std::uintptr_t>(&value), read));
  CHECK(read == value);
  CHECK_FALSE(memory.read_word(0, read));
  CHECK_FALSE(memory.read_word(8, read));
  CHECK_FALSE(memory.read_word(~std::uintptr_t{0} - 3, read));
  char* const pages = static_cast<char*>(os_map_sig(8192));
  REQUIRE(pages != nullptr);
  os_unmap_sig(pages + 4096, 4096);
  const auto first = reinterpret_cast<std::uintptr_t>(pages);
  CHECK(memory.read_word(first + 4088, read));
  CHECK_FALSE(memory.read_word(first + 4092, read));  // over the edge
  CHECK_FALSE(memory.read_word(first + 4096, read));
  os_unmap_sig(pages, 4096);
}

namespace {

__attribute__((noinline)) prof::detail::registers my_caller() {
  return PROF_DETAIL_CALLER_REGISTERS();
}

}  // namespace

TEST_CASE("a hook's caller is the code that called it") {
  const auto start = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const prof::detail::registers caller = my_caller();
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  CHECK(start != caller.pc);
  CHECK(caller.sp <= frame + 16);
  CHECK(caller.sp > frame - 65536);
  CHECK(caller.lr == 0);
}

#endif
