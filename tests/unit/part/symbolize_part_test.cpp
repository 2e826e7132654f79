// tests/unit/part/symbolize_part_test.cpp - names by address through the descriptor.

#include "prof/part/symbolize_part.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../code/own_registry.hpp"
#include "../process/own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct named {
  std::uint64_t address;
  std::string name;
};

std::vector<named> names_of(const std::vector<std::uint64_t>& addresses,
                            const code_map* map = read_code_map()) {
  const own_process own;
  std::vector<named> found;
  prof_part_symbolize_v2.name_all(
      *own.state, addresses.data(), addresses.size(), map,
      [](void* context, std::uint64_t address, text_view name) {
        static_cast<std::vector<named>*>(context)->push_back(
            {address, std::string(name.data, name.size)});
      },
      &found);
  return found;
}

std::string name_at(std::uint64_t address) {
  const std::vector<named> found = names_of({address});
  REQUIRE(found.size() <= 1);
  return found.empty() ? std::string() : found[0].name;
}

}  // namespace

extern "C" __attribute__((noinline, used)) int prof_test_function_with_a_name(int n) {
  return n + 1;
}

TEST_CASE("a function of this program is named") {
  const auto address = reinterpret_cast<std::uint64_t>(&prof_test_function_with_a_name);
  CHECK(name_at(address) == "prof_test_function_with_a_name");
  CHECK(name_at(address + 1) == "prof_test_function_with_a_name");
  CHECK(prof_test_function_with_a_name(1) == 2);
}

TEST_CASE("of several addresses the known ones are answered in order") {
  const auto address = reinterpret_cast<std::uint64_t>(&prof_test_function_with_a_name);
  const std::vector<named> found = names_of({address + 1, 1, address});
  REQUIRE(found.size() == 2);
  CHECK(found[0].address == address + 1);
  CHECK(found[1].address == address);
  CHECK(found[1].name == "prof_test_function_with_a_name");
}

TEST_CASE("an address of nobody has no name") {
  CHECK(name_at(0).empty());
  CHECK(name_at(~std::uint64_t{0}).empty());
  int local = 0;
  CHECK(name_at(reinterpret_cast<std::uint64_t>(&local)).empty());
  CHECK(names_of({1}, nullptr).empty());
}

TEST_CASE("a profile's locations get functions") {
  const code_map* const map = read_code_map();
  const auto address = reinterpret_cast<std::uint64_t>(&prof_test_function_with_a_name);
  arena memory(os_pages);
  profile p(memory);
  p.add_value_type("samples", "count");
  for (std::size_t i = 0; i < map->count; ++i) add_mapping(p, map->ranges[i]);
  const auto mapping =
      static_cast<std::uint32_t>(map->find(static_cast<std::uintptr_t>(address)) - map->ranges);
  const std::uint32_t location = p.add_location(mapping, address);
  const own_process own;
  prof_part_symbolize_v2.symbolize(*own.state, p, map, prof::symbols::functions);
  REQUIRE(p.locations[location].line_count == 1);
  const profile_line& line = p.lines[p.locations[location].first_line];
  const text_view name = p.strings[p.functions[line.function].name];
  CHECK(std::string(name.data, name.size) == "prof_test_function_with_a_name");
}

#endif
