// tests/unit/base/result_test.cpp - errors as values: table, texts, cutting.

#include "prof/base/result.hpp"

#include <doctest/doctest.h>

#include <string>
#include <type_traits>

using prof::error;
using prof::result;
using prof::detail::error_messages;

TEST_CASE("the message table matches the enum one to one") {
  constexpr auto count = static_cast<std::size_t>(error::count_);
  static_assert(sizeof error_messages / sizeof error_messages[0] == count);
  for (std::size_t i = 0; i < count; ++i) {
    CAPTURE(i);
    CHECK(static_cast<std::size_t>(error_messages[i].code) == i);
  }
}

TEST_CASE("every text is one sentence with at most one %s") {
  for (const auto& row : error_messages) {
    const std::string text = row.text;
    CAPTURE(text);
    CHECK_FALSE(text.empty());
    CHECK(text.find('\n') == std::string::npos);
    CHECK(text.size() < prof::detail::result_text_size);
    const std::size_t mark = text.find('%');
    if (mark == std::string::npos) continue;
    CHECK(text.substr(mark, 2) == "%s");
    CHECK(text.find('%', mark + 1) == std::string::npos);
  }
}

TEST_CASE("no two errors read alike") {
  for (const auto& a : error_messages) {
    for (const auto& b : error_messages) {
      if (&a != &b) CHECK(std::string(a.text) != b.text);
    }
  }
}

TEST_CASE("a fresh result is success") {
  const result ok;
  CHECK(static_cast<bool>(ok));
  CHECK(ok.code() == error::none);
  CHECK(ok.os_errno() == 0);
  CHECK(std::string(ok.message()) == "ok");
  CHECK(std::string(result(error::none).message()) == "ok");
  CHECK(static_cast<bool>(result(error::none, "whatever")));
}

TEST_CASE("every error has a message of its own, without the mark") {
  for (int i = 1; i < static_cast<int>(error::count_); ++i) {
    const result failed(static_cast<error>(i), "DETAIL", 5);
    const std::string message = failed.message();
    CAPTURE(message);
    CHECK_FALSE(static_cast<bool>(failed));
    CHECK(failed.code() == static_cast<error>(i));
    CHECK(failed.os_errno() == 5);
    CHECK_FALSE(message.empty());
    CHECK(message.find("%s") == std::string::npos);
    const bool wants_detail = std::string(error_messages[i].text).find("%s") != std::string::npos;
    CHECK((message.find("DETAIL") != std::string::npos) == wants_detail);
  }
}

TEST_CASE("the detail stands where %s stood") {
  const result failed(error::open_failed, "/tmp/x: Permission denied", 13);
  CHECK(std::string(failed.message()) == "cannot write to /tmp/x: Permission denied; pass another path");
  CHECK(std::string(result(error::bad_argument, "say it so").message()) == "say it so");
  CHECK(std::string(result(error::bad_argument, "100 %s").message()) == "100 %s");
}

TEST_CASE("long details are cut, never overrun") {
  const std::string once(prof::detail::result_text_size, 'x');
  for (std::size_t size = 150; size < 1000; ++size) {
    const std::string detail(size, 'x');
    const result failed(error::unknown_profile, detail.c_str());
    const std::string message = failed.message();
    CHECK(message.size() < prof::detail::result_text_size);
    CHECK(message.compare(0, 17, "unknown profile \"") == 0);
  }
  const result full(error::bad_argument, once.c_str());
  CHECK(std::string(full.message()).size() == prof::detail::result_text_size - 1);
}

TEST_CASE("a copy keeps its text and cannot be ignored by accident") {
  result copy;
  {
    const result failed(error::write_failed, "Broken pipe", 32);
    copy = failed;
  }
  CHECK(std::string(copy.message()) == "writing the profile failed: Broken pipe");
  CHECK(copy.os_errno() == 32);
  static_assert(std::is_trivially_copyable_v<result>);
  static_assert(!std::is_convertible_v<result, bool>);
}

TEST_CASE("a message that is too long is cut, and ends in a NUL") {
  const std::string detail(500, 'x');
  const result failed(error::bad_argument, detail.c_str());
  CHECK(std::string(failed.message()) == detail.substr(0, prof::detail::result_text_size - 1));
}
