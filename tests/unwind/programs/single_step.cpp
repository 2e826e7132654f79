// Runs workloads with the trap flag set and unwinds at every instruction, with prof's walk and with
// libunwind's. Prints addresses; test_single_step.py names and judges them.
//
//   single_step MOST [table] [corrupt] [chains]
//     MOST     how many steps of each workload are looked at
//     table    the modules' tables are compiled first; without, rules are interpreted
//     corrupt  every 1000th walk begins 8 bytes off, which has to be noticed
//
//   workload NAME STEPS GOOD APPROXIMATE CONFIRMED CRASHED OUTVOTED RESOLVING
//   bad NAME WHAT STEPS ADDRESS mine FRAMES... theirs FRAMES...
//   module BASE BEGIN LIMIT PATH
//   chain NAME FRAMES...           of every step, with the argument `chains`
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <prof/prof.hpp>

#include <link.h>
#include <ucontext.h>

#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "workloads.hpp"

extern "C" {
void _start();
void __libc_start_main();
extern void* _GLOBAL_OFFSET_TABLE_[];
extern const char __start_stepping[];  // the linker's names for the ends of section `stepping`
extern const char __stop_stepping[];
}

// The functions between main and a workload: one section, so that their range is known.
#define STEPPING __attribute__((noinline, section("stepping")))
#define CALL_ADDRESS() (reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1)

namespace {

using namespace prof::detail;

constexpr std::size_t most_frames = max_depth;
constexpr std::size_t most_kinds = 2000;
constexpr std::size_t shown_frames = 8;
constexpr long trap_flag = 0x100;

struct chain {
  std::uintptr_t frames[most_frames];
  std::size_t depth;
  bool complete;
  bool approximate;
};

// What was wrong, at which instruction, and the first such stack.
struct bad_kind {
  const char* what;
  std::uintptr_t pc;
  long steps;
  std::uintptr_t mine[shown_frames];
  std::uintptr_t theirs[shown_frames];
};

struct step_counts {
  long steps;
  long good;
  long approximate;
  long confirmed;  // libunwind found the way to the root too
  long crashed;    // libunwind did
  long outvoted;   // libunwind has another chain, and the step before had ours
  long resolving;  // in the loader's entry for lazily bound calls
};

// The calls that lead to a workload, as each callee saw its own return address.
struct known_calls {
  std::uintptr_t of_main;
  std::uintptr_t of_step_through;
  std::uintptr_t of_run_one;
  std::uintptr_t of_workload;
};

process_state* g_process;
long g_most;
bool g_corrupt;
known_calls g_calls;
step_counts g_counts;
bad_kind g_bad[most_kinds];
std::size_t g_bad_count;
chain g_mine;
chain g_theirs;
chain g_before;            // of the step before
bool g_before_confirmed;
std::uintptr_t* g_log;     // {depth, frames...} of every step; null: not wanted
std::size_t g_logged;
constexpr std::size_t log_room = std::size_t{1} << 23;

void walk_prof(const ucontext_t* context, chain& out) {
  registers start = os_registers_sig(context);
  if (g_corrupt && g_counts.steps % 1000 == 0) start.sp += 8;
  static frame_buffer buffer;
  auto& scratch = *new (static_cast<void*>(buffer.scratch)) walk_scratch(*g_process, buffer);
  const walked_stack walked = scratch.walk.run_sig(start, false);
  for (std::size_t i = 0; i < walked.depth; ++i) {
    out.frames[i] = frame_address_sig(buffer.frames[i]);
  }
  out.depth = walked.depth;
  out.complete = !walked.truncated;
  out.approximate = walked.approximate;
}

sigjmp_buf g_before_libunwind;
volatile std::sig_atomic_t g_in_libunwind;

// libunwind 1.6.2 crashes in the epilogue of realigned(), where g++ -O0's rule for rbp, *(rbp), is still there
// behind the pop. Whoever else crashes does so again, for good.
void on_crash(int) {
  if (g_in_libunwind != 0) siglongjmp(g_before_libunwind, 1);
  std::signal(SIGSEGV, SIG_DFL);
}

void walk_libunwind(ucontext_t* context, chain& out) {
  static unw_cursor_t cursor;
  out.depth = 0;
  out.complete = false;
  if (sigsetjmp(g_before_libunwind, 0) != 0) {
    ++g_counts.crashed;
    out.complete = false;
    return;
  }
  if (unw_init_local2(&cursor, context, UNW_INIT_SIGNAL_FRAME) != 0) return;
  bool exact = true;
  for (int stepped = 1; stepped > 0 && out.depth < most_frames;) {
    unw_word_t pc = 0;
    unw_get_reg(&cursor, UNW_REG_IP, &pc);
    if (pc == 0) break;
    exact = exact || unw_is_signal_frame(&cursor) > 0;
    out.frames[out.depth++] = static_cast<std::uintptr_t>(pc) - (exact ? 0 : 1);
    exact = unw_is_signal_frame(&cursor) > 0;
    stepped = unw_step(&cursor);
    out.complete = stepped == 0;
  }
}

// libunwind names one frame more or less around _start.
bool same(const chain& a, const chain& b) {
  const std::size_t shorter = a.depth < b.depth ? a.depth : b.depth;
  const std::size_t longer = a.depth < b.depth ? b.depth : a.depth;
  return longer - shorter <= 1 &&
         std::memcmp(a.frames, b.frames, shorter * sizeof a.frames[0]) == 0;
}

// The next instruction behind one that is no call and no return has the same callers.
bool same_callers(const chain& a, const chain& b) {
  constexpr std::uintptr_t longest_instruction = 15;
  const std::uintptr_t on = a.frames[0] - b.frames[0];
  return on != 0 && on <= longest_instruction && a.depth == b.depth && a.depth > 1 &&
         std::memcmp(a.frames + 1, b.frames + 1, (a.depth - 1) * sizeof a.frames[0]) == 0;
}

void log_chain(const chain& stack) {
  if (g_log == nullptr || g_logged + 1 + stack.depth > log_room) return;
  g_log[g_logged++] = stack.depth;
  std::memcpy(g_log + g_logged, stack.frames, stack.depth * sizeof stack.frames[0]);
  g_logged += stack.depth;
}

void print_log(const char* name) {
  for (std::size_t at = 0; at < g_logged; at += 1 + g_log[at]) {
    std::printf("chain %s", name);
    for (std::size_t i = 1; i <= g_log[at]; ++i) std::printf(" %lx", g_log[at + i]);
    std::printf("\n");
  }
  g_logged = 0;
}

bool within(std::uintptr_t address, const void* begin, std::uintptr_t size) {
  return address - reinterpret_cast<std::uintptr_t>(begin) < size;
}
bool in_stepping(std::uintptr_t address) {
  return address >= reinterpret_cast<std::uintptr_t>(__start_stepping) &&
         address < reinterpret_cast<std::uintptr_t>(__stop_stepping);
}

// Frame `at` is main's and all between it and a workload are those that must be there.
bool leads_to_workload(const chain& stack, std::size_t at) {
  const std::uintptr_t* const frames = stack.frames;
  if (at == 0 || frames[at] != g_calls.of_step_through) return false;
  if (at <= 2 && in_stepping(frames[0])) return true;  // on the way into a workload or back
  return at >= 3 && frames[at - 1] == g_calls.of_run_one && frames[at - 2] == g_calls.of_workload;
}

// glibc since 2.34: main, __libc_start_call_main, __libc_start_main, _start.
bool ends_as_known(const chain& stack) {
  if (!stack.complete || stack.depth < 5) return false;
  const std::uintptr_t* const last = stack.frames + stack.depth - 1;
  return within(last[0], reinterpret_cast<const void*>(_start), 64) &&
         within(last[-1], reinterpret_cast<const void*>(__libc_start_main), 4096) &&
         last[-2] == g_calls.of_main && leads_to_workload(stack, stack.depth - 4);
}

// libunwind's chain may lack _start, or have one more.
bool libunwind_reached_root() {
  for (std::size_t more = 3; more <= 5 && g_theirs.complete && g_theirs.depth > more; ++more) {
    if (leads_to_workload(g_theirs, g_theirs.depth - more)) return true;
  }
  return false;
}

// A stub that only jumps through a table (ff 25) pushes nothing: the return address is at sp.
bool confirmed_by_stub(const greg_t* machine) {
  const auto pc = static_cast<std::uintptr_t>(machine[REG_RIP]);
  const auto sp = static_cast<std::uintptr_t>(machine[REG_RSP]);
  unsigned char code[2];
  std::uintptr_t return_address = 0;
  std::memcpy(code, reinterpret_cast<const void*>(pc), sizeof code);
  std::memcpy(&return_address, reinterpret_cast<const void*>(sp), sizeof return_address);
  return code[0] == 0xff && code[1] == 0x25 && g_mine.frames[1] == return_address - 1;
}

constexpr char different[] = "different";

const char* judge(bool confirmed, const greg_t* machine) {
  if (!g_mine.complete) return "incomplete";
  if (!ends_as_known(g_mine)) return "wrong_root";
  if (confirmed && !same(g_mine, g_theirs)) return different;
  // Found by scanning, and nobody else says so.
  if (!confirmed && g_mine.approximate && !confirmed_by_stub(machine)) return "unconfirmed";
  return nullptr;
}

void show(std::uintptr_t (&to)[shown_frames], const chain& from) {
  for (std::size_t i = 0; i < shown_frames; ++i) to[i] = i < from.depth ? from.frames[i] : 0;
}

void count_bad(const char* what, std::uintptr_t pc) {
  for (std::size_t i = 0; i < g_bad_count; ++i) {
    if (g_bad[i].pc != pc || g_bad[i].what != what) continue;
    ++g_bad[i].steps;
    return;
  }
  if (g_bad_count == most_kinds) return;
  bad_kind& kind = g_bad[g_bad_count++];
  kind.what = what;
  kind.pc = pc;
  kind.steps = 1;
  show(kind.mine, g_mine);
  show(kind.theirs, g_theirs);
}

// Where lazily bound calls go first; 0 when everything was bound at the start.
bool in_resolver(std::uintptr_t pc) {
  const void* const resolver = _GLOBAL_OFFSET_TABLE_[2];
  return resolver != nullptr && within(pc, resolver, 256);
}

void on_trap(int, siginfo_t*, void* data) {
  auto* const context = static_cast<ucontext_t*>(data);
  greg_t* const machine = context->uc_mcontext.gregs;
  if (g_counts.steps == g_most) {
    machine[REG_EFL] &= ~trap_flag;
    return;
  }
  ++g_counts.steps;
  const auto pc = static_cast<std::uintptr_t>(machine[REG_RIP]);
  walk_prof(context, g_mine);
  g_in_libunwind = 1;
  walk_libunwind(context, g_theirs);
  g_in_libunwind = 0;
  const bool confirmed = libunwind_reached_root();
  const char* wrong = judge(confirmed, machine);
  if (wrong == different && g_before_confirmed && same_callers(g_mine, g_before)) {
    ++g_counts.outvoted;
    wrong = nullptr;
  }
  g_before_confirmed = confirmed && wrong == nullptr;
  g_before = g_mine;
  if (wrong != nullptr) count_bad(wrong, pc);
  else ++g_counts.good;
  if (g_mine.approximate) ++g_counts.approximate;
  if (confirmed) ++g_counts.confirmed;
  if (in_resolver(pc)) ++g_counts.resolving;
  log_chain(g_mine);
}

STEPPING void set_trap_flag(bool on) {
#define PUSHED ".cfi_adjust_cfa_offset 8\n"
#define POPPED ".cfi_adjust_cfa_offset -8\n"
  if (on) {
    __asm__ volatile("pushfq\n" PUSHED "orq $0x100, (%%rsp)\npopfq\n" POPPED ::: "memory", "cc");
  } else {
    __asm__ volatile("pushfq\n" PUSHED "andq $~0x100, (%%rsp)\npopfq\n" POPPED ::: "memory", "cc");
  }
}

STEPPING void run_one(const workload& work) {
  g_calls.of_run_one = CALL_ADDRESS();
  work.run();
  __asm__ volatile("" ::: "memory");  // no tail call
}

STEPPING void step_through(const workload& work) {
  g_calls.of_step_through = CALL_ADDRESS();
  set_trap_flag(true);
  run_one(work);
  set_trap_flag(false);
}

__attribute__((noinline)) void learn_call() { g_calls.of_workload = CALL_ADDRESS(); }

void print_frames(const char* whose, const std::uintptr_t (&frames)[shown_frames]) {
  std::printf(" %s", whose);
  for (const std::uintptr_t frame : frames) {
    if (frame != 0) std::printf(" %lx", frame);
  }
}

void print_workload(const workload& work) {
  std::printf("workload %s %ld %ld %ld %ld %ld %ld %ld\n", work.name, g_counts.steps, g_counts.good,
              g_counts.approximate, g_counts.confirmed, g_counts.crashed, g_counts.outvoted,
              g_counts.resolving);
  for (std::size_t i = 0; i < g_bad_count; ++i) {
    const bad_kind& kind = g_bad[i];
    std::printf("bad %s %s %ld %lx", work.name, kind.what, kind.steps, kind.pc);
    print_frames("mine", kind.mine);
    print_frames("theirs", kind.theirs);
    std::printf("\n");
  }
  print_log(work.name);
}

int print_module(dl_phdr_info* info, std::size_t, void*) {
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    const ElfW(Addr) begin = info->dlpi_addr + part.p_vaddr;
    std::printf("module %lx %lx %lx %s\n", info->dlpi_addr, begin, begin + part.p_memsz,
                info->dlpi_name);
  }
  return 0;
}

void read_code(bool tables) {
  g_process = enter_process();
  refresh_code_map(*g_process);
  const code_map* const map = g_process->code.load();
  for (std::size_t i = 0; tables && i < map->current; ++i) {
    if (map->ranges[i].module != nullptr) map->ranges[i].module->wanted.store(true);
  }
  refresh_code_map(*g_process);
}

void catch_traps() {
  static char room[256 * 1024];
  stack_t own{};
  own.ss_sp = room;
  own.ss_size = sizeof room;
  sigaltstack(&own, nullptr);
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGTRAP, &action, nullptr);
  action.sa_handler = on_crash;
  action.sa_flags = SA_ONSTACK | SA_NODEFER;
  sigaction(SIGSEGV, &action, nullptr);
}

bool has_word(int argc, char** argv, const char* word) {
  for (int i = 2; i < argc; ++i) {
    if (std::strcmp(argv[i], word) == 0) return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  g_calls.of_main = CALL_ADDRESS();
  const long most = argc > 1 ? std::atol(argv[1]) : 0;
  g_corrupt = has_word(argc, argv, "corrupt");
  if (has_word(argc, argv, "chains")) g_log = new std::uintptr_t[log_room];
  read_code(has_word(argc, argv, "table"));
  catch_traps();
  // The first only finds out where a workload is called: no step of it is looked at.
  const workload first{"", learn_call, false};
  for (int i = -1; i < workload_count; ++i) {
    const workload& work = i < 0 ? first : workloads[i];
    if (work.warm) work.run();
    g_most = i < 0 ? 0 : most;
    g_counts = {};
    g_bad_count = 0;
    g_before_confirmed = false;
    step_through(work);
    if (i >= 0) print_workload(work);
  }
  dl_iterate_phdr(print_module, nullptr);
  return 0;
}
