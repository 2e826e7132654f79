// tests/unit/code/own_registry.hpp - a code registry that only one test file sees.
#ifndef PROF_TESTS_UNIT_CODE_OWN_REGISTRY_HPP
#define PROF_TESTS_UNIT_CODE_OWN_REGISTRY_HPP

#include <doctest/doctest.h>

#include "prof/code/modules.hpp"

PROF_DETAIL_BEGIN

struct own_registry {
  table_memory memory;
  code_registry* code = new code_registry{};
  own_registry() {
    memory.map_sig = &os_map_in_steps_sig;
    memory.unmap_sig = &os_unmap_sig;
    code->bind(memory);
  }
  ~own_registry() { delete code; }
  own_registry(const own_registry&) = delete;
  own_registry& operator=(const own_registry&) = delete;
};

// The code map of this process, from a registry that lasts as long as the program.
inline const code_map* read_code_map(const code_map* before = nullptr) {
  static const own_registry registry;
  return read_code_map_sig(before, *registry.code);
}

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_CODE_OWN_REGISTRY_HPP
