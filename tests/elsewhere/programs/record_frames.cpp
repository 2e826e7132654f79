// Records stacks of aarch64 for tests/unit/unwind/aarch64_recorded_test.cpp: at each `brk` the registers,
// the stack, and of every function on it the call frame information and the code before its return
// address. Prints the namespace of tests/unit/unwind/aarch64_frames.hpp whose name is its argument.
// What the chains are is written by hand in the test. How that file was made:
//
//   aarch64-linux-gnu-g++ -std=c++17 -O2 -rdynamic -I include tests/elsewhere/programs/record_frames.cpp
//   qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu a.out frame_records
//
// and again with -fomit-frame-pointer -mbranch-protection=standard and the name signed_addresses.
#include <prof/process/attach.hpp>
#include <prof/process/capture.hpp>

#include <alloca.h>
#include <dlfcn.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <vector>

using namespace prof::detail;

#define FN extern "C" __attribute__((noinline, visibility("default")))
#define TAKE_SAMPLE() __asm__ volatile("brk #0" ::: "memory")

namespace {

struct sample {
  std::string name;
  registers start;
  std::vector<std::uintptr_t> words;  // from sp on
};
process_state* g_process;
std::vector<sample> g_samples;
std::map<std::uintptr_t, std::uintptr_t> g_code;     // by address
std::map<std::uintptr_t, std::string> g_functions;  // by their begin
std::uintptr_t g_stack_limit;
const char* volatile g_name;
volatile long g_sink;

std::string bytes_of(byte_reader reader) {
  std::string text = "\"";
  char hex[8];
  while (!reader.empty()) {
    std::snprintf(hex, sizeof hex, "\\x%02x", reader.next_byte());
    text += hex;
  }
  return text + "\"";
}

void keep_function(std::uintptr_t pc, probed_memory& memory) {
  const code_range* const range = g_process->code.load()->find_current(pc);
  cfi_fde fde;
  if (range == nullptr || !cfi_search<probed_memory>(range->cfi, memory).find_fde_sig(pc, fde)) return;
  Dl_info info{};
  const bool named = dladdr(reinterpret_cast<void*>(fde.begin), &info) != 0 && info.dli_sname != nullptr;
  const bool own = std::strstr(range->path, ".so") == nullptr;
  char line[256];
  std::snprintf(line, sizeof line, "    {\"%s\", 0x%lx, 0x%lx, %lu, %ld, %s,\n     ",
                !own ? "libc" : named ? info.dli_sname : "?", fde.begin, fde.limit - fde.begin,
                fde.cie.code_align, fde.cie.data_align, fde.cie.is_signal_frame ? "true" : "false");
  g_functions[fde.begin] = line + ("bytes(" + bytes_of(fde.cie.instructions) + "), bytes(" +
                                   bytes_of(fde.instructions) + ")},\n");
}

void on_trap(int, siginfo_t*, void* data) {
  auto* const context = static_cast<ucontext_t*>(data);
  const registers start = os_registers_sig(context);
  static std::uintptr_t frames[128];
  const frame_lease lease(*g_process, os_thread_id_sig());
  frame_buffer& buffer = *lease.buffer();
  auto& scratch = *new (static_cast<void*>(buffer.scratch)) walk_scratch(*g_process, buffer);
  const walked_stack walked = scratch.walk.run_sig(start, false);
  for (std::size_t i = 0; i < walked.depth; ++i) frames[i] = frame_address_sig(buffer.frames[i]);
  probed_memory memory;
  for (std::size_t i = 0; i < walked.depth; ++i) {
    keep_function(frames[i], memory);
    // A call's address is its last byte; the word of code that it is in, and the one before.
    const std::uintptr_t word = frames[i] & ~std::uintptr_t{7};
    for (std::uintptr_t at = word - 8; at <= word + 8; at += 8) memory.read_word(at, g_code[at]);
  }
  sample one{g_name, start, {}};
  for (std::uintptr_t at = start.sp; at < g_stack_limit; at += 8) {
    one.words.push_back(*reinterpret_cast<std::uintptr_t*>(at));
  }
  g_samples.push_back(one);
  context->uc_mcontext.pc += 4;
}

// Two columns of {address, value}.
void print_words(const std::vector<std::pair<std::uintptr_t, std::uintptr_t>>& words) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::printf("%s{0x%lx, 0x%lx},%s", i % 2 == 0 ? "      " : " ", words[i].first, words[i].second,
                i % 2 == 1 || i + 1 == words.size() ? "\n" : "");
  }
}

void print_samples(const char* name) {
  std::printf("namespace %s {\n\nconst std::vector<recorded_function> functions = {\n", name);
  for (const auto& function : g_functions) std::printf("%s", function.second.c_str());
  std::printf("};\n\nconst std::vector<recorded_word> code = {\n");
  print_words({g_code.begin(), g_code.end()});
  std::printf("};\n\nconst std::vector<recorded_sample> samples = {\n");
  for (const sample& one : g_samples) {
    std::printf("    {\"%s\", 0x%lx, 0x%lx, 0x%lx, 0x%lx, 0x%lx, {\n", one.name.c_str(),
                one.start.pc, one.start.sp, one.start.fp, one.start.rbx_or_lr, g_stack_limit);
    std::vector<std::pair<std::uintptr_t, std::uintptr_t>> words;
    for (std::size_t i = 0; i < one.words.size(); ++i) {
      if (one.words[i] != 0) words.push_back({one.start.sp + 8 * i, one.words[i]});
    }
    print_words(words);
    std::printf("    }},\n");
  }
  std::printf("};\n\n}  // namespace %s\n", name);
}

}  // namespace

FN long leaf(long x) {
  TAKE_SAMPLE();
  return x + 1;
}
FN long middle(long x) { return leaf(x) + leaf(x + 1); }
FN long variable(long n) {
  char* const room = static_cast<char*>(alloca(static_cast<std::size_t>(n) * 16));
  std::memset(room, 1, static_cast<std::size_t>(n) * 16);
  return leaf(room[n]) + room[0];
}
FN void handler(int) {
  g_sink = leaf(1) + 1;
}
// No frame, and the kernel's is on top of it.
FN long interrupted(long pid, long number) {
  register long x0 __asm__("x0") = pid;
  register long x1 __asm__("x1") = number;
  register long x8 __asm__("x8") = SYS_kill;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x8) : "memory");
  return x0;
}
FN long interrupts(long pid) { return interrupted(pid, SIGUSR1) + g_sink; }

// A sample at every stage of a prologue and an epilogue; lr is signed from the second one on.
extern "C" void staged(void);
__asm__(
    ".text\n.type staged, %function\n.global staged\nstaged:\n.cfi_startproc\n"
    "brk #0\n"
    "hint #25\n.cfi_negate_ra_state\n"  // paciasp
    "brk #0\n"
    "stp x29, x30, [sp, #-32]!\n.cfi_def_cfa_offset 32\n.cfi_offset 29, -32\n.cfi_offset 30, -24\n"
    "brk #0\n"
    "mov x29, sp\n"
    "brk #0\n"
    "ldp x29, x30, [sp], #32\n.cfi_restore 29\n.cfi_restore 30\n.cfi_def_cfa_offset 0\n"
    "brk #0\n"
    "hint #29\n.cfi_negate_ra_state\n"  // autiasp
    "brk #0\n"
    "ret\n.cfi_endproc\n.size staged, . - staged\n");
FN long stages(long x) {
  staged();
  return x + g_sink;
}

int main(int, char** argv) {
  g_process = process_sig();
  refresh_code_map(*g_process);
  g_stack_limit = reinterpret_cast<std::uintptr_t>(argv);  // the first frame begins below
  static char stack[256 * 1024];
  stack_t own{};
  own.ss_sp = stack;
  own.ss_size = sizeof stack;
  sigaltstack(&own, nullptr);
  struct sigaction action {};
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGTRAP, &action, nullptr);
  action.sa_handler = handler;
  action.sa_flags = 0;
  sigaction(SIGUSR1, &action, nullptr);
  g_name = "leaf";
  g_sink = middle(1);
  g_name = "variable";
  g_sink = variable(9);
  g_name = "staged";
  g_sink = stages(2);
  g_name = "signal";
  g_sink = interrupts(getpid());
  print_samples(argv[1]);
  return 0;
}
