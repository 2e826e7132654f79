// Walks from random registers over a stack of random words, through all that a handler's walk goes through:
// this process's code map and loader, real rules, reads of real memory. Nothing faults, there are no more frames
// than asked for, and a walk takes less than 100 ms of CPU (the longest of 400,000 at -O2: 1.7 ms, first looks at libLLVM).

#include "fuzz.hpp"

#include "prof/process/attach.hpp"
#include "prof/process/capture.hpp"

#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

#include <new>

namespace {

using namespace prof::detail;

constexpr std::size_t page = 4096;
constexpr std::size_t window_bytes = 2 * page;

// Two pages between two that cannot be read.
char* window() {
  static char* const made = [] {
    void* const all = mmap(nullptr, window_bytes + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char* const inside = static_cast<char*>(all) + page;
    FUZZ_REQUIRE(mprotect(inside, window_bytes, PROT_READ | PROT_WRITE) == 0);
    return inside;
  }();
  return made;
}

process_state& process() {
  static process_state* const made = [] {
    process_state* const state = process_sig();
    FUZZ_REQUIRE(state != nullptr);
    refresh_code_map(*state);
    return state;
  }();
  return *made;
}

// An address of the code that the map lists, by any number.
std::uintptr_t code_address(std::uint32_t number) {
  const code_map& map = *process().code.load();
  const code_range& range = map.ranges[number % map.current];
  return range.start + (number >> 4) % (range.limit - range.start + 16);
}

std::uintptr_t draw(fuzz::source& from) {
  const auto at = reinterpret_cast<std::uintptr_t>(window());
  switch (from.byte() % 8) {
    case 0: return from.number<std::uint64_t>();
    case 1: return from.byte();
    case 2: return ~std::uintptr_t{0} - from.byte();
    case 3: return at + window_bytes - from.byte() % 64u;
    case 4:
    case 5: return at + from.number<std::uint16_t>() % window_bytes / 8 * 8;
    default: return code_address(from.number<std::uint32_t>());
  }
}

std::uint64_t cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source from(data, size);
  static ucontext_t context;
  const bool is_return = from.byte() % 4 == 0;
  for (greg_t& value : context.uc_mcontext.gregs) value = static_cast<greg_t>(draw(from));
  for (std::size_t i = 0; i < window_bytes; i += 8) {
    const std::uintptr_t word = from.empty() ? 0 : draw(from);
    std::memcpy(window() + i, &word, sizeof word);
  }
  registers start = os_registers_sig(&context);
  if (is_return) start.context = nullptr;

  const frame_lease lease(process(), os_thread_id_sig());
  FUZZ_REQUIRE(lease.buffer() != nullptr);
  frame_buffer& buffer = *lease.buffer();
  auto& scratch = *new (static_cast<void*>(buffer.scratch)) walk_scratch(process(), buffer);
  const std::uint64_t before = cpu_ns();
  const walked_stack walked = scratch.walk.run_sig(start, is_return);
  FUZZ_REQUIRE(cpu_ns() - before < 10000000);  // 2 ms were measured; with the sanitizer several times that
  FUZZ_REQUIRE(walked.depth >= 1 && walked.depth <= default_depth);
  std::size_t marks = 0;
  for (std::size_t i = 0; i < walked.depth; ++i) marks += buffer.frames[i] == truncation_mark ? 1 : 0;
  FUZZ_REQUIRE(!walked.truncated || marks != 0);  // an interrupted pc may be the same number
  return 0;
}
