// tests/unit/hook/lock_test.cpp - the family of lock hooks: routes by rate, waits that are left by whatever way, answers as libc's.

#include "prof/hook/lock.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "prof/api.hpp"
#include "some_locks.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <sys/wait.h>

using namespace some_locks_test;

// ---- routes --------------------------------------------------------------------------------------------------------

TEST_CASE("the hooks of locks are live, and the next definition of each is libc's") {
  const rates off(0, 0);
  { const std::lock_guard<std::mutex> first_call(g_mutex); }
  const prof::status_report report = prof::status();
  int live = 0;
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    for (const hook_record& record : lock_records) {
      if (std::string(report.hooks[i].name) != record.name) continue;
      CAPTURE(std::string(record.name));
      CHECK(std::string(report.hooks[i].state) == "live");
      ++live;
    }
  }
  CHECK(live == lock_entry_count);
  CHECK(owner_of_sig(all(), static_cast<unsigned>(hook_family::lock)) == &prof_hooks_lock_v2);
  CHECK(counts_here_sig(lock_hooks()));
  for (int entry = 0; entry < lock_entry_count; ++entry) {
    CAPTURE(std::string(lock_records[entry].name));
    const any_function next = load_word_sig(lock_hooks(), entry, word_next);
    CHECK(static_cast<bool>(next == reinterpret_cast<any_function>(os_next_symbol(lock_records[entry].name))));
    CHECK(static_cast<bool>(next != load_function_sig(lock_facts[entry].hook)));
  }
}

TEST_CASE("while both rates are 0 every entry leads straight to the next definition") {
  const rates off(0, 0);
  for (int entry = 0; entry < lock_entry_count; ++entry) {
    CAPTURE(std::string(lock_records[entry].name));
    CHECK(goes_straight_on(entry));
    CHECK_FALSE(is_counting(entry));
  }
}

TEST_CASE("the mutex profile sees all entries, the block profile those that wait") {
  const rates off(0, 0);
  const auto waits = [](int entry) {
    const std::string name = lock_records[entry].name;
    const auto has = [&name](const char* part) { return name.find(part) != std::string::npos; };
    return !has("_try") && !has("_unlock") && !has("_signal") && !has("_broadcast");
  };
  for (int entry = 0; entry < lock_entry_count; ++entry) {
    CAPTURE(std::string(lock_records[entry].name));
    {
      const rates mutex(1, 0);
      CHECK(is_counting(entry));
    }
    CHECK(goes_straight_on(entry));
    {
      const rates block(0, 1000);
      CHECK(is_counting(entry) == waits(entry));
      CHECK(goes_straight_on(entry) != waits(entry));
    }
    CHECK(goes_straight_on(entry));
    const rates both(1000, 1000);
    CHECK(is_counting(entry));
  }
}

TEST_CASE("hot paths look at the number of contended locks of this process") {
  const rates on(1, 0);
  CHECK(contended_locks.load() == &mutexes().locks.used_now());
  const std::size_t before = mutexes().locks.used();
  some_locks l;
  {
    const standing_waiter waiting(&l.mutex);
    CHECK(contended_now_sig() != 0);
    CHECK(mutexes().locks.used() == before + 1);
  }
  CHECK(mutexes().locks.used() == before);
  CHECK((contended_now_sig() != 0) == (before != 0));
}

// ---- the rates change ----------------------------------------------------------------------------------------------

TEST_CASE("a wait that began while both profiles were off is not seen") {
  const records before;
  some_locks l;
  std::atomic<bool> ended{false};
  l.hold(wait_kind::mutex);
  std::uint32_t id = 0;
  {
    const rates off(0, 0);
    worker waiting([&] {
      pthread_mutex_lock(&l.mutex);
      ended.store(true);
      pthread_mutex_unlock(&l.mutex);
    });
    id = waiting.id();
    CHECK(becomes([&l] { return os_is_waited_mutex_sig(l.mutex); }));
    const rates on(1, 1);
    const counted since(wait_kind::mutex);
    CHECK(wait_now(id).thread == 0);
    l.let_go(wait_kind::mutex);
    waiting.join();
    CHECK(ended.load());
    CHECK(since.blocked().count == 0);
    CHECK(since.holders().count == 0);
    CHECK(since.waiters().count == 0);
  }
  CHECK(wait_now(id).thread == 0);
  CHECK(records() == before);
}

TEST_CASE("a wait that both profiles were switched off for ends as it began, and leaves nothing") {
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  const rates off(0, 0);
  std::uint32_t id = 0;
  const auto take = [&l] {
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  };
  {
    l.hold(wait_kind::mutex);
    prof::set_mutex_profile_fraction(1);
    prof::set_block_profile_rate(1);
    worker waiting(take);
    id = waiting.id();
    REQUIRE(wait_of(id).thread == id);
    prof::set_mutex_profile_fraction(0);
    prof::set_block_profile_rate(0);
    l.let_go(wait_kind::mutex);
  }
  CHECK(wait_now(id).thread == 0);
  CHECK(since.blocked().count == one_wait);
  CHECK(since.holders().count == 0);
  CHECK(records() == before);
  // And the same lock is charged rightly the next time.
  const rates on(1, 1);
  const counted again(wait_kind::mutex);
  l.hold(wait_kind::mutex);
  worker waiting(take);
  const wait_facts facts = wait_of(waiting.id());
  os_sleep_ns(5 * ms);
  const std::uint64_t let_go = now();
  l.let_go(wait_kind::mutex);
  waiting.join();
  CHECK(again.holders().count == 1);
  check_between(again.holders().ns, let_go - facts.began_ns, now() - facts.began_ns);
  CHECK(records() == before);
}

TEST_CASE("what is waited while the mutex profile pauses is charged to nobody") {
  const records before;
  const rates on(1, 0);
  some_locks l;
  l.hold(wait_kind::mutex);
  worker waiting([&l] {
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  REQUIRE(wait_of(waiting.id()).lock != 0);
  const counted since(wait_kind::mutex);
  prof::set_mutex_profile_fraction(0);
  os_sleep_ns(30 * ms);
  const std::uint64_t resumed = now();
  prof::set_mutex_profile_fraction(1);
  os_sleep_ns(5 * ms);
  const std::uint64_t let_go = now();
  l.let_go(wait_kind::mutex);
  waiting.join();
  const std::uint64_t end = now();
  CHECK(since.holders().count == 1);
  CHECK(since.holders().ns <= end - resumed + clock_parts);
  CHECK(since.holders().ns + ms * 5 + clock_parts >= let_go - resumed);
  CHECK(records() == before);
}

// ---- who waits -----------------------------------------------------------------------------------------------------

TEST_CASE("waits of prof's own code are not seen") {
  const rates on(1, 1);
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  l.hold(wait_kind::mutex);
  int answer = -1;
  worker([&] {
    const own_code_scope own(all());
    const timespec until = from_now(CLOCK_REALTIME, 5 * ms);
    answer = pthread_mutex_timedlock(&l.mutex, &until);
  }).join();
  CHECK(answer == ETIMEDOUT);
  CHECK(since.blocked().count == 0);
  CHECK(since.waiters().count == 0);
  CHECK(records() == before);
  l.let_go(wait_kind::mutex);
  CHECK(since.holders().count == 0);
}

TEST_CASE("a wait and its charge have the labels and the stack of their thread") {
  const rates on(1, 1);
  some_locks l;
  l.hold(wait_kind::mutex);
  label_set_id of_waiter = no_labels;
  label_set_id of_holder = no_labels;
  worker waiting([&] {
    const prof::label_scope labels{{"lock_test", "waiter"}};
    of_waiter = labels_of_sig(all(), os_thread_id_sig());
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.labels == of_waiter);
  CHECK(facts.labels != no_labels);
  {
    const prof::label_scope labels{{"lock_test", "holder"}};
    of_holder = labels_of_sig(all(), os_thread_id_sig());
    l.let_go(wait_kind::mutex);
  }
  waiting.join();
  const auto of = [](label_set_id labels) { return [labels](const count_key& key) { return key.labels == labels; }; };
  CHECK(sum_of(block_of(all())->counts, of(of_waiter)).count == one_wait);
  CHECK(sum_of(mutexes().waiters, of(of_waiter)).count == 1);
  CHECK(sum_of(mutexes().holders, of(of_holder)).count == 1);
  CHECK(sum_of(block_of(all())->counts, [&](const count_key& key) {
          return key.labels == of_waiter && key.stack == facts.stack;
        }).count == one_wait);
}

namespace {

std::atomic<int> g_steps{0};
__attribute__((noinline, aligned(256))) int lock_from_here(os_mutex* mutex) {
  const int answer = pthread_mutex_lock(mutex);
  ++g_steps;  // so that the call is no jump
  return answer;
}
__attribute__((noinline, aligned(256))) int unlock_from_here(os_mutex* mutex) {
  const int answer = pthread_mutex_unlock(mutex);
  ++g_steps;
  return answer;
}
// Whether a stack comes from a function by way of hooks, of which a build without optimization has some.
template <class Function>
bool comes_from(stack_id id, Function function) {
  const stack_view stack = all().stacks.view(id);
  const auto begin = reinterpret_cast<std::uintptr_t>(function);
  for (std::size_t i = 0; i < stack.depth && i < 4; ++i) {
    const std::uintptr_t address = frame_address_sig(stack.frames[i]);
    if (address >= begin && address - begin < 256) return true;
  }
  return false;
}

}  // namespace

TEST_CASE("stacks of waits and of unlocks begin where the program calls") {
  const rates on(1, 1);
  some_locks l;
  l.hold(wait_kind::mutex);
  worker waiting([&l] {
    lock_from_here(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  const stack_id waits = wait_of(waiting.id()).stack;
  CHECK(all().stacks.view(waits).depth > 2);
  CHECK(comes_from(waits, &lock_from_here));
  CHECK(unlock_from_here(&l.mutex) == 0);
  waiting.join();
  const amount charged =
      sum_of(mutexes().holders, [](const count_key& key) { return comes_from(key.stack, &unlock_from_here); });
  CHECK(charged.count == 1);
}

// ---- waits that are left -------------------------------------------------------------------------------------------

namespace {

// A handler that leaves what it interrupts.
sigjmp_buf g_way_out;
class leaving_handler {
 public:
  leaving_handler() {
    struct sigaction wanted = {};
    wanted.sa_handler = [](int) { siglongjmp(g_way_out, 1); };
    REQUIRE(sigaction(SIGUSR2, &wanted, &before_) == 0);
  }
  ~leaving_handler() { sigaction(SIGUSR2, &before_, nullptr); }
  leaving_handler(const leaving_handler&) = delete;
  leaving_handler& operator=(const leaving_handler&) = delete;

 private:
  struct sigaction before_ = {};
};

// What wait(object) answers, or `left`, if the handler left it: its frame is this one's then.
constexpr int left = -1;
__attribute__((noinline)) int answer_unless_left(int (*wait)(void* object), void* object) {
  if (sigsetjmp(g_way_out, 1) != 0) return left;
  return wait(object);
}

// A mutex, and how long to wait for it.
struct wanted_mutex {
  os_mutex* mutex;
  std::uint64_t ns;
};
int wait_for_mutex(void* object) {
  const auto& wanted = *static_cast<const wanted_mutex*>(object);
  const timespec until = from_now(CLOCK_REALTIME, wanted.ns);
  return pthread_mutex_timedlock(wanted.mutex, &until);
}
__attribute__((noinline)) int leave_or_end(os_mutex& mutex, std::uint64_t ns) {
  wanted_mutex wanted{&mutex, ns};
  return answer_unless_left(&wait_for_mutex, &wanted);
}
// The same from below a frame of its own, which uses what lay there.
__attribute__((noinline)) int leave_or_end_deeper(os_mutex& mutex, std::uint64_t ns) {
  volatile char room[16384];
  for (volatile char& byte : room) byte = 0;
  const int answer = leave_or_end(mutex, ns);
  return answer + room[0];
}

// So that what a thread has left for ever is not there in the tests behind this one.
void forget_waits_of(std::uint32_t thread) {
  all().waits.for_each([thread](std::size_t index, const wait_facts& facts) {
    if (facts.thread == thread) forget_left_wait_sig(all(), index);
  });
}

struct left_wait {
  std::atomic<int> step{0};
  int first = 0;
  int later = 0;
  bool until(int wanted) {
    return becomes([this, wanted] { return step.load() == wanted; });
  }
};

}  // namespace

TEST_CASE("a wait for a mutex that longjmp leaves is taken back by the thread's next wait, and its holder pays") {
  const rates on(1, 1);
  const leaving_handler handler;
  const records before;
  const counted since(wait_kind::mutex);
  some_locks l;
  some_locks other;
  l.hold(wait_kind::mutex);
  other.hold(wait_kind::mutex);
  left_wait state;
  worker waiting([&] {
    state.first = leave_or_end(l.mutex, long_enough);
    state.step.store(1);
    (void)state.until(2);
    state.later = leave_or_end(other.mutex, 5 * ms);
    state.step.store(3);
    (void)state.until(4);
  });
  const wait_facts facts = wait_of(waiting.id());
  REQUIRE(facts.object == address_of(&l.mutex));
  os_sleep_ns(10 * ms);
  const std::uint64_t before_leaving = now();
  pthread_kill(waiting.handle(), SIGUSR2);
  REQUIRE(state.until(1));
  CHECK(state.first == left);
  state.step.store(2);
  REQUIRE(state.until(3));
  CHECK(state.later == ETIMEDOUT);
  CHECK(wait_now(waiting.id()).thread == 0);
  CHECK(mutexes().locks.used() == before.locks + 2);  // until the unlocks pay for them
  const std::uint64_t end = now();
  l.let_go(wait_kind::mutex);
  CHECK(since.holders().count == 1);
  check_between(since.holders().ns, before_leaving - facts.began_ns, end - facts.began_ns);
  other.let_go(wait_kind::mutex);
  CHECK(since.holders().count == 2);
  CHECK(records() == before);
  state.step.store(4);
  waiting.join();
  CHECK(since.blocked().count == one_wait);  // the one that was not left
}

TEST_CASE("a wait at a condition variable that longjmp leaves is taken back by the thread's next wait") {
  const rates on(1, 1);
  const leaving_handler handler;
  for (const bool is_woken : {false, true}) {
    CAPTURE(is_woken);
    const records before;
    some_locks other;
    other.hold(wait_kind::mutex);
    static some_cond c;
    left_wait state;
    worker waiting([&] {
      state.first = answer_unless_left(
          [](void* object) {
            volatile char room[1024];  // to be below what waits later
            room[0] = 0;
            return static_cast<some_cond*>(object)->wait_until_told(cond_calls[0].call, 0) + room[0];
          },
          &c);
      pthread_mutex_unlock(&c.mutex);  // glibc's longjmp takes it again
      state.step.store(1);
      (void)state.until(2);
      state.later = leave_or_end(other.mutex, 5 * ms);
      state.step.store(3);
      (void)state.until(4);
    });
    REQUIRE(waits_at_cond(waiting.id(), c));
    pthread_kill(waiting.handle(), SIGUSR2);
    REQUIRE(state.until(1));
    CHECK(state.first == left);
    if (is_woken) CHECK(pthread_cond_signal(&c.cond) == 0);
    state.step.store(2);
    REQUIRE(state.until(3));
    CHECK(state.later == ETIMEDOUT);
    CHECK(wait_now(waiting.id()).thread == 0);
    CHECK(mutexes().conds.used() == before.conds);
    other.let_go(wait_kind::mutex);
    CHECK(records() == before);
    state.step.store(4);
  }
}

TEST_CASE("a wait that is left is taken back by the thread's next wait, which is deeper in its stack") {
  const rates on(1, 1);
  const leaving_handler handler;
  const records before;
  some_locks l;
  some_locks other;
  l.hold(wait_kind::mutex);
  other.hold(wait_kind::mutex);
  left_wait state;
  worker waiting([&] {
    state.first = leave_or_end(l.mutex, long_enough);
    state.step.store(1);
    (void)state.until(2);
    state.later = leave_or_end_deeper(other.mutex, 5 * ms);
    state.step.store(3);
    (void)state.until(4);
  });
  REQUIRE(wait_of(waiting.id()).object == address_of(&l.mutex));
  pthread_kill(waiting.handle(), SIGUSR2);
  REQUIRE(state.until(1));
  state.step.store(2);
  REQUIRE(state.until(3));
  CHECK(state.first == left);
  CHECK(state.later == ETIMEDOUT);
  CHECK(wait_now(waiting.id()).thread == 0);
  forget_waits_of(waiting.id());
  l.let_go(wait_kind::mutex);
  other.let_go(wait_kind::mutex);
  state.step.store(4);
  waiting.join();
  CHECK(records() == before);
}

TEST_CASE("a thread that is cancelled at a condition variable leaves nothing behind and has the mutex meanwhile") {
  const rates on(1, 1);
  struct unlocks {
    some_cond& c;
    std::atomic<bool>& held;
    ~unlocks() {
      held.store(os_mutex_owner_sig(c.mutex) == os_thread_id_sig());
      pthread_mutex_unlock(&c.mutex);
    }
  };
  for (const cond_call& one : cond_calls) {
    CAPTURE(std::string(one.name));
    const records before;
    const counted since(wait_kind::cond);
    some_cond c;
    std::atomic<bool> held{false};
    std::atomic<bool> came_back{false};
    worker waiting([&] {
      pthread_mutex_lock(&c.mutex);
      const unlocks at_end{c, held};
      (void)one.call(c, long_enough);
      came_back.store(true);
    });
    REQUIRE(waits_at_cond(waiting.id(), c));
    REQUIRE(pthread_cancel(waiting.handle()) == 0);
    waiting.join();
    CHECK_FALSE(came_back.load());
    CHECK(held.load());
    CHECK(wait_now(waiting.id()).thread == 0);
    CHECK(since.blocked().count == one_wait);
    CHECK(since.holders().ns == 0);
    CHECK(os_mutex_word_sig(c.mutex) == 0);
    CHECK(records() == before);
  }
}

TEST_CASE("a forked child has no waits, no contended locks, and counts its own") {
  const rates on(1, 1);
  const records before;
  some_locks l;
  some_cond c;
  l.hold(wait_kind::mutex);
  worker at_lock([&l] {
    pthread_mutex_lock(&l.mutex);
    pthread_mutex_unlock(&l.mutex);
  });
  worker at_cond([&c] { CHECK(c.wait_until_told(cond_calls[0].call, 0) == 0); });
  REQUIRE(wait_of(at_lock.id()).thread != 0);
  REQUIRE(waits_at_cond(at_cond.id(), c));
  const pid_t child = fork();
  if (child == 0) {
    int wrong = 0;
    if (all().waits.used() != 0) wrong |= 1;
    if (mutexes().locks.used() != 0 || mutexes().conds.used() != 0) wrong |= 2;
    const counted since(wait_kind::mutex);
    if (leave_or_end(l.mutex, 5 * ms) != ETIMEDOUT) wrong |= 4;  // this thread holds it
    if (since.blocked().count != one_wait) wrong |= 8;
    if (since.waiters().ns < ms) wrong |= 16;
    l.let_go(wait_kind::mutex);
    if (since.holders().count != 1 || mutexes().locks.used() != 0) wrong |= 32;
    if (all().waits.used() != 0) wrong |= 64;
    _exit(wrong);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(wait_now(at_lock.id()).thread == at_lock.id());
  CHECK(wait_now(at_cond.id()).thread == at_cond.id());
  l.let_go(wait_kind::mutex);
  pthread_mutex_lock(&c.mutex);
  c.tell(false);
  pthread_mutex_unlock(&c.mutex);
  at_lock.join();
  at_cond.join();
  CHECK(records() == before);
}

// ---- answers -------------------------------------------------------------------------------------------------------

namespace {

// What calls of all kinds answer, and whether errno is left alone.
std::vector<int> answers() {
  std::vector<int> all_of_them;
  const auto note = [&all_of_them](int answer) {
    const int kept_errno = errno;
    all_of_them.push_back(answer);
    all_of_them.push_back(kept_errno);
    errno = 77;
  };
  errno = 77;
  const timespec past{};
  timespec wrong = from_now(CLOCK_REALTIME, long_enough);
  wrong.tv_nsec = 1000000000;
  constexpr clockid_t no_clock = 12345;
  for (const int type : {int{PTHREAD_MUTEX_NORMAL}, int{PTHREAD_MUTEX_RECURSIVE}, int{PTHREAD_MUTEX_ERRORCHECK}}) {
    typed_mutex m(type);
    note(pthread_mutex_lock(&m.mutex));
    note(pthread_mutex_trylock(&m.mutex));
    note(pthread_mutex_timedlock(&m.mutex, &past));
    note(pthread_mutex_timedlock(&m.mutex, &wrong));
    note(pthread_mutex_clocklock(&m.mutex, CLOCK_MONOTONIC, &past));
    note(pthread_mutex_clocklock(&m.mutex, no_clock, &past));
    note(type == PTHREAD_MUTEX_NORMAL ? 0 : pthread_mutex_lock(&m.mutex));
    while (pthread_mutex_unlock(&m.mutex) == 0 && os_mutex_owner_sig(m.mutex) != 0) note(0);
    if (type != PTHREAD_MUTEX_NORMAL) note(pthread_mutex_unlock(&m.mutex));
  }
  os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  note(pthread_rwlock_wrlock(&lock));
  note(pthread_rwlock_wrlock(&lock));
  note(pthread_rwlock_rdlock(&lock));
  note(pthread_rwlock_timedrdlock(&lock, &past));
  note(pthread_rwlock_timedwrlock(&lock, &wrong));
  note(pthread_rwlock_clockrdlock(&lock, no_clock, &past));
  note(pthread_rwlock_clockwrlock(&lock, CLOCK_MONOTONIC, &past));
  note(pthread_rwlock_unlock(&lock));
  note(pthread_rwlock_rdlock(&lock));
  note(pthread_rwlock_rdlock(&lock));
  note(pthread_rwlock_timedrdlock(&lock, &past));
  note(pthread_rwlock_clockrdlock(&lock, CLOCK_MONOTONIC, &past));
  note(pthread_rwlock_timedwrlock(&lock, &past));
  note(pthread_rwlock_clockwrlock(&lock, CLOCK_REALTIME, &past));
  for (int i = 0; i < 4; ++i) note(pthread_rwlock_unlock(&lock));
  os_cond cond = PTHREAD_COND_INITIALIZER;
  typed_mutex e(PTHREAD_MUTEX_ERRORCHECK);
  note(pthread_cond_wait(&cond, &e.mutex));
  note(pthread_mutex_lock(&e.mutex));
  note(pthread_cond_timedwait(&cond, &e.mutex, &past));
  note(pthread_cond_timedwait(&cond, &e.mutex, &wrong));
  note(pthread_cond_clockwait(&cond, &e.mutex, CLOCK_MONOTONIC, &past));
  note(pthread_cond_clockwait(&cond, &e.mutex, no_clock, &past));
  note(pthread_cond_signal(&cond));
  note(pthread_cond_broadcast(&cond));
  note(pthread_mutex_unlock(&e.mutex));
  return all_of_them;
}

}  // namespace

TEST_CASE("calls answer the same and leave errno alone whether they are counted or not, and on every path") {
  const rates off(0, 0);
  const std::vector<int> wanted = answers();
  for (const int one : {0, EBUSY, ETIMEDOUT, EINVAL, EDEADLK, EPERM}) {
    CAPTURE(one);
    bool found = false;
    for (const int answer : wanted) found |= answer == one;
    CHECK(found);
  }
  for (std::size_t i = 1; i < wanted.size(); i += 2) CHECK(wanted[i] == 77);
  for (const unsigned fraction : {0u, 1u}) {
    for (const std::uint64_t block_ns : {0u, 1u}) {
      CAPTURE(fraction);
      CAPTURE(block_ns);
      const rates on(fraction, block_ns);
      CHECK(answers() == wanted);
      some_locks l;
      const standing_waiter contends(&l.mutex);
      CHECK(answers() == wanted);
    }
  }
  CHECK(wait_now(os_thread_id_sig()).thread == 0);
}

#endif
