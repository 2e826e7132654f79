// tests/fuzz/code_fuzz.cpp - any bytes as machine code: whoever reads it ends within a bounded
// number of reads, and finds rules that a walk can use.
//
// The bytes are a window with nothing readable around it, as at the ends of a mapping.

#include "prof/unwind/call_site.hpp"
#include "prof/unwind/exit_path.hpp"

#include "fuzz.hpp"

namespace {

using namespace prof::detail;

constexpr std::uintptr_t window = 0x7f0000001000;

struct code_memory {
  text_view bytes;
  std::size_t reads = 0;

  bool read_word(std::uintptr_t address, std::uintptr_t& word) noexcept {
    ++reads;
    const std::uintptr_t at = address - window;
    if (address < window || bytes.size < sizeof word || at > bytes.size - sizeof word) return false;
    std::memcpy(&word, bytes.data + at, sizeof word);
    return true;
  }
};

void check_rule(const unwind_rule& rule) {
  if (rule.kind == rule_kind::none) return;
  FUZZ_REQUIRE(rule.kind == rule_kind::offset && rule.return_register == on_stack);
  const bool known = rule.reg == never_returns || rule.reg == read_from_code + dwarf_sp ||
                     rule.reg == read_from_code + dwarf_fp;
  FUZZ_REQUIRE(known);
  const packed_rule packed = pack_rule_sig(rule);
  FUZZ_REQUIRE(packed != 0);
  FUZZ_REQUIRE(kind_of_sig(packed) == rule_kind::unpackable || unpack_rule_sig(packed) == rule);
}

void check_exit(std::uintptr_t begin, code_memory& memory) {
#if defined(__x86_64__)
  memory.reads = 0;
  exit_path<code_memory> path(begin, memory);
  check_rule(path.find_sig());
  FUZZ_REQUIRE(memory.reads <=
               2 * 1500);  // two words an instruction, as many instructions as it says
#else
  (void)begin;
  (void)memory;
#endif
}

// An indirect call has a target only where its last five bytes are a direct call to it: x86-64's e8.
void check_either_call(std::uintptr_t return_address, std::uintptr_t target, const code_memory& memory) {
  const std::uintptr_t end = return_address - window;
  FUZZ_REQUIRE(end >= 5 && end <= memory.bytes.size);
  const char* const last = memory.bytes.data + end - 5;
  std::int32_t offset = 0;
  std::memcpy(&offset, last + 1, sizeof offset);
  FUZZ_REQUIRE(last[0] == '\xe8');
  FUZZ_REQUIRE(target == return_address + static_cast<std::uintptr_t>(std::intptr_t{offset}));
}

void check_calls(std::uintptr_t at, std::uintptr_t here, code_memory& memory) {
  constexpr std::size_t of_a_jump = 4;  // endbr64, bnd and push before it
  memory.reads = 0;
  call_tracer<code_memory> tracer(memory);
  const call_site call = tracer.call_at_sig(at);
  FUZZ_REQUIRE(call.kind != call_kind::none || call.target == 0);
  if (call.kind == call_kind::indirect && call.target != 0) check_either_call(at, call.target, memory);
  const std::uintptr_t target = tracer.target_of_sig(call, at);
  FUZZ_REQUIRE(target == call.target || call.kind == call_kind::by_slot);
  FUZZ_REQUIRE(tracer.is_return_address_sig(at) == (call.kind != call_kind::none));
  FUZZ_REQUIRE(memory.reads <= 5);  // a slot's word
  std::uintptr_t depth = 0;
  if (tracer.stub_depth_sig(at, depth)) FUZZ_REQUIRE(depth <= 16 && depth % 8 == 0);
  memory.reads = 0;
  (void)tracer.entered_through_sig(target, at, here);
  FUZZ_REQUIRE(memory.reads <= of_a_jump * max_hops + 96 * (1 + of_a_jump * max_hops));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source from(data, size);
  const std::uintptr_t begin = window + from.byte();
  const std::uintptr_t here = from.byte() % 4 == 0 ? 0 : window + from.byte();
  code_memory memory{from.rest()};
  if (memory.bytes.size > 4096) return 0;
  check_exit(begin, memory);
  check_calls(begin, here, memory);
  return 0;
}
