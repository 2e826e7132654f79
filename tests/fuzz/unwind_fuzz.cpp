// tests/fuzz/unwind_fuzz.cpp - any registers, stack words and rules: a walk ends, keeps to its buffer and to
// a bounded number of reads, and marks what is missing.
//
// Memory is a window of words drawn from the input, everything else is unreadable; the rule of an address
// is drawn from a list of rules that comes with it.

#include "prof/unwind/unwind.hpp"

#include "fuzz.hpp"

namespace {

using namespace prof::detail;

constexpr std::uintptr_t window = 0x7f0000001000;

struct window_memory {
  std::vector<std::uintptr_t> words;
  std::size_t reads = 0;

  bool read_copy(std::uintptr_t at, std::uintptr_t& to) noexcept { return read_word(at, to); }
  bool read_word(std::uintptr_t address, std::uintptr_t& word) noexcept {
    ++reads;
    const std::uintptr_t at = address - window;
    if (address < window || at + 8 > words.size() * 8) return false;
    std::memcpy(&word, reinterpret_cast<const char*>(words.data()) + at, 8);
    return true;
  }
};

struct drawn_rules {
  std::vector<packed_rule> rules;

  bool is_never_unloaded_sig(std::uintptr_t address) const noexcept { return (address & 0x1000) == 0; }
  bool contains(std::uintptr_t address) const noexcept { return address % 3 != 0; }
  bool known_rule_sig(std::uintptr_t pc, code_rule& known) const noexcept {
    known = {rules[pc % rules.size()], 0};
    return pc % 2 == 0;
  }
  code_rule rule_at_sig(std::uintptr_t pc, bool, window_memory&) const noexcept {
    return {rules[pc % rules.size()], 0};
  }
  unwind_rule unpack_sig(packed_rule, std::uintptr_t pc, window_memory& memory) const noexcept { return interpret_sig(pc, memory); }
  unwind_rule interpret_sig(std::uintptr_t pc, window_memory&) const noexcept {
    unwind_rule rule = unpack_rule_sig(rules[pc / 2 % rules.size()]);
    rule.is_eh_return = pc / 4 % 2 == 0;
    return rule;
  }
  std::uintptr_t function_start_sig(std::uintptr_t pc, window_memory&) const noexcept {
    return pc % 5 == 0 ? 0 : pc & ~std::uintptr_t{63};
  }
};

registers draw_registers(fuzz::source& from) {
  registers start;
  start.pc = from.number<std::uint32_t>();
  start.sp = window + from.number<std::uint16_t>() % 4096;
  start.fp = from.byte() % 4 == 0 ? from.number<std::uint64_t>() : start.sp + from.byte() * 8u;
  start.rbx_or_lr = window + from.number<std::uint16_t>();
  return start;
}

// Words that look like what stacks hold: addresses of the window, of code, anything.
std::uintptr_t draw_word(fuzz::source& from) {
  const std::uint8_t kind = from.byte();
  if (kind % 3 == 0) return window + from.number<std::uint16_t>() % 4096;
  return kind % 3 == 1 ? from.number<std::uint32_t>() : from.number<std::uint64_t>();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source from(data, size);
  drawn_rules rules;
  window_memory memory;
  const std::size_t capacity = 1 + from.byte() % 64;
  const bool is_return = from.byte() % 2 == 0;
  const registers start = draw_registers(from);
  for (unsigned i = 0, count = 1 + from.byte() % 8; i < count; ++i) {
    rules.rules.push_back(from.number<packed_rule>());
  }
  while (!from.empty() && memory.words.size() < 1024) memory.words.push_back(draw_word(from));

  std::vector<std::uintptr_t> frames(capacity);  // ends where a sanitizer sees it
  stack_walk<window_memory, drawn_rules> walk(memory, rules, frames.data(), capacity);
  const walked_stack walked = walk.run_sig(start, is_return);
  FUZZ_REQUIRE(walked.depth >= 1 && walked.depth <= capacity);
  const std::uintptr_t pc = frame_address_sig(start.pc);
  const std::uintptr_t call = frame_address_sig(start.pc - 1);
  FUZZ_REQUIRE(frames[0] == pc || frames[0] == call || frames[0] == truncation_mark);
  std::size_t marks = 0;
  for (std::size_t i = 0; i < walked.depth; ++i) marks += frames[i] == truncation_mark ? 1 : 0;
  FUZZ_REQUIRE(!walked.truncated || marks != 0 || capacity == 1);
  // Twice the most that a search of a minute found, 10,000. What has no end, or is done again for every frame, would
  // read more: the window has a thousand words, the scans may look at two thousand.
  FUZZ_REQUIRE(memory.reads <= 20000);
  return 0;
}
