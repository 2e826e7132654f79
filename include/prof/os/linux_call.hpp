// prof/os/linux_call.hpp - system calls on Linux, x86-64 and aarch64.
// Floor 3 (os). Included by os/linux.hpp and os/word_wait.hpp, for the thin header brings no more of the system than that.
// Safety: async-signal-safe. Inline assembly: no libc wrapper, so no errno, no cancellation point, and a hooked `syscall`
//         is never entered.
// Memory: none.
// Source: syscall(2) for the calling conventions. On other systems this has nothing: PROF_DETAIL_LINUX_CALLS is 0.
#ifndef PROF_OS_LINUX_CALL_HPP
#define PROF_OS_LINUX_CALL_HPP

#include "prof/base/platform.hpp"

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))
#define PROF_DETAIL_LINUX_CALLS 1
#include <sys/syscall.h>
#else
#define PROF_DETAIL_LINUX_CALLS 0
#endif

#if PROF_DETAIL_LINUX_CALLS

PROF_DETAIL_BEGIN

// Returns the kernel's answer: -errno on failure.
inline long os_call_sig(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0,
                        long f = 0) PROF_DETAIL_SIG {
#if defined(__x86_64__)
  long answer;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(answer)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return answer;
#else
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory", "cc");
  return x0;
#endif
}

inline long os_word(const void* pointer) PROF_DETAIL_SIG {
  return static_cast<long>(reinterpret_cast<std::uintptr_t>(pointer));
}

PROF_DETAIL_END

#endif  // PROF_DETAIL_LINUX_CALLS

#endif  // PROF_OS_LINUX_CALL_HPP
