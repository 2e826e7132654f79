// The hard cases that are one function or two, one per name on the command line.
#include "sampler.hpp"

#include <alloca.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>

extern "C" volatile long g_sink;
volatile long g_sink;

// ---- 1 to 7: leaf, prologue, epilogue, red zone, PLT --------------------------------------------------

FN long leaf(long x) {
  TAKE_SAMPLE();
  return x + g_sink;
}
FN void run_leaf() { g_sink = leaf(3) + 1; }

FN long quiet(long x) { return x * 3 + g_sink; }
FN long with_saved_registers(long a, long b, long c) {
  const long x = quiet(a);
  const long y = quiet(b + x);
  const long z = quiet(c + y);
  const long w = quiet(a + z);
  return x * y + z * w + a * b + c * quiet(x + y + z + w);
}
FN void run_frame() {
  start_stepping();
  g_sink = with_saved_registers(1, 2, 3) + 1;
  stop_stepping();
}

FN long in_red_zone(long x) {
  volatile long room[12];
  for (int i = 0; i < 12; ++i) room[i] = x + i;
  return room[x & 7];
}
FN void run_red_zone() {
  start_stepping();
  g_sink = in_red_zone(5) + 1;
  stop_stepping();
}

// As hand-written code keeps its caller's register: where a leaf may write without having moved sp (System V
// ABI of x86-64, 3.2.2). The caller's frame is found by that register.
__asm__(
    ".text\n.globl keeps_below_sp\n.type keeps_below_sp, @function\nkeeps_below_sp:\n"
    ".cfi_startproc\n"
    "movq %rbp, -24(%rsp)\n .cfi_offset %rbp, -32\n"
    "movl $0x41414141, %ebp\n"
    "nop\n"
    "movq -24(%rsp), %rbp\n .cfi_restore %rbp\n"
    "ret\n"
    ".cfi_endproc\n.size keeps_below_sp, .-keeps_below_sp\n");
extern "C" void keeps_below_sp();
FN void run_red_zone_register() {
  auto* const room = static_cast<volatile char*>(alloca(static_cast<std::size_t>(g_sink & 7) + 8));
  start_stepping();
  keeps_below_sp();
  stop_stepping();
  g_sink = room[0];
}

static const char* volatile g_digits = "77";
FN void run_plt() {
  start_stepping();
  g_sink = static_cast<long>(strtol(g_digits, nullptr, 8)) + 1;
  stop_stepping();
}

// ---- 8, 9: signals ------------------------------------------------------------------------------------

#define RAISE_ILL() __asm__ volatile("ud2" ::: "memory")
static void skip_ud2(void* context) {
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP] += 2;
}
static void handle(int number, void (*handler)(int, siginfo_t*, void*), int flags) {
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO | flags;
  sigaction(number, &action, nullptr);
}
FN void in_handler(int, siginfo_t*, void* context) {
  TAKE_SAMPLE();
  skip_ud2(context);
}
FN long interrupted(long x) {
  RAISE_ILL();
  return x + g_sink;
}
FN void run_signal() {
  handle(SIGILL, in_handler, 0);
  g_sink = interrupted(1) + 1;
}
// Its frame is found by a register that only the kernel has kept, as in a loop that probes a big frame.
__asm__(
    ".text\n.globl faults_by_r11\n.type faults_by_r11, @function\nfaults_by_r11:\n"
    ".cfi_startproc\n"
    "movq %rsp, %r11\n .cfi_def_cfa_register %r11\n"
    "subq $8192, %rsp\n"
    "ud2\n"
    "movq %r11, %rsp\n .cfi_def_cfa_register %rsp\n"
    "ret\n"
    ".cfi_endproc\n.size faults_by_r11, .-faults_by_r11\n");
extern "C" void faults_by_r11();
FN void run_signal_by_r11() {
  handle(SIGILL, in_handler, 0);
  faults_by_r11();
  g_sink = g_sink + 1;
}
FN void in_outer_handler(int, siginfo_t*, void* context) {
  g_sink = interrupted(2) + 1;  // SIGILL again
  skip_ud2(context);
}
FN void in_first_handler(int number, siginfo_t* info, void* context) {
  handle(SIGILL, in_handler, SA_ONSTACK | SA_NODEFER);
  in_outer_handler(number, info, context);
  g_sink = g_sink + 1;
}
FN void run_nested_signal() {
  handle(SIGILL, in_first_handler, SA_ONSTACK | SA_NODEFER);
  g_sink = interrupted(1) + 1;
}

// ---- 10 to 14: frames ---------------------------------------------------------------------------------

FN long with_alloca(long n) {
  auto* const room = static_cast<volatile char*>(alloca(static_cast<std::size_t>(n) * 16));
  room[n] = static_cast<char>(n);
  return quiet(room[n]) + n;
}
FN void run_alloca() {
  start_stepping();
  g_sink = with_alloca(9) + with_alloca(40);
  stop_stepping();
}

struct alignas(64) line {
  volatile char bytes[64];
};
FN long realigned(long n) {
  line local;
  local.bytes[1] = static_cast<char>(n);
  auto* const more = static_cast<volatile char*>(alloca(static_cast<std::size_t>(n) * 8));
  more[0] = local.bytes[1];
  return quiet(more[0]) + reinterpret_cast<long>(&local) % 64;
}
FN void run_realigned() {
  start_stepping();
  g_sink = realigned(4) + realigned(9);
  stop_stepping();
}

FN long half_megabyte(long n) {
  volatile char room[700 * 1024];
  room[n] = static_cast<char>(n);
  return leaf(room[n]) + n;
}
FN long twenty_megabytes(long n) {
  volatile char room[20 << 20];
  room[n] = static_cast<char>(n);
  return half_megabyte(room[n]) + n;
}
FN void* big_thread(void*) {
  g_sink = twenty_megabytes(4) + 1;
  return nullptr;
}
static void run_on_big_stack(void* (*what)(void*), std::size_t megabytes) {
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, megabytes << 20);
  pthread_create(&thread, &attributes, what, nullptr);
  pthread_join(thread, nullptr);
}
FN void run_big() { run_on_big_stack(big_thread, 64); }

// Each frame has a page of its own.
FN long takes_a_page(long n) {
  volatile char room[4096];
  room[0] = static_cast<char>(n);
  return n == 0 ? leaf(room[0]) + room[0] : takes_a_page(n - 1) + room[0];
}
template <long Depth>
void* takes_pages(void*) {
  g_sink = takes_a_page(Depth) + 1;
  return nullptr;
}
FN void run_many_pages() { run_on_big_stack(takes_pages<1000>, 64); }
FN void run_too_many_pages() { run_on_big_stack(takes_pages<10000>, 64); }

static std::jmp_buf g_place;
FN __attribute__((noreturn)) void never_returns(long) {
  TAKE_SAMPLE();
  std::longjmp(g_place, 1);
}
FN void ends_in_a_call(long x) {
  g_sink = x;
  never_returns(x + g_sink);
}
FN void comes_behind() { g_sink = g_sink + 5; }
FN void run_noreturn() {
  if (setjmp(g_place) == 0) ends_in_a_call(3);
  comes_behind();
}
FN __attribute__((noreturn)) void jumps_back() {
  start_stepping();
  std::longjmp(g_place, 1);
}
FN void run_longjmp() {
  if (setjmp(g_place) == 0) jumps_back();
  stop_stepping();
}

FN long tail_caller(long x) { return leaf(x + g_sink); }
FN void run_tail() { g_sink = tail_caller(3) + 1; }

// ---- 15, 16: stacks that are not main's ---------------------------------------------------------------

FN void* thread_main(void*) {
  g_sink = leaf(1) + 1;
  return nullptr;
}
FN void run_thread() {
  pthread_t thread;
  pthread_create(&thread, nullptr, thread_main, nullptr);
  pthread_join(thread, nullptr);
}

static ucontext_t g_main_context;
static ucontext_t g_other_context;
FN void swap_out() {
  swapcontext(&g_other_context, &g_main_context);
  g_sink = g_sink + 1;
}
FN void context_main() {
  for (int i = 0; i < 3; ++i) {
    g_sink = leaf(i) + 1;
    swap_out();
  }
  g_sink = leaf(4) + 1;
}
FN void swap_in() {
  swapcontext(&g_main_context, &g_other_context);
  g_sink = leaf(5) + 1;
}
static void make_context() {
  static char stack[128 * 1024];
  std::memset(stack, 0x41, sizeof stack);  // what lies around is no stack
  getcontext(&g_other_context);
  g_other_context.uc_stack.ss_sp = stack;
  g_other_context.uc_stack.ss_size = sizeof stack - 4096;
  g_other_context.uc_link = &g_main_context;
  makecontext(&g_other_context, context_main, 0);
}
FN void run_context() {
  make_context();
  for (int i = 0; i < 4; ++i) swap_in();
}
FN void run_context_steps() {
  make_context();
  start_stepping();
  for (int i = 0; i < 4; ++i) swap_in();
  stop_stepping();
}

// ---- 18: code nobody described ------------------------------------------------------------------------

using jit_function = void (*)(void (*)());
static jit_function compile(const unsigned char* code, std::size_t size) {
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  std::memcpy(page, code, size);
  return reinterpret_cast<jit_function>(page);
}
FN void jit_callback() {
  TAKE_SAMPLE();
  g_sink = g_sink + 1;
}
FN void calls_jit(jit_function code) {
  code(jit_callback);
  g_sink = g_sink + 1;
}
FN void run_jit_with_fp() {
  // push %rbp; mov %rsp,%rbp; int3; call *%rdi; pop %rbp; ret
  static constexpr unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xcc, 0xff, 0xd7, 0x5d, 0xc3};
  calls_jit(compile(code, sizeof code));
}
FN void run_jit_without_fp() {
  // sub $24,%rsp; int3; call *%rdi; add $24,%rsp; ret
  static constexpr unsigned char code[] = {0x48, 0x83, 0xec, 0x18, 0xcc, 0xff,
                                           0xd7, 0x48, 0x83, 0xc4, 0x18, 0xc3};
  calls_jit(compile(code, sizeof code));
}
// Built with the address sanitizer, a scan from there meets the zones around this variable.
FN void calls_jit_from_a_room(void (*code)(void (*)())) {
  volatile char room[200];
  std::memset(const_cast<char*>(room), 1, sizeof room);
  calls_jit(code);
  g_sink = g_sink + room[3];
}
FN void run_jit_with_room() {
  // push %rbp; xor %ebp,%ebp; sub $208,%rsp; int3; call *%rdi; add $208,%rsp; pop %rbp; ret
  static constexpr unsigned char code[] = {0x55, 0x31, 0xed, 0x48, 0x81, 0xec, 0xd0, 0, 0, 0, 0xcc, 0xff,
                                           0xd7, 0x48, 0x81, 0xc4, 0xd0, 0,    0, 0, 0x5d, 0xc3};
  calls_jit_from_a_room(compile(code, sizeof code));
}

// ---- 22: stack overflow -------------------------------------------------------------------------------

FN void on_overflow(int, siginfo_t*, void* context) {
  sample_context(context);
  TAKE_SAMPLE();
  print_samples();
  _exit(0);
}
FN long eats_stack(long n) {
  volatile char room[64 * 1024];
  room[0] = static_cast<char>(n | 1);
  return n == 0 ? 0 : eats_stack(n | room[0]) + room[0];
}
FN long nibbles_stack(long n) {
  volatile char room[64];
  room[0] = static_cast<char>(n | 1);
  return n == 0 ? 0 : nibbles_stack(n | room[0]) + room[0];
}
FN void run_overflow() {
  handle(SIGSEGV, on_overflow, SA_ONSTACK);
  g_sink = eats_stack(1) + 1;
}
FN void run_deep_overflow() {
  handle(SIGSEGV, on_overflow, SA_ONSTACK);
  g_sink = nibbles_stack(1) + 1;
}

// ---- 31 to 33: leaving in unusual ways ----------------------------------------------------------------

struct guard {
  ~guard() { g_sink = g_sink + 1; }
};
struct thrown {};
FN long throws(long n) {
  const guard local;
  if (n == 0) throw thrown();
  return throws(n - 1) + 1;
}
FN void catches() {
  try {
    g_sink = throws(3);
  } catch (const thrown&) {
    g_sink = g_sink + 7;
  }
}
FN void run_exceptions() {
  catches();  // the first one loads and relocates
  start_stepping();
  catches();
  stop_stepping();
}

FN void run_vfork() {
  start_stepping();
  const pid_t child = vfork();
  if (child == 0) _exit(7);
  stop_stepping();
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 7) std::puts("the child did not end with 7");
}

FN int compare(const void* a, const void* b) {
  static bool sampled;
  if (!sampled) TAKE_SAMPLE();
  sampled = true;
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}
FN void sorts() {
  int numbers[5] = {4, 2, 5, 1, 3};
  qsort(numbers, 5, sizeof numbers[0], compare);
  g_sink = numbers[2];
}
FN void run_qsort() {
  sorts();
  g_sink = g_sink + 1;
}

// ---- 34: assembly whose CFA is in a register of its own choice ----------------------------------------

// As OpenSSL's perlasm writes: the entry's sp in rax or r11, then in a slot of a realigned frame.
#define ODD_FUNCTION(name, reg, slot_cfi)                          \
  ".globl " name "\n.type " name ", @function\n" name ":\n"        \
  ".cfi_startproc\n"                                               \
  "movq %rsp, %" reg "\n .cfi_def_cfa_register %" reg "\n"         \
  "pushq %rbx\n .cfi_offset %rbx, -16\n"                           \
  "pushq %rbp\n .cfi_offset %rbp, -24\n"                           \
  "subq $192, %rsp\n"                                              \
  "andq $-64, %rsp\n"                                              \
  "movl $0x41414141, %ebp\n movl $0x41414141, %ebx\n"              \
  "int3\n"                                                         \
  "movq %" reg ", 152(%rsp)\n" slot_cfi                            \
  "xorl %eax, %eax\n xorl %r11d, %r11d\n"                          \
  "int3\n"                                                         \
  "movq 152(%rsp), %rsi\n .cfi_def_cfa %rsi, 8\n"                  \
  "movq -16(%rsi), %rbp\n .cfi_restore %rbp\n"                     \
  "movq -8(%rsi), %rbx\n .cfi_restore %rbx\n"                      \
  "leaq (%rsi), %rsp\n .cfi_def_cfa_register %rsp\n"               \
  "ret\n"                                                          \
  ".cfi_endproc\n.size " name ", .-" name "\n"
// def_cfa_expression: breg7 152; deref; plus_uconst 8
#define SLOT_CFI ".cfi_escape 0x0f, 6, 0x77, 0x98, 0x01, 0x06, 0x23, 0x08\n"
__asm__(".text\n" ODD_FUNCTION("odd_rax", "rax", SLOT_CFI) ODD_FUNCTION("odd_r11", "r11", SLOT_CFI));
extern "C" void odd_rax();
extern "C" void odd_r11();
FN void calls_odd(void (*code)()) {
  start_stepping();
  code();
  stop_stepping();
}
FN void run_odd_rax() { calls_odd(odd_rax), g_sink = g_sink + 1; }
FN void run_odd_r11() { calls_odd(odd_r11), g_sink = g_sink + 1; }

// ---- 35 to 38 -----------------------------------------------------------------------------------------

FN __attribute__((cold)) void rarely() {
  TAKE_SAMPLE();
  g_sink = g_sink + 2;
}
FN long split(long n) {
  const long kept = quiet(n);
  if (__builtin_expect(kept > g_sink, 0)) {
    rarely();
    return quiet(kept + 1) + kept;
  }
  return quiet(kept) * kept;
}
FN void run_cold() {
  g_sink = 0;
  g_sink = split(5) + 1;
}

FN void run_vdso() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);  // binds it
  start_stepping();
  clock_gettime(CLOCK_MONOTONIC, &now);
  stop_stepping();
}

static std::uint64_t next_random(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}
// Nearly right values are worse than wild ones: a page's end, unaligned, a code address as a stack.
static unsigned long garbage(std::uint64_t& state, const unsigned long* places, unsigned count) {
  const std::uint64_t kind = next_random(state) % 6;
  const unsigned long place = places[next_random(state) % count];
  if (kind == 0) return next_random(state);
  if (kind == 1) return next_random(state) & 0x7fffffffffff;
  if (kind == 2) return ~0ul - (next_random(state) & 15);
  if (kind == 3) return next_random(state) & 4095;
  if (kind == 4) return place + (next_random(state) & 0xffff);
  return (place | 4095) - (next_random(state) & 15);
}
FN void run_garbage() {
  char* const edge = static_cast<char*>(mmap(nullptr, 3 * 4096, PROT_NONE,
                                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  mprotect(edge + 4096, 4096, PROT_READ | PROT_WRITE);
  void (*const here)() = run_garbage;
  void* (*const libc)(std::size_t) = std::malloc;
  const unsigned long places[] = {
      reinterpret_cast<unsigned long>(&edge), reinterpret_cast<unsigned long>(edge),
      reinterpret_cast<unsigned long>(edge) + 4096, reinterpret_cast<unsigned long>(here),
      reinterpret_cast<unsigned long>(libc), reinterpret_cast<unsigned long>(std::malloc(100))};
  static ucontext_t context;
  std::uint64_t state = 88172645463325252u;
  unsigned long deepest = 0;
  unsigned long unmarked = 0;
  constexpr int rounds = 40000;
  for (int i = 0; i < rounds; ++i) {
    for (greg_t& value : context.uc_mcontext.gregs) {
      value = static_cast<greg_t>(garbage(state, places, 6));
    }
    const auto reg = [](int n) { return static_cast<unsigned long>(context.uc_mcontext.gregs[n]); };
    const sample_kind kind = walk_from(reg(REG_RIP), reg(REG_RSP), reg(REG_RBP), reg(REG_RBX), &context);
    if (kind.depth > deepest) deepest = kind.depth;
    if (kind.truncated == 0 && kind.approximate == 0) ++unmarked;
  }
  std::printf("garbage rounds %d deepest %lu unmarked %lu\n", rounds, deepest, unmarked);
}

FN void run_wild_sp() {
  const auto pc = reinterpret_cast<unsigned long>(&with_saved_registers);
  sample_from(pc, 16, 0x7fff);
  sample_from(pc, ~0ul - 7, ~0ul);
  sample_from(pc, 0x8000000000000000ul, 1);
  sample_from(0, 0, 0);
  sample_from(~0ul, reinterpret_cast<unsigned long>(&pc) | 3, 0x10);
}

FN long pushes_by_hand(long x) {
  long kept = quiet(x);
  __asm__ volatile("sub $128, %%rsp\n push %0\n push %0\n int3\n pop %0\n pop %0\n add $128, %%rsp"
                   : "+r"(kept) : : "memory", "cc");
  return quiet(kept) + kept;
}
FN void run_push() { g_sink = pushes_by_hand(3) + 1; }

// What lies above the pushed word is a pointer to a function that the caller had in rbx.
FN void is_called_back() { g_sink = g_sink + 1; }
FN long pushes_flags(long x) {
  const long kept = quiet(x);
  long flags;
  __asm__ volatile("pushfq\n int3\n popq %0" : "=r"(flags) : : "memory", "cc", "rbx");
  return quiet(kept) + x + flags;
}
FN void loops_over_callback(void (*callback)()) {
  for (int i = 0; i < 2; ++i) {
    g_sink = pushes_flags(3);
    callback();
    callback();
  }
}
FN void run_push_pointer() { loops_over_callback(is_called_back); }

// The same with a pointer into the middle of a function, as an interpreter has them.
extern "C" __attribute__((visibility("hidden"))) const char middle_of_has_label[];
FN long has_label(long x) {
  const long kept = quiet(x);
  __asm__ volatile("middle_of_has_label:" : : : "memory");
  return quiet(kept) + x;
}
FN void loops_over_label(const void* label) {
  for (int i = 0; i < 2; ++i) {
    g_sink = pushes_flags(3);
    __asm__ volatile("" : : "r"(label));
  }
}
FN void run_push_label() {
  g_sink = has_label(3);
  loops_over_label(middle_of_has_label);
}

// -------------------------------------------------------------------------------------------------------

struct named_case {
  const char* name;
  void (*run)();
};
#define CASE(name) {#name, run_##name}
static const named_case cases[] = {
    CASE(leaf), CASE(frame), CASE(red_zone), CASE(red_zone_register), CASE(plt), CASE(signal), CASE(signal_by_r11),
    CASE(nested_signal), CASE(alloca), CASE(realigned), CASE(big), CASE(many_pages), CASE(too_many_pages),
    CASE(noreturn), CASE(longjmp), CASE(tail), CASE(thread), CASE(context),
    CASE(context_steps), CASE(jit_with_fp), CASE(jit_without_fp), CASE(jit_with_room), CASE(overflow),
    CASE(deep_overflow), CASE(exceptions), CASE(vfork), CASE(qsort), CASE(odd_rax), CASE(odd_r11), CASE(cold), CASE(vdso),
    CASE(garbage), CASE(wild_sp), CASE(push), CASE(push_pointer), CASE(push_label),
};

int main(int argc, char** argv) {
  begin_sampling(argc, argv);
  for (const named_case& one : cases) {
    if (std::strcmp(one.name, argv[1]) == 0) one.run();
  }
  print_samples();
  return 0;
}
