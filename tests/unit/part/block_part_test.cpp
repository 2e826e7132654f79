// tests/unit/part/block_part_test.cpp - rates, windows, and what the part says of itself.

#include "prof/part/block_part.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../process/own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::result;

constexpr profile_row block_row{{"block", 5}, {"of a test", 9}};
constexpr std::uint64_t hour = 3600 * std::uint64_t{1000000000};

template <hook_family Family>
int& times_told() {
  static int times = 0;
  return times;
}
template <hook_family Family>
hook_family_part hooks_that_are_told() {
  times_told<Family>() = 0;
  return {hook_family_magic, nullptr, 0, nullptr, []() noexcept { ++times_told<Family>(); }};
}

// A process of its own, in which an object's hooks count that want to be told of rates.
struct own_part {
  own_process own;
  process_state& process = *own.state;
  block_state& block = *block_of(process);
  hook_family_part lock_hooks = hooks_that_are_told<hook_family::lock>();
  hook_family_part wait_hooks = hooks_that_are_told<hook_family::wait>();
  hook_family_part join_hooks = hooks_that_are_told<hook_family::join>();
  own_part() {
    process.hooks[static_cast<unsigned>(hook_family::lock)].owner.store(&lock_hooks);
    process.hooks[static_cast<unsigned>(hook_family::wait)].owner.store(&wait_hooks);
    process.hooks[static_cast<unsigned>(hook_family::join)].owner.store(&join_hooks);
  }
  own_part(const own_part&) = delete;
  own_part& operator=(const own_part&) = delete;

  // How often each of the three families was told.
  static bool are_told(int times) {
    return times_told<hook_family::lock>() == times && times_told<hook_family::wait>() == times &&
           times_told<hook_family::join>() == times;
  }
  std::uint64_t set(std::uint64_t ns) { return prof_part_block_v2.set_rate(process, ns); }
  std::uint64_t rate() const { return block.rate.in_effect_sig(); }
  void wait(std::uint64_t ns) {
    wait_facts facts;
    facts.rate_ns = 1;
    count_wait_sig(process, block, facts, ns);
  }
  std::uint64_t reported(const char* name) const {
    struct {
      std::string name;
      std::uint64_t number;
    } wanted{name, ~std::uint64_t{0}};
    prof_part_block_v2.report(process, {[](void* context, const status_value& row) {
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
      : run{process, block_row, request, memory, memory.allocate(prof_part_block_v2.run_bytes)} {
    request.seconds = seconds;
  }
  result begin() { return prof_part_block_v2.begin(run); }
  // Waits and ns of all that is shown.
  std::vector<std::int64_t> end() {
    REQUIRE(prof_part_block_v2.end(run));
    arena again(os_pages);
    profile p(again);
    prof_part_block_v2.fill(p, run);
    std::vector<std::int64_t> sum(2);
    for (const profile_sample& sample : p.samples) {
      for (std::size_t i = 0; i < 2; ++i) sum[i] += p.values_of(sample)[i];
    }
    return sum;
  }
};

}  // namespace

TEST_CASE("setting the block profile's rate answers with the one before, and all hooks of waits are told") {
  own_part own;
  CHECK(own_part::are_told(0));
  CHECK(own.set(5000) == 0);
  CHECK(own_part::are_told(1));
  CHECK(own.rate() == 5000);
  CHECK(own.set(1) == 5000);
  CHECK(own.set(0) == 1);
  CHECK(own.rate() == 0);
  CHECK(own_part::are_told(3));
}

TEST_CASE("a block profile of what is known turns nothing on, and shows what the program wanted to be counted") {
  own_part own;
  own.wait(5000);
  collected known(own.process);
  REQUIRE(known.begin());
  CHECK(own.rate() == 0);
  own.wait(300);
  CHECK(known.end() == std::vector<std::int64_t>{2, 5300});
  CHECK(own_part::are_told(0));
}

TEST_CASE("a block profile over some seconds counts while it is collected, at 10 us where it says no rate") {
  own_part own;
  own.wait(5000);
  collected delta(own.process, 1);
  REQUIRE(delta.begin());
  CHECK(own.rate() == 10000);
  CHECK(own_part::are_told(1));
  own.wait(300);
  CHECK(delta.end() == std::vector<std::int64_t>{1, 300});
  CHECK(own.rate() == 0);
  CHECK(own_part::are_told(2));
}

TEST_CASE("of block profiles beside each other and the program's own rate the most detailed is in effect") {
  own_part own;
  own.set(5000);
  collected coarse(own.process, 1);
  collected fine(own.process, 1);
  fine.request.rate = 100;
  REQUIRE(coarse.begin());
  CHECK(own.rate() == 5000);
  REQUIRE(fine.begin());
  CHECK(own.rate() == 100);
  (void)coarse.end();
  CHECK(own.rate() == 100);
  (void)fine.end();
  CHECK(own.rate() == 5000);
}

TEST_CASE("a block profile that is cancelled closes its window") {
  own_part own;
  collected delta(own.process, 1);
  REQUIRE(delta.begin());
  CHECK(own.rate() == 10000);
  prof_part_block_v2.cancel(delta.run);
  CHECK(own.rate() == 0);
  CHECK(own_part::are_told(2));
  collected known(own.process);
  REQUIRE(known.begin());
  prof_part_block_v2.cancel(known.run);  // has none
  CHECK(own_part::are_told(2));
}

TEST_CASE("a block profile too many over some seconds is refused, and the others go on") {
  own_part own;
  std::vector<std::unique_ptr<collected>> running;
  for (int i = 0; i < rate_windows::max_windows; ++i) {
    running.push_back(std::make_unique<collected>(own.process, 1));
    running.back()->request.rate = 77;
    REQUIRE(running.back()->begin());
  }
  collected refused(own.process, 1);
  refused.request.rate = 1;
  CHECK(refused.begin().code() == error::too_many_sessions);
  CHECK(own.rate() == 77);
  collected known(own.process);
  CHECK(known.begin());
  (void)running.back()->end();
  running.pop_back();
  CHECK(refused.begin());
  CHECK(own.rate() == 1);
}

TEST_CASE("a wait that goes on is shown in a profile, and in one over some seconds when it lasts for all of them") {
  own_part own;
  wait_facts facts;
  facts.thread = os_thread_id_sig();  // waits of threads that are not there are forgotten
  facts.rate_ns = 1;
  facts.began_ns = os_monotonic_ns_sig();
  const std::size_t place = own.process.waits.begin_sig(facts, 1);
  REQUIRE(place != no_slot);
  collected known(own.process);
  collected delta(own.process, 1);
  REQUIRE(known.begin());
  REQUIRE(delta.begin());
  const std::vector<std::int64_t> so_far = known.end();
  CHECK(so_far[0] == 1);
  CHECK(so_far[1] < static_cast<std::int64_t>(hour));
  count_wait_sig(own.process, own.block, facts, hour);
  own.process.waits.end_sig(place);
  const std::vector<std::int64_t> between = delta.end();
  CHECK(between[0] == 0);
  CHECK(between[1] > 0);
  CHECK(between[1] < static_cast<std::int64_t>(hour));
}

TEST_CASE("the block part brings one profile, which is there at once") {
  own_part own;
  struct {
    int count = 0;
    std::string name;
    std::string description;
    std::string delta;
    bool is_plain = false;
  } seen;
  prof_part_block_v2.visit_rows(own.process, {[](void* context, const profile_row& row) {
                                                auto& to = *static_cast<decltype(seen)*>(context);
                                                constexpr decltype(row.write_text) block_text = &write_block_text;
                                                ++to.count;
                                                to.name = std::string(row.name.data, row.name.size);
                                                to.description = std::string(row.description.data, row.description.size);
                                                to.delta = std::string(row.delta_name.data, row.delta_name.size);
                                                to.is_plain = row.default_seconds == 0 && row.write_text == block_text &&
                                                              row.hides == nullptr && row.default_type.size == 0;
                                              },
                                              &seen});
  CHECK(seen.count == 1);
  CHECK(seen.name == "block");
  CHECK(seen.description == "Stack traces that led to blocking on synchronization primitives");
  CHECK(seen.delta == "block-delta");
  CHECK(seen.is_plain);
  CHECK(prof_part_block_v2.head.size == sizeof(profile_part));
  CHECK(prof_part_block_v2.head.layout != 0);
  CHECK(prof_part_block_v2.run_bytes >= sizeof(block_run));
}

TEST_CASE("rate, samples and waits are reported, and stacks counted") {
  own_part own;
  CHECK(own.reported("block rate (ns)") == 0);
  CHECK(own.reported("block samples") == 0);
  CHECK(own.reported("waits seen now") == 0);
  CHECK(prof_part_block_v2.count(own.process) == 0);
  own.set(3000);
  own.wait(5);
  own.wait(6);
  REQUIRE(own.process.waits.begin_sig({}, 1) != no_slot);
  CHECK(own.reported("block rate (ns)") == 3000);
  CHECK(own.reported("block samples") == 2);
  CHECK(own.reported("waits seen now") == 1);
  CHECK(prof_part_block_v2.count(own.process) == 1);
}

TEST_CASE("a child keeps the program's rate and no window, and its hooks are told") {
  own_part own;
  own.set(5000);
  collected delta(own.process, 1);
  delta.request.rate = 1;
  REQUIRE(delta.begin());
  CHECK(own.rate() == 1);
  prof_part_block_v2.forget_parent(own.process, false);
  CHECK(own_part::are_told(3));
  CHECK(own.rate() == 5000);
}

TEST_CASE("a process that has never counted waits has none, and makes nothing of being asked") {
  const own_process own;
  CHECK(prof_part_block_v2.count(*own.state) == 0);
  prof_part_block_v2.forget_parent(*own.state, true);
  int rows = 0;
  prof_part_block_v2.report(*own.state, {[](void* context, const status_value& row) {
                                           *static_cast<int*>(context) += row.number == 0 ? 1 : 100;
                                         },
                                         &rows});
  CHECK(rows == 3);
  CHECK(attached_block_sig(*own.state) == nullptr);
}

TEST_CASE("without memory a block profile is refused and no rate is kept") {
  static bool refuses;
  const own_process own;
  own.state->memory.map_sig = [](std::size_t size) noexcept { return refuses ? nullptr : os_map_in_steps_sig(size); };
  refuses = true;
  collected refused(*own.state, 1);
  CHECK(refused.begin().code() == error::out_of_memory);
  CHECK(prof_part_block_v2.set_rate(*own.state, 5) == 0);
  refuses = false;
  CHECK(prof_part_block_v2.set_rate(*own.state, 7) == 0);
  CHECK(prof_part_block_v2.set_rate(*own.state, 0) == 7);
  CHECK(refused.begin());
}

#endif
