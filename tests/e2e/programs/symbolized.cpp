// Usage: symbolized [standard WORD] [ms N] [memory N]. Allocates through inlined calls, and writes the heap profile for each
// line of its input: `DETAIL FILE`, DETAIL being standard, none, functions, lines or inlines, or `top FILE`, `whole FILE`, `status FILE`.
// `standard` sets what standard means, `ms` and `memory` the limits of options.
#include <prof/api.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

template <class Type, int Size>
struct holder {
  explicit holder(Type first) : items(std::make_unique<Type[]>(Size)) { items[0] = first; }
  std::unique_ptr<Type[]> items;
};
static std::vector<holder<char, 100000>> kept;

static inline void keep_one(char c) { kept.emplace_back(c); }
__attribute__((noinline)) static void keep_many() {
  for (int i = 0; i < 200; ++i) keep_one(static_cast<char>(i));
}

static prof::symbols symbols_of(const std::string& word) {
  return word == "none"        ? prof::symbols::none
         : word == "functions" ? prof::symbols::functions
         : word == "lines"     ? prof::symbols::lines
         : word == "inlines"   ? prof::symbols::inlines
                               : prof::symbols::standard;
}

int main(int argc, char** argv) {
  prof::options options;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "standard") == 0) options.symbolize = symbols_of(argv[i + 1]);
    if (std::strcmp(argv[i], "ms") == 0) options.symbolize_ms = static_cast<unsigned>(std::atoi(argv[i + 1]));
    if (std::strcmp(argv[i], "memory") == 0) options.symbolize_memory = static_cast<std::size_t>(std::atoi(argv[i + 1]));
  }
  if (auto set = prof::configure(options); !set) return std::puts(set.message()), 1;
  (void)prof::set_mem_profile_rate(4096);
  keep_many();
  char word[32];
  char path[4096];
  bool done = true;
  while (std::scanf("%31s %4095s", word, path) == 2) {
    prof::profile_request request;
    request.symbolize = symbols_of(word);
    request.whole_names = std::strcmp(word, "whole") == 0;
    if (request.whole_names || std::strcmp(word, "top") == 0) request.format = prof::format::top;
    done &= static_cast<bool>(std::strcmp(word, "status") == 0 ? prof::write_status(path)
                                                               : prof::write_profile("heap", path, request));
  }
  return done ? 0 : 1;
}
