// Usage: lock_types [RATE STATUS]. Prints, a line for each case, what every type of lock answers to use and misuse: the
// same with and without prof, which this file knows nothing of: lock_types_prof.cpp is linked to it or not. RATE: the
// fraction of the mutex profile and the block profile's rate; what prof says of itself at the end is written to STATUS.
#include "lock_types.hpp"

extern "C" int begin_profiles(const char* rate) __attribute__((weak));
extern "C" int end_profiles(const char* status) __attribute__((weak));

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  alarm(40);  // what was printed last tells what hangs
  const bool is_profiled = begin_profiles != nullptr;
  if (is_profiled != (argc == 3)) return 2;
  if (is_profiled && begin_profiles(argv[1]) != 0) return 4;
  try_mutexes();
  try_conditions();
  try_rwlocks();
  try_waits();
  try_signals();
  try_cancellation();
  return is_profiled ? end_profiles(argv[2]) : 0;
}
