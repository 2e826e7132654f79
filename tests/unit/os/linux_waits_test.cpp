// tests/unit/os/linux_waits_test.cpp - calls that stand in for libc's wait as long, answer the same and can be cancelled.

#include "prof/os/linux_waits.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <thread>

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

namespace {

using namespace prof::detail;

constexpr std::uint64_t ms = 1000000;

class pipe_ends {
 public:
  explicit pipe_ends(int flags = 0) { REQUIRE(pipe2(ends_, flags) == 0); }
  ~pipe_ends() {
    close(ends_[0]);
    close(ends_[1]);
  }
  pipe_ends(const pipe_ends&) = delete;
  pipe_ends& operator=(const pipe_ends&) = delete;
  int to_read() const { return ends_[0]; }
  void fill() const { CHECK(write(ends_[1], "x", 1) == 1); }

 private:
  int ends_[2];
};

std::uint64_t time_of(void (*act)()) {
  const std::uint64_t began = os_monotonic_ns_sig();
  act();
  return os_monotonic_ns_sig() - began;
}

std::atomic<bool> g_was_cancelled{false};
std::atomic<bool> g_is_there{false};
void note_cancelled(void*) { g_was_cancelled.store(true); }
void* wait_for_ever(void*) {
  pthread_cleanup_push(&note_cancelled, nullptr);
  g_is_there.store(true);
  (void)os_wait_poll(nullptr, 0, -1);
  pthread_cleanup_pop(0);
  return nullptr;
}

}  // namespace

TEST_CASE("reading would wait where nothing is there and the descriptor may not say so") {
  errno = 77;
  const pipe_ends empty;
  CHECK(os_would_wait_sig(empty.to_read()));
  empty.fill();
  CHECK_FALSE(os_would_wait_sig(empty.to_read()));
  const pipe_ends impatient(O_NONBLOCK);
  CHECK_FALSE(os_would_wait_sig(impatient.to_read()));
  CHECK_FALSE(os_would_wait_sig(-1));
  CHECK(errno == 77);
  const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  CHECK_FALSE(os_would_wait_sig(file));
  close(file);
}

TEST_CASE("polls wait for their time, and no longer than until something is there") {
  const timespec some = os_timespec(20 * ms);
  CHECK(time_of([] { CHECK(os_wait_poll(nullptr, 0, 20) == 0); }) >= 20 * ms);
  CHECK(os_wait_poll(nullptr, 0, &some, nullptr) == 0);
  CHECK(some.tv_nsec == static_cast<long>(20 * ms));  // the kernel writes what is left elsewhere
  const pipe_ends filled;
  filled.fill();
  pollfd asked{filled.to_read(), POLLIN, 0};
  CHECK(os_wait_poll(&asked, 1, -1) == 1);
  CHECK(asked.revents == POLLIN);
}

TEST_CASE("select says what is there and what is left of its time") {
  const pipe_ends filled;
  fd_set set;
  FD_ZERO(&set);
  FD_SET(filled.to_read(), &set);
  timeval time{0, 20000};
  CHECK(os_wait_select(filled.to_read() + 1, &set, nullptr, nullptr, &time) == 0);
  CHECK(time.tv_sec == 0);
  CHECK(time.tv_usec == 0);
  CHECK_FALSE(FD_ISSET(filled.to_read(), &set));
  filled.fill();
  FD_SET(filled.to_read(), &set);
  time = {100, 1500000};  // more than a second of microseconds
  CHECK(os_wait_select(filled.to_read() + 1, &set, nullptr, nullptr, &time) == 1);
  CHECK(time.tv_sec >= 90);
  CHECK(FD_ISSET(filled.to_read(), &set));
  FD_SET(filled.to_read(), &set);
  CHECK(os_wait_select(filled.to_read() + 1, &set, nullptr, nullptr, nullptr) == 1);
}

TEST_CASE("clocks are waited for, and what is wrong is said without errno") {
  errno = 77;
  CHECK(time_of([] {
          const timespec time = os_timespec(20 * ms);
          CHECK(os_wait_clock(CLOCK_MONOTONIC, 0, &time, nullptr) == 0);
        }) >= 20 * ms);
  const timespec wrong{0, 1000000000};
  CHECK(os_wait_clock(CLOCK_MONOTONIC, 0, &wrong, nullptr) == EINVAL);
  CHECK(errno == 77);
}

TEST_CASE("a thread can be cancelled in such a call, and keeps its way of being cancelled") {
  int type = -1;
  CHECK(os_cancellable_call(SYS_getppid, 0, 0, 0) > 0);
  pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &type);
  CHECK(type == PTHREAD_CANCEL_DEFERRED);
  pthread_t thread;
  REQUIRE(pthread_create(&thread, nullptr, &wait_for_ever, nullptr) == 0);
  while (!g_is_there.load()) os_yield();
  os_sleep_ns(5 * ms);
  CHECK(pthread_cancel(thread) == 0);
  void* answer = nullptr;
  pthread_join(thread, &answer);
  CHECK(static_cast<bool>(answer == PTHREAD_CANCELED));
  CHECK(g_was_cancelled.load());
}

#endif
