// tests/unit/unwind/walk_effort_test.cpp - when a walk gives up.

#include "prof/unwind/walk_effort.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>

using namespace prof::detail;

TEST_CASE("a thread that is interrupted more often is walked less far") {
  const walk_limits all;
  for (const std::uint64_t period : {std::uint64_t{10000000}, std::uint64_t{1000000000}}) {
    const walk_limits whole = walk_limits_sig(period);
    CHECK(whole.frames == all.frames);
    CHECK(whole.pages == all.pages);
    CHECK(whole.effort == all.effort);
  }
  CHECK(walk_limits_sig(5000000).pages == all.pages / 2);
  CHECK(walk_limits_sig(5000000).effort == all.effort / 2);
  for (const std::uint64_t period : {std::uint64_t{1000000}, std::uint64_t{100000}, std::uint64_t{0}}) {
    const walk_limits least = walk_limits_sig(period);
    CHECK(least.frames == all.frames / 8);
    CHECK(least.pages == all.pages / 8);
    CHECK(least.effort == all.effort / 4);
    CHECK(least.new_rules == all.new_rules / 4);
  }
}

TEST_CASE("each of the limits ends a walk") {
  const walk_limits most{10, 3, 64, 5};
  CHECK(walk_effort(most).allows_sig(9));
  CHECK_FALSE(walk_effort(most).allows_sig(10));
  walk_effort pages(most);
  CHECK(pages.end_sig(0x1ff8) == 0x4ff8);
  pages.climb_sig(0x1000, 0x1ff8, 50);
  CHECK(pages.end_sig(0x1ff8) == 0x4ff8);
  pages.climb_sig(0x1ff8, 0x2000, 1);
  pages.climb_sig(0x2000, 0x900000, 1);  // a frame of nine MiB
  CHECK(pages.allows_sig(0));
  CHECK(pages.end_sig(0x900000) == 0x901000);
  pages.climb_sig(0x900000, 0x1000, 1);  // to another stack
  CHECK_FALSE(pages.allows_sig(0));
  walk_effort huge({10, 100, 64, 5});
  CHECK(huge.end_sig(0x1000) == 0x1000 + 64 * 4096);
  huge.climb_sig(0x1000, 0x9000000, 5000);  // the last of many is huge
  CHECK(huge.end_sig(0) == 35 * 4096);
  walk_effort rules(most);
  rules.look_up_sig(4, 0);
  CHECK(rules.allows_sig(0));
  rules.look_up_sig(1, 0);
  CHECK_FALSE(rules.allows_sig(0));
  walk_effort asked(most);
  asked.look_up_sig(0, 9);
  CHECK(asked.allows_sig(0));
  asked.look_up_sig(0, 1);
  CHECK_FALSE(asked.allows_sig(0));
  walk_effort interpreted(most);
  interpreted.interpret_sig();
  CHECK(interpreted.allows_sig(0));
  interpreted.interpret_sig();
  CHECK_FALSE(interpreted.allows_sig(0));
}

TEST_CASE("without a rule, a step in code that is copied costs most, in code that stays least") {
  const walk_limits most{100, 100, 640, 100};
  const auto steps = [&](bool is_lasting, bool is_file) {
    walk_effort effort(most);
    int n = 0;
    for (; effort.allows_sig(0); ++n) effort.go_without_rule_sig(is_lasting, is_file);
    return n;
  };
  CHECK(steps(false, true) == 10);
  CHECK(steps(false, false) == 54);
  CHECK(steps(true, true) == 320);
}
