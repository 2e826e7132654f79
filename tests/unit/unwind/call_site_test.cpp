// tests/unit/unwind/call_site_test.cpp - call instructions by hand, and the way from a call through
// stubs to a function.

#include "prof/unwind/call_site.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <map>

#if defined(__x86_64__)

namespace {

using namespace prof::detail;

using word = std::uintptr_t;

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

// Code here and there; everything else is unreadable.
struct fake_memory {
  std::map<word, unsigned char> bytes;

  void put(word address, std::initializer_list<unsigned> values) {
    for (const unsigned value : values) bytes[address++] = static_cast<unsigned char>(value);
  }
  void put_nops(word address, word limit) {
    for (; address < limit; ++address) bytes.insert({address, 0x90});
  }
  void put_jump(word address, word target) {  // jmp rel32
    const auto offset = static_cast<std::uint32_t>(target - (address + 5));
    put(address, {0xe9, offset & 0xff, offset >> 8 & 0xff, offset >> 16 & 0xff, offset >> 24});
  }
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

struct fixture {
  fake_memory memory;
  call_tracer<fake_memory> tracer{memory};
};

constexpr word here = 0x400000;
constexpr word elsewhere = 0x410000;

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
  CHECK(kind_of({0xff, 0x15, 0x00, 0x01, 0x00, 0x00}) == call_kind::by_slot);   // *0x100(%rip)
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
  CHECK(kind_of({0xff, 0xe0}) == call_kind::none);                    // jmp *%rax
  CHECK(kind_of({0xff, 0x25, 0, 1, 0, 0}) == call_kind::none);        // jmp *0x100(%rip)
  CHECK(kind_of({0xff, 0x30}) == call_kind::none);                    // push (%rax)
  CHECK(kind_of({0xff, 0xc0}) == call_kind::none);                    // inc %eax
  CHECK(kind_of({0xe9, 1, 0, 0, 0}) == call_kind::none);              // jmp rel32
  CHECK(kind_of({0x48, 0x8b, 0x05, 1, 0, 0, 0}) == call_kind::none);  // mov
  CHECK(kind_of({0xc3}) == call_kind::none);                          // ret
  CHECK(call_before_sig(0x1000, 0).kind == call_kind::none);
  CHECK(call_before_sig(0x1000, ~std::uint64_t{0}).kind == call_kind::none);
}

TEST_CASE("a call at the begin of a mapping is seen, though the page before it cannot be read") {
  fixture f;
  f.memory.put(here, {0xff, 0xd0, 0x90, 0xff, 0xd7, 0x90, 0x90, 0x90});  // call *%rax; nop; call *%rdi
  CHECK(f.tracer.is_return_address_sig(here + 2));
  CHECK(f.tracer.is_return_address_sig(here + 5));
  CHECK_FALSE(f.tracer.is_return_address_sig(here));      // nothing is known before it
  CHECK_FALSE(f.tracer.is_return_address_sig(here + 1));  // half a call
  CHECK_FALSE(f.tracer.is_return_address_sig(here + 3));
  CHECK_FALSE(f.tracer.is_return_address_sig(elsewhere + 2));
}

// ---- looking at code
// -----------------------------------------------------------------------------

TEST_CASE("a return address has a call before it that can be read") {
  fixture f;
  f.memory.put(here - 8, {0x90, 0x90, 0x90, 0xe8, 0x10, 0, 0, 0});
  CHECK(f.tracer.is_return_address_sig(here));
  CHECK(f.tracer.call_at_sig(here).target == here + 0x10);
  CHECK_FALSE(f.tracer.is_return_address_sig(here - 1));
  CHECK_FALSE(f.tracer.is_return_address_sig(here + 1));
  for (const word low : {word{0}, word{5}, word{4096}}) {
    CAPTURE(low);
    f.memory.put_nops(low, low + 8);
    CHECK_FALSE(f.tracer.is_return_address_sig(low));
  }
}

TEST_CASE("a call leads to where it goes, when that is known") {
  fixture f;
  CHECK(f.tracer.entered_through_sig(here, here + 0x99999, here));
  CHECK_FALSE(f.tracer.entered_through_sig(elsewhere, here + 4, here));
  CHECK_FALSE(f.tracer.entered_through_sig(here - 16, here + 4, here));
  CHECK_FALSE(f.tracer.entered_through_sig(0, here + 4, here));
}

TEST_CASE("without function starts a call leads to code closely behind its target") {
  fixture f;
  CHECK(f.tracer.entered_through_sig(here, here, 0));
  CHECK(f.tracer.entered_through_sig(here, here + max_function_size - 1, 0));
  CHECK_FALSE(f.tracer.entered_through_sig(here, here + max_function_size, 0));
  CHECK_FALSE(f.tracer.entered_through_sig(here + 1, here, 0));
}

TEST_CASE("call *disp(%rip) goes to what its slot holds; of another indirect call nothing is known") {
  const word slot = elsewhere + 0x100;
  fixture f;
  f.memory.put(here + 0x100, {0xff, 0x15, 0xfa, 0xff, 0, 0});
  f.memory.put(here + 0x0fe, {0x90, 0x90});
  f.memory.put(slot, {0, 0, 0x40, 0, 0, 0, 0, 0});
  const call_site call = f.tracer.call_at_sig(here + 0x106);
  CHECK(call.kind == call_kind::by_slot);
  CHECK(call.target == slot);
  CHECK(f.tracer.target_of_sig(call, here + 0x106) == here);
  f.memory.put(here + 0x100, {0x90, 0x90, 0x90, 0x90, 0xff, 0xd0});  // call *%rax
  const call_site other = f.tracer.call_at_sig(here + 0x106);
  CHECK(other.kind == call_kind::indirect);
  CHECK(f.tracer.target_of_sig(other, here + 0x106) == 0);
  f.memory.put(here + 0x101, {0xe8, 0xfa, 0xff, 0, 0});  // call rel32
  CHECK(f.tracer.target_of_sig(f.tracer.call_at_sig(here + 0x106), here + 0x106) == elsewhere + 0x100);
}

TEST_CASE("a jump out of the called function leads on, where function starts are known") {
  for (const word at : {word{0}, word{30}, word{95}, word{96}}) {
    CAPTURE(at);
    fixture f;
    f.memory.put_nops(elsewhere, elsewhere + 200);
    f.memory.put_jump(elsewhere + at, here);
    CHECK(f.tracer.entered_through_sig(elsewhere, here + 4, here) == (at < 96));
    CHECK_FALSE(f.tracer.entered_through_sig(elsewhere, here + 0x1004, here + 0x1000));
  }
}

TEST_CASE("push %rbp; mov %rsp,%rbp before a stub's jump are stepped over") {
  fixture f;
  const word slot = elsewhere + 0x100;
  f.memory.put(elsewhere, {0x55, 0x48, 0x89, 0xe5, 0x48, 0x8b, 0x05});
  CHECK(f.tracer.jump_target_sig(elsewhere) == 0);
  f.memory.put(elsewhere + 7, {0xf5, 0, 0, 0, 0x5d, 0xff, 0xe0});
  f.memory.put(slot, {0, 0, 0x40, 0, 0, 0, 0, 0});
  CHECK(f.tracer.jump_target_sig(elsewhere) == here);
  f.memory.put(elsewhere + 11, {0x90});  // the loaded word is not jumped to
  CHECK(f.tracer.jump_target_sig(elsewhere) == 0);
}

// ---- inside a PLT ------------------------------------------------------------------------------

namespace {

// How far above sp the return address is at an instruction of a PLT; -1: it is none of one.
int stub_depth(fixture& f, word pc) {
  word depth = 0;
  return f.tracer.stub_depth_sig(pc, depth) ? static_cast<int>(depth) : -1;
}

}  // namespace

TEST_CASE("a PLT's entry and its first one: the pushed words are known at each instruction") {
  fixture f;
  f.memory.put_nops(here - 16, here + 64);
  f.memory.put(here, {0xff, 0x35, 1, 2, 3, 0, 0xff, 0x25, 4, 5, 6, 0});  // push; jmp *
  f.memory.put(here + 16, {0xff, 0x25, 1, 2, 3, 0, 0x68, 7, 0, 0, 0, 0xe9, 0xe0, 0xff, 0xff, 0xff});
  CHECK(stub_depth(f, here) == 8);
  CHECK(stub_depth(f, here + 6) == 16);
  CHECK(stub_depth(f, here + 16) == 0);
  CHECK(stub_depth(f, here + 22) == 0);
  CHECK(stub_depth(f, here + 27) == 8);
}

TEST_CASE("a PLT's entries with endbr64 and bnd") {
  fixture f;
  f.memory.put_nops(here - 16, here + 64);
  f.memory.put(here, {0xf3, 0x0f, 0x1e, 0xfa, 0x68, 7, 0, 0, 0, 0xf2, 0xe9, 0xe0, 0xff, 0xff, 0xff});
  CHECK(stub_depth(f, here) == 0);
  CHECK(stub_depth(f, here + 4) == 0);
  CHECK(stub_depth(f, here + 9) == 8);
  f.memory.put(here + 32, {0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 1, 2, 3, 0});  // of .plt.sec
  CHECK(stub_depth(f, here + 32) == 0);
  CHECK(stub_depth(f, here + 36) == 0);
}

TEST_CASE("what is like a PLT's instruction, and none") {
  fixture f;
  f.memory.put_nops(here - 16, here + 64);
  CHECK(stub_depth(f, here) == -1);
  f.memory.put_jump(here + 16, elsewhere);  // a tail call: no push before it
  CHECK(stub_depth(f, here + 16) == -1);
  f.memory.put(here + 32, {0xf3, 0x0f, 0x1e, 0xfa, 0x90});  // a function's begin
  CHECK(stub_depth(f, here + 32) == -1);
  CHECK(stub_depth(f, elsewhere) == -1);  // cannot be read
}

#endif
