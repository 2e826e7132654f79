// prof/write/top.hpp - writes the heaviest functions as a table for a terminal.
// Floor 9 (write). Called by collect/.
// Safety: ordinary context; thread-compatible. Not for signal handlers.
// Memory: 64 bytes per string of the profile in the caller's scratch arena.
// Source: `go tool pprof -top` (google/pprof internal/graph/graph.go and internal/report/report.go,
//         September 2026); numbers: base/units.hpp.
#ifndef PROF_WRITE_TOP_HPP
#define PROF_WRITE_TOP_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/base/units.hpp"
#include "prof/profile/model.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::size_t top_default_column = ~std::size_t{0};

struct top_options {
  text_view type = {};                      // name of a value type; empty: by column
  std::size_t column = top_default_column;  // by default the profile's default_type, else the last
  std::size_t limit = 10;                   // rows; 0: all
};

struct top_row {
  text_view name;
  std::int64_t flat = 0;
  std::int64_t cum = 0;
};

// As pprof orders them: by flat, name, cum.
inline bool top_before(const top_row& a, const top_row& b) noexcept {
  const std::uint64_t flat_a = magnitude_of(a.flat);
  const std::uint64_t flat_b = magnitude_of(b.flat);
  if (flat_a != flat_b) return flat_a > flat_b;
  const std::size_t shared = a.name.size < b.name.size ? a.name.size : b.name.size;
  const int order = std::memcmp(a.name.data, b.name.data, shared);
  if (order != 0) return order < 0;
  if (a.name.size != b.name.size) return a.name.size < b.name.size;
  return magnitude_of(a.cum) > magnitude_of(b.cum);
}

// Counts per node: a function by its name alone, or, for code without a name, its file. Both are
// strings of the profile, so a node's place is twice its string's index, plus 1 for a file.
class top_writer {
 public:
  top_writer(const profile& p, arena& scratch, output out, std::size_t column) noexcept
      : p_(p), scratch_(scratch), nodes_(scratch), rows_(scratch), out_(out), column_(column) {}

  // False, with nothing written, when memory ran out.
  bool count() noexcept {
    // A profile that ran out of memory may have lost even the empty string.
    const std::size_t strings = p_.strings.empty() ? 1 : p_.strings.size();
    if (!nodes_.resize(strings * 2)) return false;
    scale_ = value_scale_of(string(p_.value_types[column_].unit));
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
    total_ += static_cast<std::int64_t>(magnitude_of(value));
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
    const text_view text = string(static_cast<string_index>(place / 2));
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
    const std::uint64_t largest = magnitude_of(total_);
    for (std::size_t i = 0; i < shown_; ++i) {
      std::uint64_t value = magnitude_of(rows_[i].flat);
      if (value == 0) value = magnitude_of(rows_[i].cum);
      if (value != 0 && (smallest == 0 || value < smallest)) smallest = value;
    }
    if (smallest == 0) smallest = largest;
    unit_ = value_unit_for(smallest, scale_);
    const bool is_wide = smallest < (largest + 99) / 100;
    if (is_wide && unit_ != value_unit_for(largest, scale_)) {
      unit_ = value_unit_for(smallest * 100, scale_);
    }
  }

  void put_facts() noexcept {
    out_.put("Type: ");
    out_.printable(string(p_.value_types[column_].type));
    out_.put("\n");
    if (p_.time_ns != 0) out_.put("Time: ").put(format_date(p_.time_ns).view()).put("\n");
    if (p_.duration_ns != 0) put_duration();
    if (p_.period != 0) put_period();
  }

  void put_duration() noexcept {
    const value_scale time = value_scale_of("nanoseconds");
    const auto duration = static_cast<std::int64_t>(p_.duration_ns);
    out_.put("Duration: ");
    out_.put(format_value(duration, time, value_unit_for(p_.duration_ns, time)).view());
    out_.put(", Total samples = ");
    out_.printable(value(total_).view());
    if (scale_.units == time.units && total_ != 0) {
      const auto total_ns =
          static_cast<std::int64_t>(base_value(magnitude_of(total_), scale_));
      out_.put(" (").put(format_percent(total_ns, duration).view()).put(")");
    }
    out_.put("\n");
  }

  void put_period() noexcept {
    const value_scale scale = value_scale_of(string(p_.period_type.unit));
    const value_unit* const unit = value_unit_for(magnitude_of(p_.period), scale);
    out_.put("Period: ");
    out_.printable(format_value(p_.period, scale, unit).view());
    out_.put(" ");
    out_.printable(string(p_.period_type.type));
    out_.put("\n");
  }

  void put_summary() noexcept {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < shown_; ++i) sum += rows_[i].flat;
    out_.put("Showing nodes accounting for ");
    out_.printable(value(sum).view());
    out_.put(", ").put(format_percent(sum, total_).view());
    out_.put(" of ");
    out_.printable(value(total_).view());
    out_.put(" total\n");
    if (shown_ == rows_.size()) return;
    out_.put("Showing top ").decimal(shown_).put(" nodes out of ").decimal(rows_.size()).put("\n");
  }

  void put_row(const top_row& row, std::int64_t sum) noexcept {
    put_right(value(row.flat), 10);
    out_.put(" ");
    put_right(format_percent(row.flat, total_), 6);
    out_.put(" ");
    put_right(format_percent(sum, total_), 6);
    out_.put(" ");
    put_right(value(row.cum), 10);
    out_.put(" ");
    put_right(format_percent(row.cum, total_), 6);
    out_.put("  ");
    out_.printable(row.name);
    out_.put("\n");
  }

  void put_right(const short_text& cell, std::size_t width) noexcept {
    if (cell.size() < width) out_.spaces(width - cell.size());
    out_.printable(cell.view());
  }

  short_text value(std::int64_t number) const noexcept { return format_value(number, scale_, unit_); }
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
  value_scale scale_;
  const value_unit* unit_ = nullptr;
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
