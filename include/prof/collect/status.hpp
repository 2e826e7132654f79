// prof/collect/status.hpp - what runs, which hooks are live, what was lost, what prof itself costs.
// Floor 11 (collect). Public; part of the thin header: the rows come from whoever has the table of api_table.hpp.
// Safety: ordinary context, any thread. Testing the hooks calls each hooked function once.
// Memory: the report is a value of some 5 KB.
// Source: design invariant "nothing is lost silently".
#ifndef PROF_COLLECT_STATUS_HPP
#define PROF_COLLECT_STATUS_HPP

#include "prof/collect/api_table.hpp"

PROF_PUBLIC_BEGIN

// A figure of a part ("cpu samples"), or a text ("cpu profile": "running"). Texts live for ever.
struct value_status {
  const char* name = "";
  std::uint64_t number = 0;
  const char* text = nullptr;  // null: the number
};

// One hooked function. state: "live" (counts), "forwarding" (counted elsewhere) or "dead"; why: the
// reason in words. The texts live for ever.
struct hook_status {
  const char* name = "";
  const char* state = "";
  const char* why = "";
};

// A cause for which something was not recorded, and how often.
struct drop_status {
  const char* cause = "";
  std::uint64_t count = 0;
};

// Rows beyond the arrays are left out of the report; write_status has them all.
struct status_report {
  static constexpr std::size_t max_values = 64;
  static constexpr std::size_t max_hooks = 96;
  static constexpr std::size_t max_drops = 40;

  value_status values[max_values];
  std::size_t value_count = 0;
  hook_status hooks[max_hooks];
  std::size_t hook_count = 0;
  drop_status drops[max_drops];
  std::size_t drop_count = 0;
  std::uint64_t own_memory = 0;  // bytes of the address space that prof has mapped and keeps

  // Each object's own: a snapshot of prof with larger arrays must not fill in this one's.
  PROF_DETAIL_LOCAL status_report() noexcept {}

  // The number of the value with that name, or 0.
  PROF_DETAIL_LOCAL std::uint64_t number(const char* name) const noexcept {
    for (std::size_t i = 0; i < value_count; ++i) {
      if (std::strcmp(values[i].name, name) == 0) return values[i].number;
    }
    return 0;
  }
  // The text of the value with that name, or "".
  PROF_DETAIL_LOCAL const char* text(const char* name) const noexcept {
    for (std::size_t i = 0; i < value_count; ++i) {
      if (std::strcmp(values[i].name, name) == 0 && values[i].text != nullptr) return values[i].text;
    }
    return "";
  }
};

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

inline void add_status_row(void* context, const status_row& row) noexcept {
  auto& report = *static_cast<status_report*>(context);
  switch (row.type) {
    case status_row::kind::value:
      if (report.value_count == status_report::max_values) return;
      report.values[report.value_count++] = {row.name, row.number, row.text};
      return;
    case status_row::kind::hook:
      if (report.hook_count == status_report::max_hooks) return;
      report.hooks[report.hook_count++] = {row.name, row.text, row.why};
      return;
    case status_row::kind::drop:
      if (report.drop_count == status_report::max_drops) return;
      report.drops[report.drop_count++] = {row.name, row.number};
  }
}

inline constexpr const char* own_memory_name = "own memory (bytes)";

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// The state of the profiler now; an empty report where no file of the process includes prof.hpp.
PROF_DETAIL_LOCAL inline status_report status() {
  status_report report;
  const detail::api_table* const table = detail::api();
  if (table == nullptr) return report;
  table->visit_status(&detail::add_status_row, &report);
  report.own_memory = report.number(detail::own_memory_name);
  return report;
}

// The report as text, as the status page shows it.
PROF_DETAIL_LOCAL inline result write_status(const sink& target) {
  const detail::api_table* const table = detail::api();
  return table != nullptr ? table->write_status(target) : result(error::not_included);
}

PROF_PUBLIC_END

#endif  // PROF_COLLECT_STATUS_HPP
