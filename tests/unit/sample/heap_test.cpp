// tests/unit/sample/heap_test.cpp - what is counted of sampled allocations, and what is still live.

#include "prof/sample/heap.hpp"

#include <doctest/doctest.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "../process/own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct own_tables {
  own_process own;
  process_state* process = own.state;
  heap_state* heap = heap_sig(*process);
  own_tables() { REQUIRE(heap != nullptr); }
  own_tables(const own_tables&) = delete;
  own_tables& operator=(const own_tables&) = delete;

  std::uint64_t dropped(drop cause) const { return drops_of(*process, static_cast<unsigned>(cause)); }
  // From now on the system gives the tables nothing.
  void run_out() const {
    process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  }
  void recover() const { process->memory.map_sig = &os_map_in_steps_sig; }

  void record(std::uint64_t address, std::uint64_t size, std::uint64_t rate, const host_call& caller) const {
    record_sampled_alloc_sig(*process, *heap, os_thread_id_sig(), address, size, rate, caller);
  }
  // An object at rate 1 that is given back at once, so that only counts remain.
  void pass(std::uint64_t size, const host_call& caller) const {
    record(0x4000, size, 1, caller);
    live_object object;
    if (heap->live.take_sig(0x4000, object)) count_freed_sig(*heap, object);
  }
};

host_call nowhere(std::uintptr_t pc = 0x1000) {
  host_call r;
  r.pc = pc;
  return r;
}

struct totals {
  std::uint64_t allocated_objects = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t freed_objects = 0;
  std::uint64_t freed_bytes = 0;
};

// Calls visit(key, counted) for all that was counted.
template <class Visit>
void for_each_count(const heap_state& heap, Visit visit) {
  arena memory(os_pages);
  count_snapshot now(memory);
  heap.counts.read(now);
  heap.counts.for_each_since(nullptr, now, visit);
}

totals sum_of(const heap_state& heap) {
  totals sum;
  for_each_count(heap, [&](const count_key&, const std::uint64_t* counted) {
    sum.allocated_objects += counted[allocated_objects];
    sum.allocated_bytes += counted[allocated_bytes];
    sum.freed_objects += counted[freed_objects];
    sum.freed_bytes += counted[freed_bytes];
  });
  return sum;
}

}  // namespace

// ---- live objects and counts --------------------------------------------------------------------

TEST_CASE("a recorded allocation is live until it is freed") {
  const own_tables own;
  own.record(0x4000, 1000, 1, nowhere());
  own.record(0x5000, 1000, 1, nowhere());
  totals sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects == 2 * 65536);
  CHECK(sum.allocated_bytes == 2000);
  CHECK(sum.freed_objects == 0);
  live_object object;
  REQUIRE(own.heap->live.take_sig(0x4000, object));
  count_freed_sig(*own.heap, object);
  sum = sum_of(*own.heap);
  CHECK(sum.freed_objects == 65536);
  CHECK(sum.freed_bytes == 1000);
  CHECK(own.heap->samples.load() == 2);
  CHECK(own.heap->counts.used() == 1);
}

TEST_CASE("what is freed weighs what was allocated, whatever the rate is by then") {
  const own_tables own;
  own.record(0x4000, 100, 512 * 1024, nowhere());
  own.heap->rate.store(1);
  live_object object;
  REQUIRE(own.heap->live.take_sig(0x4000, object));
  count_freed_sig(*own.heap, object);
  const totals sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects > 5000 * std::uint64_t{65536});
  CHECK(sum.freed_objects == sum.allocated_objects);
  CHECK(sum.freed_bytes == sum.allocated_bytes);
}

TEST_CASE("an object that finds no room among the live ones does not look live for ever") {
  const own_tables own;
  live_table& live = own.heap->live;
  for (std::uint64_t i = 0; i < 16; ++i) {
    own.record(0x4000 + 64 * i, 10, 1, nowhere());
  }
  // Filled until none of the next four finds room.
  live_object object;
  std::uint64_t filler = 0x100000;
  const auto any_fits = [&] {
    for (std::uint64_t i = 16; i < 20; ++i) {
      if (live.add_sig(0x4000 + 64 * i, {})) return live.take_sig(0x4000 + 64 * i, object);
    }
    return false;
  };
  while (filler < 0x10000000 && any_fits()) {
    for (int i = 0; i < 10000; ++i) live.add_sig(filler += 16, {});
  }
  REQUIRE_FALSE(any_fits());
  for (std::uint64_t i = 16; i < 20; ++i) {
    own.record(0x4000 + 64 * i, 10, 1, nowhere());
  }
  const totals sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects == 20 * 65536);
  CHECK(sum.freed_objects == 4 * 65536);
  CHECK(own.dropped(drop::live_table_full) == 4);
}

TEST_CASE("bootstrap objects are dropped without being counted") {
  const own_tables own;
  live_object object;
  object.counts = bootstrap_object;
  object.weight = 65536;
  count_freed_sig(*own.heap, object);
  CHECK(sum_of(*own.heap).freed_objects == 0);
}

TEST_CASE("weights are shown as whole objects, rounded") {
  CHECK(whole_objects(65536) == 1);
  CHECK(whole_objects(65536 * 3 / 2) == 2);
  CHECK(whole_objects(65536 + 32767) == 1);
}

// ---- sizes while the table fills ----------------------------------------------------------------

TEST_CASE("a size class is at most a quarter above the size, and a class of its own") {
  std::uint64_t random = 3;
  std::uint64_t before = 0;
  int wrong = 0;
  const auto check = [&](std::uint64_t size) {
    const std::uint64_t rounded = size_class_sig(size);
    if (rounded < size || rounded - size > size / 4 || size_class_sig(rounded) != rounded) ++wrong;
    return rounded;
  };
  for (std::uint64_t size = 0; size <= 100000; ++size) {
    const std::uint64_t rounded = check(size);
    if (rounded < before) ++wrong;
    before = rounded;
  }
  for (int i = 0; i < 100000; ++i) {
    const std::uint64_t size = random_sig(random) >> (random_sig(random) % 64);
    const std::uint64_t other = random_sig(random) >> (random_sig(random) % 64);
    check(size);
    if ((size < other) != (size_class_sig(size) < size_class_sig(other)) &&
        size_class_sig(size) != size_class_sig(other)) {
      ++wrong;
    }
  }
  for (int bit = 0; bit < 64; ++bit) {
    const std::uint64_t power = std::uint64_t{1} << bit;
    for (const std::uint64_t size : {power - 1, power, power + 1}) check(size);
    CHECK(size_class_sig(power) == power);
  }
  check(~std::uint64_t{0});
  CHECK(wrong == 0);
  CHECK(size_class_sig(1025) == 1280);
  CHECK(size_class_sig(1281) == 1536);
}

TEST_CASE("sizes are exact in the first quarter of the table, then classes, at last none") {
  CHECK(counted_size_sig(0, 1025) == 1025);
  CHECK(counted_size_sig(count_table::most_entries / 4 - 1, 1025) == 1025);
  CHECK(counted_size_sig(count_table::most_entries / 4, 1025) == 1280);
  CHECK(counted_size_sig(count_table::most_entries - 1, 1025) == 0);
}

TEST_CASE("a million sizes on one stack lose neither a byte nor an object") {
  const own_tables own;
  constexpr std::uint64_t sizes = 1000000;
  for (std::uint64_t size = 1; size <= sizes; ++size) own.pass(size, nowhere());
  const totals sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects == sizes * 65536);
  CHECK(sum.allocated_bytes == sizes * (sizes + 1) / 2);
  CHECK(sum.freed_objects == sum.allocated_objects);
  CHECK(sum.freed_bytes == sum.allocated_bytes);
  CHECK(own.dropped(drop::count_table_full) == 0);
  CHECK(own.dropped(drop::stack_table_full) == 0);
  CHECK(own.heap->counts.used() < count_table::most_entries / 4 + 300);
}

TEST_CASE("more stacks and sizes than slots: sizes go first, stacks stay") {
  const own_tables own;
  constexpr std::uint64_t stacks = 30000;
  std::uint64_t bytes = 0;
  for (std::uint64_t i = 0; i < stacks; ++i) {
    for (const std::uint64_t size : {16u, 32u, 64u, 128u, 256u, 512u, 1024u, 2048u}) {
      own.pass(size, nowhere(0x1000 + 16 * i));
      bytes += size;
    }
  }
  const totals sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects == 8 * stacks * 65536);
  CHECK(sum.allocated_bytes == bytes);
  CHECK(own.dropped(drop::stack_table_full) == 0);
  // Probing is bounded, so a few may find no slot before the table is full.
  CHECK(own.dropped(drop::count_table_full) < 100);
  std::size_t sizeless = 0;
  for_each_count(*own.heap, [&](const count_key& key, const std::uint64_t*) {
    if (key.extra == 0 && key.stack != overflow_stack) ++sizeless;
  });
  CHECK(sizeless > 0);
}

// ---- no memory ----------------------------------------------------------------------------------

TEST_CASE("an allocation for which the system gives no memory is counted as lost, and the next one is not") {
  const own_tables own;
  own.run_out();
  own.record(0x4000, 1000, 1, nowhere());
  CHECK(own.heap->samples.load() == 1);
  CHECK(own.dropped(drop::no_frame_buffer) == 1);
  CHECK(own.dropped(drop::count_table_full) == 1);
  const std::uint64_t refused = own.dropped(drop::no_memory);
  CHECK(refused >= 2);
  CHECK(sum_of(*own.heap).allocated_objects == 0);
  CHECK(own.heap->live.used() == 0);
  live_object object;
  CHECK_FALSE(own.heap->live.take_sig(0x4000, object));

  own.recover();
  own.record(0x4000, 1000, 1, nowhere());
  CHECK(own.dropped(drop::no_memory) == refused);
  CHECK(sum_of(*own.heap).allocated_bytes == 1000);
  REQUIRE(own.heap->live.take_sig(0x4000, object));
  CHECK(object.size == 1000);
}

TEST_CASE("an object that the system gives no memory to remember does not look live for ever") {
  const own_tables own;
  bool lost = false;
  REQUIRE(own.heap->counts.find_or_add_sig({}, lost) != no_slot);  // so that there is room for counts
  own.run_out();
  own.record(0x4000, 1000, 1, nowhere());
  const totals sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects == 65536);
  CHECK(sum.allocated_bytes == 1000);
  CHECK(sum.freed_objects == 65536);
  CHECK(sum.freed_bytes == 1000);
  CHECK(own.dropped(drop::live_table_full) == 1);
  CHECK(own.dropped(drop::no_memory) != 0);
  CHECK(own.heap->live.used() == 0);
}

TEST_CASE("without memory there is no heap state, until there is some; what was mapped goes back") {
  static int maps_left;
  const own_process own;
  const std::uint64_t bytes = own.state->memory.bytes.load();
  own.state->memory.map_sig = [](std::size_t size) noexcept -> void* {
    return maps_left-- > 0 ? os_map_in_steps_sig(size) : nullptr;
  };
  for (int maps = 0; maps < 2; ++maps) {  // the second one is the filter
    maps_left = maps;
    CHECK(heap_sig(*own.state) == nullptr);
    CHECK(own.state->memory.bytes.load() == bytes);
    CHECK(drops_of(*own.state, static_cast<unsigned>(drop::no_memory)) == static_cast<std::uint64_t>(maps) + 1);
  }
  maps_left = 2;
  CHECK(heap_sig(*own.state) != nullptr);
}

// ---- profiles -----------------------------------------------------------------------------------

namespace {

struct shown_row {
  std::int64_t size = 0;
  std::int64_t values[4] = {};
};

std::vector<shown_row> shown_at(const own_tables& own, const count_snapshot& now, const count_snapshot* base) {
  arena memory(os_pages);
  profile p(memory);
  fill_heap_profile(p, *own.process, *own.heap, now, base);
  std::vector<shown_row> rows;
  for (const profile_sample& sample : p.samples) {
    shown_row row;
    for (int i = 0; i < 4; ++i) row.values[i] = p.values_of(sample)[i];
    if (sample.label_count == 1) row.size = p.labels[sample.first_label].number;
    rows.push_back(row);
  }
  return rows;
}

std::vector<shown_row> shown(const own_tables& own, const count_snapshot* base) {
  arena memory(os_pages);
  count_snapshot now(memory);
  own.heap->counts.read(now);
  return shown_at(own, now, base);
}

}  // namespace

TEST_CASE("the profile has Go's four columns and the object size as a label") {
  const own_tables own;
  arena memory(os_pages);
  profile p(memory);
  own.heap->rate.store(4096);
  fill_heap_profile(p, *own.process, *own.heap, count_snapshot(memory), nullptr);
  const char* const names[4] = {"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"};
  REQUIRE(p.value_types.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const text_view name = p.strings[p.value_types[i].type];
    CHECK(std::string(name.data, name.size) == names[i]);
  }
  CHECK(p.period == 4096);
  CHECK(p.samples.empty());

  own.record(0x4000, 1000, 1, nowhere());
  own.record(0x5000, 1000, 1, nowhere());
  live_object object;
  REQUIRE(own.heap->live.take_sig(0x4000, object));
  count_freed_sig(*own.heap, object);
  const std::vector<shown_row> rows = shown(own, nullptr);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].size == 1000);
  CHECK(rows[0].values[0] == 2);
  CHECK(rows[0].values[1] == 2000);
  CHECK(rows[0].values[2] == 1);
  CHECK(rows[0].values[3] == 1000);
}

TEST_CASE("a profile is what was counted when it was read: the map knows no code of what came since") {
  const own_tables own;
  own.record(0x4000, 1000, 1, nowhere());
  arena memory(os_pages);
  count_snapshot now(memory);
  own.heap->counts.read(now);
  own.record(0x5000, 1000, 1, nowhere());
  own.record(0x6000, 500, 1, nowhere());
  const std::vector<shown_row> rows = shown_at(own, now, nullptr);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].size == 1000);
  CHECK(rows[0].values[0] == 1);
  CHECK(shown(own, nullptr).size() == 2);
}

TEST_CASE("a delta is what changed; frees of older objects make it negative") {
  const own_tables own;
  own.record(0x4000, 1000, 1, nowhere());
  own.record(0x5000, 500, 1, nowhere());
  arena memory(os_pages);
  count_snapshot base(memory);
  own.heap->counts.read(base);
  CHECK(shown(own, &base).empty());
  live_object object;
  REQUIRE(own.heap->live.take_sig(0x4000, object));
  count_freed_sig(*own.heap, object);
  const std::vector<shown_row> rows = shown(own, &base);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].values[0] == 0);
  CHECK(rows[0].values[2] == -1);
  CHECK(rows[0].values[3] == -1000);
}

TEST_CASE("one heap state per process") {
  process_state* const process = process_sig();
  REQUIRE(process != nullptr);
  heap_state* const heap = heap_sig(*process);
  REQUIRE(heap != nullptr);
  CHECK(heap_sig(*process) == heap);
}

#endif
