// prof/base/units.hpp - values, percentages and dates as people read them: 1.50s, 3.25MB, 12.5%.
// Floor 2 (base). Used by write/top.hpp.
// Safety: pure; no stdio, no locale.
// Memory: none.
// Source: the numbers are those of `go tool pprof` (google/pprof internal/measurement/measurement.go,
//         September 2026).
#ifndef PROF_BASE_UNITS_HPP
#define PROF_BASE_UNITS_HPP

#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

struct value_unit {
  const char* name;
  std::uint64_t size;  // in the first unit of its family
};

inline constexpr value_unit byte_units[] = {
    {"B", 1},
    {"kB", std::uint64_t{1} << 10},
    {"MB", std::uint64_t{1} << 20},
    {"GB", std::uint64_t{1} << 30},
    {"TB", std::uint64_t{1} << 40},
    {"PB", std::uint64_t{1} << 50},
};
inline constexpr value_unit time_units[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"hrs", 3600000000000},
};

// What one unit of a value type is worth; no units: it is not scaled, and `name` is printed.
struct value_scale {
  const value_unit* units = nullptr;
  std::size_t count = 0;
  std::uint64_t size = 1;
  text_view name = {};
};

inline value_scale value_scale_of(text_view unit) noexcept {
  if (unit.equals("bytes")) return {byte_units, 6, 1, {}};
  if (unit.equals("nanoseconds")) return {time_units, 5, 1, {}};
  if (unit.equals("microseconds")) return {time_units, 5, 1000, {}};
  if (unit.equals("milliseconds")) return {time_units, 5, 1000000, {}};
  if (unit.equals("seconds")) return {time_units, 5, 1000000000, {}};
  const bool is_dull = unit.equals("count") || unit.equals("sample") || unit.equals("unit");
  return {nullptr, 0, 1, is_dull ? text_view() : unit};
}

inline std::uint64_t magnitude_of(std::int64_t value) noexcept {
  return value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
}

inline std::uint64_t base_value(std::uint64_t magnitude, const value_scale& scale) noexcept {
  std::uint64_t base = 0;
  return __builtin_mul_overflow(magnitude, scale.size, &base) ? ~std::uint64_t{0} : base;
}

// The largest unit of which there is at least one; null when values are not scaled.
inline const value_unit* value_unit_for(std::uint64_t magnitude, const value_scale& scale) noexcept {
  const std::uint64_t base = base_value(magnitude, scale);
  const value_unit* best = scale.units;
  for (std::size_t i = 1; i < scale.count && base >= scale.units[i].size; ++i) {
    best = &scale.units[i];
  }
  return best;
}

using short_text = bounded_text<48>;

// Two decimals, left out when both are 0; a half rounds to even, as printf's %.2f does where the
// half is exact in a double. (Where it is not, pprof's last digit depends on the double.)
inline short_text format_value(std::int64_t value, const value_scale& scale,
                          const value_unit* unit) noexcept {
  const std::uint64_t size = unit == nullptr ? 1 : unit->size;
  const std::uint64_t base = base_value(magnitude_of(value), scale);
  std::uint64_t whole = base / size;
  std::uint64_t hundredths = base % size * 100 / size;
  const std::uint64_t rest = base % size * 100 % size;
  if (rest * 2 > size || (rest * 2 == size && hundredths % 2 == 1)) ++hundredths;
  whole += hundredths / 100;
  hundredths %= 100;
  short_text cell;
  if (whole == 0 && hundredths == 0) return cell.put("0");
  cell.put(value < 0 ? "-" : "").decimal(whole);
  if (hundredths != 0) cell.put(".").two_digits(hundredths);
  return cell.put(unit == nullptr ? scale.name : text_view(unit->name));
}

inline std::uint64_t round_half_even(double value) noexcept {
  const auto whole = static_cast<std::uint64_t>(value);
  const double rest = value - static_cast<double>(whole);
  return whole + (rest > 0.5 || (rest == 0.5 && whole % 2 == 1) ? 1 : 0);
}

// Two significant digits of a ratio in [0, 1), as printf's %.2g but for halves that no double
// holds.
inline void put_small_percent(short_text& cell, double ratio) noexcept {
  unsigned exponent = 0;  // ratio = digits / 10^(exponent + 1)
  for (; ratio != 0 && ratio < 1; ratio *= 10) ++exponent;
  std::uint64_t digits = round_half_even(ratio * 10);
  if (digits == 100) {
    digits = 10;
    --exponent;
  }
  const bool is_scientific = exponent > 4;
  if (exponent != 0 && !is_scientific) cell.put({"0.000", exponent + 1});
  cell.decimal(digits / 10);
  if (digits % 10 != 0) cell.put(is_scientific ? "." : "").decimal(digits % 10);
  if (is_scientific) cell.put("e-").two_digits(exponent);
}

inline short_text format_percent(std::int64_t value, std::int64_t total) noexcept {
  short_text cell;
  double ratio = 0;
  if (total != 0) ratio = static_cast<double>(value) / static_cast<double>(total) * 100;
  if (ratio < 0) ratio = -ratio;
  if (ratio > 1e15) ratio = 1e15;  // so that it fits the integers below
  if (ratio >= 99.95 && ratio <= 100.05) {
    cell.put("100");
  } else if (ratio >= 1) {
    const std::uint64_t hundredths = round_half_even(ratio * 100);
    cell.decimal(hundredths / 100).put(".").two_digits(hundredths % 100);
  } else {
    put_small_percent(cell, ratio);
  }
  return cell.put("%");
}

// 2026-01-31 23:59:59 UTC. The calendar is civil_from_days of H. Hinnant, "chrono-Compatible
// Low-Level Date Algorithms": 400-year eras of 146097 days, years that begin in March.
inline short_text format_date(std::uint64_t time_ns) noexcept {
  const std::uint64_t seconds = time_ns / 1000000000;
  const std::uint64_t days = seconds / 86400 + 719468;  // since 0000-03-01
  const std::uint64_t day_of_era = days % 146097;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::uint64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t month_from_march = (5 * day_of_year + 2) / 153;
  const std::uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  short_text cell;
  cell.decimal(days / 146097 * 400 + year_of_era + (month <= 2 ? 1 : 0));
  cell.put("-").two_digits(month);
  cell.put("-").two_digits(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  cell.put(" ").two_digits(seconds / 3600 % 24);
  cell.put(":").two_digits(seconds / 60 % 60);
  return cell.put(":").two_digits(seconds % 60).put(" UTC");
}

PROF_DETAIL_END

#endif  // PROF_BASE_UNITS_HPP
