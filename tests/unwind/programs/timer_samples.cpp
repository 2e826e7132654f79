// Four threads run the workloads, exceptions and all, while a timer interrupts each every 100 us and its
// handler walks the stack as the CPU profile's does. Prints how many walks there were, how many were
// complete, and where the others were; and, if asked, every different complete stack.
//
//   timer_samples [walks wanted [us between ticks [chains]]]
//   file PATH                 numbered from 0
//   chain COUNT FRAMES...     from the leaf; NUMBER:OFFSET in a file, or `-` in none
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
#include <map>
#include <vector>

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
// {depth, frames...} of complete walks. Who finds no room is not written down.
constexpr std::size_t chain_room = std::size_t{1} << 22;
std::uintptr_t g_chains[chain_room];
std::atomic<std::size_t> g_chain_words;
bool g_wants_chains;
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

void write_down(const std::uintptr_t* frames, std::size_t depth) {
  if (!g_wants_chains || g_chain_words.load() + depth + 1 > chain_room - threads * (max_depth + 1)) return;
  std::uintptr_t* const place = g_chains + g_chain_words.fetch_add(depth + 1);
  place[0] = depth;
  for (std::size_t i = 0; i < depth; ++i) place[i + 1] = frame_address_sig(frames[i]);
}

void on_timer(int, siginfo_t*, void* context) {
  const frame_lease lease(*g_process, os_thread_id_sig());
  frame_buffer* const buffer = lease.buffer();
  if (buffer == nullptr) return;
  auto& scratch = *new (static_cast<void*>(buffer->scratch)) walk_scratch(*g_process, *buffer);
  const walked_stack walked = scratch.walk.run_sig(os_registers_sig(context), false);
  g_walks.fetch_add(1);
  if (walked.approximate) g_approximate.fetch_add(1);
  if (!walked.truncated) {
    g_complete.fetch_add(1);
    write_down(buffer->frames, walked.depth);
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
    for (int i = 0; i < workload_count; ++i) {
#if defined(__aarch64__)
      // qemu-user forks itself for vfork(2), threads and all: a child may wait for ever for one of its locks.
      if (std::strcmp(workloads[i].name, "forks") == 0) continue;
#endif
      workloads[i].run();
    }
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

// A loaded file by its begin, or null.
const char* file_of(std::uintptr_t address, std::uintptr_t& begin) {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(address), &info) == 0) return nullptr;
  begin = reinterpret_cast<std::uintptr_t>(info.dli_fbase);
  return info.dli_fname;
}

void print_chains() {
  std::map<std::vector<std::uintptr_t>, long> different;
  std::map<std::uintptr_t, std::size_t> files;
  for (std::size_t at = 0; at < g_chain_words.load(); at += g_chains[at] + 1) {
    ++different[std::vector<std::uintptr_t>(g_chains + at + 1, g_chains + at + 1 + g_chains[at])];
  }
  for (const auto& one : different) {
    for (const std::uintptr_t frame : one.first) {
      std::uintptr_t begin = 0;
      const char* const path = file_of(frame, begin);
      if (path != nullptr && files.emplace(begin, files.size()).second) {
        std::printf("file %s\n", path);
      }
    }
  }
  for (const auto& one : different) {
    std::printf("chain %ld", one.second);
    for (const std::uintptr_t frame : one.first) {
      std::uintptr_t begin = 0;
      if (file_of(frame, begin) == nullptr) std::printf(" -");
      else std::printf(" %zu:%lx", files[begin], static_cast<unsigned long>(frame - begin));
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  g_wanted = argc > 1 ? std::atol(argv[1]) : 50000;
  if (argc > 2) g_period_ns = 1000 * std::atol(argv[2]);
  g_wants_chains = argc > 3;
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
  if (g_wants_chains) print_chains();
  return 0;
}
