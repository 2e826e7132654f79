// Link-time wrapping is not in this version.
// expect: PROF_HOOKS=wrap: not available in this version

#if PROF_COMPILE_FAIL
#define PROF_HOOKS wrap
#else
#define PROF_HOOKS none
#endif
#include "prof/prof.hpp"

int main() { return 0; }
