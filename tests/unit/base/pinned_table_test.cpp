// tests/unit/base/pinned_table_test.cpp - records by address: made once, pinned by many, gone with the last.

#include "prof/base/pinned_table.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <initializer_list>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "own_memory.hpp"

namespace {

using prof::detail::mix_bits;
using prof::detail::no_slot;
using prof::detail::own_memory;
using prof::detail::pinned_table;
using prof::detail::table_key;

struct plain_slot {
  table_key key;
  std::atomic<std::uint32_t> pins;
  std::atomic<std::uint32_t> owes;
  std::atomic<std::uint64_t> payload;
  bool is_settled_sig() const noexcept { return owes.load() == 0; }
};

// What another thread does in the middle of a step of this one: the next time that this one gets there, once.
struct other_thread {
  std::function<void()> behind_key;      // a record has just got its key
  std::function<void()> behind_pin;      // a pin has just been taken, maybe of a record that goes
  std::function<void()> behind_settled;  // a record has just been found to be settled
  std::function<void()> behind_going;    // a record has just been marked as one that goes
  static other_thread& instance() {
    static other_thread only;
    return only;
  }
  static void takes(std::function<void()> other_thread::* step) {
    const std::function<void()> now = std::exchange(instance().*step, nullptr);
    if (now) now();
  }
};

// A slot at whose words the steps of another thread can be put in between.
struct watched_slot {
  struct watched_key : table_key {
    void store(std::uint64_t to) {
      table_key::store(to);
      other_thread::takes(&other_thread::behind_key);
    }
  };
  struct watched_pins {
    std::atomic<std::uint32_t> count;
    std::uint32_t load() const { return count.load(); }
    void store(std::uint32_t to) { count.store(to); }
    std::uint32_t fetch_add(std::uint32_t n) {
      const std::uint32_t before = count.fetch_add(n);
      other_thread::takes(&other_thread::behind_pin);
      return before;
    }
    std::uint32_t fetch_sub(std::uint32_t n) { return count.fetch_sub(n); }
    bool compare_exchange_strong(std::uint32_t& before, std::uint32_t after) {
      const bool done = count.compare_exchange_strong(before, after);
      if (done) other_thread::takes(&other_thread::behind_going);
      return done;
    }
  };

  watched_key key;
  watched_pins pins;
  std::atomic<std::uint32_t> owes;
  std::atomic<std::uint64_t> payload;
  bool is_settled_sig() const {
    const bool is_settled = owes.load() == 0;
    other_thread::takes(&other_thread::behind_settled);
    return is_settled;
  }
};

// A table over memory of its own. A record's payload is its key, turned round.
template <class Slot>
struct bound_table {
  own_memory memory;
  pinned_table<Slot> table;
  int fills = 0;
  explicit bound_table(std::size_t first = 64, unsigned levels = 3) { table.bind(memory, first, levels); }
  bound_table(const bound_table&) = delete;
  bound_table& operator=(const bound_table&) = delete;

  std::size_t make(std::uint64_t key) {
    return table.pin_or_make_sig(key, [&](Slot& slot) {
      ++fills;
      slot.owes.store(0);
      slot.payload.store(~key);
    });
  }
};
using bound = bound_table<plain_slot>;
using watched = bound_table<watched_slot>;

}  // namespace

// ---- one thread -------------------------------------------------------------------------------------------------

TEST_CASE("a record is made by the first who comes, found by the others, and gone with the last pin") {
  bound t;
  CHECK(t.table.pin_sig(77) == no_slot);
  const std::size_t index = t.make(77);
  REQUIRE(index != no_slot);
  CHECK(t.fills == 1);
  CHECK(t.table.at(index).key.load() == 77);
  CHECK(t.table.at(index).payload.load() == ~std::uint64_t{77});
  CHECK(t.make(77) == index);
  CHECK(t.table.pin_sig(77) == index);
  CHECK(t.table.pin_at_sig(index, 77));
  CHECK(t.fills == 1);
  for (int pins = 4; pins > 0; --pins) {
    CHECK(t.table.used() == 1);
    CHECK(t.table.find_sig(77) == index);
    t.table.unpin_sig(index);
  }
  CHECK(t.table.used() == 0);
  CHECK(t.table.find_sig(77) == no_slot);
  CHECK(t.table.pin_sig(77) == no_slot);
}

TEST_CASE("a record in which something is owed stays with its last pin, until a later pin finds it settled") {
  bound t;
  const std::size_t index = t.make(77);
  REQUIRE(index != no_slot);
  t.table.at(index).owes.store(1);
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 1);
  CHECK(t.make(77) == index);
  CHECK(t.fills == 1);
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 1);
  CHECK(t.table.pin_sig(77) == index);
  t.table.at(index).owes.store(0);
  CHECK(t.table.used() == 1);
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 0);
}

TEST_CASE("a slot is filled anew for each record, and goes with it again") {
  bound t(16, 1);
  std::size_t index = t.make(77);
  for (std::uint64_t key = 78; key < 1000; ++key) {
    REQUIRE(index != no_slot);
    t.table.unpin_sig(index);
    CHECK(t.table.used() == 0);
    index = t.make(key);
    REQUIRE(index != no_slot);
    CHECK(t.table.at(index).payload.load() == ~key);
    CHECK(t.table.at(index).pins.load() == 1);
  }
  CHECK(t.fills == 923);
}

TEST_CASE("by the number of an earlier record nothing is pinned, and the later one goes as it would") {
  bound t(16, 1);
  const std::size_t index = t.make(77);
  REQUIRE(index != no_slot);
  t.table.unpin_sig(index);
  CHECK_FALSE(t.table.pin_at_sig(index, 77));  // nothing is there
  std::uint64_t other = 78;
  for (std::size_t there = no_slot; there != index; ++other) {
    if (there != no_slot) t.table.unpin_sig(there);
    there = t.make(other);
  }
  --other;
  CHECK(t.table.used() == 1);
  CHECK_FALSE(t.table.pin_at_sig(index, 77));  // another is there
  CHECK(t.table.at(index).pins.load() == 1);
  CHECK(t.table.pin_at_sig(index, other));
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 1);
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 0);
}

TEST_CASE("many records are there at once, and each has its own slot") {
  bound t(64, 5);
  std::set<std::size_t> places;
  for (std::uint64_t key = 3; key < 1003; ++key) places.insert(t.make(key));
  CHECK(places.size() == 1000);
  CHECK(places.count(no_slot) == 0);
  CHECK(t.table.used() == 1000);
  CHECK(t.table.levels() > 1);
  int wrong = 0;
  for (std::uint64_t key = 3; key < 1003; ++key) {
    const std::size_t index = t.table.pin_sig(key);
    if (index == no_slot || t.table.at(index).payload.load() != ~key) ++wrong;
    t.table.unpin_sig(index);
    t.table.unpin_sig(index);
  }
  CHECK(wrong == 0);
  CHECK(t.table.used() == 0);
}

TEST_CASE("what finds no room or no memory is refused, and made when there is some") {
  bound t(16, 1);
  std::vector<std::size_t> made;
  for (std::uint64_t key = 3; key < 19; ++key) made.push_back(t.make(key));
  CHECK(t.table.used() == 16);
  CHECK(t.make(19) == no_slot);
  CHECK(t.table.overflow() == 1);
  CHECK(t.make(3) == made.front());  // is there already
  t.table.unpin_sig(made.back());
  CHECK(t.make(19) == made.back());

  bound poor;
  poor.memory.run_out();
  CHECK(poor.make(77) == no_slot);
  CHECK(poor.table.used() == 0);
  poor.memory.has_more();
  CHECK(poor.make(77) != no_slot);
}

TEST_CASE("all is forgotten whoever has pins, and then records come and go as before") {
  bound t;
  for (std::uint64_t key = 3; key < 13; ++key) {
    const std::size_t index = t.make(key);
    if (key % 2 == 0) t.make(key);
    t.table.at(index).owes.store(key % 3 == 0 ? 1 : 0);
  }
  t.table.forget_all();
  CHECK(t.table.used() == 0);
  for (std::uint64_t key = 3; key < 13; ++key) {
    CHECK(t.table.find_sig(key) == no_slot);
    const std::size_t index = t.make(key);
    REQUIRE(index != no_slot);
    CHECK(t.table.at(index).pins.load() == 1);
    t.table.unpin_sig(index);
  }
  CHECK(t.table.used() == 0);
}

// ---- another thread, step by step ---------------------------------------------------------------------------------

TEST_CASE("of two that make the same record at once the later one takes the other's") {
  watched t;
  std::size_t others = no_slot;
  bool is_first = true;
  const std::size_t mine = t.table.pin_or_make_sig(77, [&](watched_slot& slot) {
    slot.owes.store(0);
    if (is_first) others = t.make(77);
    is_first = false;
  });
  REQUIRE(others != no_slot);
  CHECK(mine == others);
  CHECK(t.table.used() == 1);
  CHECK(t.table.at(mine).payload.load() == ~std::uint64_t{77});
  t.table.unpin_sig(mine);
  CHECK(t.table.used() == 1);
  t.table.unpin_sig(others);
  CHECK(t.table.used() == 0);
}

TEST_CASE("who comes when a record has just got its key finds it or gives up, and makes no second one") {
  watched t;
  std::size_t others = no_slot;
  other_thread::instance().behind_key = [&] { others = t.make(77); };
  const std::size_t mine = t.make(77);
  REQUIRE(mine != no_slot);
  CHECK((others == mine || others == no_slot));
  CHECK(t.table.used() == 1);
  if (others != no_slot) t.table.unpin_sig(others);
  t.table.unpin_sig(mine);
  CHECK(t.table.used() == 0);
}

TEST_CASE("two that make the same record at once end with one when a third has found the one that is taken back") {
  watched t;
  std::size_t second = no_slot;
  std::size_t third = no_slot;
  bool is_first = true;
  const std::size_t first = t.table.pin_or_make_sig(77, [&](watched_slot& slot) {
    slot.owes.store(0);
    if (!is_first) return;
    is_first = false;
    second = t.make(77);
    other_thread::instance().behind_key = [&] { third = t.table.pin_sig(77); };
  });
  other_thread::instance() = {};
  REQUIRE(first != no_slot);
  CHECK(second == first);
  CHECK((third == first || third == no_slot));
  CHECK(t.table.used() == 1);
  for (const std::size_t pinned : {first, second, third}) {
    if (pinned != no_slot) t.table.unpin_sig(pinned);
  }
  CHECK(t.table.used() == 0);
}

TEST_CASE("a record that goes is not pinned, and makes nobody wait") {
  watched t;
  const std::size_t index = t.make(77);
  REQUIRE(index != no_slot);
  std::size_t found = 0;
  bool pinned = true;
  other_thread::instance().behind_going = [&] {
    found = t.table.pin_sig(77);
    pinned = t.table.pin_at_sig(index, 77);
    (void)t.make(77);  // there is no telling for how long the other does not get on
  };
  t.table.unpin_sig(index);
  CHECK(found == no_slot);
  CHECK_FALSE(pinned);
  CHECK(t.table.used() == 0);
  const std::size_t again = t.make(77);
  REQUIRE(again != no_slot);
  t.table.unpin_sig(again);
  CHECK(t.table.used() == 0);
}

TEST_CASE("a record that is pinned in the middle of its last unpin stays") {
  watched t;
  const std::size_t index = t.make(77);
  REQUIRE(index != no_slot);
  other_thread::instance().behind_settled = [&] { CHECK(t.table.pin_sig(77) == index); };
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 1);
  CHECK(t.table.at(index).key.load() == 77);
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 0);
}

TEST_CASE("a record in which something comes to be owed in the middle of its last unpin stays") {
  watched t;
  const std::size_t index = t.make(77);
  REQUIRE(index != no_slot);
  other_thread::instance().behind_settled = [&] {
    REQUIRE(t.table.pin_sig(77) == index);
    t.table.at(index).owes.store(1);
    t.table.unpin_sig(index);
  };
  t.table.unpin_sig(index);
  CHECK(t.table.used() == 1);
  CHECK(t.table.find_sig(77) == index);
}

TEST_CASE("a record goes with its last pin when somebody is late to find that an earlier one has gone") {
  watched t(16, 1);
  std::size_t index = t.make(77);
  REQUIRE(index != no_slot);
  t.table.unpin_sig(index);
  // It has been found, goes, and there is another one before its finder gets on.
  other_thread::instance().behind_pin = [&] {
    const std::size_t another = t.make(77);
    REQUIRE(another == index);
    t.table.unpin_sig(another);
  };
  CHECK_FALSE(t.table.pin_at_sig(index, 77));
  CHECK(t.table.used() == 0);
  CHECK(t.table.find_sig(77) == no_slot);
}

// ---- threads ------------------------------------------------------------------------------------------------------

TEST_CASE("two threads that make the same record at once end with one") {
  constexpr int rounds = 3000;
  bound_table<plain_slot> t;
  std::atomic<int> arrived{0};
  std::atomic<int> wrong{0};
  std::atomic<int> refused{0};  // whom the other was preempted under: it has looked 8 times
  std::atomic<std::size_t> made[2] = {};
  const auto meet = [&](int upto) {
    arrived.fetch_add(1);
    while (arrived.load() < upto) std::this_thread::yield();
  };
  const auto work = [&](std::size_t me) {
    for (int round = 0; round < rounds; ++round) {
      const std::uint64_t key = 1000 + static_cast<std::uint64_t>(round);
      meet(6 * round + 2);
      const std::size_t index = t.table.pin_or_make_sig(key, [key](plain_slot& slot) {
        slot.owes.store(0);
        slot.payload.store(~key);
      });
      made[me].store(index);
      meet(6 * round + 4);
      const std::size_t others = made[1 - me].load();
      if (index == no_slot) refused.fetch_add(1);
      else if (t.table.at(index).payload.load() != ~key || t.table.used() != 1) wrong.fetch_add(1);
      else if (others != no_slot && others != index) wrong.fetch_add(1);
      meet(6 * round + 6);
      if (index != no_slot) t.table.unpin_sig(index);
    }
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  CHECK(wrong.load() == 0);
  CHECK(refused.load() < rounds / 10);
  CHECK(t.table.used() == 0);
}

TEST_CASE("threads that pin a few records again and again never lose one, and leave none behind") {
  constexpr int operations = 60000;  // per thread
  constexpr std::uint64_t keys = 3;
  bound_table<plain_slot> t(16, 1);
  std::atomic<int> wrong{0};
  std::atomic<int> pinned{0};
  const auto work = [&](std::uint64_t me) {
    for (std::uint64_t i = 0; i < operations; ++i) {
      const std::uint64_t random = mix_bits(me << 32 | i);
      const std::uint64_t key = 100 + random % keys;
      const bool finds = (random >> 8) % 3 == 0;
      const std::size_t index = finds ? t.table.pin_sig(key) : t.table.pin_or_make_sig(key, [key](plain_slot& slot) {
        slot.owes.store(0);
        slot.payload.store(~key);
      });
      if (index == no_slot) continue;
      pinned.fetch_add(1);
      const plain_slot& slot = t.table.at(index);
      for (int looks = static_cast<int>((random >> 16) % 8); looks >= 0; --looks) {
        if (slot.key.load() != key || slot.payload.load() != ~key || slot.pins.load() == 0) wrong.fetch_add(1);
      }
      t.table.unpin_sig(index);
    }
  };
  std::vector<std::thread> threads;
  for (std::uint64_t me = 1; me <= 4; ++me) threads.emplace_back(work, me);
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong.load() == 0);
  CHECK(pinned.load() > operations);
  CHECK(t.table.used() == 0);
  for (std::uint64_t key = 100; key < 100 + keys; ++key) CHECK(t.table.find_sig(key) == no_slot);
}
