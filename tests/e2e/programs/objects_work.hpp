// What every object of the object tests does: 100 allocations of its own sizes by malloc and by new, half of
// the latter freed, 20 explicit records of malloc's size + 100, half of them withdrawn, and two threads. The
// sizes tell the objects apart in the profile.
#pragma once
#include <cstdlib>
#include <prof/prof.hpp>
#include <thread>

// prof's headers must work in all of them, so each also calls something that needs the process.
#define OBJECT_WORK(name, malloc_size, new_size)                                 \
  extern "C" __attribute__((visibility("default"), noinline)) int name() {      \
    void* volatile kept[100];                                                    \
    for (auto& object : kept) object = std::malloc(malloc_size);                 \
    for (auto& object : kept) {                                                  \
      std::free(object);                                                         \
      object = ::operator new(new_size);                                         \
    }                                                                            \
    for (int i = 0; i < 50; ++i) ::operator delete(kept[i]);                     \
    static char recorded[20];                                                    \
    for (char& object : recorded) prof::record_alloc(&object, (malloc_size) + 100); \
    for (int i = 0; i < 10; ++i) prof::record_free(&recorded[i]);                \
    for (int i = 0; i < 2; ++i) std::thread([] {}).join();                       \
    return prof::status().number("heap rate (bytes per sample)") == 1 ? 0 : 1;                                \
  }
