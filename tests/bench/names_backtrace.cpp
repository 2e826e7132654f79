// Usage: names_backtrace ADDRESSES. What names.cpp does with inlines, by libbacktrace in the same program.
#include <backtrace.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <link.h>
#include <vector>

int corpus_work(int n);

static double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}
static long resident_kb(const char* key) {
  long value = 0;
  std::FILE* const file = std::fopen("/proc/self/status", "re");
  for (char line[256]; std::fgets(line, sizeof line, file) != nullptr;) {
    if (std::strncmp(line, key, std::strlen(key)) == 0) value = std::strtol(line + std::strlen(key), nullptr, 10);
  }
  std::fclose(file);
  return value;
}
static std::uintptr_t bias_of_program() {
  std::uintptr_t bias = 0;
  dl_iterate_phdr([](dl_phdr_info* info, std::size_t, void* to) { return *static_cast<std::uintptr_t*>(to) = info->dlpi_addr, 1; },
                  &bias);
  return bias;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  if (argc > 2) return corpus_work(argc);
  std::vector<std::uintptr_t> addresses;
  std::FILE* const file = std::fopen(argv[1], "re");
  for (char line[64]; std::fgets(line, sizeof line, file) != nullptr;) addresses.push_back(std::strtoull(line, nullptr, 16));
  std::fclose(file);
  const std::uintptr_t bias = bias_of_program();
  const long before = resident_kb("VmRSS:");
  std::size_t frames = 0;
  const auto name_all = [&] {
    const double begun = now_ms();
    static backtrace_state* const state = backtrace_create_state(nullptr, 0, nullptr, nullptr);
    for (const std::uintptr_t address : addresses) {
      backtrace_pcinfo(
          state, address + bias,
          [](void* count, std::uintptr_t, const char*, int, const char*) { return ++*static_cast<std::size_t*>(count), 0; },
          [](void*, const char*, int) {}, &frames);
    }
    return now_ms() - begun;
  };
  const double cold = name_all();
  const std::size_t once = frames;
  const long after = resident_kb("VmHWM:");
  std::printf("cold_ms=%.3f warm_ms=%.3f extra_kb=%ld frames=%zu\n", cold, name_all(), after - before, once);
}
