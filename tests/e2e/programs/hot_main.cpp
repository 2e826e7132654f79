// Usage: hot_main FOLDER. Runs hot_work() for a second of CPU time, sampled a thousand times, then 1,000 times with every
// allocation counted; writes cpu.pb.gz and heap.pb.gz.
#include <prof/api.hpp>

#include <ctime>
#include <string>

extern "C" void hot_work(unsigned long calls);

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const std::string folder = argv[1];
  (void)prof::set_mem_profile_rate(0);
  prof::cpu_options options;
  options.hz = 1000;
  if (!prof::start_cpu_profile((folder + "/cpu.pb.gz").c_str(), options)) return 1;
  const std::clock_t limit = std::clock() + CLOCKS_PER_SEC;
  while (std::clock() < limit) hot_work(10);
  if (!prof::stop_cpu_profile()) return 1;
  (void)prof::set_mem_profile_rate(1);
  hot_work(1000);
  return prof::write_heap_profile((folder + "/heap.pb.gz").c_str()) ? 0 : 1;
}
