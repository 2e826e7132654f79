// A part that this version does not have may be off, never on.
// expect: PROF_ENABLE_ENV: not available in this version

#if PROF_COMPILE_FAIL
#define PROF_ENABLE_ENV 1
#else
#define PROF_ENABLE_ENV 0
#endif
#include "prof/prof.hpp"

int main() { return 0; }
