// tests/unit/process/own_locks.hpp - locks of a process state of one's own, whose times are made up; what is charged, in ms.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

#include "own_process.hpp"
#include "prof/sample/mutex.hpp"

namespace own_locks_test __attribute__((__visibility__("hidden"))) {

using namespace prof::detail;

constexpr std::uint64_t ms = 1000000;
constexpr std::uint64_t start = 1000 * ms;
constexpr std::uint64_t granule = std::uint64_t{1} << clock_shift;  // to which a wait is exact
constexpr std::uintptr_t lock_a = 0x10000;
constexpr std::uintptr_t lock_b = 0x20000;
constexpr std::uintptr_t cond_a = 0x30000;

// Locks of their own. Times are ns since `start`.
struct own_locks {
  own_process own;
  process_state* process = own.state;
  mutex_state* mutex = mutex_of(*process);
  explicit own_locks(std::uint64_t fraction = 1) {
    REQUIRE(mutex != nullptr);
    mutex->fraction.set_own(fraction);
    mutex->random.store(1);
  }
  own_locks(const own_locks&) = delete;
  own_locks& operator=(const own_locks&) = delete;

  std::size_t records() const { return mutex->locks.used(); }
  std::uint64_t dropped() const { return drops_of(*process, static_cast<unsigned>(drop::contended_locks_full)); }

  lock_wait begins(std::uint64_t at, std::uintptr_t lock = lock_a, bool is_held = true, std::uint32_t count = 1) const {
    return begin_lock_wait_sig(*process, *mutex, lock, start + at, is_held, count);
  }
  delay gets(const lock_wait& wait, std::uint64_t at) const { return end_lock_wait_sig(*mutex, wait, start + at); }
  delay gives_up(const lock_wait& wait, std::uint64_t at) const {
    return abandon_lock_wait_sig(*mutex, wait, start + at);
  }
  delay unlocks(std::uint64_t at, std::uint64_t sharers = 1, std::uintptr_t lock = lock_a) const {
    return charge_unlock_sig(*mutex, lock, start + at, sharers);
  }
  void barges(std::uint64_t at, std::uintptr_t lock = lock_a) const { note_hold_sig(*mutex, lock, start + at); }
};

// What is charged in ms, so that a failure can be read.
struct charge {
  std::uint64_t contentions;
  double milliseconds;
};
inline bool operator==(const delay& seen, const charge& wanted) {
  return seen.contentions == wanted.contentions && seen.ns == static_cast<std::uint64_t>(wanted.milliseconds * ms);
}
constexpr charge nothing{0, 0};

inline doctest::String text_of(std::uint64_t contentions, double milliseconds) {
  return (std::to_string(contentions) + " contentions, " + std::to_string(milliseconds) + " ms").c_str();
}

}  // namespace own_locks_test

PROF_DETAIL_BEGIN
inline doctest::String toString(const delay& seen) {
  return own_locks_test::text_of(seen.contentions, static_cast<double>(seen.ns) / own_locks_test::ms);
}
PROF_DETAIL_END
namespace own_locks_test {
inline doctest::String toString(const charge& wanted) { return text_of(wanted.contentions, wanted.milliseconds); }
}  // namespace own_locks_test
