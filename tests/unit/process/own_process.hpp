// tests/unit/process/own_process.hpp - a process state that only one test sees.
#ifndef PROF_TESTS_UNIT_PROCESS_OWN_PROCESS_HPP
#define PROF_TESTS_UNIT_PROCESS_OWN_PROCESS_HPP

#include <doctest/doctest.h>

#include "prof/process/attach.hpp"
#include "prof/process/part.hpp"

PROF_DETAIL_BEGIN

// What its tables have mapped stays until the program ends.
struct own_process {
  process_state* state = make_process_sig();
  own_process() { REQUIRE(state != nullptr); }
  ~own_process() { unmake_process_sig(state); }
  own_process(const own_process&) = delete;
  own_process& operator=(const own_process&) = delete;
};

// A descriptor that is registered and does nothing.
inline profile_part idle_part() {
  profile_part idle{};
  idle.head.size = sizeof idle;
  return idle;
}

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_PROCESS_OWN_PROCESS_HPP
