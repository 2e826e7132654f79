// prof/base/random.hpp - per-thread random numbers and the two functions that Poisson sampling
// needs, without libm.
// Floor 2 (base). Used by samplers.
// Safety: async-signal-safe: pure arithmetic on the caller's state.
// Memory: 8 bytes of state, owned by the caller.
// Source: splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
//         ln by the atanh series, 1-exp(-x) by Taylor; both within 1e-9 relative (unit test
//         against libm), far below the statistical error of any profile.
#ifndef PROF_BASE_RANDOM_HPP
#define PROF_BASE_RANDOM_HPP

#include <cstring>

#include "prof/base/platform.hpp"
#include "prof/base/table.hpp"

PROF_DETAIL_BEGIN

// The next of a sequence; any state is a good state.
inline std::uint64_t random_sig(std::uint64_t& state) PROF_DETAIL_SIG {
  state += 0x9e3779b97f4a7c15u;
  return mix_bits(state);
}

// Uniform in (0, 1], 53 bits; never 0, so its logarithm is finite.
inline double uniform_sig(std::uint64_t& state) PROF_DETAIL_SIG {
  return static_cast<double>((random_sig(state) >> 11) + 1) * 0x1p-53;
}

// ln(x) for normal x > 0.
inline double natural_log_sig(double x) PROF_DETAIL_SIG {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  int exponent = static_cast<int>(bits >> 52) - 1023;
  bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
  double mantissa = 0;
  std::memcpy(&mantissa, &bits, sizeof mantissa);
  if (mantissa > 1.4142135623730951) {
    mantissa *= 0.5;
    ++exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1);  // |s| <= 0.172
  const double s2 = s * s;
  const double series =
      1 + s2 * (1.0 / 3 + s2 * (1.0 / 5 + s2 * (1.0 / 7 + s2 * (1.0 / 9 + s2 * (1.0 / 11)))));
  return exponent * 0.69314718055994531 + 2 * s * series;
}

// exp(-x) for x >= 0.
inline double exp_minus_sig(double x) PROF_DETAIL_SIG {
  if (x > 700) return 0;
  const int halvings = static_cast<int>(x * 1.4426950408889634 + 0.5);
  const double r = x - halvings * 0.69314718055994531;  // |r| <= 0.35
  double term = 1;
  double sum = 1;
  for (int i = 1; i <= 12; ++i) {
    term *= -r / i;
    sum += term;
  }
  std::uint64_t bits = static_cast<std::uint64_t>(1023 - halvings) << 52;
  double scale = 0;
  std::memcpy(&scale, &bits, sizeof scale);
  return halvings > 1022 ? 0 : sum * scale;
}

// 1 - exp(-x) for x >= 0 without cancellation near 0.
PROF_DETAIL_COLD inline double one_minus_exp_minus_sig(double x) PROF_DETAIL_SIG {
  if (x > 0.3) return 1 - exp_minus_sig(x);
  double inner = 1;
  for (int i = 12; i >= 2; --i) inner = 1 - x / i * inner;
  return x * inner;
}

// Exponentially distributed with the given mean: the gap between two points of a Poisson process.
inline double exponential_sig(std::uint64_t& state, double mean) PROF_DETAIL_SIG {
  return -natural_log_sig(uniform_sig(state)) * mean;
}

PROF_DETAIL_END

#endif  // PROF_BASE_RANDOM_HPP
