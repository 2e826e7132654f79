// Loads and unloads plugins while samples are taken: loads open|stale|replaced|rebuilt|steps PLUGIN [PLUGIN].
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "sampler.hpp"

static volatile long g_sink;
using entry_function = long (*)(void (*)());

static void* load(const char* path) {
  void* const library = dlopen(path, RTLD_NOW);
  if (library == nullptr) std::puts(dlerror());
  return library;
}
static entry_function entry_of(void* library) {
  return reinterpret_cast<entry_function>(dlsym(library, "plugin_entry"));
}
FN void callback() {
  TAKE_SAMPLE();
  g_sink = g_sink + 1;
}
FN void calls_plugin(entry_function entry) { g_sink = entry(callback) + 1; }
FN void run_open(const char* path) {
  const int before = modules_are_stale();
  void* const library = load(path);
  calls_plugin(entry_of(library));
  std::printf("stale %d %d", before, modules_are_stale());
  refresh_modules();
  calls_plugin(entry_of(library));
  std::printf(" %d\n", modules_are_stale());
}

// A walk whose leaf, and one whose caller, is code that is gone.
FN void run_stale(const char* path) {
  void* const library = load(path);
  build_all_tables();
  calls_plugin(entry_of(library));
  print_samples();
  const auto gone = reinterpret_cast<unsigned long>(entry_of(library)) + 8;
  dlclose(library);
  volatile unsigned long stack[600];
  for (unsigned i = 0; i < 600; ++i) stack[i] = gone;
  const auto sp = reinterpret_cast<unsigned long>(&stack[0]);
  for (int refreshed = 0; refreshed < 2; ++refreshed) {
    sample_from(gone, sp, 0);
    sample_from(gone, sp, sp + 64);
    sample_from(reinterpret_cast<unsigned long>(&calls_plugin), sp, 1);
    sample_from(reinterpret_cast<unsigned long>(&calls_plugin), sp, 0);
    refresh_modules();
  }
}

// Another file with other frames comes to where the first one was; if it is a new build, under its name, too.
FN void run_replaced(const char* first_path, const char* second_path, bool rebuilt, bool by_table) {
  void* const first = load(first_path);
  const entry_function old_entry = entry_of(first);
  refresh_modules();
  calls_plugin(old_entry);
  print_samples();
  if (rebuilt || by_table) build_all_tables();
  dlclose(first);
  if (rebuilt && std::rename(second_path, first_path) == 0) second_path = first_path;
  const entry_function entry = entry_of(load(second_path));
  std::printf("same place %d\n", entry == old_entry ? 1 : 0);
  if (!rebuilt) {  // without a build id, who asked first would see the old one
    calls_plugin(entry);
    print_samples();
  }
  refresh_modules();
  calls_plugin(entry);
  print_samples();
  build_all_tables();
  calls_plugin(entry);
}

// Initializers and finalizers, crt's included, which have no call frame information.
FN void run_steps(const char* path) {
  void* const library = load(path);
  refresh_modules();
  keep_only("plugin");
  start_stepping();
  dlclose(library);
  stop_stepping();
  load(path);  // where it was, for the names
}

int main(int argc, char** argv) {
  begin_sampling(argc, argv);
  const bool by_table = std::strcmp(argv[argc - 1], "table") == 0;
  if (std::strcmp(argv[1], "open") == 0) run_open(argv[2]);
  if (std::strcmp(argv[1], "stale") == 0) run_stale(argv[2]);
  if (std::strcmp(argv[1], "replaced") == 0) run_replaced(argv[2], argv[3], false, by_table);
  if (std::strcmp(argv[1], "rebuilt") == 0) run_replaced(argv[2], argv[3], true, by_table);
  if (std::strcmp(argv[1], "steps") == 0) run_steps(argv[2]);
  print_samples();
  return 0;
}
