// Brings every part into the program, and uses none.
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>
