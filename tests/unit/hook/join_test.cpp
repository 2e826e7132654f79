// tests/unit/hook/join_test.cpp - who joins a thread is seen while it waits and counted once; threads that are joined or
// detached are known to be let go.

#include "prof/hook/join.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>

#include "prof/api.hpp"
#include "../waits.hpp"
#include "prof/sample/threads.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <sys/wait.h>

namespace {

using namespace waits_test;

timespec from_now(clockid_t clock, std::uint64_t ns) { return os_timespec(os_clock_ns_sig(clock) + ns); }

// Within bounds that hold on any machine: what the clock said around both ends.
void check_between(std::uint64_t ns, std::uint64_t least, std::uint64_t most) {
  CHECK(ns >= least);
  CHECK(ns <= most);
}

// A thread that runs until it may end, and ends with an answer of its own. Whoever makes it joins or detaches it.
class joinable {
 public:
  joinable() {
    REQUIRE(pthread_create(&handle_, nullptr, &joinable::run, this) == 0);
    while (id_.load() == 0) os_yield();  // parts are told of it before
  }
  joinable(const joinable&) = delete;
  joinable& operator=(const joinable&) = delete;

  pthread_t handle() const { return handle_; }
  void end() { may_end_.store(true); }
  const void* answer() const { return &handle_; }
  // Whether it has ended, joined or not.
  bool has_ended() const { return os_thread_has_ended_sig(os_process_id_sig(), id_.load()); }

 private:
  static void* run(void* self) {
    auto& mine = *static_cast<joinable*>(self);
    mine.id_.store(os_thread_id_sig());
    while (!mine.may_end_.load()) os_sleep_ns(ms);
    return &mine.handle_;
  }
  pthread_t handle_{};
  std::atomic<std::uint32_t> id_{0};
  std::atomic<bool> may_end_{false};
};

struct joining_call {
  const char* name;
  bool has_time;
  int (*call)(pthread_t thread, void** answer, std::uint64_t ns);
};
constexpr joining_call joining_calls[] = {
    {"pthread_join", false, [](pthread_t thread, void** answer, std::uint64_t) { return pthread_join(thread, answer); }},
    {"pthread_timedjoin_np", true,
     [](pthread_t thread, void** answer, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_REALTIME, ns);
       return pthread_timedjoin_np(thread, answer, &until);
     }},
    {"pthread_clockjoin_np", true, [](pthread_t thread, void** answer, std::uint64_t ns) {
       const timespec until = from_now(CLOCK_MONOTONIC, ns);
       return pthread_clockjoin_np(thread, answer, CLOCK_MONOTONIC, &until);
     }}};

// What the threads profile knows of a thread that was made and not let go; null: nothing.
const made_thread* known(pthread_t thread) {
  threads_state* const threads = attached_threads_sig(all());
  REQUIRE(threads != nullptr);
  const std::size_t index = threads->made.find_sig(handle_of(thread));
  return index == no_slot ? nullptr : &threads->made.at(index);
}

bool is_counting(int entry) {
  return load_word_sig(join_hooks(), entry, word_route) == function_of_sig(join_hooks(), entry, function_counting);
}

}  // namespace

// ---- routes --------------------------------------------------------------------------------------------------------

TEST_CASE("the hooks of joins are live, and the next definition of each is libc's") {
  std::thread([] {}).join();
  const prof::status_report report = prof::status();
  int live = 0;
  for (std::size_t i = 0; i < report.hook_count; ++i) {
    for (const hook_record& record : join_records) {
      if (std::string(report.hooks[i].name) != record.name) continue;
      CAPTURE(std::string(record.name));
      CHECK(std::string(report.hooks[i].state) == "live");
      ++live;
    }
  }
  CHECK(live == join_entry_count);
  CHECK(owner_of_sig(all(), static_cast<unsigned>(hook_family::join)) == &prof_hooks_join_v2);
  CHECK(counts_here_sig(join_hooks()));
  for (int entry = 0; entry < join_entry_count; ++entry) {
    CAPTURE(std::string(join_records[entry].name));
    const any_function next = load_word_sig(join_hooks(), entry, word_next);
    CHECK(static_cast<bool>(next == reinterpret_cast<any_function>(os_next_symbol(join_records[entry].name))));
    CHECK(static_cast<bool>(next != load_function_sig(join_facts[entry].hook)));
  }
}

TEST_CASE("joins and detaches count whatever the rates, for threads are followed always") {
  const block_rate off(0);
  std::thread([] {}).join();
  for (int entry = 0; entry < join_entry_count; ++entry) {
    CAPTURE(std::string(join_records[entry].name));
    CHECK(is_counting(entry));
    const block_rate on(1000);
    CHECK(is_counting(entry));
  }
}

// ---- joins ---------------------------------------------------------------------------------------------------------

TEST_CASE("who joins a thread is seen while it waits, and counted once") {
  const block_rate on(1);
  for (const joining_call& one : joining_calls) {
    CAPTURE(std::string(one.name));
    joinable thread;
    int answer = -1;
    void* value = nullptr;
    int kept_errno = 0;
    worker waiting([&] {
      errno = 77;
      answer = one.call(thread.handle(), &value, long_enough);
      kept_errno = errno;
    });
    const counted since(wait_kind::join);
    const wait_facts facts = wait_of(waiting.id());
    CHECK(facts.thread == waiting.id());
    CHECK(facts.kind == wait_kind::join);
    CHECK(facts.object == handle_of(thread.handle()));
    CHECK(facts.rate_ns == 1);
    CHECK(facts.lock == 0);
    CHECK(facts.stack != overflow_stack);
    os_sleep_ns(10 * ms);
    CHECK(since.blocked().count == 0);
    const std::uint64_t told = now();
    thread.end();
    CHECK(becomes([&] { return wait_now(waiting.id()).thread == 0; }));
    const std::uint64_t end = now();
    CHECK(since.blocked().count == one_wait);
    check_between(since.blocked().ns, told - facts.began_ns, end - facts.began_ns);
    waiting.join();
    CHECK(answer == 0);
    CHECK(value == thread.answer());
    CHECK(kept_errno == 77);
  }
}

TEST_CASE("a join that ends at its time is counted, and the thread can be joined later") {
  const block_rate on(1);
  for (const joining_call& one : joining_calls) {
    if (!one.has_time) continue;
    CAPTURE(std::string(one.name));
    joinable thread;
    const counted since(wait_kind::join);
    const std::uint64_t began = now();
    void* value = nullptr;
    CHECK(one.call(thread.handle(), &value, 15 * ms) == ETIMEDOUT);
    CHECK(value == nullptr);
    CHECK(since.blocked().count == one_wait);
    check_between(since.blocked().ns, 5 * ms, now() - began);
    CHECK(wait_now(os_thread_id_sig()).thread == 0);
    REQUIRE(known(thread.handle()) != nullptr);
    CHECK(known(thread.handle())->is_joinable.load());
    thread.end();
    CHECK(one.call(thread.handle(), &value, long_enough) == 0);
    CHECK(value == thread.answer());
    CHECK(since.blocked().count == 2 * one_wait);
  }
}

TEST_CASE("trying to join is no wait") {
  const block_rate on(1);
  const counted since(wait_kind::join);
  joinable thread;
  void* value = nullptr;
  CHECK(pthread_tryjoin_np(thread.handle(), &value) == EBUSY);
  CHECK(value == nullptr);
  CHECK(known(thread.handle()) != nullptr);
  const pthread_t handle = thread.handle();
  thread.end();
  CHECK(becomes([&] { return pthread_tryjoin_np(handle, &value) == 0; }));
  CHECK(value == thread.answer());
  CHECK(known(handle) == nullptr);
  CHECK(since.blocked().count == 0);
}

TEST_CASE("while the block profile is off joins are not seen and not counted, and work all the same") {
  const block_rate off(0);
  const unsigned fraction = prof::set_mutex_profile_fraction(1);
  for (const joining_call& one : joining_calls) {
    CAPTURE(std::string(one.name));
    joinable thread;
    const counted since(wait_kind::join);
    void* value = nullptr;
    int answer = -1;
    const pthread_t handle = thread.handle();
    worker waiting([&] { answer = one.call(handle, &value, long_enough); });
    CHECK(becomes([&waiting] { return os_futex_of_thread(waiting.id()) != 0; }));
    CHECK(wait_now(waiting.id()).thread == 0);
    thread.end();
    waiting.join();
    CHECK(answer == 0);
    CHECK(value == thread.answer());
    CHECK(known(handle) == nullptr);
    CHECK(since.blocked().count == 0);
  }
  prof::set_mutex_profile_fraction(fraction);
}

TEST_CASE("std::thread's join is seen") {
  const block_rate on(1);
  std::atomic<bool> may_end{false};
  std::thread thread([&may_end] {
    while (!may_end.load()) os_sleep_ns(ms);
  });
  worker waiting([&thread] { thread.join(); });
  const wait_facts facts = wait_of(waiting.id());
  CHECK(facts.kind == wait_kind::join);
  CHECK(facts.thread == waiting.id());
  may_end.store(true);
  waiting.join();
}

TEST_CASE("joins that are refused answer as libc does, leave errno and let no thread go") {
  for (const std::uint64_t rate : {0u, 1u}) {
    const block_rate on(rate);
    errno = 77;
    CHECK(pthread_join(pthread_self(), nullptr) == EDEADLK);
    int kept_errno = errno;
    CHECK(kept_errno == 77);
    joinable thread;
    const timespec past{};
    CHECK(pthread_timedjoin_np(thread.handle(), nullptr, &past) == ETIMEDOUT);
    CHECK(pthread_clockjoin_np(thread.handle(), nullptr, CLOCK_MONOTONIC, &past) == ETIMEDOUT);
    CHECK(pthread_tryjoin_np(thread.handle(), nullptr) == EBUSY);
    kept_errno = errno;
    CHECK(kept_errno == 77);
    CHECK(known(thread.handle()) != nullptr);
    CHECK(wait_now(os_thread_id_sig()).thread == 0);
    thread.end();
    CHECK(pthread_join(thread.handle(), nullptr) == 0);
  }
}

TEST_CASE("a thread that is cancelled while it joins leaves nothing behind, and the other can be joined") {
  const block_rate on(1);
  for (const joining_call& one : joining_calls) {
    CAPTURE(std::string(one.name));
    joinable thread;
    std::atomic<bool> came_back{false};
    worker waiting([&] {
      (void)one.call(thread.handle(), nullptr, long_enough);
      came_back.store(true);
    });
    REQUIRE(wait_of(waiting.id()).kind == wait_kind::join);
    const counted since(wait_kind::join);
    REQUIRE(pthread_cancel(waiting.handle()) == 0);
    CHECK(becomes([&] { return wait_now(waiting.id()).thread == 0; }));
    CHECK(since.blocked().count == one_wait);
    waiting.join();
    CHECK_FALSE(came_back.load());
    REQUIRE(known(thread.handle()) != nullptr);
    CHECK(known(thread.handle())->is_joinable.load());
    thread.end();
    CHECK(pthread_join(thread.handle(), nullptr) == 0);
  }
}

// ---- threads that are let go ---------------------------------------------------------------------------------------

TEST_CASE("a thread is known until it is joined") {
  const block_rate off(0);
  for (const joining_call& one : joining_calls) {
    CAPTURE(std::string(one.name));
    joinable thread;
    const pthread_t handle = thread.handle();
    REQUIRE(known(handle) != nullptr);
    CHECK(known(handle)->is_joinable.load());
    thread.end();
    CHECK(becomes([&thread] { return thread.has_ended(); }));
    CHECK(known(handle) != nullptr);
    CHECK(one.call(handle, nullptr, long_enough) == 0);
    CHECK(known(handle) == nullptr);
  }
}

TEST_CASE("a thread that is detached while it runs is known, and not as one to join") {
  joinable thread;
  const pthread_t handle = thread.handle();
  REQUIRE(known(handle) != nullptr);
  errno = 77;
  CHECK(pthread_detach(handle) == 0);
  const int kept_errno = errno;
  CHECK(kept_errno == 77);
  REQUIRE(known(handle) != nullptr);
  CHECK_FALSE(known(handle)->is_joinable.load());
  CHECK(pthread_detach(handle) == EINVAL);
  CHECK(pthread_join(handle, nullptr) == EINVAL);
  thread.end();
  CHECK(becomes([&thread] { return thread.has_ended(); }));
}

TEST_CASE("a thread that is detached before it runs is not one to join when it does") {
  struct gate {
    std::atomic<bool> is_detached{false};
    std::atomic<bool> checked{false};
  };
  // Some of them do run already: whichever comes first, the answer is the same.
  for (int i = 0; i < 20; ++i) {
    gate here;
    pthread_t handle{};
    REQUIRE(pthread_create(&handle, nullptr, [](void* argument) -> void* {
      auto& there = *static_cast<gate*>(argument);
      while (!there.is_detached.load()) os_yield();
      const made_thread* const self = known(pthread_self());
      CHECK(self != nullptr);
      if (self != nullptr) CHECK_FALSE(self->is_joinable.load());
      there.checked.store(true);
      return nullptr;
    }, &here) == 0);
    CHECK(pthread_detach(handle) == 0);
    here.is_detached.store(true);
    CHECK(becomes([&here] { return here.checked.load(); }));
  }
}

TEST_CASE("a thread that has ended is gone when it is detached") {
  joinable thread;
  const pthread_t handle = thread.handle();
  thread.end();
  REQUIRE(becomes([&thread] { return thread.has_ended(); }));
  CHECK(known(handle) != nullptr);
  CHECK(pthread_detach(handle) == 0);
  CHECK(known(handle) == nullptr);
}

TEST_CASE("a thread that cannot be joined is still known as one to join") {
  joinable thread;
  const pthread_t handle = thread.handle();
  std::thread other([handle] { CHECK(pthread_tryjoin_np(handle, nullptr) == EBUSY); });
  other.join();
  const made_thread* const there = known(handle);
  REQUIRE(there != nullptr);
  CHECK(there->is_joinable.load());
  thread.end();
  CHECK(pthread_join(handle, nullptr) == 0);
}

TEST_CASE("parts that follow threads are told which thread is let go, and whether it is joined") {
  joinable one;
  joinable other;
  tell_detached(one.handle());
  REQUIRE(known(one.handle()) != nullptr);
  CHECK_FALSE(known(one.handle())->is_joinable.load());
  // Of an earlier thread with the same pthread_t.
  tell_join_ends(other.handle(), known(other.handle())->number.load() - 1, true);
  CHECK(known(other.handle()) != nullptr);
  tell_join_ends(other.handle(), tell_join_begins(other.handle()), true);
  CHECK(known(other.handle()) == nullptr);
  one.end();
  other.end();
  CHECK(pthread_join(one.handle(), nullptr) == 0);
  CHECK(pthread_join(other.handle(), nullptr) == 0);
}

TEST_CASE("a forked child has no waits for its parent's threads, and joins its own") {
  const block_rate on(1);
  joinable thread;
  worker waiting([&thread] { (void)pthread_join(thread.handle(), nullptr); });
  REQUIRE(wait_of(waiting.id()).kind == wait_kind::join);
  const pid_t child = fork();
  if (child == 0) {
    int wrong = 0;
    if (all().waits.used() != 0) wrong |= 1;
    const counted since(wait_kind::join);
    joinable own;
    own.end();
    if (pthread_join(own.handle(), nullptr) != 0) wrong |= 2;
    if (since.blocked().count != one_wait) wrong |= 4;
    if (all().waits.used() != 0) wrong |= 8;
    _exit(wrong);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(wait_now(waiting.id()).thread == waiting.id());
  thread.end();
}

// ---- without a next definition -------------------------------------------------------------------------------------

TEST_CASE("without a next definition joins are answered by libc's own under another name, or as not there") {
  joinable thread;
  const bool has_until = prof_libc_join_until != nullptr;
  const bool has_join = prof_libc_join != nullptr;
  const timespec past{};
  CHECK(timedjoin_entry::fallback(thread.handle(), nullptr, &past) == (has_until ? ETIMEDOUT : ENOSYS));
  CHECK(clockjoin_entry::fallback(thread.handle(), nullptr, CLOCK_MONOTONIC, &past) == (has_until ? ETIMEDOUT : ENOSYS));
  CHECK(tryjoin_entry::fallback(thread.handle(), nullptr) == (has_until ? EBUSY : ENOSYS));
  thread.end();
  CHECK(join_entry::fallback(thread.handle(), nullptr) == (has_join ? 0 : ENOSYS));
  if (!has_join) CHECK(pthread_join(thread.handle(), nullptr) == 0);
  if (prof_libc_detach == nullptr) CHECK(detach_entry::fallback(pthread_self()) == ENOSYS);
}

#endif
