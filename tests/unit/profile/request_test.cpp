// tests/unit/profile/request_test.cpp - what a request is when nothing is said.

#include "prof/profile/request.hpp"

#include <doctest/doctest.h>

#include <type_traits>

TEST_CASE("a request asks for what is known now, as pprof, with names") {
  const prof::profile_request request;
  CHECK(request.debug == 0);
  CHECK(request.seconds == 0);
  CHECK(request.symbolize == prof::symbols::standard);
  CHECK(request.format == prof::format::pprof);
  CHECK(request.hz == 0);
  CHECK(request.cancel == nullptr);
  CHECK(request.top_rows == 10);
  CHECK(request.top_type == nullptr);
}

TEST_CASE("structs that cross objects can be copied byte by byte") {
  static_assert(std::is_trivially_copyable_v<prof::profile_request>);
  static_assert(std::is_trivially_copyable_v<prof::cpu_options>);
  static_assert(std::is_trivially_copyable_v<prof::options>);
  CHECK(prof::options{}.max_depth == 128);
  CHECK(prof::cpu_options{}.symbolize == prof::symbols::standard);
  CHECK(prof::options{}.symbolize == prof::symbols::inlines);
}
