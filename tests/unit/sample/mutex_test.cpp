// tests/unit/sample/mutex_test.cpp - the profile of who makes others wait: counts by stack, both views, and its memory.

#include "prof/sample/mutex.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../process/own_locks.hpp"

#if PROF_DETAIL_OS_LINUX

using namespace own_locks_test;

// ---- profiles -----------------------------------------------------------------------------------------------------------

namespace {

stack_id stack_at(const own_locks& own, std::uintptr_t address) {
  stack_view stack;
  stack.frames = &address;
  stack.depth = 1;
  return own.process->stacks.intern_sig(stack);
}

struct shown_row {
  std::uint64_t address = 0;
  std::int64_t contentions = 0;
  std::int64_t ns = 0;
  bool operator==(const shown_row& other) const {
    return address == other.address && contentions == other.contentions && ns == other.ns;
  }
};
doctest::String toString(const std::vector<shown_row>& rows) {
  std::string text;
  for (const shown_row& row : rows) {
    text += std::to_string(row.address) + ": " + std::to_string(row.contentions) + " in " + std::to_string(row.ns) + "; ";
  }
  return text.c_str();
}

// What a profile shows of either view, in the order of its samples.
std::vector<shown_row> rows_of(const own_locks& own, const count_table& counts, const mutex_snapshot& now,
                               const mutex_snapshot* base) {
  arena memory(os_pages);
  profile p(memory);
  fill_mutex_profile(p, *own.process, counts, now, base);
  std::vector<shown_row> rows;
  for (const profile_sample& sample : p.samples) {
    rows.push_back({p.locations[p.frames_of(sample)[0]].address, p.values_of(sample)[0], p.values_of(sample)[1]});
  }
  return rows;
}

// A waiter as the hooks note it: in the table of waits, and at its lock.
struct noted_waiter {
  lock_wait wait;
  std::size_t place = no_slot;
  stack_id stack = overflow_stack;

  noted_waiter(const own_locks& own, std::uint32_t thread, stack_id from, std::uint64_t at)
      : wait(own.begins(at)), stack(from) {
    wait_facts facts;
    facts.thread = thread;
    facts.stack = stack;
    facts.began_ns = start + at;
    facts.lock = wait.index + 1;
    facts.charged_before = wait.charged_before;
    place = own.process->waits.begin_sig(facts, 1);
  }
  void gets(const own_locks& own, std::uint64_t at) const {
    count_delay_sig(*own.process, *own.mutex, own.mutex->waiters, stack, no_labels, own.gets(wait, at));
    own.process->waits.end_sig(place);
  }
};

struct snapshots {
  arena memory{os_pages};
  mutex_snapshot first{memory};
  mutex_snapshot second{memory};
};

}  // namespace

TEST_CASE("a profile has Go's two columns, and what each stack was charged") {
  const own_locks own;
  const stack_id one = stack_at(own, 0x1000);
  const stack_id other = stack_at(own, 0x2000);
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, one, no_labels, {1, 5000});
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, other, no_labels, {3, 7000});
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, one, no_labels, {0, 600});
  CHECK(own.mutex->samples.load() == 3);
  arena memory(os_pages);
  mutex_snapshot now(memory);
  own.mutex->holders.read(now.counts);
  profile p(memory);
  fill_mutex_profile(p, *own.process, own.mutex->holders, now, nullptr);
  const auto text = [&](string_index i) { return std::string(p.strings[i].data, p.strings[i].size); };
  REQUIRE(p.value_types.size() == 2);
  CHECK(text(p.value_types[0].type) == "contentions");
  CHECK(text(p.value_types[0].unit) == "count");
  CHECK(text(p.value_types[1].type) == "delay");
  CHECK(text(p.value_types[1].unit) == "nanoseconds");
  CHECK(p.period == 1);
  std::vector<shown_row> rows = rows_of(own, own.mutex->holders, now, nullptr);
  if (rows.size() == 2 && rows[0].address != 0x1000) std::swap(rows[0], rows[1]);
  CHECK(rows == std::vector<shown_row>{{0x1000, 1, 5600}, {0x2000, 3, 7000}});
}

TEST_CASE("labels keep delays of one stack apart") {
  const own_locks own;
  const label_pair pair{"k", "v"};
  const label_set_id labels = own.process->labels.intern(&pair, 1);
  const stack_id stack = stack_at(own, 0x1000);
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, no_labels, {1, 5});
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, labels, {1, 5});
  snapshots at;
  own.mutex->holders.read(at.first.counts);
  CHECK(rows_of(own, own.mutex->holders, at.first, nullptr).size() == 2);
}

TEST_CASE("a profile over some seconds is what was charged between its two ends") {
  const own_locks own;
  const stack_id stack = stack_at(own, 0x1000);
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, no_labels, {1, 5000});
  snapshots at;
  own.mutex->holders.read(at.first.counts);
  CHECK(rows_of(own, own.mutex->holders, at.first, &at.first).empty());
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, stack, no_labels, {2, 300});
  own.mutex->holders.read(at.second.counts);
  CHECK(rows_of(own, own.mutex->holders, at.second, &at.first) == std::vector<shown_row>{{0x1000, 2, 300}});
  CHECK(rows_of(own, own.mutex->holders, at.second, nullptr) == std::vector<shown_row>{{0x1000, 3, 5300}});
}

TEST_CASE("waiters show what they have been charged so far, once") {
  const own_locks own;
  const noted_waiter waiter(own, 1, stack_at(own, 0x1000), 0);
  snapshots before;
  read_waiters(*own.process, *own.mutex, before.first);
  CHECK(before.first.waits.size() == 1);
  CHECK(rows_of(own, own.mutex->waiters, before.first, nullptr).empty());  // its holder has not been charged either
  CHECK(own.unlocks(5 * ms) == charge{1, 5});
  own.barges(6 * ms);
  snapshots at;
  read_waiters(*own.process, *own.mutex, at.first);
  CHECK(rows_of(own, own.mutex->waiters, at.first, nullptr) == std::vector<shown_row>{{0x1000, 0, 5 * ms}});
  CHECK(own.unlocks(9 * ms) == charge{1, 3});
  waiter.gets(own, 9 * ms);
  read_waiters(*own.process, *own.mutex, at.second);
  CHECK(at.second.waits.size() == 0);
  CHECK(rows_of(own, own.mutex->waiters, at.second, nullptr) == std::vector<shown_row>{{0x1000, 1, 8 * ms}});
  CHECK(rows_of(own, own.mutex->waiters, at.second, &at.first) == std::vector<shown_row>{{0x1000, 1, 3 * ms}});
}

TEST_CASE("waiters that still wait at both ends show what they were charged in between") {
  const own_locks own;
  const noted_waiter one(own, 1, stack_at(own, 0x1000), 0);
  const noted_waiter other(own, 2, stack_at(own, 0x1000), 2 * ms);
  CHECK(own.unlocks(5 * ms) == charge{1, 5 + 3});
  snapshots at;
  read_waiters(*own.process, *own.mutex, at.first);
  own.barges(5 * ms);
  CHECK(own.unlocks(6 * ms) == charge{1, 1 + 1});
  read_waiters(*own.process, *own.mutex, at.second);
  CHECK(rows_of(own, own.mutex->waiters, at.second, nullptr) == std::vector<shown_row>{{0x1000, 0, (6 + 4) * ms}});
  CHECK(rows_of(own, own.mutex->waiters, at.second, &at.first) == std::vector<shown_row>{{0x1000, 0, 2 * ms}});
}

namespace {

// A waiter that gets its lock while a profile is read: when the first of what has been counted is about to be copied.
struct ending_waiter {
  static ending_waiter*& current() {
    static ending_waiter* only = nullptr;
    return only;
  }
  static void* map(std::size_t size) noexcept {
    ending_waiter* const self = current();
    if (self->snapshot.waits.size() == 1 && !self->has_ended) {
      self->has_ended = true;
      self->waiter.gets(self->own, 9 * ms);
    }
    return os_pages.map(size);
  }

  own_locks own;
  noted_waiter waiter{own, 1, stack_at(own, 0x1000), 0};
  noted_waiter other{own, 2, stack_at(own, 0x2000), 9 * ms};  // so that the lock's record stays
  bool has_ended = false;
  arena memory{page_source{&ending_waiter::map, os_pages.unmap}, 4096};
  mutex_snapshot snapshot{memory};
  ending_waiter() {
    current() = this;
    own.process->waits.end_sig(other.place);
  }
};

}  // namespace

TEST_CASE("a waiter that gets its lock while a profile is read is shown once") {
  ending_waiter t;
  CHECK(t.own.unlocks(9 * ms) == charge{1, 9});
  read_waiters(*t.own.process, *t.own.mutex, t.snapshot);
  REQUIRE(t.has_ended);
  CHECK(rows_of(t.own, t.own.mutex->waiters, t.snapshot, nullptr) == std::vector<shown_row>{{0x1000, 1, 9 * ms}});
}

TEST_CASE("waits that are for no lock, or at a condition variable, are no waiters of a lock") {
  const own_locks own;
  wait_facts facts;
  facts.thread = 1;
  CHECK(own.process->waits.begin_sig(facts, 1) != no_slot);
  facts.thread = 2;
  facts.kind = wait_kind::cond;
  facts.lock = 1;
  CHECK(own.process->waits.begin_sig(facts, 1) != no_slot);
  snapshots at;
  read_waiters(*own.process, *own.mutex, at.first);
  CHECK(at.first.waits.size() == 0);
}

// ---- memory -------------------------------------------------------------------------------------------------------------

TEST_CASE("a delay for which there is no memory is counted as lost") {
  const own_locks own;
  own.process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  count_delay_sig(*own.process, *own.mutex, own.mutex->holders, overflow_stack, no_labels, {1, 5});
  CHECK(own.mutex->samples.load() == 1);
  CHECK(own.mutex->holders.used() == 0);
  CHECK(drops_of(*own.process, static_cast<unsigned>(drop::count_table_full)) == 1);
}

TEST_CASE("a process has one state of the mutex profile, whoever is first, and none without memory") {
  static process_state* process = nullptr;
  static mutex_state* others = nullptr;
  const own_process own;
  process = own.state;
  CHECK(attached_mutex_sig(*process) == nullptr);
  process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  CHECK(mutex_of(*process) == nullptr);
  CHECK(attached_mutex_sig(*process) == nullptr);
  const std::uint64_t bytes = process->memory.bytes.load();
  process->memory.map_sig = [](std::size_t size) noexcept -> void* {  // another thread is quicker
    process->memory.map_sig = &os_map_in_steps_sig;
    others = mutex_of(*process);
    return os_map_in_steps_sig(size);
  };
  CHECK(mutex_of(*process) == others);
  CHECK(others != nullptr);
  CHECK(attached_mutex_sig(*process) == others);
  CHECK(mutex_of(*process) == others);
  CHECK(process->memory.bytes.load() == bytes + page_round(sizeof(mutex_state)));
  CHECK(others->fraction.in_effect_sig() == 0);
}

#endif
