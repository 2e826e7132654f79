// tests/unit/process/gap_table_test.cpp - what a countdown that is used up means: unbiased, whoever shares the stream.

#include "prof/process/gap_table.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <thread>
#include <vector>

#include "../base/own_memory.hpp"

namespace {

using namespace prof::detail;

struct stream {
  own_memory memory;
  gap_table gaps;
  std::int64_t countdown = 0;
  stream() { gaps.bind(memory); }

  // An allocation as a hook sees it: the rate to weigh it with, or 0.
  std::uint64_t allocate(std::uint64_t size, std::uint64_t rate) {
    if (count_down_sig(countdown, size)) return 0;
    return gaps.sample_sig(countdown, size, rate);
  }
};

double chance_of(std::uint64_t size, std::uint64_t rate) {
  return -std::expm1(-static_cast<double>(size) / static_cast<double>(rate));
}

// Standard deviations between what was counted and what is expected of so many independent trials.
double sigmas_off(double hits, double trials, double chance) {
  return (hits - trials * chance) / std::sqrt(trials * chance * (1 - chance));
}

}  // namespace

TEST_CASE("an object of S bytes is sampled with probability 1 - exp(-S/R)") {
  for (const std::uint64_t size : {16u, 4096u, 524288u, 5u << 20}) {
    stream s;
    CAPTURE(size);
    constexpr int trials = 1000000;
    int hits = 0;
    for (int i = 0; i < trials; ++i) hits += s.allocate(size, 524288) != 0 ? 1 : 0;
    CHECK(std::fabs(sigmas_off(hits, trials, chance_of(size, 524288))) < 5);
  }
}

TEST_CASE("sums stay unbiased while the rate changes again and again") {
  stream s;
  const std::uint64_t rates[] = {524288, 1, 16384, 4096};
  double estimated = 0;
  double truth = 0;
  double variance = 0;
  for (int round = 0; round < 5000; ++round) {
    const std::uint64_t rate = rates[round % 4];
    for (int i = 0; i < 500; ++i) {
      const std::uint64_t weighed_at = s.allocate(500, rate);
      truth += 1;
      if (weighed_at == 0) continue;
      const double weight = static_cast<double>(weight_sig(500, weighed_at)) / 65536;
      estimated += weight;
      variance += weight * (weight - 1);
    }
    if (round % 7 == 0) s.countdown = 0;  // as when the calling thread sets the rate
  }
  CHECK(std::fabs(estimated - truth) < 4 * std::sqrt(variance));
}

TEST_CASE("what is passed over leaves the rest of the stream unbiased") {
  // As in an object whose hooks forward: what malloc asks for uses the countdown up and is not recorded.
  stream s;
  constexpr int trials = 1000000;
  int recorded = 0;
  for (int i = 0; i < trials; ++i) {
    (void)s.allocate(static_cast<std::uint64_t>(i % 3000), 65536);
    recorded += s.allocate(1000, 65536) != 0 ? 1 : 0;
  }
  CHECK(std::fabs(sigmas_off(recorded, trials, chance_of(1000, 65536))) < 5);
}

TEST_CASE("rate 1 samples everything, rate 0 nothing, and a new rate counts after 4 MiB at most") {
  stream s;
  int sampled = 0;
  for (int i = 0; i < 1000; ++i) sampled += s.allocate(1 + static_cast<std::uint64_t>(i) % 100, 1) == 1 ? 1 : 0;
  CHECK(sampled == 1000);
  CHECK(s.gaps.used() == 0);  // nothing has to be remembered
  sampled = 0;
  for (int i = 0; i < 100; ++i) sampled += s.allocate(1u << 20, 0) != 0 ? 1 : 0;
  CHECK(sampled == 0);
  std::uint64_t passed = 0;
  while (s.allocate(1000, 1) == 0 && passed < 10u << 20) passed += 1000;
  CHECK(passed <= (4u << 20) + 1000);
}

TEST_CASE("a thread whose countdown an earlier one had does not take its gap over") {
  stream s;
  while (s.countdown == 0 || s.gaps.used() == 0) (void)s.allocate(100, 4096);
  // The new thread's word is 0; the gap under way at the same address was drawn at another rate.
  constexpr int trials = 200000;
  int wrong = 0;
  int hits = 0;
  for (int i = 0; i < trials; ++i) {
    s.countdown = 0;
    const std::uint64_t weighed_at = s.allocate(100, 1000);
    wrong += weighed_at != 0 && weighed_at != 1000 ? 1 : 0;
    hits += weighed_at != 0 ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(std::fabs(sigmas_off(hits, trials, chance_of(100, 1000))) < 5);
}

TEST_CASE("without memory every object asks, and what is sampled is right") {
  stream s;
  s.memory.run_out();
  constexpr int trials = 200000;
  int hits = 0;
  for (int i = 0; i < trials; ++i) hits += s.allocate(1000, 65536) != 0 ? 1 : 0;
  CHECK(std::fabs(sigmas_off(hits, trials, chance_of(1000, 65536))) < 5);
  CHECK(s.gaps.used() == 0);
}

TEST_CASE("threads draw different gaps") {
  own_memory memory;
  gap_table gaps;
  gaps.bind(memory);
  std::vector<std::int64_t> drawn(8);
  std::vector<std::thread> threads;
  for (std::int64_t& mine : drawn) {
    threads.emplace_back([&] { (void)gaps.sample_sig(alloc_countdown, 0, 1u << 20), mine = alloc_countdown; });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    for (std::size_t k = 0; k < i; ++k) CHECK(drawn[i] != drawn[k]);
  }
}

#if PROF_DETAIL_OS_LINUX

TEST_CASE("gaps of threads that have ended do not pile up") {
  own_memory memory;
  gap_table gaps;
  gaps.bind(memory);
  std::vector<std::int64_t> countdowns(3000);  // as many addresses, for threads may get the same one again
  for (std::int64_t& countdown : countdowns) {
    std::thread([&] { (void)gaps.sample_sig(countdown, 0, 1u << 20); }).join();
  }
  CHECK(gaps.used() < 200);
}

TEST_CASE("after a fork the gaps of the thread that forked go on, the others are gone") {
  own_memory memory;
  gap_table gaps;
  gaps.bind(memory);
  std::int64_t mine = 0;
  std::int64_t others = 0;
  while (gaps.used() == 0) (void)gaps.sample_sig(mine = 0, 0, 1u << 20);
  std::thread([&] {
    while (gaps.used() == 1) (void)gaps.sample_sig(others = 0, 0, 1u << 20);
  }).join();
  REQUIRE(gaps.used() == 2);
  gaps.keep_thread(os_thread_id_sig(), os_thread_id_sig() + 1);
  CHECK(gaps.used() == 1);
  gaps.keep_thread(os_thread_id_sig(), 1);
  CHECK(gaps.used() == 0);
}

#endif
