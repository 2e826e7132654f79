// tests/unit/sample/heap_test.cpp - who is sampled, what a sample weighs, what is still live.

#include "prof/sample/heap.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct own_tables {
  process_state* process = make_process_sig();
  heap_state* heap = make_heap_sig();
  own_tables() {
    REQUIRE(process != nullptr);
    REQUIRE(heap != nullptr);
  }
  ~own_tables() {
    os_unmap_sig(heap, heap_bytes);
    os_unmap_sig(process, process_bytes);
  }
  own_tables(const own_tables&) = delete;
  own_tables& operator=(const own_tables&) = delete;
};

// The countdown of this thread belongs to the hooks too: begins with a known seed, and gives the
// hooks a fresh gap at the end. Nothing may allocate in between.
class countdown_scope {
 public:
  explicit countdown_scope(std::uint64_t seed) {
    redraw_gap();
    gap_under_way.random = seed;
  }
  ~countdown_scope() { redraw_gap(); }
  countdown_scope(const countdown_scope&) = delete;
  countdown_scope& operator=(const countdown_scope&) = delete;
};

// An allocation as a hook sees it: the rate to weigh it with, or 0.
inline std::uint64_t allocate(std::uint64_t rate, std::uint64_t size) {
  return count_down_sig(size) ? 0 : sample_point_sig(rate);
}

double chance_of(std::uint64_t size, std::uint64_t rate) {
  return -std::expm1(-static_cast<double>(size) / static_cast<double>(rate));
}

// Standard deviations between the number of samples and its expectation.
double sigmas_off(std::uint64_t size, std::uint64_t rate, int trials) {
  int hits = 0;
  {
    const countdown_scope countdown(size * 31 + rate);
    for (int i = 0; i < trials; ++i) hits += allocate(rate, size) != 0 ? 1 : 0;
  }
  const double p = chance_of(size, rate);
  const double sigma = std::sqrt(trials * p * (1 - p));
  const double off = hits - trials * p;
  return sigma < 1e-9 ? off : off / sigma;
}

bool in_filter(const heap_state& heap, std::uint64_t address) {
  return filter_byte_sig(address, heap.filter.load()).load() != 0;
}

registers nowhere() {
  registers r;
  r.pc = 0x1000;
  return r;
}

heap_reading::row sum_of(const heap_state& heap) {
  heap_reading::row sum{};
  for (std::size_t i = 0; i < heap.counts.span(); ++i) {
    const heap_reading::row row = read_slot(heap.counts.at(i));
    sum.allocated_objects += row.allocated_objects;
    sum.allocated_bytes += row.allocated_bytes;
    sum.freed_objects += row.freed_objects;
    sum.freed_bytes += row.freed_bytes;
  }
  return sum;
}

}  // namespace

// ---- the sampling decision
// -----------------------------------------------------------------------

TEST_CASE("an allocation of S bytes is sampled with probability 1 - exp(-S/R)") {
  constexpr std::uint64_t rate = 512 * 1024;
  struct trial {
    std::uint64_t size;
    int count;
  };
  for (const trial& t : {trial{1, 30000000}, trial{16, 20000000}, trial{100, 10000000},
                         trial{4096, 2000000}, trial{100000, 1000000}, trial{524288, 1000000},
                         trial{1u << 20, 1000000}, trial{5u << 20, 300000},
                         trial{100u << 20, 100000}}) {
    CAPTURE(t.size);
    CHECK(std::fabs(sigmas_off(t.size, rate, t.count)) < 5);
  }
}

TEST_CASE("the same at other rates") {
  for (const std::uint64_t rate : {2u, 100u, 4096u, 1u << 22, 1u << 26}) {
    for (const std::uint64_t size : {1u, 37u, 4096u, 1u << 20, 20u << 20}) {
      CAPTURE(rate);
      CAPTURE(size);
      CHECK(std::fabs(sigmas_off(size, rate, 300000)) < 5);
    }
  }
}

TEST_CASE("the same where an allocation spans many cuts of the gap") {
  for (const std::uint64_t rate : {1u << 26, 1u << 28, 1u << 30}) {
    for (const std::uint64_t size : {60u << 20, 70u << 20, 100u << 20, 500u << 20}) {
      CAPTURE(rate);
      CAPTURE(size);
      CHECK(std::fabs(sigmas_off(size, rate, 1000000)) < 5);
    }
  }
}

TEST_CASE("rate 1 samples everything, rate 0 nothing") {
  const countdown_scope countdown(1);
  int sampled = 0;
  for (int i = 0; i < 1000; ++i)
    sampled += allocate(1, 1 + static_cast<std::uint64_t>(i) % 100) == 1 ? 1 : 0;
  CHECK(sampled == 1000);
  redraw_gap();
  sampled = 0;
  for (int i = 0; i < 1000; ++i) sampled += allocate(0, 1u << 20) != 0 ? 1 : 0;
  CHECK(allocate(0, 1u << 30) == 0);
  CHECK(sampled == 0);
}

TEST_CASE("an allocation of no bytes is sampled at rate 1 and never elsewhere") {
  const countdown_scope countdown(1);
  CHECK(allocate(1, 0) == 1);
  redraw_gap();
  allocate(1000, 1);
  int sampled = 0;
  for (int i = 0; i < 100000; ++i) sampled += allocate(1000, 0) != 0 ? 1 : 0;
  CHECK(sampled == 0);
}

// ---- weights
// ----------------------------------------------------------------------------------------

TEST_CASE("weights are the inverse of the chance, in 1/65536") {
  CHECK(weight_sig(100, 1) == 65536);
  CHECK(weight_sig(100, 0) == 65536);
  CHECK(weight_sig(0, 512 * 1024) == 65536);
  CHECK(weight_sig(std::uint64_t{1} << 40, 512 * 1024) == 65536);
  for (const std::uint64_t size : {1u, 16u, 4096u, 524288u, 1u << 22}) {
    const double exact = 65536 / chance_of(size, 512 * 1024);
    CHECK(std::fabs(static_cast<double>(weight_sig(size, 512 * 1024)) - exact) <=
          0.5 + exact * 1e-8);
  }
  CHECK(weighted_bytes_sig(12345, 65536) == 12345);
  CHECK(weighted_bytes_sig(1000, 98304) == 1500);
  CHECK(weighted_bytes_sig(std::uint64_t{1} << 62, 65536) == std::uint64_t{1} << 62);
  CHECK(whole_objects(65536) == 1);
  CHECK(whole_objects(65536 * 3 / 2) == 2);
  CHECK(whole_objects(65536 + 32767) == 1);
}

TEST_CASE("estimated totals of a mix are unbiased") {
  constexpr std::uint64_t rate = 64 * 1024;
  const std::uint64_t sizes[5] = {24, 160, 3000, 70000, 900000};
  const int counts[5] = {3000000, 1000000, 200000, 20000, 3000};
  double estimated_objects[5] = {};
  double estimated_bytes[5] = {};
  double variance[5] = {};
  {
    const countdown_scope countdown(99);
    std::uint64_t state = 5;
    int left[5];
    for (int k = 0; k < 5; ++k) left[k] = counts[k];
    for (int total = 3000000 + 1000000 + 200000 + 20000 + 3000; total > 0;) {
      // A size at random, so that large ones stand between small ones.
      const auto k = static_cast<int>(random_sig(state) % 5);
      for (int burst = 0; burst < counts[k] / 3000 && left[k] > 0; ++burst, --left[k], --total) {
        const std::uint64_t weighed_at = allocate(rate, sizes[k]);
        if (weighed_at == 0) continue;
        const std::uint64_t weight = weight_sig(sizes[k], weighed_at);
        estimated_objects[k] += static_cast<double>(weight) / 65536;
        estimated_bytes[k] += static_cast<double>(weighted_bytes_sig(sizes[k], weight));
      }
    }
  }
  for (int k = 0; k < 5; ++k) {
    const double p = chance_of(sizes[k], rate);
    variance[k] = counts[k] * (1 - p) / p;
    const double sigma = std::sqrt(variance[k]) + 1e-6 * counts[k];
    CAPTURE(sizes[k]);
    CHECK(std::fabs(estimated_objects[k] - counts[k]) < 4 * sigma);
    const double bytes = static_cast<double>(sizes[k]) * counts[k];
    CHECK(std::fabs(estimated_bytes[k] - bytes) < 4 * sigma * static_cast<double>(sizes[k]));
  }
}

TEST_CASE("a rate that changes again and again leaves totals unbiased") {
  const std::uint64_t rates[4] = {512 * 1024, 1, 16 * 1024, 4096};
  constexpr std::uint64_t size = 500;
  constexpr int rounds = 4000;
  constexpr int burst = 500;
  double estimated = 0;
  double variance = 0;
  {
    const countdown_scope countdown(7);
    for (int round = 0; round < rounds; ++round) {
      const std::uint64_t rate = rates[round % 4];
      for (int i = 0; i < burst; ++i) {
        const std::uint64_t weighed_at = allocate(rate, size);
        if (weighed_at == 0) continue;
        const double weight = static_cast<double>(weight_sig(size, weighed_at)) / 65536;
        estimated += weight;
        variance += weight * (weight - 1);
      }
    }
  }
  constexpr double truth = double{rounds} * burst;
  CHECK(std::fabs(estimated - truth) < 4 * std::sqrt(variance));
}

TEST_CASE("a thread notices a new rate after four megabytes at most") {
  const countdown_scope countdown(3);
  allocate(0, 1);
  std::uint64_t passed = 0;
  while (allocate(1, 1000) == 0 && passed < (10u << 20)) passed += 1000;
  CHECK(passed <= (4u << 20) + 1000);
  allocate(std::uint64_t{1} << 40, 1);  // a gap of a terabyte is cut as well
  passed = 0;
  while (allocate(1, 1000) == 0 && passed < (10u << 20)) passed += 1000;
  CHECK(passed <= (4u << 20) + 1000);
}

// ---- the free filter
// ----------------------------------------------------------------------------------

TEST_CASE("filters lie one behind the other and are aligned") {
  CHECK(filter_offset(first_filter_bits) == 0);
  CHECK(filter_offset(first_filter_bits + 1) == std::size_t{1} << first_filter_bits);
  CHECK(filter_bytes ==
        (std::size_t{2} << last_filter_bits) - (std::size_t{1} << first_filter_bits));
  const own_tables own;
  CHECK(reinterpret_cast<std::uintptr_t>(own.heap->filters) % 64 == 0);
  CHECK((own.heap->filter.load() & 63) == 64 - first_filter_bits);
}

TEST_CASE("a filter byte sticks at 255 and never goes below 0") {
  const own_tables own;
  const std::uint64_t word = own.heap->filter.load();
  auto& byte = filter_byte_sig(0x1000, word);
  filter_remove_sig(0x1000, word);
  CHECK(byte.load() == 0);
  for (int i = 0; i < 300; ++i) filter_add_sig(0x1000, word);
  CHECK(byte.load() == 255);
  for (int i = 0; i < 300; ++i) filter_remove_sig(0x1000, word);
  CHECK(byte.load() == 255);
}

TEST_CASE("no live object is ever missing from the filter while it grows") {
  const own_tables own;
  std::uint64_t state = 11;
  std::vector<std::uint64_t> live;
  int missing = 0;
  int lost = 0;
  for (int i = 0; i < 200000; ++i) {
    if (live.empty() || random_sig(state) % 4 != 0) {
      const std::uint64_t address = 0x10000 + 16 * static_cast<std::uint64_t>(i);
      if (!add_live_sig(*own.process, *own.heap, address, 1, 65536, 0)) {
        ++lost;
        continue;
      }
      live.push_back(address);
      missing += in_filter(*own.heap, address) ? 0 : 1;
      continue;
    }
    const std::size_t victim = random_sig(state) % live.size();
    live_object object;
    missing += in_filter(*own.heap, live[victim]) ? 0 : 1;
    if (!take_live_sig(*own.heap, live[victim], object)) ++missing;
    live[victim] = live.back();
    live.pop_back();
    if (i % 20000 != 0) continue;
    for (const std::uint64_t address : live) missing += in_filter(*own.heap, address) ? 0 : 1;
  }
  for (const std::uint64_t address : live) missing += in_filter(*own.heap, address) ? 0 : 1;
  CHECK(missing == 0);
  CHECK(lost == 0);
  CHECK(own.heap->live.used() == live.size());
  CHECK((own.heap->filter.load() & 63) < 64 - first_filter_bits);
  CHECK(own.heap->next_filter.load() == 0);
}

TEST_CASE("a filter that was emptied says no again, except where bytes stuck") {
  const own_tables own;
  live_object object;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    add_live_sig(*own.process, *own.heap, 0x10000 + 16 * i, 1, 65536, 0);
  }
  for (std::uint64_t i = 0; i < 1000; ++i) take_live_sig(*own.heap, 0x10000 + 16 * i, object);
  int still = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) still += in_filter(*own.heap, 0x10000 + 16 * i) ? 1 : 0;
  CHECK(still == 0);
}

TEST_CASE("four threads adding and taking never miss one of their own") {
  const own_tables own;
  std::atomic<int> missing{0};
  std::atomic<std::size_t> left{0};
  std::vector<std::thread> threads;
  for (std::uint64_t me = 1; me <= 4; ++me) {
    threads.emplace_back([&, me] {
      std::uint64_t state = me;
      std::vector<std::uint64_t> live;
      for (std::uint64_t i = 0; i < 150000; ++i) {
        if (live.empty() || (live.size() < 20000 && random_sig(state) % 3 != 0)) {
          const std::uint64_t address = me << 40 | 16 * i;
          if (!add_live_sig(*own.process, *own.heap, address, i, 65536, 0)) continue;
          if (!in_filter(*own.heap, address)) ++missing;
          live.push_back(address);
          continue;
        }
        const std::size_t victim = random_sig(state) % live.size();
        live_object object;
        if (!in_filter(*own.heap, live[victim])) ++missing;
        if (!take_live_sig(*own.heap, live[victim], object)) ++missing;
        if (object.size != (live[victim] & 0xffffffffff) / 16) ++missing;
        live[victim] = live.back();
        live.pop_back();
      }
      left.fetch_add(live.size());
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(missing.load() == 0);
  CHECK(own.heap->live.used() == left.load());
}

TEST_CASE("the owner's free() follows the filter") {
  const own_tables own;
  std::atomic<char*> fast{nullptr};
  own.heap->fast_filter.store(&fast);
  grow_filter_sig(*own.heap);
  CHECK(reinterpret_cast<std::uintptr_t>(fast.load()) == own.heap->filter.load());
  for (unsigned i = first_filter_bits; i < last_filter_bits + 3; ++i) grow_filter_sig(*own.heap);
  CHECK((own.heap->filter.load() & 63) == 64 - last_filter_bits);
}

// ---- live objects and counts
// --------------------------------------------------------------------------

TEST_CASE("an object is taken once, and null never is") {
  const own_tables own;
  REQUIRE(add_live_sig(*own.process, *own.heap, 0x4000, 77, 65536, 5));
  live_object object;
  CHECK_FALSE(take_live_sig(*own.heap, 0, object));
  CHECK_FALSE(take_live_sig(*own.heap, 1, object));
  CHECK_FALSE(take_live_sig(*own.heap, 0x4010, object));
  CHECK(take_live_sig(*own.heap, 0x4000, object));
  CHECK(object.size == 77);
  CHECK(object.weight == 65536);
  CHECK(object.counts == 5);
  CHECK_FALSE(take_live_sig(*own.heap, 0x4000, object));
}

TEST_CASE("a recorded allocation is live until it is freed") {
  const own_tables own;
  record_sampled_alloc_sig(*own.process, *own.heap, 0x4000, 1000, 1, nowhere());
  record_sampled_alloc_sig(*own.process, *own.heap, 0x5000, 1000, 1, nowhere());
  heap_reading::row sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects == 2 * 65536);
  CHECK(sum.allocated_bytes == 2000);
  CHECK(sum.freed_objects == 0);
  live_object object;
  REQUIRE(take_live_sig(*own.heap, 0x4000, object));
  count_freed_sig(*own.heap, object);
  sum = sum_of(*own.heap);
  CHECK(sum.freed_objects == 65536);
  CHECK(sum.freed_bytes == 1000);
  CHECK(own.heap->samples.load() == 2);
  CHECK(heap_stack_count(*own.heap) == 1);
}

TEST_CASE("what is freed weighs what was allocated, whatever the rate is by then") {
  const own_tables own;
  record_sampled_alloc_sig(*own.process, *own.heap, 0x4000, 100, 512 * 1024, nowhere());
  own.heap->rate.store(1);
  live_object object;
  REQUIRE(take_live_sig(*own.heap, 0x4000, object));
  count_freed_sig(*own.heap, object);
  const heap_reading::row sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects > 5000 * std::uint64_t{65536});
  CHECK(sum.freed_objects == sum.allocated_objects);
  CHECK(sum.freed_bytes == sum.allocated_bytes);
}

TEST_CASE("an object that finds no room among the live ones does not look live for ever") {
  own_tables own;
  // A live table of 16 slots in one level.
  void* const slots = std::calloc(live_objects::bytes_for(16, 1), 1);
  own.heap->live.bind(slots, 16, 1);
  for (std::uint64_t i = 0; i < 20; ++i) {
    record_sampled_alloc_sig(*own.process, *own.heap, 0x4000 + 64 * i, 10, 1, nowhere());
  }
  const heap_reading::row sum = sum_of(*own.heap);
  CHECK(sum.allocated_objects == 20 * 65536);
  CHECK(sum.freed_objects == 4 * 65536);
  CHECK(own.process->drops[static_cast<unsigned>(drop::live_table_full)].load() == 4);
  std::free(slots);
}

TEST_CASE("bootstrap objects are dropped without being counted") {
  const own_tables own;
  live_object object;
  object.counts = bootstrap_object;
  object.weight = 65536;
  count_freed_sig(*own.heap, object);
  CHECK(sum_of(*own.heap).freed_objects == 0);
}

// ---- profiles
// ------------------------------------------------------------------------------------------

namespace {

struct shown_row {
  std::int64_t size = 0;
  std::int64_t values[4] = {};
};

std::vector<shown_row> shown(const own_tables& own, const heap_reading* base) {
  arena memory(os_pages);
  profile p(memory);
  fill_heap_profile(p, *own.process, *own.heap, base);
  std::vector<shown_row> rows;
  for (const profile_sample& sample : p.samples) {
    shown_row row;
    for (int i = 0; i < 4; ++i) row.values[i] = p.values_of(sample)[i];
    if (sample.label_count == 1) row.size = p.labels[sample.first_label].number;
    rows.push_back(row);
  }
  return rows;
}

}  // namespace

TEST_CASE("the profile has Go's four columns and the object size as a label") {
  const own_tables own;
  arena memory(os_pages);
  profile p(memory);
  own.heap->rate.store(4096);
  fill_heap_profile(p, *own.process, *own.heap, nullptr);
  const char* const names[4] = {"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"};
  REQUIRE(p.value_types.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const text_view name = p.strings[p.value_types[i].type];
    CHECK(std::string(name.data, name.size) == names[i]);
  }
  CHECK(p.period == 4096);
  CHECK(p.samples.empty());

  record_sampled_alloc_sig(*own.process, *own.heap, 0x4000, 1000, 1, nowhere());
  record_sampled_alloc_sig(*own.process, *own.heap, 0x5000, 1000, 1, nowhere());
  live_object object;
  REQUIRE(take_live_sig(*own.heap, 0x4000, object));
  count_freed_sig(*own.heap, object);
  const std::vector<shown_row> rows = shown(own, nullptr);
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].size == 1000);
  CHECK(rows[0].values[0] == 2);
  CHECK(rows[0].values[1] == 2000);
  CHECK(rows[0].values[2] == 1);
  CHECK(rows[0].values[3] == 1000);
}

TEST_CASE("a delta is what changed; frees of older objects make it negative") {
  const own_tables own;
  record_sampled_alloc_sig(*own.process, *own.heap, 0x4000, 1000, 1, nowhere());
  record_sampled_alloc_sig(*own.process, *own.heap, 0x5000, 500, 1, nowhere());
  arena memory(os_pages);
  heap_reading base(memory);
  read_heap(*own.heap, base);
  CHECK(shown(own, &base).empty());
  live_object object;
  REQUIRE(take_live_sig(*own.heap, 0x4000, object));
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
