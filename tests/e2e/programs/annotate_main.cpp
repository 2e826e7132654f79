// tests/e2e/programs/annotate_main.cpp - the whole in one file; annotations in it, beside it, in a linked
// library and in a plugin that is loaded later.
#include <dlfcn.h>
#include <prof/prof.hpp>

#include "annotate_work.hpp"

extern "C" void beside();
extern "C" void in_library();

int main(int, char** arguments) {
  (void)prof::set_mem_profile_rate(1);
  void* const plugin = dlopen(arguments[3], RTLD_NOW | RTLD_LOCAL);
  void (*in_plugin)() = nullptr;
  if (plugin != nullptr) in_plugin = reinterpret_cast<void (*)()>(dlsym(plugin, "in_plugin"));
  if (in_plugin == nullptr) return 1;
  if (auto r = prof::start_cpu_profile(arguments[1]); !r) return 2;
  work_at("whole");
  beside();
  in_library();
  in_plugin();
  if (auto r = prof::stop_cpu_profile(); !r) return 3;
  if (auto r = prof::write_heap_profile(arguments[2]); !r) return 4;
  return 0;
}
