// prof/collect/report.hpp - the rows of status(), and the same as text.
// Floor 11 (collect). In the table of api_functions.hpp; also the status page.
// Safety: ordinary context, any thread. Testing the hooks calls each hooked function once.
// Memory: none.
// Source: design invariant "nothing is lost silently".
#ifndef PROF_COLLECT_REPORT_HPP
#define PROF_COLLECT_REPORT_HPP

#include "prof/collect/deliver.hpp"
#include "prof/collect/enter.hpp"
#include "prof/collect/status.hpp"
#include "prof/process/versions.hpp"

PROF_DETAIL_BEGIN

using status_visitor = visitor<status_row>;

inline status_row value_row(const status_value& value) noexcept {
  return {status_row::kind::value, value.name, value.number, value.text, ""};
}

inline void report_parts(process_state& process, status_visitor visit) noexcept {
  const visitor<status_value> values{[](void* context, const status_value& value) {
                                       (*static_cast<status_visitor*>(context))(value_row(value));
                                     },
                                     &visit};
  for (unsigned i = 0; i < max_parts; ++i) {
    const profile_part* const known = profile_part_at(process, i);
    if (known != nullptr && known->report != nullptr) known->report(process, values);
  }
  const auto* const names = find_part_sig<symbolize_part>(process, part::symbolize);
  if (names != nullptr) names->report(process, values);
}

// Bytes of address space that are mapped for prof and kept. What a profile needs while it is written is not in it.
inline std::uint64_t own_memory_of(const process_state& process) noexcept {
  return process.memory.bytes.load() + process.code_map_bytes.load() + process.registry.modules.table_bytes.load();
}

inline void report_process(process_state& process, status_visitor visit) noexcept {
  visit(value_row({"stacks", process.stacks.used(), nullptr}));
  visit(value_row({"threads with labels or calls", process.threads.used(), nullptr}));
  visit(value_row({own_memory_name, own_memory_of(process), nullptr}));
  for (unsigned i = 0; i < drop_count; ++i) {
    visit({status_row::kind::drop, drop_texts[i], drops_of(process, i), nullptr, ""});
  }
}

inline void report_hooks(process_state& process, status_visitor visit) noexcept {
  bool has_any = false;
  for (unsigned i = 0; i < hook_family_count; ++i) {
    const hook_family_row family = family_row(i);
    const hook_family_part* const before = owner_of_sig(process, i);
    const hook_family_part* const hooks = before != nullptr ? before : family.own;
    if (hooks == nullptr) continue;
    has_any = true;
    hooks->test();
    const hook_family_part* const owner = owner_of_sig(process, i);  // the test may have been the family's first call
    visit(value_row({family.counted_by, 0, owner != nullptr ? os_file_of(owner) : "nobody"}));
    for (int k = 0; k < hooks->count; ++k) {
      const hook_record& record = hooks->records[k];
      visit({status_row::kind::hook, record.name, 0, record.state.load(), record.why.load()});
    }
  }
  if (has_any) return;
  visit({status_row::kind::hook, "(none)", 0, "off",
         "PROF_HOOKS=none, a sanitizer's build, or a libc without them: only what calls prof is seen"});
}

inline void visit_status(void (*visit)(void* context, const status_row& row), void* context) {
  process_state* const process = enter();
  if (process == nullptr) return;
  const own_code_scope own(*process);
  const status_visitor rows{visit, context};
  report_parts(*process, rows);
  report_process(*process, rows);
  report_hooks(*process, rows);
}

// ---- as text -------------------------------------------------------------------------------------------------

// The rows of one kind, each a line.
struct status_page {
  text_writer& text;
  status_row::kind wanted;
};

inline void put_status_row(void* context, const status_row& row) {
  const auto& page = *static_cast<const status_page*>(context);
  if (row.type != page.wanted) return;
  text_writer& text = page.text;
  switch (row.type) {
    case status_row::kind::value:
      text.put(row.name).put(": ");
      if (row.text != nullptr) text.put(row.text).put("\n");
      else text.decimal(row.number).put("\n");
      return;
    case status_row::kind::hook:
      text.put("  ").put(row.name).put(": ").put(row.text).put(" - ").put(row.why).put("\n");
      return;
    case status_row::kind::drop:
      text.put("  ").decimal(row.number).put("  ").put(row.name).put("\n");
  }
}

inline void write_status_text(output out) {
  text_writer text(out);
  text.put("prof ").put(version_text(PROF_VERSION).view()).put("\n\n");
  const struct {
    status_row::kind kind;
    const char* title;
  } sections[] = {{status_row::kind::value, ""},
                  {status_row::kind::drop, "\ndropped:\n"},
                  {status_row::kind::hook, "\nhooks:\n"}};
  for (const auto& section : sections) {
    status_page page{text, section.kind};
    text.put(section.title);
    visit_status(&put_status_row, &page);
  }
}

inline result write_status_to(const sink& target) {
  delivery out(target);
  if (result opened = out.open(); !opened) return opened;
  write_status_text(out.out());
  return out.close();
}

PROF_DETAIL_END

#endif  // PROF_COLLECT_REPORT_HPP
