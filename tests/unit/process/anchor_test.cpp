// tests/unit/process/anchor_test.cpp - the words that objects of other versions read.

#include "prof/process/anchor.hpp"

#include <doctest/doctest.h>

using namespace prof::detail;

TEST_CASE("an anchor is four words of which each object writes its own") {
  static_assert(sizeof(object_anchor) == 2 * sizeof(void*) + 8, "read by copying");
  static_assert(sizeof(process_head) == 16, "the same beginning whatever follows");
  const object_anchor anchor{};
  CHECK(anchor.process.load() == nullptr);
  CHECK(anchor.offered.load() == nullptr);
}
