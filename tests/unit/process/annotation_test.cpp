// tests/unit/process/annotation_test.cpp - the one thread-local word, and where a function was called.

#include "prof/process/annotation.hpp"

#include <doctest/doctest.h>

#include <thread>

namespace {

using namespace prof::detail;

__attribute__((noinline)) call_frame called_here() { return PROF_DETAIL_CALL_FRAME(); }

}  // namespace

TEST_CASE("a thread begins with a countdown of 0, so that its first allocation asks") {
  std::int64_t seen = 1;
  std::thread([&seen] { seen = alloc_countdown; }).join();
  CHECK(seen == 0);
  CHECK(sizeof alloc_countdown == 8);
}

TEST_CASE("a call's frame is below its caller's and returns into it") {
  const call_frame call = called_here();
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  CHECK(reinterpret_cast<std::uintptr_t>(call.frame) < here);
  CHECK(reinterpret_cast<std::uintptr_t>(call.cfa) <= here);
  CHECK(call.return_address != nullptr);
}
