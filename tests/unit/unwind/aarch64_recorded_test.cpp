// tests/unit/unwind/aarch64_recorded_test.cpp - the pure walk over stacks that were recorded on aarch64: a
// leaf without a frame, every stage of a prologue, a frame of variable size, a signal's; return addresses
// signed and not, with frame records and without.

#include "prof/unwind/unwind.hpp"

#include "prof/unwind/cfi_program.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cfi_bytes.hpp"

#if defined(__aarch64__) && PROF_DETAIL_OS_LINUX

#include "aarch64_frames.hpp"

namespace {

using namespace prof::detail;
using recorded::recorded_function;
using recorded::recorded_sample;
using recorded::recorded_word;

// The stack of one sample and the code of its program; everything else is unreadable.
struct recorded_memory {
  std::map<std::uintptr_t, std::uintptr_t> words;
  std::uintptr_t stack = 0;
  std::uintptr_t limit = 0;

  bool aligned_word(std::uintptr_t address, std::uintptr_t& value) const {
    const auto found = words.find(address);
    value = found == words.end() ? 0 : found->second;
    return found != words.end() || (address >= stack && address < limit);
  }
  bool read_copy(std::uintptr_t at, std::uintptr_t& to) const { return read_word(at, to); }
  bool read_word(std::uintptr_t address, std::uintptr_t& value) const {
    const unsigned shift = static_cast<unsigned>(address & 7) * 8;
    std::uintptr_t next = 0;
    if (!aligned_word(address & ~std::uintptr_t{7}, value)) return false;
    if (shift == 0) return true;
    if (!aligned_word((address & ~std::uintptr_t{7}) + 8, next)) return false;
    value = value >> shift | next << (64 - shift);
    return true;
  }
};

// Rules by the recorded call frame information, or none.
struct recorded_code {
  const std::vector<recorded_function>& functions;
  bool has_rules;
  std::unique_ptr<cfi_scratch> scratch = std::make_unique<cfi_scratch>();

  const recorded_function* find(std::uintptr_t pc) const {
    for (const recorded_function& one : functions) {
      if (pc - one.begin < one.size) return &one;
    }
    return nullptr;
  }
  bool is_never_unloaded_sig(std::uintptr_t address) const noexcept { return (address & 0x1000) == 0; }
  bool contains(std::uintptr_t address) const { return find(address) != nullptr; }
  bool known_rule_sig(std::uintptr_t, code_rule&) const { return false; }
  std::uintptr_t function_start_sig(std::uintptr_t pc, recorded_memory&) const {
    return has_rules && contains(pc) ? find(pc)->begin : 0;
  }
  unwind_rule unpack_sig(packed_rule, std::uintptr_t pc, recorded_memory& memory) const { return interpret_sig(pc, memory); }
  unwind_rule interpret_sig(std::uintptr_t pc, recorded_memory&) const {
    const recorded_function* const function = has_rules ? find(pc) : nullptr;
    if (function == nullptr) return {};
    cie_text cie;
    cie.letters = function->is_signal_frame ? "zRS" : "zR";
    cie.code_align = function->code_align;
    cie.data_align = function->data_align;
    cie.return_register = dwarf_rbx_or_lr;
    cie.instructions = cfi_text().text(function->cie);
    cfi_section_text section;
    section.cie(cie);
    const std::size_t entry = section.fde(function->begin, function->size,
                                          cfi_text().text(function->instructions));
    scratch->fde = {};
    REQUIRE(parse_fde_sig(section.at(entry), section.section(), scratch->fde));
    return find_row_sig(*scratch, pc);
  }
  code_rule rule_at_sig(std::uintptr_t pc, bool is_return, recorded_memory& memory) const {
    const bool called = is_return && call_tracer<recorded_memory>(memory).is_return_address_sig(pc);
    packed_rule rule = pack_rule_sig(interpret_sig(called ? pc - 1 : pc, memory));
    if (rule == 0 && os_is_signal_return_sig(pc, memory)) {
      rule = static_cast<packed_rule>(rule_kind::signal_frame);
    }
    return {rule != 0 && is_return && !called ? rule | packed_is_exact : rule, 0};
  }
  std::string name(std::uintptr_t address, recorded_memory& memory) const {
    if (contains(address)) return find(address)->name;
    return os_is_signal_return_sig(address, memory) ? "trampoline" : "?";
  }
};

struct walked_sample {
  std::string names;  // from the leaf on
  bool complete = false;
  bool exact = false;
};

walked_sample walk(const recorded_sample& sample, const std::vector<recorded_function>& functions,
                   const std::vector<recorded_word>& code_words, bool has_rules) {
  recorded_memory memory;
  memory.stack = sample.sp;
  memory.limit = sample.limit;
  for (const recorded_word& word : code_words) memory.words[word.address] = word.value;
  for (const recorded_word& word : sample.words) memory.words[word.address] = word.value;
  recorded_code code{functions, has_rules};
  registers start;
  start.pc = sample.pc;
  start.sp = sample.sp;
  start.fp = sample.fp;
  start.rbx_or_lr = sample.lr;
  std::uintptr_t frames[32];
  stack_walk<recorded_memory, recorded_code> walker(memory, code, frames, 32);
  const walked_stack found = walker.run_sig(start, false);
  walked_sample walked;
  for (std::size_t i = 0; i < found.depth; ++i) walked.names += code.name(frames[i], memory) + " ";
  walked.complete = !found.truncated;
  walked.exact = !found.approximate;
  return walked;
}

std::string expected(const std::string& name) {
  std::string names = "staged stages ";
  if (name == "leaf") names = "leaf middle ";
  if (name == "variable") names = "leaf variable ";
  if (name == "signal") names = "leaf handler trampoline interrupted interrupts ";
  return names + "main libc libc _start ";
}

bool is_signed(std::uintptr_t address) { return strip_address_sig(address) != address; }

}  // namespace

TEST_CASE("aarch64: recorded stacks with frame records, by rules") {
  using namespace recorded::frame_records;
  REQUIRE(samples.size() == 10);
  for (const recorded_sample& sample : samples) {
    CAPTURE(std::string(sample.name));
    CAPTURE(sample.pc);
    const walked_sample walked = walk(sample, functions, code, true);
    CHECK(walked.names == expected(sample.name));
    CHECK(walked.complete);
    CHECK(walked.exact);
  }
}

TEST_CASE("aarch64: recorded stacks without frame records, return addresses signed") {
  using namespace recorded::signed_addresses;
  REQUIRE(samples.size() == 10);
  for (const recorded_sample& sample : samples) {
    CAPTURE(std::string(sample.name));
    CAPTURE(sample.pc);
    const walked_sample walked = walk(sample, functions, code, true);
    CHECK(walked.names == expected(sample.name));
    CHECK(walked.complete);
    CHECK(walked.exact);
  }
}

TEST_CASE("aarch64: frame records and the link register tell where no rule does") {
  using namespace recorded::frame_records;
  for (const recorded_sample& sample : samples) {
    const std::string name = sample.name;
    if (name != "leaf" && name != "variable") continue;  // the others need rules
    CAPTURE(name);
    const walked_sample walked = walk(sample, functions, code, false);
    // At the root the last resort may find one more word that looks like a caller.
    CHECK(walked.names.substr(0, expected(name).size()) == expected(name));
    CHECK((walked.names == expected(name) || !walked.exact));
  }
}

TEST_CASE("aarch64: what was recorded is what these tests are about") {
  std::size_t signed_registers = 0;
  for (const recorded_sample& sample : recorded::signed_addresses::samples) {
    signed_registers += is_signed(sample.lr) ? 1U : 0U;
    std::size_t signed_words = 0;
    for (const recorded_word& word : sample.words) {
      const std::uintptr_t plain = strip_address_sig(word.value);
      for (const recorded_function& function : recorded::signed_addresses::functions) {
        signed_words += is_signed(word.value) && plain - function.begin < function.size ? 1U : 0U;
      }
    }
    CHECK(signed_words >= 1);
  }
  CHECK(signed_registers >= 2);
}

#endif
