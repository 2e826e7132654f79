// tests/unit/stack/own_registry.hpp - a code registry that only one test file sees.
#ifndef PROF_TESTS_UNIT_STACK_OWN_REGISTRY_HPP
#define PROF_TESTS_UNIT_STACK_OWN_REGISTRY_HPP

#include <doctest/doctest.h>

#include "prof/code/modules.hpp"

PROF_DETAIL_BEGIN

struct own_registry {
  code_registry* code = static_cast<code_registry*>(os_map_sig(sizeof(code_registry)));
  own_registry() { REQUIRE(code != nullptr); }
  ~own_registry() { os_unmap_sig(code, sizeof(code_registry)); }
  own_registry(const own_registry&) = delete;
  own_registry& operator=(const own_registry&) = delete;
};

// The code map of this process, from a registry that lasts as long as the program.
inline const code_map* read_code_map(const code_map* before = nullptr) {
  static const own_registry registry;
  return read_code_map_sig(before, *registry.code);
}

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_STACK_OWN_REGISTRY_HPP
