// tests/unit/os/linux_test.cpp - what is particular to Linux: maps lines, timers, threads, SIGPIPE.

#include "prof/os/os.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

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

std::string path_of(const os_mapping& mapping) {
  return std::string(mapping.path.data, mapping.path.size);
}

}  // namespace

TEST_CASE("raw system calls answer with -errno and leave errno alone") {
  errno = 77;
  CHECK(os_call_sig(SYS_close, -1) == -EBADF);
  CHECK(os_call_sig(SYS_getpid) == getpid());
  CHECK(errno == 77);
}

TEST_CASE("errno_guard gives errno back") {
  errno = 5;
  {
    const errno_guard keep;
    errno = 9;
  }
  CHECK(errno == 5);
}

TEST_CASE("a line of the maps file is taken apart") {
  const os_mapping code = os_parse_mapping_sig(
      "7f0011223000-7f0011345000 r-xp 00026000 fe:01 1234567                    /usr/lib/a b.so");
  CHECK(code.start == 0x7f0011223000);
  CHECK(code.limit == 0x7f0011345000);
  CHECK(code.offset == 0x26000);
  CHECK(code.inode == 1234567);
  CHECK(code.readable);
  CHECK(code.executable);
  CHECK(path_of(code) == "/usr/lib/a b.so");

  const os_mapping plain = os_parse_mapping_sig("1000-2000 rw-p 00000000 00:00 0 ");
  CHECK(plain.start == 0x1000);
  CHECK(plain.readable);
  CHECK_FALSE(plain.executable);
  CHECK(plain.inode == 0);
  CHECK(path_of(plain).empty());

  const os_mapping vdso = os_parse_mapping_sig(
      "7fff8b5fe000-7fff8b600000 --xp 00000000 00:00 0                          [vdso]");
  CHECK_FALSE(vdso.readable);
  CHECK(vdso.executable);
  CHECK(path_of(vdso) == "[vdso]");
}

TEST_CASE("broken maps lines give something harmless") {
  const std::string line =
      "7f0011223000-7f0011345000 r-xp 00026000 fe:01 1234567                    /usr/lib/a.so";
  for (std::size_t size = 0; size <= line.size(); ++size) {
    const std::string cut = line.substr(0, size);
    const os_mapping mapping = os_parse_mapping_sig({cut.data(), cut.size()});
    CHECK(mapping.path.size <= size);
  }
}

TEST_CASE("files are read in pieces; a missing one is empty") {
  char buffer[64];
  CHECK(os_read_file("/proc/self/comm", buffer, sizeof buffer) > 1);
  CHECK(os_read_file("/proc/self/maps", buffer, sizeof buffer) == sizeof buffer);
  CHECK(os_read_file("/no/such/file", buffer, sizeof buffer) == 0);
}

TEST_CASE("a CPU timer ticks on the thread it was made for, with its slot") {
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
  CHECK(ticks > 60);   // 100 expected; whatever the kernel folded is in `expirations`
  CHECK(ticks < 140);
  CHECK(g_slot.load() == &slot);
  CHECK(g_bad.load() == 0);
  spend_cpu(20000000);
  CHECK(g_ticks.load() == ticks);
  signal(number, SIG_DFL);
  tick_receiver.store(before);
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

TEST_CASE("SIGPIPE is swallowed inside the guard and only there") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);
  int os_error = 0;
  {
    const sigpipe_guard quiet;
    CHECK_FALSE(os_write(ends[1], "x", 1, os_error));
  }
  CHECK(os_error == EPIPE);
  sigset_t pending;
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 0);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  CHECK(sigismember(&mask, SIGPIPE) == 0);
  close(ends[1]);
}

TEST_CASE("a SIGPIPE that waited before the guard still waits after it") {
  sigset_t pipe_only;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  pthread_kill(pthread_self(), SIGPIPE);
  { const sigpipe_guard quiet; }
  sigset_t pending;
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 1);
  const timespec at_once{};
  CHECK(sigtimedwait(&pipe_only, nullptr, &at_once) == SIGPIPE);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_CASE("a non-blocking descriptor is written to the end") {
  int ends[2];
  REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
  std::string big(300000, 'x');
  std::size_t got = 0;
  std::thread reader([&] {
    char buffer[4096];
    while (got < big.size()) {
      const long n = read(ends[0], buffer, sizeof buffer);
      if (n > 0) got += static_cast<std::size_t>(n);
      else std::this_thread::yield();
    }
  });
  int os_error = 0;
  CHECK(os_write(ends[1], big.data(), big.size(), os_error));
  reader.join();
  CHECK(got == big.size());
  close(ends[0]);
  close(ends[1]);
}

TEST_CASE("the next definition of a symbol is libc's") {
  void* const next = os_next_symbol("getpid");
  REQUIRE(next != nullptr);
  CHECK(std::string(os_file_of(next)).find("libc") != std::string::npos);
  CHECK(os_next_symbol("prof_no_such_symbol_at_all") == nullptr);
}

#endif
