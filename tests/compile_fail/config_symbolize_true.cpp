// A switch is no word.
// expect: PROF_ENABLE_SYMBOLIZE must be empty or 1 (on) or 0 (off)

#if PROF_COMPILE_FAIL
#define PROF_ENABLE_SYMBOLIZE true
#else
#define PROF_ENABLE_SYMBOLIZE 0
#endif
#include "prof/prof.hpp"

int main() { return 0; }
