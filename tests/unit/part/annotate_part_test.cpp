// tests/unit/part/annotate_part_test.cpp - one keeper of labels, records for whoever has a heap part.

#include "prof/part/annotate_part.hpp"

#include <doctest/doctest.h>

#include <string>
#include <thread>

#include "../process/own_process.hpp"
#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

using namespace prof::detail;

TEST_CASE("whoever enters first keeps the labels of all threads") {
  process_state* const process = annotated_process();
  REQUIRE(process != nullptr);
  CHECK(process->annotations.load() == &prof_part_annotate_v1);
  const label_pair pair{"k", "v"};
  const label_set_id before = enter_labels(&pair, 1);
  CHECK(before == no_labels);
  CHECK(kept_labels_sig() != no_labels);
  CHECK(current_labels_sig(*process) == kept_labels_sig());
  label_set_id elsewhere = 99;
  std::thread([&] { elsewhere = current_labels_sig(*process); }).join();
  CHECK(elsewhere == no_labels);
  leave_labels(before);
  CHECK(kept_labels_sig() == no_labels);
}

TEST_CASE("labels go to the keeper, which may be another object") {
  process_state* const process = annotated_process();
  REQUIRE(process != nullptr);
  static label_set_id kept = no_labels;
  annotate_part other{};
  other.enter_labels = [](const label_pair*, std::size_t count) {
    const label_set_id before = kept;
    kept = static_cast<label_set_id>(40 + count);
    return before;
  };
  other.leave_labels = [](label_set_id before) { kept = before; };
  other.labels_sig = []() noexcept { return kept; };
  process->annotations.store(&other);
  {
    const prof::label_scope scope{{"a", "b"}, {"c", "d"}};
    CHECK(kept == 42);
    CHECK(current_labels_sig(*process) == 42);
    CHECK(kept_labels_sig() == no_labels);
  }
  CHECK(kept == no_labels);
  process->annotations.store(&prof_part_annotate_v1);
}

TEST_CASE("without a keeper there are no labels") {
  const own_process own;
  CHECK(current_labels_sig(*own.state) == no_labels);
}

TEST_CASE("objects that only annotate are told, once per change of what is loaded") {
  process_state* const process = annotated_process();
  REQUIRE(process != nullptr);
  CHECK(os_objects_loaded() > 0);
  tell_new_objects(*process);
  CHECK(process->objects_told.load() == os_objects_loaded());
  // An anchor that is told already stays as it is: this object's.
  process->objects_told.store(0);
  tell_new_objects(*process);
  CHECK(attached_process_sig() == process);
}

TEST_CASE("a gap that nobody takes care of is looked at again after 4 MiB") {
  poisson_gap gap{};
  process_state* const process = annotated_process();
  REQUIRE(process != nullptr);
  CHECK(any_heap_part_sig(*process) != nullptr);
  char object = 0;
  annotate_alloc_sig(gap, &object, 1, PROF_DETAIL_CALL_FRAME());
  CHECK(gap.random != 0);  // seeded: the heap part was asked
  annotate_free_sig(&object);
}

#endif
