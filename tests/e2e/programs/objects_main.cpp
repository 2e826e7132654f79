// Usage: objects_main PROFILE STATUS [PLUGIN]. Works in this file, a second file, a linked library
// and a plugin opened with RTLD_LOCAL, then writes the allocs profile, PROFILE.mutex, PROFILE.block and the status text.
// Prints for how many milliseconds each held a lock that was waited for, and waited.
#include "objects_work.hpp"

#include <cstdio>
#include <cstring>
#include <string>
#ifndef ALONE
#include <dlfcn.h>
#endif

OBJECT_WORK(exe_work, 5001, 5002)
extern "C" int second_work();
#ifndef ALONE
extern "C" int library_work();
#endif

// A library that cannot be preloaded is only a warning of the loader's.
static bool preloaded_as_asked() {
  const char* const wanted = std::getenv("LD_PRELOAD");
  if (wanted == nullptr) return true;
  std::FILE* const maps = std::fopen("/proc/self/maps", "r");
  const char* const name = std::strrchr(wanted, '/') + 1;
  const std::size_t stem = static_cast<std::size_t>(std::strstr(name, ".so") - name);
  bool found = false;
  for (char line[4096]; std::fgets(line, sizeof line, maps) != nullptr;) {
    const char* const file = std::strrchr(line, '/');
    found = found || (file != nullptr && std::strncmp(file + 1, name, stem) == 0);
  }
  std::fclose(maps);
  return found;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  prof::set_mem_profile_rate(1);
  (void)prof::set_mutex_profile_fraction(1);
  (void)prof::set_block_profile_rate(1);
  int failed = exe_work() + second_work();
#ifndef ALONE
  failed += library_work();
#endif
#ifndef ALONE
  if (argc > 3) {
    void* const plugin = dlopen(argv[3], RTLD_NOW | RTLD_LOCAL);
    if (plugin == nullptr) {
      std::fprintf(stderr, "%s\n", dlerror());
      return 3;
    }
    using work = int (*)();
    failed += reinterpret_cast<work>(dlsym(plugin, "plugin_work"))();
  }
#endif
  for (const char* name : {"allocs", "mutex", "block"}) {
    const std::string file = std::string(argv[1]) + (name[0] == 'a' ? "" : std::string(".") + name);
    if (auto r = prof::write_profile(name, file.c_str()); !r) {
      std::fprintf(stderr, "prof: %s\n", r.message());
      return 4;
    }
  }
  if (auto r = prof::write_status(argv[2]); !r) {
    std::fprintf(stderr, "prof: %s\n", r.message());
    return 5;
  }
  return failed + (preloaded_as_asked() ? 0 : 100);
}
