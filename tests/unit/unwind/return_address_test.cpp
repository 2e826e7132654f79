// tests/unit/unwind/return_address_test.cpp - words that are return addresses of one function and not of another,
// in code that stays and in code that may go.

#include "prof/unwind/return_address.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if defined(__x86_64__) && PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using word = std::uintptr_t;

// Code at 0x1000: of its two pages the second may be unloaded. The first read of each is counted by its way.
struct fake_memory {
  static constexpr word base = 0x1000;
  unsigned char code[0x2000];
  int loads = 0;
  int copies = 0;

  fake_memory() { std::memset(code, 0x90, sizeof code); }
  bool fetch(word address, word& value) const {
    if (address < base || address + 8 > base + sizeof code) return false;
    std::memcpy(&value, code + (address - base), 8);
    return true;
  }
  bool read_word(word address, word& value) { return ++loads, fetch(address, value); }
  bool read_copy(word address, word& value) { return ++copies, fetch(address, value); }
  // Writes `call target`; returns its return address.
  word call(word at, word target) {
    const auto offset = static_cast<std::uint32_t>(target - (at + 5));
    code[at - base] = 0xe8;
    std::memcpy(code + (at - base) + 1, &offset, sizeof offset);
    return at + 5;
  }
  word indirect_call(word at) {
    code[at - base] = 0xff;
    code[at - base + 1] = 0xd0;
    return at + 2;
  }
};

struct fake_code {
  bool is_never_unloaded_sig(word address) const noexcept { return address < 0x2000; }
};

struct fixture {
  fake_memory memory;
  fake_code code;
  return_addresses<fake_memory, fake_code> returns{memory, code};
};

}  // namespace

TEST_CASE("a word behind a call is a return address; code that may go is only copied") {
  for (const word page : {word{0x1000}, word{0x2000}}) {
    CAPTURE(page);
    fixture f;
    const word direct = f.memory.call(page + 0x20, page + 0x400);
    const word indirect = f.memory.indirect_call(page + 0x40);
    CHECK(f.returns.is_return_sig(direct));
    CHECK(f.returns.is_return_sig(indirect));
    CHECK_FALSE(f.returns.is_return_sig(direct + 1));
    CHECK_FALSE(f.returns.is_return_sig(page + 0x80));
    CHECK((f.memory.loads == 0) == (page == 0x2000));
    CHECK((f.memory.copies == 0) == (page == 0x1000));
  }
  fixture f;
  for (const word garbage : {word{0}, word{2}, word{0x800}, word{0x9000}, ~word{0}}) {
    CHECK_FALSE(f.returns.is_return_sig(garbage));
  }
}

TEST_CASE("a call leads into the function that it enters, not into another") {
  for (const word page : {word{0x1000}, word{0x2000}}) {
    CAPTURE(page);
    fixture f;
    const word direct = f.memory.call(page + 0x20, 0x1400);
    CHECK(f.returns.leads_sig(direct, {0x1433, 0x1400}, false));
    CHECK_FALSE(f.returns.leads_sig(direct, {0x1533, 0x1500}, true));
    CHECK_FALSE(f.returns.leads_sig(page + 0x80, {0x1433, 0x1400}, true));
    const word indirect = f.memory.indirect_call(page + 0x40);
    CHECK(f.returns.leads_sig(indirect, {0x1433, 0x1400}, true));
    CHECK_FALSE(f.returns.leads_sig(indirect, {0x1433, 0x1400}, false));
    CHECK((f.memory.copies == 0) == (page == 0x1000));
  }
}

TEST_CASE("a stub of code that stays leads into code that may go, which is only copied") {
  fixture f;
  const word direct = f.memory.call(0x1020, 0x1800);
  const unsigned char stub[] = {0xff, 0x25, 0xfa, 0x07, 0, 0};  // jmp *0x7fa(%rip): the word at 0x2000
  std::memcpy(f.memory.code + 0x800, stub, sizeof stub);
  const word target = 0x2400;
  std::memcpy(f.memory.code + 0x1000, &target, sizeof target);
  CHECK(f.returns.leads_sig(direct, {0x2433, 0x2400}, false));
  f.memory.loads = f.memory.copies = 0;
  CHECK_FALSE(f.returns.leads_sig(direct, {0x2533, 0x2500}, false));
  CHECK(f.memory.loads == 3);  // the call, the stub, its slot
  CHECK(f.memory.copies > 0);
}

TEST_CASE("where no function is known, a call to what lies a little before will do") {
  fixture f;
  const word direct = f.memory.call(0x1020, 0x1400);
  CHECK(f.returns.leads_sig(direct, {0x1433, 0}, false));
  CHECK_FALSE(f.returns.leads_sig(direct, {0x13ff, 0}, false));
  CHECK_FALSE(f.returns.leads_sig(direct, {0x1400 + max_function_size, 0}, false));
}

#endif
