// tests/unit/hook/wait_test.cpp - who waits for a semaphore, at a barrier, for pthread_once or at a futex is seen while it
// does and counted once; all other system calls pass through.

#include "prof/hook/wait.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <future>
#include <initializer_list>
#include <string>
#include <thread>

#include "prof/api.hpp"
#include "../waits.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

namespace {

using namespace waits_test;

timespec from_now(clockid_t clock, std::uint64_t ns) { return os_timespec(os_clock_ns_sig(clock) + ns); }

// Within bounds that hold on any machine: what the clock said around both ends.
void check_between(std::uint64_t ns, std::uint64_t least, std::uint64_t most) {
  CHECK(ns >= least);
  CHECK(ns <= most);
}

// ---- semaphores ----------------------------------------------------------------------------------------------------

struct made_semaphore {
  os_semaphore semaphore;
  explicit made_semaphore(unsigned value) { REQUIRE(sem_init(&semaphore, 0, value) == 0); }
  ~made_semaphore() { sem_destroy(&semaphore); }
  made_semaphore(const made_semaphore&) = delete;
  made_semaphore& operator=(const made_semaphore&) = delete;
};

struct semaphore_call {
  const char* name;
  bool has_time;
  int (*call)(os_semaphore& semaphore, std::uint64_t ns);
};
constexpr semaphore_call semaphore_calls[] = {
    {"sem_wait", false, [](os_semaphore& s, std::uint64_t) { return sem_wait(&s); }},
    {"sem_timedwait", true,
     [](os_semaphore& s, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_REALTIME, ns);
       return sem_timedwait(&s, &until);
     }},
    {"sem_clockwait", true, [](os_semaphore& s, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_MONOTONIC, ns);
       return sem_clockwait(&s, CLOCK_MONOTONIC, &until);
     }}};

// A handler that does nothing, or leaves what it interrupts.
sigjmp_buf g_way_out;
class handler {
 public:
  explicit handler(void (*function)(int)) {
    struct sigaction wanted = {};
    wanted.sa_handler = function;
    REQUIRE(sigaction(SIGUSR2, &wanted, &before_) == 0);
  }
  ~handler() { sigaction(SIGUSR2, &before_, nullptr); }
  handler(const handler&) = delete;
  handler& operator=(const handler&) = delete;

 private:
  struct sigaction before_ = {};
};
// What the wait answers, or `left`, if the handler left it.
constexpr int left = -2;
struct wanted_semaphore {
  os_semaphore* semaphore;
  std::uint64_t ns;
};
__attribute__((noinline)) int answer_unless_left(const wanted_semaphore& wanted) {
  if (sigsetjmp(g_way_out, 1) != 0) return left;
  return semaphore_calls[1].call(*wanted.semaphore, wanted.ns);
}

// ---- futexes -------------------------------------------------------------------------------------------------------

long futex(std::atomic<int>& word, long operation, long value, const timespec* until = nullptr) {
  return syscall(SYS_futex, &word, operation, value, until, nullptr, 0);
}

bool goes_straight_on(int entry) {
  return load_word_sig(wait_hooks(), entry, word_route) == load_word_sig(wait_hooks(), entry, word_next);
}
bool is_counting(int entry) {
  return load_word_sig(wait_hooks(), entry, word_route) == function_of_sig(wait_hooks(), entry, function_counting);
}

}  // namespace

// ---- routes --------------------------------------------------------------------------------------------------------

TEST_CASE("the hooks of other waits are live, and the next definition of each is libc's") {
  const block_rate off(0);
  CHECK(syscall(SYS_gettid) == static_cast<long>(os_thread_id_sig()));
  const prof::status_report report = prof::status();
  int live = 0;
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    for (const hook_record& record : wait_records) {
      if (std::string(report.hooks[i].name) != record.name) continue;
      CAPTURE(std::string(record.name));
      CHECK(std::string(report.hooks[i].state) == "live");
      ++live;
    }
  }
  CHECK(live == wait_entry_count);
  CHECK(owner_of_sig(all(), static_cast<unsigned>(hook_family::wait)) == &prof_hooks_wait_v2);
  CHECK(counts_here_sig(wait_hooks()));
  for (int entry = 0; entry < wait_entry_count; ++entry) {
    CAPTURE(std::string(wait_records[entry].name));
    const any_function next = load_word_sig(wait_hooks(), entry, word_next);
    CHECK(static_cast<bool>(next == reinterpret_cast<any_function>(os_next_symbol(wait_records[entry].name))));
    CHECK(static_cast<bool>(next != load_function_sig(wait_facts_of_entries[entry].hook)));
  }
}

TEST_CASE("entries of other waits count while the block profile is on, whatever the mutex profile") {
  const block_rate off(0);
  (void)syscall(SYS_gettid);
  const unsigned fraction = prof::set_mutex_profile_fraction(1);
  for (int entry = 0; entry < wait_entry_count; ++entry) {
    CAPTURE(std::string(wait_records[entry].name));
    CHECK(goes_straight_on(entry));
    CHECK_FALSE(is_counting(entry));
  }
  prof::set_mutex_profile_fraction(0);
  for (int entry = 0; entry < wait_entry_count; ++entry) {
    CAPTURE(std::string(wait_records[entry].name));
    CHECK(goes_straight_on(entry));
    {
      const block_rate on(1000);
      CHECK(is_counting(entry));
      CHECK_FALSE(goes_straight_on(entry));
    }
    CHECK(goes_straight_on(entry));
  }
  prof::set_mutex_profile_fraction(fraction);
}

// ---- semaphores ----------------------------------------------------------------------------------------------------

TEST_CASE("who waits for a semaphore is seen while it does, and counted once") {
  const block_rate on(1);
  for (const semaphore_call& one : semaphore_calls) {
    CAPTURE(std::string(one.name));
    const counted since(wait_kind::semaphore);
    made_semaphore s(0);
    int answer = -1;
    int kept_errno = 0;
    worker waiting([&] {
      errno = 77;
      answer = one.call(s.semaphore, long_enough);
      kept_errno = errno;
    });
    const wait_facts facts = wait_of(waiting.id());
    CHECK(facts.thread == waiting.id());
    CHECK(facts.kind == wait_kind::semaphore);
    CHECK(facts.object == address_of(&s.semaphore));
    CHECK(facts.rate_ns == 1);
    CHECK(facts.lock == 0);
    CHECK(facts.stack != overflow_stack);
    os_sleep_ns(10 * ms);
    CHECK(since.blocked().count == 0);
    const std::uint64_t posted = now();
    CHECK(sem_post(&s.semaphore) == 0);
    waiting.join();
    CHECK(answer == 0);
    CHECK(kept_errno == 77);
    CHECK(since.blocked().count == one_wait);
    check_between(since.blocked().ns, posted - facts.began_ns, now() - facts.began_ns);
    CHECK(wait_now(waiting.id()).thread == 0);
  }
}

TEST_CASE("taking an open semaphore is no wait") {
  const block_rate on(1);
  const counted since(wait_kind::semaphore);
  made_semaphore s(3);
  for (const semaphore_call& one : semaphore_calls) {
    CAPTURE(std::string(one.name));
    CHECK(one.call(s.semaphore, 0) == 0);
  }
  CHECK(sem_trywait(&s.semaphore) == -1);
  CHECK(since.blocked().count == 0);
  CHECK(wait_now(os_thread_id_sig()).thread == 0);
}

TEST_CASE("a wait for a semaphore that ends at its time is counted and says so by errno") {
  for (const std::uint64_t rate : {0u, 1u}) {
    const block_rate on(rate);
    for (const semaphore_call& one : semaphore_calls) {
      if (!one.has_time) continue;
      CAPTURE(std::string(one.name));
      const counted since(wait_kind::semaphore);
      made_semaphore s(0);
      const std::uint64_t began = now();
      errno = 77;
      const int answer = one.call(s.semaphore, 15 * ms);
      const int failed = errno;
      CHECK(answer == -1);
      CHECK(failed == ETIMEDOUT);
      CHECK(since.blocked().count == rate * one_wait);
      check_between(since.blocked().ns, rate * 5 * ms, now() - began);
      CHECK(wait_now(os_thread_id_sig()).thread == 0);
    }
  }
}

TEST_CASE("wrong arguments are refused as libc does it") {
  for (const std::uint64_t rate : {0u, 1u}) {
    const block_rate on(rate);
    made_semaphore s(0);
    timespec wrong = from_now(CLOCK_REALTIME, long_enough);
    wrong.tv_nsec = 1000000000;
    errno = 77;
    const int answer = sem_timedwait(&s.semaphore, &wrong);
    const int failed = errno;
    CHECK(answer == -1);
    CHECK(failed == EINVAL);
    errno = 77;
    const int of_clock = sem_clockwait(&s.semaphore, 12345, &wrong);
    const int clock_failed = errno;
    CHECK(of_clock == -1);
    CHECK(clock_failed == EINVAL);
    CHECK(wait_now(os_thread_id_sig()).thread == 0);
  }
}

TEST_CASE("a wait that a signal's handler ends is counted and says so by errno") {
  const block_rate on(1);
  const handler nothing([](int) {});
  const counted since(wait_kind::semaphore);
  made_semaphore s(0);
  std::atomic<int> answer{1};
  int failed = 0;
  worker waiting([&] {
    const int ended = sem_wait(&s.semaphore);
    failed = errno;
    answer.store(ended);
  });
  REQUIRE(wait_of(waiting.id()).kind == wait_kind::semaphore);
  CHECK(becomes([&] {
    pthread_kill(waiting.handle(), SIGUSR2);
    return answer.load() != 1;
  }));
  waiting.join();
  CHECK(answer.load() == -1);
  CHECK(failed == EINTR);
  CHECK(since.blocked().count == one_wait);
  CHECK(wait_now(waiting.id()).thread == 0);
}

TEST_CASE("a thread that is cancelled while it waits for a semaphore leaves nothing behind") {
  const block_rate on(1);
  for (const semaphore_call& one : semaphore_calls) {
    CAPTURE(std::string(one.name));
    const counted since(wait_kind::semaphore);
    made_semaphore s(0);
    std::atomic<bool> came_back{false};
    worker waiting([&] {
      (void)one.call(s.semaphore, long_enough);
      came_back.store(true);
    });
    REQUIRE(wait_of(waiting.id()).kind == wait_kind::semaphore);
    REQUIRE(pthread_cancel(waiting.handle()) == 0);
    waiting.join();
    CHECK_FALSE(came_back.load());
    CHECK(wait_now(waiting.id()).thread == 0);
    CHECK(since.blocked().count == one_wait);
    CHECK(*os_semaphore_word_sig(s.semaphore) == 0);
  }
}

TEST_CASE("a wait for a semaphore that longjmp leaves is taken back by the thread's next wait") {
  const block_rate on(1);
  const handler leaving([](int) { siglongjmp(g_way_out, 1); });
  const counted since(wait_kind::semaphore);
  made_semaphore s(0);
  made_semaphore other(0);
  std::atomic<int> step{0};
  int first = 0;
  int later = 0;
  worker waiting([&] {
    first = answer_unless_left({&s.semaphore, long_enough});
    step.store(1);
    (void)becomes([&step] { return step.load() == 2; });
    later = answer_unless_left({&other.semaphore, 5 * ms});
    step.store(3);
    (void)becomes([&step] { return step.load() == 4; });
  });
  REQUIRE(wait_of(waiting.id()).object == address_of(&s.semaphore));
  pthread_kill(waiting.handle(), SIGUSR2);
  REQUIRE(becomes([&step] { return step.load() == 1; }));
  CHECK(first == left);
  CHECK(wait_now(waiting.id()).object == address_of(&s.semaphore));
  step.store(2);
  REQUIRE(becomes([&step] { return step.load() == 3; }));
  CHECK(later == -1);
  CHECK(wait_now(waiting.id()).thread == 0);
  CHECK(since.blocked().count == one_wait);  // the one that was not left
  step.store(4);
}

// ---- barriers ------------------------------------------------------------------------------------------------------

TEST_CASE("who waits at a barrier is seen while it does, and one of all is told that it is the last") {
  const block_rate on(1);
  const counted since(wait_kind::barrier);
  os_barrier barrier;
  REQUIRE(pthread_barrier_init(&barrier, nullptr, 3) == 0);
  int answers[3] = {-1, -1, -1};
  int kept_errno = 0;
  worker first([&] { answers[0] = pthread_barrier_wait(&barrier); });
  const wait_facts first_wait = wait_of(first.id());
  CHECK(first_wait.thread == first.id());
  CHECK(first_wait.kind == wait_kind::barrier);
  CHECK(first_wait.object == address_of(&barrier));
  worker second([&] { answers[1] = pthread_barrier_wait(&barrier); });
  const wait_facts second_wait = wait_of(second.id());
  CHECK(second_wait.object == address_of(&barrier));
  os_sleep_ns(10 * ms);
  CHECK(since.blocked().count == 0);
  const std::uint64_t came = now();
  errno = 77;
  answers[2] = pthread_barrier_wait(&barrier);
  kept_errno = errno;
  first.join();
  second.join();
  const std::uint64_t end = now();
  CHECK(kept_errno == 77);
  int last = 0;
  for (const int answer : answers) {
    CHECK((answer == 0 || answer == PTHREAD_BARRIER_SERIAL_THREAD));
    last += answer == PTHREAD_BARRIER_SERIAL_THREAD ? 1 : 0;
  }
  CHECK(last == 1);
  CHECK(since.blocked().count == 2 * one_wait);
  check_between(since.blocked().ns, 2 * came - first_wait.began_ns - second_wait.began_ns,
                2 * end - first_wait.began_ns - second_wait.began_ns);
  CHECK(wait_now(first.id()).thread == 0);
  CHECK(wait_now(second.id()).thread == 0);
  CHECK(wait_now(os_thread_id_sig()).thread == 0);
  pthread_barrier_destroy(&barrier);
}

TEST_CASE("who comes last to a barrier has not waited") {
  const block_rate on(1);
  const counted since(wait_kind::barrier);
  os_barrier barrier;
  REQUIRE(pthread_barrier_init(&barrier, nullptr, 1) == 0);
  CHECK(pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD);
  pthread_barrier_destroy(&barrier);
  CHECK(since.blocked().count == 0);
}

// ---- once ----------------------------------------------------------------------------------------------------------

namespace {

// What the function of a pthread_once does, told from outside.
struct slow_function {
  std::atomic<int> runs{0};
  std::atomic<bool> may_end{false};
  std::atomic<int> throws{0};  // so many times
};
slow_function g_function;
void run_slowly() {
  ++g_function.runs;
  (void)becomes([] { return g_function.may_end.load(); });
#if defined(__cpp_exceptions)
  if (g_function.throws.fetch_sub(1) > 0) throw 5;
#endif
}
void reset_function() {
  g_function.runs.store(0);
  g_function.may_end.store(false);
  g_function.throws.store(0);
}

}  // namespace

TEST_CASE("who comes while the function of pthread_once runs waits, who runs it does not") {
  const block_rate on(1);
  const counted since(wait_kind::once);
  reset_function();
  static os_once once = PTHREAD_ONCE_INIT;
  int answers[2] = {-1, -1};
  int kept_errno = 0;
  worker runs([&] { answers[0] = pthread_once(&once, &run_slowly); });
  REQUIRE(becomes([] { return g_function.runs.load() == 1; }));
  CHECK(wait_now(runs.id()).thread == 0);
  worker waiting([&] {
    errno = 77;
    answers[1] = pthread_once(&once, &run_slowly);
    kept_errno = errno;
  });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.thread == waiting.id());
  CHECK(facts.kind == wait_kind::once);
  CHECK(facts.object == address_of(&once));
  os_sleep_ns(10 * ms);
  const std::uint64_t ends = now();
  g_function.may_end.store(true);
  runs.join();
  waiting.join();
  CHECK(answers[0] == 0);
  CHECK(answers[1] == 0);
  CHECK(kept_errno == 77);
  CHECK(g_function.runs.load() == 1);
  CHECK(since.blocked().count == one_wait);
  check_between(since.blocked().ns, ends - facts.began_ns, now() - facts.began_ns);
  CHECK(wait_now(waiting.id()).thread == 0);
  CHECK(pthread_once(&once, &run_slowly) == 0);
  CHECK(g_function.runs.load() == 1);
  CHECK(since.blocked().count == one_wait);
}

#if defined(__cpp_exceptions)
TEST_CASE("exceptions of the function of pthread_once pass through") {
  for (const std::uint64_t rate : {0u, 1u}) {
    const block_rate on(rate);
    reset_function();
    g_function.may_end.store(true);
    g_function.throws.store(1);
    os_once once = PTHREAD_ONCE_INIT;
    CHECK_THROWS_AS(pthread_once(&once, &run_slowly), int);
    CHECK(pthread_once(&once, &run_slowly) == 0);
    CHECK(g_function.runs.load() == 2);
    CHECK(wait_now(os_thread_id_sig()).thread == 0);
  }
}

TEST_CASE("who has waited for the function of pthread_once runs it where the first has thrown, and may throw, too") {
  const block_rate on(1);
  for (const int throws : {1, 2}) {
    CAPTURE(throws);
    const counted since(wait_kind::once);
    reset_function();
    g_function.throws.store(throws);
    os_once once = PTHREAD_ONCE_INIT;
    std::atomic<int> thrown{0};
    const auto run = [&] {
      try {
        (void)pthread_once(&once, &run_slowly);
      } catch (int) {
        ++thrown;
      }
    };
    worker first(run);
    REQUIRE(becomes([] { return g_function.runs.load() == 1; }));
    worker second(run);
    REQUIRE(wait_of(second.id()).kind == wait_kind::once);
    g_function.may_end.store(true);
    first.join();
    second.join();
    CHECK(thrown.load() == throws);
    CHECK(g_function.runs.load() == 2);
    CHECK(since.blocked().count == one_wait);
    CHECK(wait_now(first.id()).thread == 0);
    CHECK(wait_now(second.id()).thread == 0);
  }
}
#endif

// ---- futexes, other system calls -----------------------------------------------------------------------------------

TEST_CASE("who waits at a futex by syscall is seen while it does, and counted once") {
  const block_rate on(1);
  for (const long operation : {long{FUTEX_WAIT_PRIVATE}, long{FUTEX_WAIT_BITSET_PRIVATE}, long{FUTEX_WAIT}}) {
    CAPTURE(operation);
    const counted since(wait_kind::futex);
    std::atomic<int> word{1};
    long answer = -1;
    int kept_errno = 0;
    worker waiting([&] {
      errno = 77;
      while (word.load() == 1) answer = syscall(SYS_futex, &word, operation, 1, nullptr, nullptr, -1);
      kept_errno = errno;
    });
    const wait_facts facts = wait_of(waiting.id());
    CHECK(facts.thread == waiting.id());
    CHECK(facts.kind == wait_kind::futex);
    CHECK(facts.object == address_of(&word));
    os_sleep_ns(10 * ms);
    CHECK(since.blocked().count == 0);
    const std::uint64_t woken = now();
    const long wake = operation == FUTEX_WAIT ? FUTEX_WAKE : FUTEX_WAKE_PRIVATE;
    word.store(2);
    CHECK(becomes([&] { return futex(word, wake, 1) == 1 || wait_now(waiting.id()).thread == 0; }));
    waiting.join();
    CHECK((answer == 0 || answer == -1));
    CHECK((kept_errno == 77 || kept_errno == EAGAIN));
    CHECK(since.blocked().count <= one_wait);
    if (answer == 0) {
      CHECK(since.blocked().count == one_wait);
      check_between(since.blocked().ns, woken - facts.began_ns, now() - facts.began_ns);
    }
    CHECK(wait_now(waiting.id()).thread == 0);
  }
}

TEST_CASE("a futex whose word has changed is no wait, one whose time has come is") {
  const block_rate on(1);
  const counted since(wait_kind::futex);
  std::atomic<int> word{1};
  errno = 77;
  long answer = futex(word, FUTEX_WAIT_PRIVATE, 2);
  int failed = errno;
  CHECK(answer == -1);
  CHECK(failed == EAGAIN);
  CHECK(since.blocked().count == 0);
  const timespec time = os_timespec(15 * ms);
  const std::uint64_t began = now();
  errno = 77;
  answer = futex(word, FUTEX_WAIT_PRIVATE, 1, &time);
  failed = errno;
  CHECK(answer == -1);
  CHECK(failed == ETIMEDOUT);
  CHECK(since.blocked().count == one_wait);
  check_between(since.blocked().ns, 15 * ms, now() - began);
  CHECK(wait_now(os_thread_id_sig()).thread == 0);
}

TEST_CASE("other operations of futexes are no waits") {
  const block_rate on(1);
  const counted since(wait_kind::futex);
  std::atomic<int> word{1};
  errno = 77;
  const long answer = futex(word, FUTEX_WAKE_PRIVATE, 1);
  const int kept_errno = errno;
  CHECK(answer == 0);
  CHECK(kept_errno == 77);
  CHECK(since.blocked().count == 0);
}

TEST_CASE("who waits for a std::future is seen at its futex") {
  const block_rate on(1);
  const counted since(wait_kind::futex);
  std::promise<int> promise;
  std::future<int> future = promise.get_future();
  int value = 0;
  worker waiting([&] { value = future.get(); });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.kind == wait_kind::futex);
  os_sleep_ns(10 * ms);
  const std::uint64_t told = now();
  promise.set_value(7);
  waiting.join();
  CHECK(value == 7);
  CHECK(since.blocked().count == one_wait);
  check_between(since.blocked().ns, told - facts.began_ns, now() - facts.began_ns);
}

TEST_CASE("system calls get all of their arguments and give their answers and errors back") {
  for (const std::uint64_t rate : {0u, 1u}) {
    CAPTURE(rate);
    const block_rate on(rate);
    errno = 77;
    CHECK(syscall(SYS_getpid) == static_cast<long>(getpid()));
    const int kept_errno = errno;
    CHECK(kept_errno == 77);
    // Six arguments, a pointer as the answer.
    const int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    const long mapped = syscall(SYS_mmap, nullptr, 4096L, long{PROT_READ}, long{MAP_PRIVATE}, long{file}, 4096L);
    char there[64];
    REQUIRE(pread(file, there, sizeof there, 4096) == static_cast<ssize_t>(sizeof there));
    REQUIRE(mapped > 4096);
    CHECK(std::memcmp(reinterpret_cast<const void*>(mapped), there, sizeof there) == 0);
    CHECK(syscall(SYS_munmap, mapped, 4096L) == 0);
    // Six again, of which each counts.
    char from[8] = "waiting";
    char to[8] = {};
    const iovec local{to, sizeof to};
    const iovec remote{from, sizeof from};
    CHECK(syscall(SYS_process_vm_readv, static_cast<long>(getpid()), &local, 1L, &remote, 1L, 0L) == 8);
    CHECK(std::string(to) == "waiting");
    CHECK(syscall(SYS_process_vm_readv, static_cast<long>(getpid()), &local, 1L, &remote, 1L, 1L) == -1);
    CHECK(syscall(SYS_close, file) == 0);
    errno = 77;
    const long answer = syscall(SYS_close, file);
    const int failed = errno;
    CHECK(answer == -1);
    CHECK(failed == EBADF);
    const long unknown = syscall(100000);
    const int unknown_failed = errno;
    CHECK(unknown == -1);
    CHECK(unknown_failed == ENOSYS);
  }
}

// ---- the rate changes, forks ---------------------------------------------------------------------------------------

TEST_CASE("a wait that the block profile was switched off for is counted as it began") {
  const block_rate off(0);
  const counted since(wait_kind::semaphore);
  made_semaphore s(0);
  prof::set_block_profile_rate(1);
  worker waiting([&s] { sem_wait(&s.semaphore); });
  REQUIRE(wait_of(waiting.id()).rate_ns == 1);
  prof::set_block_profile_rate(0);
  sem_post(&s.semaphore);
  waiting.join();
  CHECK(since.blocked().count == one_wait);
  CHECK(wait_now(waiting.id()).thread == 0);
}

TEST_CASE("a wait that began while the block profile was off is not seen") {
  const block_rate off(0);
  const counted since(wait_kind::semaphore);
  made_semaphore s(0);
  worker waiting([&s] { sem_wait(&s.semaphore); });
  REQUIRE(becomes([&s] { return *os_semaphore_word_sig(s.semaphore) >> 32 == 1; }));
  const block_rate on(1);
  CHECK(wait_now(waiting.id()).thread == 0);
  sem_post(&s.semaphore);
  waiting.join();
  CHECK(since.blocked().count == 0);
}

TEST_CASE("a wait shorter than the rate stands for more of its kind, or for none") {
  const block_rate on(10000000000000u);  // hardly any is counted
  const counted since(wait_kind::semaphore);
  made_semaphore s(0);
  worker waiting([&s] { sem_wait(&s.semaphore); });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.rate_ns == 10000000000000u);
  CHECK(facts.least_ns >= 1);
  CHECK(facts.least_ns <= 10000000000000u);
  sem_post(&s.semaphore);
  waiting.join();
  CHECK((since.blocked().count == 0 || since.blocked().count > one_wait));
  CHECK((since.blocked().ns == 0 || since.blocked().ns == 10000000000000u));
}

TEST_CASE("waits of prof's own code for semaphores are not seen") {
  const block_rate on(1);
  const counted since(wait_kind::semaphore);
  const own_code_scope own(all());
  made_semaphore s(0);
  CHECK(semaphore_calls[1].call(s.semaphore, 5 * ms) == -1);
  CHECK(since.blocked().count == 0);
}

TEST_CASE("a forked child has no waits, and counts its own at the parent's rate") {
  const block_rate on(1);
  made_semaphore s(0);
  worker waiting([&s] { sem_wait(&s.semaphore); });
  REQUIRE(wait_of(waiting.id()).kind == wait_kind::semaphore);
  const pid_t child = fork();
  if (child == 0) {
    int wrong = 0;
    if (all().waits.used() != 0) wrong |= 1;
    const counted since(wait_kind::semaphore);
    made_semaphore own(0);
    if (semaphore_calls[1].call(own.semaphore, 5 * ms) != -1) wrong |= 2;
    if (since.blocked().count != one_wait) wrong |= 4;
    if (all().waits.used() != 0) wrong |= 8;
    _exit(wrong);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(wait_now(waiting.id()).thread == waiting.id());
  sem_post(&s.semaphore);
}

// ---- without a next definition -------------------------------------------------------------------------------------

TEST_CASE("without a next definition semaphores wait all the same") {
  made_semaphore s(3);
  const timespec past{};
  CHECK(sem_wait_entry::fallback(&s.semaphore) == 0);
  CHECK(sem_timedwait_entry::fallback(&s.semaphore, &past) == 0);
  CHECK(sem_clockwait_entry::fallback(&s.semaphore, CLOCK_MONOTONIC, &past) == 0);
  errno = 77;
  const int timed = sem_timedwait_entry::fallback(&s.semaphore, &past);
  int failed = errno;
  CHECK(timed == -1);
  CHECK(failed == ETIMEDOUT);
  const timespec soon = from_now(CLOCK_MONOTONIC, 5 * ms);
  errno = 77;
  const int clocked = sem_clockwait_entry::fallback(&s.semaphore, CLOCK_MONOTONIC, &soon);
  failed = errno;
  CHECK(clocked == -1);
  CHECK(failed == ETIMEDOUT);
  worker posts([&s] {
    os_sleep_ns(5 * ms);
    sem_post(&s.semaphore);
  });
  errno = 77;
  CHECK(sem_wait_entry::fallback(&s.semaphore) == 0);
  failed = errno;
  CHECK(failed == 77);
}

TEST_CASE("without a next definition system calls are made, and others answered as not there") {
  errno = 77;
  CHECK(syscall_entry::fallback(SYS_getpid, 0, 0, 0, 0, 0, 0) == static_cast<long>(getpid()));
  int failed = errno;
  CHECK(failed == 77);
  const long answer = syscall_entry::fallback(SYS_close, -1, 0, 0, 0, 0, 0);
  failed = errno;
  CHECK(answer == -1);
  CHECK(failed == EBADF);
  os_barrier barrier;
  REQUIRE(pthread_barrier_init(&barrier, nullptr, 1) == 0);
  CHECK(barrier_wait_entry::fallback(&barrier) ==
        (prof_libc_barrier_wait != nullptr ? PTHREAD_BARRIER_SERIAL_THREAD : ENOSYS));
  pthread_barrier_destroy(&barrier);
  os_once once = PTHREAD_ONCE_INIT;
  reset_function();
  g_function.may_end.store(true);
  CHECK(once_entry::fallback(&once, &run_slowly) == (prof_libc_once != nullptr ? 0 : ENOSYS));
  CHECK(g_function.runs.load() == (prof_libc_once != nullptr ? 1 : 0));
}

#endif
