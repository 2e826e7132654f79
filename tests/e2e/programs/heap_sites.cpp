// Usage: heap_sites RATE PREFIX. Three sites of known size and count, live; writes PREFIXlive.pb.gz. Frees
// all on another thread and writes PREFIXfreed.pb.gz.
#include "heap_work.hpp"

#include <thread>

namespace {
constexpr std::size_t small_count = 200000;
constexpr std::size_t middle_count = 50000;
constexpr std::size_t large_count = 40;

SITE void small_site(void** to) {
  for (std::size_t i = 0; i < small_count; ++i) to[i] = std::malloc(24);
  STAY_ON_STACK();
}
SITE void middle_site(char** to) {
  for (std::size_t i = 0; i < middle_count; ++i) to[i] = new char[1024];
  STAY_ON_STACK();
}
struct megabyte { char bytes[1 << 20]; };
SITE void large_site(megabyte** to) {
  for (std::size_t i = 0; i < large_count; ++i) to[i] = new megabyte;
  STAY_ON_STACK();
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  prof::set_mem_profile_rate(std::strtoull(argv[1], nullptr, 10));
  void** const small = pages_for<void*>(small_count);
  char** const middle = pages_for<char*>(middle_count);
  megabyte** const large = pages_for<megabyte*>(large_count);
  small_site(small);
  middle_site(middle);
  large_site(large);
  need(prof::write_heap_profile(path_of(argv[2], "live.pb.gz").text), "live");
  std::thread([&] {
    for (std::size_t i = 0; i < small_count; ++i) std::free(small[i]);
    for (std::size_t i = 0; i < middle_count; ++i) delete[] middle[i];
    for (std::size_t i = 0; i < large_count; ++i) delete large[i];
  }).join();
  need(prof::write_heap_profile(path_of(argv[2], "freed.pb.gz").text), "freed");
}
