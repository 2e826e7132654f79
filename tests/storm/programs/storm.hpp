// What the storms share. storm.cpp has main and the profiler: it starts the storm's threads, takes
// CPU profiles of them at 1000 Hz one behind the other, heap profiles in between, and ends them.
#ifndef PROF_TESTS_STORM_STORM_HPP
#define PROF_TESTS_STORM_STORM_HPP

// A function whose frame stays: not inlined, cloned or merged with another of the same body, and
// found by its plain name.
#if defined(__clang__)
#define FN extern "C" __attribute__((noinline, visibility("default")))
#else
#define FN extern "C" __attribute__((noinline, noclone, no_icf, visibility("default")))
#endif
// Behind a call that must not become a tail call.
#define STAY_ON_STACK() __asm__ volatile("" ::: "memory")

extern "C" {
// Of each storm: its threads' functions, and what it has to say when they have ended. They get the
// arguments behind SECONDS and DIRECTORY.
using thread_function = void* (*)(void*);
extern const thread_function storm_threads[];
extern const unsigned storm_thread_count;
void storm_begin(char** arguments);
void storm_end(void);

// Whether the threads are to go on.
bool storm_goes_on(void);
// Prints why the storm cannot go on and ends the program.
[[noreturn]] void storm_fails(const char* what, const char* why);
// Some 50 us of arithmetic, then a block that is allocated and freed.
void storm_work(void);
}

#endif
