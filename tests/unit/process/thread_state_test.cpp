// tests/unit/process/thread_state_test.cpp - a record for each thread, taken away when the thread has ended.

#include "prof/process/thread_state.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <vector>

#include "../base/own_memory.hpp"

namespace {

using namespace prof::detail;

struct bound_states {
  own_memory memory;
  thread_states table;
  bound_states() { table.bind(memory); }
  thread_state* make() { return table.make_sig(os_thread_id_sig()); }
  thread_state* find() { return table.find_sig(os_thread_id_sig()); }
};

}  // namespace

TEST_CASE("a thread has one record, and finds it again") {
  bound_states t;
  CHECK(t.find() == nullptr);
  thread_state* const mine = t.make();
  REQUIRE(mine != nullptr);
  CHECK(t.make() == mine);
  CHECK(t.find() == mine);
  CHECK(mine->labels.load() == no_labels);
  mine->labels.store(7);
  thread_state* other = nullptr;
  label_set_id labels = 99;
  std::thread([&] {
    other = t.make();
    labels = other->labels.load();
  }).join();
  CHECK(other != mine);
  CHECK(labels == no_labels);
  CHECK(t.find()->labels.load() == 7);
}

TEST_CASE("a later thread with the id of one that has ended begins afresh") {
  bound_states t;
  thread_state* const earlier = t.make();
  earlier->labels.store(7);
  earlier->own_code.store(3);
  earlier->pointer.store(earlier->pointer.load() + 64);  // as if it had been another thread
  CHECK(t.find() == nullptr);
  thread_state* const now = t.make();
  REQUIRE(now != nullptr);
  CHECK(now->labels.load() == no_labels);
  CHECK(now->own_code.load() == 0);
  CHECK(t.table.used() == 1);
}

TEST_CASE("without memory there is no record") {
  bound_states t;
  t.memory.run_out();
  CHECK(t.make() == nullptr);
  CHECK(t.find() == nullptr);
}

#if PROF_DETAIL_OS_LINUX

TEST_CASE("records of threads that have ended do not pile up") {
  bound_states t;
  (void)t.make();
  for (int i = 0; i < 2000; ++i) std::thread([&] { (void)t.make(); }).join();
  CHECK(t.find() != nullptr);
  CHECK(t.table.used() < 200);
}

TEST_CASE("records of threads that run stay, whoever comes and goes") {
  bound_states t;
  std::atomic<bool> stop{false};
  std::atomic<int> ready{0};
  std::atomic<int> lost{0};
  std::vector<std::thread> staying;
  for (label_set_id n = 1; n <= 8; ++n) {
    staying.emplace_back([&, n] {
      thread_state* const mine = t.make();
      mine->labels.store(n);
      ready.fetch_add(1);
      while (!stop.load()) {
        const thread_state* const seen = t.find();
        if (seen != mine || seen->labels.load() != n) lost.fetch_add(1);
        os_sleep_ns(1000000);
      }
    });
  }
  while (ready.load() != 8) os_yield();
  for (int i = 0; i < 300; ++i) std::thread([&] { (void)t.make(); }).join();
  stop.store(true);
  for (std::thread& thread : staying) thread.join();
  CHECK(lost.load() == 0);
}

TEST_CASE("after a fork the record of the thread that forked goes on, the others are gone") {
  bound_states t;
  std::thread([&] { (void)t.make(); }).join();
  thread_state* const mine = t.make();
  mine->labels.store(7);
  mine->own_code.store(2);
  mine->forking.store(true);
  const std::uint32_t before = os_thread_id_sig();
  // As in the child, where this thread has another id.
  CHECK(t.table.keep_forking(before + 1) == before);
  CHECK(t.find() == nullptr);
  thread_state* const kept = t.table.find_sig(before + 1);
  REQUIRE(kept != nullptr);
  CHECK(kept->labels.load() == 7);
  CHECK(kept->own_code.load() == 2);
  CHECK_FALSE(kept->forking.load());
  CHECK(t.table.used() == 1);
  CHECK(t.table.keep_forking(before) == 0);  // nobody is forking
  CHECK(t.table.used() == 0);
}

#endif
