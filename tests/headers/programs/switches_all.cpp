// Brings every part into the program: it calls prof with everything on.
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>

void count_profiles(unsigned& count) {
  prof::for_each_profile([&count](const char*, bool) { ++count; });
}
