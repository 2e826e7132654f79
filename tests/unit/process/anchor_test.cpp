// tests/unit/process/anchor_test.cpp - where annotations lead.

#include "prof/process/anchor.hpp"

#include <doctest/doctest.h>

namespace {

using namespace prof::detail;

static_assert(sizeof(object_anchor) == sizeof(void*), "the notes of other versions point at it");

}  // namespace

TEST_CASE("an object that has the whole asks nobody else") {
#if PROF_DETAIL_ELF
  // Other files of this program include prof.hpp.
  REQUIRE(&prof_part_annotate_v1 != nullptr);
  CHECK(annotations_sig() == &prof_part_annotate_v1);
#else
  CHECK(annotations_sig() == nullptr);
#endif
}

TEST_CASE("an object without the whole follows its anchor") {
  const annotate_part part{};
  process_head process{};
  object_anchor object{};
  CHECK(annotations_of_sig(object) == nullptr);
  object.process.store(&process);
  CHECK(annotations_of_sig(object) == nullptr);
  process.annotations.store(&part);
  CHECK(annotations_of_sig(object) == &part);
}
