// prof/base/poisson.hpp - which bytes of a stream are sampled: gaps between the points of a Poisson
// process, and what a sampled object weighs.
// Floor 2 (base). Used by process/gap_table.hpp, which keeps a gap for each thread and object.
// Safety: functions ending in _sig are async-signal-safe; a gap belongs to one thread.
// Memory: none.
// Source: the bytes of all allocations are one stream with one sample point per `rate` bytes on
//         average (Go runtime/mprof.go, tcmalloc Sampler). An object of S bytes is sampled when a
//         point falls into it, with probability 1 - exp(-S/R), and then stands for
//         1 / (1 - exp(-S/R)) objects like itself: the weight is fixed then, with the rate its gap
//         was drawn at, so sums are unbiased whatever happens to the rate later (jemalloc
//         PROFILING_INTERNALS: unbias per sample, never after aggregation). A gap is memoryless,
//         so it may be cut at max_gap and redrawn; that lets a new rate reach every thread after
//         at most 4 MiB.
#ifndef PROF_BASE_POISSON_HPP
#define PROF_BASE_POISSON_HPP

#include "prof/base/random.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::int64_t max_gap = std::int64_t{4} << 20;

// Of which only `left` is counted down by every object.
struct poisson_gap {
  std::int64_t left;     // bytes until the next sample point or cut; 0: none is under way
  std::uint64_t random;  // not 0
  std::uint64_t rate;    // the gap under way was drawn at this rate
  bool ends_in_point;    // false: it was cut, nothing is sampled at its end
};

// Objects are counted in 1/65536: a weight such as 1.58 must not be rounded to 2.
inline constexpr unsigned weight_bits = 16;

inline std::uint64_t weight_sig(std::uint64_t size, std::uint64_t rate) PROF_DETAIL_SIG {
  if (rate <= 1 || size == 0) return std::uint64_t{1} << weight_bits;
  const double chance = one_minus_exp_minus_sig(static_cast<double>(size) /
                                                static_cast<double>(rate));
  return static_cast<std::uint64_t>((std::uint64_t{1} << weight_bits) / chance + 0.5);
}

// size * weight without overflow for sizes up to 2^63.
inline std::uint64_t weighted_bytes_sig(std::uint64_t size, std::uint64_t weight) PROF_DETAIL_SIG {
  if (weight == std::uint64_t{1} << weight_bits) return size;
  return static_cast<std::uint64_t>(static_cast<double>(size) * static_cast<double>(weight) /
                                        (1u << weight_bits) +
                                    0.5);
}

// Counts an object down; true when no sample point or cut lies in it. Unsigned, so that a size
// beyond half of the address space does not wrap to a huge gap; `left` is never negative here,
// since every slow path leaves it at 0 or above. x86-64: one subtraction from memory whose flags
// are the answer, which g++ 12 does not find by itself (it takes four more instructions).
inline bool count_down_sig(std::int64_t& left, std::uint64_t size) PROF_DETAIL_SIG {
#if defined(__x86_64__)
  bool above = false;
  __asm__("subq %[size], %[left]" : "=@cca"(above), [left] "+m"(left) : [size] "r"(size));
  return above;
#else
  const auto before = static_cast<std::uint64_t>(left);
  left = static_cast<std::int64_t>(before - size);
  return before > size;
#endif
}

// Draws the next gap, cut at max_gap, and returns its length (>= 1, or 0 at rate 1).
PROF_DETAIL_NOINLINE inline std::int64_t draw_gap_sig(poisson_gap& gap,
                                                      std::uint64_t rate) PROF_DETAIL_SIG {
  gap.rate = rate;
  gap.ends_in_point = false;
  if (rate == 0) return max_gap;
  if (rate == 1) return 0;  // the next object takes the slow path too
  const double drawn = exponential_sig(gap.random, static_cast<double>(rate));
  if (drawn >= static_cast<double>(max_gap)) return max_gap;
  gap.ends_in_point = true;
  return static_cast<std::int64_t>(drawn) + 1;
}

// Memoryless: after a sample the next gap starts behind the object. Returns `weighed_at`.
inline std::uint64_t next_gap_sig(poisson_gap& gap, std::uint64_t rate, std::uint64_t weighed_at)
    PROF_DETAIL_SIG {
  gap.left = draw_gap_sig(gap, rate);
  return weighed_at;
}

// Called when an object took `left` to 0 or below, on a seeded gap. Returns the rate to weigh the
// object with, or 0 when no sample point lies in it; leaves left > 0, or 0 at rate 1.
inline std::uint64_t sample_point_sig(poisson_gap& gap, std::uint64_t rate) PROF_DETAIL_SIG {
  if (gap.left > 0) gap.left = -max_gap;  // wrapped by an absurd size, which will fail anyway
  if (gap.ends_in_point) return next_gap_sig(gap, rate, gap.rate);  // also where the rate changed
  if (rate == 1) return next_gap_sig(gap, rate, 1);
  if (gap.left < -16 * max_gap) {
    // Far past a cut: one draw for all the bytes behind it instead of one per 4 MiB.
    const double chance = rate == 0 ? 0 : one_minus_exp_minus_sig(static_cast<double>(-gap.left) /
                                                                  static_cast<double>(rate));
    const bool hit = uniform_sig(gap.random) <= chance;
    return next_gap_sig(gap, rate, hit ? rate : 0);
  }
  while (gap.left <= 0) {
    if (gap.ends_in_point) return next_gap_sig(gap, rate, gap.rate);
    gap.left += draw_gap_sig(gap, rate);
  }
  return 0;
}

PROF_DETAIL_END

#endif  // PROF_BASE_POISSON_HPP
