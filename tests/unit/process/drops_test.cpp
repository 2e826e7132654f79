// tests/unit/process/drops_test.cpp - every cause of loss has a text of its own.

#include "prof/process/drops.hpp"

#include <doctest/doctest.h>

#include <set>
#include <string>

using namespace prof::detail;

TEST_CASE("every cause of loss has a text, and no two have the same") {
  std::set<std::string> texts;
  for (const char* const text : drop_texts) {
    CHECK(std::string(text).size() > 10);
    texts.insert(text);
  }
  CHECK(texts.size() == drop_count);
  CHECK(std::string(drop_texts[static_cast<unsigned>(drop::timer_failed)]).find("timer") != std::string::npos);
}
