// tests/unit/process/frame_pool_test.cpp - frame buffers: each is had by one, more come as they are needed.

#include "prof/process/frame_pool.hpp"

#include <doctest/doctest.h>

#include <set>

#include "../base/own_memory.hpp"

using namespace prof::detail;

TEST_CASE("eight buffers at first, eight more when they are taken, sixty-four at most") {
  own_memory memory;
  frame_pool pool;
  pool.bind(memory);
  CHECK(pool.for_each([](frame_buffer&) { return false; }));  // there is none yet
  std::set<frame_buffer*> taken;
  for (std::size_t i = 0; i < 8; ++i) taken.insert(pool.take_sig(i * 3));
  CHECK(taken.size() == 8);
  CHECK(taken.count(nullptr) == 0);
  const std::uint64_t first = memory.bytes.load();
  CHECK(first <= 8 * sizeof(frame_buffer) + page_bytes);
  for (std::size_t i = 8; i < 64; ++i) taken.insert(pool.take_sig(0));
  CHECK(taken.size() == 64);
  CHECK(taken.count(nullptr) == 0);
  CHECK(memory.bytes.load() == 8 * first);
  CHECK(pool.take_sig(5) == nullptr);
  frame_buffer* const given_back = *taken.begin();
  given_back->taken.store(0);
  CHECK(pool.take_sig(5) == given_back);
  std::size_t seen = 0;
  CHECK(pool.for_each([&seen](frame_buffer&) { return ++seen != 0; }));
  CHECK(seen == 64);
  CHECK_FALSE(pool.for_each([](frame_buffer&) { return false; }));
}

TEST_CASE("without memory there is no buffer") {
  own_memory memory;
  memory.run_out();
  frame_pool pool;
  pool.bind(memory);
  CHECK(pool.take_sig(0) == nullptr);
  CHECK(memory.refused.load() == 1);
}
