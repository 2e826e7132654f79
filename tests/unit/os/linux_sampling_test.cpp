// tests/unit/os/linux_sampling_test.cpp - CPU timers, their signal, threads, as Linux has them.

#include "prof/os/os.hpp"

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>

#include "../quiet.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

std::atomic<std::uint64_t> g_ticks{0};
std::atomic<void*> g_slot{nullptr};
std::atomic<std::uint64_t> g_bad{0};

void note_tick(const timer_event& event) {
  g_ticks.fetch_add(event.expirations);
  g_slot.store(event.slot);
  if (event.regs.pc == 0 || event.regs.sp == 0) g_bad.fetch_add(1);
}

void spend_cpu(std::uint64_t ns) {
  std::atomic<unsigned> sink{0};
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  const auto end = static_cast<std::uint64_t>(now.tv_sec) * 1000000000u +
                   static_cast<std::uint64_t>(now.tv_nsec) + ns;
  std::uint64_t at = 0;
  while (at < end) {
    for (int i = 0; i < 1000; ++i) sink.fetch_add(1);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    at = static_cast<std::uint64_t>(now.tv_sec) * 1000000000u +
         static_cast<std::uint64_t>(now.tv_nsec);
  }
}

}  // namespace

TEST_CASE("no handler of the host's that could leave by longjmp runs inside ours; those of faults do") {
  const int number = os_candidate_signal(3);
  REQUIRE(os_install_handler(number));
  struct sigaction installed;
  REQUIRE(sigaction(number, nullptr, &installed) == 0);
  for (const int waits : {SIGALRM, SIGPROF, SIGUSR1, SIGTERM, SIGINT}) {
    CHECK(sigismember(&installed.sa_mask, waits) == 1);
  }
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
    CHECK(sigismember(&installed.sa_mask, fault) == 0);
  }
  signal(number, SIG_DFL);
}

std::string ticks_of_a_timer() {
  const int number = os_candidate_signal(3);
  REQUIRE(os_signal_handler(number) == nullptr);
  const auto before = tick_receiver.exchange(&note_tick);
  REQUIRE(os_install_handler(number));
  g_ticks.store(0);
  int slot = 0;
  int timer = -1;
  REQUIRE(os_timer_create_sig(os_thread_id_sig(), number, &slot, timer) == 0);
  REQUIRE(os_timer_set_sig(timer, 1, 1000000) == 0);
  spend_cpu(100000000);
  os_timer_delete_sig(timer);
  const std::uint64_t ticks = g_ticks.load();
  CHECK(g_slot.load() == &slot);
  CHECK(g_bad.load() == 0);
  spend_cpu(20000000);
  CHECK(g_ticks.load() == ticks);
  signal(number, SIG_DFL);
  tick_receiver.store(before);
  // 100 expected; whatever the kernel folded is in `expirations`.
  return quiet_test::outside("the number of ticks", static_cast<double>(ticks), 60, 140);
}

TEST_CASE("a CPU timer ticks on the thread it was made for, with its slot" * doctest::test_suite("needs quiet")) {
  quiet_test::check_when_quiet("a CPU timer's ticks", ticks_of_a_timer);
}

TEST_CASE("the handler believes timers only") {
  const int number = os_candidate_signal(3);
  const auto before = tick_receiver.exchange(&note_tick);
  REQUIRE(os_install_handler(number));
  g_ticks.store(0);
  raise(number);
  CHECK(g_ticks.load() == 0);
  signal(number, SIG_DFL);
  tick_receiver.store(before);
}

TEST_CASE("a timer for a thread that is gone is an error, not a crash") {
  std::uint32_t gone = 0;
  std::thread([&] { gone = os_thread_id_sig(); }).join();
  // Joined is not gone: the kernel wakes the joiner first.
  const auto alive = [&] {
    return syscall(SYS_tgkill, getpid(), static_cast<pid_t>(gone), 0) == 0;
  };
  for (int i = 0; i < 1000 && alive(); ++i) os_sleep_ns(1000000);
  int timer = -1;
  CHECK(os_timer_create_sig(gone, SIGPROF, nullptr, timer) != 0);
}

TEST_CASE("threads are listed, blocked signals seen and unblocked") {
  std::atomic<int> stage{0};
  std::atomic<std::uint32_t> id{0};
  std::thread other([&] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    id.store(os_thread_id_sig());
    stage.store(1);
    while (stage.load() != 2) std::this_thread::yield();
    os_unblock_signal_sig(SIGUSR2);
    stage.store(3);
    while (stage.load() != 4) std::this_thread::yield();
  });
  while (stage.load() != 1) std::this_thread::yield();
  struct search {
    std::uint32_t wanted;
    int found;
  } look{id.load(), 0};
  CHECK(os_for_each_thread(
      [](void* context, std::uint32_t thread) {
        auto& here = *static_cast<search*>(context);
        here.found += thread == here.wanted ? 1 : 0;
      },
      &look));
  CHECK(look.found == 1);
  std::size_t listed = 0;  // other tests' threads may end meanwhile
  for (int tries = 0; tries < 100 && listed != os_thread_count(); ++tries) {
    listed = 0;
    os_for_each_thread([](void* context, std::uint32_t) { ++*static_cast<std::size_t*>(context); }, &listed);
  }
  CHECK(listed >= 2);
  CHECK(os_thread_count() == listed);
  CHECK(os_signal_blocked(id.load(), SIGUSR2));
  CHECK_FALSE(os_signal_blocked(id.load(), SIGUSR1));
  stage.store(2);
  while (stage.load() != 3) std::this_thread::yield();
  CHECK_FALSE(os_signal_blocked(id.load(), SIGUSR2));
  stage.store(4);
  other.join();
  CHECK_FALSE(os_signal_blocked(id.load(), SIGUSR2));
}

TEST_CASE("a started thread blocks everything but the open signal") {
  static std::atomic<bool> blocked_usr1;
  static std::atomic<bool> blocked_prof;
  os_thread_handle thread{};
  const auto main = [](void* argument) -> void* {
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, nullptr, &now);
    blocked_usr1.store(sigismember(&now, SIGUSR1) == 1);
    blocked_prof.store(sigismember(&now, SIGPROF) == 1);
    return argument;
  };
  REQUIRE(os_start_thread(main, nullptr, SIGPROF, thread) == 0);
  os_join_thread(thread);
  CHECK(blocked_usr1.load());
  CHECK_FALSE(blocked_prof.load());
  sigset_t mine;
  pthread_sigmask(SIG_SETMASK, nullptr, &mine);
  CHECK(sigismember(&mine, SIGUSR1) == 0);
}

TEST_CASE("an exit key calls back when a thread ends") {
  static std::atomic<void*> ended{nullptr};
  unsigned key = 0;
  REQUIRE(os_make_exit_key(key, [](void* value) { ended.store(value); }) == 0);
  int value = 0;
  std::thread([&] { os_at_thread_exit(key, &value); }).join();
  CHECK(ended.load() == &value);
  pthread_key_delete(key);
}

#endif
