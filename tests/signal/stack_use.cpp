// Prints the bytes of an alternate signal stack that the kernel's frame with an empty handler takes, and that
// the frame with the CPU profile's handler takes, for stacks of several depths.
#include "../e2e/programs/cpu_work.hpp"

#include <signal.h>

#include <cstring>

namespace {
constexpr std::size_t size = 256 * 1024;
alignas(64) unsigned char altstack[size];
constexpr unsigned char paint = 0xa5;

std::size_t bytes_used() {
  std::size_t clean = 0;
  while (clean < size && altstack[clean] == paint) ++clean;
  return size - clean;
}

extern "C" void empty_handler(int, siginfo_t*, void*) {}

WORK_FUNCTION void burn_at(unsigned depth) {
  if (depth == 0) burn_ns(100000000);
  else burn_at(depth - 1);
  STAY_ON_STACK();
}
}  // namespace

int main() {
  stack_t there{};
  there.ss_sp = altstack;
  there.ss_size = size;
  if (sigaltstack(&there, nullptr) != 0) return 4;
  struct sigaction empty{};
  empty.sa_sigaction = &empty_handler;
  empty.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGUSR1, &empty, nullptr);
  std::memset(altstack, paint, size);
  raise(SIGUSR1);
  const std::size_t frame = bytes_used();
  std::memset(altstack, paint, size);
  prof::cpu_options options;
  options.hz = 1000;
  need(prof::start_cpu_profile("/dev/null", options), "start");
  // On a crowded machine ticks get lost: the thread is taken off the CPU between them.
  std::uint64_t ticks = 0;
  for (int round = 0; round < 20 && ticks < 60; ++round) {
    for (unsigned depth = 0; depth < 300; depth += 100) burn_at(depth);
    ticks = prof::status().number("cpu samples");
  }
  need(prof::stop_cpu_profile(), "stop");
  std::printf("%zu %zu %llu\n", frame, bytes_used(), static_cast<unsigned long long>(ticks));
}
