// tests/unit/process/count_table_test.cpp - counts by stack, labels and one word; differences; what finds no room.

#include "prof/process/count_table.hpp"

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <thread>
#include <tuple>
#include <vector>

#include "../base/own_memory.hpp"
#include "prof/os/os.hpp"

namespace {

using namespace prof::detail;

using entry = std::tuple<stack_id, label_set_id, std::uint64_t>;
using sums = std::map<entry, std::vector<std::uint64_t>>;

struct bound_counts {
  own_memory memory;
  count_table table;
  arena pages{os_pages};
  std::deque<count_snapshot> snapshots;
  std::size_t counters;
  explicit bound_counts(std::size_t width) : counters(width) { table.bind(memory, width); }

  bool add(const count_key& key, std::size_t which, std::uint64_t amount) {
    bool lost = false;
    const std::size_t index = table.find_or_add_sig(key, lost);
    if (index != no_slot) table.add_to_sig(index, which, amount);
    return !lost;
  }
  const count_snapshot& snapshot() {
    snapshots.emplace_back(pages);
    table.read(snapshots.back());
    return snapshots.back();
  }
  sums since(const count_snapshot* base, const count_snapshot& now) const {
    sums found;
    table.for_each_since(base, now, [&](const count_key& key, const std::uint64_t* values) {
      std::vector<std::uint64_t>& sum = found[{key.stack, key.labels, key.extra}];
      sum.resize(counters);
      for (std::size_t k = 0; k < counters; ++k) sum[k] += values[k];
    });
    return found;
  }
};

}  // namespace

TEST_CASE("stack, labels and extra word each make an entry of their own") {
  bound_counts t(2);
  CHECK(t.add({5, 1, 0}, 0, 10));
  CHECK(t.add({5, 1, 0}, 1, 7));
  CHECK(t.add({5, 2, 0}, 0, 20));
  CHECK(t.add({5, 1, 9}, 0, 30));
  CHECK(t.add({6, 1, 0}, 0, 40));
  CHECK(t.add({5, 1, 0}, 0, 1));
  CHECK(t.table.used() == 4);
  const count_snapshot& now = t.snapshot();
  CHECK(t.since(nullptr, now) ==
        sums{{{5, 1, 0}, {11, 7}}, {{5, 2, 0}, {20, 0}}, {{5, 1, 9}, {30, 0}}, {{6, 1, 0}, {40, 0}}});
}

TEST_CASE("a difference has what changed between two moments, new entries too") {
  bound_counts t(1);
  t.add({1, 0, 0}, 0, 100);
  t.add({2, 0, 0}, 0, 100);
  const count_snapshot& base = t.snapshot();
  t.add({1, 0, 0}, 0, 5);
  for (stack_id stack = 10; stack < 1000; ++stack) t.add({stack, 0, 0}, 0, stack);  // more levels
  const count_snapshot& now = t.snapshot();
  const sums found = t.since(&base, now);
  CHECK(found.size() == 1 + 990);
  CHECK(found.at({1, 0, 0}) == std::vector<std::uint64_t>{5});
  CHECK(found.at({999, 0, 0}) == std::vector<std::uint64_t>{999});
  CHECK(t.since(&now, now).empty());
}

TEST_CASE("counters that take back what others counted are read first") {
  bound_counts t(2);
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    while (!stop.load()) {
      t.add({1, 0, 0}, 0, 1);
      t.add({1, 0, 0}, 1, 1);
    }
  });
  bool right = true;
  for (int i = 0; i < 500; ++i) {
    const count_snapshot& now = t.snapshot();
    t.table.for_each_since(nullptr, now, [&](const count_key&, const std::uint64_t* values) {
      right = right && values[1] <= values[0];
    });
  }
  stop.store(true);
  busy.join();
  CHECK(right);
}

TEST_CASE("what finds no room is counted under the stack that says so") {
  bound_counts t(1);
  std::uint64_t added = 0;
  std::uint64_t lost = 0;
  for (stack_id stack = 1; lost < 1000; ++stack, ++added) lost += t.add({stack, 0, 0}, 0, 1) ? 0u : 1u;
  CHECK(added > 100000);
  CHECK(t.table.overflow() == 1000);
  const count_snapshot& now = t.snapshot();
  const sums found = t.since(nullptr, now);
  CHECK(found.at({overflow_stack, no_labels, 0}) == std::vector<std::uint64_t>{1000});
  std::uint64_t sum = 0;
  for (const auto& one : found) sum += one.second[0];
  CHECK(sum == added);
}

TEST_CASE("without memory not even the overflow entry is there") {
  bound_counts t(1);
  t.memory.run_out();
  bool lost = false;
  CHECK(t.table.find_or_add_sig({1, 0, 0}, lost) == no_slot);
  CHECK(lost);
  const count_snapshot& now = t.snapshot();
  CHECK(t.since(nullptr, now).empty());
}

TEST_CASE("threads that count the same and other things at once lose nothing") {
  bound_counts t(2);
  std::vector<std::thread> threads;
  for (stack_id n = 0; n < 4; ++n) {
    threads.emplace_back([&t, n] {
      for (stack_id i = 0; i < 20000; ++i) {
        t.add({i % 700 + 1, 0, 0}, 0, 1);
        t.add({i % 100 + 1, n, 3}, 1, 2);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  const count_snapshot& now = t.snapshot();
  for (const auto& one : t.since(nullptr, now)) {
    first += one.second[0];
    second += one.second[1];
  }
  CHECK(first == 80000);
  CHECK(second == 160000);
}
