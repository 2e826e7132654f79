// tests/unit/unwind/stack_scan_test.cpp - return addresses among the words of a stack.

#include "prof/unwind/stack_scan.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <map>

#if defined(__x86_64__) && PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using word = std::uintptr_t;

// Code from 0x1000 to 0x2000 and words of a stack; what is not there cannot be read.
struct fake_memory {
  unsigned char code[0x1000];
  std::map<word, word> words;
  int reads = 0;

  fake_memory() { std::memset(code, 0x90, sizeof code); }
  bool read_word(word address, word& value) {
    ++reads;
    const auto found = words.find(address);
    if (found != words.end()) value = found->second;
    else if (address < 0x1000 || address + 8 > 0x1000 + sizeof code) return false;
    else std::memcpy(&value, code + (address - 0x1000), 8);
    return true;
  }
  bool read_copy(word address, word& value) { return read_word(address, value); }
};

struct fake_code {
  bool contains(word address) const noexcept { return address >= 0x1000 && address < 0x2000; }
  bool is_never_unloaded_sig(word) const noexcept { return true; }
  word function_start_sig(word, fake_memory&) const noexcept { return 0; }
};

constexpr word stack = 0x700000;
constexpr entered_function callee{0x1810, 0x1800};

struct fixture {
  fake_memory memory;
  fake_code code;
  return_addresses<fake_memory, fake_code> returns{memory, code};
  stack_scan<fake_memory, fake_code> scan{memory, code, returns};

  explicit fixture(word count = 32) {
    for (word i = 0; i < count; ++i) memory.words[stack + 8 * i] = 0;
  }
  // Return addresses of `call target` and `call *%rax` at a place.
  word call(word at, word target) {
    const auto offset = static_cast<std::uint32_t>(target - (at + 5));
    memory.code[at - 0x1000] = 0xe8;
    std::memcpy(memory.code + (at - 0x1000) + 1, &offset, sizeof offset);
    return at + 5;
  }
  word indirect_call(word at) {
    memory.code[at - 0x1000] = 0xff;
    memory.code[at - 0x1000 + 1] = 0xd0;
    return at + 2;
  }
  // Which word a scan takes, 0: none.
  word found(word limit, word near_limit) {
    word at = stack;
    word word_there = 0;
    if (!scan.find_sig(at, limit, near_limit, callee, word_there)) return 0;
    CHECK(memory.words[at] == word_there);
    return word_there;
  }
};

}  // namespace

TEST_CASE("scan: the first word whose call leads into the function") {
  fixture f;
  const word other = f.call(0x1100, 0x1900);
  const word right = f.call(0x1200, 0x1800);
  f.memory.words[stack + 8] = other;
  f.memory.words[stack + 16] = 0x1300;  // code, and no call
  f.memory.words[stack + 24] = right;
  CHECK(f.found(stack + 0x100, stack) == right);
  CHECK(f.found(stack + 32, stack) == right);
  CHECK(f.found(stack + 24, stack) == 0);
}

TEST_CASE("scan: an indirect call will do near the begin only") {
  fixture f;
  const word unknown = f.indirect_call(0x1100);
  f.memory.words[stack + 16] = unknown;
  CHECK(f.found(stack + 0x100, stack + 24) == unknown);
  CHECK(f.found(stack + 0x100, stack + 16) == 0);
}

TEST_CASE("scan: what stands behind the landing function's frame pointer will do, whatever it is") {
  fixture f;
  f.memory.words[stack + 8] = stack + 0x80;
  f.memory.words[stack + 16] = 0x1300;
  CHECK(f.found(stack + 0x100, stack) == 0);
  f.scan.land_sig(stack + 0x80, 0);
  CHECK(f.found(stack + 0x100, stack) == 0x1300);
  f.memory.words[stack - 8] = stack + 0x80;  // below the stack that is looked through
  f.memory.words[stack] = 0x1400;
  CHECK(f.found(stack + 0x100, stack) == 0x1300);
  f.memory.words[stack + 16] = 0x9000;  // but no code
  CHECK(f.found(stack + 0x100, stack) == 0);
  f.memory.words[stack + 0x88] = stack + 0x80;  // above the frame that it is of
  f.memory.words[stack + 0x90] = 0x1300;
  CHECK(f.found(stack + 0x100, stack) == 0);
}

TEST_CASE("scan: the only direct call, and that there are others") {
  fixture f;
  const word one = f.call(0x1100, 0x1800);
  bool others = false;
  CHECK(f.scan.find_direct_sig(stack, stack + 0x100, callee, others) == 0);
  f.memory.words[stack + 8] = f.indirect_call(0x1300);
  f.memory.words[stack + 16] = one;
  f.memory.words[stack + 40] = one;  // the same one
  CHECK(f.scan.find_direct_sig(stack, stack + 0x100, callee, others) == one);
  CHECK_FALSE(others);
  f.memory.words[stack + 48] = f.call(0x1200, 0x1800);
  CHECK(f.scan.find_direct_sig(stack, stack + 48, callee, others) == one);
  CHECK_FALSE(others);
  CHECK(f.scan.find_direct_sig(stack, stack + 0x100, callee, others) == one);
  CHECK(others);
}

TEST_CASE("scan: a word that points to where a value is kept further out") {
  fixture f;
  f.memory.words[stack + 8] = stack + 0x60;
  f.memory.words[stack + 0x60] = stack + 0x80;
  CHECK(f.scan.points_to_sig(stack, stack + 0x40, stack + 0x80));
  CHECK_FALSE(f.scan.points_to_sig(stack, stack + 0x40, stack + 0x88));
  CHECK_FALSE(f.scan.points_to_sig(stack, stack + 8, stack + 0x80));
  CHECK_FALSE(f.scan.points_to_sig(stack, stack + 0x68, stack + 0x80));  // its own frame's place
  f.memory.words[stack + 8] = 0x5000;  // cannot be read
  CHECK_FALSE(f.scan.points_to_sig(stack, stack + 0x40, stack + 0x80));
}

TEST_CASE("scan: all scans of a walk share a budget, and end where nothing can be read") {
  fixture f(2 * scan_budget);
  const word right = f.call(0x1200, 0x1800);
  const word end = stack + 16 * scan_budget;
  f.memory.words[stack + 8 * (scan_budget - 1)] = right;
  SUBCASE("of words whose calls lead elsewhere") {
    const word other = f.call(0x1300, 0x1900);
    const std::size_t looks = scan_budget / (1 + code_cost);
    for (std::size_t i = 0; i <= looks; ++i) f.memory.words[stack + 8 * i] = other;
    f.memory.words[stack + 8 * looks] = right;
    CHECK(f.found(end, stack) == right);
    f.memory.words[stack + 8 * looks] = other;
    f.memory.words[stack + 8 * (looks + 1)] = right;
    CHECK(f.found(end, stack) == 0);
  }
  bool others = false;
  SUBCASE("of one") { CHECK(f.found(end, stack) == right); }
  SUBCASE("of two") {
    CHECK(f.scan.find_direct_sig(stack + 8, stack + 16, callee, others) == 0);
    CHECK(f.found(end, stack) == 0);
    CHECK_FALSE(f.scan.points_to_sig(stack, end, stack));
    CHECK(f.memory.reads <= static_cast<int>(scan_budget) + 1);
  }
  SUBCASE("not readable") {
    f.memory.words.erase(stack + 80);
    CHECK(f.found(end, stack) == 0);
    CHECK(f.memory.reads == 11);
  }
}

#endif
