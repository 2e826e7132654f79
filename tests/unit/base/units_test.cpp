// tests/unit/base/units_test.cpp - numbers and units are those of `go tool pprof -top` (Go 1.26;
// compared over random values and ratios).

#include "prof/base/units.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>

namespace {

using namespace prof::detail;

std::string text(const short_text& cell) {
  return cell.c_str();
}

std::string scaled(std::int64_t value, const char* unit) {
  const value_scale scale = value_scale_of(unit);
  const std::uint64_t magnitude = prof::detail::magnitude_of(value);
  return text(format_value(value, scale, value_unit_for(magnitude, scale)));
}

}  // namespace

TEST_CASE("values are scaled and trimmed as pprof does") {
  CHECK(scaled(0, "bytes") == "0");
  CHECK(scaled(1, "bytes") == "1B");
  CHECK(scaled(1023, "bytes") == "1023B");
  CHECK(scaled(512 * 1024, "bytes") == "512kB");
  CHECK(scaled(12939428, "bytes") == "12.34MB");
  CHECK(scaled(std::int64_t{3} << 29, "bytes") == "1.50GB");
  CHECK(scaled(std::numeric_limits<std::int64_t>::max(), "bytes") == "8192PB");
  CHECK(scaled(-1536, "bytes") == "-1.50kB");
  CHECK(scaled(999, "nanoseconds") == "999ns");
  CHECK(scaled(1500, "nanoseconds") == "1.50us");
  CHECK(scaled(10309278, "nanoseconds") == "10.31ms");
  CHECK(scaled(1500000000, "nanoseconds") == "1.50s");
  CHECK(scaled(90000000000, "nanoseconds") == "90s");
  CHECK(scaled(5400000000000, "nanoseconds") == "1.50hrs");
  CHECK(scaled(1500, "microseconds") == "1.50ms");
  CHECK(scaled(1500, "milliseconds") == "1.50s");
  CHECK(scaled(1500, "seconds") == "1500s");
  CHECK(scaled(123456, "count") == "123456");
  CHECK(scaled(-7, "widgets") == "-7widgets");
  CHECK(scaled(std::numeric_limits<std::int64_t>::min(), "count") == "-9223372036854775808");
  CHECK(scaled(std::numeric_limits<std::int64_t>::max(), "seconds") == "5124095.58hrs");  // cut
}

TEST_CASE("hundredths are rounded, halves to even") {
  CHECK(scaled(1029, "bytes") == "1kB");           // 1.0049
  CHECK(scaled(1024 + 128, "bytes") == "1.12kB");  // 1.125
  CHECK(scaled(1024 + 384, "bytes") == "1.38kB");  // 1.375
  CHECK(scaled(1999999, "nanoseconds") == "2ms");
  const value_scale scale = value_scale_of("bytes");
  CHECK(text(format_value(1, scale, &scale.units[2])) == "0");
  CHECK(text(format_value(-1, scale, &scale.units[2])) == "0");
  CHECK(text(format_value(10486, scale, &scale.units[2])) == "0.01MB");
}

TEST_CASE("percentages have two decimals from 1 on and two digits below") {
  const auto percent = [](std::int64_t value, std::int64_t total) {
    return text(format_percent(value, total));
  };
  CHECK(percent(0, 0) == "0%");
  CHECK(percent(5, 0) == "0%");
  CHECK(percent(0, 5) == "0%");
  CHECK(percent(5, 5) == "100%");
  CHECK(percent(99950, 100000) == "100%");
  CHECK(percent(99949, 100000) == "99.95%");
  CHECK(percent(1, 3) == "33.33%");
  CHECK(percent(-1, 3) == "33.33%");
  CHECK(percent(1, 32) == "3.12%");
  CHECK(percent(1, 100) == "1.00%");
  CHECK(percent(999, 100000) == "1%");
  CHECK(percent(52, 10000) == "0.52%");
  CHECK(percent(5, 1000) == "0.5%");
  CHECK(percent(52, 100000) == "0.052%");
  CHECK(percent(52, 1000000) == "0.0052%");
  CHECK(percent(52, 10000000) == "0.00052%");
  CHECK(percent(52, 100000000) == "5.2e-05%");
  CHECK(percent(5, 10000000) == "5e-05%");
  CHECK(percent(300, 100) == "300.00%");
  CHECK(percent(std::numeric_limits<std::int64_t>::min(), 1).size() < 24);
}

TEST_CASE("dates are right around leap days") {
  const auto date = [](std::uint64_t seconds) { return text(format_date(seconds * 1000000000)); };
  CHECK(date(0) == "1970-01-01 00:00:00 UTC");
  CHECK(date(951782399) == "2000-02-28 23:59:59 UTC");
  CHECK(date(951782400) == "2000-02-29 00:00:00 UTC");
  CHECK(date(951868800) == "2000-03-01 00:00:00 UTC");
  CHECK(date(1709208000) == "2024-02-29 12:00:00 UTC");
  CHECK(date(1798761599) == "2026-12-31 23:59:59 UTC");
  CHECK(date(4107542400) == "2100-03-01 00:00:00 UTC");  // 2100 is no leap year
}
