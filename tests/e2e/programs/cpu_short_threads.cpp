// Usage: cpu_short_threads PROFILE HZ THREADS CPU_US. Starts THREADS threads, at most 8 at a time;
// each uses CPU_US microseconds of CPU and ends. Prints the CPU time that all of them used, by their own
// clocks, and the number of threads and drops that status() shows.
#include "cpu_work.hpp"

#include <atomic>
#include <thread>

namespace {
std::atomic<std::uint64_t> used_by_threads{0};

WORK_FUNCTION void short_work(std::uint64_t ns) {
  burn_ns(ns);
  used_by_threads.fetch_add(thread_cpu_ns());
  STAY_ON_STACK();
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  prof::cpu_options options;
  options.hz = static_cast<unsigned>(std::atoi(argv[2]));
  const int count = std::atoi(argv[3]);
  const std::uint64_t each = std::strtoull(argv[4], nullptr, 10) * 1000u;
  need(prof::start_cpu_profile(argv[1], options), "start");
  std::thread running[8];
  for (int i = 0; i < count; ++i) {
    if (running[i % 8].joinable()) running[i % 8].join();
    running[i % 8] = std::thread([each] { short_work(each); });
  }
  for (std::thread& thread : running) {
    if (thread.joinable()) thread.join();
  }
  const prof::status_report report = prof::status();
  need(prof::stop_cpu_profile(), "stop");
  std::uint64_t drops = 0;
  for (const prof::drop_status& drop : report.drops) drops += drop.count;
  std::printf("%llu %llu %llu %llu\n", static_cast<unsigned long long>(used_by_threads.load()),
              static_cast<unsigned long long>(report.number("threads started")),
              static_cast<unsigned long long>(report.number("threads with a timer")),
              static_cast<unsigned long long>(drops));
}
