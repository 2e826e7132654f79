// Defined empty means on.
// expect: PROF_ENABLE_TRACE: not available in this version

#if PROF_COMPILE_FAIL
#define PROF_ENABLE_TRACE
#else
#define PROF_ENABLE_TRACE 0
#endif
#include "prof/prof.hpp"

int main() { return 0; }
