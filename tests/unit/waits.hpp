// tests/unit/waits.hpp - what tests of waits share: rates of one test, what has been counted since, threads that wait.
#pragma once

#include <doctest/doctest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "prof/api.hpp"
#include "prof/process/capture.hpp"
#include "prof/sample/block.hpp"
#include "prof/sample/mutex.hpp"

namespace waits_test {

using namespace prof::detail;

constexpr std::uint64_t ms = 1000000;
constexpr std::uint64_t long_enough = 60000 * ms;
constexpr std::uint64_t one_wait = std::uint64_t{1} << wait_count_bits;

inline std::uint64_t now() { return os_monotonic_ns_sig(); }
inline process_state& all() { return *process_sig(); }
inline mutex_state& mutexes() {
  mutex_state* const there = mutex_of(all());
  REQUIRE(there != nullptr);
  return *there;
}

// Asks for at most 10 s; whether it has become true.
template <class Ask>
bool becomes(Ask ask) {
  for (int i = 0; i < 10000; ++i) {
    if (ask()) return true;
    os_sleep_ns(ms);
  }
  return false;
}

// The rates of one test: every contended unlock and every wait are counted, or none.
class rates {
 public:
  rates(unsigned fraction, std::uint64_t block_ns)
      : fraction_(prof::set_mutex_profile_fraction(fraction)), block_ns_(prof::set_block_profile_rate(block_ns)) {}
  ~rates() {
    prof::set_mutex_profile_fraction(fraction_);
    prof::set_block_profile_rate(block_ns_);
  }
  rates(const rates&) = delete;
  rates& operator=(const rates&) = delete;

 private:
  const unsigned fraction_;
  const std::uint64_t block_ns_;
};
// That of the block profile alone.
class block_rate {
 public:
  explicit block_rate(std::uint64_t ns) : before_(prof::set_block_profile_rate(ns)) {}
  ~block_rate() { prof::set_block_profile_rate(before_); }
  block_rate(const block_rate&) = delete;
  block_rate& operator=(const block_rate&) = delete;

 private:
  const std::uint64_t before_;
};

struct amount {
  std::uint64_t count = 0;
  std::uint64_t ns = 0;
  amount operator-(const amount& other) const { return {count - other.count, ns - other.ns}; }
};

// All that a table counts under keys that `wanted` picks.
template <class Wanted>
amount sum_of(const count_table& table, Wanted wanted) {
  arena memory(os_pages);
  count_snapshot snapshot(memory);
  table.read(snapshot);
  amount sum;
  table.for_each_since(nullptr, snapshot, [&](const count_key& key, const std::uint64_t* values) {
    if (!wanted(key)) return;
    sum.count += values[0];
    sum.ns += values[1];
  });
  return sum;
}

// What has been counted since this was made.
class counted {
 public:
  explicit counted(wait_kind kind)
      : kind_(kind), blocked_(blocked_now()), holders_(of(mutexes().holders)), waiters_(of(mutexes().waiters)) {}
  amount blocked() const { return blocked_now() - blocked_; }  // of the kind
  amount holders() const { return of(mutexes().holders) - holders_; }
  amount waiters() const { return of(mutexes().waiters) - waiters_; }

 private:
  static amount of(const count_table& table) {
    return sum_of(table, [](const count_key&) { return true; });
  }
  amount blocked_now() const {
    block_state* const block = block_of(all());
    REQUIRE(block != nullptr);
    return sum_of(block->counts,
                  [this](const count_key& key) { return key.extra == static_cast<std::uint64_t>(kind_); });
  }
  const wait_kind kind_;
  const amount blocked_;
  const amount holders_;
  const amount waiters_;
};

// A thread that is known by its id as soon as this is made.
class worker {
 public:
  template <class Run>
  explicit worker(Run run) {
    thread_ = std::thread([this, run] {
      id_.store(os_thread_id_sig());
      run();
    });
    while (id_.load() == 0) os_yield();
  }
  ~worker() { join(); }
  std::uint32_t id() const { return id_.load(); }
  std::thread::native_handle_type handle() { return thread_.native_handle(); }
  void join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  std::atomic<std::uint32_t> id_{0};
  std::thread thread_;
};

// What a thread waits for now; thread 0: for nothing.
inline wait_facts wait_now(std::uint32_t thread) {
  wait_facts found;
  all().waits.for_each([&](std::size_t, const wait_facts& facts) {
    if (facts.thread == thread) found = facts;
  });
  return found;
}
// The same when it does.
inline wait_facts wait_of(std::uint32_t thread) {
  wait_facts found;
  (void)becomes([&] { return (found = wait_now(thread)).thread != 0; });
  return found;
}

// What the calling thread waits for now, each of its waits.
inline std::vector<wait_facts> waits_now() {
  std::vector<wait_facts> found;
  const std::uint32_t self = os_thread_id_sig();
  all().waits.for_each([&](std::size_t, const wait_facts& facts) {
    if (facts.thread == self) found.push_back(facts);
  });
  return found;
}

// As a hook is entered. Its caller's frame lies above those of what it calls.
__attribute__((noinline)) inline host_call caller_here() { return host_call_sig(PROF_DETAIL_CALL_FRAME()); }

}  // namespace waits_test
