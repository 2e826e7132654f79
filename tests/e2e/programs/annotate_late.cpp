// tests/e2e/programs/annotate_late.cpp - annotations in a program into which the whole comes later, by a plugin.
#include <dlfcn.h>

#include <cstdio>

#include "annotate_work.hpp"

int main(int, char** arguments) {
  work_at("early");
  if (prof::write_heap_profile("/dev/null").code() != prof::error::not_included) return 1;
  void* const plugin = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (plugin == nullptr) return std::printf("%s\n", dlerror()), 2;
  const auto start = reinterpret_cast<bool (*)(const char*)>(dlsym(plugin, "start_profile"));
  if (start == nullptr || !start(arguments[2])) return 3;
  static char pool;
  prof::record_alloc(&pool, 1 << 16);  // behind as much as this the thread looks for the whole again
  work_at("late");
  if (auto stopped = prof::stop_cpu_profile(); !stopped) return std::printf("%s\n", stopped.message()), 4;
  if (auto written = prof::write_heap_profile(arguments[3]); !written) return std::printf("%s\n", written.message()), 5;
  return 0;
}
