// tests/unit/base/table_test.cpp - the two lock-free tables: collisions, levels, limits, threads.

#include "prof/base/table.hpp"

#include <doctest/doctest.h>

#include <map>
#include <set>
#include <thread>
#include <vector>

#include "own_memory.hpp"

namespace {

using prof::detail::mix_bits;
using prof::detail::no_slot;

struct plain_slot {
  prof::detail::table_key key;
  std::atomic<std::uint64_t> payload;
};
using adder = prof::detail::add_only_table<plain_slot>;
using remover = prof::detail::add_remove_table<plain_slot>;

// A table over memory of its own.
template <class Table>
struct bound {
  prof::detail::own_memory memory;
  Table table;
  bound(std::size_t first, unsigned levels) { table.bind(memory, first, levels); }
  bound(const bound&) = delete;
  bound& operator=(const bound&) = delete;
};

// Keys whose probing starts at the same slot of a level of 64 slots.
std::vector<std::uint64_t> colliding_keys(std::size_t count) {
  std::vector<std::uint64_t> keys;
  for (std::uint64_t key = 3; keys.size() < count; ++key) {
    if ((mix_bits(key) & 63) == 5) keys.push_back(key);
  }
  return keys;
}

}  // namespace

TEST_CASE("mix_bits is one to one on a sample and changes about half of the bits") {
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 10000; ++i) seen.insert(mix_bits(i));
  CHECK(seen.size() == 10000);
  std::uint64_t flips = 0;
  for (int bit = 0; bit < 64; ++bit) {
    flips += static_cast<std::uint64_t>(
        __builtin_popcountll(mix_bits(12345) ^ mix_bits(12345 ^ (std::uint64_t{1} << bit))));
  }
  CHECK(flips > 64 * 26);
  CHECK(flips < 64 * 38);
}

TEST_CASE("levels double") {
  CHECK(adder::slots_in(16, 1) == 16);
  CHECK(adder::slots_in(16, 3) == 16 + 32 + 64);
}

TEST_CASE("pieces hold as many slots as fit, and are numbered through") {
  // 16-byte slots: 16,384 in a piece. Levels of 1024, 2048, ... 16384 are a piece each; then there are 2 and 4.
  CHECK(adder::pieces_in(16, 1024, 1) == 1);
  CHECK(adder::pieces_in(16, 1024, 5) == 5);
  CHECK(adder::pieces_in(16, 1024, 6) == 7);
  CHECK(adder::pieces_in(16, 1024, 7) == 11);
  CHECK(adder::pieces_in(40, 1024, 10) == 257);
  CHECK(adder::pieces_in(40, 1024, 10) <= adder::most_pieces);
}

TEST_CASE("each slot has a place of its own in memory, whatever its piece") {
  bound<adder> t(1024, 7);
  bool fresh = false;
  std::set<const void*> places;
  std::size_t last = 0;
  for (std::uint64_t key = 3; t.table.used() < 40000; ++key) {
    const std::size_t index = t.table.find_or_add_sig(key, fresh);
    REQUIRE(index != no_slot);
    REQUIRE(t.table.at(index).key.load() == key);
    t.table.at(index).payload.store(~key);
    places.insert(&t.table.at(index));
    last = key;
  }
  CHECK(t.table.levels() == 7);
  CHECK(places.size() == 40000);
  for (std::uint64_t key = 3; key <= last; ++key) {
    const std::size_t index = t.table.find_or_add_sig(key, fresh);
    REQUIRE_FALSE(fresh);
    REQUIRE(t.table.at(index).payload.load() == ~key);
  }
  CHECK(t.memory.bytes.load() == std::uint64_t{127} * 1024 * 16);  // all of its pieces
}

TEST_CASE("memory is taken piece by piece, when a key needs it") {
  bound<adder> t(1024, 8);
  CHECK(t.memory.bytes.load() == 0);
  CHECK(t.table.find_place_sig(0) == nullptr);
  bool fresh = false;
  t.table.find_or_add_sig(77, fresh);
  CHECK(t.memory.bytes.load() == 1024 * 16);
  CHECK(t.table.find_place_sig(0) != nullptr);
  CHECK(t.table.find_place_sig(1024) == nullptr);
  std::size_t seen = 0;
  t.table.for_each_sig([&seen](std::size_t, const plain_slot&) { ++seen; });
  CHECK(seen == 1024);
}

TEST_CASE("what finds no memory is refused and counted, and tried again") {
  bound<adder> a(64, 3);
  bound<remover> r(64, 3);
  a.memory.run_out();
  r.memory.run_out();
  bool fresh = true;
  CHECK(a.table.find_or_add_sig(77, fresh) == no_slot);
  CHECK_FALSE(fresh);
  CHECK(a.table.overflow() == 1);
  CHECK(a.memory.refused.load() > 0);
  CHECK(r.table.claim_sig(77) == no_slot);
  CHECK(r.table.find_sig(77) == no_slot);
  CHECK(r.table.overflow() == 1);
  const prof::detail::own_memory again;
  a.memory.map_sig = again.map_sig;
  CHECK(a.table.find_or_add_sig(77, fresh) != no_slot);
  CHECK(fresh);
}

TEST_CASE("adding finds what is there; one caller learns that it is fresh") {
  bound<adder> t(64, 2);
  bool fresh = false;
  const std::size_t first = t.table.find_or_add_sig(77, fresh);
  CHECK(fresh);
  CHECK(t.table.at(first).key.load() == 77);
  CHECK(t.table.find_or_add_sig(77, fresh) == first);
  CHECK_FALSE(fresh);
  CHECK(t.table.find_or_add_sig(78, fresh) != first);
  CHECK(fresh);
  CHECK(t.table.used() == 2);
  CHECK(t.table.overflow() == 0);
}

TEST_CASE("colliding keys get neighbouring slots, then the next level") {
  bound<adder> t(64, 3);
  const auto keys = colliding_keys(prof::detail::max_probe + 4);
  std::vector<std::size_t> indices;
  for (const std::uint64_t key : keys) {
    bool fresh = false;
    indices.push_back(t.table.find_or_add_sig(key, fresh));
    REQUIRE(indices.back() != no_slot);
    CHECK(fresh);
  }
  CHECK(std::set<std::size_t>(indices.begin(), indices.end()).size() == keys.size());
  for (std::size_t i = 0; i < prof::detail::max_probe; ++i) CHECK(indices[i] == 5 + i);
  CHECK(t.table.levels() == 2);
  for (std::size_t i = prof::detail::max_probe; i < keys.size(); ++i) CHECK(indices[i] >= 64);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    bool fresh = true;
    CHECK(t.table.find_or_add_sig(keys[i], fresh) == indices[i]);
    CHECK_FALSE(fresh);
  }
}

TEST_CASE("growth keeps every index, the limit refuses and is counted") {
  bound<adder> t(16, 4);
  std::map<std::uint64_t, std::size_t> known;
  std::uint64_t refused = 0;
  for (std::uint64_t key = 3; key < 1003; ++key) {
    bool fresh = false;
    const std::size_t index = t.table.find_or_add_sig(key, fresh);
    if (index == no_slot) {
      CHECK_FALSE(fresh);
      ++refused;
    } else {
      CHECK(fresh);
      known[key] = index;
    }
  }
  CHECK(t.table.levels() == 4);
  CHECK(t.table.span() == 240);
  CHECK(known.size() <= 240);
  CHECK(known.size() > 240 / 2);
  CHECK(t.table.used() == known.size());
  CHECK(t.table.overflow() == refused);
  CHECK(refused == 1000 - known.size());
  for (const auto& entry : known) {
    bool fresh = true;
    CHECK(t.table.find_or_add_sig(entry.first, fresh) == entry.second);
    CHECK(t.table.at(entry.second).key.load() == entry.first);
  }
}

TEST_CASE("a small table stays on its first level until it is three quarters full") {
  bound<adder> t(64, 4);
  bool fresh = false;
  for (std::uint64_t key = 3; t.table.used() < 40; ++key) t.table.find_or_add_sig(key, fresh);
  CHECK(t.table.levels() == 1);
  for (std::uint64_t key = 1000; t.table.used() <= 49; ++key) t.table.find_or_add_sig(key, fresh);
  CHECK(t.table.levels() == 2);
}

TEST_CASE("four threads add the same and different keys at once") {
  constexpr std::uint64_t shared = 4000;
  constexpr std::uint64_t own = 4000;
  bound<adder> t(64, 12);
  std::atomic<int> ready{0};
  std::atomic<std::uint64_t> fresh_count{0};
  std::atomic<std::uint64_t> wrong{0};
  const auto work = [&](std::uint64_t me) {
    std::map<std::uint64_t, std::size_t> mine;
    ready.fetch_add(1);
    while (ready.load() != 4) std::this_thread::yield();
    const auto add = [&](std::uint64_t key) {
      bool fresh = false;
      const std::size_t index = t.table.find_or_add_sig(key, fresh);
      if (index == no_slot || t.table.at(index).key.load() != key) return wrong.fetch_add(1);
      if (fresh) fresh_count.fetch_add(1);
      mine[key] = index;
      return std::uint64_t{0};
    };
    for (std::uint64_t i = 0; i < shared; ++i) {
      add(3 + i);
      if (i < own) add((me + 1) << 32 | i);
    }
    for (const auto& entry : mine) {
      if (t.table.at(entry.second).key.load() != entry.first) wrong.fetch_add(1);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t me = 0; me < 4; ++me) threads.emplace_back(work, me);
  for (auto& thread : threads) thread.join();

  CHECK(wrong.load() == 0);
  CHECK(t.table.overflow() == 0);
  CHECK(t.table.used() == fresh_count.load());
  std::map<std::uint64_t, int> slots_of;
  t.table.for_each_sig([&slots_of](std::size_t, const plain_slot& slot) {
    if (slot.key.load() != 0) ++slots_of[slot.key.load()];
  });
  CHECK(slots_of.size() == shared + 4 * own);
  // A key may get a second slot while a level opens, and no more than one for each opening.
  for (const auto& entry : slots_of) CHECK(entry.second <= 4);
}

TEST_CASE("claimed is invisible, published is found, removed is gone") {
  bound<remover> t(64, 2);
  const std::size_t index = t.table.claim_sig(99);
  REQUIRE(index != no_slot);
  CHECK(t.table.find_sig(99) == no_slot);
  t.table.at(index).payload.store(5);
  t.table.publish_sig(index, 99);
  CHECK(t.table.find_sig(99) == index);
  CHECK(t.table.used() == 1);
  t.table.remove_sig(index);
  CHECK(t.table.find_sig(99) == no_slot);
  CHECK(t.table.used() == 0);
}

TEST_CASE("a key that is not there any more is not removed again") {
  bound<remover> t(64, 2);
  const std::size_t index = t.table.claim_sig(99);
  t.table.publish_sig(index, 99);
  CHECK_FALSE(t.table.remove_key_sig(index, 98));
  CHECK(t.table.remove_key_sig(index, 99));
  CHECK_FALSE(t.table.remove_key_sig(index, 99));
  CHECK(t.table.used() == 0);
}

TEST_CASE("a removed slot does not hide the keys behind it and is used again") {
  bound<remover> t(64, 2);
  const auto keys = colliding_keys(4);
  std::vector<std::size_t> at;
  for (const std::uint64_t key : keys) {
    at.push_back(t.table.claim_sig(key));
    t.table.publish_sig(at.back(), key);
  }
  t.table.remove_sig(at[1]);
  CHECK(t.table.find_sig(keys[1]) == no_slot);
  CHECK(t.table.find_sig(keys[2]) == at[2]);
  CHECK(t.table.find_sig(keys[3]) == at[3]);
  const std::size_t again = t.table.claim_sig(keys[1]);
  CHECK(again == at[1]);
  t.table.publish_sig(again, keys[1]);
  CHECK(t.table.find_sig(keys[1]) == again);
  CHECK(t.table.levels() == 1);
}

TEST_CASE("a full table refuses, counts, and takes again after a removal") {
  bound<remover> t(16, 1);
  std::vector<std::size_t> at;
  for (std::uint64_t key = 3; key < 19; ++key) {
    at.push_back(t.table.claim_sig(key));
    REQUIRE(at.back() != no_slot);
    t.table.publish_sig(at.back(), key);
  }
  CHECK(t.table.claim_sig(100) == no_slot);
  CHECK(t.table.overflow() == 1);
  t.table.remove_sig(at[7]);
  CHECK(t.table.claim_sig(100) == at[7]);
}

TEST_CASE("a million claims and removals over four threads agree with a model") {
  constexpr std::uint64_t operations = 250000;  // per thread
  bound<remover> t(64, 7);                      // 8,128 slots
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> refused{0};
  std::atomic<std::uint64_t> live{0};
  const auto work = [&](std::uint64_t me) {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> model;  // key, payload
    std::uint64_t state = me * 7919 + 1;
    std::uint64_t next_key = me << 40 | 16;
    for (std::uint64_t i = 0; i < operations; ++i) {
      state = mix_bits(state + 0x9e3779b97f4a7c15u);
      const bool add = model.empty() || (model.size() < 600 && (state & 1) != 0);
      if (add) {
        const std::uint64_t key = next_key += 16;
        if (t.table.find_sig(key) != no_slot) wrong.fetch_add(1);
        const std::size_t index = t.table.claim_sig(key);
        if (index == no_slot) {
          refused.fetch_add(1);
          continue;
        }
        t.table.at(index).payload.store(state, std::memory_order_relaxed);
        t.table.publish_sig(index, key);
        model.emplace_back(key, state);
        continue;
      }
      const std::size_t victim = (state >> 8) % model.size();
      const std::size_t index = t.table.find_sig(model[victim].first);
      if (index == no_slot) {
        wrong.fetch_add(1);
        continue;
      }
      if (t.table.at(index).payload.load(std::memory_order_relaxed) != model[victim].second) {
        wrong.fetch_add(1);
      }
      t.table.remove_sig(index);
      model[victim] = model.back();
      model.pop_back();
    }
    for (const auto& entry : model) {
      if (t.table.find_sig(entry.first) == no_slot) wrong.fetch_add(1);
    }
    live.fetch_add(model.size());
  };
  std::vector<std::thread> threads;
  for (std::uint64_t me = 0; me < 4; ++me) threads.emplace_back(work, me);
  for (auto& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  CHECK(t.table.overflow() == refused.load());
  CHECK(refused.load() == 0);
  CHECK(t.table.used() == live.load());
}
