// prof/write/top.hpp - writes the heaviest functions as a table for a terminal.
// Floor 8 (write). Called by the session and serve/.
// Safety: ordinary context; thread-compatible. Not for signal handlers.
// Memory: 64 bytes per string of the profile in the caller's scratch arena.
// Source: the numbers are those of `go tool pprof -top` (google/pprof internal/graph/graph.go,
//         internal/measurement/measurement.go and internal/report/report.go, September 2026).
#ifndef PROF_WRITE_TOP_HPP
#define PROF_WRITE_TOP_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/profile/model.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t top_default_column = ~std::size_t{0};

struct top_options {
  text_view type = {};                      // name of a value type; empty: by column
  std::size_t column = top_default_column;  // by default the profile's default_type, else the last
  std::size_t limit = 10;                   // rows; 0: all
};

// ---- numbers as pprof prints them ----

struct top_unit {
  const char* name;
  std::uint64_t size;  // in the first unit of its family
};

inline constexpr top_unit top_byte_units[] = {
    {"B", 1},
    {"kB", std::uint64_t{1} << 10},
    {"MB", std::uint64_t{1} << 20},
    {"GB", std::uint64_t{1} << 30},
    {"TB", std::uint64_t{1} << 40},
    {"PB", std::uint64_t{1} << 50},
};
inline constexpr top_unit top_time_units[] = {
    {"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}, {"hrs", 3600000000000},
};

// What one unit of a value type is worth; no units: it is not scaled, and `name` is printed.
struct top_scale {
  const top_unit* units = nullptr;
  std::size_t count = 0;
  std::uint64_t size = 1;
  text_view name = {};
};

inline top_scale top_scale_of(text_view unit) noexcept {
  if (unit.equals("bytes")) return {top_byte_units, 6, 1, {}};
  if (unit.equals("nanoseconds")) return {top_time_units, 5, 1, {}};
  if (unit.equals("microseconds")) return {top_time_units, 5, 1000, {}};
  if (unit.equals("milliseconds")) return {top_time_units, 5, 1000000, {}};
  if (unit.equals("seconds")) return {top_time_units, 5, 1000000000, {}};
  const bool is_dull = unit.equals("count") || unit.equals("sample") || unit.equals("unit");
  return {nullptr, 0, 1, is_dull ? text_view() : unit};
}

inline std::uint64_t top_magnitude(std::int64_t value) noexcept {
  return value < 0 ? 0 - static_cast<std::uint64_t>(value) : static_cast<std::uint64_t>(value);
}

inline std::uint64_t top_base_value(std::uint64_t magnitude, const top_scale& scale) noexcept {
  std::uint64_t base = 0;
  return __builtin_mul_overflow(magnitude, scale.size, &base) ? ~std::uint64_t{0} : base;
}

// The largest unit of which there is at least one; null when values are not scaled.
inline const top_unit* top_unit_for(std::uint64_t magnitude, const top_scale& scale) noexcept {
  const std::uint64_t base = top_base_value(magnitude, scale);
  const top_unit* best = scale.units;
  for (std::size_t i = 1; i < scale.count && base >= scale.units[i].size; ++i) {
    best = &scale.units[i];
  }
  return best;
}

// A short text being put together.
struct top_cell {
  char data[48];
  std::size_t size = 0;

  top_cell& put(text_view text) noexcept {
    if (text.size > sizeof data - size) text.size = sizeof data - size;
    std::memcpy(data + size, text.data, text.size);
    size += text.size;
    return *this;
  }
  top_cell& decimal(std::uint64_t value) noexcept {
    char digits[20];
    return put({digits, format_decimal(value, digits)});
  }
  top_cell& two_digits(std::uint64_t value) noexcept {
    return put(value < 10 ? "0" : "").decimal(value);
  }
  text_view view() const noexcept { return {data, size}; }
};

// Two decimals, left out when both are 0; a half rounds to even, as printf's %.2f does where the
// half is exact in a double. (Where it is not, pprof's last digit depends on the double.)
inline top_cell top_value(std::int64_t value, const top_scale& scale,
                          const top_unit* unit) noexcept {
  const std::uint64_t size = unit == nullptr ? 1 : unit->size;
  const std::uint64_t base = top_base_value(top_magnitude(value), scale);
  std::uint64_t whole = base / size;
  std::uint64_t hundredths = base % size * 100 / size;
  const std::uint64_t rest = base % size * 100 % size;
  if (rest * 2 > size || (rest * 2 == size && hundredths % 2 == 1)) ++hundredths;
  whole += hundredths / 100;
  hundredths %= 100;
  top_cell cell;
  if (whole == 0 && hundredths == 0) return cell.put("0");
  cell.put(value < 0 ? "-" : "").decimal(whole);
  if (hundredths != 0) cell.put(".").two_digits(hundredths);
  return cell.put(unit == nullptr ? scale.name : text_view(unit->name));
}

inline std::uint64_t top_rounded(double value) noexcept {
  const auto whole = static_cast<std::uint64_t>(value);
  const double rest = value - static_cast<double>(whole);
  return whole + (rest > 0.5 || (rest == 0.5 && whole % 2 == 1) ? 1 : 0);
}

// Two significant digits of a ratio in [0, 1), as printf's %.2g but for halves that no double
// holds.
inline void top_small_percent(top_cell& cell, double ratio) noexcept {
  unsigned exponent = 0;  // ratio = digits / 10^(exponent + 1)
  for (; ratio != 0 && ratio < 1; ratio *= 10) ++exponent;
  std::uint64_t digits = top_rounded(ratio * 10);
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

inline top_cell top_percent(std::int64_t value, std::int64_t total) noexcept {
  top_cell cell;
  double ratio = 0;
  if (total != 0) ratio = static_cast<double>(value) / static_cast<double>(total) * 100;
  if (ratio < 0) ratio = -ratio;
  if (ratio > 1e15) ratio = 1e15;  // so that it fits the integers below
  if (ratio >= 99.95 && ratio <= 100.05) {
    cell.put("100");
  } else if (ratio >= 1) {
    const std::uint64_t hundredths = top_rounded(ratio * 100);
    cell.decimal(hundredths / 100).put(".").two_digits(hundredths % 100);
  } else {
    top_small_percent(cell, ratio);
  }
  return cell.put("%");
}

// 2026-01-31 23:59:59 UTC. The calendar is civil_from_days of H. Hinnant, "chrono-Compatible
// Low-Level Date Algorithms": 400-year eras of 146097 days, years that begin in March.
inline top_cell top_date(std::uint64_t time_ns) noexcept {
  const std::uint64_t seconds = time_ns / 1000000000;
  const std::uint64_t days = seconds / 86400 + 719468;  // since 0000-03-01
  const std::uint64_t day_of_era = days % 146097;
  const std::uint64_t year_of_era =
      (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const std::uint64_t day_of_year =
      day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::uint64_t month_from_march = (5 * day_of_year + 2) / 153;
  const std::uint64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
  top_cell cell;
  cell.decimal(days / 146097 * 400 + year_of_era + (month <= 2 ? 1 : 0));
  cell.put("-").two_digits(month);
  cell.put("-").two_digits(day_of_year - (153 * month_from_march + 2) / 5 + 1);
  cell.put(" ").two_digits(seconds / 3600 % 24);
  cell.put(":").two_digits(seconds / 60 % 60);
  return cell.put(":").two_digits(seconds % 60).put(" UTC");
}

// ---- the table ----

struct top_row {
  text_view name;
  std::int64_t flat = 0;
  std::int64_t cum = 0;
};

// As pprof orders them: by flat, name, cum.
inline bool top_before(const top_row& a, const top_row& b) noexcept {
  const std::uint64_t flat_a = top_magnitude(a.flat);
  const std::uint64_t flat_b = top_magnitude(b.flat);
  if (flat_a != flat_b) return flat_a > flat_b;
  const std::size_t shared = a.name.size < b.name.size ? a.name.size : b.name.size;
  const int order = std::memcmp(a.name.data, b.name.data, shared);
  if (order != 0) return order < 0;
  if (a.name.size != b.name.size) return a.name.size < b.name.size;
  return top_magnitude(a.cum) > top_magnitude(b.cum);
}

// Counts per node: a function by its name alone, or, for code without a name, its file. Both are
// strings of the profile, so a node's place is twice its string's index, plus 1 for a file.
class top_writer {
 public:
  top_writer(const profile& p, arena& scratch, output out, std::size_t column) noexcept
      : p_(p), scratch_(scratch), nodes_(scratch), rows_(scratch), out_(out), column_(column) {}

  // False, with nothing written, when memory ran out.
  bool count() noexcept {
    if (!nodes_.resize(p_.strings.size() * 2)) return false;
    scale_ = top_scale_of(string(p_.value_types[column_].unit));
    for (std::size_t i = 0; i < p_.samples.size(); ++i) count_sample(i);
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const node& counted = nodes_[i];
      if (counted.flat == 0 && counted.cum == 0) continue;
      rows_.push({name_of(i), counted.flat, counted.cum});
    }
    if (scratch_.exhausted()) return false;
    heap_sort(rows_.data(), rows_.size(), top_before);
    return true;
  }

  bool write(std::size_t limit) noexcept {
    shown_ = limit == 0 || limit > rows_.size() ? rows_.size() : limit;
    choose_unit();
    put_facts();
    put_summary();
    out_.put("      flat  flat%   sum%        cum   cum%\n");
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < shown_; ++i) {
      sum += rows_[i].flat;
      put_row(rows_[i], sum);
    }
    return out_.flush();
  }

 private:
  struct node {
    std::int64_t flat;
    std::int64_t cum;
    std::size_t last_sample;  // its number + 1: recursion counts once
  };

  // Flat goes to the innermost line of the leaf, cum to every line of every frame.
  void count_sample(std::size_t index) noexcept {
    const profile_sample& sample = p_.samples[index];
    const std::int64_t value = p_.values_of(sample)[column_];
    total_ += static_cast<std::int64_t>(top_magnitude(value));
    const std::uint32_t* const frames = p_.frames_of(sample);
    bool is_leaf = true;
    for (std::size_t i = 0; i < sample.depth; ++i) {
      if (frames[i] >= p_.locations.size()) continue;
      const profile_location& location = p_.locations[frames[i]];
      const std::size_t lines = location.line_count == 0 ? 1 : location.line_count;
      for (std::size_t line = 0; line < lines; ++line) {
        count_node(nodes_[place_of(location, line)], index, value, is_leaf);
        is_leaf = false;
      }
    }
  }

  static void count_node(node& here, std::size_t sample, std::int64_t value, bool leaf) noexcept {
    if (leaf) here.flat += value;
    if (here.last_sample != sample + 1) here.cum += value;
    here.last_sample = sample + 1;
  }

  // Indices are checked: a profile that ran out of memory may hold one whose entry was lost.
  std::size_t place_of(const profile_location& location, std::size_t line) const noexcept {
    if (line < location.line_count) {
      const std::uint32_t function = p_.lines[location.first_line + line].function;
      const bool is_known = function < p_.functions.size();
      const string_index name = is_known ? p_.functions[function].name : 0;
      if (name != 0 && name < p_.strings.size()) return std::size_t{name} * 2;
    }
    const bool is_mapped = location.mapping < p_.mappings.size();
    const string_index file = is_mapped ? p_.mappings[location.mapping].file : 0;
    return file < p_.strings.size() ? std::size_t{file} * 2 + 1 : 1;
  }

  // A function's name, or the last part of a file's path in brackets.
  text_view name_of(std::size_t place) noexcept {
    const text_view text = p_.strings[place / 2];
    if (place % 2 == 0) return text;
    if (text.size == 0) return "<unknown>";
    const std::size_t slash = text.rfind('/');
    const text_view base = slash == text.size ? text : text.from(slash + 1);
    arena_vector<char> name(scratch_);
    name.push('[');
    name.append(base.data, base.size);
    name.push(']');
    return {name.data(), name.size()};
  }

  // One unit for the table: that of the smallest value shown, or, when the total is more than a
  // hundred times as large, one in which the smallest still is 0.01.
  void choose_unit() noexcept {
    std::uint64_t smallest = 0;
    const std::uint64_t largest = top_magnitude(total_);
    for (std::size_t i = 0; i < shown_; ++i) {
      std::uint64_t value = top_magnitude(rows_[i].flat);
      if (value == 0) value = top_magnitude(rows_[i].cum);
      if (value != 0 && (smallest == 0 || value < smallest)) smallest = value;
    }
    if (smallest == 0) smallest = largest;
    unit_ = top_unit_for(smallest, scale_);
    const bool is_wide = smallest < (largest + 99) / 100;
    if (is_wide && unit_ != top_unit_for(largest, scale_)) {
      unit_ = top_unit_for(smallest * 100, scale_);
    }
  }

  void put_facts() noexcept {
    out_.put("Type: ");
    out_.printable(string(p_.value_types[column_].type));
    out_.put("\n");
    if (p_.time_ns != 0) out_.put("Time: ").put(top_date(p_.time_ns).view()).put("\n");
    if (p_.duration_ns != 0) put_duration();
    if (p_.period != 0) put_period();
  }

  void put_duration() noexcept {
    const top_scale time = top_scale_of("nanoseconds");
    const auto duration = static_cast<std::int64_t>(p_.duration_ns);
    out_.put("Duration: ");
    out_.put(top_value(duration, time, top_unit_for(p_.duration_ns, time)).view());
    out_.put(", Total samples = ").put(value(total_).view());
    if (scale_.units == time.units && total_ != 0) {
      const auto total_ns =
          static_cast<std::int64_t>(top_base_value(top_magnitude(total_), scale_));
      out_.put(" (").put(top_percent(total_ns, duration).view()).put(")");
    }
    out_.put("\n");
  }

  void put_period() noexcept {
    const top_scale scale = top_scale_of(string(p_.period_type.unit));
    const top_unit* const unit = top_unit_for(top_magnitude(p_.period), scale);
    out_.put("Period: ").put(top_value(p_.period, scale, unit).view()).put(" ");
    out_.printable(string(p_.period_type.type));
    out_.put("\n");
  }

  void put_summary() noexcept {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < shown_; ++i) sum += rows_[i].flat;
    out_.put("Showing nodes accounting for ").put(value(sum).view());
    out_.put(", ").put(top_percent(sum, total_).view());
    out_.put(" of ").put(value(total_).view()).put(" total\n");
    if (shown_ == rows_.size()) return;
    out_.put("Showing top ").decimal(shown_).put(" nodes out of ").decimal(rows_.size()).put("\n");
  }

  void put_row(const top_row& row, std::int64_t sum) noexcept {
    put_right(value(row.flat), 10);
    out_.put(" ");
    put_right(top_percent(row.flat, total_), 6);
    out_.put(" ");
    put_right(top_percent(sum, total_), 6);
    out_.put(" ");
    put_right(value(row.cum), 10);
    out_.put(" ");
    put_right(top_percent(row.cum, total_), 6);
    out_.put("  ");
    out_.printable(row.name);
    out_.put("\n");
  }

  void put_right(const top_cell& cell, std::size_t width) noexcept {
    if (cell.size < width) out_.spaces(width - cell.size);
    out_.put(cell.view());
  }

  top_cell value(std::int64_t number) const noexcept { return top_value(number, scale_, unit_); }
  text_view string(string_index index) const noexcept {
    return index < p_.strings.size() ? p_.strings[index] : text_view();
  }

  const profile& p_;
  arena& scratch_;
  arena_vector<node> nodes_;
  arena_vector<top_row> rows_;
  text_writer out_;
  std::size_t column_;
  std::size_t shown_ = 0;
  std::int64_t total_ = 0;
  top_scale scale_;
  const top_unit* unit_ = nullptr;
};

// The value type asked for; value_types.size() when there is none.
inline std::size_t top_column(const profile& p, const top_options& options) noexcept {
  const std::size_t count = p.value_types.size();
  if (options.type.size == 0 && options.column != top_default_column) {
    return options.column < count ? options.column : count;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const string_index type = p.value_types[i].type;
    if (type >= p.strings.size()) continue;
    const bool is_named = p.strings[type].equals(options.type);
    if (options.type.size == 0 ? type == p.default_type : is_named) return i;
  }
  return options.type.size == 0 && count != 0 ? count - 1 : count;
}

// False when the profile has no such value type, `out` refused, or `scratch` is exhausted.
inline bool write_top(const profile& p, arena& scratch, output out,
                      const top_options& options = {}) noexcept {
  const std::size_t column = top_column(p, options);
  if (column == p.value_types.size()) return false;
  top_writer writer(p, scratch, out, column);
  return writer.count() && writer.write(options.limit);
}

PROF_DETAIL_END

#endif  // PROF_WRITE_TOP_HPP
