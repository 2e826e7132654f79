// tests/unit/collect/api_table_test.cpp - how an object finds a table of the public API, and which it does not take.

#include "prof/collect/api_table.hpp"

#include <doctest/doctest.h>

#include <string>

#include "prof/api.hpp"
#include "prof/os/os.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// A note as an object has it, and the table it leads to.
struct noted_table {
  std::int32_t words[2];
  alignas(8) api_table table;

  explicit noted_table(std::uint32_t version) : words{static_cast<std::int32_t>(version), 0}, table(prof_api_v1) {
    const auto* const place = reinterpret_cast<const unsigned char*>(&words[1]);
    words[1] = static_cast<std::int32_t>(reinterpret_cast<const unsigned char*>(&table) - place);
  }
  noted_table(const noted_table&) = delete;
  noted_table& operator=(const noted_table&) = delete;

  object_note note(std::uint32_t type = api_note_type, std::size_t size = 8) const {
    object_note made;
    made.type = type;
    made.data = reinterpret_cast<const unsigned char*>(words);
    made.size = size;
    made.object = "/lib/of/somebody.so";
    return made;
  }
};

// What a search has found when it has seen a note; `goes_on`: it wants more.
const api_table* found_in(const object_note& note, bool& goes_on) {
  api_search search;
  goes_on = see_api(&search, note);
  CHECK(std::string(search.file.c_str()) == (search.found != nullptr ? "/lib/of/somebody.so" : ""));
  return search.found;
}

void is_passed_over(const object_note& note) {
  bool goes_on = false;
  CHECK(found_in(note, goes_on) == nullptr);
  CHECK(goes_on);
}

// The place for another object's table, as at the start of the program.
struct unknown_table {
  const void* const before = api_in_use.exchange(nullptr);
  unknown_table() = default;
  ~unknown_table() { api_in_use.store(before); }
  unknown_table(const unknown_table&) = delete;
  unknown_table& operator=(const unknown_table&) = delete;
};

}  // namespace

TEST_CASE("an object that includes the whole goes through its own table") {
  CHECK(api_sig() == &prof_api_v1);
  CHECK(api() == &prof_api_v1);
  const unknown_table unknown;
  CHECK(api_sig() == &prof_api_v1);
  CHECK(api() == &prof_api_v1);
  CHECK(api_in_use.load() == nullptr);  // it did not look
}

TEST_CASE("a table is taken from the first note that leads to one, and its object is remembered") {
  const noted_table other(PROF_VERSION);
  bool goes_on = true;
  CHECK(found_in(other.note(), goes_on) == &other.table);
  CHECK_FALSE(goes_on);
}

TEST_CASE("of a later version of the same minor number the table is taken, with what it has more") {
  noted_table later(PROF_VERSION / 1000 * 1000 + 999);
  later.table.size = sizeof(api_table) + 64;
  bool goes_on = true;
  CHECK(found_in(later.note(), goes_on) == &later.table);
}

TEST_CASE("a table of another version is not taken") {
  const noted_table next_minor(PROF_VERSION + 1000);
  is_passed_over(next_minor.note());
  const noted_table next_major(PROF_VERSION + 1000000);
  is_passed_over(next_major.note());
}

TEST_CASE("a table that lacks what this header calls is not taken") {
  noted_table small(PROF_VERSION);
  small.table.size = sizeof(api_table) - sizeof(void*);
  is_passed_over(small.note());
  small.table.size = 0;
  is_passed_over(small.note());
}

TEST_CASE("other notes of prof, and such as are cut, are passed over") {
  const noted_table other(PROF_VERSION);
  is_passed_over(other.note(file_note_type));
  is_passed_over(other.note(anchor_note_type));
  is_passed_over(other.note(api_note_type + 1));
  is_passed_over(other.note(api_note_type, 7));
  is_passed_over(other.note(api_note_type, 0));
}

TEST_CASE("a search through the loaded objects finds this program's table and keeps it") {
  const unknown_table unknown;
  CHECK(find_api_slow() == &prof_api_v1);
  CHECK(api_in_use.load() == &prof_api_v1);
}

TEST_CASE("what is known is kept, whatever a later search finds") {
  const unknown_table unknown;
  const noted_table other(PROF_VERSION);
  api_in_use.store(&other.table);
  (void)find_api_slow();
  CHECK(api_in_use.load() == &other.table);
}

#endif
