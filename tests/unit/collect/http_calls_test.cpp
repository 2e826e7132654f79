// tests/unit/collect/http_calls_test.cpp - the server as users call it; what it answers is in tests/unit/http.

#include "prof/collect/http_calls.hpp"

#include <doctest/doctest.h>

#include <string>

#include "prof/http/routes.hpp"
#include "prof/api.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using prof::error;

}  // namespace

TEST_CASE("the calls lead to this object's server") {
  CHECK(own_http_part() == &prof_part_http_v2);
  CHECK(find_http() == &prof_part_http_v2);
  CHECK(find_http()->head.size == sizeof(http_part));
  CHECK(find_http()->head.layout != 0);
}

TEST_CASE("an object without a server is led to the one that the process has") {
  CHECK(api()->find_http() == &prof_part_http_v2);
  CHECK(find_part_sig<http_part>(*enter_process(), part::http) == &prof_part_http_v2);
}

TEST_CASE("without a server there is no address, and nothing to stop") {
  CHECK(std::string(prof::http::address()).empty());
  prof::http::stop();
  CHECK(std::string(prof::http::address()).empty());
}

TEST_CASE("a server runs from serve to stop, once at a time") {
  REQUIRE(prof::http::serve("127.0.0.1:0"));
  const std::string address = prof::http::address();
  CHECK(address.compare(0, 10, "127.0.0.1:") == 0);
  CHECK(address != "127.0.0.1:0");
  CHECK(prof::http::serve("127.0.0.1:0").code() == error::server_running);
  CHECK(prof::http::address() == address);
  prof::http::stop();
  CHECK(std::string(prof::http::address()).empty());
  REQUIRE(prof::http::serve(address.c_str()));
  CHECK(prof::http::address() == address);
  prof::http::stop();
}

TEST_CASE("addresses are refused in words") {
  CHECK(prof::http::serve(nullptr).code() == error::bad_address);
  CHECK(prof::http::serve("nonsense").code() == error::bad_address);
  CHECK(prof::http::serve("192.0.2.1:6060").code() == error::not_loopback);
  CHECK(std::string(prof::http::address()).empty());
}

#endif
