// tests/unit/process/http_part_test.cpp - the beginning of every descriptor.

#include "prof/process/http_part.hpp"

#include <doctest/doctest.h>

using namespace prof::detail;

TEST_CASE("every descriptor begins with its size and its layout") {
  static_assert(sizeof(part_head) == 8, "objects of other versions read it");
  static_assert(offsetof(http_part, head) == 0, "it comes first");
  const bool has_nothing = http_part{}.serve == nullptr;
  CHECK(has_nothing);
}
