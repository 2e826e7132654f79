// Usage: jumping_host. A handler of the host's leaves by siglongjmp, thousands of times a second, while the CPU
// profile's handler runs a thousand times a second: it must never leave that one unfinished. Prints: jumps, frame
// buffers that are still taken, ticks.
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include <cstdio>

#include <prof/prof.hpp>

namespace {

sigjmp_buf g_place;
long g_jumps;
volatile long g_sink;

void on_alarm(int) {
  ++g_jumps;
  siglongjmp(g_place, 1);
}

timer_t make_alarm() {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, nullptr);
  timer_t timer;
  timer_create(CLOCK_MONOTONIC, nullptr, &timer);  // SIGALRM
  return timer;
}
// Once: siglongjmp unblocks the signal while it still stands on the handler's stack, so alarms that follow each
// other fast would pile up there.
void set_alarm(timer_t timer) {
  itimerspec spec{};
  spec.it_value.tv_nsec = 30000;
  timer_settime(timer, 0, &spec, nullptr);
}

double cpu_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Beside other work two seconds have fewer ticks than 500.
bool has_ticks() { return prof::status().number("cpu samples") > 400; }

// A deep stack makes a long walk.
__attribute__((noinline)) long descend(int depth) {
  if (depth > 0) return descend(depth - 1) + g_sink;
  for (int i = 0; i < 2000; ++i) g_sink = g_sink + i;
  return g_sink;
}

}  // namespace

int main() {
  using namespace prof::detail;
  prof::cpu_options options;
  options.hz = 1000;
  if (!prof::start_cpu_profile("/dev/null", options)) return 1;
  const double end = cpu_seconds() + 2;
  const double latest = end + 10;
  const timer_t timer = make_alarm();
  while (cpu_seconds() < end || (!has_ticks() && cpu_seconds() < latest)) {
    if (sigsetjmp(g_place, 1) == 0) set_alarm(timer);
    else continue;
    for (;;) g_sink = descend(100);
  }
  timer_delete(timer);
  signal(SIGALRM, SIG_IGN);
  const auto ticks = static_cast<unsigned long long>(prof::status().number("cpu samples"));
  if (!prof::stop_cpu_profile()) return 2;
  int taken = 0;
  attached_process_sig()->buffers.for_each([&taken](frame_buffer& buffer) {
    taken += buffer.taken.load() != 0 ? 1 : 0;
    return true;
  });
  std::printf("%ld %d %llu\n", g_jumps, taken, ticks);
  return 0;
}
