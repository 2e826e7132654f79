// tests/fuzz/profile_maker.hpp - a profile from a fuzzer's input, by the profile model's own calls.
//
// Also with what memory that ran out leaves behind: indices of entries that were lost. Not with
// sums of values beyond 2^63: counts of real programs do not come near, and a profile that holds
// them has no right answer.
#ifndef PROF_TESTS_FUZZ_PROFILE_MAKER_HPP
#define PROF_TESTS_FUZZ_PROFILE_MAKER_HPP

#include "prof/profile/model.hpp"
#include "prof/symbol/symbolizer.hpp"

#include "fuzz.hpp"

namespace fuzz __attribute__((visibility("hidden"))) {

using namespace prof::detail;

class profile_maker {
 public:
  profile_maker(source& in, profile& p) : in_(in), p_(p) {}

  void make() {
    add_value_types();
    while (!in_.empty()) add_something(in_.byte() % 12);
  }

 private:
  static constexpr std::size_t most_types = 5;
  static constexpr std::size_t most_frames = 12;
  static constexpr std::size_t most_labels = 4;

  // Mostly one that may exist, now and then one that cannot.
  std::uint32_t index() {
    const std::uint32_t drawn = in_.byte();
    if (drawn == 255) return no_index;
    return drawn < 250 ? drawn : drawn << 20;
  }
  string_index string() {
    return in_.byte() % 4 == 0 ? index() : p_.string(text());
  }
  text_view text() {
    const std::uint8_t size = in_.byte();
    return size == 255 ? text_view("malloc") : in_.text(size % 48);
  }
  std::int64_t value() {
    const std::uint8_t kind = in_.byte();
    if (kind < 128) return kind % 4;
    const auto wide = in_.number<std::int64_t>();
    return wide >> (16 + kind % 48);  // 2^47 at most: thousands of them can be summed
  }

  static bool is_hidden(prof::detail::text_view function) { return function.equals("malloc"); }

  // Before all samples: each has as many values as there are types.
  void add_value_types() {
    static const char* const known[][2] = {{"alloc_objects", "count"}, {"alloc_space", "bytes"},
                                           {"inuse_objects", "count"}, {"inuse_space", "bytes"},
                                           {"cpu", "nanoseconds"},     {"wall", "milliseconds"}};
    const std::size_t count = in_.byte() % (most_types + 1);
    for (std::size_t i = 0; i < count; ++i) {
      const unsigned kind = in_.byte() % 8;
      if (kind < 6) p_.add_value_type(known[kind][0], known[kind][1]);
      else if (kind == 6) p_.add_value_type(text(), text());
      else p_.value_types.push({index(), index()});
    }
  }

  void add_something(unsigned kind) {
    switch (kind) {
      case 0: return add_mapping();
      case 1: return add_function();
      case 2: p_.add_location(index(), in_.number<std::uint64_t>()); return;
      case 3: p_.add_named_location(text()); return;
      case 4: return add_line();
      case 5: return add_label();
      case 6: return add_sample();
      case 7: p_.add_comment(text()); return;
      case 8: p_.comments.push(index()); return;
      case 9: return set_field(in_.byte() % 9);
      case 10: return hide_leading_frames(p_, &is_hidden);
      default: p_.string(text());
    }
  }

  void add_mapping() {
    profile_mapping made;
    made.start = in_.number<std::uint64_t>();
    made.limit = in_.number<std::uint64_t>();
    made.offset = in_.number<std::uint32_t>();
    made.file = string();
    made.build_id = string();
    const unsigned flags = in_.byte();
    made.current = (flags & 1) != 0;
    made.has_functions = (flags & 2) != 0;
    made.has_filenames = (flags & 4) != 0;
    made.has_line_numbers = (flags & 8) != 0;
    made.has_inline_frames = (flags & 16) != 0;
    p_.mappings.push(made);
  }

  void add_function() {
    const std::uint32_t made = p_.add_function(text(), text(), text());
    if (made == no_index || in_.byte() % 4 != 0) return;
    p_.functions[made].name = index();
    p_.functions[made].file = index();
    p_.functions[made].start_line = in_.number<std::int64_t>();
  }

  // Only to the location whose lines are the last ones, as add_line asks.
  void add_line() {
    const std::uint32_t wanted = index();
    if (p_.locations.empty()) return;
    profile_location& location = p_.locations[wanted % p_.locations.size()];
    const bool is_open = location.first_line + location.line_count == p_.lines.size();
    if (location.line_count != 0 && !is_open) return;
    p_.add_line(location, {index(), in_.number<std::int32_t>(), in_.byte()});
  }

  void add_label() {
    if (label_count_ == most_labels) label_count_ = 0;
    profile_label& label = labels_[label_count_++];
    label.key = string();
    label.text = in_.byte() % 2 == 0 ? string() : 0;
    label.number = label.text == 0 ? value() : 0;
    label.unit = in_.byte() % 2 == 0 ? string() : 0;
  }

  void add_sample() {
    std::uint32_t frames[most_frames];
    const std::size_t depth = in_.byte() % (most_frames + 1);
    for (std::size_t i = 0; i < depth; ++i) frames[i] = index();
    std::int64_t values[most_types];
    for (std::int64_t& one : values) one = value();
    p_.add_sample(frames, depth, labels_, label_count_, values);
  }

  void set_field(unsigned field) {
    switch (field) {
      case 0: p_.default_type = string(); return;
      case 1: p_.period_type = {string(), string()}; return;
      case 2: p_.period = value(); return;
      case 3: p_.time_ns = in_.number<std::uint64_t>(); return;
      case 4: p_.duration_ns = in_.number<std::uint64_t>(); return;
      case 5: p_.drop_frames = string(); return;
      case 6: p_.keep_frames = string(); return;
      case 7: p_.doc_url = string(); return;
      default: label_count_ = 0;
    }
  }

  source& in_;
  profile& p_;
  profile_label labels_[most_labels];
  std::size_t label_count_ = 0;
};

}  // namespace fuzz

#endif  // PROF_TESTS_FUZZ_PROFILE_MAKER_HPP
