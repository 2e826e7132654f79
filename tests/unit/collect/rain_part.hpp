// tests/unit/collect/rain_part.hpp - a part that no switch brings: the profile "rain" counts drops, "rain/story" writes
// its answer itself.
#ifndef PROF_TESTS_UNIT_COLLECT_RAIN_PART_HPP
#define PROF_TESTS_UNIT_COLLECT_RAIN_PART_HPP

#include <doctest/doctest.h>

#include "prof/base/text.hpp"
#include "prof/process/enter.hpp"

PROF_DETAIL_BEGIN

struct rain_run {
  std::int64_t base;  // drops when it began
  std::int64_t last;  // and when it ended
  char rest[100];     // is zero
};

// What the part did.
struct rain_seen {
  std::atomic<std::int64_t> drops{0};
  std::atomic<std::uint64_t> rate{5};
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  std::atomic<int> canceled{0};
  std::atomic<bool> is_dry{false};   // begin fails
  std::atomic<bool> is_stuck{false};  // end fails
};
inline rain_seen rain{};

inline result begin_rain(profile_run& run) {
  if (rain.is_dry.load()) return result(error::unsupported, "rain");
  auto& mine = *static_cast<rain_run*>(run.state);
  bool is_zero = true;
  for (const char byte : mine.rest) is_zero = is_zero && byte == 0;
  CHECK(is_zero);
  mine.base = rain.drops.load();
  ++rain.begun;
  return {};
}
inline result end_rain(profile_run& run) {
  if (rain.is_stuck.load()) return result(error::bad_argument, "the gauge is stuck");
  static_cast<rain_run*>(run.state)->last = rain.drops.load();
  ++rain.ended;
  return {};
}
inline void cancel_rain(profile_run&) { ++rain.canceled; }

// All drops so far, or those of the run's seconds.
inline void fill_rain(profile& p, profile_run& run) {
  const auto& mine = *static_cast<const rain_run*>(run.state);
  p.add_value_type("drops", "count");
  p.add_value_type("water", "litres");
  const std::int64_t drops = run.request.seconds != 0 ? mine.last - mine.base : mine.last;
  const std::int64_t values[2] = {drops, drops / 1000};
  const std::uint32_t stack[2] = {p.add_named_location("cloud"), p.add_named_location("sky")};
  (void)p.add_sample(stack, 2, nullptr, 0, values);
}

// "rain: 17 drops", then the profile's comments, a line each.
inline bool write_rain_text(const profile& p, arena&, output out) {
  text_writer text(out);
  text.put("rain: ").signed_decimal(p.values[0]).put(" drops\n");
  text.put("default: ").put(p.strings[p.default_type]).put("\n");
  text.put(p.duration_ns != 0 ? "took some time\n" : "now\n");
  for (const string_index comment : p.comments) text.put(p.strings[comment]).put("\n");
  return text.flush();
}
inline bool write_rain_story(process_state&, void* run, const profile_request& request, output out) {
  const auto& mine = *static_cast<const rain_run*>(run);
  text_writer text(out);
  text.put("It rained ").signed_decimal(mine.last).put(" drops, asked with debug=");
  text.signed_decimal(request.debug).put(".\n");
  return text.flush();
}

// Names need not end where their text does.
inline void visit_rain_rows(process_state&, visitor<profile_row> visit) {
  static constexpr char names[] = "rain/story";
  static const profile_row rows[] = {
      {{names, 4}, {"How much fell", 13}, 0, {"drops", 5}, {"rain-delta", 10}, &write_rain_text},
      {{names, 10}, {"What happened", 13}, 0, {}, {}, nullptr, nullptr, &write_rain_story}};
  for (const profile_row& row : rows) visit(row);
}

inline std::uint64_t set_rain_rate(process_state&, std::uint64_t rate) { return rain.rate.exchange(rate); }
inline void report_rain(const process_state&, visitor<status_value> visit) {
  visit({"rain drops", static_cast<std::uint64_t>(rain.drops.load()), nullptr});
  visit({"rain gauge", 0, "outside"});
}

inline const profile_part rain_part = {{sizeof(profile_part), 0},
                                       sizeof(rain_run),
                                       &visit_rain_rows,
                                       &begin_rain,
                                       &end_rain,
                                       &cancel_rain,
                                       &fill_rain,
                                       &set_rain_rate,
                                       [](const process_state&) -> std::uint64_t { return 3; },
                                       &report_rain,
                                       nullptr,
                                       nullptr};

// Registers a part for a scope.
class part_scope {
 public:
  explicit part_scope(process_state& process, const profile_part& descriptor = rain_part)
      : process_(process), descriptor_(descriptor) {
    REQUIRE(register_profile_part(process, descriptor));
    rain.drops.store(0);
    rain.begun.store(0);
    rain.ended.store(0);
    rain.canceled.store(0);
  }
  ~part_scope() {
    for (unsigned i = part_count; i < max_parts; ++i) {
      const part_head* mine = &descriptor_.head;
      process_.parts[i].descriptor.compare_exchange_strong(mine, nullptr);
    }
  }
  part_scope(const part_scope&) = delete;
  part_scope& operator=(const part_scope&) = delete;

 private:
  process_state& process_;
  const profile_part& descriptor_;
};

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_COLLECT_RAIN_PART_HPP
