// tests/unit/process/own_code_test.cpp - code of ours is told from the host's, thread by thread.

#include "prof/process/own_code.hpp"

#include <doctest/doctest.h>

#include <thread>

#include "own_process.hpp"

#if PROF_DETAIL_OS_LINUX

using namespace prof::detail;

TEST_CASE("code of ours is known while its scope lasts, in its own thread") {
  const own_process own;
  const std::uint32_t self = os_thread_id_sig();
  CHECK_FALSE(runs_own_code_sig(*own.state, self));
  {
    const own_code_scope outer(*own.state);
    CHECK(runs_own_code_sig(*own.state, self));
    {
      const own_code_scope inner(*own.state);
      CHECK(runs_own_code_sig(*own.state, self));
    }
    CHECK(runs_own_code_sig(*own.state, self));
    bool other = true;
    std::thread([&] { other = runs_own_code_sig(*own.state, os_thread_id_sig()); }).join();
    CHECK_FALSE(other);
  }
  CHECK_FALSE(runs_own_code_sig(*own.state, self));
}

TEST_CASE("labels are the thread's own") {
  const own_process own;
  CHECK(labels_of_sig(*own.state, os_thread_id_sig()) == no_labels);
  this_thread_sig(*own.state)->labels.store(5);
  CHECK(labels_of_sig(*own.state, os_thread_id_sig()) == 5);
  label_set_id other = 99;
  std::thread([&] { other = labels_of_sig(*own.state, os_thread_id_sig()); }).join();
  CHECK(other == no_labels);
}

TEST_CASE("where there is no room for a thread's record that is counted, and code of ours runs all the same") {
  const own_process own;
  own.state->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  {
    const own_code_scope scope(*own.state);
    CHECK_FALSE(runs_own_code_sig(*own.state, os_thread_id_sig()));
  }
  CHECK(drops_of(*own.state, static_cast<unsigned>(drop::thread_states_full)) == 1);
}

TEST_CASE("a lock that is held is waited for") {
  spin_lock lock;
  REQUIRE(lock.try_lock());
  std::atomic<bool> got{false};
  std::thread waiting([&] {
    const spin_guard guard(lock);
    got.store(true);
  });
  os_sleep_ns(20000000);
  CHECK_FALSE(got.load());
  lock.unlock();
  waiting.join();
  CHECK(got.load());
  CHECK_FALSE(lock.held());
}

#endif
