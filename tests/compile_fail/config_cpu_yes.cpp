// A switch is no word.
// expect: PROF_ENABLE_CPU must be empty or 1 (on) or 0 (off)

#if PROF_COMPILE_FAIL
#define PROF_ENABLE_CPU yes
#else
#define PROF_ENABLE_CPU
#endif
#include "prof/prof.hpp"

int main() { return 0; }
