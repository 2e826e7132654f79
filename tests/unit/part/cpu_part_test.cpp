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
#include <utility>
#include <vector>

#include "../process/own_process.hpp"
#include "../quiet.hpp"
#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::profile_request;
using prof::result;
using quiet_test::check_when_quiet;
using quiet_test::outside;

constexpr profile_row cpu_row{{"profile", 7}, {"of a test", 9}, 30};

// A collection of the CPU part, as collect/ makes it.
struct session {
  arena memory{os_pages};
  profile_request request;
  profile_run run{*enter_process(), cpu_row, request, memory, memory.allocate(prof_part_cpu_v2.run_bytes)};
  bool runs = false;

  result begin(std::uint32_t hz) {
    request.hz = hz;
    result begun = prof_part_cpu_v2.begin(run);
    runs = static_cast<bool>(begun);
    return begun;
  }
  void end() {
    if (runs) CHECK(prof_part_cpu_v2.end(run));
    runs = false;
  }
  void cancel() {
    prof_part_cpu_v2.cancel(run);
    runs = false;
  }
  const cpu_run& state() const { return *static_cast<const cpu_run*>(run.state); }
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

struct totals {
  std::int64_t samples = 0;
  std::int64_t nanoseconds = 0;
  std::int64_t period = 0;
};
totals totals_in(session& ended) {
  arena memory(os_pages);
  profile p(memory);
  prof_part_cpu_v2.fill(p, ended.run);
  totals sum;
  for (const profile_sample& sample : p.samples) {
    sum.samples += p.values_of(sample)[0];
    sum.nanoseconds += p.values_of(sample)[1];
  }
  sum.period = p.period;
  return sum;
}
std::int64_t nanoseconds_in(session& ended) { return totals_in(ended).nanoseconds; }

int sessions_running() {
  int count = 0;
  for (const std::uint32_t hz : cpu().session_hz) count += hz != 0 ? 1 : 0;
  return count;
}

void foreign_handler(int) {}

}  // namespace

TEST_CASE("rates above 10000 are refused") {
  for (const std::uint32_t hz : {10001u, ~0u}) {
    session s;
    const result refused = s.begin(hz);
    CHECK(refused.code() == error::bad_argument);
    CHECK(std::string(refused.message()).find("1 to 10000") != std::string::npos);
    CHECK(sessions_running() == 0);
  }
  CHECK(cpu().period_ns.load() == 0);
}

TEST_CASE("a session that does not say a rate has the process's, which stays within 1 to 10000") {
  process_state& process = *enter_process();
  const auto set_rate = prof_part_cpu_v2.set_rate;
  CHECK(set_rate(process, 250) == 100);
  for (const std::uint64_t refused : {std::uint64_t{0}, std::uint64_t{10001}, ~std::uint64_t{0}}) {
    CHECK(set_rate(process, refused) == 250);
  }
  session s;
  REQUIRE(s.begin(0));
  CHECK(s.state().hz == 250);
  CHECK(cpu().period_ns.load() == 4000000);
  CHECK(set_rate(process, 100) == 250);
  CHECK(cpu().period_ns.load() == 4000000);  // of later sessions only
  s.end();
  CHECK(totals_in(s).period == 4000000);
}

TEST_CASE("a session arms this thread, its end disarms it") {
  session s;
  REQUIRE(s.begin(100));
  CHECK(s.state().slot >= 0);
  CHECK(sessions_running() == 1);
  CHECK(cpu().period_ns.load() == 10000000);
  CHECK(cpu().timers.used() >= 1);
  CHECK(os_signal_handler(process_sig()->signal.number.load()) == os_own_signal_handler());
  s.end();
  CHECK(sessions_running() == 0);
  CHECK(cpu().period_ns.load() == 0);
  CHECK(cpu().timers.used() == 0);
  // The handler stays: a late tick must not meet the default action.
  CHECK(os_signal_handler(process_sig()->signal.number.load()) == os_own_signal_handler());
}

TEST_CASE("a session that is cancelled disarms its threads, too") {
  session s;
  REQUIRE(s.begin(100));
  s.cancel();
  CHECK(sessions_running() == 0);
  CHECK(cpu().period_ns.load() == 0);
  CHECK(cpu().timers.used() == 0);
  session next;
  CHECK(next.begin(100));
}

TEST_CASE("a fresh run belongs to no slot") {
  arena memory(os_pages);
  const cpu_run run(cpu(), memory);
  CHECK(run.slot == -1);
  CHECK(run.hz == 0);
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
  CHECK(sessions_running() == static_cast<int>(max_cpu_sessions));
  CHECK(cpu().period_ns.load() == 10000000);
  sessions[3]->end();
  CHECK(ninth.begin(100));
}

std::string totals_at(std::uint32_t hz) {
  session outer;
  session inner;
  REQUIRE(outer.begin(hz));
  const std::uint64_t before = thread_cpu_ns();
  spend_cpu(100000000);
  REQUIRE(inner.begin(100));
  spend_cpu(200000000);
  inner.end();
  const auto seen = static_cast<double>(nanoseconds_in(inner));
  spend_cpu(100000000);
  outer.end();
  const auto spent = static_cast<double>(thread_cpu_ns() - before);
  return outside("the outer session's share", static_cast<double>(nanoseconds_in(outer)) / spent, 0.85, 1.15) +
         outside("what the inner one saw", seen, 160e6, 250e6);
}

TEST_CASE("CPU time is measured at any rate, and by two sessions alike" * doctest::test_suite("needs quiet")) {
  for (const std::uint32_t hz : {100u, 1000u, 10000u}) {
    CAPTURE(hz);
    check_when_quiet("CPU time at any rate", [hz] { return totals_at(hz); });
  }
}

std::string time_of_two_sessions() {
  session slow;
  session fast;
  REQUIRE(slow.begin(100));
  REQUIRE(fast.begin(1000));
  spend_cpu(300000000);
  fast.end();
  slow.end();
  std::string off;
  for (session* const each : {&slow, &fast}) {
    const totals sum = totals_in(*each);
    CAPTURE(sum.period);
    CHECK(sum.period == 1000000000 / each->request.hz);
    CHECK(sum.samples * sum.period <= sum.nanoseconds);
    CHECK(sum.samples * sum.period > sum.nanoseconds - sum.period);
    off += outside("nanoseconds", static_cast<double>(sum.nanoseconds), 240e6, 400e6);
  }
  return off;
}

TEST_CASE("two sessions beside each other count samples at their own rates, each to one sample" *
          doctest::test_suite("needs quiet")) {
  check_when_quiet("two sessions beside each other", time_of_two_sessions);
}

std::string time_until_an_end() {
  session first;
  session second;
  REQUIRE(first.begin(1000));
  REQUIRE(second.begin(1000));
  spend_cpu(50000000);
  first.end();
  const std::int64_t at_end = nanoseconds_in(first);
  spend_cpu(50000000);
  second.end();
  CHECK(nanoseconds_in(first) == at_end);
  CHECK(nanoseconds_in(second) > at_end);
  return outside("the first session's time", static_cast<double>(at_end), 30e6, 1e9);
}

TEST_CASE("a session shows what was counted until it ended" * doctest::test_suite("needs quiet")) {
  check_when_quiet("a session's end", time_until_an_end);
}

TEST_CASE("a wanted signal that is taken is an error that names it") {
  process_state& process = *enter_process();
  const int signal_before = process_sig()->signal.number.exchange(0);
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
  CHECK(process_sig()->signal.number.load() == os_candidate_signal(2));
  s.end();
  process.wanted_signal.store(wanted_before);
  process_sig()->signal.number.store(signal_before);
}

TEST_CASE("a handler that the host replaced meanwhile moves us to another signal") {
  session first;
  REQUIRE(first.begin(100));
  first.end();
  const int before = process_sig()->signal.number.load();
  struct sigaction ours;
  struct sigaction foreign;
  std::memset(&foreign, 0, sizeof foreign);
  foreign.sa_handler = &foreign_handler;
  REQUIRE(sigaction(before, &foreign, &ours) == 0);
  session second;
  REQUIRE(second.begin(100));
  CHECK(process_sig()->signal.number.load() != before);
  struct sigaction now;
  sigaction(before, nullptr, &now);
  CHECK(static_cast<bool>(now.sa_handler == &foreign_handler));
  second.end();
  signal(process_sig()->signal.number.load(), SIG_DFL);
  sigaction(before, &ours, nullptr);
  process_sig()->signal.number.store(before);
}

namespace {

// A thread that the hook is not told of, neither when it starts nor when it ends.
class unseen_thread {
 public:
  unseen_thread() {
    if (!is_resolved_sig(thread_hooks())) REQUIRE(resolve_slow_sig(thread_hooks()));
    REQUIRE(pthread_create_entry::call_next(&thread_, nullptr, &run, this) == 0);
    while (id_.load() == 0) os_yield();
  }
  ~unseen_thread() { end(); }
  unseen_thread(const unseen_thread&) = delete;
  unseen_thread& operator=(const unseen_thread&) = delete;

  std::uint32_t id() const { return id_.load(); }
  bool armed() const { return cpu().timers.find_sig(thread_key_base + id()) != no_slot; }
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
  const std::size_t before = cpu().timers.used();
  unseen_thread thread;
  CHECK_FALSE(thread.armed());
  session second;
  REQUIRE(second.begin(100));
  CHECK(cpu().period_ns.load() == 10000000);
  CHECK(thread.armed());
  CHECK(cpu().timers.used() == before + 1);

  thread.end();
  CHECK(thread.armed());  // nobody was told
  session third;
  REQUIRE(third.begin(100));
  CHECK_FALSE(thread.armed());
  CHECK(cpu().timers.used() == before);
  CHECK(nanoseconds_in(third) >= 0);
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
  std::vector<int> timers;  // which a child would not have
  for_each_armed(cpu(), [&](std::size_t index) { timers.push_back(cpu().timers.at(index).timer.load()); });
  const std::uint32_t me = process.pid.exchange(1);  // as if this were the child of process 1
  CHECK(enter_process() == &process);
  for (const int timer : timers) os_timer_delete_sig(timer);
  CHECK_FALSE(timers.empty());
  CHECK(process.pid.load() == me);
  CHECK(cpu().pid.load() == me);
  CHECK(cpu().period_ns.load() == 0);
  CHECK(highest_hz(cpu()) == 0);
  CHECK(cpu().timers.used() == 0);
  s.runs = false;
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
  CHECK(cpu().timers.used() == 0);
}

// ---- the descriptor -------------------------------------------------------------------------------------------

TEST_CASE("the part brings one profile, which takes 30 s") {
  struct {
    int count = 0;
    std::string name;
    unsigned seconds = 0;
    bool plain = false;
  } seen;
  prof_part_cpu_v2.visit_rows(*enter_process(), {[](void* context, const profile_row& row) {
                                                   auto& to = *static_cast<decltype(seen)*>(context);
                                                   ++to.count;
                                                   to.name = std::string(row.name.data, row.name.size);
                                                   to.seconds = row.default_seconds;
                                                   to.plain = row.write_text == nullptr && row.hides == nullptr;
                                                 },
                                                 &seen});
  CHECK(seen.count == 1);
  CHECK(seen.name == "profile");
  CHECK(seen.seconds == 30);
  CHECK(seen.plain);
}

TEST_CASE("the state of the sampler is reported, running and at rest") {
  const auto report = [] {
    std::vector<std::pair<std::string, std::uint64_t>> rows;
    prof_part_cpu_v2.report(*enter_process(), {[](void* context, const status_value& row) {
                                                 const std::string text = row.text == nullptr ? "" : row.text;
                                                 static_cast<decltype(rows)*>(context)->emplace_back(
                                                     row.name + (text.empty() ? "" : ": " + text), row.number);
                                               },
                                               &rows});
    return rows;
  };
  const auto number = [&](const char* name) {
    for (const auto& row : report()) {
      if (row.first == name) return static_cast<std::int64_t>(row.second);
    }
    return std::int64_t{-1};
  };
  CHECK(number("cpu profile: off") == 0);
  CHECK(number("cpu rate (Hz)") == 0);
  session s;
  REQUIRE(s.begin(200));
  CHECK(number("cpu profile: running") == 0);
  CHECK(number("cpu rate (Hz)") == 200);
  CHECK(number("cpu signal") == process_sig()->signal.number.load());
  CHECK(number("threads with a timer") >= 1);
}

TEST_CASE("without memory a session is refused, and no rate is kept") {
  static bool refuses;
  const own_process own;
  arena memory(os_pages);
  const profile_request request;
  profile_run run{*own.state, cpu_row, request, memory, memory.allocate(prof_part_cpu_v2.run_bytes)};
  own.state->memory.map_sig = [](std::size_t size) noexcept { return refuses ? nullptr : os_map_in_steps_sig(size); };
  refuses = true;
  CHECK(prof_part_cpu_v2.begin(run).code() == error::out_of_memory);
  CHECK(prof_part_cpu_v2.set_rate(*own.state, 250) == 0);
  refuses = false;
  CHECK(prof_part_cpu_v2.set_rate(*own.state, 250) == 100);
}

#endif
