// A hook style is one of three words.
// expect: PROF_HOOKS must be interpose, wrap or none

#if PROF_COMPILE_FAIL
#define PROF_HOOKS bogus
#else
#define PROF_HOOKS interpose
#endif
#include "prof/prof.hpp"

int main() { return 0; }
