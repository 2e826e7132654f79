// tests/unit/http/workers_test.cpp - work is done once, beside other work, by as few threads as will do.

#include <prof/http/workers.hpp>

#include <doctest/doctest.h>

#if PROF_DETAIL_OS_LINUX

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <set>
#include <thread>
#include <vector>

#include "../children.hpp"

using namespace prof::detail;

namespace {

// Work that goes on until it is told to end, if it is to wait.
struct piece {
  std::atomic<bool> may_end{true};
  std::atomic<int> runs{0};
  std::atomic<bool> is_done{false};
  std::atomic<std::uint32_t> thread{0};

  http_work work() {
    return {[](void* of) {
              piece& self = *static_cast<piece*>(of);
              self.thread = os_thread_id_sig();
              self.runs++;
              while (!self.may_end) std::this_thread::yield();
            },
            [](void* of) { static_cast<piece*>(of)->is_done = true; }, this};
  }
};

struct own_workers {
  int event = os_make_event();
  http_workers workers;
  own_workers() { workers.begin(event, 0); }
  ~own_workers() {
    workers.end();
    os_close_socket(event);
  }
  // As the server's loop does: it sleeps until the event.
  void until_done(const piece& one) const {
    while (!one.is_done) {
      net_wait wait{event, net_readable, 0};
      os_wait(&wait, 1, net_forever);
      os_clear_event(event);
    }
  }
};

}  // namespace

TEST_CASE("work that comes when the last is done needs one thread, however often") {
  own_workers own;
  std::set<std::uint32_t> threads;
  for (int i = 0; i < 2000; ++i) {
    piece one;
    REQUIRE(own.workers.hand_over(one.work()));
    own.until_done(one);
    REQUIRE(one.runs == 1);
    threads.insert(one.thread);
  }
  CHECK(threads.size() == 1);
  CHECK(threads.count(os_thread_id_sig()) == 0);
  CHECK(own.workers.count() == 1);
}

TEST_CASE("work that goes on keeps nobody waiting until all have some, and then it is said") {
  std::vector<std::unique_ptr<piece>> pieces;
  piece late;
  own_workers own;
  for (std::size_t i = 0; i < http_max_workers; ++i) {
    pieces.push_back(std::make_unique<piece>());
    pieces.back()->may_end = false;
    REQUIRE(own.workers.hand_over(pieces.back()->work()));
  }
  for (const auto& one : pieces) {
    while (one->runs == 0) std::this_thread::yield();
  }
  CHECK_FALSE(own.workers.hand_over(late.work()));
  CHECK(late.runs == 0);
  pieces[3]->may_end = true;
  own.until_done(*pieces[3]);
  CHECK(own.workers.hand_over(late.work()));
  own.until_done(late);
  CHECK(late.thread == pieces[3]->thread);
  for (const auto& one : pieces) one->may_end = true;
}

TEST_CASE("the end waits for what is being done, and no thread is left") {
  piece slow;
  piece again;
  own_workers own;
  slow.may_end = false;
  REQUIRE(own.workers.hand_over(slow.work()));
  std::thread later([&] {
    os_sleep_ns(20000000);
    slow.may_end = true;
  });
  own.workers.end();
  CHECK(slow.is_done);
  later.join();
  CHECK(own.workers.count() == 0);
  REQUIRE(own.workers.hand_over(again.work()));
  own.until_done(again);
  CHECK(again.runs == 1);
}

TEST_CASE("work handed over right before the end is done, too") {
  for (int i = 0; i < 200; ++i) {
    piece first;
    piece second;
    own_workers own;
    REQUIRE(own.workers.hand_over(first.work()));
    if (i % 2 == 0) own.until_done(first);
    REQUIRE(own.workers.hand_over(second.work()));
    own.workers.end();
    REQUIRE(first.is_done);
    REQUIRE(second.is_done);
    REQUIRE(second.runs == 1);
  }
}

TEST_CASE("a worker knows that it is one") {
  own_workers own;
  struct asked {
    http_workers* workers;
    std::atomic<int> answer{-1};
  } question{&own.workers};
  const http_work work{[](void* of) {
                         asked& self = *static_cast<asked*>(of);
                         self.answer = self.workers->has_this_thread() ? 1 : 0;
                       },
                       [](void*) {}, &question};
  REQUIRE(own.workers.hand_over(work));
  while (question.answer < 0) std::this_thread::yield();
  CHECK(question.answer == 1);
  CHECK_FALSE(own.workers.has_this_thread());
}

TEST_CASE("where the system starts no thread, the one that hands work over does it") {
  if (!child_may_be_without_memory) return;
  const pid_t child = fork();
  if (child == 0) {
    const rlimit none{4096, 4096};
    setrlimit(RLIMIT_AS, &none);
    // The stacks that the thread library has kept.
    os_thread_handle thread{};
    while (os_start_thread([](void*) -> void* { pause(); return nullptr; }, nullptr, 0, thread) == 0) {
    }
    const int event = os_make_event();
    http_workers workers;
    workers.begin(event, 0);
    piece one;
    if (!workers.hand_over(one.work())) _exit(1);
    if (!one.is_done || one.runs != 1 || one.thread != os_thread_id_sig()) _exit(2);
    net_wait wait{event, net_readable, 0};
    if (os_wait(&wait, 1, 0) != 1) _exit(3);
    workers.end();
    _exit(workers.count() == 0 && !workers.has_this_thread() ? 0 : 4);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

#endif
