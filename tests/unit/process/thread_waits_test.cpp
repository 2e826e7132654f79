// tests/unit/process/thread_waits_test.cpp - what threads wait for, as hooks saw it and as /proc says; who has it; circles.

#include "prof/process/thread_waits.hpp"

#include <doctest/doctest.h>
#include <pthread.h>

#include <atomic>
#include <initializer_list>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// Ids that no thread has (the kernel's end at 2^22).
constexpr std::uint32_t nobody = 0x10000000;
constexpr std::uint32_t a = nobody + 1;
constexpr std::uint32_t b = nobody + 2;
constexpr std::uint32_t c = nobody + 3;
constexpr std::uint32_t d = nobody + 4;
constexpr std::uint32_t e = nobody + 5;

std::uintptr_t at(const void* object) { return reinterpret_cast<std::uintptr_t>(object); }

// Waits of hand-made threads, in a process of their own.
struct hand_made {
  own_process own;
  arena memory{os_pages};
  thread_waits waits{memory};
  std::uint64_t clock = 1000;

  void add(std::uint32_t thread, wait_kind kind, const void* object) {
    wait_facts facts;
    facts.thread = thread;
    facts.kind = kind;
    facts.object = at(object);
    facts.began_ns = ++clock;
    REQUIRE(own.state->waits.begin_sig(facts, 1) != no_slot);
  }
  void look(const std::vector<std::uint32_t>& threads) {
    waits.look(*own.state, threads.size(), [&threads](std::size_t i) { return threads[i]; });
  }
  const thread_wait& of(std::uint32_t thread) const {
    const thread_wait* const found = waits.find(thread);
    REQUIRE(found != nullptr);
    REQUIRE(found->thread == thread);
    return *found;
  }
  std::vector<std::uint32_t> circles(const std::vector<std::uint32_t>& threads) const {
    std::vector<std::uint32_t> numbers;
    for (const std::uint32_t thread : threads) numbers.push_back(of(thread).circle);
    return numbers;
  }
};

using numbers = std::vector<std::uint32_t>;

}  // namespace

TEST_CASE("a wait that a hook saw is told with its kind, its object and its begin") {
  hand_made known;
  const int something = 0;
  const int other = 0;
  known.add(b, wait_kind::cond, &something);
  known.add(a, wait_kind::semaphore, &other);
  known.look({c, a, b});
  CHECK(known.of(b).waits);
  CHECK(static_cast<bool>(known.of(b).kind == wait_kind::cond));
  CHECK(known.of(b).object == at(&something));
  CHECK(known.of(b).began_ns == 1001);
  CHECK(static_cast<bool>(known.of(a).kind == wait_kind::semaphore));
  CHECK(known.of(a).object == at(&other));
  CHECK(known.of(a).began_ns == 1002);
  for (const std::uint32_t thread : {a, b}) {
    CHECK(known.of(thread).owner == 0);
    CHECK(known.of(thread).circle == 0);
  }
}

TEST_CASE("a thread that waits for nothing says so, and one that was not looked at is not known") {
  hand_made known;
  const int something = 0;
  known.add(b, wait_kind::cond, &something);
  known.look({a, c});
  CHECK_FALSE(known.of(a).waits);
  CHECK(known.of(a).object == 0);
  CHECK_FALSE(known.of(c).waits);
  CHECK(known.waits.find(b) == nullptr);
  CHECK(known.waits.find(0) == nullptr);
  CHECK(known.waits.find(~0u) == nullptr);
  CHECK(known.waits.circles() == 0);
}

TEST_CASE("a wait that has ended is none") {
  hand_made known;
  const int something = 0;
  wait_facts facts;
  facts.thread = a;
  facts.object = at(&something);
  known.own.state->waits.end_sig(known.own.state->waits.begin_sig(facts, 1));
  known.look({a});
  CHECK_FALSE(known.of(a).waits);
}

TEST_CASE("of several waits of one thread the last begun counts, which is a signal handler's") {
  hand_made known;
  const int first = 0;
  const int second = 0;
  known.add(a, wait_kind::mutex, &first);
  known.add(b, wait_kind::mutex, &first);
  known.add(a, wait_kind::semaphore, &second);
  known.look({a, b});
  CHECK(static_cast<bool>(known.of(a).kind == wait_kind::semaphore));
  CHECK(known.of(a).object == at(&second));
  CHECK(known.of(b).object == at(&first));
}

TEST_CASE("each of a thousand threads is found, in whichever order they were looked at") {
  hand_made known;
  static int things[1000];
  std::vector<std::uint32_t> threads;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::uint32_t thread = nobody + 2 * (i * 7919 % 1000);  // every other id, shuffled
    known.add(thread, wait_kind::futex, &things[i]);
    threads.push_back(thread);
  }
  known.look(threads);
  int wrong = 0;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const thread_wait* const found = known.waits.find(threads[i]);
    if (found == nullptr || found->thread != threads[i] || found->object != at(&things[i])) ++wrong;
    if (known.waits.find(threads[i] + 1) != nullptr) ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("without memory nothing is known, and nothing is harmed") {
  const own_process own;
  arena none({[](std::size_t) noexcept -> void* { return nullptr; }, [](void*, std::size_t) noexcept {}});
  thread_waits waits(none);
  waits.look(*own.state, 3, [](std::size_t i) { return a + static_cast<std::uint32_t>(i); });
  CHECK(waits.find(a) == nullptr);
  CHECK(waits.circles() == 0);
  CHECK(none.exhausted());
}

#if PROF_DETAIL_OS_LOCKS

// ---- who has it --------------------------------------------------------------------------------------------------------

namespace {

// A lock as it looks while a thread has it.
os_mutex mutex_of(std::uint32_t owner) {
  os_mutex mutex = PTHREAD_MUTEX_INITIALIZER;
  mutex.__data.__lock = 2;
  mutex.__data.__owner = static_cast<int>(owner);
  mutex.__data.__nusers = 1;
  return mutex;
}
os_rwlock rwlock_of(std::uint32_t writer) {
  os_rwlock lock = PTHREAD_RWLOCK_INITIALIZER;
  lock.__data.__cur_writer = static_cast<int>(writer);
  return lock;
}

}  // namespace

TEST_CASE("a mutex says who has it, a read-write lock who writes, other things nothing") {
  hand_made known;
  const os_mutex mutex = mutex_of(e);
  const os_rwlock lock = rwlock_of(e);
  known.add(a, wait_kind::mutex, &mutex);
  known.add(b, wait_kind::rdlock, &lock);
  known.add(c, wait_kind::wrlock, &lock);
  SUBCASE("a condition variable that would look like a mutex") { known.add(d, wait_kind::cond, &mutex); }
  SUBCASE("one that would look like a read-write lock") { known.add(d, wait_kind::cond, &lock); }
  known.look({a, b, c, d, e});
  CHECK(known.of(a).owner == e);
  CHECK(known.of(b).owner == e);
  CHECK(known.of(c).owner == e);
  CHECK(known.of(d).owner == 0);
  CHECK(known.waits.circles() == 0);
}

TEST_CASE("a lock that nobody has, or a thread that was not looked at, has no owner") {
  hand_made known;
  const os_mutex free = mutex_of(0);
  const os_mutex shared = mutex_of(e);
  const os_rwlock read = rwlock_of(0);
  known.add(a, wait_kind::mutex, &free);
  known.add(b, wait_kind::mutex, &shared);
  known.add(c, wait_kind::wrlock, &read);
  known.look({a, b, c});
  for (const std::uint32_t thread : {a, b, c}) {
    CHECK(known.of(thread).waits);
    CHECK(known.of(thread).owner == 0);
  }
}

TEST_CASE("a lock whose memory is gone has no owner, and reading it harms nobody") {
  hand_made known;
  void* const gone = os_map_sig(page_bytes);
  REQUIRE(gone != nullptr);
  os_unmap_sig(gone, page_bytes);
  known.add(a, wait_kind::mutex, gone);
  known.add(b, wait_kind::rdlock, gone);
  known.add(c, wait_kind::wrlock, nullptr);
  known.look({a, b, c});
  CHECK(known.of(a).waits);
  CHECK(known.of(a).object == at(gone));
  for (const std::uint32_t thread : {a, b, c}) CHECK(known.of(thread).owner == 0);
}

// ---- circles -----------------------------------------------------------------------------------------------------------

TEST_CASE("two threads that wait for each other are a circle") {
  hand_made known;
  const os_mutex of_a = mutex_of(a);
  const os_mutex of_b = mutex_of(b);
  known.add(a, wait_kind::mutex, &of_b);
  known.add(b, wait_kind::mutex, &of_a);
  known.look({a, b, c});
  CHECK(known.waits.circles() == 1);
  CHECK(known.circles({a, b, c}) == numbers{1, 1, 0});
  CHECK(known.of(a).owner == b);
  CHECK(known.of(b).owner == a);
}

TEST_CASE("three threads are a circle, and who only waits for it is not on it") {
  hand_made known;
  const os_mutex of_a = mutex_of(a);
  const os_rwlock of_b = rwlock_of(b);
  const os_mutex of_c = mutex_of(c);
  const os_mutex of_d = mutex_of(d);
  known.add(a, wait_kind::rdlock, &of_b);
  known.add(b, wait_kind::mutex, &of_c);
  known.add(c, wait_kind::mutex, &of_a);
  known.add(d, wait_kind::mutex, &of_a);
  known.add(e, wait_kind::mutex, &of_d);
  SUBCASE("listed from the front") { known.look({a, b, c, d, e}); }
  SUBCASE("listed from the back") { known.look({e, d, c, b, a}); }
  CHECK(known.waits.circles() == 1);
  CHECK(known.circles({a, b, c, d, e}) == numbers{1, 1, 1, 0, 0});
  CHECK(known.of(e).owner == d);
}

TEST_CASE("who only waits for a circle is not on it, whichever ids they have") {
  for (const bool first : {true, false}) {
    hand_made known;
    const std::uint32_t tail = first ? a : e;
    const std::uint32_t one = first ? d : a;
    const std::uint32_t two = first ? e : b;
    const os_mutex of_one = mutex_of(one);
    const os_mutex of_two = mutex_of(two);
    known.add(tail, wait_kind::mutex, &of_one);
    known.add(one, wait_kind::mutex, &of_two);
    known.add(two, wait_kind::mutex, &of_one);
    known.look({tail, one, two});
    CHECK(known.waits.circles() == 1);
    CHECK(known.circles({tail, one, two}) == numbers{0, 1, 1});
  }
}

TEST_CASE("a chain that ends is no circle") {
  hand_made known;
  const os_mutex of_b = mutex_of(b);
  const os_mutex of_c = mutex_of(c);
  const os_mutex of_d = mutex_of(d);
  known.add(a, wait_kind::mutex, &of_b);
  known.add(b, wait_kind::mutex, &of_c);
  known.add(c, wait_kind::mutex, &of_d);
  known.add(e, wait_kind::mutex, &of_c);
  known.look({a, b, c, d, e});
  CHECK(known.waits.circles() == 0);
  CHECK(known.circles({a, b, c, d, e}) == numbers{0, 0, 0, 0, 0});
  CHECK(known.of(c).owner == d);
}

TEST_CASE("two circles have two numbers") {
  hand_made known;
  const os_mutex of_a = mutex_of(a);
  const os_mutex of_b = mutex_of(b);
  const os_mutex of_c = mutex_of(c);
  const os_mutex of_d = mutex_of(d);
  known.add(a, wait_kind::mutex, &of_c);
  known.add(c, wait_kind::mutex, &of_a);
  known.add(b, wait_kind::mutex, &of_d);
  known.add(d, wait_kind::mutex, &of_b);
  known.look({a, b, c, d});
  CHECK(known.waits.circles() == 2);
  const numbers found = known.circles({a, b, c, d});
  CHECK(found[0] == found[2]);
  CHECK(found[1] == found[3]);
  CHECK(std::set<std::uint32_t>(found.begin(), found.end()) == std::set<std::uint32_t>{1, 2});
}

TEST_CASE("a thread that waits for its own mutex is a circle by itself") {
  hand_made known;
  const os_mutex of_a = mutex_of(a);
  known.add(a, wait_kind::mutex, &of_a);
  known.add(b, wait_kind::mutex, &of_a);
  known.look({a, b});
  CHECK(known.waits.circles() == 1);
  CHECK(known.of(a).owner == a);
  CHECK(known.circles({a, b}) == numbers{1, 0});
}

TEST_CASE("a circle of a thousand threads is found") {
  hand_made known;
  static os_mutex mutexes[1000];
  std::vector<std::uint32_t> threads;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    mutexes[i] = mutex_of(nobody + i);
    threads.push_back(nobody + i);
    known.add(nobody + i, wait_kind::mutex, &mutexes[(i + 1) % 1000]);
  }
  mutexes[0] = mutex_of(nobody);
  known.look(threads);
  CHECK(known.waits.circles() == 1);
  CHECK(known.circles(threads) == numbers(1000, 1));
}

#endif  // PROF_DETAIL_OS_LOCKS

// ---- what /proc says ---------------------------------------------------------------------------------------------------

namespace {

constexpr std::uint64_t second = 1000000000;

// Looks at threads until what is found is right, twenty seconds at most: a thread that is about to wait does not do so
// yet.
template <class Right>
bool look_until(const std::vector<std::uint32_t>& threads, Right right) {
  const std::uint64_t began = os_monotonic_ns_sig();
  while (os_monotonic_ns_sig() - began < 20 * second) {
    os_sleep_ns(1000000);
    hand_made known;
    known.look(threads);
    if (right(known)) return true;
  }
  return false;
}

// A thread whose id is known.
struct noted_thread {
  std::atomic<std::uint32_t> id{0};
  std::thread thread;
  template <class Work>
  explicit noted_thread(Work work) {
    thread = std::thread([this, work] {
      id.store(os_thread_id_sig());
      work();
    });
    while (id.load() == 0) os_yield();
  }
  ~noted_thread() { thread.join(); }
  noted_thread(const noted_thread&) = delete;
  noted_thread& operator=(const noted_thread&) = delete;
};

constexpr long futex_wait = 0;
constexpr long futex_wake = 1;

}  // namespace

TEST_CASE("a futex where no hook saw anybody is known by /proc") {
  std::atomic<std::uint32_t> word{0};
  noted_thread waiting([&word] {
    while (word.load() == 0) os_call_sig(SYS_futex, os_word(&word), futex_wait, 0, 0);
  });
  CHECK(look_until({waiting.id.load()}, [&](const hand_made& known) {
    const thread_wait& found = known.of(waiting.id.load());
    if (!found.waits) return false;
    CHECK(static_cast<bool>(found.kind == wait_kind::futex));
    CHECK(found.object == at(&word));
    CHECK(found.began_ns == 0);
    CHECK(found.owner == 0);
    return true;
  }));
  word.store(1);
  os_call_sig(SYS_futex, os_word(&word), futex_wake, 1, 0);
}

TEST_CASE("what a hook saw goes before what /proc says") {
  std::atomic<std::uint32_t> word{0};
  const int something = 0;
  noted_thread waiting([&word] {
    while (word.load() == 0) os_call_sig(SYS_futex, os_word(&word), futex_wait, 0, 0);
  });
  CHECK(look_until({waiting.id.load()}, [&](const hand_made& known) { return known.of(waiting.id.load()).waits; }));
  hand_made known;
  known.add(waiting.id.load(), wait_kind::barrier, &something);
  known.look({waiting.id.load()});
  CHECK(static_cast<bool>(known.of(waiting.id.load()).kind == wait_kind::barrier));
  CHECK(known.of(waiting.id.load()).object == at(&something));
  word.store(1);
  os_call_sig(SYS_futex, os_word(&word), futex_wake, 1, 0);
}

namespace {

// A thread on its way to a futex: it gets there so long after it has been told to.
struct late_waiter {
  std::atomic<std::uint32_t> word{0};
  std::atomic<bool> go{false};
  noted_thread thread;
  explicit late_waiter(std::uint64_t delay_ns)
      : thread([this, delay_ns] {
          while (!go.load()) {
          }
          const std::uint64_t began = os_monotonic_ns_sig();
          while (os_monotonic_ns_sig() - began < delay_ns) {
          }
          while (word.load() == 0) os_call_sig(SYS_futex, os_word(&word), futex_wait, 0, 0);
        }) {}
  ~late_waiter() {
    go.store(true);
    word.store(1);
    os_call_sig(SYS_futex, os_word(&word), futex_wake, 1, 0);
  }
  late_waiter(const late_waiter&) = delete;
  late_waiter& operator=(const late_waiter&) = delete;
  std::uint32_t id() const { return thread.id.load(); }
};

}  // namespace

TEST_CASE("a thread that is on its way to a wait is looked at again") {
  bool is_right = false;
  for (int tries = 0; tries < 50 && !is_right; ++tries) {
    late_waiter waiter(1000000);
    hand_made known;
    known.waits.look(*known.own.state, 2, [&waiter](std::size_t i) {
      if (i == 1) waiter.go.store(true);  // the waiter has been looked at
      return i == 0 ? waiter.id() : os_thread_id_sig();
    });
    const thread_wait& found = known.of(waiter.id());
    is_right = found.waits && found.object == at(&waiter.word);
  }
  CHECK(is_right);
}

TEST_CASE("a thread that has begun to wait while others were looked at is known to wait") {
  late_waiter waiter(0);
  hand_made known;
  bool is_there = false;
  known.waits.look(*known.own.state, 2, [&](std::size_t i) {
    if (i == 0) return waiter.id();
    waiter.go.store(true);
    for (int n = 0; n < 20000 && !is_there; ++n) {
      is_there = os_futex_of_thread(waiter.id()) != 0;
      os_sleep_ns(1000000);
    }
    return os_thread_id_sig();
  });
  CHECK(is_there);
  CHECK(known.of(waiter.id()).waits);
  CHECK(known.of(waiter.id()).object == at(&waiter.word));
}

TEST_CASE("a thread that runs or sleeps waits for no futex") {
  std::atomic<bool> end{false};
  noted_thread running([&end] {
    while (!end.load()) {
    }
  });
  noted_thread sleeping([&end] {
    while (!end.load()) os_sleep_ns(10000000);
  });
  for (int i = 0; i < 20; ++i) {
    hand_made known;
    known.look({running.id.load(), sleeping.id.load(), os_thread_id_sig()});
    for (const std::uint32_t thread : {running.id.load(), sleeping.id.load(), os_thread_id_sig()}) {
      CHECK_FALSE(known.of(thread).waits);
    }
    os_sleep_ns(1000000);
  }
  end.store(true);
}

#if PROF_DETAIL_OS_LOCKS

TEST_CASE("a mutex that a thread waits for without a hook is known as one, with its owner") {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&mutex);
  noted_thread waiting([&mutex] {
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
  });
  const std::uint32_t self = os_thread_id_sig();
  CHECK(look_until({waiting.id.load(), self}, [&](const hand_made& known) {
    const thread_wait& found = known.of(waiting.id.load());
    if (!found.waits) return false;
    CHECK(static_cast<bool>(found.kind == wait_kind::mutex));
    CHECK(found.object == at(&mutex));
    CHECK(found.owner == self);
    CHECK(found.circle == 0);
    CHECK_FALSE(known.of(self).waits);
    return true;
  }));
  pthread_mutex_unlock(&mutex);
}

namespace {

// What is known of a thread that waits at a futex which has, where a mutex would have it, an owner.
thread_wait look_at_futex(std::atomic<std::uint32_t>& word, std::uint32_t owner) {
  reinterpret_cast<std::uint32_t*>(&word)[2] = owner;
  word.store(2);  // locked, and somebody waits
  noted_thread waiting([&word] {
    while (word.load() == 2) os_call_sig(SYS_futex, os_word(&word), futex_wait, 2, 0);
  });
  thread_wait found;
  CHECK(look_until({waiting.id.load(), os_thread_id_sig()}, [&](const hand_made& known) {
    found = known.of(waiting.id.load());
    return found.waits;
  }));
  word.store(1);
  os_call_sig(SYS_futex, os_word(&word), futex_wake, 1, 0);
  CHECK(found.object == at(&word));
  return found;
}

struct alignas(2 * alignof(os_mutex)) mutex_like {
  std::atomic<std::uint32_t> words[16] = {};
};

}  // namespace

TEST_CASE("a futex where no mutex can begin is none, although it looks like one") {
  mutex_like thing;
  const thread_wait found = look_at_futex(thing.words[1], os_thread_id_sig());
  CHECK(found.owner == 0);
  CHECK(static_cast<bool>(found.kind == wait_kind::futex));
  CHECK(look_at_futex(thing.words[2], os_thread_id_sig()).owner == os_thread_id_sig());
}

TEST_CASE("a futex that looks like a mutex of nobody that lives has no owner") {
  mutex_like thing;
  CHECK(look_at_futex(thing.words[0], nobody).owner == 0);
}

TEST_CASE("a futex that looks like a mutex of nobody that lives is shown as a futex") {
  mutex_like thing;
  CHECK(static_cast<bool>(look_at_futex(thing.words[0], nobody).kind == wait_kind::futex));
}

TEST_CASE("threads that pass a lock on are no circle, whenever they are looked at") {
  own_process own;
  pthread_mutex_t mutexes[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
  std::atomic<bool> may_end{false};
  std::atomic<int> running{0};
  std::vector<std::uint32_t> ids(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    threads.emplace_back([&, i] {
      ids[i] = os_thread_id_sig();
      ++running;
      while (!may_end.load()) {  // one after the other, never both
        for (pthread_mutex_t& mutex : mutexes) {
          pthread_mutex_lock(&mutex);
          for (volatile int n = 0; n < 100;) n = n + 1;
          pthread_mutex_unlock(&mutex);
        }
      }
    });
  }
  while (running.load() < 4) os_yield();
  std::uint32_t circles = 0;
  for (int looks = 0; looks < 200; ++looks) {
    arena memory(os_pages);
    thread_waits waits(memory);
    waits.look(*own.state, ids.size(), [&ids](std::size_t i) { return ids[i]; });
    circles += waits.circles();
  }
  may_end.store(true);
  for (std::thread& thread : threads) thread.join();
  CHECK(circles == 0);
}

TEST_CASE("threads that really wait for each other are a circle") {
  pthread_mutex_t first = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_t second_one = PTHREAD_MUTEX_INITIALIZER;
  std::atomic<int> holding{0};
  std::atomic<bool> end{false};
  std::atomic<int> wrong{0};
  // Gives up now and then, so that the test ends.
  const auto wait_crosswise = [&](pthread_mutex_t& mine, pthread_mutex_t& other) {
    pthread_mutex_lock(&mine);
    ++holding;
    while (holding.load() != 2) os_yield();
    while (!end.load()) {
      timespec until{};
      clock_gettime(CLOCK_REALTIME, &until);
      until.tv_sec += 1;
      if (pthread_mutex_timedlock(&other, &until) != ETIMEDOUT) ++wrong;
    }
    --holding;
    while (holding.load() != 0) os_yield();
    pthread_mutex_unlock(&mine);
  };
  noted_thread one([&] { wait_crosswise(first, second_one); });
  noted_thread two([&] { wait_crosswise(second_one, first); });
  const std::uint32_t self = os_thread_id_sig();
  CHECK(look_until({self, one.id.load(), two.id.load()}, [&](const hand_made& known) {
    if (known.waits.circles() == 0) return false;
    CHECK(known.circles({self, one.id.load(), two.id.load()}) == numbers{0, 1, 1});
    CHECK(known.of(one.id.load()).owner == two.id.load());
    CHECK(known.of(one.id.load()).object == at(&second_one));
    CHECK(known.of(two.id.load()).owner == one.id.load());
    return true;
  }));
  end.store(true);
  CHECK(wrong.load() == 0);
}

#endif  // PROF_DETAIL_OS_LOCKS

#endif
