// tests/bench/unwind.cpp - prof's walk beside libunwind's unw_backtrace, glibc's backtrace() and a walk
// along frame pointers, over the same stacks in one run. Prints one line of figures per depth, and what
// building tables costs; see tests/bench/run.py.
#define UNW_LOCAL_ONLY
#include <libunwind.h>

#include <prof/prof.hpp>

#include <dlfcn.h>
#include <ucontext.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <set>
#include <string>
#include <vector>

namespace {

using namespace prof::detail;

double now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

process_state* g_process;
std::uintptr_t g_frames[1024];
volatile std::size_t g_depth;
char* g_cache_filler;
constexpr std::size_t filler_bytes = std::size_t{64} << 20;

// Believes every address: what the walk costs without the page probes.
struct trusting_memory {
  bool read_copy(std::uintptr_t at, std::uintptr_t& to) noexcept { return read_word(at, to); }
  bool read_word(std::uintptr_t address, std::uintptr_t& word) noexcept {
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
    return true;
  }
  bool readable(std::uintptr_t, std::size_t) noexcept { return true; }
};

// Of a context that its own function took: of one that has returned, the frame is anybody's.
registers registers_of(const ucontext_t& context) {
  registers r = os_registers_sig(&context);
  r.context = nullptr;
  return r;
}

template <class Memory>
std::size_t walk(rule_cache& cache, std::uint64_t epoch, const registers& from) {
  Memory memory;
  static cfi_scratch scratch;
  rule_lookup rules(g_process->code.load(), g_process->registry, cache, epoch, g_process->code_map_outdated, scratch);
  stack_walk<Memory, rule_lookup> walker(memory, rules, g_frames, 1000);
  return walker.run_sig(from, false).depth;
}

struct way {
  const char* name;
  std::size_t (*run)(const registers& from);
};

std::uint64_t g_epoch = 1000;
std::size_t prof_trusting(const registers& from) {
  return walk<trusting_memory>(*g_process->rules, 1000, from);
}
std::size_t prof_probing(const registers& from) {
  return walk<walk_memory>(*g_process->rules, 1000, from);
}
std::size_t prof_uncached(const registers& from) {
  return walk<trusting_memory>(*g_process->rules, ++g_epoch, from);  // nothing is found again
}
std::size_t libunwind_cached(const registers&) {
  void* frames[1000];
  return static_cast<std::size_t>(unw_backtrace(frames, 1000));
}
// libunwind exports a backtrace() of its own.
std::size_t glibc_backtrace(const registers&) {
  using function = int (*)(void**, int);
  static const auto glibc = reinterpret_cast<function>(
      dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), "backtrace"));
  void* frames[1000];
  return static_cast<std::size_t>(glibc(frames, 1000));
}
std::size_t frame_pointers(const registers& from) {
  std::size_t depth = 0;
  std::uintptr_t fp = from.fp;
  while (depth < 1000 && fp > from.sp && fp - from.sp < (1u << 20)) {
    const auto* const record = reinterpret_cast<const std::uintptr_t*>(fp);
    g_frames[depth++] = record[1];
    if (record[0] <= fp) break;
    fp = record[0];
  }
  return depth;
}
constexpr way ways[] = {{"prof", prof_trusting},         {"prof_probed", prof_probing},
                        {"unw_backtrace", libunwind_cached}, {"backtrace", glibc_backtrace},
                        {"frame_pointers", frame_pointers}};

double per_frame(const way& by, const registers& from, int repeats) {
  std::size_t depth = 0;
  const double begin = now_ns();
  for (int i = 0; i < repeats; ++i) depth = by.run(from);
  const double took = (now_ns() - begin) / repeats;
  g_depth = depth;
  return depth == 0 ? 0 : took / static_cast<double>(depth);
}

double cold_us(const way& by, const registers& from) {
  const double begin = now_ns();
  g_depth = by.run(from);
  return (now_ns() - begin) / 1000;
}

// The same where walks happen: the kernel has just been there, to deliver the signal, and all walk through
// the signal frame.
const way* g_by;
double g_handler_us;
void walk_in_handler(int) {
  ucontext_t here;
  getcontext(&here);
  g_handler_us = cold_us(*g_by, registers_of(here));
}
double cold_in_handler_us(const way& by, const registers&) {
  g_by = &by;
  std::signal(SIGUSR1, &walk_in_handler);
  std::raise(SIGUSR1);
  return g_handler_us;
}

// With cold caches, the ways in turn: what else the machine does while they are measured is the same for all.
void measure_cold(const char* kind, double (*measured)(const way&, const registers&), const registers& from) {
  constexpr std::size_t count = 4;
  std::vector<double> times[count];
  std::size_t frames[count];
  for (int round = 0; round < 31; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      std::memset(g_cache_filler, round, filler_bytes);
      times[i].push_back(measured(ways[i], from));
      frames[i] = g_depth;
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::sort(times[i].begin(), times[i].end());
    std::printf("%s way=%s frames=%zu us=%.2f\n", kind, ways[i].name, frames[i], times[i][times[i].size() / 2]);
  }
}

__attribute__((noinline)) void measure(int depth) {
  ucontext_t here;
  getcontext(&here);
  const registers from = registers_of(here);
  constexpr std::size_t count = sizeof ways / sizeof ways[0];
  double best[count];
  std::size_t frames[count];
  for (double& each : best) each = 1e9;
  for (int round = 0; round < 40; ++round) {
    for (std::size_t i = 0; i < count; ++i) {
      best[i] = std::min(best[i], per_frame(ways[i], from, 100));
      frames[i] = g_depth;
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::printf("hot way=%s depth=%d frames=%zu ns_per_frame=%.2f\n", ways[i].name, depth, frames[i],
                best[i]);
  }
  if (depth != 75) return;  // 70 frames and some
  measure_cold("cold", &cold_us, from);
  measure_cold("handler", &cold_in_handler_us, from);
}

// Frames as programs have them: small, large, with saved registers, of variable size, virtual.
struct caller {
  virtual long call(int depth, long a, long b, long c) = 0;
  virtual ~caller() = default;
};
long descend(int depth, int whole, long a, long b, long c);
struct plain : caller {
  explicit plain(int whole) : whole_(whole) {}
  long call(int depth, long a, long b, long c) override { return descend(depth, whole_, a, b, c) + a; }
  int whole_;
};
__attribute__((noinline)) long large(int depth, int whole, long a, long b, long c) {
  volatile char room[2048];
  room[a & 2047] = static_cast<char>(depth);
  return descend(depth, whole, b, c, a) + room[b & 2047];
}
__attribute__((noinline)) long variable(int depth, int whole, long a, long b, long c) {
  volatile char* const room = static_cast<volatile char*>(__builtin_alloca(16 + (a & 15) * 16));
  room[0] = static_cast<char>(b);
  return descend(depth, whole, c, a, b) + room[0];
}
__attribute__((noinline)) long descend(int depth, int whole, long a, long b, long c) {
  if (depth <= 0) {
    measure(whole);
    return a;
  }
  long more = 0;
  switch (depth & 31) {
    case 1: more = large(depth - 2, whole, a + b, b * c, c); break;
    case 5:
    case 13:
    case 21:
    case 29: more = variable(depth - 2, whole, a, b + 1, c); break;
    case 3:
    case 10:
    case 19:
    case 26: {
      plain object(whole);
      caller* volatile virtually = &object;
      more = virtually->call(depth - 2, a, b, c + a);
      break;
    }
    default: more = descend(depth - 1, whole, a + 1, b, c); break;
  }
  return more + a * b - c;
}

// Only a stack of different functions is without the cache: a walk finds again what it has looked up itself.
__attribute__((noinline)) void measure_uncached(int depth) {
  ucontext_t here;
  getcontext(&here);
  const registers from = registers_of(here);
  const way uncached{"prof_uncached", prof_uncached};
  double best = 1e9;
  for (int round = 0; round < 40; ++round) best = std::min(best, per_frame(uncached, from, 100));
  if (std::set<std::uintptr_t>(g_frames, g_frames + g_depth).size() < g_depth) std::abort();
  std::printf("hot way=prof_uncached depth=%d frames=%zu ns_per_frame=%.2f\n", depth, std::size_t{g_depth}, best);
}
template <int n>
__attribute__((noinline)) long different(int whole, long a, long b) {
  volatile char room[16 + n % 7 * 40];
  room[0] = static_cast<char>(a);
  long more = a;
  if constexpr (n == 1) measure_uncached(whole);
  else more = different<n - 1>(whole, b + n, a);
  return more * b + room[0];
}

void build_tables() {
  const code_map* const map = g_process->code.load();
  for (std::size_t i = 0; i < map->current; ++i) {
    const code_range& range = map->ranges[i];
    if (range.cfi.header == 0) continue;
    double best = 1e9;
    const unwind_table* table = nullptr;
    for (int round = 0; round < 3; ++round) {
      const double begin = now_ns();
      table = build_module_table(image_of(range));
      best = std::min(best, (now_ns() - begin) / 1e6);
    }
    if (table == nullptr) continue;
    const char* const slash = std::strrchr(range.path, '/');
    std::printf("table file=%s rows=%zu rules=%zu bytes=%zu ms=%.3f\n",
                slash == nullptr ? range.path : slash + 1, table->rows, table->rules, table->bytes,
                best);
  }
}

// The signal handler as a whole, for one sample: two clocks, walk, interning, counting.
__attribute__((noinline)) void measure_sample() {
  timer_event event;
  ucontext_t here;
  getcontext(&here);
  event.regs = registers_of(here);
  event.expirations = 1;
  prof::cpu_options slow;
  slow.hz = 1;  // the ticks that are measured are our own
  prof::cpu_session session;
  const auto ignore = [](void*, const void*, std::size_t) { return true; };
  if (!session.start({ignore, nullptr}, slow)) std::abort();
  cpu_state& cpu = *attached_cpu_sig(*g_process);
  event.slot = timer_token(cpu.timers.find_sig(thread_key_base + os_thread_id_sig()));
  const std::uint64_t before = cpu.ticks.load();
  double best = 1e9;
  for (int i = 0; i < 7; ++i) {
    const double begin = now_ns();
    for (int k = 0; k < 2000; ++k) tick_sig(event);
    best = std::min(best, (now_ns() - begin) / 2000);
  }
  if (cpu.ticks.load() < before + 7 * 2000 || !session.stop()) std::abort();
  const stack_view walked = g_process->stacks.view(capture_stack_sig(*g_process, os_thread_id_sig(), event.regs, false));
  if (walked.truncated) std::abort();
  std::printf("sample frames=%zu us=%.3f\n", walked.depth, best / 1000);
}
__attribute__((noinline)) void descend_to_sample(int depth) {
  volatile char room[64];
  room[0] = static_cast<char>(depth);
  if (depth == 0) measure_sample();
  else descend_to_sample(depth - 1);
  room[1] = room[0];
}

}  // namespace

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (dlopen(argv[i], RTLD_NOW) == nullptr) std::fprintf(stderr, "%s\n", dlerror());
  }
  g_cache_filler = static_cast<char*>(std::malloc(filler_bytes));
  g_process = enter_process();
  refresh_code_map(*g_process);
  const code_map* const map = g_process->code.load();
  for (std::size_t i = 0; i < map->current; ++i) {
    if (map->ranges[i].module != nullptr) map->ranges[i].module->wanted.store(true);
  }
  build_tables();
  refresh_code_map(*g_process);
  for (const int depth : {10, 32, 75, 128}) descend(depth, depth, 1, 2, 3);
  different<10>(10, 1, 2);
  different<32>(32, 1, 2);
  different<75>(75, 1, 2);
  different<128>(128, 1, 2);
  descend_to_sample(24);
  return 0;
}
