// Four threads run the workloads, exceptions and all, while a timer interrupts each every 100 us and its
// handler walks the stack as the CPU profile's does. Prints how many walks there were, how many were
// complete, and where the others were.
//
//   timer_samples [walks wanted [us between ticks]]
#include <prof/prof.hpp>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "workloads.hpp"

namespace {

using namespace prof::detail;

constexpr int threads = 4;
constexpr std::size_t most_lost = 4096;

process_state* g_process;
std::atomic<long> g_walks;
std::atomic<long> g_complete;
std::atomic<long> g_approximate;
std::atomic<long> g_without_main;  // complete, and not through the thread's own function
std::atomic<long> g_guessed;       // the same, but approximate
std::atomic<std::size_t> g_lost_count;
std::uintptr_t g_lost[most_lost];
std::atomic<bool> g_stop;
long g_wanted;
long g_period_ns = 100000;

void* thread_main(void*);

// Whether the chain passes thread_main: a root that was guessed would not.
bool passes_thread_main(const std::uintptr_t* frames, std::size_t depth) {
  const auto begin = reinterpret_cast<std::uintptr_t>(&thread_main);
  for (std::size_t i = 0; i < depth; ++i) {
    if (frame_address_sig(frames[i]) - begin < 1024) return true;
  }
  return false;
}

void on_timer(int, siginfo_t*, void* context) {
  const frame_lease lease(*g_process);
  frame_buffer* const buffer = lease.buffer();
  if (buffer == nullptr) return;
  auto& scratch = *new (static_cast<void*>(buffer->scratch)) walk_scratch(*g_process, *buffer);
  const walked_stack walked = scratch.walk.run_sig(os_registers_sig(context), false);
  g_walks.fetch_add(1);
  if (walked.approximate) g_approximate.fetch_add(1);
  if (!walked.truncated) {
    g_complete.fetch_add(1);
    if (passes_thread_main(buffer->frames, walked.depth)) return;
    (walked.approximate ? g_guessed : g_without_main).fetch_add(1);
    return;
  }
  const std::size_t at = g_lost_count.fetch_add(1);
  if (at < most_lost) g_lost[at] = frame_address_sig(buffer->frames[0]);
}

void start_timer() {
  sigevent event;
  std::memset(&event, 0, sizeof event);
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGPROF;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) std::abort();
  itimerspec spec{};
  spec.it_value.tv_nsec = spec.it_interval.tv_nsec = g_period_ns;
  timer_settime(timer, 0, &spec, nullptr);
  while (!g_stop.load()) {
    for (int i = 0; i < workload_count; ++i) workloads[i].run();
    if (g_walks.load() >= g_wanted) g_stop.store(true);
  }
  timer_delete(timer);
}

__attribute__((noinline)) void* thread_main(void*) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPROF);
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  start_timer();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return nullptr;
}

void print_lost() {
  const std::size_t count = g_lost_count.load() < most_lost ? g_lost_count.load() : most_lost;
  for (std::size_t i = 0; i < count; ++i) {
    Dl_info info;
    const bool known = dladdr(reinterpret_cast<void*>(g_lost[i]), &info) != 0;
    const char* const slash = known ? std::strrchr(info.dli_fname, '/') : nullptr;
    std::printf("lost %s %s\n", slash != nullptr ? slash + 1 : "?",
                known && info.dli_sname != nullptr ? info.dli_sname : "?");
  }
}

}  // namespace

int main(int argc, char** argv) {
  g_wanted = argc > 1 ? std::atol(argv[1]) : 50000;
  if (argc > 2) g_period_ns = 1000 * std::atol(argv[2]);
  g_process = enter_process();
  refresh_code_map(*g_process);
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_sigaction = on_timer;
  action.sa_flags = SA_SIGINFO | SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPROF);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  pthread_t ids[threads];
  for (pthread_t& id : ids) pthread_create(&id, nullptr, thread_main, nullptr);
  for (const pthread_t id : ids) pthread_join(id, nullptr);
  std::printf("walks %ld complete %ld approximate %ld without_main %ld guessed %ld\n",
              g_walks.load(), g_complete.load(), g_approximate.load(), g_without_main.load(),
              g_guessed.load());
  print_lost();
  return 0;
}
