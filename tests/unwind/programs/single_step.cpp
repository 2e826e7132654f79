// Runs workloads with the trap flag set, unwinds at every instruction and compares the walk with the calls
// that were made: each call instruction is seen, and a call is over when sp is above its return address.
// libunwind walks too. Prints addresses; test_single_step.py names and judges them. x86-64 only.
//
//   single_step MOST [table] [corrupt | shift | drop]
//     MOST     how many steps of each workload are looked at; at least 60,000 of "exceptions", to see one land
//     table    the modules' tables are compiled first; without, rules are interpreted
//     corrupt  every 1000th walk begins 8 bytes off, which has to be noticed
//     shift    all return addresses of every 1000th walk are a byte off
//     drop     every 1000th walk lacks its leaf's caller
//
// Where a step's walk is not the calls that were made, it is right all the same when it says where the thread
// is about to go (a landing pad, setjmp): that is seen a few steps later, and counted as LANDED.
//
//   workload NAME STEPS GOOD LANDED APPROXIMATE CONFIRMED CRASHED OUTVOTED RESOLVING ODD
//   bad NAME WHAT STEPS ADDRESS mine FRAMES... calls FRAMES...
//   module BASE BEGIN LIMIT PATH
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
}

#define CALL_ADDRESS() (reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1)

namespace {

using namespace prof::detail;

constexpr std::size_t most_frames = max_depth;
constexpr std::size_t most_kinds = 2000;
constexpr std::size_t shown_frames = 8;
constexpr long trap_flag = 0x100;
constexpr long to_landing = 60000;
constexpr int most_leaving = 32;   // a step's walk may wait for as many more

struct chain {
  std::uintptr_t frames[most_frames];
  std::size_t depth;
  bool complete;
  bool approximate;
};

// A call instruction that was seen: where its return address lies, and which it is.
struct made_call {
  std::uintptr_t slot;
  std::uintptr_t return_address;
};

// A walk that is not the calls that were made, for the steps that are left to see whether it will be. Once the
// function where it was taken has returned to who called it, the walk was wrong.
struct leaving {
  const char* what;
  chain mine;
  chain calls;
  std::size_t made_count;
  int left;
};

// What was wrong, at which instruction, and the first such stack.
struct bad_kind {
  const char* what;
  std::uintptr_t pc;
  long steps;
  std::uintptr_t mine[shown_frames];
  std::uintptr_t calls[shown_frames];
};

struct step_counts {
  long steps;
  long good;
  long landed;     // of the good
  long approximate;
  long confirmed;  // of the good: libunwind has the same chain
  long crashed;    // libunwind did
  long outvoted;   // of the good: libunwind got to main by another way
  long resolving;  // in the loader's entry for lazily bound calls
  long odd;        // where the rule's register is none that a walk carries
};

process_state* g_process;
long g_most;
bool g_corrupt;
bool g_shift;
bool g_drop;
std::uintptr_t g_call_of_main;
std::uintptr_t g_call_of_step_through;
step_counts g_counts;
bad_kind g_bad[most_kinds];
std::size_t g_bad_count;
chain g_mine;
chain g_theirs;
chain g_calls;      // of the calls that were made
chain g_root;       // what leads to step_through; empty when that walk was wrong
leaving g_leaving[most_leaving];
made_call g_made[most_frames];
std::size_t g_made_count;
std::size_t g_returned_from;  // at this step: the place in g_made, counted from 1, of a call; 0: of none
std::uintptr_t g_last_pc;  // of the step before; 0: there is none
std::uintptr_t g_last_sp;

bool is_spoilt_step() { return g_counts.steps % 1000 == 999; }

void spoil(chain& walk) {
  for (std::size_t i = 1; g_shift && i < walk.depth; ++i) ++walk.frames[i];
  if (!g_drop) return;
  --walk.depth;
  for (std::size_t i = 1; i < walk.depth; ++i) walk.frames[i] = walk.frames[i + 1];
}

void walk_prof(const ucontext_t* context, chain& out) {
  registers start = os_registers_sig(context);
  if (g_corrupt && is_spoilt_step()) start.sp += 8;
  static frame_buffer buffer;
  auto& scratch = *new (static_cast<void*>(buffer.scratch)) walk_scratch(*g_process, buffer);
  const walked_stack walked = scratch.walk.run_sig(start, false);
  for (std::size_t i = 0; i < walked.depth; ++i) {
    out.frames[i] = frame_address_sig(buffer.frames[i]);
  }
  out.depth = walked.depth;
  out.complete = !walked.truncated;
  const packed_rule rule = scratch.rules.rule_at_sig(start.pc, false, scratch.memory).rule;
  const unsigned reg = packed_reg_sig(rule);
  const bool has_register = kind_of_sig(rule) == rule_kind::offset || kind_of_sig(rule) == rule_kind::deref;
  if (has_register && reg != dwarf_sp && reg != dwarf_fp && reg != dwarf_rbx_or_lr) ++g_counts.odd;
  out.approximate = walked.approximate;
  if (is_spoilt_step()) spoil(out);
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

bool within(std::uintptr_t address, const void* begin, std::uintptr_t size) {
  return address - reinterpret_cast<std::uintptr_t>(begin) < size;
}

// ---- the calls that were made ----

// e8 rel32 and ff /2, behind any prefixes.
bool is_call(const unsigned char* code) {
  while (*code == 0x66 || *code == 0x67 || *code == 0x2e || *code == 0x3e || *code == 0xf2 || (*code & 0xf0) == 0x40) {
    ++code;
  }
  return code[0] == 0xe8 || (code[0] == 0xff && (code[1] >> 3 & 7) == 2);
}

void note_call(std::uintptr_t sp) {
  constexpr std::uintptr_t longest_instruction = 15;
  if (g_last_pc == 0 || g_last_sp - sp != 8 || !is_call(reinterpret_cast<const unsigned char*>(g_last_pc))) return;
  std::uintptr_t return_address = 0;
  std::memcpy(&return_address, reinterpret_cast<const void*>(sp), sizeof return_address);
  if (return_address - g_last_pc > longest_instruction) return;
  if (g_made_count < most_frames) g_made[g_made_count] = {sp, return_address};
  ++g_made_count;
}

void follow_calls(std::uintptr_t pc, std::uintptr_t sp) {
  note_call(sp);
  const bool is_listed = g_made_count > 0 && g_made_count <= most_frames;
  const made_call last = is_listed ? g_made[g_made_count - 1] : made_call{};
  g_returned_from = is_listed && pc == last.return_address && sp == last.slot + 8 ? g_made_count : 0;
  while (g_made_count > 0 && (g_made_count > most_frames || g_made[g_made_count - 1].slot < sp)) --g_made_count;
  g_last_pc = pc;
  g_last_sp = sp;
  g_calls.depth = 0;
  g_calls.frames[g_calls.depth++] = pc;
  for (std::size_t i = g_made_count; i-- > 0 && g_calls.depth < most_frames;) {
    g_calls.frames[g_calls.depth++] = g_made[i].return_address - 1;
  }
  for (std::size_t i = 0; i < g_root.depth && g_calls.depth < most_frames; ++i) {
    g_calls.frames[g_calls.depth++] = g_root.frames[i];
  }
}

// The first step is in step_through. glibc since 2.34: main, __libc_start_call_main, __libc_start_main, _start.
void learn_root() {
  const std::uintptr_t* const frames = g_mine.frames;
  g_root.depth = 0;
  if (!g_mine.complete || g_mine.approximate || g_mine.depth != 5) return;
  if (frames[1] != g_call_of_step_through || frames[2] != g_call_of_main) return;
  if (!within(frames[3], reinterpret_cast<const void*>(__libc_start_main), 4096)) return;
  if (!within(frames[4], reinterpret_cast<const void*>(_start), 64)) return;
  g_root.depth = g_mine.depth - 1;
  std::memcpy(g_root.frames, frames + 1, g_root.depth * sizeof frames[0]);
}

// ---- judging ----

bool equal(const chain& a, const chain& b, std::size_t depth) {
  return std::memcmp(a.frames, b.frames, depth * sizeof a.frames[0]) == 0;
}

// libunwind may lack _start, or have one frame more.
bool libunwind_has(const chain& stack) {
  const std::size_t shorter = g_theirs.depth < stack.depth ? g_theirs.depth : stack.depth;
  return g_theirs.complete && shorter + 1 >= stack.depth && shorter + 1 >= g_theirs.depth &&
         equal(g_theirs, stack, shorter);
}
bool libunwind_reached_main() {
  for (std::size_t i = 0; i < g_theirs.depth; ++i) {
    if (g_theirs.frames[i] == g_call_of_main) return true;
  }
  return false;
}

// Who was called may have replaced its return address since, by a landing pad, say, which no call precedes:
// where it returns to is as good an answer as where it was called.
bool is_call_of(std::uintptr_t frame, const made_call& made) {
  std::uintptr_t now = 0;
  std::memcpy(&now, reinterpret_cast<const void*>(made.slot), sizeof now);
  if (now == made.return_address) return frame == now - 1;
  return frame == made.return_address - 1 || frame == now - 1 || frame == now;
}
bool walk_has_the_calls() {
  if (g_mine.depth != g_calls.depth || g_mine.frames[0] != g_calls.frames[0]) return false;
  for (std::size_t i = 1; i < g_calls.depth; ++i) {
    if (i <= g_made_count ? !is_call_of(g_mine.frames[i], g_made[g_made_count - i])
                          : g_mine.frames[i] != g_calls.frames[i]) {
      return false;
    }
  }
  return true;
}
// "overwritten": not the calls that were made, but what libunwind too finds in memory, all the way to main.
const char* judge() {
  if (g_root.depth == 0) return "rootless";
  if (!g_mine.complete) return "incomplete";
  if (walk_has_the_calls()) return nullptr;
  return libunwind_has(g_mine) && libunwind_reached_main() ? "overwritten" : "different";
}

void show(std::uintptr_t (&to)[shown_frames], const chain& from) {
  for (std::size_t i = 0; i < shown_frames; ++i) to[i] = i < from.depth ? from.frames[i] : 0;
}

void count_bad(const char* what, const chain& mine, const chain& calls) {
  for (std::size_t i = 0; i < g_bad_count; ++i) {
    if (g_bad[i].pc != calls.frames[0] || g_bad[i].what != what) continue;
    ++g_bad[i].steps;
    return;
  }
  if (g_bad_count == most_kinds) return;
  bad_kind& kind = g_bad[g_bad_count++];
  kind.what = what;
  kind.pc = calls.frames[0];
  kind.steps = 1;
  show(kind.mine, mine);
  show(kind.calls, calls);
}

// The thread went where that walk said it would, to the same callers.
bool has_landed(const chain& walk) {
  const std::uintptr_t before = g_calls.frames[0] - walk.frames[1];
  return before <= 1 && walk.depth == g_calls.depth + 1 &&
         std::memcmp(walk.frames + 2, g_calls.frames + 1, (g_calls.depth - 1) * sizeof walk.frames[0]) == 0;
}
void follow_leaving(bool at_end) {
  for (leaving& waiting : g_leaving) {
    if (waiting.left == 0) continue;
    const bool has_returned = g_returned_from != 0 && g_returned_from == waiting.made_count;
    if (!has_returned && has_landed(waiting.mine)) {
      waiting.left = 0;
      ++g_counts.good;
      ++g_counts.landed;
    } else if (--waiting.left == 0 || at_end || has_returned) {
      waiting.left = 0;
      count_bad(waiting.what, waiting.mine, waiting.calls);
    }
  }
}
void wait_for_landing(const char* what) {
  for (leaving& place : g_leaving) {
    if (place.left != 0) continue;
    place = {what, g_mine, g_calls, g_made_count, most_leaving - 1};
    return;
  }
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
  const auto pc = static_cast<std::uintptr_t>(machine[REG_RIP]);
  walk_prof(context, g_mine);
  if (g_counts.steps == 0) learn_root();
  ++g_counts.steps;
  g_in_libunwind = 1;
  walk_libunwind(context, g_theirs);
  g_in_libunwind = 0;
  follow_calls(pc, static_cast<std::uintptr_t>(machine[REG_RSP]));
  follow_leaving(false);
  const char* const wrong = judge();
  if (wrong == nullptr) ++g_counts.good;
  else if (g_root.depth != 0 && g_mine.complete) wait_for_landing(wrong);
  else count_bad(wrong, g_mine, g_calls);
  if (g_mine.approximate) ++g_counts.approximate;
  if (wrong == nullptr && libunwind_has(g_calls)) ++g_counts.confirmed;
  else if (wrong == nullptr && libunwind_reached_main()) ++g_counts.outvoted;
  if (in_resolver(pc)) ++g_counts.resolving;
}

// Inlined, so that nobody has to return from it who was called before the first step, which is the one after nop.
__attribute__((always_inline)) inline void set_trap_flag(bool on) {
#define PUSHED ".cfi_adjust_cfa_offset 8\n"
#define POPPED ".cfi_adjust_cfa_offset -8\n"
  if (on) {
    __asm__ volatile("pushfq\n" PUSHED "orq $0x100, (%%rsp)\npopfq\n" POPPED "nop\n" ::: "memory", "cc");
  } else {
    __asm__ volatile("pushfq\n" PUSHED "andq $~0x100, (%%rsp)\npopfq\n" POPPED ::: "memory", "cc");
  }
}

__attribute__((noinline)) void step_through(const workload& work) {
  g_call_of_step_through = CALL_ADDRESS();
  set_trap_flag(true);
  work.run();
  set_trap_flag(false);
}

void print_frames(const char* whose, const std::uintptr_t (&frames)[shown_frames]) {
  std::printf(" %s", whose);
  for (const std::uintptr_t frame : frames) {
    if (frame != 0) std::printf(" %lx", frame);
  }
}

void print_workload(const workload& work) {
  std::printf("workload %s %ld %ld %ld %ld %ld %ld %ld %ld %ld\n", work.name, g_counts.steps, g_counts.good,
              g_counts.landed, g_counts.approximate, g_counts.confirmed, g_counts.crashed, g_counts.outvoted,
              g_counts.resolving, g_counts.odd);
  for (std::size_t i = 0; i < g_bad_count; ++i) {
    const bad_kind& kind = g_bad[i];
    std::printf("bad %s %s %ld %lx", work.name, kind.what, kind.steps, kind.pc);
    print_frames("mine", kind.mine);
    print_frames("calls", kind.calls);
    std::printf("\n");
  }
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
  g_call_of_main = CALL_ADDRESS();
  const long most = argc > 1 ? std::atol(argv[1]) : 0;
  g_corrupt = has_word(argc, argv, "corrupt");
  g_shift = has_word(argc, argv, "shift");
  g_drop = has_word(argc, argv, "drop");
  read_code(has_word(argc, argv, "table"));
  catch_traps();
  for (int i = 0; i < workload_count; ++i) {
    if (workloads[i].warm) workloads[i].run();
    const bool throws = std::strcmp(workloads[i].name, "exceptions") == 0;
    g_most = throws && most < to_landing ? to_landing : most;
    g_counts = {};
    g_bad_count = 0;
    g_made_count = 0;
    g_last_pc = 0;
    step_through(workloads[i]);
    follow_leaving(true);
    print_workload(workloads[i]);
  }
  dl_iterate_phdr(print_module, nullptr);
  return 0;
}
