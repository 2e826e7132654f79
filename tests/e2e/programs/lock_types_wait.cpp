// Semaphores, barriers, once, joins, futexes.
#include <linux/futex.h>
#include <semaphore.h>
#include <sys/syscall.h>

#include <climits>
#include <initializer_list>
#ifdef __EXCEPTIONS
#include <mutex>
#endif

#include "lock_types.hpp"

// ---- semaphores ----------------------------------------------------------------------------------------------------

static void say_state(sem_t& semaphore) {
  int value = -1;
  sem_getvalue(&semaphore, &value);
  std::printf("[%d]", value);
}
static int wait_until(sem_t& semaphore, const timespec& time) {
  return ask_errno([&] { return sem_timedwait(&semaphore, &time); });
}
static int wait_by(sem_t& semaphore, clockid_t clock, const timespec& time) {
  return ask_errno([&] { return sem_clockwait(&semaphore, clock, &time); });
}

static const operation<sem_t> semaphore_operations[] = {
    {"wait", [](sem_t& semaphore) { return ask_errno([&] { return sem_wait(&semaphore); }); }},
    {"try", [](sem_t& semaphore) { return ask_errno([&] { return sem_trywait(&semaphore); }); }},
    {"timed", [](sem_t& semaphore) { return wait_until(semaphore, long_ago); }},
    {"soon", [](sem_t& semaphore) { return wait_until(semaphore, in_ms(CLOCK_REALTIME, 1)); }},
    {"late", [](sem_t& semaphore) { return wait_until(semaphore, in_ms(CLOCK_REALTIME, 60000)); }},
    {"no_time", [](sem_t& semaphore) { return wait_until(semaphore, no_time); }},
    {"clock", [](sem_t& semaphore) { return wait_by(semaphore, CLOCK_REALTIME, long_ago); }},
    {"clock_soon", [](sem_t& semaphore) { return wait_by(semaphore, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 1)); }},
    {"clock_late", [](sem_t& semaphore) { return wait_by(semaphore, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 60000)); }},
    {"clock_no_time", [](sem_t& semaphore) { return wait_by(semaphore, CLOCK_MONOTONIC, no_time); }},
    {"no_clock", [](sem_t& semaphore) { return wait_by(semaphore, no_clock, long_ago); }},
    {"post", [](sem_t& semaphore) { return ask_errno([&] { return sem_post(&semaphore); }); }},
    {"destroy", [](sem_t& semaphore) { return ask_errno([&] { return sem_destroy(&semaphore); }); }},
};

static void try_semaphores(int is_shared) {
  for (const char* words : {
           "post wait post post wait try destroy",
           "try timed soon clock clock_soon no_time clock_no_time no_clock",
           "post no_time post clock_no_time post no_clock wait",
           "post timed post soon post clock post clock_soon",
           "begin.wait post end destroy",
           "begin.late post end",
           "begin.clock_late post end",
           "other.try dying.timed dying.post other.wait",
           "post child.wait child.try child.soon child.post wait",
           "begin.wait child.post end",
       }) {
    if (is_shared == 0 && std::strstr(words, "child") != nullptr) continue;
    auto& semaphore = *new (shared_bytes(sizeof(sem_t))) sem_t;
    if (sem_init(&semaphore, is_shared, 0) != 0) std::abort();
    std::printf("semaphore %s:", is_shared != 0 ? "shared" : "private");
    play script(semaphore_operations, semaphore);
    script.run(words);
  }
}
static void try_limits_of_semaphores() {
  sem_t semaphore;
  std::printf("semaphore limits:");
  say_answer("init", ask_errno([&] { return sem_init(&semaphore, 0, SEM_VALUE_MAX + 1u); }));
  say_answer("init", ask_errno([&] { return sem_init(&semaphore, 0, SEM_VALUE_MAX); }));
  play script(semaphore_operations, semaphore);
  script.run("post wait post");
}

// ---- barriers --------------------------------------------------------------------------------------------------------

// Passes it three times: how often as the serial thread, and a hundred times how often not.
static int pass(pthread_barrier_t& barrier) {
  int passed = 0;
  for (int i = 0; i < 3; ++i) {
    const int answer = ask([&] { return pthread_barrier_wait(&barrier); });
    if (answer == PTHREAD_BARRIER_SERIAL_THREAD) passed += 1;
    if (answer == 0) passed += 100;
  }
  return passed;
}
// The caller is one of the threads, or has a child for that.
static void try_barrier(unsigned threads, bool has_child) {
  auto& barrier = *new (shared_bytes(sizeof(pthread_barrier_t))) pthread_barrier_t;
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  std::printf("barrier of %u%s:", threads, has_child ? ", one of them a child" : "");
  say_answer("init", ask([&] { return pthread_barrier_init(&barrier, &attributes, threads); }));
  auto pass_it = [&] { return pass(barrier); };
  pthread_t others[8];
  for (unsigned i = 1; i < threads; ++i) others[i] = start(pass_it);
  int passed = has_child ? in_a_child(pass_it) : pass_it();
  for (unsigned i = 1; i < threads; ++i) passed += end_of(others[i]);
  say("serial", passed % 100);
  say("others", passed / 100);
  say_answer("destroy", ask([&] { return pthread_barrier_destroy(&barrier); }));
  std::printf("\n");
}

static void try_barriers() {
  for (unsigned threads : {1u, 2u, 3u, 8u}) try_barrier(threads, false);
  try_barrier(3, true);
  pthread_barrier_t barrier;
  std::printf("barrier of none:");
  say_answer("init", ask([&] { return pthread_barrier_init(&barrier, nullptr, 0); }));
  std::printf("\n");
}

// ---- once ------------------------------------------------------------------------------------------------------------

static std::atomic<int> runs;
static std::atomic<bool> is_running;
static std::atomic<bool> may_end;
static pthread_once_t once;

static void begin_once(const char* what) {
  static const pthread_once_t fresh = PTHREAD_ONCE_INIT;
  once = fresh;
  runs = 0;
  is_running = may_end = false;
  std::printf("once %s:", what);
}
static int call_once_with(void (*function)()) {
  return ask([&] { return pthread_once(&once, function); });
}
static void run_slowly() {
  ++runs;
  is_running = true;
  wait_until([] { return may_end.load(); });
}
static void run_until_cancelled() {
  ++runs;
  is_running = true;
  for (;;) pause();
}

static void try_plain_once() {
  begin_once("twice");
  may_end = true;
  say_answer("first", call_once_with(run_slowly));
  say_answer("second", call_once_with(run_slowly));
  say("runs", runs);
  std::printf("\n");
}
static void try_contended_once() {
  begin_once("while another runs it");
  auto call = [] { return call_once_with(run_slowly); };
  const pthread_t first = start(call);
  wait_until([] { return is_running.load(); });
  const pthread_t second = start(call);
  sleep_us(1000);
  may_end = true;
  say_answer("first", end_of(first));
  say_answer("second", end_of(second));
  say("runs", runs);
  std::printf("\n");
}
static void try_cancelled_once() {
  begin_once("cancelled");
  auto call = [] { return call_once_with(run_until_cancelled); };
  auto call_again = [] { return call_once_with(run_slowly); };
  const pthread_t first = start(call);
  wait_until([] { return is_running.load(); });
  const pthread_t second = start(call_again);
  sleep_us(1000);
  may_end = true;
  say_answer("cancel", ask([&] { return pthread_cancel(first); }));
  void* answer = nullptr;
  pthread_join(first, &answer);
  say("cancelled", answer == PTHREAD_CANCELED);
  say_answer("second", end_of(second));
  say_answer("third", call_once_with(run_slowly));
  say("runs", runs);
  std::printf("\n");
}

#ifdef __EXCEPTIONS
static void run_and_throw() {
  ++runs;
  throw runs.load();
}
template <class Call>
static void say_thrown(Call call) {
  try {
    call();
  } catch (int number) {
    say("thrown", number);
  }
}
static void try_throwing_once() {
  begin_once("thrown out of");
  say_thrown([] { pthread_once(&once, run_and_throw); });
  in_another_thread([] {
    say_thrown([] { pthread_once(&once, run_and_throw); });
    return 0;
  });
  may_end = true;
  say_answer("then", call_once_with(run_slowly));
  say_answer("then", call_once_with(run_slowly));
  say("runs", runs);
  std::printf("\n");
}
static void try_throwing_call_once() {
  static std::once_flag flag;
  begin_once("of C++, thrown out of");
  for (int i = 0; i < 2; ++i) say_thrown([] { std::call_once(flag, run_and_throw); });
  may_end = true;
  for (int i = 0; i < 2; ++i) std::call_once(flag, run_slowly);
  say("runs", runs);
  std::printf("\n");
}
#endif

static void try_once() {
  try_plain_once();
  try_contended_once();
  try_cancelled_once();
#ifdef __EXCEPTIONS
  try_throwing_once();
  try_throwing_call_once();
#endif
}

// ---- joins -----------------------------------------------------------------------------------------------------------

static int join(pthread_t thread) {
  return ask([&] { return pthread_join(thread, nullptr); });
}
static int join_until(pthread_t thread, const timespec& time) {
  return ask([&] { return pthread_timedjoin_np(thread, nullptr, &time); });
}
static int join_by(pthread_t thread, clockid_t clock, const timespec& time) {
  return ask([&] { return pthread_clockjoin_np(thread, nullptr, clock, &time); });
}
static auto run_until_allowed = [] {
  wait_until([] { return may_end.load(); });
  return 7;
};

static void try_joins_in_vain(pthread_t thread) {
  say_answer("try", ask([&] { return pthread_tryjoin_np(thread, nullptr); }));
  say_answer("timed", join_until(thread, long_ago));
  say_answer("soon", join_until(thread, in_ms(CLOCK_REALTIME, 1)));
  say_answer("clock", join_by(thread, CLOCK_REALTIME, long_ago));
  say_answer("clock_soon", join_by(thread, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 1)));
  say_answer("no_clock", join_by(thread, no_clock, long_ago));
}
static void try_join_of_a_running_thread() {
  may_end = false;
  std::printf("join:");
  const pthread_t thread = start(run_until_allowed);
  try_joins_in_vain(thread);
  may_end = true;
  say_answer("join", join(thread));
  std::printf("\n");
}
static void try_each_join() {
  may_end = true;
  for (int way = 0; way < 4; ++way) {
    const pthread_t thread = start(run_until_allowed);
    void* answer = nullptr;
    const timespec late = in_ms(way == 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME, 60000);
    std::printf("join of what ends:");
    if (way == 0) say_answer("join", ask([&] { return pthread_join(thread, &answer); }));
    if (way == 1) say_answer("timed", ask([&] { return pthread_timedjoin_np(thread, &answer, &late); }));
    if (way == 2) say_answer("clock", ask([&] { return pthread_clockjoin_np(thread, &answer, CLOCK_MONOTONIC, &late); }));
    if (way == 3) wait_until([&] { return pthread_tryjoin_np(thread, &answer) == 0; });
    say("value", static_cast<int>(reinterpret_cast<std::intptr_t>(answer)));
    std::printf("\n");
  }
}
static void try_joins_of_others() {
  const pthread_t self = pthread_self();
  std::printf("join of oneself:");
  say_answer("join", join(self));
  say_answer("try", ask([&] { return pthread_tryjoin_np(self, nullptr); }));
  say_answer("timed", join_until(self, long_ago));
  say_answer("clock", join_by(self, CLOCK_REALTIME, long_ago));
  std::printf("\njoin of a detached thread:");
  may_end = false;
  const pthread_t thread = start(run_until_allowed);
  say_answer("detach", ask([&] { return pthread_detach(thread); }));
  say_answer("detach", ask([&] { return pthread_detach(thread); }));
  say_answer("join", join(thread));
  say_answer("try", ask([&] { return pthread_tryjoin_np(thread, nullptr); }));
  say_answer("timed", join_until(thread, long_ago));
  say_answer("clock", join_by(thread, CLOCK_REALTIME, long_ago));
  may_end = true;
  std::printf("\n");
}

// ---- futexes -----------------------------------------------------------------------------------------------------------

static int futex(void* word, int what, unsigned value, const timespec* time = nullptr, void* second = nullptr,
                 unsigned bits = 0) {
  return ask_errno([&] { return syscall(SYS_futex, word, what, value, time, second, bits); });
}
static void try_futexes() {
  alignas(8) static int words[4] = {5, 6, 7, 8};
  const timespec soon{0, 1000000};
  std::printf("futex:");
  say_answer("changed", futex(&words[0], FUTEX_WAIT, 6));
  say_answer("private_changed", futex(&words[0], FUTEX_WAIT_PRIVATE, 6));
  say_answer("soon", futex(&words[0], FUTEX_WAIT, 5, &soon));
  say_answer("no_time", futex(&words[0], FUTEX_WAIT, 5, &no_time));
  say_answer("long_ago", futex(&words[0], FUTEX_WAIT_BITSET, 5, &long_ago, nullptr, FUTEX_BITSET_MATCH_ANY));
  say_answer("no_bits", futex(&words[0], FUTEX_WAIT_BITSET, 5, &soon));
  say_answer("misaligned", futex(reinterpret_cast<char*>(words) + 1, FUTEX_WAIT, 5, &soon));
  say_answer("nowhere", futex(nullptr, FUTEX_WAIT, 5, &soon));
  say_answer("unlock_pi", futex(&words[1], FUTEX_UNLOCK_PI, 0));
  say_answer("wake", futex(&words[0], FUTEX_WAKE, 1));
  say_answer("unknown", futex(&words[0], 99, 1));
  say_answer("requeue", futex(&words[0], FUTEX_CMP_REQUEUE, 1, nullptr, &words[1], 4));
  say_answer("no_call", ask_errno([] { return syscall(-1); }));
  say("pid", syscall(SYS_getpid) == getpid());
  say_answer("six_arguments", ask_errno([] { return syscall(SYS_pwrite64, -1, words, 1, 0, 0, 0); }));
  std::printf("\n");
}
static void try_woken_futex(int what, unsigned bits) {
  static int word;
  auto wait = [&] { return futex(&word, what, 0, nullptr, nullptr, bits); };
  const pthread_t thread = start(wait);
  std::printf("futex woken:");
  int woken = 0;
  wait_until([&] { return (woken = futex(&word, FUTEX_WAKE, 1)) != 0; });
  say("woken", woken);
  say_answer("wait", end_of(thread));
  std::printf("\n");
}

void try_waits() {
  for (int is_shared : {0, 1}) try_semaphores(is_shared);
  try_limits_of_semaphores();
  try_barriers();
  try_once();
  try_join_of_a_running_thread();
  try_each_join();
  try_joins_of_others();
  try_futexes();
  try_woken_futex(FUTEX_WAIT, 0);
  try_woken_futex(FUTEX_WAIT_BITSET, FUTEX_BITSET_MATCH_ANY);
}
