// tests/unit/os/linux_stack_test.cpp - signal frames as the kernel makes them; objects as the
// loader knows them.

#include "prof/os/os.hpp"

#include <dlfcn.h>
#include <doctest/doctest.h>
#include <link.h>
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
  registers frame;
  ucontext_t context;
  std::uintptr_t numbered[64];
  bool has_number[64];
};
handler_view g_view;

void look(int, siginfo_t*, void* context) {
  const plain_memory memory;
  const std::uintptr_t sp = reinterpret_cast<std::uintptr_t>(context) - signal_context_offset;
  g_view.called = true;
  g_view.frame_found = os_signal_frame_sig(sp, memory, g_view.frame);
  registers unused;
  const plain_memory cut{sp + signal_context_offset + 64};
  g_view.cut_frame_found = os_signal_frame_sig(sp, cut, unused);
  std::memcpy(&g_view.context, context, sizeof g_view.context);
  for (unsigned i = 0; i < 64; ++i) {
    g_view.has_number[i] = os_register_sig(context, i, g_view.numbered[i]);
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

std::uintptr_t header_by_loader(std::uintptr_t address) {
  struct search {
    std::uintptr_t address;
    std::uintptr_t found;
  } for_it{address, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* object, std::size_t, void* context) {
        auto& wanted = *static_cast<search*>(context);
        std::uintptr_t header = 0;
        bool holds = false;
        for (int i = 0; i < object->dlpi_phnum; ++i) {
          const ElfW(Phdr)& segment = object->dlpi_phdr[i];
          const std::uintptr_t begin = object->dlpi_addr + segment.p_vaddr;
          if (segment.p_type == PT_GNU_EH_FRAME) header = begin;
          if (segment.p_type != PT_LOAD) continue;
          holds = holds || wanted.address - begin < segment.p_memsz;
        }
        if (holds) wanted.found = header;
        return holds ? 1 : 0;
      },
      &for_it);
  return for_it.found;
}

extern "C" const char prof_test_old_loader __attribute__((__weak__));  // see old_loader.s

bool loader_can_be_asked() {
  return dlsym(RTLD_DEFAULT, "_dl_find_object") != nullptr && &prof_test_old_loader == nullptr;
}

}  // namespace

// ---- signal frames
// -------------------------------------------------------------------------------

TEST_CASE("the registers of a signal frame are those of the handler's context") {
  const handler_scope handler;
  raise(SIGUSR2);
  REQUIRE(g_view.called);
  REQUIRE(g_view.frame_found);
  CHECK_FALSE(g_view.cut_frame_found);
  const auto& machine = g_view.context.uc_mcontext;
#if defined(__x86_64__)
  CHECK(g_view.returns_to_trampoline);
  CHECK(g_view.frame.pc == static_cast<std::uintptr_t>(machine.gregs[REG_RIP]));
  CHECK(g_view.frame.sp == static_cast<std::uintptr_t>(machine.gregs[REG_RSP]));
  CHECK(g_view.frame.fp == static_cast<std::uintptr_t>(machine.gregs[REG_RBP]));
  CHECK(g_view.frame.third == static_cast<std::uintptr_t>(machine.gregs[REG_RBX]));
#elif defined(__aarch64__)
  CHECK(g_view.frame.pc == machine.pc);
  CHECK(g_view.frame.sp == machine.sp);
  CHECK(g_view.frame.fp == machine.regs[29]);
  CHECK(g_view.frame.third == machine.regs[30]);
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
  CHECK(g_view.frame.third == in.rbx);
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

// ---- objects
// -------------------------------------------------------------------------------------

TEST_CASE("the loader knows the objects that hold code, with their search headers") {
  for (const auto address : {reinterpret_cast<std::uintptr_t>(&header_by_loader),
                             reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort"))}) {
    os_object object;
    REQUIRE(os_find_object_sig(address, object) == loader_can_be_asked());
    if (!loader_can_be_asked()) continue;
    CHECK(object.start <= address);
    CHECK(address < object.limit);
    CHECK(object.cfi_header == header_by_loader(address));
    CHECK(object.cfi_header != 0);
  }
}

TEST_CASE("the two objects are different ones") {
  if (!loader_can_be_asked()) return;
  os_object own;
  os_object libc;
  REQUIRE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(&header_by_loader), own));
  REQUIRE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort")), libc));
  CHECK(own.cfi_header != libc.cfi_header);
  CHECK((own.limit <= libc.start || libc.limit <= own.start));
}

TEST_CASE("what no object holds is not found") {
  os_object object;
  int local = 0;
  CHECK_FALSE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(&local), object));
  CHECK_FALSE(os_find_object_sig(0, object));
  CHECK_FALSE(os_find_object_sig(~std::uintptr_t{0}, object));
}

#endif
