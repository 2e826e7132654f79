// Ten pieces of ordinary code that unwinders meet, one function each. Compiled in every way a build is
// tested in; named in workloads.hpp.
#include "workloads.hpp"

#include <algorithm>
#include <alloca.h>
#include <cmath>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

volatile long g_sink;

#define NOINLINE __attribute__((noinline))

NOINLINE void sorting() {
  std::vector<std::string> words;
  for (int i = 0; i < 40; ++i) words.push_back(std::to_string(i * 7919 % 101));
  std::sort(words.begin(), words.end());
  g_sink += static_cast<long>(words[3].size());
}

NOINLINE void maps() {
  std::map<std::string, int> counts;
  for (int i = 0; i < 60; ++i) counts["key number " + std::to_string(i % 17)] += i;
  g_sink += static_cast<long>(counts.size());
}

NOINLINE void regexes() {
  const std::regex pattern("(a+)(b|c)*d");
  std::smatch found;
  const std::string text = "xxaabcbdyy";
  g_sink += std::regex_search(text, found, pattern) ? 1 : 0;
}

struct guard {
  explicit guard(long n) : n_(n) {}
  ~guard() { g_sink += n_; }
  long n_;
};
NOINLINE long throwing(int depth) {
  const guard local(depth);
  if (depth == 0) throw std::runtime_error("deep");
  return throwing(depth - 1) + 1;
}
NOINLINE void exceptions() {
  for (int i = 0; i < 3; ++i) {
    try {
      g_sink += throwing(5 + i);
    } catch (const std::exception& e) {
      g_sink += static_cast<long>(std::strlen(e.what()));
    }
  }
}

NOINLINE void streams() {
  std::ostringstream out;
  for (int i = 0; i < 5; ++i) out << i << ' ' << i * 0.25 << ' ' << std::string(10, 'x') << '\n';
  g_sink += static_cast<long>(out.str().size());
}

NOINLINE int compare(const void* a, const void* b) {
  const std::string text(24, 'q');  // a call from a callback that libc calls
  return *static_cast<const int*>(a) - *static_cast<const int*>(b) + static_cast<int>(text.size() - 24);
}
NOINLINE void callbacks() {
  int numbers[32];
  for (int i = 0; i < 32; ++i) numbers[i] = i * 37 % 32;
  std::qsort(numbers, 32, sizeof numbers[0], compare);
  const std::function<long(long)> twice = [](long x) { return x * 2 + g_sink; };
  g_sink = twice(g_sink) % 1000;
}

NOINLINE void libc_calls() {
  char text[200];
  std::snprintf(text, sizeof text, "%d %5.3f %s %p", 42, 3.25, "text", static_cast<void*>(text));
  g_sink += static_cast<long>(std::strtod("3.14159e2", nullptr));
  void* const block = std::malloc(1000);
  std::memset(block, 1, 1000);
  std::free(block);
  g_sink += static_cast<long>(std::strlen(text) + std::sin(text[0]));
}

NOINLINE void variable_frames(int n) {
  char* const room = static_cast<char*>(alloca(static_cast<std::size_t>(n) * 16));
  std::memset(room, n, static_cast<std::size_t>(n) * 16);
  g_sink += room[n];
  if (n > 0) variable_frames(n - 3 > 0 ? n - 3 : 0);
}

struct alignas(64) line {
  char bytes[64];
};
NOINLINE long realigned(int depth) {
  line local;
  std::memset(local.bytes, depth, sizeof local.bytes);
  char* const more = static_cast<char*>(alloca(static_cast<std::size_t>(depth) * 8 + 8));
  more[0] = local.bytes[1];
  const long inner = depth > 0 ? realigned(depth - 1) : 0;
  return inner + more[0] + reinterpret_cast<long>(&local) % 64;
}
NOINLINE void aligned_frames() { g_sink += realigned(6); }

NOINLINE long huge(int depth) {
  volatile char room[700 * 1024];
  room[0] = static_cast<char>(depth);
  return depth > 0 ? huge(depth - 1) + room[0] : room[0];
}
NOINLINE void huge_frames() { g_sink += huge(2); }

NOINLINE long fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
NOINLINE void recursion() { g_sink += fib(9); }

NOINLINE void jumps() {
  std::jmp_buf place;
  if (setjmp(place) == 0) std::longjmp(place, 1);
  g_sink += 1;
}

void variable() { variable_frames(12); }

}  // namespace

const workload workloads[] = {
    {"sorting", sorting},       {"maps", maps},           {"regexes", regexes},
    {"exceptions", exceptions}, {"streams", streams},     {"callbacks", callbacks},
    {"libc_calls", libc_calls}, {"variable", variable},   {"aligned_frames", aligned_frames},
    {"huge_frames", huge_frames}, {"recursion", recursion}, {"jumps", jumps},
};
const int workload_count = sizeof workloads / sizeof workloads[0];
