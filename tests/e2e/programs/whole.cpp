// tests/e2e/programs/whole.cpp - all of prof, for programs that include the thin header only.
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>
