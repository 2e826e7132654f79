// What prof is to do in the program lock_types; the file that knows of it.
#include <prof/api.hpp>

#include <cstdlib>

extern "C" int begin_profiles(const char* rate) {
  const int every = std::atoi(rate);
  if (every == 0) return 0;  // as it is by default
  (void)prof::set_mutex_profile_fraction(every);
  (void)prof::set_block_profile_rate(every);
  return 0;
}
extern "C" int end_profiles(const char* status) { return prof::write_status(status) ? 0 : 5; }
