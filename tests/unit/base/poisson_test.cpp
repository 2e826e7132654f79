// tests/unit/base/poisson_test.cpp - which bytes of a stream are sampled, and what a sample weighs.

#include "prof/base/poisson.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>

namespace {

using namespace prof::detail;

// A gap as a thread has it before its first object, with a known seed.
poisson_gap seeded(std::uint64_t seed) { return {0, seed, 0, false}; }

// As at a thread's start: the next object draws.
void redraw(poisson_gap& gap) {
  gap.left = 0;
  gap.ends_in_point = false;
}

// An allocation as a hook sees it: the rate to weigh it with, or 0.
inline std::uint64_t allocate(poisson_gap& gap, std::uint64_t rate, std::uint64_t size) {
  return count_down_sig(gap.left, size) ? 0 : sample_point_sig(gap, rate);
}

double chance_of(std::uint64_t size, std::uint64_t rate) {
  return -std::expm1(-static_cast<double>(size) / static_cast<double>(rate));
}

// Standard deviations between the number of samples and its expectation.
double sigmas_off(std::uint64_t size, std::uint64_t rate, int trials) {
  int hits = 0;
  {
    poisson_gap gap = seeded(size * 31 + rate);
    for (int i = 0; i < trials; ++i) hits += allocate(gap, rate, size) != 0 ? 1 : 0;
  }
  const double p = chance_of(size, rate);
  const double sigma = std::sqrt(trials * p * (1 - p));
  const double off = hits - trials * p;
  return sigma < 1e-9 ? off : off / sigma;
}

}  // namespace

// ---- the sampling decision ----------------------------------------------------------------------

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
  poisson_gap gap = seeded(1);
  int sampled = 0;
  for (int i = 0; i < 1000; ++i)
    sampled += allocate(gap, 1, 1 + static_cast<std::uint64_t>(i) % 100) == 1 ? 1 : 0;
  CHECK(sampled == 1000);
  redraw(gap);
  sampled = 0;
  for (int i = 0; i < 1000; ++i) sampled += allocate(gap, 0, 1u << 20) != 0 ? 1 : 0;
  CHECK(allocate(gap, 0, 1u << 30) == 0);
  CHECK(sampled == 0);
}

TEST_CASE("an allocation of no bytes is sampled at rate 1 and never elsewhere") {
  poisson_gap gap = seeded(1);
  CHECK(allocate(gap, 1, 0) == 1);
  redraw(gap);
  allocate(gap, 1000, 1);
  int sampled = 0;
  for (int i = 0; i < 100000; ++i) sampled += allocate(gap, 1000, 0) != 0 ? 1 : 0;
  CHECK(sampled == 0);
}

// ---- weights ------------------------------------------------------------------------------------

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
}

TEST_CASE("estimated totals of a mix are unbiased") {
  constexpr std::uint64_t rate = 64 * 1024;
  const std::uint64_t sizes[5] = {24, 160, 3000, 70000, 900000};
  const int counts[5] = {3000000, 1000000, 200000, 20000, 3000};
  double estimated_objects[5] = {};
  double estimated_bytes[5] = {};
  double variance[5] = {};
  {
    poisson_gap gap = seeded(99);
    std::uint64_t state = 5;
    int left[5];
    for (int k = 0; k < 5; ++k) left[k] = counts[k];
    for (int total = 3000000 + 1000000 + 200000 + 20000 + 3000; total > 0;) {
      // A size at random, so that large ones stand between small ones.
      const auto k = static_cast<int>(random_sig(state) % 5);
      for (int burst = 0; burst < counts[k] / 3000 && left[k] > 0; ++burst, --left[k], --total) {
        const std::uint64_t weighed_at = allocate(gap, rate, sizes[k]);
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
    poisson_gap gap = seeded(7);
    for (int round = 0; round < rounds; ++round) {
      const std::uint64_t rate = rates[round % 4];
      for (int i = 0; i < burst; ++i) {
        const std::uint64_t weighed_at = allocate(gap, rate, size);
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
  poisson_gap gap = seeded(3);
  allocate(gap, 0, 1);
  std::uint64_t passed = 0;
  while (allocate(gap, 1, 1000) == 0 && passed < (10u << 20)) passed += 1000;
  CHECK(passed <= (4u << 20) + 1000);
  allocate(gap, std::uint64_t{1} << 40, 1);  // a gap of a terabyte is cut as well
  passed = 0;
  while (allocate(gap, 1, 1000) == 0 && passed < (10u << 20)) passed += 1000;
  CHECK(passed <= (4u << 20) + 1000);
}

// ---- gaps of their own --------------------------------------------------------------------------

TEST_CASE("what one gap samples does not depend on the other") {
  poisson_gap alone = seeded(3);
  poisson_gap beside = seeded(3);
  poisson_gap busy = seeded(4);
  int differences = 0;
  int sampled = 0;
  for (int i = 0; i < 100000; ++i) {
    const std::uint64_t expected = allocate(alone, 4096, 100);
    allocate(busy, i % 7 == 0 ? 1 : 512, 5000);
    if (i % 1000 == 0) redraw(busy);
    differences += allocate(beside, 4096, 100) != expected ? 1 : 0;
    sampled += expected != 0 ? 1 : 0;
  }
  CHECK(differences == 0);
  CHECK(sampled > 2000);
}
