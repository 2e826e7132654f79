// tests/unit/collect/enter_test.cpp - what every public call does first: the parts are there, the table is offered, the
// code map follows.

#include "prof/collect/enter.hpp"

#include <doctest/doctest.h>

#include "../process/own_process.hpp"
#include "prof/api.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// This object's place for a table, which stands for those of objects that have none.
struct place_scope {
  const void* const before = api_in_use.load();
  place_scope() = default;
  ~place_scope() { api_in_use.store(before); }
  place_scope(const place_scope&) = delete;
  place_scope& operator=(const place_scope&) = delete;
};

}  // namespace

TEST_CASE("the first call attaches, brings this object's parts and keeps it loaded") {
  process_state* const process = enter();
  REQUIRE(process != nullptr);
  CHECK(process == attached_process_sig());
  CHECK(object_pinned.load());
  CHECK(find_part_sig<profile_part>(*process, part::cpu) == &prof_part_cpu_v2);
  CHECK(find_part_sig<profile_part>(*process, part::heap) == &prof_part_heap_v2);
  CHECK(find_part_sig<record_part>(*process, part::records) == &prof_part_records_v2);
  CHECK(find_part_sig<symbolize_part>(*process, part::symbolize) == &prof_part_symbolize_v2);
  CHECK(enter() == process);
}

TEST_CASE("objects without a table are offered this one, once per change of what is loaded") {
  const place_scope kept;
  process_state& process = *enter();
  CHECK(os_objects_loaded() > 0);
  CHECK(process.objects_seen.load() == os_objects_loaded());
  api_in_use.store(nullptr);
  offer_api(process);
  CHECK(api_in_use.load() == nullptr);  // nothing was loaded since
  process.objects_seen.store(0);
  offer_api(process);
  CHECK(api_in_use.load() == &prof_api_v1);
  CHECK(process.objects_seen.load() == os_objects_loaded());
}

TEST_CASE("an object that goes through a table keeps it") {
  const place_scope kept;
  process_state& process = *enter();
  const api_table other = prof_api_v1;
  api_in_use.store(&other);
  process.objects_seen.store(0);
  CHECK(enter() == &process);
  CHECK(api_in_use.load() == &other);
}

TEST_CASE("a call brings the code map up to date where walks met code that it does not know, once a second") {
  process_state& process = *enter();
  refresh_code_map(process);
  process.code_map_outdated.store(true);
  (void)enter();
  CHECK(process.code_map_outdated.load());  // it has just been read
  process.refreshed_at.store(os_monotonic_ns_sig() - 1500000000);
  (void)enter();
  CHECK_FALSE(process.code_map_outdated.load());
  const std::uint64_t refreshed = process.refreshed_at.load();
  process.refreshed_at.store(refreshed - 1500000000);
  (void)enter();  // no walk met anything new
  CHECK(process.refreshed_at.load() == refreshed - 1500000000);
}

#endif
