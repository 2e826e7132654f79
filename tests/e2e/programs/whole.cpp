// tests/e2e/programs/whole.cpp - all of prof, every switch of this version on, for programs that include the thin
// header only.
#define PROF_ENABLE_CPU
#define PROF_ENABLE_HEAP
#define PROF_ENABLE_MUTEX
#define PROF_ENABLE_BLOCK
#define PROF_ENABLE_BLOCK_SYSCALLS
#define PROF_ENABLE_THREADS
#define PROF_ENABLE_HTTP
#define PROF_ENABLE_SYMBOLIZE
#include <prof/prof.hpp>
