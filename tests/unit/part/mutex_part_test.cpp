// tests/unit/part/mutex_part_test.cpp - fractions, windows, views, and what the part says of itself.

#include "prof/part/mutex_part.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "../process/own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::result;

constexpr profile_row mutex_row{{"mutex", 5}, {"of a test", 9}};
constexpr std::uint64_t ms = 1000000;
constexpr std::uintptr_t lock_a = 0x10000;

// A process of its own, in which an object's hooks count that want to be told of rates.
struct own_part {
  own_process own;
  process_state& process = *own.state;
  mutex_state& mutex = *mutex_of(process);
  hook_family_part hooks{hook_family_magic, nullptr, 0, nullptr, []() noexcept { ++told(); }};
  own_part() {
    process.hooks[static_cast<unsigned>(hook_family::lock)].owner.store(&hooks);
    told() = 0;
  }
  own_part(const own_part&) = delete;
  own_part& operator=(const own_part&) = delete;

  static int& told() {
    static int times = 0;
    return times;
  }
  std::uint64_t set(std::uint64_t fraction) { return prof_part_mutex_v2.set_rate(process, fraction); }
  std::uint64_t fraction() const { return mutex.fraction.in_effect_sig(); }
  void charge(count_table& counts, std::uint64_t contentions, std::uint64_t ns) {
    count_delay_sig(process, mutex, counts, overflow_stack, no_labels, {contentions, ns});
  }
  std::uint64_t reported(const char* name) const {
    struct {
      std::string name;
      std::uint64_t number;
    } wanted{name, ~std::uint64_t{0}};
    prof_part_mutex_v2.report(process, {[](void* context, const status_value& row) {
                                          auto& to = *static_cast<decltype(wanted)*>(context);
                                          if (to.name == row.name) to.number = row.number;
                                        },
                                        &wanted});
    return wanted.number;
  }
};

// A collection of the part, as collect/ makes it.
struct collected {
  arena memory{os_pages};
  prof::profile_request request;
  profile_run run;
  explicit collected(process_state& process, unsigned seconds = 0)
      : run{process, mutex_row, request, memory, memory.allocate(prof_part_mutex_v2.run_bytes)} {
    request.seconds = seconds;
  }
  result begin() { return prof_part_mutex_v2.begin(run); }
  // Contentions and ns of all that is shown.
  std::vector<std::int64_t> end() {
    REQUIRE(prof_part_mutex_v2.end(run));
    arena again(os_pages);
    profile p(again);
    prof_part_mutex_v2.fill(p, run);
    std::vector<std::int64_t> sum(2);
    for (const profile_sample& sample : p.samples) {
      for (std::size_t i = 0; i < 2; ++i) sum[i] += p.values_of(sample)[i];
    }
    return sum;
  }
};

}  // namespace

// ---- fractions ----------------------------------------------------------------------------------------------------------

TEST_CASE("setting the mutex profile's fraction answers with the one before, and the hooks are told") {
  own_part own;
  CHECK(own.set(5) == 0);
  CHECK(own_part::told() == 1);
  CHECK(own.fraction() == 5);
  CHECK(own.set(1) == 5);
  CHECK(own.set(0) == 1);
  CHECK(own.fraction() == 0);
  CHECK(own_part::told() == 3);
}

TEST_CASE("a mutex profile of what is known turns nothing on, and shows what the program wanted to be counted") {
  own_part own;
  own.charge(own.mutex.holders, 2, 5000);
  collected known(own.process);
  REQUIRE(known.begin());
  CHECK(own.fraction() == 0);
  own.charge(own.mutex.holders, 1, 300);
  CHECK(known.end() == std::vector<std::int64_t>{3, 5300});
  CHECK(own_part::told() == 0);
}

TEST_CASE("a mutex profile over some seconds counts while it is collected, at fraction 1 where it says none") {
  own_part own;
  own.charge(own.mutex.holders, 2, 5000);
  collected delta(own.process, 1);
  REQUIRE(delta.begin());
  CHECK(own.fraction() == 1);
  CHECK(own_part::told() == 1);
  own.charge(own.mutex.holders, 1, 300);
  CHECK(delta.end() == std::vector<std::int64_t>{1, 300});
  CHECK(own.fraction() == 0);
  CHECK(own_part::told() == 2);
}

TEST_CASE("of mutex profiles beside each other and the program's own fraction the most detailed is in effect") {
  own_part own;
  own.set(50);
  collected coarse(own.process, 1);
  collected fine(own.process, 1);
  coarse.request.rate = 100;
  fine.request.rate = 10;
  REQUIRE(coarse.begin());
  CHECK(own.fraction() == 50);
  REQUIRE(fine.begin());
  CHECK(own.fraction() == 10);
  (void)coarse.end();
  CHECK(own.fraction() == 10);
  (void)fine.end();
  CHECK(own.fraction() == 50);
  CHECK(own.set(0) == 50);
}

TEST_CASE("a mutex profile that is cancelled closes its window") {
  own_part own;
  collected delta(own.process, 1);
  REQUIRE(delta.begin());
  CHECK(own.fraction() == 1);
  prof_part_mutex_v2.cancel(delta.run);
  CHECK(own.fraction() == 0);
  CHECK(own_part::told() == 2);
  collected known(own.process);
  REQUIRE(known.begin());
  prof_part_mutex_v2.cancel(known.run);  // has none
  CHECK(own_part::told() == 2);
}

TEST_CASE("a mutex profile too many over some seconds is refused, and the others go on") {
  own_part own;
  std::vector<std::unique_ptr<collected>> running;
  for (int i = 0; i < rate_windows::max_windows; ++i) {
    running.push_back(std::make_unique<collected>(own.process, 1));
    running.back()->request.rate = 7;
    REQUIRE(running.back()->begin());
  }
  collected refused(own.process, 1);
  CHECK(refused.begin().code() == error::too_many_sessions);
  CHECK(own.fraction() == 7);
  collected known(own.process);
  CHECK(known.begin());
  (void)running.back()->end();
  running.pop_back();
  CHECK(refused.begin());
  CHECK(own.fraction() == 1);
}

TEST_CASE("when counting begins, who waits for a lock does so from then on, and not when it goes on") {
  own_part own;
  const std::uint64_t began = os_monotonic_ns_sig() - 20 * ms;
  const lock_wait wait = begin_lock_wait_sig(own.process, own.mutex, lock_a, began);
  const contended_lock& record = own.mutex.locks.at(wait.index);
  const auto last = [&] { return record.last.load() << clock_shift; };
  CHECK(last() <= began);
  own.set(1);
  CHECK(last() + 16 > began + 20 * ms);
  CHECK(record.weight.load() == 1);
  const std::uint64_t restarted = record.last.load();
  own.set(2);
  collected delta(own.process, 1);
  REQUIRE(delta.begin());
  (void)delta.end();
  own.set(0);
  CHECK(record.last.load() == restarted);
}

// ---- views --------------------------------------------------------------------------------------------------------------

TEST_CASE("the view says whose stacks are shown: those of holders, also where it says nothing, or of waiters") {
  const std::vector<std::int64_t> holders{1, 300};
  const std::vector<std::int64_t> waiters{2, 4000};
  const struct {
    const char* view;
    std::vector<std::int64_t> shown;
  } views[] = {{nullptr, holders}, {"", holders}, {"holder", holders}, {"waiter", waiters}};
  for (const auto& each : views) {
    for (const unsigned seconds : {0u, 1u}) {
      CAPTURE(seconds);
      own_part own;
      collected seen(own.process, seconds);
      seen.request.view = each.view;
      REQUIRE(seen.begin());
      own.charge(own.mutex.holders, 1, 300);
      own.charge(own.mutex.waiters, 2, 4000);
      CHECK(seen.end() == each.shown);
    }
  }
}

TEST_CASE("an unknown view is refused, and nothing is counted for it") {
  own_part own;
  for (const char* const view : {"waiters", "Holder", "x"}) {
    CAPTURE(view);
    collected refused(own.process, 1);
    refused.request.view = view;
    const result answer = refused.begin();
    CHECK(answer.code() == error::bad_argument);
    CHECK(std::string(answer.message()).find("holder or waiter") != std::string::npos);
  }
  CHECK(own.fraction() == 0);
  CHECK(own_part::told() == 0);
}

TEST_CASE("the waiters' view shows those that still wait with what they have been charged so far") {
  own_part own;
  own.set(1);
  const lock_wait wait = begin_lock_wait_sig(own.process, own.mutex, lock_a, 1000 * ms);
  wait_facts facts;
  facts.thread = os_thread_id_sig();  // waits of threads that are not there are forgotten
  facts.lock = wait.index + 1;
  facts.charged_before = wait.charged_before;
  REQUIRE(own.process.waits.begin_sig(facts, 1) != no_slot);
  (void)charge_unlock_sig(own.mutex, lock_a, 1003 * ms);
  note_hold_sig(own.mutex, lock_a, 1003 * ms);
  collected known(own.process);
  collected delta(own.process, 1);
  known.request.view = delta.request.view = "waiter";
  REQUIRE(known.begin());
  REQUIRE(delta.begin());
  (void)charge_unlock_sig(own.mutex, lock_a, 1005 * ms);
  CHECK(known.end() == std::vector<std::int64_t>{0, 5 * ms});
  CHECK(delta.end() == std::vector<std::int64_t>{0, 2 * ms});
}

// ---- the descriptor -----------------------------------------------------------------------------------------------------

TEST_CASE("the mutex part brings one profile, which is there at once") {
  own_part own;
  struct {
    int count = 0;
    std::string name;
    std::string description;
    std::string delta;
    bool is_plain = false;
  } seen;
  prof_part_mutex_v2.visit_rows(own.process, {[](void* context, const profile_row& row) {
                                                auto& to = *static_cast<decltype(seen)*>(context);
                                                constexpr decltype(row.write_text) mutex_text = &write_mutex_text;
                                                ++to.count;
                                                to.name = std::string(row.name.data, row.name.size);
                                                to.description = std::string(row.description.data, row.description.size);
                                                to.delta = std::string(row.delta_name.data, row.delta_name.size);
                                                to.is_plain = row.default_seconds == 0 && row.write_text == mutex_text &&
                                                              row.hides == nullptr && row.default_type.size == 0;
                                              },
                                              &seen});
  CHECK(seen.count == 1);
  CHECK(seen.name == "mutex");
  CHECK(seen.description == "Stack traces of holders of contended mutexes");
  CHECK(seen.delta == "mutex-delta");
  CHECK(seen.is_plain);
  CHECK(prof_part_mutex_v2.head.size == sizeof(profile_part));
  CHECK(prof_part_mutex_v2.head.layout != 0);
  CHECK(prof_part_mutex_v2.run_bytes >= sizeof(mutex_run));
}

TEST_CASE("fraction, samples and contended locks are reported, and stacks of holders counted") {
  own_part own;
  CHECK(own.reported("mutex fraction (1 of so many)") == 0);
  CHECK(own.reported("mutex samples") == 0);
  CHECK(own.reported("contended locks now") == 0);
  CHECK(prof_part_mutex_v2.count(own.process) == 0);
  own.set(3);
  own.charge(own.mutex.holders, 3, 300);
  own.charge(own.mutex.waiters, 3, 300);
  (void)begin_lock_wait_sig(own.process, own.mutex, lock_a, ms);
  CHECK(own.reported("mutex fraction (1 of so many)") == 3);
  CHECK(own.reported("mutex samples") == 2);
  CHECK(own.reported("contended locks now") == 1);
  CHECK(prof_part_mutex_v2.count(own.process) == 1);
}

TEST_CASE("a child keeps the program's fraction, forgets who waited, and its hooks are told") {
  own_part own;
  own.set(50);
  collected delta(own.process, 1);
  REQUIRE(delta.begin());
  (void)begin_lock_wait_sig(own.process, own.mutex, lock_a, ms);
  const int before = own_part::told();
  prof_part_mutex_v2.forget_parent(own.process, false);
  CHECK(own_part::told() == before + 1);
  CHECK(own.fraction() == 50);
  CHECK(own.mutex.locks.used() == 0);
}

TEST_CASE("a process that has never counted delays has none, and makes nothing of being asked") {
  const own_process own;
  CHECK(prof_part_mutex_v2.count(*own.state) == 0);
  prof_part_mutex_v2.forget_parent(*own.state, true);
  int rows = 0;
  prof_part_mutex_v2.report(*own.state, {[](void* context, const status_value& row) {
                                           *static_cast<int*>(context) += row.number == 0 ? 1 : 100;
                                         },
                                         &rows});
  CHECK(rows == 3);
  CHECK(attached_mutex_sig(*own.state) == nullptr);
}

TEST_CASE("without memory a mutex profile is refused and no fraction is kept") {
  static bool refuses;
  const own_process own;
  own.state->memory.map_sig = [](std::size_t size) noexcept { return refuses ? nullptr : os_map_in_steps_sig(size); };
  refuses = true;
  collected refused(*own.state, 1);
  CHECK(refused.begin().code() == error::out_of_memory);
  CHECK(prof_part_mutex_v2.set_rate(*own.state, 5) == 0);
  refuses = false;
  CHECK(prof_part_mutex_v2.set_rate(*own.state, 7) == 0);
  CHECK(prof_part_mutex_v2.set_rate(*own.state, 0) == 7);
  CHECK(refused.begin());
}

#endif
