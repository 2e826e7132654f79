// Usage: names ADDRESSES DETAIL. Names the link-time addresses of this program in a file, one hexadecimal number per line, as
// functions, lines or inlines: cold, in a fresh process, and again from the cache. Prints cold_ms, warm_ms, extra_kb (the most
// that was resident beyond what was before, pages of mapped files too), left_kb (of it afterwards), frames and named.
#include <prof/prof.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

int corpus_work(int n);

namespace {

using namespace prof::detail;

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// A value of /proc/self/status, in KiB.
long memory_of(const char* key) {
  long value = 0;
  std::FILE* const file = std::fopen("/proc/self/status", "re");
  for (char line[256]; std::fgets(line, sizeof line, file) != nullptr;) {
    if (std::strncmp(line, key, std::strlen(key)) == 0) value = std::strtol(line + std::strlen(key), nullptr, 10);
  }
  std::fclose(file);
  return value;
}
void reset_peak() {
  std::FILE* const file = std::fopen("/proc/self/clear_refs", "we");
  std::fputs("5", file);
  std::fclose(file);
}

std::vector<std::uint64_t> read_addresses(const char* path) {
  std::vector<std::uint64_t> addresses;
  std::FILE* const file = std::fopen(path, "re");
  for (char line[64]; std::fgets(line, sizeof line, file) != nullptr;) addresses.push_back(std::strtoull(line, nullptr, 16));
  std::fclose(file);
  return addresses;
}

struct counted {
  std::size_t frames = 0;
  std::size_t named = 0;
};

counted name_once(const code_map* map, const std::vector<std::uint64_t>& addresses, std::uintptr_t bias,
                  name_cache& cache, name_detail detail, double& ms) {
  arena memory(os_pages);
  profile p(memory);
  for (std::size_t i = 0; i < map->count; ++i) add_mapping(p, map->ranges[i]);
  for (const std::uint64_t address : addresses) {
    const code_range* const range = map->find(address + bias);
    if (range != nullptr) p.add_location(static_cast<std::uint32_t>(range - map->ranges), address + bias);
  }
  const double begun = now_ms();
  {
    arena own(os_pages);
    symbolizer(own, &cache, {}, detail).symbolize(p, map);
  }
  ms = now_ms() - begun;
  counted all;
  for (const profile_location& location : p.locations) {
    all.frames += location.line_count;
    all.named += !p.functions[p.lines[location.first_line].function].is_made_up;
  }
  return all;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  if (argc > 3) return corpus_work(argc);
  const std::string word = argv[2];
  const name_detail detail = word == "functions" ? name_detail::functions
                             : word == "lines"   ? name_detail::lines
                                                 : name_detail::inlines;
  const std::vector<std::uint64_t> addresses = read_addresses(argv[1]);
  process_state* const process = process_sig();
  const code_map* const map = read_code_map_sig(nullptr, process->registry);
  static name_cache cache{};
  reset_peak();
  const long before = memory_of("VmRSS:");
  double cold = 0;
  double warm = 0;
  const counted all = name_once(map, addresses, os_program_header_sig(), cache, detail, cold);
  const long peak = memory_of("VmHWM:");
  const long after = memory_of("VmRSS:");
  name_once(map, addresses, os_program_header_sig(), cache, detail, warm);
  std::printf("cold_ms=%.3f warm_ms=%.3f extra_kb=%ld left_kb=%ld frames=%zu named=%zu\n", cold, warm, peak - before,
              after - before, all.frames, all.named);
}
