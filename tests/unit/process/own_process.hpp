// tests/unit/stack/own_process.hpp - a process state that only one test sees.
#ifndef PROF_TESTS_UNIT_STACK_OWN_PROCESS_HPP
#define PROF_TESTS_UNIT_STACK_OWN_PROCESS_HPP

#include <doctest/doctest.h>

#include "prof/process/process.hpp"

PROF_DETAIL_BEGIN

struct own_process {
  process_state* state = make_process_sig();
  own_process() { REQUIRE(state != nullptr); }
  ~own_process() { os_unmap_sig(state, process_bytes); }
  own_process(const own_process&) = delete;
  own_process& operator=(const own_process&) = delete;
};

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_STACK_OWN_PROCESS_HPP
