// A switch is empty, 0 or 1.
// expect: PROF_ENABLE_HTTP must be empty or 1 (on) or 0 (off)

#if PROF_COMPILE_FAIL
#define PROF_ENABLE_HTTP 2
#else
#define PROF_ENABLE_HTTP 1
#endif
#include "prof/prof.hpp"

int main() { return 0; }
