// tests/unit/base/own_memory.hpp - memory for tables of one test, which may be made to run out.
#ifndef PROF_TESTS_UNIT_BASE_OWN_MEMORY_HPP
#define PROF_TESTS_UNIT_BASE_OWN_MEMORY_HPP

#include <cstring>
#include <new>

#include "prof/base/table_memory.hpp"

PROF_DETAIL_BEGIN

// Pages go back with the program: a table does not know all of its own.
struct own_memory : table_memory {
  own_memory() { has_more(); }
  void has_more() {
    map_sig = [](std::size_t size) noexcept {
      void* const pages = ::operator new(size, std::align_val_t{page_bytes}, std::nothrow);
      if (pages != nullptr) std::memset(pages, 0, size);
      return pages;
    };
    unmap_sig = [](void* pages, std::size_t) noexcept { ::operator delete(pages, std::align_val_t{page_bytes}); };
  }
  // From now on the system gives nothing.
  void run_out() {
    map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  }
};

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_BASE_OWN_MEMORY_HPP
