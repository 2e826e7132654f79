// tests/unit/part/cpu_part_test.cpp - sessions share timers at the highest rate; the signal is
// chosen with care.

#include "prof/part/cpu_part.hpp"

#include <doctest/doctest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::result;

struct session {
  arena memory{os_pages};
  cpu_run run{memory};
  result begin(std::uint32_t hz) {
    run.hz = hz;
    return begin_cpu(*enter_process(), run);
  }
  void end() { end_cpu(*enter_process(), run); }
  ~session() { end(); }
};

cpu_state& cpu() { return *cpu_of(*enter_process()); }

std::uint64_t thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

void spend_cpu(std::uint64_t ns) {
  std::atomic<unsigned> work{0};
  for (const std::uint64_t end = thread_cpu_ns() + ns; thread_cpu_ns() < end;) {
    for (int i = 0; i < 1000; ++i) work.fetch_add(1);
  }
}

std::int64_t nanoseconds_in(const cpu_run& run) {
  arena memory(os_pages);
  profile p(memory);
  fill_cpu(p, *enter_process(), run);
  std::int64_t sum = 0;
  for (const profile_sample& sample : p.samples) sum += p.values_of(sample)[1];
  return sum;
}

void foreign_handler(int) {}

}  // namespace

TEST_CASE("rates outside 1 to 10000 are refused") {
  for (const std::uint32_t hz : {0u, 10001u, ~0u}) {
    session s;
    const result refused = s.begin(hz);
    CHECK(refused.code() == error::bad_argument);
    CHECK(std::string(refused.message()).find("1 to 10000") != std::string::npos);
    CHECK(s.run.slot == -1);
  }
  CHECK(cpu().period_ns.load() == 0);
}

TEST_CASE("a session arms this thread, its end disarms it") {
  session s;
  REQUIRE(s.begin(100));
  CHECK(s.run.slot >= 0);
  CHECK(cpu().period_ns.load() == 10000000);
  CHECK(cpu().threads.used() >= 1);
  CHECK(os_signal_handler(cpu().signal.load()) == os_own_signal_handler());
  s.end();
  CHECK(s.run.slot == -1);
  CHECK(cpu().period_ns.load() == 0);
  CHECK(cpu().threads.used() == 0);
  CHECK(s.run.ended >= s.run.started);
  s.end();  // harmless
  // The handler stays: a late tick must not meet the default action.
  CHECK(os_signal_handler(cpu().signal.load()) == os_own_signal_handler());
}

TEST_CASE("the timers run at the highest rate that any session wants") {
  session slow;
  session fast;
  REQUIRE(slow.begin(100));
  CHECK(cpu().period_ns.load() == 10000000);
  REQUIRE(fast.begin(1000));
  CHECK(cpu().period_ns.load() == 1000000);
  CHECK(highest_hz(cpu()) == 1000);
  fast.end();
  CHECK(cpu().period_ns.load() == 10000000);
  slow.end();
  CHECK(cpu().period_ns.load() == 0);
}

TEST_CASE("eight sessions run, the ninth is refused and disturbs nobody") {
  std::vector<std::unique_ptr<session>> sessions;
  for (std::size_t i = 0; i < max_cpu_sessions; ++i) {
    sessions.push_back(std::make_unique<session>());
    REQUIRE(sessions.back()->begin(100));
  }
  session ninth;
  CHECK(ninth.begin(100).code() == error::too_many_sessions);
  CHECK(ninth.run.slot == -1);
  ninth.end();
  CHECK(cpu().period_ns.load() == 10000000);
  sessions[3]->end();
  CHECK(ninth.begin(100));
}

TEST_CASE("CPU time is measured at any rate, and by two sessions alike") {
  for (const std::uint32_t hz : {100u, 1000u, 10000u}) {
    CAPTURE(hz);
    session outer;
    session inner;
    REQUIRE(outer.begin(hz));
    const std::uint64_t before = thread_cpu_ns();
    spend_cpu(100000000);
    REQUIRE(inner.begin(100));
    spend_cpu(200000000);
    inner.end();
    const std::int64_t seen = nanoseconds_in(inner.run);  // at once: it counts until it is filled
    spend_cpu(100000000);
    outer.end();
    const auto spent = static_cast<double>(thread_cpu_ns() - before);
    CHECK(static_cast<double>(nanoseconds_in(outer.run)) > spent * 0.85);
    CHECK(static_cast<double>(nanoseconds_in(outer.run)) < spent * 1.15);
    CHECK(seen > 160000000);
    CHECK(seen < 250000000);
  }
}

TEST_CASE("a free or own signal is usable, a foreign handler is left alone") {
  const cpu_state& state = cpu();
  const int other = os_candidate_signal(2);
  CHECK(choose_signal(state, 0) == os_default_signal());
  CHECK(choose_signal(state, other) == other);
  struct sigaction before;
  struct sigaction foreign;
  std::memset(&foreign, 0, sizeof foreign);
  foreign.sa_handler = &foreign_handler;
  REQUIRE(sigaction(other, &foreign, nullptr) == 0);
  CHECK(choose_signal(state, other) == 0);
  REQUIRE(sigaction(SIGPROF, &foreign, &before) == 0);
  CHECK(choose_signal(state, 0) == os_candidate_signal(0));
  CHECK(choose_signal(state, SIGPROF) == 0);
  sigaction(SIGPROF, &before, nullptr);
  signal(other, SIG_DFL);
}

TEST_CASE("a wanted signal that is taken is an error that names it") {
  process_state& process = *enter_process();
  const int signal_before = cpu().signal.exchange(0);
  const int wanted_before = process.wanted_signal.exchange(os_candidate_signal(2));
  struct sigaction foreign;
  std::memset(&foreign, 0, sizeof foreign);
  foreign.sa_handler = &foreign_handler;
  sigaction(os_candidate_signal(2), &foreign, nullptr);
  session s;
  const result refused = s.begin(100);
  CHECK(refused.code() == error::signal_in_use);
  CHECK(std::string(refused.message()).find("a real-time signal") != std::string::npos);
  signal(os_candidate_signal(2), SIG_DFL);
  CHECK(s.begin(100));
  CHECK(cpu().signal.load() == os_candidate_signal(2));
  s.end();
  process.wanted_signal.store(wanted_before);
  cpu().signal.store(signal_before);
}

TEST_CASE("a handler that the host replaced meanwhile moves us to another signal") {
  session first;
  REQUIRE(first.begin(100));
  first.end();
  const int before = cpu().signal.load();
  struct sigaction ours;
  struct sigaction foreign;
  std::memset(&foreign, 0, sizeof foreign);
  foreign.sa_handler = &foreign_handler;
  REQUIRE(sigaction(before, &foreign, &ours) == 0);
  session second;
  REQUIRE(second.begin(100));
  CHECK(cpu().signal.load() != before);
  struct sigaction now;
  sigaction(before, nullptr, &now);
  CHECK(static_cast<bool>(now.sa_handler == &foreign_handler));
  second.end();
  signal(cpu().signal.load(), SIG_DFL);
  sigaction(before, &ours, nullptr);
  cpu().signal.store(before);
}

namespace {

// A thread that the hook is not told of, neither when it starts nor when it ends.
class unseen_thread {
 public:
  unseen_thread() {
    REQUIRE(find_pthread_create()(&thread_, nullptr, &run, this) == 0);
    while (id_.load() == 0) os_yield();
  }
  ~unseen_thread() { end(); }
  unseen_thread(const unseen_thread&) = delete;
  unseen_thread& operator=(const unseen_thread&) = delete;

  std::uint32_t id() const { return id_.load(); }
  bool armed() const { return cpu().threads.find_sig(thread_key_base + id()) != no_slot; }
  void end() {
    if (stop_.exchange(true)) return;
    pthread_join(thread_, nullptr);
    // Joined is not gone: the kernel wakes the joiner first.
    const auto gone = [this] {
      return syscall(SYS_tgkill, getpid(), static_cast<pid_t>(id()), 0) != 0;
    };
    for (int i = 0; i < 1000 && !gone(); ++i) os_sleep_ns(1000000);
  }

 private:
  static void* run(void* context) {
    auto& self = *static_cast<unseen_thread*>(context);
    self.id_.store(os_thread_id_sig());
    while (!self.stop_.load()) os_sleep_ns(1000000);
    return nullptr;
  }

  pthread_t thread_{};
  std::atomic<std::uint32_t> id_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace

TEST_CASE("a session at the rate that is running finds the threads that came and went") {
  session first;
  REQUIRE(first.begin(100));
  const std::size_t before = cpu().threads.used();
  unseen_thread thread;
  CHECK_FALSE(thread.armed());
  session second;
  REQUIRE(second.begin(100));
  CHECK(cpu().period_ns.load() == 10000000);
  CHECK(thread.armed());
  CHECK(cpu().threads.used() == before + 1);

  thread.end();
  CHECK(thread.armed());  // nobody was told
  session third;
  REQUIRE(third.begin(100));
  CHECK_FALSE(thread.armed());
  CHECK(cpu().threads.used() == before);
  CHECK(nanoseconds_in(third.run) >= 0);
}

TEST_CASE("a session that ends tidies up too") {
  session first;
  session second;
  REQUIRE(first.begin(100));
  unseen_thread thread;
  REQUIRE(second.begin(100));
  REQUIRE(thread.armed());
  thread.end();
  second.end();
  CHECK_FALSE(thread.armed());
}

TEST_CASE("a child forgets the timers and sessions of its parent") {
  process_state& process = *enter_process();
  session s;
  REQUIRE(s.begin(100));
  const std::uint32_t me = process.pid.exchange(1);  // as if this were the child of process 1
  CHECK(enter_process() == &process);
  CHECK(process.pid.load() == me);
  CHECK(cpu().pid.load() == me);
  CHECK(cpu().period_ns.load() == 0);
  CHECK(highest_hz(cpu()) == 0);
  CHECK(cpu().threads.used() == 0);
  session fresh;
  CHECK(fresh.begin(100));
  fresh.end();
}

TEST_CASE("sessions that start and end on many threads at once leave nothing behind") {
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&wrong, t] {
      for (int i = 0; i < 50; ++i) {
        session s;
        if (!s.begin(static_cast<std::uint32_t>(100 + 100 * t))) ++wrong;
        s.end();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  CHECK(cpu().period_ns.load() == 0);
  CHECK(cpu().threads.used() == 0);
}

#endif
