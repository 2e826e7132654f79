// Usage: cpu_shares PROFILE HZ CPU_MS. Four functions burn 40, 30, 20 and 10 % of CPU_MS in bursts
// of 10 ms of the thread's own CPU clock, on two threads: one exists before the profile starts, one
// does not. Prints the CPU time (ns) that getrusage saw between start and stop, and how long (ns) the two
// threads waited for a CPU meanwhile.
#include "cpu_work.hpp"

#include <atomic>
#include <thread>

namespace {

constexpr std::uint64_t burst_ns = 10000000;

WORK_FUNCTION void burn_40() { burn_ns(burst_ns); STAY_ON_STACK(); }
WORK_FUNCTION void burn_30() { burn_ns(burst_ns); STAY_ON_STACK(); }
WORK_FUNCTION void burn_20() { burn_ns(burst_ns); STAY_ON_STACK(); }
WORK_FUNCTION void burn_10() { burn_ns(burst_ns); STAY_ON_STACK(); }

struct step {
  void (*burn)();
  unsigned bursts;
};

// Every ten bursts have the shares. Bursts of one function follow each other, since a profile errs where
// functions change; the order of the functions changes, so that no fixed sampling phase lines up with it.
void run(std::uint64_t cpu_ns, unsigned seed) {
  step steps[4] = {{burn_40, 4}, {burn_30, 3}, {burn_20, 2}, {burn_10, 1}};
  for (std::uint64_t done = 0; done < cpu_ns; done += 10 * burst_ns) {
    for (unsigned i = 4; i-- > 1;) {
      seed = seed * 1103515245u + 12345u;
      const unsigned j = (seed >> 16) % (i + 1);
      const step other = steps[j];
      steps[j] = steps[i];
      steps[i] = other;
    }
    for (const step& one : steps) {
      for (unsigned i = 0; i < one.bursts; ++i) one.burn();
    }
  }
}

std::atomic<std::uint64_t> waited_ns{0};

// Time on a run queue without running: the second number of /proc/thread-self/schedstat (Linux, schedstats).
void add_wait() {
  std::FILE* const file = std::fopen("/proc/thread-self/schedstat", "r");
  unsigned long long ran = 0;
  unsigned long long waited = 0;
  if (file == nullptr || std::fscanf(file, "%llu %llu", &ran, &waited) != 2) std::exit(7);
  std::fclose(file);
  waited_ns.fetch_add(waited);
}

WORK_FUNCTION void thread_before_start(std::uint64_t cpu_ns) { run(cpu_ns, 1); STAY_ON_STACK(); }
WORK_FUNCTION void thread_after_start(std::uint64_t cpu_ns) { run(cpu_ns, 2); STAY_ON_STACK(); }

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::uint64_t each = std::strtoull(argv[3], nullptr, 10) * 1000000u / 2;
  prof::cpu_options options;
  options.hz = static_cast<unsigned>(std::atoi(argv[2]));
  std::atomic<int> gate{0};
  std::thread before([&] {
    gate.fetch_add(1);
    while (gate.load() < 2) std::this_thread::yield();
    thread_before_start(each);
    add_wait();
  });
  while (gate.load() < 1) std::this_thread::yield();
  need(prof::start_cpu_profile(argv[1], options), "start");
  const std::uint64_t cpu = process_cpu_ns();
  gate.fetch_add(1);
  std::thread after([&] {
    thread_after_start(each);
    add_wait();
  });
  before.join();
  after.join();
  const std::uint64_t used = process_cpu_ns() - cpu;
  need(prof::stop_cpu_profile(), "stop");
  std::printf("%llu %llu\n", static_cast<unsigned long long>(used),
              static_cast<unsigned long long>(waited_ns.load()));
}
