// tests/unit/process/part_test.cpp - the list of parts.

#include "prof/process/part.hpp"

#include <doctest/doctest.h>

using namespace prof::detail;

TEST_CASE("a part has one number, and its descriptor begins with its size") {
  CHECK(static_cast<unsigned>(part::cpu) == 0);
  CHECK(part_count >= 5);
  for (unsigned i = 0; i < part_count; ++i) {
    const part_head* const own = own_part_sig(i);  // null where this program was built without the part
    if (own != nullptr) CHECK(own->size >= sizeof(part_head) + sizeof(void*));
  }
  CHECK(own_part_sig(part_count) == nullptr);
}

TEST_CASE("a visitor hands on what it is given") {
  int seen = 0;
  const visitor<int> visit{[](void* context, const int& thing) { *static_cast<int*>(context) += thing; }, &seen};
  visit(3);
  visit(4);
  CHECK(seen == 7);
}
