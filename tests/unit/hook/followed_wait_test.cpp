// tests/unit/hook/followed_wait_test.cpp - one wait from its begin to its end, whatever way it ends.

#include "prof/hook/followed_wait.hpp"

#include <doctest/doctest.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <thread>
#include <vector>

#include "prof/api.hpp"
#include "../waits.hpp"

#if PROF_DETAIL_OS_LINUX && PROF_DETAIL_OS_LOCKS

#include <csignal>
#include <sys/mman.h>
#include <sys/wait.h>

namespace {

using namespace waits_test;

char g_object = 0;

}  // namespace

TEST_CASE("a thread is known by its id and labels, and its waits are not followed while prof's own code runs") {
  const waiting_thread self = this_waiting_thread_sig();
  CHECK(self.process == &all());
  CHECK(self.id == os_thread_id_sig());
  CHECK(self.labels == labels_of_sig(all(), os_thread_id_sig()));
  {
    const prof::label_scope labels{{"waiting_test", "one"}};
    CHECK(this_waiting_thread_sig().labels != self.labels);
    CHECK(this_waiting_thread_sig().labels == labels_of_sig(all(), os_thread_id_sig()));
    const own_code_scope own(all());
    CHECK(this_waiting_thread_sig().process == nullptr);
  }
  CHECK(this_waiting_thread_sig().labels == self.labels);
  CHECK(this_waiting_thread_sig().process == &all());
  std::thread([&self] {
    CHECK(this_waiting_thread_sig().id != self.id);
    CHECK(this_waiting_thread_sig().labels == no_labels);
  }).join();
}

TEST_CASE("a wait is in the table from its begin to its end, and is counted once") {
  const rates on(0, 1);
  const counted since(wait_kind::sleep);
  const host_call caller = caller_here();
  followed_wait wait(wait_kind::sleep, &g_object, caller);
  CHECK(waits_now().empty());
  const std::uint64_t began = now();
  wait.begin_sig();
  REQUIRE(waits_now().size() == 1);
  const wait_facts facts = waits_now()[0];
  CHECK(facts.kind == wait_kind::sleep);
  CHECK(facts.object == address_of(&g_object));
  CHECK(facts.began_ns <= began);
  CHECK(facts.rate_ns == 1);
  CHECK(facts.lock == 0);
  CHECK(facts.stack == wait.stack());
  CHECK(facts.stack != overflow_stack);
  os_sleep_ns(5 * ms);
  wait.end_sig(true);
  const std::uint64_t end = now();
  CHECK(waits_now().empty());
  CHECK(since.blocked().count == one_wait);
  CHECK(since.blocked().ns >= 5 * ms);
  CHECK(since.blocked().ns <= end - facts.began_ns);
  wait.end_sig(true);
  CHECK(since.blocked().count == one_wait);
}

TEST_CASE("a wait that is left by unwinding ends") {
  const rates on(0, 1);
  const counted since(wait_kind::sleep);
  {
    const host_call caller = caller_here();
    followed_wait wait(wait_kind::sleep, &g_object, caller);
    wait.begin_sig();
    CHECK(waits_now().size() == 1);
  }
  CHECK(waits_now().empty());
  CHECK(since.blocked().count == one_wait);
}

TEST_CASE("a wait that never began, or has turned out to be none, is not counted") {
  const rates on(0, 1);
  const counted since(wait_kind::sleep);
  const host_call caller = caller_here();
  { followed_wait wait(wait_kind::sleep, &g_object, caller); }
  followed_wait wait(wait_kind::sleep, &g_object, caller);
  wait.begin_sig();
  wait.was_none_sig();
  wait.end_sig(true);
  CHECK(waits_now().empty());
  CHECK(since.blocked().count == 0);
}

TEST_CASE("a wait that no profile wants is in no table") {
  const host_call caller = caller_here();
  for (const bool mutex_only : {false, true}) {
    const rates some(mutex_only ? 1 : 0, 0);
    followed_wait wait(wait_kind::sleep, &g_object, caller);
    CHECK((wait.mutex() != nullptr) == mutex_only);
    wait.begin_sig();
    CHECK(waits_now().empty());
    wait.end_sig(true);
  }
  const rates on(1, 1);
  const own_code_scope own(all());
  const counted since(wait_kind::sleep);
  const std::size_t locks = mutexes().locks.used();
  followed_wait wait(wait_kind::sleep, &g_object, caller);
  wait.for_lock_sig();
  wait.for_cond_sig(&g_object);
  wait.begin_sig();
  CHECK(waits_now().empty());
  CHECK(mutexes().locks.used() == locks);
  wait.end_sig(true);
  CHECK(since.blocked().count == 0);
}

TEST_CASE("a wait for a lock has its record as long as it lasts, whether the lock is got or not") {
  const rates on(1, 0);
  const std::size_t locks = mutexes().locks.used();
  for (const bool got_it : {false, true}) {
    CAPTURE(got_it);
    const host_call caller = caller_here();
    followed_wait wait(wait_kind::mutex, &g_object, caller);
    wait.for_lock_sig();
    wait.begin_sig();
    REQUIRE(waits_now().size() == 1);
    CHECK(waits_now()[0].lock != 0);
    CHECK(waits_now()[0].rate_ns == 0);
    CHECK(mutexes().locks.used() == locks + 1);
    CHECK(mutexes().locks.find_sig(address_of(&g_object)) == waits_now()[0].lock - 1);
    os_sleep_ns(2 * ms);
    wait.end_sig(got_it);
    CHECK(waits_now().empty());
    // What was waited in vain is for the holder to pay.
    CHECK(mutexes().locks.used() == locks + (got_it ? 0 : 1));
    const delay charge = charge_unlock_sig(mutexes(), address_of(&g_object), now());
    CHECK((charge.ns >= 2 * ms - 64) == !got_it);
    CHECK(mutexes().locks.used() == locks);
  }
}

TEST_CASE("a wait at a condition variable has its record and its mutex as long as it lasts") {
  const rates on(1, 0);
  const std::size_t conds = mutexes().conds.used();
  char mutex = 0;
  for (const bool was_woken : {false, true}) {
    const host_call caller = caller_here();
    followed_wait wait(wait_kind::cond, &g_object, caller);
    wait.for_cond_sig(&mutex);
    wait.begin_sig();
    REQUIRE(waits_now().size() == 1);
    CHECK(waits_now()[0].mutex == address_of(&mutex));
    CHECK(mutexes().conds.used() == conds + 1);
    CHECK(mutexes().conds.find_sig(address_of(&g_object)) == waits_now()[0].lock - 1);
    wait.end_sig(was_woken);
    CHECK(waits_now().empty());
    CHECK(mutexes().conds.used() == conds);
  }
}

namespace {

// A wait that finds `others` in the table, and no room.
__attribute__((noinline)) void wait_without_room(std::size_t others) {
  auto& lost = all().drops[static_cast<unsigned>(drop::waits_full)];
  const std::uint64_t before = lost.load();
  const host_call caller = caller_here();
  followed_wait wait(wait_kind::sleep, &g_object, caller);
  wait.begin_sig();
  CHECK(lost.load() == before + 1);
  CHECK(waits_now().size() == others);
  wait.end_sig(true);
  CHECK(waits_now().size() == others);
}

}  // namespace

TEST_CASE("a wait that finds no room in the table is counted all the same, and said to be lost there") {
  const rates on(0, 1);
  const counted since(wait_kind::sleep);
  std::vector<std::size_t> taken;
  wait_facts other;
  other.thread = os_thread_id_sig();
  other.began_ns = now();
  const std::uint64_t mark = other.began_ns;  // as of a hook that is there still
  // All places that a wait of this thread may have.
  for (std::size_t index = 0; index != no_slot;) {
    index = all().waits.begin_sig(other, address_of(&mark));
    if (index != no_slot) taken.push_back(index);
  }
  wait_without_room(taken.size());
  for (const std::size_t index : taken) all().waits.end_sig(index);
  CHECK(waits_now().empty());
  CHECK(since.blocked().count == one_wait);
}

// ---- waits inside others, and waits that were left -----------------------------------------------------------------

namespace {

// Deeper in the stack than its caller.
__attribute__((noinline)) std::size_t waits_while_another_lasts() {
  const host_call caller = caller_here();
  followed_wait inner(wait_kind::futex, &g_object, caller);
  inner.begin_sig();
  const std::size_t count = waits_now().size();
  inner.end_sig(true);
  return count;
}
// A wait whose thread leaves it without a word, as a jump does: what it has taken stays.
__attribute__((noinline)) std::uintptr_t leave_a_wait(wait_kind kind, const volatile void* object,
                                                      const volatile void* mutex) {
  alignas(followed_wait) static char place[sizeof(followed_wait)];
  static host_call caller;
  caller = caller_here();
  auto* const wait = new (static_cast<void*>(place)) followed_wait(kind, object, caller);
  if (kind == wait_kind::cond) wait->for_cond_sig(mutex);
  else wait->for_lock_sig();
  wait->begin_sig();
  return caller.sp;
}

}  // namespace

TEST_CASE("a wait inside another of its thread, such as a handler's, is seen beside it and leaves it") {
  const rates on(0, 1);
  const counted outer_kind(wait_kind::sleep);
  const counted inner_kind(wait_kind::futex);
  const host_call caller = caller_here();
  followed_wait outer(wait_kind::sleep, &g_object, caller);
  outer.begin_sig();
  CHECK(waits_while_another_lasts() == 2);
  REQUIRE(waits_now().size() == 1);
  CHECK(waits_now()[0].kind == wait_kind::sleep);
  CHECK(inner_kind.blocked().count == one_wait);
  CHECK(outer_kind.blocked().count == 0);
  outer.end_sig(true);
  CHECK(waits_now().empty());
  CHECK(outer_kind.blocked().count == one_wait);
}

TEST_CASE("the next wait of a thread takes back what it has left: the wait, its lock and its condition variable") {
  const rates on(1, 1);
  const std::size_t locks = mutexes().locks.used();
  const std::size_t conds = mutexes().conds.used();
  char mutex = 0;
  for (const wait_kind kind : {wait_kind::mutex, wait_kind::rdlock, wait_kind::cond}) {
    CAPTURE(static_cast<int>(kind));
    const counted since(kind);
    const std::uintptr_t left_at = leave_a_wait(kind, &g_object, &mutex);
    REQUIRE(waits_now().size() == 1);
    CHECK(mutexes().locks.used() + mutexes().conds.used() == locks + conds + 1);
    os_sleep_ns(2 * ms);
    host_call caller = caller_here();
    caller.sp = left_at;
    followed_wait next(wait_kind::sleep, &caller, caller);
    next.begin_sig();
    REQUIRE(waits_now().size() == 1);
    CHECK(waits_now()[0].kind == wait_kind::sleep);
    next.end_sig(true);
    CHECK(waits_now().empty());
    CHECK(since.blocked().count == 0);
    // Of the lock's holder it is known that it is charged for what was waited.
    const delay charge = charge_unlock_sig(mutexes(), address_of(&g_object), now());
    CHECK((charge.ns != 0) == (kind != wait_kind::cond));
    CHECK(mutexes().locks.used() == locks);
    CHECK(mutexes().conds.used() == conds);
  }
}

TEST_CASE("waits that ended threads have left are forgotten before profiles are read, those of others not") {
  const rates on(1, 1);
  mutex_state& mutex = mutexes();
  const std::size_t locks = mutex.locks.used();
  std::uint32_t ended = 0;
  std::thread([&] {
    ended = os_thread_id_sig();
    (void)leave_a_wait(wait_kind::mutex, &g_object, nullptr);
  }).join();
  CHECK(becomes([&] { return os_thread_has_ended_sig(os_process_id_sig(), ended); }));
  std::atomic<bool> may_go{false};
  worker waiting([&] {
    const host_call caller = caller_here();
    followed_wait wait(wait_kind::futex, &g_object, caller);
    wait.begin_sig();
    while (!may_go.load()) os_yield();
    wait.end_sig(true);
  });
  CHECK(wait_of(waiting.id()).thread == waiting.id());
  CHECK(wait_now(ended).thread == ended);
  CHECK(mutex.locks.used() == locks + 1);
  forget_waits_of_ended_threads(all());
  CHECK(wait_now(ended).thread == 0);
  CHECK(wait_now(waiting.id()).thread == waiting.id());
  (void)charge_unlock_sig(mutex, address_of(&g_object), now());  // the holder pays, and the record goes
  CHECK(mutex.locks.used() == locks);
  may_go.store(true);
}

TEST_CASE("another wait of the thread is left if its mark is gone, cannot be read or lies where the stack has ended") {
  const std::uint32_t self = os_thread_id_sig();
  std::uint64_t mark = now();
  wait_facts facts;
  facts.thread = self;
  facts.began_ns = mark;
  const std::uintptr_t there = address_of(&mark);
  const auto is_left = [&](std::uintptr_t frame, std::uintptr_t here) {
    const std::size_t index = all().waits.begin_sig(facts, frame);
    REQUIRE(index != no_slot);
    CHECK(all().waits.find_sig(self) == index);
    const bool left = is_left_sig(all(), index, here);
    all().waits.end_sig(index);
    CHECK_FALSE(is_left_sig(all(), index, here));  // it has ended
    return left;
  };
  CHECK_FALSE(is_left(there, there - 64));
  CHECK(is_left(there, there + 64));
  CHECK(is_left(0, there - 64));
  mark += 1;
  CHECK(is_left(there, there - 64));
  CHECK(all().waits.find_sig(self) == no_slot);
}

TEST_CASE("a wait at a condition variable that is left after it was woken is no waiter of the mutex any more") {
  const rates on(1, 1);
  const std::size_t locks = mutexes().locks.used();
  const std::size_t conds = mutexes().conds.used();
  char mutex = 0;
  for (const bool by_broadcast : {false, true}) {
    CAPTURE(by_broadcast);
    const std::uintptr_t left_at = leave_a_wait(wait_kind::cond, &g_object, &mutex);
    wake_cond_sig(all(), mutexes(), address_of(&g_object), by_broadcast, 1000, [](std::uintptr_t) { return true; });
    CHECK(mutexes().locks.used() == locks + 1);
    host_call caller = caller_here();
    caller.sp = left_at;
    followed_wait next(wait_kind::sleep, &caller, caller);
    next.begin_sig();
    next.end_sig(true);
    CHECK(mutexes().locks.used() == locks);
    CHECK(mutexes().conds.used() == conds);
  }
}

namespace {

// A thread's stack with room for its handlers above or below it.
class stack_beside_handlers {
 public:
  static constexpr std::size_t half = std::size_t{256} << 10;
  explicit stack_beside_handlers(bool handlers_above) : above_(handlers_above) {
    pages_ = mmap(nullptr, 2 * half, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }
  ~stack_beside_handlers() { munmap(pages_, 2 * half); }
  stack_beside_handlers(const stack_beside_handlers&) = delete;
  stack_beside_handlers& operator=(const stack_beside_handlers&) = delete;
  void* of_thread() const { return place(!above_); }
  void* of_handlers() const { return place(above_); }

 private:
  void* place(bool upper) const { return static_cast<char*>(pages_) + (upper ? half : 0); }
  const bool above_;
  void* pages_;
};

std::atomic<std::size_t> g_waits_behind_handler{0};

// Waits on its own stack while its handler waits on another.
void* wait_twice(void* stack) {
  stack_t handlers{};
  handlers.ss_sp = stack;
  handlers.ss_size = stack_beside_handlers::half;
  sigaltstack(&handlers, nullptr);
  const host_call caller = caller_here();
  followed_wait outer(wait_kind::sleep, &g_object, caller);
  outer.begin_sig();
  raise(SIGUSR2);
  g_waits_behind_handler.store(waits_now().size());
  outer.end_sig(true);
  return nullptr;
}

// In a child, for what is wrong there stays wrong.
bool handler_leaves_the_wait(bool handlers_above) {
  const pid_t child = fork();
  if (child == 0) {
    const stack_beside_handlers stacks(handlers_above);
    struct sigaction wanted = {};
    wanted.sa_flags = SA_ONSTACK;
    wanted.sa_handler = [](int) { (void)waits_while_another_lasts(); };
    sigaction(SIGUSR2, &wanted, nullptr);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstack(&attributes, stacks.of_thread(), stack_beside_handlers::half);
    pthread_t thread{};
    if (pthread_create(&thread, &attributes, &wait_twice, stacks.of_handlers()) != 0) _exit(2);
    pthread_join(thread, nullptr);
    _exit(g_waits_behind_handler.load() == 1 && all().waits.used() == 0 ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) != 2);
  return status == 0;
}

}  // namespace

TEST_CASE("a handler that waits on a stack below its thread's leaves the wait that it interrupts") {
  const rates on(0, 1);
  CHECK(handler_leaves_the_wait(false));
}

TEST_CASE("a handler that waits on a stack above its thread's leaves the wait that it interrupts") {
  const rates on(0, 1);
  CHECK(handler_leaves_the_wait(true));
}

#endif
