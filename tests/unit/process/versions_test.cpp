// tests/unit/process/versions_test.cpp - all files must have the same version; the first one that has not is named.

#include "prof/process/versions.hpp"

#include <doctest/doctest.h>

#include <string>

namespace {

using namespace prof::detail;

prof_note note_of(const char* file, std::uint32_t version) {
  prof_note note;
  note.type = file_note_type;
  note.version = version;
  note.text = file;
  return note;
}

}  // namespace

TEST_CASE("a version is shown with its three numbers") {
  CHECK(std::string(version_text(1002003).c_str()) == "1.2.3");
  CHECK(std::string(version_text(0).c_str()) == "0.0.0");
  CHECK(std::string(version_text(4294967295u).c_str()) == "4294.967.295");
}

TEST_CASE("the first file of another version is found, and the first of this one") {
  version_search found;
  see_version_sig(&found, note_of("mine.cpp", PROF_VERSION));
  see_version_sig(&found, note_of("mine_too.cpp", PROF_VERSION));
  CHECK(found.other.size() == 0);
  see_version_sig(&found, note_of("old.cpp", PROF_VERSION - 1));
  see_version_sig(&found, note_of("new.cpp", PROF_VERSION + 1));
  CHECK(std::string(found.same.c_str()) == "mine.cpp");
  CHECK(std::string(found.other.c_str()) == "old.cpp");
  CHECK(found.other_version == PROF_VERSION - 1);
}

TEST_CASE("only notes of files say a version") {
  version_search found;
  for (const std::uint32_t type : {anchor_note_type, api_note_type}) {
    prof_note note = note_of("", PROF_VERSION + 1);
    note.type = type;
    see_version_sig(&found, note);
  }
  CHECK(found.other.size() == 0);
  CHECK(found.other_version == 0);
}

TEST_CASE("the files of this program have one version") { CHECK(check_versions()); }
