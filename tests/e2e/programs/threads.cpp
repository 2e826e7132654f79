// Usage: threads ADDRESS WHAT [COUNT]. Serves, makes threads of one kind, and prints `listening on ADDRESS` when all of
// them are where they stay:
//   sleepers   COUNT threads that sleep, under the label role=sleeper
//   deadlock   two threads, each holding the lock that the other wants; no profile of waits is on
//   deaf       one thread each that blocks all signals, waits for all of them by sigwait, is in a child's ptrace stop, sits in vfork, has ended unjoined,
//              and threads that come and go
//   loader     a thread that dlopen keeps in the constructor of the library COUNT, one in a callback of dl_iterate_phdr,
//              and one that holds stdio's lock
//   waiters    COUNT threads at a condition variable, with the block profile on
//   leaked     COUNT threads that have ended and are not joined, as many that were joined, as many that were detached
// On its input: a line `quit`.
#include <prof/api.hpp>

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

#define APART extern "C" __attribute__((noinline)) void

static std::atomic<int> ready{0};
static void wait_until_ready(int count) {
  while (ready.load() < count) std::this_thread::sleep_for(1ms);
  std::this_thread::sleep_for(20ms);
}
static void name_this_thread(const char* name) { pthread_setname_np(pthread_self(), name); }

// ---- sleepers --------------------------------------------------------------------------------------------------------

APART sleep_on() {
  const prof::label_scope scope{{"role", "sleeper"}};
  name_this_thread("sleeper");
  ++ready;
  for (;;) pause();
}
APART make_sleepers(int count) {
  for (int i = 0; i < count; ++i) std::thread(sleep_on).detach();
  wait_until_ready(count);
}

// ---- deadlock --------------------------------------------------------------------------------------------------------

static std::mutex first;
static std::mutex second;
static void lock_both(std::mutex& mine, std::mutex& other) {
  const std::lock_guard<std::mutex> held(mine);
  ++ready;
  while (ready.load() < 2) std::this_thread::sleep_for(1ms);
  const std::lock_guard<std::mutex> never(other);
}
APART first_then_second() { lock_both(first, second); }
APART second_then_first() { lock_both(second, first); }
static void make_deadlock() {
  std::thread(first_then_second).detach();
  std::thread(second_then_first).detach();
  wait_until_ready(2);
}

// ---- deaf -------------------------------------------------------------------------------------------------------------

APART block_signals() {
  name_this_thread("blocks");
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  ++ready;
  for (;;) pause();
}
// A signal of prof's must not come here: many programs take any for the end.
APART await_signals() {
  name_this_thread("awaits");
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
  ++ready;
  int signal = 0;
  sigwait(&all, &signal);
  _exit(100 + signal);
}
static std::atomic<pid_t> stopped_thread{0};
APART be_stopped() {
  name_this_thread("stopped");
  stopped_thread.store(static_cast<pid_t>(syscall(SYS_gettid)));
  ++ready;
  for (;;) pause();
}
APART vfork_and_stay() {
  name_this_thread("vforks");
  ++ready;
  if (vfork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // it ends with us
    for (;;) syscall(SYS_pause);
  }
}
APART come_and_go() {
  for (;;) {
    std::thread([] {}).join();
    std::this_thread::sleep_for(1ms);
  }
}
// A tracer stops one thread of ours, and ends with us.
static void stop_by_a_tracer() {
  const pid_t traced = stopped_thread.load();
  if (fork() == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ptrace(PTRACE_SEIZE, traced, nullptr, nullptr) != 0) _exit(1);
    ptrace(PTRACE_INTERRUPT, traced, nullptr, nullptr);
    waitpid(traced, nullptr, __WALL);
    for (;;) pause();
  }
  std::this_thread::sleep_for(200ms);
}
static void make_deaf() {
  std::thread(block_signals).detach();
  std::thread(await_signals).detach();
  std::thread(be_stopped).detach();
  std::thread(sleep_on).detach();
  wait_until_ready(4);
  stop_by_a_tracer();
  std::thread(vfork_and_stay).detach();
  wait_until_ready(5);
  for (int i = 0; i < 2; ++i) std::thread(come_and_go).detach();
}

// ---- loader -----------------------------------------------------------------------------------------------------------

APART load_for_ever(const char* library) {
  ++ready;
  dlopen(library, RTLD_NOW);
}
APART call_back_for_ever() {
  dl_iterate_phdr(
      [](dl_phdr_info*, std::size_t, void*) {
        ++ready;
        for (;;) pause();
        return 0;
      },
      nullptr);
}
APART print_for_ever() {
  flockfile(stderr);
  ++ready;
  for (;;) pause();
}
static void hold_the_loader(const char* library) {
  std::thread(load_for_ever, library).detach();
  wait_until_ready(1);
  std::thread(call_back_for_ever).detach();
  std::thread(print_for_ever).detach();
  wait_until_ready(3);
}

// ---- waiters ----------------------------------------------------------------------------------------------------------

static std::mutex lock;
static std::condition_variable condition;
APART wait_for_condition() {
  std::unique_lock<std::mutex> held(lock);
  ++ready;
  for (;;) condition.wait(held);
}
static void make_waiters(int count) {
  (void)prof::set_block_profile_rate(1);
  for (int i = 0; i < count; ++i) std::thread(wait_for_condition).detach();
  wait_until_ready(count);
}

// ---- leaked -----------------------------------------------------------------------------------------------------------

static void* nothing(void*) { return nullptr; }
APART make_leaked(int count) {
  pthread_t thread{};
  for (int i = 0; i < count; ++i) pthread_create(&thread, nullptr, nothing, nullptr);
}
APART make_joined(int count) {
  for (int i = 0; i < count; ++i) {
    pthread_t thread{};
    pthread_create(&thread, nullptr, nothing, nullptr);
    pthread_join(thread, nullptr);
  }
}
APART make_detached(int count) {
  for (int i = 0; i < count; ++i) {
    pthread_t thread{};
    pthread_create(&thread, nullptr, nothing, nullptr);
    pthread_detach(thread);
  }
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const std::string what = argv[2];
  const int count = argc > 3 ? std::atoi(argv[3]) : 1;
  if (!prof::http::serve(argv[1])) return 3;
  if (what == "sleepers") make_sleepers(count);
  if (what == "deadlock") make_deadlock();
  if (what == "deaf") make_deaf();
  if (what == "loader") hold_the_loader(argv[3]);
  if (what == "waiters") make_waiters(count);
  if (what == "leaked") {
    make_leaked(count);
    make_joined(count);
    make_detached(count);
    std::this_thread::sleep_for(100ms);
  }
  std::printf("listening on %s\n", prof::http::address());
  std::fflush(stdout);
  char line[100];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
  }
  std::_Exit(0);
}
