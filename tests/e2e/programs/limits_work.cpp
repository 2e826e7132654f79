// Usage: limits_work STEP... Does the steps one after the other and prints what the process has mapped after each:
//   lock     mlockall(MCL_CURRENT | MCL_FUTURE)
//   limit N  no more than N kB of address space from now on
//   rate1    every allocation is a sample
//   work     allocates, and frees again
//   threads  8 threads allocate
//   cpu heap write such a profile
//   serve    starts the server, and stops it in the end
// Built with -DPLAIN it does the same without prof.
#ifndef PLAIN
#include <prof/api.hpp>
#endif
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {
// In kB: the line of /proc/self/status.
unsigned long status_number(const char* name) {
  std::FILE* const file = std::fopen("/proc/self/status", "r");
  char line[256];
  unsigned long found = 0;
  while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr) {
    if (std::strncmp(line, name, std::strlen(name)) == 0) std::sscanf(line + std::strlen(name), ": %lu", &found);
  }
  if (file != nullptr) std::fclose(file);
  return found;
}

// In kB: what has no file, and does not continue the data of one.
unsigned long anonymous_memory() {
  std::FILE* const file = std::fopen("/proc/self/maps", "r");
  char line[512];
  unsigned long total = 0, last_end = 0;
  while (file != nullptr && std::fgets(line, sizeof line, file) != nullptr) {
    unsigned long start = 0, end = 0, inode = 0;
    char name[256] = "";
    std::sscanf(line, "%lx-%lx %*s %*s %*s %lu %255s", &start, &end, &inode, name);
    const bool continues_a_file = inode == 0 && name[0] == '\0' && start == last_end;
    if (inode == 0 && name[0] == '\0' && !continues_a_file) total += end - start;
    last_end = inode != 0 ? end : 0;
  }
  if (file != nullptr) std::fclose(file);
  return total / 1024;
}

void allocate() {
  std::vector<void*> kept(20000);
  for (void*& object : kept) object = std::malloc(64);
  for (void* object : kept) std::free(object);
}

void run_threads() {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) threads.emplace_back(allocate);
  for (std::thread& each : threads) each.join();
}

void limit_memory(unsigned long kilobytes) {
  const rlimit limit{kilobytes << 10, kilobytes << 10};
  if (setrlimit(RLIMIT_AS, &limit) != 0) std::printf("setrlimit: %s\n", std::strerror(errno));
}

#ifndef PLAIN
void say(const char* what, const prof::result& done) {
  if (!done) std::printf("failed %s: %s\n", what, done.message());
}

void profile(const std::string& step) {
  std::string text;
  if (step == "cpu") {
    say("cpu", prof::start_cpu_profile(prof::append_to(text)));
    say("cpu", prof::stop_cpu_profile());
  } else if (step == "heap") {
    say("heap", prof::write_heap_profile(prof::append_to(text)));
  } else if (step == "rate1") {
    (void)prof::set_mem_profile_rate(1);
  } else if (step == "serve") {
    say("serve", prof::http::serve("127.0.0.1:0"));
  }
}
unsigned long own_memory() { return static_cast<unsigned long>(prof::status().own_memory / 1024); }
unsigned long pieces_refused() {
  const prof::status_report report = prof::status();
  for (std::size_t i = 0; i < report.drop_count; ++i) {
    if (std::strncmp(report.drops[i].cause, "pieces of tables", 16) == 0) return report.drops[i].count;
  }
  return 0;
}
#else
void profile(const std::string&) {}
unsigned long own_memory() { return 0; }
unsigned long pieces_refused() { return 0; }
#endif
}  // namespace

int main(int argc, char** argv) {
  mallopt(M_TRIM_THRESHOLD, 1 << 30);  // what the host has it keeps
  for (int i = 0; i < argc; ++i) {
    const std::string step = i == 0 ? "start" : argv[i];
    if (step == "lock" && mlockall(MCL_CURRENT | MCL_FUTURE) != 0) {
      std::printf("failed lock: %s\n", std::strerror(errno));
    } else if (step == "limit") {
      limit_memory(std::strtoul(argv[++i], nullptr, 10));
    } else if (step == "work") {
      allocate();
    } else if (step == "threads") {
      run_threads();
    } else {
      profile(step);
    }
    std::printf("%s size %lu resident %lu anonymous %lu own %lu refused %lu\n", step.c_str(), status_number("VmSize"),
                status_number("VmRSS"), anonymous_memory(), own_memory(), pieces_refused());
    std::fflush(stdout);
  }
}
