// tests/unit/part/heap_part_test.cpp - rates, profiles, and objects that the host reports itself.

#include "prof/part/heap_part.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <initializer_list>
#include <string>
#include <thread>
#include <vector>

#include "../process/own_process.hpp"
#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct totals {
  std::uint64_t allocated_objects = 0;
  std::uint64_t allocated_bytes = 0;
  std::uint64_t freed_objects = 0;
  std::uint64_t freed_bytes = 0;
};

totals of_size(std::uint64_t size) {
  const heap_state& heap = *heap_sig(*process_sig());
  arena memory(os_pages);
  count_snapshot now(memory);
  heap.counts.read(now);
  totals sum;
  heap.counts.for_each_since(nullptr, now, [&](const count_key& key, const std::uint64_t* counted) {
    if (key.extra != size) return;
    sum.allocated_objects += counted[allocated_objects] / 65536;
    sum.allocated_bytes += counted[allocated_bytes];
    sum.freed_objects += counted[freed_objects] / 65536;
    sum.freed_bytes += counted[freed_bytes];
  });
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
  const hook_role before = heap_role.exchange(hook_role::forwarding);
  prof::record_alloc(g_pool[0], 34581);
  heap_role.store(before);
  prof::record_free(g_pool[0]);
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
  const totals seen = of_size(34577);
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

// ---- profiles -------------------------------------------------------------------------------------------------

namespace {

constexpr profile_row heap_row{{"heap", 4}, {"of a test", 9}};

// A collection of the heap part, as collect/ makes it.
struct collected {
  arena memory{os_pages};
  prof::profile_request request;
  profile_run run{*enter_process(), heap_row, request, memory, memory.allocate(prof_part_heap_v2.run_bytes)};
  explicit collected(unsigned seconds) {
    request.seconds = seconds;
    REQUIRE(prof_part_heap_v2.begin(run));
  }
  // Live objects of a size.
  std::int64_t live_at_end(std::int64_t size) {
    REQUIRE(prof_part_heap_v2.end(run));
    profile p(memory);
    prof_part_heap_v2.fill(p, run);
    std::int64_t objects = 0;
    for (const profile_sample& sample : p.samples) {
      if (sample.label_count == 0 || p.labels[sample.first_label].number != size) continue;
      objects += p.values_of(sample)[2];
    }
    return objects;
  }
};

}  // namespace

TEST_CASE("a profile over some seconds is what changed meanwhile, any other one what is known") {
  const rate_scope all(1);
  prof::record_alloc(g_pool[0], 34579);
  collected delta(1);
  collected known(0);
  prof::record_alloc(g_pool[1], 34579);
  CHECK(delta.live_at_end(34579) == 1);
  CHECK(known.live_at_end(34579) == 2);
  prof::record_free(g_pool[0]);
  prof::record_free(g_pool[1]);
  CHECK(collected(0).live_at_end(34579) == 0);
}

TEST_CASE("the part brings heap and allocs, which show different columns first and hide the allocator") {
  struct {
    std::vector<std::string> names;
    std::vector<std::string> types;
    std::vector<std::string> deltas;
    bool alike = true;
  } seen;
  prof_part_heap_v2.visit_rows(*enter_process(), {[](void* context, const profile_row& row) {
                                                    auto& to = *static_cast<decltype(seen)*>(context);
                                                    const auto text = [](text_view view) {
                                                      return view.size == 0 ? "" : std::string(view.data, view.size);
                                                    };
                                                    to.names.push_back(text(row.name));
                                                    to.types.push_back(text(row.default_type));
                                                    to.deltas.push_back(text(row.delta_name));
                                                    constexpr decltype(row.write_text) heap_text = &write_heap_text;
                                                    to.alike = to.alike && row.default_seconds == 0 &&
                                                               row.write_text == heap_text &&
                                                               row.hides == &is_allocator_frame;
                                                  },
                                                  &seen});
  CHECK(seen.names == std::vector<std::string>{"allocs", "heap"});
  CHECK(seen.types == std::vector<std::string>{"alloc_space", ""});
  CHECK(seen.deltas == std::vector<std::string>{"allocs-delta", "heap-delta"});
  CHECK(seen.alike);
}

TEST_CASE("which names are the allocator's") {
  for (const char* name :
       {"malloc", "calloc", "realloc", "free", "reallocarray", "memalign", "posix_memalign", "aligned_alloc", "valloc",
        "pvalloc", "operator new(unsigned long)", "operator new[](unsigned long, std::nothrow_t const&)",
        "operator new(unsigned long, std::align_val_t)", "prof::v1::detail::malloc_entry::call(unsigned long)",
        "void* prof::v1::detail::alloc_entry<int>::counting_slow(unsigned long)"}) {
    CHECK_MESSAGE(is_allocator_frame(name), name);
  }
  for (const char* name :
       {"", "strdup", "my_malloc", "malloc_usable_size", "operator new", "pool::operator new(unsigned long)",
        "operator delete(void*)", "prof::v1::write_profile(char const*)", "run(prof::v1::detail::arena&)",
        "box<prof::v1::detail::arena>::get()"}) {
    CHECK_MESSAGE(!is_allocator_frame(name), name);
  }
}

TEST_CASE("stacks, samples and live objects are reported") {
  const rate_scope all(1);
  process_state& process = *enter_process();
  const heap_state& heap = *heap_sig(process);
  const auto number = [&](const char* name) {
    struct {
      std::string name;
      std::uint64_t number;
    } wanted{name, ~std::uint64_t{0}};
    prof_part_heap_v2.report(process, {[](void* context, const status_value& row) {
                                         auto& to = *static_cast<decltype(wanted)*>(context);
                                         if (to.name == row.name) to.number = row.number;
                                       },
                                       &wanted});
    return wanted.number;
  };
  const std::uint64_t samples = number("heap samples");
  const std::uint64_t live = number("heap sampled live objects");
  prof::record_alloc(g_pool[0], 34583);
  CHECK(number("heap rate (bytes per sample)") == 1);
  CHECK(number("heap samples") > samples);
  CHECK(number("heap sampled live objects") > live);
  CHECK(prof_part_heap_v2.count(process) == heap.counts.used());
  CHECK(prof_part_heap_v2.count(process) != 0);
  prof::record_free(g_pool[0]);
}

// ---- no memory ------------------------------------------------------------------------------------------------

TEST_CASE("without memory a profile is refused, no rate is kept, and the host's records do nothing") {
  static bool refuses;
  const own_process own;
  process_state& process = *own.state;
  process.memory.map_sig = [](std::size_t size) noexcept { return refuses ? nullptr : os_map_in_steps_sig(size); };
  arena memory(os_pages);
  const prof::profile_request request;
  profile_run run{process, heap_row, request, memory, memory.allocate(prof_part_heap_v2.run_bytes)};
  refuses = true;
  CHECK(prof_part_heap_v2.begin(run).code() == prof::error::out_of_memory);
  CHECK(prof_part_heap_v2.set_rate(process, 1) == 0);
  CHECK(prof_part_heap_v2.count(process) == 0);
  std::int64_t countdown = -64;
  prof_part_records_v2.record_alloc_sig(process, countdown, g_pool[0], 64, PROF_DETAIL_CALL_FRAME());
  CHECK(countdown == max_gap);  // asks again behind that
  prof_part_records_v2.record_free_sig(process, g_pool[0]);
  CHECK(drops_of(process, static_cast<unsigned>(drop::no_memory)) == 4);

  refuses = false;
  CHECK(prof_part_heap_v2.set_rate(process, 1) == default_heap_rate);
  countdown = 0;
  (void)count_down_sig(countdown, 64);
  prof_part_records_v2.record_alloc_sig(process, countdown, g_pool[0], 64, PROF_DETAIL_CALL_FRAME());
  CHECK(heap_sig(process)->live.used() == 1);
  prof_part_records_v2.record_free_sig(process, g_pool[0]);
  CHECK(heap_sig(process)->live.used() == 0);
  CHECK(prof_part_heap_v2.begin(run));
}

TEST_CASE("where no countdown can be remembered every object asks, and the sum is about right") {
  const own_process own;
  process_state& process = *own.state;
  heap_state* const heap = heap_sig(process);
  REQUIRE(heap != nullptr);
  constexpr std::size_t size = 1000;
  constexpr std::uint64_t count = 100000;
  std::int64_t countdown = 0;
  heap->rate.store(1);
  for (std::uint64_t i = 0; i <= count; ++i) {
    if (!count_down_sig(countdown, size)) {
      prof_part_records_v2.record_alloc_sig(process, countdown, g_pool[0], size, PROF_DETAIL_CALL_FRAME());
    }
    prof_part_records_v2.record_free_sig(process, g_pool[0]);
    if (i != 0) continue;
    process.memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };  // all but the gaps are mapped now
    heap->rate.store(64 * 1024);
  }
  CHECK(process.gaps.used() == 0);
  CHECK(drops_of(process, static_cast<unsigned>(drop::no_memory)) > 1000);
  CHECK(drops_of(process, static_cast<unsigned>(drop::count_table_full)) == 0);
  arena memory(os_pages);
  count_snapshot now(memory);
  heap->counts.read(now);
  std::uint64_t objects = 0;
  heap->counts.for_each_since(nullptr, now, [&](const count_key&, const std::uint64_t* counted) {
    objects += counted[allocated_objects] / 65536;
    CHECK(counted[freed_objects] == counted[allocated_objects]);
  });
  CHECK(objects > count * 17 / 20);  // some 1,500 samples
  CHECK(objects < count * 23 / 20);
}

#endif
