// Usage: cpu_addresses PROFILE. Spins in a loop whose instructions have known addresses, then calls, as the
// last instruction of a function, a function that never returns. Prints: address of the loop, whether the
// return address of that call belongs to the next function.
#include "cpu_work.hpp"

// A loop at the very start of a function: an address one too low is in another function.
extern "C" void spin_loop(std::uint64_t times);
#if defined(__x86_64__)
__asm__(
    ".text\n.p2align 4\n.globl spin_loop\n.type spin_loop, @function\n"
    "spin_loop: sub $1, %rdi\n"  // 4 bytes
    "jne spin_loop\n"            // 2 bytes
    "ret\n.size spin_loop, .-spin_loop\n");
#else
__asm__(
    ".text\n.p2align 4\n.globl spin_loop\n.type spin_loop, %function\n"
    "spin_loop: subs x0, x0, #1\n"
    "b.ne spin_loop\n"
    "ret\n.size spin_loop, .-spin_loop\n");
#endif

#define ONE_AFTER_ANOTHER __attribute__((noinline, used, section(".text.one_after_another")))

static const char* profile_path;

extern "C" {
void right_behind();
[[noreturn]] void never_returns();
void last_call();
}

WORK_FUNCTION void never_returns() {
  const bool behind = __builtin_return_address(0) == reinterpret_cast<void*>(&right_behind);
  burn_ns(500000000);
  need(prof::stop_cpu_profile(), "stop");
  std::printf("%p %d\n", reinterpret_cast<void*>(&spin_loop), behind ? 1 : 0);
  std::exit(0);
}

ONE_AFTER_ANOTHER void last_call() { never_returns(); }
ONE_AFTER_ANOTHER void right_behind() { STAY_ON_STACK(); }

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  profile_path = argv[1];
  prof::cpu_options options;
  options.hz = 1000;
  need(prof::start_cpu_profile(profile_path, options), "start");
  for (const std::uint64_t end = thread_cpu_ns() + 500000000; thread_cpu_ns() < end;) spin_loop(1000000);
  last_call();
}
