// tests/unit/os/objects_test.cpp - notes of loaded objects, as the thin header reads them.

#include "prof/os/objects.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <vector>

#include "prof/process/file_note.hpp"

#if defined(__linux__)

namespace {

using namespace prof::detail;

struct note_bytes {
  std::vector<unsigned char> bytes;
  void add(const char* owner, std::uint32_t type, const std::string& contents) {
    const std::uint32_t head[3] = {static_cast<std::uint32_t>(std::strlen(owner) + 1),
                                   static_cast<std::uint32_t>(contents.size()), type};
    const auto* const words = reinterpret_cast<const unsigned char*>(head);
    bytes.insert(bytes.end(), words, words + sizeof head);
    put(std::string(owner) + '\0');
    put(contents);
  }
  void put(const std::string& text) {
    bytes.insert(bytes.end(), text.begin(), text.end());
    while (bytes.size() % 4 != 0) bytes.push_back(0);
  }
};

struct seen {
  std::vector<std::uint32_t> types;
  std::size_t most = 100;
};
bool see(void* context, const object_note& note) {
  auto& to = *static_cast<seen*>(context);
  to.types.push_back(note.type);
  return to.types.size() < to.most;
}

}  // namespace

TEST_CASE("prof's notes are found among others") {
  note_bytes notes;
  notes.add("GNU", 3, "build id of some length");
  notes.add("prof", 7, "one");
  notes.add("proF", 8, "");
  notes.add("prof", 9, "");
  seen all;
  CHECK(visit_notes(notes.bytes.data(), notes.bytes.size(), "", {&see, &all}));
  CHECK(all.types == std::vector<std::uint32_t>{7, 9});
  seen first;
  first.most = 1;
  CHECK_FALSE(visit_notes(notes.bytes.data(), notes.bytes.size(), "", {&see, &first}));
  CHECK(first.types == std::vector<std::uint32_t>{7});
}

TEST_CASE("notes that are cut short are not read") {
  note_bytes notes;
  notes.add("prof", 7, "some contents");
  for (std::size_t size = 0; size < notes.bytes.size(); ++size) {
    const std::vector<unsigned char> cut(notes.bytes.begin(), notes.bytes.begin() + static_cast<std::ptrdiff_t>(size));
    seen none;
    CHECK(visit_notes(cut.data(), cut.size(), "", {&see, &none}));
    CHECK(none.types.empty());
  }
}

TEST_CASE("this program's own notes are found by way of the loader") {
  seen all;
  os_for_each_object_note({&see, &all});
  CHECK_FALSE(all.types.empty());
  bool has_file = false;
  for (const std::uint32_t type : all.types) has_file = has_file || type == file_note_type;
  CHECK(has_file);
  seen first;
  first.most = 1;
  os_for_each_object_note({&see, &first});
  CHECK(first.types.size() == 1);
}

TEST_CASE("what is no object is not pinned, without harm") {
  os_pin_file(nullptr);
  os_pin_file("");
  os_pin_file("/no/such/file.so");
}

#endif
