// tests/unit/base/platform_test.cpp - the attributes do what the comments say.

#include "prof/base/platform.hpp"

#include <doctest/doctest.h>

#include <thread>
#include <type_traits>

PROF_DETAIL_BEGIN
inline PROF_DETAIL_TLS int platform_test_counter PROF_DETAIL_TLS_MODEL = 7;
PROF_DETAIL_END

PROF_PUBLIC_BEGIN
struct platform_test_value {
  int number = 1;
};
PROF_PUBLIC_END

namespace {

int quiet() PROF_DETAIL_SIG { return 1; }
PROF_DETAIL_COLD int seldom() { return 2; }
PROF_DETAIL_NOINLINE int apart() { return 3; }

extern "C" int prof_test_absent() PROF_DETAIL_WEAK_IMPORT("prof_test_symbol_nobody_defines");
extern "C" int prof_test_hooked_as_seen() __asm__("prof_test_hooked_symbol");

}  // namespace

extern "C" {
PROF_DETAIL_HOOKED int prof_test_hooked_symbol() { return 41; }
}

TEST_CASE("public and private names live in one versioned namespace") {
  static_assert(std::is_same_v<prof::platform_test_value, prof::v1::platform_test_value>);
  CHECK(&prof::detail::platform_test_counter == &prof::v1::detail::platform_test_counter);
}

TEST_CASE("signal-path functions are noexcept, attributes change no results") {
  static_assert(noexcept(quiet()));
  CHECK(quiet() + seldom() + apart() == 6);
  CHECK(PROF_DETAIL_LIKELY(4) == 1);
  CHECK(PROF_DETAIL_UNLIKELY(0) == 0);
}

TEST_CASE("thread-local words are constant-initialised in every thread") {
  prof::detail::platform_test_counter = 8;
  int seen = 0;
  std::thread([&seen] { seen = prof::detail::platform_test_counter; }).join();
  CHECK(seen == 7);
  CHECK(prof::detail::platform_test_counter == 8);
}

TEST_CASE("a weak import may be absent, a hook is reached by its symbol") {
  const bool absent = &prof_test_absent == nullptr;
  CHECK(absent);
  CHECK(prof_test_hooked_as_seen() == 41);
}
