// tests/unit/base/table_memory_test.cpp - pieces that are mapped once, and room that is never taken back.

#include "prof/base/table_memory.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "own_memory.hpp"

namespace {

using namespace prof::detail;

using small_store = append_store<3, 4096>;

}  // namespace

TEST_CASE("what is mapped is counted in whole pages, and what is refused too") {
  own_memory memory;
  void* const pages = memory.take_sig(5000);
  REQUIRE(pages != nullptr);
  CHECK(memory.bytes.load() == 8192);
  memory.give_back_sig(pages, 5000);
  CHECK(memory.bytes.load() == 0);
  memory.run_out();
  CHECK(memory.take_sig(1) == nullptr);
  CHECK(memory.refused.load() == 1);
  CHECK(memory.bytes.load() == 0);
}

TEST_CASE("threads that need the same piece at once get one") {
  for (int round = 0; round < 50; ++round) {
    own_memory memory;
    std::atomic<char*> place{nullptr};
    std::atomic<int> ready{0};
    char* got[4] = {};
    std::vector<std::thread> threads;
    for (char*& mine : got) {
      threads.emplace_back([&] {
        ready.fetch_add(1);
        while (ready.load() != 4) {
        }
        mine = piece_at_sig(place, memory, 4096);
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (char* const mine : got) CHECK(mine == place.load());
    CHECK(memory.bytes.load() == 4096);
  }
}

TEST_CASE("what is handed out lies in one piece and stays where it is") {
  own_memory memory;
  small_store store;
  store.bind(memory);
  std::size_t first = 0;
  std::size_t second = 0;
  std::size_t third = 0;
  REQUIRE(store.reserve_sig(3000, first));
  CHECK(first == 0);
  CHECK(memory.bytes.load() == 4096);
  REQUIRE(store.reserve_sig(2000, second));  // does not fit what is left of the first piece
  CHECK(second / 4096 == 1);
  CHECK((second + 1999) / 4096 == 1);
  std::memset(store.at_sig(first), 1, 3000);
  std::memset(store.at_sig(second), 2, 2000);
  REQUIRE(store.reserve_sig(0, third));
  CHECK(store.at_sig(first)[2999] == 1);
  CHECK(store.at_sig(second)[0] == 2);
}

TEST_CASE("the end of a store and of memory are refusals") {
  own_memory memory;
  small_store store;
  store.bind(memory);
  std::size_t begin = 0;
  for (int i = 0; i < 3; ++i) REQUIRE(store.reserve_sig(4096, begin));
  CHECK(begin == 8192);
  CHECK_FALSE(store.reserve_sig(1, begin));
  CHECK_FALSE(store.reserve_sig(5000, begin));
  small_store other;
  memory.run_out();
  other.bind(memory);
  CHECK_FALSE(other.reserve_sig(10, begin));
  CHECK(memory.refused.load() == 1);
}

TEST_CASE("who is refused by the system uses nothing up, and gets room once there is memory again") {
  own_memory memory;
  small_store store;
  store.bind(memory);
  memory.run_out();
  std::size_t begin = 0;
  for (int i = 0; i < 1000; ++i) CHECK_FALSE(store.reserve_sig(4096, begin));
  memory.has_more();
  REQUIRE(store.reserve_sig(4096, begin));
  CHECK(begin == 0);
  memory.run_out();
  for (int i = 0; i < 1000; ++i) CHECK_FALSE(store.reserve_sig(4096, begin));
  memory.has_more();
  for (int i = 0; i < 2; ++i) REQUIRE(store.reserve_sig(4096, begin));
}

TEST_CASE("what fits no piece is refused and uses nothing up") {
  own_memory memory;
  small_store store;
  store.bind(memory);
  std::size_t begin = 0;
  for (int i = 0; i < 10; ++i) CHECK_FALSE(store.reserve_sig(4097, begin));
  for (int i = 0; i < 3; ++i) REQUIRE(store.reserve_sig(4096, begin));
}

TEST_CASE("four threads never get the same room") {
  own_memory memory;
  append_store<64, 4096> store;
  store.bind(memory);
  std::vector<std::vector<std::size_t>> got(4);
  std::vector<std::thread> threads;
  for (std::vector<std::size_t>& mine : got) {
    threads.emplace_back([&store, &mine] {
      std::size_t begin = 0;
      for (int i = 0; i < 500; ++i) {
        if (store.reserve_sig(100, begin)) mine.push_back(begin);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::size_t> begins;
  for (const std::vector<std::size_t>& mine : got) begins.insert(mine.begin(), mine.end());
  CHECK(begins.size() == 2000);
  std::size_t last = 0;
  for (const std::size_t begin : begins) {
    CHECK((begin == 0 || begin >= last + 100));
    CHECK(begin / 4096 == (begin + 99) / 4096);
    last = begin;
  }
}
