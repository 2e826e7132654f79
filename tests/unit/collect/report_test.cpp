// tests/unit/collect/report_test.cpp - the rows of status(): those of parts, of the process and of hooks; their text.

#include "prof/collect/report.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "../process/own_process.hpp"
#include "prof/api.hpp"
#include "prof/sample/heap.hpp"
#include "rain_part.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

using row_list = std::vector<status_row>;

void add_row(void* context, const status_row& row) { static_cast<row_list*>(context)->push_back(row); }

const status_row* row_of(const row_list& rows, const std::string& name) {
  for (const status_row& row : rows) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

row_list all_rows() {
  row_list rows;
  visit_status(&add_row, &rows);
  return rows;
}

std::string status_text() {
  std::string text;
  write_status_text({[](void* context, const void* data, std::size_t size) {
                       static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
                       return true;
                     },
                     &text});
  return text;
}

}  // namespace

TEST_CASE("a part's values are rows, numbers and texts") {
  const own_process own;
  const part_scope registered(*own.state);
  rain.drops.store(9);
  row_list rows;
  report_parts(*own.state, {&add_row, &rows});
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].type == status_row::kind::value);
  CHECK(std::string(rows[0].name) == "rain drops");
  CHECK(rows[0].number == 9);
  CHECK(rows[0].text == nullptr);
  CHECK(std::string(rows[1].name) == "rain gauge");
  CHECK(std::string(rows[1].text) == "outside");
}

TEST_CASE("a part without a report is passed over") {
  profile_part silent = rain_part;
  silent.report = nullptr;
  const own_process own;
  const part_scope registered(*own.state, silent);
  row_list rows;
  report_parts(*own.state, {&add_row, &rows});
  CHECK(rows.empty());
}

TEST_CASE("a part that is registered at run time shows in status() and in its text") {
  const part_scope registered(*enter_process());
  rain.drops.store(10);
  const prof::status_report report = prof::status();
  CHECK(report.number("rain drops") == 10);
  CHECK(std::string(report.text("rain gauge")) == "outside");
  const std::string text = status_text();
  CHECK(text.find("\nrain drops: 10\n") != std::string::npos);
  CHECK(text.find("\nrain gauge: outside\n") != std::string::npos);
}

TEST_CASE("the process's own rows: what its tables hold, and every cause of loss in order") {
  const own_process own;
  process_state& process = *own.state;
  count_drop_sig(process, drop::late_signal, 4);
  process.memory.refused.store(2);
  const std::uintptr_t frames[2] = {1, 2};
  (void)process.stacks.intern_sig({frames, 2, false, false});
  (void)this_thread_sig(process);
  row_list rows;
  report_process(process, {&add_row, &rows});
  REQUIRE(rows.size() >= drop_count);
  const std::size_t first = rows.size() - drop_count;
  for (unsigned i = 0; i < drop_count; ++i) {
    CHECK(rows[first + i].type == status_row::kind::drop);
    CHECK(std::string(rows[first + i].name) == drop_texts[i]);
    const bool is_late = i == static_cast<unsigned>(drop::late_signal);
    const bool is_memory = i == static_cast<unsigned>(drop::no_memory);
    CHECK(rows[first + i].number == (is_late ? 4u : is_memory ? 2u : 0u));
  }
  REQUIRE(row_of(rows, "stacks") != nullptr);
  CHECK(row_of(rows, "stacks")->number == 1);
  REQUIRE(row_of(rows, "threads with labels or calls") != nullptr);
  CHECK(row_of(rows, "threads with labels or calls")->number == 1);
  REQUIRE(row_of(rows, own_memory_name) != nullptr);
  CHECK(row_of(rows, own_memory_name)->number == process.memory.bytes.load());
  process.registry.modules.table_bytes.fetch_add(1000);
  CHECK(own_memory_of(process) == process.memory.bytes.load() + 1000);
}

TEST_CASE("every family says who counts, and every hook what it does") {
  const row_list rows = all_rows();
  for (unsigned i = 0; i < hook_family_count; ++i) {
    const status_row* const counted_by = row_of(rows, family_row(i).counted_by);
    REQUIRE(counted_by != nullptr);
    CHECK(counted_by->type == status_row::kind::value);
    CHECK(std::string(counted_by->text) == os_file_of(family_row(i).own));
  }
  std::size_t hooks = 0;
  for (const status_row& row : rows) {
    if (row.type != status_row::kind::hook) continue;
    ++hooks;
    CHECK(row.text != nullptr);
    CHECK(std::string(row.why).size() > 5);
  }
  CHECK(hooks == 83);
  CHECK(std::string(row_of(rows, "malloc")->text) == "live");
  CHECK(std::string(row_of(rows, "pthread_create")->text) == "live");
}

TEST_CASE("hooks that nobody has claimed are this object's, counted by nobody") {
  const own_process bare;
  row_list rows;
  report_hooks(*bare.state, {&add_row, &rows});
  REQUIRE(row_of(rows, "malloc hooks counted by") != nullptr);
  CHECK(std::string(row_of(rows, "malloc hooks counted by")->text) == "nobody");
  CHECK(row_of(rows, "malloc") != nullptr);
}

TEST_CASE("the text is the version, then values, losses and hooks, a line each") {
  const std::string text = status_text();
  bounded_text<40> first;
  first.put("prof ").put(version_text(PROF_VERSION).view()).put("\n\n");
  CHECK(text.compare(0, first.size(), first.c_str()) == 0);
  const std::size_t dropped = text.find("\ndropped:\n");
  const std::size_t hooks = text.find("\nhooks:\n");
  REQUIRE(dropped != std::string::npos);
  REQUIRE(hooks != std::string::npos);
  CHECK(text.find("\nstacks: ") < dropped);
  CHECK(dropped < hooks);
  CHECK(text.find("  malloc: live - counts\n") > hooks);
  for (const char* cause : drop_texts) {
    const std::size_t at = text.find(std::string("  ") + cause + "\n");
    CHECK(at > dropped);
    CHECK(at < hooks);
  }
  CHECK(text.back() == '\n');
}

TEST_CASE("what a report allocates is not the program's") {
  const std::size_t rate = prof::set_mem_profile_rate(1);
  std::uint64_t rows = 0;
  const std::uint64_t before = heap_sig(*enter_process())->samples.load();
  visit_status(
      [](void* count, const status_row&) {
        *static_cast<std::uint64_t*>(count) += std::string(1000, 'x').size() / 1000;
      },
      &rows);
  const std::uint64_t after = heap_sig(*enter_process())->samples.load();
  prof::set_mem_profile_rate(rate);
  CHECK(rows > 40);
  CHECK(after == before);
}

TEST_CASE("the text goes to a sink") {
  std::string text;
  CHECK(write_status_to(prof::append_to(text)));
  CHECK(text.compare(0, 5, "prof ") == 0);
  CHECK(write_status_to(prof::fd(-1)).code() == prof::error::bad_argument);
}

#endif
