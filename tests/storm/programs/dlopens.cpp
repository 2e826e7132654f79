// One thread loads, calls and unloads plugins that come to lie at the same addresses; two others
// work.
//   dlopens SECONDS DIRECTORY PLUGIN_A PLUGIN_B PLUGIN_C [SHARED_PATH]
// With SHARED_PATH each plugin is loaded from there: a copy of it is renamed over the one before,
// as a new build is.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "storm.hpp"

namespace {

using entry_function = void* (*)(unsigned);

const char* g_paths[3];
const char* g_shared;
unsigned long g_loads;
unsigned long g_same_place;  // where the one before, another one, had been
void* g_kept[64];            // blocks of plugins that are gone

void copy_over(const char* from, const char* to) {
  char temporary[512];
  std::snprintf(temporary, sizeof temporary, "%s.new", to);
  const int in = open(from, O_RDONLY | O_CLOEXEC);
  const int out = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  struct stat file;
  if (in < 0 || out < 0 || fstat(in, &file) != 0) storm_fails("copy", from);
  while (sendfile(out, in, nullptr, static_cast<size_t>(file.st_size)) > 0) continue;
  close(in);
  close(out);
  if (rename(temporary, to) != 0) storm_fails("rename", to);
}

}  // namespace

FN void* loads_plugin(const char* path) {
  if (g_shared != nullptr) copy_over(path, g_shared);
  void* const library = dlopen(g_shared != nullptr ? g_shared : path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) storm_fails("dlopen", dlerror());
  STAY_ON_STACK();
  return library;
}
// Twenty to sixty, never in step with the kernel's tick, at which samples are taken: copies of files last a whole
// tick or so.
unsigned varied() {
  return 20 + static_cast<unsigned>(g_loads * 17 % 41);
}
// From these, one plugin's code is called and no other's.
FN void* call_a(entry_function entry) {
  void* const kept = entry(varied());
  STAY_ON_STACK();
  return kept;
}
FN void* call_b(entry_function entry) {
  void* const kept = entry(varied());
  STAY_ON_STACK();
  return kept;
}
FN void* call_c(entry_function entry) {
  void* const kept = entry(varied() / 2);
  STAY_ON_STACK();
  return kept;
}
FN void unloads_plugin(void* library) {
  if (dlclose(library) != 0) storm_fails("dlclose", dlerror());
  STAY_ON_STACK();
}

FN void one_round(unsigned which) {
  static const char* const names[3] = {"plugin_a_entry", "plugin_b_entry", "plugin_c_entry"};
  static void* (*const calls[3])(entry_function) = {call_a, call_b, call_c};
  static entry_function before;
  void* const library = loads_plugin(g_paths[which]);
  const auto entry = reinterpret_cast<entry_function>(dlsym(library, names[which]));
  if (entry == nullptr) storm_fails("dlsym", dlerror());
  g_same_place += entry == before ? 1 : 0;
  before = entry;
  void*& kept = g_kept[g_loads++ % 64];
  std::free(kept);
  kept = calls[which](entry);
  unloads_plugin(library);
  STAY_ON_STACK();
}

FN void* storm_thread(void*) {
  unsigned n = 0;
  while (storm_goes_on()) {
    one_round(n++ % 2);
    if (n % 7 == 0) one_round(2);
  }
  return nullptr;
}

FN void known_leaf() {
  storm_work();
  STAY_ON_STACK();
}
FN void known_middle() {
  known_leaf();
  STAY_ON_STACK();
}
FN void* known_thread(void*) {
  while (storm_goes_on()) known_middle();
  return nullptr;
}

const thread_function storm_threads[] = {storm_thread, known_thread, known_thread};
const unsigned storm_thread_count = 3;

void storm_begin(char** arguments) {
  for (int i = 0; i < 3; ++i) g_paths[i] = arguments[i];
  g_shared = arguments[3];
}
void storm_end() {
  std::printf("rounds %lu\nsame_place %lu\n", g_loads, g_same_place);
}
