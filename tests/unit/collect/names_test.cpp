// tests/unit/collect/names_test.cpp - names of addresses, where a part of the process knows them.

#include "prof/collect/names.hpp"

#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "../process/own_process.hpp"
#include "prof/api.hpp"
#include "prof/sample/heap.hpp"

#if PROF_DETAIL_OS_LINUX

extern "C" __attribute__((noinline, used)) int prof_test_named(int n) { return n + 3; }

namespace {

using namespace prof::detail;

using named = std::vector<std::pair<std::uint64_t, std::string>>;

void add_name(void* context, std::uint64_t address, text_view name) {
  static_cast<named*>(context)->emplace_back(address, std::string(name.data, name.size));
}

std::uint64_t own_address() { return reinterpret_cast<std::uintptr_t>(&prof_test_named); }

}  // namespace

TEST_CASE("addresses whose function is known are named in order, the others are passed over") {
  process_state& process = *enter();
  CHECK(can_name(process));
  const std::uint64_t addresses[] = {own_address(), 1, own_address() + 1, ~std::uint64_t{0}};
  named found;
  name_all(process, addresses, 4, &add_name, &found);
  REQUIRE(found.size() == 2);
  CHECK(found[0].first == own_address());
  CHECK(found[0].second == "prof_test_named");
  CHECK(found[1].first == own_address() + 1);
  CHECK(found[1].second == "prof_test_named");
  CHECK(prof_test_named(1) == 4);
  CHECK(process.code_readers.load() == 0);
}

TEST_CASE("no addresses have no names") {
  named found;
  name_all(*enter(), nullptr, 0, &add_name, &found);
  CHECK(found.empty());
}

TEST_CASE("without a part that names nothing is visited") {
  const own_process bare;
  CHECK_FALSE(can_name(*bare.state));
  const std::uint64_t address = own_address();
  named found;
  name_all(*bare.state, &address, 1, &add_name, &found);
  CHECK(found.empty());
}

TEST_CASE("what naming allocates is not the program's") {
  const std::size_t rate = prof::set_mem_profile_rate(1);
  process_state& process = *enter();
  const std::uint64_t address = own_address();
  std::size_t found = 0;
  const std::uint64_t before = heap_sig(process)->samples.load();
  name_all(
      process, &address, 1,
      [](void* count, std::uint64_t, text_view name) {
        *static_cast<std::size_t*>(count) += std::string(1000, 'x').size() + name.size;
      },
      &found);
  const std::uint64_t after = heap_sig(process)->samples.load();
  prof::set_mem_profile_rate(rate);
  CHECK(found == 1000 + std::string("prof_test_named").size());
  CHECK(after == before);
}

#endif
