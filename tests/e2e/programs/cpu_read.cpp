// Usage: cpu_read PROFILE HZ CPU_MS. Reads /dev/zero in chunks of 1 MiB, which is almost all system
// time. Prints the CPU time between start and stop by getrusage: all, and the system's part (ns).
#include "cpu_work.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <vector>

WORK_FUNCTION void read_zeros(int descriptor, char* to, std::size_t size) {
  if (read(descriptor, to, size) != static_cast<ssize_t>(size)) std::exit(4);
  STAY_ON_STACK();
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  prof::cpu_options options;
  options.hz = static_cast<unsigned>(std::atoi(argv[2]));
  const std::uint64_t wanted = std::strtoull(argv[3], nullptr, 10) * 1000000u;
  const int zeros = open("/dev/zero", O_RDONLY);
  std::vector<char> buffer(1 << 20);
  need(prof::start_cpu_profile(argv[1], options), "start");
  rusage first;
  getrusage(RUSAGE_SELF, &first);
  const std::uint64_t cpu = process_cpu_ns();
  while (process_cpu_ns() - cpu < wanted) {
    for (int i = 0; i < 20; ++i) read_zeros(zeros, buffer.data(), buffer.size());
  }
  const std::uint64_t used = process_cpu_ns() - cpu;
  rusage last;
  getrusage(RUSAGE_SELF, &last);
  need(prof::stop_cpu_profile(), "stop");
  const long long system = (last.ru_stime.tv_sec - first.ru_stime.tv_sec) * 1000000000ll +
                           (last.ru_stime.tv_usec - first.ru_stime.tv_usec) * 1000ll;
  std::printf("%llu %lld\n", static_cast<unsigned long long>(used), system);
}
