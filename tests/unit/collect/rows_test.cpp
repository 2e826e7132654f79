// tests/unit/collect/rows_test.cpp - the profiles of a process by name, whichever parts bring them, and why one is not
// there.

#include "prof/collect/rows.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "../process/own_process.hpp"
#include "prof/api.hpp"
#include "rain_part.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;
using prof::result;

std::string text_of(text_view view) { return std::string(view.data, view.size); }

// "name+ " for each name that is there, "name- " for the others.
std::string listed(process_state& process) {
  arena memory(os_pages);
  arena_vector<listed_row> rows(memory);
  list_rows(process, rows);
  std::string text;
  for (const listed_row& row : rows) text += text_of(row.name) + (row.known.row != nullptr ? "+ " : "- ");
  return text;
}

std::string names_of_all_rows(process_state& process) {
  std::string text;
  for_each_row(process, [&](const known_row& known) { text += text_of(known.row->name) + " "; });
  return text;
}

std::string visited() {
  std::string text;
  prof::for_each_profile([&text](const char* name, bool available) {
    text.append(name).append(available ? "+ " : "- ");
  });
  return text;
}

}  // namespace

TEST_CASE("profiles are found by their whole name, with the part that brings them") {
  process_state& process = *enter_process();
  CHECK(find_row(process, "heap").part == &prof_part_heap_v2);
  CHECK(find_row(process, "allocs").part == &prof_part_heap_v2);
  CHECK(find_row(process, "profile").part == &prof_part_cpu_v2);
  CHECK(text_of(find_row(process, "allocs").row->name) == "allocs");
  for (const char* name : {"hea", "heap2", "Heap", "", "trace", "heap allocs"}) {
    CAPTURE(name);
    CHECK(find_row(process, name).row == nullptr);
    CHECK(find_row(process, name).part == nullptr);
  }
}

TEST_CASE("every text of a row has its right length, and is one line") {
  int rows = 0;
  for_each_row(*enter_process(), [&](const known_row& known) {
    const profile_row& row = *known.row;
    CAPTURE(row.name.data);
    ++rows;
    for (const text_view text : {row.name, row.description, row.default_type, row.delta_name}) {
      CHECK(text.size == std::strlen(text.data));
      CHECK(text.find('\n') == text.size);
    }
    CHECK(row.description.size != 0);
    CHECK((row.default_seconds != 0 || row.delta_name.size != 0));
  });
  CHECK(rows == 8);
}

TEST_CASE("what this version knows of switches: each name once, with the switch that brings it") {
  std::string all;
  for_each_switch_row([&](const switch_row& row) {
    CHECK(row.needs.starts_with("PROF_ENABLE_"));
    CHECK(row.needs.find(' ') == row.needs.size);
    all += text_of(row.name) + (row.available ? "+ " : "- ");
  });
  CHECK(all == "profile+ allocs+ heap+ mutex+ block+ goroutine+ threadcreate+ threads+ trace- ");
}

TEST_CASE("what is no profile says why and what to do") {
  const result unknown = explain_missing("no such");
  CHECK(unknown.code() == error::unknown_profile);
  CHECK(std::string(unknown.message()) == "unknown profile \"no such\"; for_each_profile lists the names");
  const result trace = explain_missing("trace");
  CHECK(trace.code() == error::not_in_version);
  CHECK(std::string(trace.message()) ==
        "profile \"trace\" needs PROF_ENABLE_TRACE, which is not available in this version");
  const result off = explain_missing("allocs");
  CHECK(off.code() == error::profile_off);
  CHECK(std::string(off.message()) ==
        "profile \"allocs\" needs PROF_ENABLE_HEAP, which is off; define it to 1 in a file that includes prof.hpp");
  CHECK(std::string(explain_missing("goroutine").message()).find("PROF_ENABLE_THREADS") != std::string::npos);
  CHECK(explain_missing("").code() == error::unknown_profile);
  CHECK(explain_missing("heap ").code() == error::unknown_profile);
  CHECK(explain_missing("allocs heap").code() == error::unknown_profile);
  const std::string long_name(1000, 'n');
  CHECK(explain_missing({long_name.data(), long_name.size()}).code() == error::unknown_profile);
}

TEST_CASE("a process without parts has no rows, and lists all names as absent") {
  const own_process bare;
  CHECK(find_row(*bare.state, "heap").row == nullptr);
  CHECK(names_of_all_rows(*bare.state).empty());
  CHECK(listed(*bare.state) == "allocs- block- goroutine- heap- mutex- profile- threadcreate- threads- trace- ");
}

TEST_CASE("a part that is registered at run time is there like any other") {
  const own_process own;
  process_state& process = *own.state;
  {
    const part_scope registered(process);
    CHECK(find_row(process, "rain").part == &rain_part);
    CHECK(find_row(process, "rain/story").part == &rain_part);
    CHECK(find_row(process, "rai").row == nullptr);
    CHECK(names_of_all_rows(process) == "rain rain/story ");
    CHECK(listed(process) ==
          "allocs- block- goroutine- heap- mutex- profile- rain+ rain/story+ threadcreate- threads- trace- ");
  }
  CHECK(find_row(process, "rain").row == nullptr);
}

TEST_CASE("its profiles are visited by for_each_profile, names cut to their size") {
  CHECK(visited() == "allocs+ block+ goroutine+ heap+ mutex+ profile+ threadcreate+ threads+ trace- ");
  {
    const part_scope registered(*enter_process());
    CHECK(visited() == "allocs+ block+ goroutine+ heap+ mutex+ profile+ rain+ rain/story+ threadcreate+ threads+ trace- ");
  }
  CHECK(visited() == "allocs+ block+ goroutine+ heap+ mutex+ profile+ threadcreate+ threads+ trace- ");
}

TEST_CASE("a part may bring a profile whose switch is not in this version") {
  profile_part mutexes = rain_part;
  mutexes.visit_rows = [](process_state&, visitor<profile_row> visit) {
    static const profile_row row{{"mutex", 5}, {"What waits for what", 19}};
    visit(row);
  };
  const own_process own;
  const part_scope registered(*own.state, mutexes);
  CHECK(find_row(*own.state, "mutex").part == &mutexes);
  CHECK(listed(*own.state) == "allocs- block- goroutine- heap- mutex+ profile- threadcreate- threads- trace- ");
}

TEST_CASE("a name is the profile of the part that comes first") {
  profile_part heaps = rain_part;
  heaps.visit_rows = [](process_state&, visitor<profile_row> visit) {
    static const profile_row row{{"heap", 4}, {"Another heap", 12}};
    visit(row);
  };
  process_state& process = *enter_process();
  const part_scope registered(process, heaps);
  CHECK(find_row(process, "heap").part == &prof_part_heap_v2);
}

TEST_CASE("a part takes one place however often it is registered, and eight find one") {
  const own_process own;
  std::vector<profile_part> parts(8, rain_part);
  for (const profile_part& part : parts) {
    CHECK(register_profile_part(*own.state, part));
    CHECK(register_profile_part(*own.state, part));
  }
  CHECK_FALSE(register_profile_part(*own.state, rain_part));
  CHECK(register_profile_part(*own.state, parts[7]));
}

TEST_CASE("names are in the order of their characters, shorter ones first") {
  CHECK(name_before("a", "b"));
  CHECK(name_before("a", "aa"));
  CHECK(name_before("", "a"));
  CHECK(name_before("Z", "a"));
  CHECK_FALSE(name_before("aa", "a"));
  CHECK_FALSE(name_before("a", "a"));
  CHECK_FALSE(name_before("", ""));
}

#endif
