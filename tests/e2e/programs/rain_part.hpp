// tests/e2e/programs/rain_part.hpp - the part that brings the profile "rain", registered at run time.
#ifndef RAIN_PART_HPP
#define RAIN_PART_HPP

#include "rain_sampler.hpp"

namespace rain {

struct rain_run {
  explicit rain_run(arena& memory) : base(memory), now(memory) {}
  count_snapshot base;
  count_snapshot now;
};

inline prof::result begin_rain(profile_run& run) {
  auto& made = *new (run.state) rain_run(run.memory);
  if (run.request.seconds != 0) state.counts.read(made.base);
  return {};
}
inline prof::result end_rain(profile_run& run) {
  state.counts.read(static_cast<rain_run*>(run.state)->now);
  return {};
}
inline void fill_rain(profile& p, profile_run& run) {
  const auto& counted = *static_cast<const rain_run*>(run.state);
  p.add_value_type("drops", "count");
  p.add_value_type("water", "bytes");
  p.period_type = {p.string("drops"), p.string("count")};
  p.period = 1;
  profile_builder build(p, run.process);
  state.counts.for_each_since(run.request.seconds != 0 ? &counted.base : nullptr, counted.now,
                              [&](const count_key& key, const std::uint64_t* counts) {
                                const std::int64_t values[2] = {static_cast<std::int64_t>(counts[0]),
                                                                static_cast<std::int64_t>(counts[1])};
                                build.add(key.stack, key.labels, values, nullptr, 0);
                              });
}
inline bool write_rain_text(const profile& p, arena&, output out) {
  text_writer text(out);
  text.put("rain: ").decimal(p.samples.size()).put(" places\n");
  return text.flush();
}
inline void visit_rain_rows(process_state&, visitor<profile_row> visit) {
  static constexpr profile_row rows[] = {
      {{"rain", 4}, {"Where drops fell", 16}, 0, {"drops", 5}, {"rain-delta", 10}, &write_rain_text, nullptr, nullptr}};
  for (const profile_row& row : rows) visit(row);
}
inline void report_rain(const process_state&, visitor<status_value> visit) {
  visit({"rain places", state.counts.used(), nullptr});
}
inline std::atomic<int> parents_forgotten{0};
inline void forget_rain_parent(process_state&, bool) { ++parents_forgotten; }

inline const profile_part descriptor = {{sizeof(profile_part), 0},
                                        sizeof(rain_run),
                                        &visit_rain_rows,
                                        &begin_rain,
                                        &end_rain,
                                        [](profile_run&) {},
                                        &fill_rain,
                                        [](process_state&, std::uint64_t rate) { return rate; },
                                        [](const process_state&) -> std::uint64_t { return state.counts.used(); },
                                        &report_rain,
                                        &forget_rain_parent,
                                        nullptr};

inline bool begin_to_rain() {
  process_state* const process = process_sig();
  if (process == nullptr) return false;
  bind_rain(*process);
  return register_profile_part(*process, descriptor);
}

}  // namespace rain

#endif
