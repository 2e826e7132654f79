// Usage: identity_main [LIBRARY]. A service that is deployed anew while it runs: does what its input says, line by line, and
// answers each line by "done LINE". `run` allocates 64 MB in parse_orders(), of the program, of a library that it is linked
// to, or of LIBRARY, which is loaded first and unloaded by `close`. `move` and `move-part` move its own code to anonymous
// pages. `heap` and `cpu` print profiles.
#include <dlfcn.h>
#include <linux/capability.h>
#include <prof/api.hpp>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>

__attribute__((weak)) void parse_orders();

volatile unsigned long sink;
__attribute__((noinline)) void inner() {
  for (unsigned long i = 0; i < 1000000; ++i) sink = sink * 31 + i;
}
__attribute__((noinline)) void outer() {
  inner();
  sink = sink + 1;
}
char* own[64];
__attribute__((noinline)) void keep_memory() {
  for (char*& place : own) place = new char[1 << 20];
  __asm__ volatile("" ::: "memory");
}

namespace {

// Root may look into /proc/self/map_files, which others may not.
void drop_capabilities() {
  __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  if (syscall(SYS_capset, &head, none) != 0) std::puts("capset failed");
}

bool move_pages(std::uintptr_t begin, std::size_t size) {
  void* const copy = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return false;
  std::memcpy(copy, reinterpret_cast<void*>(begin), size);
  mprotect(copy, size, PROT_READ | PROT_EXEC);
  // One system call: what follows is fetched from the copy.
  return mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(begin)) != MAP_FAILED;
}

bool move_code(bool whole) {
  const auto here = reinterpret_cast<std::uintptr_t>(&keep_memory);
  if (!whole) return move_pages(here & ~std::uintptr_t{4095}, 4096);
  std::FILE* const maps = std::fopen("/proc/self/maps", "r");
  char line[4096];
  unsigned long begin = 0;
  unsigned long end = 0;
  while (std::fgets(line, sizeof line, maps) != nullptr) {
    if (std::sscanf(line, "%lx-%lx", &begin, &end) == 2 && here >= begin && here < end) break;
  }
  std::fclose(maps);
  return move_pages(begin, end - begin);
}

void print(const char* what, double seconds) {
  prof::profile_request request;
  request.format = prof::format::top;
  request.top_rows = 0;
  request.seconds = seconds;
  if (const auto done = prof::write_profile(what, stdout, request); !done) std::printf("error: %s\n", done.message());
}

void profile_cpu() {
  std::atomic<bool> stop{false};
  std::thread worker([&] {
    while (!stop) outer();
  });
  print("profile", 1);
  stop = true;
  worker.join();
}

void do_line(const std::string& line, void* library) {
  void (*job)() = &parse_orders;
  if (library != nullptr) {
    void* const found = dlsym(library, "_Z12parse_ordersv");
    std::memcpy(&job, &found, sizeof job);
  }
  if (line == "run") job();
  if (line == "keep") keep_memory();
  if (line == "close" && dlclose(library) != 0) std::puts("dlclose failed");
  if (line == "move" && !move_code(true)) std::puts("not moved");
  if (line == "move-part" && !move_code(false)) std::puts("not moved");
  if (line == "heap") print("heap", 0);
  if (line == "cpu") profile_cpu();
}

}  // namespace

int main(int argc, char** argv) {
  drop_capabilities();
  void* library = argc > 1 ? dlopen(argv[1], RTLD_NOW) : nullptr;
  if (argc > 1 && library == nullptr) std::puts(dlerror());
  char text[64];
  while (std::fgets(text, sizeof text, stdin) != nullptr) {
    const std::string line(text, std::strcspn(text, "\n"));
    do_line(line, library);
    if (line == "close") library = nullptr;
    std::printf("done %s\n", line.c_str());
    std::fflush(stdout);
  }
}
