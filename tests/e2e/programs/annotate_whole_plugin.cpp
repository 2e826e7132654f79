// tests/e2e/programs/annotate_whole_plugin.cpp - a plugin that brings the whole.
#include <prof/prof.hpp>

extern "C" __attribute__((visibility("default"))) bool start_profile(const char* path) {
  (void)prof::set_mem_profile_rate(1);
  return static_cast<bool>(prof::start_cpu_profile(path));
}
