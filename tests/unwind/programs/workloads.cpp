// Pieces of code that unwinders meet, one function each, compiled in every way that is tested.
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
#include <sstream>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
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
NOINLINE void catching(int depth) {
  try {
    g_sink += throwing(depth);
  } catch (const std::exception& e) {
    g_sink += static_cast<long>(std::strlen(e.what()));
  }
}
// What libgcc overwrites its return address with is behind an indirect call then.
NOINLINE void catching_behind_a_pointer(int depth) {
  long (*volatile call)(int) = throwing;
  try {
    g_sink += call(depth);
  } catch (const std::exception& error) {
    g_sink += static_cast<long>(std::strlen(error.what()));
  }
}
NOINLINE void first_throw() { catching(8); }
NOINLINE void exceptions() {
  catching(9);
  catching_behind_a_pointer(2);
}

NOINLINE void streams() {
  std::ostringstream out;
  for (int i = 0; i < 5; ++i) out << i << ' ' << i * 0.25 << ' ' << std::string(10, 'x') << '\n';
  g_sink += static_cast<long>(out.str().size());
}

NOINLINE int compare(const void* a, const void* b) {
  const std::string text(24, 'q');  // a call from a callback that libc calls
  return *static_cast<const int*>(a) - *static_cast<const int*>(b) +
         static_cast<int>(text.size() - 24);
}
NOINLINE void callbacks() {
  int numbers[32];
  for (int i = 0; i < 32; ++i) numbers[i] = i * 37 % 32;
  std::qsort(numbers, 32, sizeof numbers[0], compare);
  g_sink += numbers[7];
}

NOINLINE void libc_calls() {
  char text[200];
  std::snprintf(text, sizeof text, "%d %5.3f %s %p", 42, 3.25, "text", static_cast<void*>(text));
  g_sink += static_cast<long>(std::strtod("3.14159e2", nullptr));
  void* const block = std::malloc(1000);
  std::memset(block, 1, 1000);
  std::free(block);
  g_sink += static_cast<long>(std::strlen(text)) + static_cast<long>(std::sin(text[0]) * 9);
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

NOINLINE void contexts() {
  ucontext_t here;
  volatile int times = 0;
  getcontext(&here);
  times = times + 1;
  if (times < 2) setcontext(&here);
  g_sink += times;
}

NOINLINE void forks() {
  const pid_t child = vfork();
  if (child == 0) _exit(0);
  g_sink += child > 0 && waitpid(child, nullptr, 0) == child ? 1 : 0;  // or thousands stay as zombies
}

// What no call frame information can describe: the stack moves inside an asm statement.
NOINLINE void pushing_asm() {
  long flags = 0;
#if defined(__x86_64__)
  __asm__ volatile(
      "lea -128(%%rsp), %%rsp\npushfq\npopq %0\nlea 128(%%rsp), %%rsp"
      : "=r"(flags)::"memory", "cc");
#else
  __asm__ volatile("str xzr, [sp, #-16]!\nldr %0, [sp], #16" : "=r"(flags)::"memory");
#endif
  g_sink += flags & 1;
}

NOINLINE void functions() {
  const std::string text = "captured, and too long to lie in the string";
  const std::function<long(long)> inner = [text](long x) {
    return x + static_cast<long>(text.size());
  };
  std::function<long(long)> outer = [inner](long x) { return inner(x) * 2 + g_sink % 3; };
  const std::function<long(long)> copy = outer;
  outer = std::negate<long>();
  g_sink += copy(4) + outer(3);
}

struct left {
  virtual ~left() = default;
  virtual long go(int depth) = 0;
  long in_left = 1;
};
struct right {
  virtual ~right() = default;
  virtual long back(int depth) = 0;
  long in_right = 2;
};
// Calls through `right` reach a thunk first, which moves `this` and jumps.
struct both : left, right {
  NOINLINE long go(int depth) override {
    right* const other = this;
    __asm__ volatile("" ::"r"(&other) : "memory");
    return depth == 0 ? in_left : other->back(depth - 1) + 1;
  }
  NOINLINE long back(int depth) override {
    left* const other = this;
    __asm__ volatile("" ::"r"(&other) : "memory");
    return depth == 0 ? in_right : other->go(depth - 1) + 2;
  }
};
NOINLINE void virtuals() {
  left* const object = new both;
  g_sink += object->go(7);
  delete object;
}

__attribute__((noinline, cold)) void complain(const std::string& text) {
  g_sink += static_cast<long>(text.size());
}
// The compiler moves what leads to a cold call out of the function, into one named .cold.
NOINLINE long split_function(long n) {
  std::string text = std::to_string(n);
  if (n % 5 == 4) {
    text += " is not what was expected, which needs a few more words";
    complain(text);
    complain(text + "!");
  }
  return static_cast<long>(text.size());
}
NOINLINE void cold_parts() {
  for (int i = 0; i < 6; ++i) g_sink += split_function(i);
}

// Called from nowhere else: where calls are bound lazily, the loader looks them up here.
NOINLINE void first_calls() {
  const volatile double number = 27.5;
  g_sink += static_cast<long>(std::cbrt(number));
  g_sink += a64l("zz");
  g_sink += static_cast<long>(drand48() * 8);
}

void variable() { variable_frames(12); }

}  // namespace

const workload workloads[] = {
    {"sorting", sorting, false},
    {"maps", maps, false},
    {"regexes", regexes, false},
    {"first_throw", first_throw, false},
    {"exceptions", exceptions, true},
    {"streams", streams, false},
    {"callbacks", callbacks, false},
    {"libc_calls", libc_calls, false},
    {"first_calls", first_calls, false},
    {"functions", functions, false},
    {"virtuals", virtuals, false},
    {"cold_parts", cold_parts, false},
    {"variable", variable, false},
    {"aligned_frames", aligned_frames, false},
    {"huge_frames", huge_frames, false},
    {"recursion", recursion, false},
    {"jumps", jumps, true},
    {"contexts", contexts, true},
    {"forks", forks, true},
    {"pushing_asm", pushing_asm, false},
};
const int workload_count = sizeof workloads / sizeof workloads[0];
