// tests/unit/base/live_table_test.cpp - sampled objects are taken once, and the filter of free()
// never denies one.

#include "prof/base/live_table.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <new>
#include <thread>
#include <vector>

#include "own_memory.hpp"
#include "prof/base/random.hpp"
#include "prof/os/os.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// A table over pages of its own.
struct own_table {
  own_memory memory;
  live_table* table = new live_table;
  own_table() {
    memory.map_sig = &os_map_in_steps_sig;
    memory.unmap_sig = &os_unmap_sig;
    REQUIRE(table->bind(memory));
  }
  ~own_table() { delete table; }
  own_table(const own_table&) = delete;
  own_table& operator=(const own_table&) = delete;
};

bool in_filter(const live_table& table, std::uint64_t address) {
  return filter_byte_sig(address, table.filter()).load() != 0;
}

}  // namespace

TEST_CASE("a filter's base and its size share one word") {
  const own_table own;
  CHECK((own.table->filter() & 63) == 64 - live_table::first_filter_bits);
  CHECK(own.table->filter_bits() == live_table::first_filter_bits);
}

TEST_CASE("a filter is mapped when it is needed, and one that the system refuses is done without") {
  own_table own;
  CHECK(own.memory.bytes.load() == std::uint64_t{1} << live_table::first_filter_bits);
  own.memory.run_out();
  live_object found;
  std::size_t added = 0;
  for (std::uint64_t i = 1; i <= 20000; ++i) added += own.table->add_sig(i << 4, {16, 1, 0}) ? 1u : 0u;
  CHECK(added == 0);  // there is no memory for objects either
  const own_memory again;
  own.memory.map_sig = again.map_sig;
  for (std::uint64_t i = 1; i <= 8000; ++i) REQUIRE(own.table->add_sig(i << 4, {16, 1, 0}));
  own.memory.map_sig = [](std::size_t size) noexcept -> void* {
    return size > std::size_t{1} << live_table::first_filter_bits ? nullptr : os_map_sig(size);
  };
  for (std::uint64_t i = 8001; i <= 9000; ++i) CHECK(own.table->add_sig(i << 4, {16, 1, 0}));
  CHECK(own.table->filter_bits() == live_table::first_filter_bits);
  for (std::uint64_t i = 1; i <= 9000; ++i) CHECK(own.table->take_sig(i << 4, found));
}

TEST_CASE("a filter byte sticks at 255 and never goes below 0") {
  const own_table own;
  const std::uint64_t word = own.table->filter();
  auto& byte = filter_byte_sig(0x1000, word);
  filter_remove_sig(0x1000, word);
  CHECK(byte.load() == 0);
  for (int i = 0; i < 300; ++i) filter_add_sig(0x1000, word);
  CHECK(byte.load() == 255);
  for (int i = 0; i < 300; ++i) filter_remove_sig(0x1000, word);
  CHECK(byte.load() == 255);
}

TEST_CASE("no live object is ever missing from the filter while it grows") {
  const own_table own;
  std::uint64_t state = 11;
  std::vector<std::uint64_t> live;
  int missing = 0;
  int lost = 0;
  for (int i = 0; i < 200000; ++i) {
    if (live.empty() || random_sig(state) % 4 != 0) {
      const std::uint64_t address = 0x10000 + 16 * static_cast<std::uint64_t>(i);
      if (!own.table->add_sig(address, {1, 65536, 0})) {
        ++lost;
        continue;
      }
      live.push_back(address);
      missing += in_filter(*own.table, address) ? 0 : 1;
      continue;
    }
    const std::size_t victim = random_sig(state) % live.size();
    live_object object;
    missing += in_filter(*own.table, live[victim]) ? 0 : 1;
    if (!own.table->take_sig(live[victim], object)) ++missing;
    live[victim] = live.back();
    live.pop_back();
    if (i % 20000 != 0) continue;
    for (const std::uint64_t address : live) missing += in_filter(*own.table, address) ? 0 : 1;
  }
  for (const std::uint64_t address : live) missing += in_filter(*own.table, address) ? 0 : 1;
  CHECK(missing == 0);
  CHECK(lost == 0);
  CHECK(own.table->used() == live.size());
  CHECK((own.table->filter() & 63) < 64 - live_table::first_filter_bits);
  CHECK(!own.table->growing());
}

TEST_CASE("a filter that was emptied says no again, except where bytes stuck") {
  const own_table own;
  live_object object;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    own.table->add_sig(0x10000 + 16 * i, {1, 65536, 0});
  }
  for (std::uint64_t i = 0; i < 1000; ++i) own.table->take_sig(0x10000 + 16 * i, object);
  int still = 0;
  for (std::uint64_t i = 0; i < 1000; ++i) still += in_filter(*own.table, 0x10000 + 16 * i) ? 1 : 0;
  CHECK(still == 0);
}

TEST_CASE("four threads adding and taking never miss one of their own") {
  const own_table own;
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
          if (!own.table->add_sig(address, {i, 65536, 0})) continue;
          if (!in_filter(*own.table, address)) ++missing;
          live.push_back(address);
          continue;
        }
        const std::size_t victim = random_sig(state) % live.size();
        live_object object;
        if (!in_filter(*own.table, live[victim])) ++missing;
        if (!own.table->take_sig(live[victim], object)) ++missing;
        if (object.size != (live[victim] & 0xffffffffff) / 16) ++missing;
        live[victim] = live.back();
        live.pop_back();
      }
      left.fetch_add(live.size());
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(missing.load() == 0);
  CHECK(own.table->used() == left.load());
}

TEST_CASE("the owner's free() follows the filter") {
  const own_table own;
  std::atomic<char*> fast{nullptr};
  own.table->publish_filter_to_sig(fast);
  own.table->grow_filter_sig();
  CHECK(reinterpret_cast<std::uintptr_t>(fast.load()) == own.table->filter());
  for (unsigned i = live_table::first_filter_bits; i < live_table::last_filter_bits + 3; ++i) {
    own.table->grow_filter_sig();
    CHECK(reinterpret_cast<std::uintptr_t>(fast.load()) == own.table->filter());
  }
  CHECK((own.table->filter() & 63) == 64 - live_table::last_filter_bits);
}

namespace {

// As in hook/entry.hpp: every free takes the slow path until the filter is published.
alignas(64) char g_closed[64] = {1, 1};

// What one thread owns of a table, looked up as free() does it.
class owner {
 public:
  owner(live_table& table, std::atomic<char*>& fast, std::uint64_t me)
      : table_(table), fast_(fast), me_(me), random_(me) {}

  // Adds more often than it takes until it has `most` objects; returns what was wrong.
  int step(std::uint64_t i, std::size_t most) {
    if (live_.empty() || (live_.size() < most && random_sig(random_) % 3 != 0)) {
      const std::uint64_t address = me_ << 40 | 16 * i;
      if (!table_.add_sig(address, {i, 65536, 0})) return 1;
      live_.push_back(address);
      return missed(address);
    }
    const std::size_t victim = random_sig(random_) % live_.size();
    live_object object;
    int wrong = missed(live_[victim]);
    if (!table_.take_sig(live_[victim], object)) ++wrong;
    if (object.size != (live_[victim] & 0xffffffffff) / 16) ++wrong;
    live_[victim] = live_.back();
    live_.pop_back();
    return live_.empty() ? wrong : wrong + missed(live_[random_sig(random_) % live_.size()]);
  }

  int missed_of_all() const {
    int missing = 0;
    for (const std::uint64_t address : live_) missing += missed(address);
    return missing;
  }
  std::size_t live() const { return live_.size(); }

 private:
  int missed(std::uint64_t address) const {
    const auto word = reinterpret_cast<std::uintptr_t>(fast_.load());
    return filter_byte_sig(address, word).load() == 0 ? 1 : 0;
  }

  live_table& table_;
  std::atomic<char*>& fast_;
  const std::uint64_t me_;
  std::uint64_t random_;
  std::vector<std::uint64_t> live_;
};

}  // namespace

TEST_CASE("free() never overlooks an object, neither while the filter is published nor grows") {
  const own_table own;
  std::atomic<char*> fast{g_closed + 63};
  std::atomic<int> wrong{0};
  std::atomic<int> running{0};
  std::atomic<std::size_t> left{0};
  std::vector<std::thread> threads;
  for (std::uint64_t me = 1; me <= 4; ++me) {
    threads.emplace_back([&, me] {
      owner mine(*own.table, fast, me);
      ++running;
      for (std::uint64_t i = 0; i < 100000; ++i) {
        wrong += mine.step(i, 12000);
        if (i % 1000 == 0) wrong += mine.missed_of_all();
      }
      wrong += mine.missed_of_all();
      left += mine.live();
    });
  }
  while (running.load() != 4) std::this_thread::yield();
  own.table->publish_filter_to_sig(fast);
  for (auto& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  CHECK(own.table->filter_bits() >= 19);
  CHECK(reinterpret_cast<std::uintptr_t>(fast.load()) == own.table->filter());
  CHECK(own.table->used() == left.load());
}

TEST_CASE("publishing while the filter grows ends with the filter in force") {
  for (int round = 0; round < 100; ++round) {
    const own_table own;
    std::atomic<char*> fast{g_closed + 63};
    std::atomic<bool> go{false};
    std::thread grower([&] {
      while (!go.load()) {
      }
      // A call does nothing while the publisher keeps growers out.
      while (own.table->filter_bits() < 19) own.table->grow_filter_sig();
    });
    go.store(true);
    own.table->publish_filter_to_sig(fast);
    grower.join();
    CHECK(reinterpret_cast<std::uintptr_t>(fast.load()) == own.table->filter());
    CHECK(own.table->filter_bits() == 19);
  }
}

TEST_CASE("a child in which nobody grows the filter any more can grow it itself") {
  // The whole of what a grower of the parent may have done before the fork is its mark.
  const own_table own;
  own.table->add_sig(0x4000, {1, 65536, 0});
  own.table->forget_growing();
  CHECK_FALSE(own.table->growing());
  own.table->grow_filter_sig();
  CHECK(own.table->filter_bits() == live_table::first_filter_bits + 1);
  CHECK(own.table->maybe_known_sig(0x4000));
}

TEST_CASE("an object is taken once, and null never is") {
  const own_table own;
  REQUIRE(own.table->add_sig(0x4000, {77, 65536, 5}));
  live_object object;
  CHECK_FALSE(own.table->take_sig(0, object));
  CHECK_FALSE(own.table->take_sig(1, object));
  CHECK_FALSE(own.table->take_sig(0x4010, object));
  CHECK(own.table->take_sig(0x4000, object));
  CHECK(object.size == 77);
  CHECK(object.weight == 65536);
  CHECK(object.counts == 5);
  CHECK_FALSE(own.table->take_sig(0x4000, object));
}

#endif
