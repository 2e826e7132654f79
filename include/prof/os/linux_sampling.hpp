// prof/os/linux_sampling.hpp - the OS contract on Linux: the sampling signal, CPU-time timers, threads.
// Floor 3 (os). Included by os/os.hpp only, behind os/linux.hpp.
// Safety: as os/os.hpp says. os_signal_handler_sig is the signal handler.
// Memory: none.
// Source: sigaction(2), timer_create(2), timer_getoverrun(2), proc(5), pthreads(7) of man-pages 6.03;
//         kernel 6.18 and glibc 2.36 are what it was run on.
#ifndef PROF_OS_LINUX_SAMPLING_HPP
#define PROF_OS_LINUX_SAMPLING_HPP

#include <ucontext.h>

#include "prof/os/linux.hpp"

PROF_DETAIL_BEGIN

// ---- sampling signal and timers ----------------------------------------------------------------------

// What sample/ does with a tick. One per shared object; the first that starts a CPU profile
// installs its own and the others find it there.
inline std::atomic<void (*)(const timer_event&)> tick_receiver{nullptr};
// What it does when another thread asks for its stack, with what that one gave os_ask_thread_sig.
inline std::atomic<void (*)(std::uint64_t token, const registers& regs)> ask_receiver{nullptr};

inline registers os_registers_sig(const void* signal_context) PROF_DETAIL_SIG {
  const auto& machine = static_cast<const ucontext_t*>(signal_context)->uc_mcontext;
  registers r;
#if defined(__x86_64__)
  r.pc = static_cast<std::uintptr_t>(machine.gregs[REG_RIP]);
  r.sp = static_cast<std::uintptr_t>(machine.gregs[REG_RSP]);
  r.fp = static_cast<std::uintptr_t>(machine.gregs[REG_RBP]);
  r.rbx_or_lr = static_cast<std::uintptr_t>(machine.gregs[REG_RBX]);
#else
  r.pc = static_cast<std::uintptr_t>(machine.pc);
  r.sp = static_cast<std::uintptr_t>(machine.sp);
  r.fp = static_cast<std::uintptr_t>(machine.regs[29]);
  r.rbx_or_lr = static_cast<std::uintptr_t>(machine.regs[30]);
#endif
  r.context = signal_context;
  return r;
}

// Not inlined, so that a tick's frame does not have room for it.
PROF_DETAIL_NOINLINE inline void os_answer_sig(const siginfo_t& info, const void* context) PROF_DETAIL_SIG {
  const auto receiver = ask_receiver.load(std::memory_order_acquire);
  if (receiver == nullptr || static_cast<std::uint32_t>(info.si_pid) != os_process_id_sig()) return;
  receiver(reinterpret_cast<std::uintptr_t>(info.si_value.sival_ptr), os_registers_sig(context));
}

inline void os_signal_handler_sig(int, siginfo_t* info, void* context) PROF_DETAIL_SIG {
  if (info == nullptr) return;
  if (info->si_code == SI_QUEUE) return os_answer_sig(*info, context);
  const auto receiver = tick_receiver.load(std::memory_order_acquire);
  if (receiver == nullptr || info->si_code != SI_TIMER) return;
  timer_event event;
  event.slot = info->si_value.sival_ptr;
  // timer_getoverrun(2): expirations while the signal was pending. Above the kernel's tick rate
  // (250 Hz here) most expirations arrive this way.
  event.expirations = 1 + static_cast<std::uint64_t>(info->si_overrun > 0 ? info->si_overrun : 0);
  event.regs = os_registers_sig(context);
  receiver(event);
}

inline constexpr int os_no_such_thread = ESRCH;
// Asks one thread of this process; 0 or an errno. A signal of the same number that is pending there already takes its
// place (signal(7): standard signals do not queue), so who gets no answer asks again.
inline int os_ask_thread_sig(std::uint32_t thread, int signal_number, std::uint64_t token) PROF_DETAIL_SIG {
  siginfo_t info;
  std::memset(&info, 0, sizeof info);
  info.si_signo = signal_number;
  info.si_code = SI_QUEUE;
  info.si_pid = static_cast<pid_t>(os_process_id_sig());
  info.si_value.sival_ptr = reinterpret_cast<void*>(static_cast<std::uintptr_t>(token));
  return static_cast<int>(-os_call_sig(SYS_rt_tgsigqueueinfo, info.si_pid, static_cast<long>(thread), signal_number,
                                       os_word(&info)));
}

inline bool os_on_signal_stack_sig() PROF_DETAIL_SIG {
  stack_t now;
  std::memset(&now, 0, sizeof now);
  return os_call_sig(SYS_sigaltstack, 0, os_word(&now)) == 0 && (now.ss_flags & SS_ONSTACK) != 0;
}

inline int os_default_signal() noexcept { return SIGPROF; }
// From the top down: low real-time signals are the ones applications number by hand.
inline int os_candidate_signal(int n) noexcept {
  const int number = SIGRTMAX - 2 - n;
  return number > SIGRTMIN + 2 ? number : 0;
}

// The handler a signal has now: null for the default action or a failed question.
inline const void* os_signal_handler(int number) noexcept {
  struct sigaction now;
  if (sigaction(number, nullptr, &now) != 0) return nullptr;
  return (now.sa_flags & SA_SIGINFO) != 0 ? reinterpret_cast<const void*>(now.sa_sigaction)
                                          : reinterpret_cast<const void*>(now.sa_handler);
}
inline const void* os_own_signal_handler() noexcept {
  return reinterpret_cast<const void*>(&os_signal_handler_sig);
}

inline bool os_install_handler(int number) noexcept {
  struct sigaction wanted;
  std::memset(&wanted, 0, sizeof wanted);
  wanted.sa_sigaction = &os_signal_handler_sig;
  // SA_RESTART: the host's slow system calls go on. SA_ONSTACK: a host that gave its threads small
  // stacks and an alternate one gets the handler there. All signals that can wait do: a handler of the
  // host's that leaves by siglongjmp would leave ours unfinished, with its frame buffer.
  wanted.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigfillset(&wanted.sa_mask);
  constexpr int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
  for (const int fault : faults) sigdelset(&wanted.sa_mask, fault);
  return sigaction(number, &wanted, nullptr) == 0;
}

inline const char* os_signal_name(int number) noexcept {
  if (number == SIGPROF) return "SIGPROF";
  return number >= SIGRTMIN ? "a real-time signal" : "the wanted signal";
}

// The kernel's struct sigevent; libcs spell the thread id member differently.
struct kernel_sigevent {
  void* value;
  int signal_number;
  int notify;
  int thread;
  int padding[11];
};
static_assert(sizeof(kernel_sigevent) == 64, "SIGEV_MAX_SIZE of the kernel");

inline int os_timer_create_sig(std::uint32_t thread, int signal_number, void* slot, int& timer)
    PROF_DETAIL_SIG {
  kernel_sigevent event{};
  event.value = slot;
  event.signal_number = signal_number;
  event.notify = SIGEV_THREAD_ID;
  event.thread = static_cast<int>(thread);
  // CPUCLOCK_SCHED of a thread as in the kernel's posix-timers_types.h: ~tid << 3 | PERTHREAD(4)
  // | SCHED(2); pthread_getcpuclockid builds the same but needs a pthread_t.
  const auto clock = static_cast<std::int32_t>((~thread << 3) | 6u);
  return static_cast<int>(-os_call_sig(SYS_timer_create, clock, os_word(&event), os_word(&timer)));
}
inline int os_timer_set_sig(int timer, std::uint64_t first_ns, std::uint64_t period_ns)
    PROF_DETAIL_SIG {
  itimerspec spec{};
  spec.it_value = os_timespec(first_ns);
  spec.it_interval = os_timespec(period_ns);
  return static_cast<int>(-os_call_sig(SYS_timer_settime, timer, 0, os_word(&spec), 0));
}
inline void os_timer_delete_sig(int timer) PROF_DETAIL_SIG {
  os_call_sig(SYS_timer_delete, timer);
}

// ---- threads --------------------------------------------------------------------------------------------

using os_thread_handle = pthread_t;
using os_thread_attributes = pthread_attr_t;
using os_thread_main = void* (*)(void*);

// Whether a thread that is made so must be joined.
inline bool os_starts_joinable(const os_thread_attributes* attributes) noexcept {
  int state = PTHREAD_CREATE_JOINABLE;
  return attributes == nullptr || pthread_attr_getdetachstate(attributes, &state) != 0 || state == PTHREAD_CREATE_JOINABLE;
}

inline bool os_for_each_thread(void (*visit)(void*, std::uint32_t), void* context) noexcept {
  const int descriptor =
      static_cast<int>(os_call_sig(SYS_openat, AT_FDCWD, os_word("/proc/self/task"),
                                   O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor < 0) return false;
  alignas(8) char entries[2048];
  for (;;) {
    const long n = os_call_sig(SYS_getdents64, descriptor, os_word(entries), sizeof entries);
    if (n <= 0) break;
    for (long at = 0; at < n;) {
      // struct linux_dirent64: u64 inode, s64 offset, u16 length, u8 type, name.
      std::uint16_t length = 0;
      std::memcpy(&length, entries + at + 16, sizeof length);
      std::uint64_t thread = 0;
      if (parse_decimal(text_view(entries + at + 19), thread)) {
        visit(context, static_cast<std::uint32_t>(thread));
      }
      at += length;
    }
  }
  os_close_sig(descriptor);
  return true;
}

// A folder's links are its name, its own "." and the ".." of each folder in it (proc_task_getattr in the kernel's fs/proc/base.c).
inline std::size_t os_thread_count() noexcept {
  struct stat found{};
  const long answer = os_call_sig(SYS_newfstatat, AT_FDCWD, os_word("/proc/self/task"), os_word(&found), 0);
  return answer == 0 && found.st_nlink > 2 ? static_cast<std::size_t>(found.st_nlink) - 2 : 0;
}

// A file of /proc/self/task/THREAD, as much of it as there is room for.
inline std::size_t os_read_thread_file(std::uint32_t thread, text_view name, char* buffer, std::size_t size) noexcept {
  char path[64] = "/proc/self/task/";
  std::size_t end = 16 + format_decimal(thread, path + 16);
  path[end++] = '/';
  std::memcpy(path + end, name.data, name.size);
  path[end + name.size] = '\0';
  return os_read_file(path, buffer, size);
}

// What the kernel says of a thread. name and wait_channel without a newline; state as in proc(5), 0: it has ended.
struct os_thread_facts {
  char name[32] = {};
  char wait_channel[48] = {};
  char state = 0;
  std::uint64_t cpu_ns = 0;
};
inline void os_read_thread_line(std::uint32_t thread, text_view file, char* buffer, std::size_t size) noexcept {
  const text_view line{buffer, os_read_thread_file(thread, file, buffer, size - 1)};
  buffer[line.find('\n')] = '\0';
}
inline char os_thread_state(std::uint32_t thread) noexcept {
  char text[256];
  const std::size_t size = os_read_thread_file(thread, "stat", text, sizeof text);
  for (std::size_t i = size; i-- > 0;) {  // a name may hold anything, even what follows it
    if (text[i] == ')') return i + 2 < size ? text[i + 2] : '\0';
  }
  return '\0';
}
inline std::uint64_t os_cpu_ns_of_thread_sig(std::uint32_t thread) PROF_DETAIL_SIG {
  timespec used{};
  os_call_sig(SYS_clock_gettime, static_cast<std::int32_t>((~thread << 3) | 6u), os_word(&used));
  return static_cast<std::uint64_t>(used.tv_sec) * 1000000000u + static_cast<std::uint64_t>(used.tv_nsec);
}
inline void os_describe_thread(std::uint32_t thread, os_thread_facts& facts) noexcept {
  os_read_thread_line(thread, "comm", facts.name, sizeof facts.name);
  os_read_thread_line(thread, "wchan", facts.wait_channel, sizeof facts.wait_channel);
  facts.state = os_thread_state(thread);
  facts.cpu_ns = os_cpu_ns_of_thread_sig(thread);
}

// The first argument of the system call `wanted` that a thread is in; 0: it is in none. proc(5): number of the system call,
// its arguments.
inline std::uintptr_t os_argument_of_thread(std::uint32_t thread, long wanted) noexcept {
  char text[256];
  text_view rest{text, os_read_thread_file(thread, "syscall", text, sizeof text)};
  std::uint64_t number = 0;
  const std::size_t end = rest.find(' ');
  if (!parse_decimal({rest.data, end}, number) || number != static_cast<std::uint64_t>(wanted) || end == rest.size) return 0;
  rest = rest.from(end + 1);
  if (!rest.starts_with({"0x", 2})) return 0;
  rest = rest.from(2);
  return static_cast<std::uintptr_t>(take_hex(rest));
}

// The address of the futex that a thread waits at in the kernel; 0: at none.
inline std::uintptr_t os_futex_of_thread(std::uint32_t thread) noexcept { return os_argument_of_thread(thread, SYS_futex); }

// Whether a thread waits for a signal by sigwait(3) and the like, which then takes it instead of the handler. While it does
// the kernel has unblocked the signal.
inline bool os_signal_awaited(std::uint32_t thread, int number) noexcept {
  std::uint64_t set = 0;
  const std::uintptr_t at = os_argument_of_thread(thread, SYS_rt_sigtimedwait);
  return at != 0 && os_copy_sig(&set, at, sizeof set) && (set >> (number - 1) & 1) != 0;
}

// Whether a thread has a signal blocked, so that it cannot be sampled.
inline bool os_signal_blocked(std::uint32_t thread, int number) noexcept {
  char text[2048];
  text_view rest{text, os_read_thread_file(thread, "status", text, sizeof text)};
  for (; rest.size != 0; rest = rest.from(rest.next_line())) {
    if (!rest.starts_with("SigBlk:\t")) continue;
    rest = rest.from(8);
    return (take_hex(rest) >> (number - 1) & 1) != 0;
  }
  return false;
}

// Lets a signal through on the calling thread.
inline void os_unblock_signal_sig(int number) PROF_DETAIL_SIG {
  const std::uint64_t set = std::uint64_t{1} << (number - 1);
  os_call_sig(SYS_rt_sigprocmask, SIG_UNBLOCK, os_word(&set), 0, 8);
}

// Runs main(argument) on a new thread that blocks every signal but `open_signal` (0: every one).
// Returns 0 or an errno. Threads of ours need a small stack only: the default one is 8 MiB of the host's address space,
// and all resident under mlockall(MCL_FUTURE). A host with large thread-locals gets the default, since glibc takes them
// out of the stack and refuses (EINVAL) what is too small for them.
inline constexpr std::size_t os_thread_stack = std::size_t{256} << 10;
inline int os_start_thread(os_thread_main main, void* argument, int open_signal,
                           os_thread_handle& thread) noexcept {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  if (open_signal != 0) sigdelset(&all, open_signal);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  const bool has_attributes = pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, os_thread_stack) == 0;
  int answer = has_attributes ? pthread_create(&thread, &attributes, main, argument) : EINVAL;
  if (has_attributes) pthread_attr_destroy(&attributes);
  if (answer == EINVAL) answer = pthread_create(&thread, nullptr, main, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return answer;
}
inline void os_join_thread(os_thread_handle thread) noexcept { pthread_join(thread, nullptr); }

// Calls destroy(value) when a thread that called os_at_thread_exit ends. 0 or an errno.
inline int os_make_exit_key(unsigned& key, void (*destroy)(void*)) noexcept {
  pthread_key_t made = 0;
  const int answer = pthread_key_create(&made, destroy);
  key = made;
  return answer;
}
inline void os_at_thread_exit(unsigned key, void* value) noexcept {
  pthread_setspecific(key, value);
}

PROF_DETAIL_END

#endif  // PROF_OS_LINUX_SAMPLING_HPP
