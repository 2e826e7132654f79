// Serves the profiles of a program with 20,000 live objects of 2 KiB, made at the ends of some 60 paths of calls. Prints its
// port, and serves until its input ends.
#define PROF_ENABLE_HTTP
#include <prof/prof.hpp>

#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

struct item {
  std::vector<char> bytes;
  std::string name;
};
std::vector<std::unique_ptr<item>> kept;

__attribute__((noinline)) void make(int i) {
  kept.push_back(std::make_unique<item>(item{std::vector<char>(2048), std::to_string(i)}));
}
template <int Depth>
__attribute__((noinline)) void walk(int i, int path) {
  if constexpr (Depth == 0) {
    make(i);
  } else {
    if ((path & 1) != 0) walk<Depth - 1>(i, path >> 1);
    else walk<Depth - 1>(i + 1, path >> 1);
  }
  __asm__ volatile("");  // not the last call
}

}  // namespace

int main() {
  for (int i = 0; i < 20000; ++i) walk<6>(i, i);
  if (auto served = prof::http::serve("127.0.0.1:0"); !served) return 1;
  std::puts(prof::http::address());
  std::fflush(stdout);
  while (std::getchar() != EOF) {}
}
