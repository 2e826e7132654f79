// tests/unit/process/file_note_test.cpp - the note of this file is in this object.

#include "prof/process/file_note.hpp"

#include <doctest/doctest.h>

#include <set>

using namespace prof::detail;

TEST_CASE("types of notes are distinct, and none is version 0.1's first") {
  const std::set<std::uint32_t> types{file_note_type, anchor_note_type, api_note_type};
  CHECK(types.size() == 3);
  CHECK(types.count(1) == 0);
}

TEST_CASE("an object begins without another one's table") { CHECK(sizeof(api_in_use) == sizeof(void*)); }
