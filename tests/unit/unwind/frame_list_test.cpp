// tests/unit/unwind/frame_list_test.cpp - stacks of every length in buffers of every size.

#include "prof/unwind/frame_list.hpp"

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

using namespace prof::detail;

using frames = std::vector<std::uintptr_t>;

std::uintptr_t frame(std::size_t i) {
  return 0x1000 + i;
}

// What a reader wants: all of it, or the leaf's end, a mark, and of the root's end one frame less
// than a quarter of the buffer. A root that was not reached is a mark too.
frames wanted(std::size_t length, std::size_t capacity, bool reached_root) {
  const std::size_t root_part = capacity / 4;
  frames list;
  if (length <= capacity) {
    for (std::size_t i = 0; i < length; ++i) list.push_back(frame(i));
  } else {
    for (std::size_t i = 0; i < capacity - root_part; ++i) list.push_back(frame(i));
    if (root_part != 0) list.push_back(truncation_mark);
    for (std::size_t i = length - root_part + 1; root_part != 0 && i < length; ++i) {
      list.push_back(frame(i));
    }
  }
  const bool has_root = reached_root && (length <= capacity || root_part != 0);
  if (has_root || capacity == 1) return list;
  if (list.size() == capacity) list.pop_back();
  list.push_back(truncation_mark);
  return list;
}

frames filled(std::size_t length, std::size_t capacity, bool reached_root) {
  frames buffer(capacity + 2, 0xdead);
  frame_list list(buffer.data(), capacity);
  for (std::size_t i = 0; i < length; ++i) list.push(frame(i));
  REQUIRE(list.walked() == length);
  REQUIRE(list.capacity() == capacity);
  const std::size_t depth = list.finish(reached_root);
  REQUIRE(depth <= capacity);
  REQUIRE(buffer[capacity] == 0xdead);
  REQUIRE(buffer[capacity + 1] == 0xdead);
  buffer.resize(depth);
  return buffer;
}

std::size_t differences(std::size_t capacity) {
  std::size_t count = 0;
  for (std::size_t length = 0; length <= 3 * capacity; ++length) {
    for (const bool reached_root : {false, true}) {
      if (filled(length, capacity, reached_root) == wanted(length, capacity, reached_root))
        continue;
      ++count;
      MESSAGE("length " << length << ", reached root: " << reached_root);
    }
  }
  return count;
}

}  // namespace

TEST_CASE("every length in every small buffer") {
  for (std::size_t capacity = 1; capacity <= 40; ++capacity) {
    CAPTURE(capacity);
    CHECK(differences(capacity) == 0);
  }
}

TEST_CASE("every length in a buffer of the usual size") {
  CHECK(differences(128) == 0);
}

TEST_CASE("what fits stays as it is") {
  CHECK(filled(3, 4, true) == frames{frame(0), frame(1), frame(2)});
  CHECK(filled(4, 4, true) == frames{frame(0), frame(1), frame(2), frame(3)});
}

TEST_CASE("what does not fit keeps both ends around a mark") {
  const frames kept = filled(100, 8, true);
  CHECK(kept == frames{frame(0), frame(1), frame(2), frame(3), frame(4), frame(5), truncation_mark,
                       frame(99)});
}

TEST_CASE("a root that was not reached is a mark") {
  CHECK(filled(2, 4, false) == frames{frame(0), frame(1), truncation_mark});
  CHECK(filled(4, 4, false) == frames{frame(0), frame(1), frame(2), truncation_mark});
  CHECK(filled(1, 1, false) == frames{frame(0)});
}

TEST_CASE("a buffer too small for a root's end shows that frames are missing") {
  CHECK(filled(4, 3, true) == frames{frame(0), frame(1), truncation_mark});
  CHECK(filled(100, 2, true) == frames{frame(0), truncation_mark});
}
