// Runs workloads with the trap flag set and unwinds at every instruction, with prof's walk and with
// libunwind's; prints per workload how many steps there were, how many were complete and equal, and
// every kind of step that was not, with its function.
//
//   single_step [most steps of a workload] [table]     table: compile the modules' tables first
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <prof/prof.hpp>

#include <dlfcn.h>
#include <ucontext.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "workloads.hpp"

namespace {

using namespace prof::detail;

constexpr std::size_t most_frames = 400;
constexpr std::size_t most_kinds = 400;

struct chain {
  std::uintptr_t frames[most_frames];
  std::size_t depth;
  bool complete;
  bool approximate;
};

// A kind of bad step: what was wrong, and at which instruction.
struct bad_kind {
  const char* what;
  std::uintptr_t pc;
  long steps;
};

process_state* g_process;
long g_steps;
long g_most;
long g_good;
long g_approximate;
long g_oracle_lost;
bad_kind g_bad[most_kinds];
std::size_t g_bad_count;
bool g_prefer_lookup;

void walk_prof(const ucontext_t* context, chain& out) {
  const registers start = os_registers_sig(context);
  probed_memory memory;
  rule_lookup rules(g_process->code.load(), *g_process->rules, g_process->rule_epoch.load(),
                    g_process->code_stale);
  stack_walk<probed_memory, rule_lookup> walk(memory, rules, out.frames, most_frames);
  const walked_stack walked = walk.run_sig(start, false);
  out.depth = walked.depth;
  out.complete = !walked.truncated;
  out.approximate = walked.approximate;
}

void walk_libunwind(ucontext_t* context, chain& out) {
  unw_cursor_t cursor;
  out.depth = 0;
  out.complete = false;
  if (unw_init_local2(&cursor, context, UNW_INIT_SIGNAL_FRAME) != 0) return;
  bool exact = true;
  for (;;) {
    unw_word_t pc = 0;
    unw_get_reg(&cursor, UNW_REG_IP, &pc);
    if (pc == 0) break;
    const bool signal_frame = unw_is_signal_frame(&cursor) > 0;
    out.frames[out.depth++] = static_cast<std::uintptr_t>(pc) - (exact || signal_frame ? 0 : 1);
    exact = signal_frame;
    const int stepped = unw_step(&cursor);
    if (stepped == 0) out.complete = true;
    if (stepped <= 0 || out.depth == most_frames) break;
  }
}

void count_bad(const char* what, std::uintptr_t pc) {
  for (std::size_t i = 0; i < g_bad_count; ++i) {
    if (g_bad[i].pc == pc && g_bad[i].what == what) {
      ++g_bad[i].steps;
      return;
    }
  }
  if (g_bad_count < most_kinds) g_bad[g_bad_count++] = {what, pc, 1};
}

bool same(const chain& a, const chain& b) {
  // libunwind names _start or clone3's end as one more or one less.
  const std::size_t shorter = a.depth < b.depth ? a.depth : b.depth;
  const std::size_t longer = a.depth < b.depth ? b.depth : a.depth;
  return longer - shorter <= 1 &&
         std::memcmp(a.frames, b.frames, shorter * sizeof a.frames[0]) == 0;
}

void on_trap(int, siginfo_t*, void* data) {
  auto* const context = static_cast<ucontext_t*>(data);
  if (++g_steps > g_most) {
    context->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
    return;
  }
  static chain mine;
  static chain theirs;
  walk_prof(context, mine);
  const auto pc = static_cast<std::uintptr_t>(context->uc_mcontext.gregs[REG_RIP]);
  walk_libunwind(context, theirs);
  if (!theirs.complete) ++g_oracle_lost;
  if (mine.approximate) ++g_approximate;
  if (!mine.complete) count_bad("incomplete", pc);
  else if (theirs.complete && !same(mine, theirs)) count_bad("different", pc);
  else ++g_good;
  if (std::getenv("STEP_SHOW") != nullptr && (!mine.complete || (theirs.complete && !same(mine, theirs)))) {
    std::fprintf(stderr, "---- pc %lx complete %d/%d approximate %d\n", pc, mine.complete, theirs.complete, mine.approximate);
    for (std::size_t i = 0; i < mine.depth || i < theirs.depth; ++i)
      std::fprintf(stderr, "  %16lx %16lx\n", i < mine.depth ? mine.frames[i] : 0, i < theirs.depth ? theirs.frames[i] : 0);
  }
}

__attribute__((noinline)) void set_trap_flag(bool on) {
#define PUSHED ".cfi_adjust_cfa_offset 8\n"
#define POPPED ".cfi_adjust_cfa_offset -8\n"
  if (on) __asm__ volatile("pushfq\n" PUSHED "orq $0x100, (%%rsp)\npopfq\n" POPPED ::: "memory", "cc");
  else __asm__ volatile("pushfq\n" PUSHED "andq $~0x100, (%%rsp)\npopfq\n" POPPED ::: "memory", "cc");
}

void print_bad(const char* workload) {
  for (std::size_t i = 0; i < g_bad_count; ++i) {
    Dl_info info;
    const bool known = dladdr(reinterpret_cast<void*>(g_bad[i].pc), &info) != 0;
    const char* const file = known ? std::strrchr(info.dli_fname, '/') : nullptr;
    std::printf("bad %s %s %ld %s %s+0x%lx\n", workload, g_bad[i].what, g_bad[i].steps,
                known && info.dli_sname != nullptr ? info.dli_sname : "?",
                file != nullptr ? file + 1 : "?",
                known ? static_cast<unsigned long>(
                            g_bad[i].pc - reinterpret_cast<std::uintptr_t>(info.dli_fbase))
                      : g_bad[i].pc);
  }
  g_bad_count = 0;
}

void step_through(const workload& work) {
  g_steps = g_good = g_approximate = g_oracle_lost = 0;
  set_trap_flag(true);
  work.run();
  set_trap_flag(false);
  std::printf("workload %s steps %ld good %ld approximate %ld oracle_lost %ld\n", work.name,
              g_steps < g_most ? g_steps : g_most, g_good, g_approximate, g_oracle_lost);
  print_bad(work.name);
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  g_most = argc > 1 ? std::atol(argv[1]) : 1000000;
  const bool tables = argc > 2 && std::strcmp(argv[2], "table") == 0;
  g_process = enter_process();
  refresh_code_map(*g_process);
  const code_map* const map = g_process->code.load();
  for (std::size_t i = 0; tables && i < map->current; ++i) {
    if (map->ranges[i].module != nullptr) map->ranges[i].module->wanted.store(true);
  }
  refresh_code_map(*g_process);
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
  for (int i = 0; i < workload_count; ++i) step_through(workloads[i]);
  return 0;
}
