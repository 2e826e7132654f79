// tests/unit/os/linux_stack_test.cpp - signal frames as the kernel makes them.

#include "prof/os/os.hpp"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct plain_memory {
  std::uintptr_t unreadable = 0;  // from here on, unless 0
  bool read_word(std::uintptr_t address, std::uintptr_t& word) const {
    if (unreadable != 0 && address + sizeof word > unreadable) return false;
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
    return true;
  }
};

// What a handler sees of the function that it interrupts.
struct handler_view {
  bool called = false;
  bool frame_found = false;
  bool cut_frame_found = true;
  bool returns_to_trampoline = false;
  bool all_registers = false;
  registers frame;
  ucontext_t context;
  std::uintptr_t numbered[64];
  bool has_number[64];
};
handler_view g_view;

bool register_of(const void* context, unsigned number, std::uintptr_t& value) {
  const std::uintptr_t place = os_register_place_sig(context, number);
  return place != 0 && plain_memory{}.read_word(place, value);
}

void look(int, siginfo_t*, void* context) {
  const plain_memory memory;
  const std::uintptr_t sp = reinterpret_cast<std::uintptr_t>(context) - signal_context_offset;
  g_view.called = true;
  g_view.frame_found = os_signal_frame_sig(sp, memory, g_view.frame);
  registers unused;
  const plain_memory cut{sp + signal_context_offset + 64};
  g_view.cut_frame_found = os_signal_frame_sig(sp, cut, unused);
  std::memcpy(&g_view.context, context, sizeof g_view.context);
  g_view.all_registers = g_view.frame.context == context;
  for (unsigned i = 0; i < 64; ++i) {
    g_view.has_number[i] = register_of(context, i, g_view.numbered[i]);
  }
#if defined(__x86_64__)
  std::uintptr_t return_address = 0;
  memory.read_word(sp - 8, return_address);
  g_view.returns_to_trampoline = os_is_signal_return_sig(return_address, memory);
#endif
}

struct handler_scope {
  struct sigaction before;
  handler_scope() {
    g_view = handler_view{};
    struct sigaction action {};
    action.sa_sigaction = &look;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGUSR2, &action, &before);
  }
  ~handler_scope() { sigaction(SIGUSR2, &before, nullptr); }
  handler_scope(const handler_scope&) = delete;
  handler_scope& operator=(const handler_scope&) = delete;
};

}  // namespace

// ---- signal frames
// -------------------------------------------------------------------------------

TEST_CASE("the registers of a signal frame are those of the handler's context") {
  const handler_scope handler;
  raise(SIGUSR2);
  REQUIRE(g_view.called);
  REQUIRE(g_view.frame_found);
  CHECK_FALSE(g_view.cut_frame_found);
  CHECK(g_view.all_registers);
  const auto& machine = g_view.context.uc_mcontext;
#if defined(__x86_64__)
  CHECK(g_view.returns_to_trampoline);
  CHECK(g_view.frame.pc == static_cast<std::uintptr_t>(machine.gregs[REG_RIP]));
  CHECK(g_view.frame.sp == static_cast<std::uintptr_t>(machine.gregs[REG_RSP]));
  CHECK(g_view.frame.fp == static_cast<std::uintptr_t>(machine.gregs[REG_RBP]));
  CHECK(g_view.frame.rbx_or_lr == static_cast<std::uintptr_t>(machine.gregs[REG_RBX]));
#elif defined(__aarch64__)
  CHECK(g_view.frame.pc == machine.pc);
  CHECK(g_view.frame.sp == machine.sp);
  CHECK(g_view.frame.fp == machine.regs[29]);
  CHECK(g_view.frame.rbx_or_lr == machine.regs[30]);
#endif
}

#if defined(__x86_64__)

TEST_CASE("registers have their DWARF numbers: what a function puts in is what a handler sees") {
  const handler_scope handler;
  struct values {
    std::uint64_t rbx, rdi, rsi, rdx, r8, r9, r10, r12, r13, r14, r15, pid, sig;
  } in{0x303,  0,     0,     0x101, 0x808, 0x909,
       0xa0a,  0xc0c, 0xd0d, 0xe0e, 0xf0f, static_cast<std::uint64_t>(getpid()),
       SIGUSR2};
  std::uint64_t result = SYS_kill;
  std::uint64_t sp = 0;
  std::uint64_t fp = 0;
  asm volatile(
      "mov 0(%[in]), %%rbx\n mov 24(%[in]), %%rdx\n mov 32(%[in]), %%r8\n mov 40(%[in]), %%r9\n"
      "mov 48(%[in]), %%r10\n mov 56(%[in]), %%r12\n mov 64(%[in]), %%r13\n"
      "mov 72(%[in]), %%r14\n mov 80(%[in]), %%r15\n"
      "mov 88(%[in]), %%rdi\n mov %%rsp, %[sp]\n mov %%rbp, %[fp]\n mov 96(%[in]), %%rsi\n syscall"
      : "+a"(result), [sp] "=m"(sp), [fp] "=m"(fp)
      : [in] "S"(&in), "m"(in)
      : "rbx", "rcx", "rdx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory");
  REQUIRE(result == 0);
  REQUIRE(g_view.called);
  const std::uint64_t wanted[16] = {0,      in.rdx, g_view.frame.pc, in.rbx, in.sig, in.pid,
                                    fp,     sp,     in.r8,           in.r9,  in.r10, 0,
                                    in.r12, in.r13, in.r14,          in.r15};
  for (unsigned i = 0; i < 16; ++i) {
    if (i == 11) continue;  // r11 has the flags after syscall
    CAPTURE(i);
    CHECK(g_view.has_number[i]);
    CHECK(g_view.numbered[i] == wanted[i]);
  }
  CHECK(g_view.numbered[11] ==
        static_cast<std::uint64_t>(g_view.context.uc_mcontext.gregs[REG_R11]));
  for (unsigned i = 16; i < 64; ++i) CHECK_FALSE(g_view.has_number[i]);
  CHECK(g_view.frame.rbx_or_lr == in.rbx);
  CHECK(g_view.frame.sp == sp);
  CHECK(g_view.frame.fp == fp);
}

TEST_CASE("only the instructions of a signal's return are taken for one") {
  unsigned char code[16] = {0x48, 0xc7, 0xc0, 0x0f, 0x00, 0x00, 0x00, 0x0f, 0x05};
  const plain_memory memory;
  const auto at = reinterpret_cast<std::uintptr_t>(code);
  CHECK(os_is_signal_return_sig(at, memory));
  CHECK_FALSE(os_is_signal_return_sig(at + 1, memory));
  const plain_memory cut{at + 7};
  CHECK_FALSE(os_is_signal_return_sig(at, cut));
  code[3] = 0x0e;
  CHECK_FALSE(os_is_signal_return_sig(at, memory));
}

#elif defined(__aarch64__)

TEST_CASE("registers have their DWARF numbers") {
  const handler_scope handler;
  raise(SIGUSR2);
  REQUIRE(g_view.called);
  for (unsigned i = 0; i < 31; ++i) {
    CHECK(g_view.has_number[i]);
    CHECK(g_view.numbered[i] == g_view.context.uc_mcontext.regs[i]);
  }
  for (unsigned i = 31; i < 64; ++i) CHECK_FALSE(g_view.has_number[i]);
}

#endif

#if defined(__GLIBC__)
// What makecontext has put in place for the function to return to.
std::uintptr_t return_address_of(const ucontext_t& made) {
#if defined(__x86_64__)
  std::uintptr_t at = 0;
  std::memcpy(&at, reinterpret_cast<const void*>(made.uc_mcontext.gregs[REG_RSP]), sizeof at);
  return at;
#else
  return static_cast<std::uintptr_t>(made.uc_mcontext.regs[30]);
#endif
}

TEST_CASE("what a context's function returns to is known by its code") {
  alignas(16) static unsigned char stack[16384];
  ucontext_t made;
  REQUIRE(getcontext(&made) == 0);
  made.uc_stack.ss_sp = stack;
  made.uc_stack.ss_size = sizeof stack;
  made.uc_link = nullptr;
  makecontext(&made, [] {}, 0);
  const std::uintptr_t at = return_address_of(made);
  const plain_memory memory;
  CHECK(os_is_context_start_sig(at, memory));
  CHECK_FALSE(os_is_context_start_sig(at + 8, memory));  // aarch64 begins with a nop
  const plain_memory cut{at + 7};
  CHECK_FALSE(os_is_context_start_sig(at, cut));
}
#endif

#endif
