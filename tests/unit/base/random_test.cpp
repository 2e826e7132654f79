// tests/unit/base/random_test.cpp - the arithmetic of sampling against libm.

#include "prof/base/random.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>

namespace {

double relative_error(double ours, double exact) {
  if (exact == 0) return std::fabs(ours);
  return std::fabs(ours - exact) / std::fabs(exact);
}

// The worst relative error of f against g over a geometric grid.
template <class F, class G>
double worst(double from, double to, double step, F ours, G exact) {
  double found = 0;
  for (double x = from; x <= to; x *= step) {
    const double error = relative_error(ours(x), exact(x));
    if (error > found) found = error;
  }
  return found;
}

}  // namespace

TEST_CASE("the logarithm is within 1e-9 of libm over all normal numbers") {
  const auto ours = [](double x) { return prof::detail::natural_log_sig(x); };
  const auto exact = [](double x) { return std::log(x); };
  CHECK(worst(0x1p-1022, 0x1p1022, 1.37, ours, exact) < 1e-9);
  CHECK(worst(0x1p-53, 1.0, 1.00137, ours, exact) < 1e-9);
  CHECK(worst(0.5, 2.0, 1.0000137, ours, exact) < 1e-9);
  CHECK(prof::detail::natural_log_sig(1.0) == 0.0);
  for (const double tiny : {0x1p-52, 0x1p-40, 1e-9, 1e-6, 1e-3}) {
    CHECK(relative_error(ours(1 + tiny), std::log(1 + tiny)) < 1e-9);
    CHECK(relative_error(ours(1 - tiny), std::log(1 - tiny)) < 1e-9);
  }
}

TEST_CASE("exp(-x) is within 1e-9 of libm until it is 0") {
  const auto ours = [](double x) { return prof::detail::exp_minus_sig(x); };
  const auto exact = [](double x) { return std::exp(-x); };
  CHECK(worst(1e-18, 700, 1.0037, ours, exact) < 1e-9);
  CHECK(ours(0) == 1.0);
  CHECK(ours(1e4) == 0.0);
  CHECK(ours(1e300) == 0.0);
}

TEST_CASE("1 - exp(-x) is within 1e-9 of libm, near 0 too") {
  const auto ours = [](double x) { return prof::detail::one_minus_exp_minus_sig(x); };
  const auto exact = [](double x) { return -std::expm1(-x); };
  CHECK(worst(1e-300, 1e6, 1.0037, ours, exact) < 1e-9);
  CHECK(worst(0.29, 0.31, 1.00001, ours, exact) < 1e-9);
  CHECK(ours(0) == 0.0);
  CHECK(ours(1e300) == 1.0);
}

TEST_CASE("uniform numbers lie in (0, 1] with the right mean and variance") {
  std::uint64_t state = 42;
  constexpr int n = 1000000;
  double sum = 0;
  double squares = 0;
  bool inside = true;
  for (int i = 0; i < n; ++i) {
    const double u = prof::detail::uniform_sig(state);
    inside = inside && u > 0 && u <= 1;
    sum += u;
    squares += u * u;
  }
  CHECK(inside);
  const double mean = sum / n;
  const double variance = squares / n - mean * mean;
  CHECK(std::fabs(mean - 0.5) < 5 * std::sqrt(1.0 / 12 / n));
  CHECK(std::fabs(variance - 1.0 / 12) < 5 * std::sqrt(1.0 / 180 / n));
}

TEST_CASE("exponential gaps have the mean, the variance and the tail they should have") {
  std::uint64_t state = 4711;
  constexpr int n = 1000000;
  constexpr double mean = 524288;
  double sum = 0;
  double squares = 0;
  int far = 0;
  bool positive = true;
  for (int i = 0; i < n; ++i) {
    const double gap = prof::detail::exponential_sig(state, mean);
    positive = positive && gap >= 0 && gap < 40 * mean;
    sum += gap / mean;
    squares += gap / mean * (gap / mean);
    far += gap > 3 * mean ? 1 : 0;
  }
  CHECK(positive);
  CHECK(std::fabs(sum / n - 1) < 5 / std::sqrt(n));
  CHECK(std::fabs(squares / n - 2) < 5 * std::sqrt(20.0 / n));
  const double share = std::exp(-3.0);
  CHECK(std::fabs(far - n * share) < 5 * std::sqrt(n * share * (1 - share)));
}

TEST_CASE("any state is a good state, and states differ in what follows") {
  for (const std::uint64_t seed : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
    std::uint64_t state = seed;
    const std::uint64_t a = prof::detail::random_sig(state);
    const std::uint64_t b = prof::detail::random_sig(state);
    CHECK(a != b);
    CHECK(state != seed);
  }
}
