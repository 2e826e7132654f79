// Usage: heap_rate_change PROFILE. One site allocates the same objects in three parts, at three rates.
#include "heap_work.hpp"

namespace {
void* volatile kept;
SITE void changing_site(std::size_t count, std::size_t size) {
  for (std::size_t i = 0; i < count; ++i) kept = std::malloc(size);
  STAY_ON_STACK();
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  changing_site(40000, 1000);
  if (prof::set_mem_profile_rate(65536) != 524288) return 4;
  changing_site(20000, 1000);
  if (prof::set_mem_profile_rate(1000) != 65536) return 5;
  changing_site(5000, 1000);
  if (prof::set_mem_profile_rate(0) != 1000) return 6;
  changing_site(5000, 1000);  // not sampled, so not in the profile
  if (prof::set_mem_profile_rate(524288) != 0) return 7;
  need(prof::write_heap_profile(argv[1]), "write");
}
