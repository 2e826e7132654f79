// tests/unit/part/heap_part_test.cpp - rates, and objects that the host reports itself.

#include "prof/part/heap_part.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <thread>

#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

heap_reading::row of_size(std::uint64_t size) {
  const heap_state& heap = *heap_sig(*process_sig());
  heap_reading::row sum{};
  for (std::size_t i = 0; i < heap.counts.span(); ++i) {
    const heap_slot& slot = heap.counts.at(i);
    if (slot.ready.load() == 0 || slot.size.load() != size) continue;
    sum.allocated_objects += slot.allocated_objects.load() / 65536;
    sum.allocated_bytes += slot.allocated_bytes.load();
    sum.freed_objects += slot.freed_objects.load() / 65536;
    sum.freed_bytes += slot.freed_bytes.load();
  }
  return sum;
}

struct rate_scope {
  std::size_t before;
  explicit rate_scope(std::size_t rate) : before(prof::set_mem_profile_rate(rate)) {}
  ~rate_scope() { prof::set_mem_profile_rate(before); }
  rate_scope(const rate_scope&) = delete;
  rate_scope& operator=(const rate_scope&) = delete;
};

char g_pool[4][64];

}  // namespace

TEST_CASE("an object of a pool is live between record_alloc and record_free") {
  const rate_scope all(1);
  prof::record_alloc(g_pool[0], 34567);
  CHECK(of_size(34567).allocated_objects == 1);
  CHECK(of_size(34567).allocated_bytes == 34567);
  CHECK(of_size(34567).freed_objects == 0);
  prof::record_free(g_pool[0]);
  CHECK(of_size(34567).freed_objects == 1);
  CHECK(of_size(34567).freed_bytes == 34567);
}

TEST_CASE("null and unknown objects are ignored") {
  const rate_scope all(1);
  const std::size_t live = heap_sig(*process_sig())->live.used();
  prof::record_alloc(nullptr, 34569);
  CHECK(of_size(34569).allocated_objects == 0);
  prof::record_free(nullptr);
  prof::record_free(g_pool[1]);
  prof::record_free(reinterpret_cast<void*>(1));
  CHECK(heap_sig(*process_sig())->live.used() == live);
}

TEST_CASE("an object may be freed twice or recorded anew without harm") {
  const rate_scope all(1);
  for (int i = 0; i < 3; ++i) {
    prof::record_alloc(g_pool[2], 34571);
    prof::record_free(g_pool[2]);
    prof::record_free(g_pool[2]);
  }
  CHECK(of_size(34571).allocated_objects == 3);
  CHECK(of_size(34571).freed_objects == 3);
}

TEST_CASE("what another thread frees is freed") {
  const rate_scope all(1);
  prof::record_alloc(g_pool[3], 34573);
  std::thread([] { prof::record_free(g_pool[3]); }).join();
  CHECK(of_size(34573).freed_objects == 1);
}

TEST_CASE("record_alloc counts where the hooks only forward") {
  const rate_scope all(1);
  hook_gap.left = parked_gap;  // as in an object whose hooks forward
  prof::record_alloc(g_pool[0], 34581);
  const bool still_parked = hook_gap.left > parked_gap / 2;
  redraw_hook_gap();
  prof::record_free(g_pool[0]);
  CHECK(still_parked);
  CHECK(of_size(34581).allocated_objects == 1);
  CHECK(of_size(34581).freed_objects == 1);
}

TEST_CASE("at rate 0 nothing is recorded, at larger rates the sum is about right") {
  {
    const rate_scope none(0);
    for (int i = 0; i < 1000; ++i) prof::record_alloc(g_pool[0], 34575);
    CHECK(of_size(34575).allocated_objects == 0);
  }
  const rate_scope some(64 * 1024);
  constexpr std::uint64_t count = 20000;
  for (std::uint64_t i = 0; i < count; ++i) {
    prof::record_alloc(g_pool[0], 34577);
    prof::record_free(g_pool[0]);
  }
  const heap_reading::row seen = of_size(34577);
  CHECK(seen.allocated_objects > count * 9 / 10);
  CHECK(seen.allocated_objects < count * 11 / 10);
  CHECK(seen.freed_bytes == seen.allocated_bytes);
}

TEST_CASE("setting the rate answers with the one before") {
  const std::size_t before = prof::set_mem_profile_rate(4096);
  CHECK(prof::set_mem_profile_rate(1) == 4096);
  CHECK(prof::set_mem_profile_rate(0) == 1);
  CHECK(prof::set_mem_profile_rate(before) == 0);
  CHECK(heap_sig(*process_sig())->rate.load() == before);
}

TEST_CASE("a reading is the base of a delta") {
  const rate_scope all(1);
  process_state& process = *enter_process();
  arena memory(os_pages);
  heap_reading base(memory);
  REQUIRE(read_heap_now(process, base));
  prof::record_alloc(g_pool[0], 34579);
  heap_reading now(memory);
  REQUIRE(read_heap_now(process, now));
  profile p(memory);
  fill_heap(p, process, now, &base);
  std::int64_t objects = 0;
  for (const profile_sample& sample : p.samples) {
    if (sample.label_count == 0 || p.labels[sample.first_label].number != 34579) continue;
    objects += p.values_of(sample)[2];
  }
  CHECK(objects == 1);
  CHECK(p.time_ns > 1700000000000000000u);
  prof::record_free(g_pool[0]);
}

#endif
