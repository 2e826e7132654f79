// What the heap tests share: storage that is not on the heap, and errors that end a program.
#pragma once
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <prof/api.hpp>
#include <string>

#if defined(__clang__)
#define SITE __attribute__((noinline))
#else
#define SITE __attribute__((noinline, noclone, no_icf))
#endif
// Behind a call that must not become a tail call.
#define STAY_ON_STACK() __asm__ volatile("" ::: "memory")

// Zeroed words that no profile shows.
template <class T>
T* pages_for(std::size_t count) {
  void* const pages = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) std::exit(4);
  return static_cast<T*>(pages);
}

inline void need(const prof::result& outcome, const char* what) {
  if (outcome) return;
  std::fprintf(stderr, "%s: %s\n", what, outcome.message());
  std::exit(3);
}

// PREFIX + name, as a path of at most 1000 bytes that is not on the heap.
struct path_of {
  path_of(const char* prefix, const char* name) { std::snprintf(text, sizeof text, "%s%s", prefix, name); }
  char text[1000];
};
