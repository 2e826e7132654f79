// Usage: cpu_sessions SLOW_PROFILE FAST_PROFILE. A session at 100 Hz with one at 1000 Hz inside it, on
// two threads. Prints the CPU time between start and stop of either (ns).
#include "cpu_work.hpp"

#include <thread>

namespace {
WORK_FUNCTION void slow_only() { burn_ns(500000000); STAY_ON_STACK(); }
WORK_FUNCTION void both() { burn_ns(1000000000); STAY_ON_STACK(); }

void on_two_threads(void (*work)()) {
  std::thread other(work);
  work();
  other.join();
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  prof::cpu_session slow;
  prof::cpu_session fast;
  prof::cpu_options options;
  options.hz = 100;
  need(slow.start(argv[1], options), "slow start");
  const std::uint64_t slow_began = process_cpu_ns();
  on_two_threads(slow_only);
  options.hz = 1000;
  need(fast.start(argv[2], options), "fast start");
  const std::uint64_t fast_began = process_cpu_ns();
  on_two_threads(both);
  const std::uint64_t fast_used = process_cpu_ns() - fast_began;
  need(fast.stop(), "fast stop");
  on_two_threads(slow_only);
  const std::uint64_t slow_used = process_cpu_ns() - slow_began;
  need(slow.stop(), "slow stop");
  std::printf("%llu %llu\n", static_cast<unsigned long long>(slow_used),
              static_cast<unsigned long long>(fast_used));
}
