// A host may ask for a version; an older header refuses.
// expect: older than PROF_REQUIRE_VERSION

#if PROF_COMPILE_FAIL
#define PROF_REQUIRE_VERSION 999000000
#else
#define PROF_REQUIRE_VERSION 1000
#endif
#include "prof/prof.hpp"

int main() { return 0; }
