// prof/os/linux_stack.hpp - the OS contract on Linux: what a stack walk asks about signals and contexts.
// Floor 3 (os). Included by os/os.hpp only, behind os/linux_sampling.hpp.
// Safety: async-signal-safe, all of it.
// Memory: none.
// Source: struct rt_sigframe of arch/x86/include/asm/sigframe.h and arch/arm64/kernel/signal.c (kernel
//         6.18); register numbers: psABI x86-64 fig. 3.36, AADWARF64 4.1.
#ifndef PROF_OS_LINUX_STACK_HPP
#define PROF_OS_LINUX_STACK_HPP

#include "prof/os/linux_sampling.hpp"

PROF_DETAIL_BEGIN

// ---- signal frames -----------------------------------------------------------------------------------

#if defined(__x86_64__)
// mov $15,%rax; syscall (rt_sigreturn), which glibc and musl return to from a handler.
inline constexpr std::uint64_t signal_return_code = 0x0f0000000fc0c748u;
// Where the handler's return leaves sp there is the ucontext.
inline constexpr std::size_t signal_context_offset = 0;
#else
// mov x8,#139; svc #0, in the vDSO.
inline constexpr std::uint64_t signal_return_code = 0xd4000001d2801168u;
inline constexpr std::size_t signal_context_offset = sizeof(siginfo_t);
#endif

// Whether the code at `pc` is what handlers return to. Memory: bool read_word(address, word&).
template <class Memory>
inline bool os_is_signal_return_sig(std::uintptr_t pc, Memory& memory) PROF_DETAIL_SIG {
  std::uintptr_t code = 0;
  return memory.read_word(pc, code) && code == signal_return_code;
}

// Whether the code at `pc` is what the function of a context that makecontext(3) made returns to: glibc's
// __start_context (2.36), whose call frame information does not say that nobody called it.
template <class Memory>
inline bool os_is_context_start_sig(std::uintptr_t pc, Memory& memory) PROF_DETAIL_SIG {
  std::uintptr_t code = 0;
  if (!memory.read_word(pc, code)) return false;
#if defined(__x86_64__)
  if ((code & 0xffffffffu) == 0xfa1e0ff3u && !memory.read_word(pc + 4, code)) return false;  // endbr64
  return (code & 0x00ffffffffffffffu) == 0x00243c8b48dc8948u;  // mov %rbx,%rsp; mov (%rsp),%rdi
#else
  if ((code & 0xffffffffu) == 0xd503201fu && !memory.read_word(pc + 4, code)) return false;  // nop
  return (code & 0xff00001fffffffffu) == 0xb5000000aa1303e0u;  // mov x0,x19; cbnz x0,__setcontext
#endif
}

// The registers that the kernel saved in the signal frame at sp, to where the handler returns; all of them, for
// hand-written assembly and probes of big frames (-fstack-clash-protection) keep their CFA in one of the others.
template <class Memory>
inline bool os_signal_frame_sig(std::uintptr_t sp, Memory& memory, registers& out)
    PROF_DETAIL_SIG {
  const std::uintptr_t context = sp + signal_context_offset;
  const auto read = [&](std::size_t offset, std::uintptr_t& value) {
    return memory.read_word(context + offset, value);
  };
  out.context = reinterpret_cast<const void*>(context);
#if defined(__x86_64__)
  constexpr std::size_t first = offsetof(ucontext_t, uc_mcontext.gregs);
  return read(first + REG_RIP * sizeof(greg_t), out.pc) &&
         read(first + REG_RSP * sizeof(greg_t), out.sp) &&
         read(first + REG_RBP * sizeof(greg_t), out.fp) &&
         read(first + REG_RBX * sizeof(greg_t), out.rbx_or_lr);
#else
  constexpr std::size_t first = offsetof(ucontext_t, uc_mcontext);
  return read(first + offsetof(mcontext_t, pc), out.pc) &&
         read(first + offsetof(mcontext_t, sp), out.sp) &&
         read(first + offsetof(mcontext_t, regs) + 29 * 8, out.fp) &&
         read(first + offsetof(mcontext_t, regs) + 30 * 8, out.rbx_or_lr);
#endif
}

// Where the kernel saved a register, by its DWARF number, of the function that a signal interrupted.
inline std::uintptr_t os_register_place_sig(const void* signal_context, unsigned number) PROF_DETAIL_SIG {
  const auto context = reinterpret_cast<std::uintptr_t>(signal_context);
#if defined(__x86_64__)
  constexpr unsigned char greg_of[16] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                         REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                         REG_R12, REG_R13, REG_R14, REG_R15};
  if (number >= 16) return 0;
  return context + offsetof(ucontext_t, uc_mcontext.gregs) + greg_of[number] * sizeof(greg_t);
#else
  if (number >= 31) return 0;
  return context + offsetof(ucontext_t, uc_mcontext) + offsetof(mcontext_t, regs) + number * sizeof(std::uintptr_t);
#endif
}

PROF_DETAIL_END

#endif  // PROF_OS_LINUX_STACK_HPP
