#include "sampler.hpp"

#include <prof/process/attach.hpp>
#include <prof/process/capture.hpp>
#include <sys/mman.h>
#include <ucontext.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

using namespace prof::detail;

constexpr std::size_t most_frames = max_depth;
constexpr std::size_t most_samples = 60000;
constexpr std::size_t most_words = std::size_t{2} << 20;

struct sample {
  bool stepped;
  bool truncated;
  bool approximate;
  std::size_t first;
  std::size_t depth;
};

process_state* g_process;
const char* g_only;
sample g_samples[most_samples];
std::size_t g_sample_count;
std::uintptr_t g_words[most_words];
std::size_t g_word_count;

// As capture_stack_sig walks, but into the given frames.
walked_stack walk(const registers& start, std::uintptr_t* frames) {
  const frame_lease lease(*g_process, os_thread_id_sig());
  frame_buffer& buffer = *lease.buffer();
  auto& scratch = *new (static_cast<void*>(buffer.scratch)) walk_scratch(*g_process, buffer);
  const walked_stack walked = scratch.walk.run_sig(start, false);
  for (std::size_t i = 0; i < walked.depth; ++i) frames[i] = frame_address_sig(buffer.frames[i]);
  return walked;
}

bool wanted(std::uintptr_t pc) {
  if (g_only == nullptr) return true;
  const code_range* const range = g_process->code.load()->find_current(pc);
  return range != nullptr && std::strstr(range->path, g_only) != nullptr;
}

void keep(const registers& start, bool stepped) {
  if (stepped && !wanted(start.pc)) return;
  if (g_sample_count == most_samples || g_word_count + most_frames > most_words) {
    std::fputs("too many samples\n", stderr);
    std::_Exit(3);
  }
  const walked_stack walked = walk(start, g_words + g_word_count);
  g_samples[g_sample_count++] = {stepped, walked.truncated, walked.approximate, g_word_count,
                                 walked.depth};
  g_word_count += walked.depth;
}

void on_trap(int, siginfo_t* info, void* data) {
  auto* const context = static_cast<ucontext_t*>(data);
  keep(os_registers_sig(context), info->si_code == TRAP_TRACE);
#if defined(__aarch64__)
  context->uc_mcontext.pc += 4;  // brk is reported at itself, int3 behind
#endif
}

void print_modules() {
  std::puts("modules");
  const code_map* const map = read_code_map_sig(nullptr, g_process->registry);
  for (std::size_t i = 0; i < map->count; ++i) {
    const code_range& range = map->ranges[i];
    std::printf("module %lx %lx %lx %s\n", static_cast<unsigned long>(range.start),
                static_cast<unsigned long>(range.limit), static_cast<unsigned long>(range.header),
                range.path);
  }
  os_unmap_sig(const_cast<code_map*>(map), map->bytes);
}

}  // namespace

extern "C" {

void build_all_tables(void) {
  refresh_code_map(*g_process);
  const code_map* const map = g_process->code.load();
  for (std::size_t i = 0; i < map->current; ++i) {
    if (map->ranges[i].module != nullptr) map->ranges[i].module->wanted.store(true);
  }
  refresh_code_map(*g_process);
}

void begin_sampling(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOFBF, 1 << 16);
  g_process = process_sig();
  refresh_code_map(*g_process);
  if (argc > 1 && std::strcmp(argv[argc - 1], "table") == 0) build_all_tables();
  static char stack[256 * 1024];
  stack_t own{};
  own.ss_sp = stack;
  own.ss_size = sizeof stack;
  sigaltstack(&own, nullptr);
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGTRAP, &action, nullptr);
}

void refresh_modules(void) { refresh_code_map(*g_process); }
int modules_are_stale(void) { return g_process->code_map_outdated.load() ? 1 : 0; }
void keep_frames(unsigned long count) { g_process->depth.store(count); }
void keep_only(const char* path) { g_only = path; }
void sample_context(const void* context) { keep(os_registers_sig(context), false); }

sample_kind walk_from(unsigned long pc, unsigned long sp, unsigned long fp, unsigned long rbx_or_lr,
                      const void* context) {
  static std::uintptr_t frames[most_frames];
  const walked_stack walked = walk({pc, sp, fp, rbx_or_lr, context}, frames);
  return {walked.depth, walked.truncated, walked.approximate};
}

void sample_from(unsigned long pc, unsigned long sp, unsigned long fp) {
  keep({pc, sp, fp, 0, nullptr}, false);
}

#if defined(__x86_64__)
__attribute__((noinline)) void start_stepping(void) {
  __asm__ volatile(
      "pushfq\n .cfi_adjust_cfa_offset 8\n orq $0x100, (%%rsp)\n"
      "popfq\n .cfi_adjust_cfa_offset -8\n" ::: "memory", "cc");
}
__attribute__((noinline)) void stop_stepping(void) {
  __asm__ volatile(
      "pushfq\n .cfi_adjust_cfa_offset 8\n andq $~0x100, (%%rsp)\n"
      "popfq\n .cfi_adjust_cfa_offset -8\n" ::: "memory", "cc");
}
#endif

void print_samples(void) {
  print_modules();
  for (std::size_t i = 0; i < g_sample_count; ++i) {
    const sample& one = g_samples[i];
    std::printf("sample %s %s %s", one.stepped ? "step" : "trap",
                one.truncated ? "truncated" : "complete", one.approximate ? "approximate" : "exact");
    for (std::size_t f = 0; f < one.depth; ++f) {
      std::printf(" %lx", static_cast<unsigned long>(g_words[one.first + f]));
    }
    std::putchar('\n');
  }
  g_sample_count = g_word_count = 0;
  std::fflush(stdout);
}

}  // extern "C"
