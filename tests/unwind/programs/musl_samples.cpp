// Ordinary work on a libc without unwind tables, every chain of the program's own functions known: each
// work_* runs below chain_1..4, lib_1..4 and back, and only main or thread_main is above these.
//
//   musl_samples timer COUNT   three threads, each interrupted every 100 us; walks as the CPU profile's
//   musl_samples heap FILE     every allocation, as an allocs profile
//   musl_samples step          every instruction, against a list of the calls that were made
//
// timer and step print modules and stacks for test_musl.py, which names and judges them.
#include "musl_samples.hpp"

#include <prof/prof.hpp>

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

using namespace prof::detail;

static volatile long g_sum;
static int g_rounds = 1500000;  // of work that needs no libc

// ---- the chain -----------------------------------------------------------------------------------------

static thread_local work_fn* t_work;

FN long back(long n) { return t_work(n) + (g_sum = g_sum + 1); }
FN long chain_4(long n) { return lib_1(back, n) + (g_sum = g_sum + 1); }
FN long chain_3(long n) { return chain_4(n + 1) + (g_sum = g_sum + 1); }
FN long chain_2(long n) { return chain_3(n + 1) + (g_sum = g_sum + 1); }
FN long chain_1(long n) { return chain_2(n + 1) + (g_sum = g_sum + 1); }

// ---- work ----------------------------------------------------------------------------------------------

FN long work_compute(long n) {
  double x = static_cast<double>(n);
  for (int i = 0; i < g_rounds; ++i) x = x * 0.999 + i;
  return static_cast<long>(x);
}

FN long work_copy(long n) {
  static thread_local char from[16384];
  static thread_local char to[16384];
  for (std::size_t size = 1; size < sizeof from; size = size * 3 / 2 + 1) {
    std::memset(from, static_cast<int>(n & 63) + 32, size);
    from[size - 1] = 0;
    std::memcpy(to, from, size);
    std::memmove(to + 1, to, size - 1);
    n += static_cast<long>(std::strlen(from)) + std::strcmp(from, to) + std::memcmp(from, to, size);
    n += std::strchr(from, 'Q') != nullptr;
  }
  return n;
}

FN long work_alloc(long n) {
  void* kept[64] = {};
  for (std::size_t i = 0; i < 600; ++i) {
    void*& place = kept[i * 7 % 64];
    std::free(place);
    const std::size_t size = 8 + i * 37 % 3000;
    place = i % 5 == 0 ? std::calloc(1, size) : std::malloc(size);
    if (i % 3 == 0) place = std::realloc(place, size * 2);
  }
  for (void* one : kept) std::free(one);
  return n;
}

FN int compare(const void* a, const void* b) {
  g_sum = g_sum + 1;
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}
FN long work_sort(long n) {
  int numbers[300];
  unsigned seed = static_cast<unsigned>(n) + 1;
  for (int& one : numbers) one = static_cast<int>((seed = seed * 1103515245u + 12345u) >> 16);
  std::qsort(numbers, 300, sizeof numbers[0], compare);
  return numbers[0];
}

FN long work_format(long n) {
  char text[256];
  for (int i = 0; i < 30; ++i) {
    std::snprintf(text, sizeof text, "%d %s %08lx %c", i, "some words", static_cast<long>(i) * 77, 'x');
    n += static_cast<long>(std::strtol(text, nullptr, 10));
    std::snprintf(text, sizeof text, "%.17g %f", 1.0 / (i + 3), i * 1e10);
    n += static_cast<long>(std::strtod(text, nullptr) * 10);
    int a = 0;
    n += std::sscanf("42 rest", "%d", &a) + a;
  }
  return n;
}

FN long work_calls_kernel(long n) {
  static const int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  static const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  char bytes[4096];
  for (int i = 0; i < 30; ++i) {
    n += read(zero, bytes, sizeof bytes) + write(null, bytes, sizeof bytes);
    n += getppid();
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    n += now.tv_sec;
  }
  return n;
}

FN long work_stream(long n) {
  std::FILE* const file = std::fopen("/dev/null", "w");
  for (int i = 0; file != nullptr && i < 100; ++i) {
    std::fprintf(file, "line %d of text\n", i);
    std::fputs("and another one that is longer\n", file);
    if (i % 10 == 0) std::fflush(file);
  }
  if (file != nullptr) std::fclose(file);
  return n;
}

FN long work_libc_allocates(long n) {
  char* const copy = strdup("a string to copy");
  char* text = nullptr;
  n += asprintf(&text, "%s and %d", copy, 42);
  std::free(text);
  std::free(copy);
  std::size_t size = 0;
  char* memory = nullptr;
  std::FILE* const file = open_memstream(&memory, &size);
  for (int i = 0; file != nullptr && i < 50; ++i) std::fprintf(file, "item %d, and so on\n", i);
  if (file != nullptr) std::fclose(file);
  std::free(memory);
  regex_t expression;
  if (regcomp(&expression, "a+(b|c)*[0-9]{1,3}$", REG_EXTENDED) == 0) {
    n += regexec(&expression, "xxaabcb12", 0, nullptr, 0);
    regfree(&expression);
  }
  return n;
}

FN long throws(long n) {
  if (n != 0) throw std::runtime_error("expected");
  return g_sum;
}
FN long between(long n) { return throws(n) + (g_sum = g_sum + 1); }
FN long work_throw(long n) {
  for (int i = 0; i < 3; ++i) {
    try {
      n += between(1);
    } catch (const std::exception& e) {
      n += e.what()[0];
    }
  }
  return n;
}

FN long called_back(long n) {
  std::map<int, std::string> map;
  for (int i = 0; i < 60; ++i) map[i * 7 % 60] = std::string(static_cast<std::size_t>(i), 'x');
  return n + static_cast<long>(map.size());
}
FN long work_function(long n) {
  const std::function<long(long)> f = [](long x) { return called_back(x) + (g_sum = g_sum + 1); };
  return f(n) + (g_sum = g_sum + 1);
}

FN long work_math(long n) {
  double x = 0.3;
  for (int i = 0; i < 500; ++i) x = std::fabs(std::sin(x) + std::pow(x + 1, 0.37) - std::exp(-x));
  return n + static_cast<long>(x * 10);
}

static work_fn* const works[] = {work_compute, work_copy,   work_alloc,          work_sort,
                                 work_format,  work_stream, work_libc_allocates, work_throw,
                                 work_function, work_math,  work_calls_kernel};

FN void run_works() {
  for (work_fn* work : works) {
    t_work = work;
    g_sum = g_sum + chain_1(1);
  }
}

// ---- by timer ------------------------------------------------------------------------------------------

static process_state* g_process;
static std::atomic<long> g_taken;
static long g_wanted;
static std::atomic<std::uint32_t> g_counts[1 << 18];  // by stack

static void on_timer(int, siginfo_t*, void* context) {
  const int kept = errno;
  const stack_id id = capture_stack_sig(*g_process, os_thread_id_sig(), os_registers_sig(context), false);
  g_counts[id % (1 << 18)].fetch_add(1);
  g_taken.fetch_add(1);
  errno = kept;
}

FN void* short_thread(void*) {
  t_work = work_copy;
  g_sum = g_sum + chain_1(1);
  return nullptr;
}

// glibc's name for a field that musl calls otherwise.
static void start_timer(timer_t& timer) {
  sigevent event;
  std::memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGPROF;
  const int thread = static_cast<int>(syscall(SYS_gettid));
  std::memcpy(reinterpret_cast<char*>(&event) + 16, &thread, sizeof thread);
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) std::abort();
}
static void set_timer(timer_t timer, long nanoseconds) {
  itimerspec spec{};
  spec.it_value.tv_nsec = spec.it_interval.tv_nsec = nanoseconds;
  syscall(SYS_timer_settime, timer, 0, &spec, nullptr);
}

FN void* thread_main(void*) {
  timer_t timer{};
  start_timer(timer);
  set_timer(timer, 100000);
  while (g_taken.load() < g_wanted) {
    run_works();
    pthread_t other;
    if (pthread_create(&other, nullptr, short_thread, nullptr) == 0) pthread_join(other, nullptr);
  }
  set_timer(timer, 0);
  syscall(SYS_timer_delete, timer);
  return nullptr;
}

static void print_modules() {
  const code_map* const map = read_code_map_sig(nullptr, g_process->registry);
  for (std::size_t i = 0; i < map->count; ++i) {
    const code_range& range = map->ranges[i];
    std::printf("module %lx %lx %lx %s\n", range.start, range.limit, range.header, range.path);
  }
}

static void print_stack(const stack_view& stack, unsigned long count) {
  std::printf("sample %lu %s %s", count, stack.truncated ? "truncated" : "complete",
              stack.approximate ? "approximate" : "exact");
  for (std::size_t i = 0; i < stack.depth; ++i) std::printf(" %lx", frame_address_sig(stack.frames[i]));
  std::putchar('\n');
}

FN int run_timer(long count) {
  g_wanted = count;
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_sigaction = on_timer;
  action.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
  sigaction(SIGPROF, &action, nullptr);
  pthread_t threads[2];
  for (pthread_t& one : threads) pthread_create(&one, nullptr, thread_main, nullptr);
  thread_main(nullptr);
  for (const pthread_t one : threads) pthread_join(one, nullptr);
  print_modules();
  for (std::size_t id = 0; id < sizeof g_counts / sizeof g_counts[0]; ++id) {
    const unsigned long seen = g_counts[id].load();
    if (seen != 0) print_stack(g_process->stacks.view(static_cast<stack_id>(id)), seen);
  }
  return 0;
}

// ---- by allocation -------------------------------------------------------------------------------------

FN void* heap_thread(void*) {
  run_works();
  return nullptr;
}
FN int run_heap(const char* file) {
  prof::set_mem_profile_rate(1);
  for (int i = 0; i < 20; ++i) run_works();
  pthread_t other;
  pthread_create(&other, nullptr, heap_thread, nullptr);
  pthread_join(other, nullptr);
  const auto done = prof::write_profile("allocs", file);
  if (!done) std::printf("%s\n", done.message());
  return done ? 0 : 1;
}

// ---- by step -------------------------------------------------------------------------------------------

// A call that has not returned: the word at `place` is where it will.
struct open_call {
  std::uintptr_t place;
  std::uintptr_t return_address;
};
static open_call g_open[4096];
static std::size_t g_open_count;
static std::uintptr_t g_last_pc;
static std::uintptr_t g_last_sp;
static bool g_stepping;
static long g_steps;
static long g_good;
static stack_id g_expected[1 << 18];  // by stack that was walked wrong: what is right

static void follow_calls(const registers& now) {
  while (g_open_count != 0 && g_open[g_open_count - 1].place < now.sp) --g_open_count;
  if (now.sp != g_last_sp - 8) return;
  std::uintptr_t pushed = 0;
  std::memcpy(&pushed, reinterpret_cast<const void*>(now.sp), sizeof pushed);
  const bool is_call = pushed - g_last_pc >= 2 && pushed - g_last_pc <= 8;
  if (is_call && g_open_count < 4096) g_open[g_open_count++] = {now.sp, pushed};
}

// Loops would take all the time: of an instruction's steps the first ones count, then one in 256.
static bool is_wanted(std::uintptr_t pc) {
  static std::uint32_t visits[1 << 20];
  const std::uint32_t visit = visits[mix_bits(pc) % (1 << 20)]++;
  return visit < 16 || visit % 256 == 0;
}

static void judge(const registers& now) {
  const stack_id id = capture_stack_sig(*g_process, os_thread_id_sig(), now, false);
  const stack_view stack = g_process->stacks.view(id);
  std::uintptr_t frames[max_depth];
  std::size_t depth = 0;
  frames[depth++] = now.pc;
  for (std::size_t i = g_open_count; i-- != 0;) frames[depth++] = g_open[i].return_address - 1;
  ++g_steps;
  bool right = !stack.truncated && stack.depth > depth;
  for (std::size_t i = 0; right && i < depth; ++i) {
    right = frame_address_sig(stack.frames[i]) == frames[i];
  }
  if (right) {
    ++g_good;
    return;
  }
  g_counts[id % (1 << 18)].fetch_add(1);
  g_expected[id % (1 << 18)] = g_process->stacks.intern_sig({frames, depth, false, false});
}

static void on_trap(int, siginfo_t*, void* context) {
  const registers now = os_registers_sig(context);
  if (g_last_pc != 0) {
    follow_calls(now);
    if (is_wanted(now.pc)) judge(now);
  }
  g_last_pc = now.pc;
  g_last_sp = now.sp;
  auto& flags = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
  if (g_stepping) flags |= 0x100;
  else flags &= ~0x100L;
}

FN void step_works() {
  g_stepping = true;
  __asm__ volatile("int3" ::: "memory");
  run_works();
  g_stepping = false;
}

FN int run_step() {
  g_rounds = 1000;
  static char own[256 * 1024];
  stack_t stack{};
  stack.ss_sp = own;
  stack.ss_size = sizeof own;
  sigaltstack(&stack, nullptr);
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_sigaction = on_trap;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigaction(SIGTRAP, &action, nullptr);
  step_works();
  print_modules();
  std::printf("steps %ld good %ld\n", g_steps, g_good);
  for (std::size_t id = 0; id < sizeof g_counts / sizeof g_counts[0]; ++id) {
    const unsigned long seen = g_counts[id].load();
    if (seen == 0) continue;
    print_stack(g_process->stacks.view(static_cast<stack_id>(id)), seen);
    print_stack(g_process->stacks.view(g_expected[id]), 0);
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  std::setvbuf(stdout, nullptr, _IOFBF, 1 << 16);
  g_process = enter_process();
  refresh_code_map(*g_process);
  const int status = argv[1][0] == 't'   ? run_timer(std::atol(argv[2]))
                     : argv[1][0] == 'h' ? run_heap(argv[2])
                                         : run_step();
  g_sum = g_sum + 1;
  return status;
}
