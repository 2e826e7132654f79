// Every switch of this version on, and nothing used: no code may run before main.
#define PROF_ENABLE_CPU 1
#define PROF_ENABLE_HEAP 1
#define PROF_ENABLE_HTTP 1
#define PROF_ENABLE_SYMBOLIZE 1
#include <prof/prof.hpp>
