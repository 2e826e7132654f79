// tests/unit/part/locks_part_test.cpp - what the part of prof's own locks does around the calls that it is given.

#include "prof/part/locks_part.hpp"

#include <doctest/doctest.h>

#include "prof/api.hpp"
#include "../waits.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace waits_test;

int g_calls = 0;
std::vector<wait_facts> g_meanwhile;
void call_once_more(void* lock) {
  ++g_calls;
  g_meanwhile = waits_now();
  *static_cast<int*>(lock) += 1;
}
const lock_part& locks() { return prof_part_locks_v2; }

__attribute__((noinline)) void wait_here(void* lock, wait_kind kind) {
  locks().waits(lock, static_cast<std::uint32_t>(kind), &call_once_more, PROF_DETAIL_CALL_FRAME());
}
__attribute__((noinline)) void unlock_here(void* lock, std::uint64_t sharers) {
  locks().unlocks(lock, sharers, &call_once_more, PROF_DETAIL_CALL_FRAME());
}

}  // namespace

TEST_CASE("a lock's wait and unlock are done once, whatever the profiles") {
  for (const bool on : {false, true}) {
    CAPTURE(on);
    const rates now(on ? 1 : 0, on ? 1 : 0);
    int lock = 0;
    g_calls = 0;
    wait_here(&lock, wait_kind::mutex);
    CHECK(g_meanwhile.size() == (on ? 1 : 0));
    CHECK(waits_now().empty());
    unlock_here(&lock, 1);
    CHECK(g_meanwhile.empty());
    CHECK(g_calls == 2);
    CHECK(lock == 2);
  }
}

TEST_CASE("a lock's wait is of the kind that its object says") {
  const rates on(1, 1);
  int lock = 0;
  for (const wait_kind kind : {wait_kind::mutex, wait_kind::rdlock, wait_kind::wrlock}) {
    const counted since(kind);
    wait_here(&lock, kind);
    REQUIRE(g_meanwhile.size() == 1);
    CHECK(g_meanwhile[0].kind == kind);
    CHECK(g_meanwhile[0].object == reinterpret_cast<std::uintptr_t>(&lock));
    CHECK(since.blocked().count == one_wait);
  }
}

TEST_CASE("the kinds of waits that objects tell each other are those of the table of waits") {
  CHECK(static_cast<std::uint32_t>(wait_kind::mutex) == 0);
  CHECK(static_cast<std::uint32_t>(wait_kind::rdlock) == 1);
  CHECK(static_cast<std::uint32_t>(wait_kind::wrlock) == 2);
}

#endif
