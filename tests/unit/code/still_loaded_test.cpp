// tests/unit/code/still_loaded_test.cpp - what tells a range from another file's at the same place.

#include "prof/code/still_loaded.hpp"

#include <dlfcn.h>
#include <doctest/doctest.h>

#include "own_registry.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

void some_function() {}

}  // namespace

TEST_CASE("what is loaded is still loaded; what is not is not") {
  const code_map* const map = read_code_map();
  const code_range* const here = map->find(reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort")));
  REQUIRE(here != nullptr);
  os_object object;
  CHECK(still_loaded_sig(*here, object));
  code_range other = *here;
  other.cfi.header += 4;
  CHECK(still_loaded_sig(other, object) == !os_answers_for_objects());
  other = *here;
  other.header += 4096;
  CHECK(still_loaded_sig(other, object) == !os_answers_for_objects());
  other = *here;
  REQUIRE(other.build_id_length >= 8);
  other.build_id[7] ^= 1;
  CHECK_FALSE(still_loaded_sig(other, object));
  other.never_unloaded = true;  // what is never unloaded need not be looked at
  CHECK(still_loaded_sig(other, object));
  other = *here;
  other.start = reinterpret_cast<std::uintptr_t>(&object);
  CHECK(still_loaded_sig(other, object) == !os_answers_for_objects());
}

TEST_CASE("what the loader calls a file tells files without build id apart") {
  if (!os_answers_for_objects()) return;
  os_object libc;
  os_object own;
  REQUIRE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort")), libc));
  REQUIRE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(&some_function), own));
  CHECK(loader_name_sig(libc) != 0);
  CHECK(loader_name_sig(libc) == loader_name_sig(libc));
  CHECK(loader_name_sig(libc) != loader_name_sig(own));
  code_range range;
  range.header = libc.start;
  range.cfi.header = libc.cfi_header;
  range.fallback_id = loader_name_sig(libc);
  CHECK(is_range_of_sig(libc, range));
  range.fallback_id ^= 1;
  CHECK_FALSE(is_range_of_sig(libc, range));
  libc.name_at = 8;
  CHECK(loader_name_sig(libc) == 0);
}

TEST_CASE("of a file without build id whose name could not be read, nothing says that it is the same") {
  if (!os_answers_for_objects()) return;
  os_object nameless;
  REQUIRE(os_find_object_sig(reinterpret_cast<std::uintptr_t>(&some_function), nameless));
  nameless.name_at = 8;
  REQUIRE(loader_name_sig(nameless) == 0);
  code_range range;
  range.header = nameless.start;
  range.cfi.header = nameless.cfi_header;
  range.fallback_id = 0;
  CHECK_FALSE(is_range_of_sig(nameless, range));
}

TEST_CASE("a file without build id is known again, and another one in its place is not taken for it") {
  const code_map* const map = read_code_map();
  code_range bare = *map->find(reinterpret_cast<std::uintptr_t>(dlsym(RTLD_DEFAULT, "qsort")));
  bare.build_id_length = 0;
  bare.never_unloaded = false;
  os_object object;
  CHECK_FALSE(still_loaded_sig(bare, object));  // nothing was noted of it
  (void)os_find_object_sig(bare.start, object);
  bare.fallback_id = fallback_id_sig(bare, object);
  CHECK(bare.fallback_id != 0);
  CHECK(still_loaded_sig(bare, object));
  bare.fallback_id ^= 2;
  CHECK_FALSE(still_loaded_sig(bare, object));
}

TEST_CASE("first bytes differ in any of them; where they cannot be read there is no answer") {
  static unsigned char image[identity_bytes];
  const auto at = reinterpret_cast<std::uintptr_t>(image);
  const std::uint64_t before = first_bytes_sig(at);
  CHECK(before != 0);
  CHECK(first_bytes_sig(at) == before);
  constexpr std::size_t places[] = {0, 1000, sizeof image - 1};
  for (const std::size_t place : places) {
    image[place] = 1;
    CHECK(first_bytes_sig(at) != before);
    image[place] = 0;
  }
  CHECK(first_bytes_sig(0) == 0);
  CHECK(first_bytes_sig(~std::uintptr_t{4095}) == 0);
}

#endif
