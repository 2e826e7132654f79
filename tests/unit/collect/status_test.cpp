// tests/unit/collect/status_test.cpp - the report tells what runs, what was lost and what it costs.

#include "prof/collect/status.hpp"

#include <doctest/doctest.h>

#include <string>

#include "prof/api.hpp"
#include "prof/os/os.hpp"
#include "prof/process/enter.hpp"
#include "prof/sample/cpu.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

std::string status_text() {
  std::string text;
  REQUIRE(prof::write_status(prof::append_to(text)));
  return text;
}

char g_object[64];

}  // namespace

TEST_CASE("the report follows a CPU profile") {
  CHECK(std::string(prof::status().text("cpu profile")) == "off");
  CHECK(prof::status().number("cpu rate (Hz)") == 0);
  std::string bytes;
  prof::cpu_session session;
  prof::cpu_options wanted;
  wanted.hz = 250;
  REQUIRE(session.start(prof::append_to(bytes), wanted));
  const prof::status_report running = prof::status();
  CHECK(std::string(running.text("cpu profile")) == "running");
  CHECK(running.number("cpu rate (Hz)") == 250);
  CHECK(running.number("cpu signal") != 0);
  CHECK(running.number("threads with a timer") >= 1);
  CHECK(std::string(running.text("cpu engine")).find("timer_create") != std::string::npos);
  REQUIRE(session.stop());
  const prof::status_report after = prof::status();
  CHECK(std::string(after.text("cpu profile")) == "off");
  CHECK(after.number("threads with a timer") == 0);
  CHECK(after.number("cpu signal") == running.number("cpu signal"));
}

TEST_CASE("the report follows heap samples") {
  const std::size_t rate = prof::set_mem_profile_rate(1);
  const prof::status_report before = prof::status();
  CHECK(before.number("heap rate (bytes per sample)") == 1);
  prof::record_alloc(g_object, 45671);
  const prof::status_report after = prof::status();
  CHECK(after.number("heap samples") > before.number("heap samples"));
  CHECK(after.number("heap sampled live objects") > before.number("heap sampled live objects"));
  prof::record_free(g_object);
  prof::set_mem_profile_rate(rate);
  CHECK(after.own_memory > 100000);
  CHECK(after.own_memory < (std::uint64_t{1} << 30));
  CHECK(after.own_memory == after.number("own memory (bytes)"));
  CHECK(after.number("stacks") >= 1);
}

TEST_CASE("the owner of the heap hooks, and of the thread hook, is this program") {
  char path[4096];
  const std::size_t size = os_executable_path(path, sizeof path);
  const std::string full(path, size);
  const prof::status_report report = prof::status();
  for (const char* name : {"malloc hooks counted by", "pthread_create hook counted by"}) {
    CAPTURE(name);
    const std::string owner = report.text(name);
    REQUIRE_FALSE(owner.empty());
    CHECK(full.substr(full.rfind('/')) == "/" + owner.substr(owner.rfind('/') + 1));
  }
}

TEST_CASE("every cause of loss is listed with its count") {
  process_state& process = *enter_process();
  count_drop_sig(process, drop::timer_failed, 3);
  const prof::status_report report = prof::status();
  REQUIRE(report.drop_count == drop_count);
  for (unsigned i = 0; i < drop_count; ++i) {
    CHECK(std::string(report.drops[i].cause) == drop_texts[i]);
    CHECK(report.drops[i].count == process.drops[i].load());
  }
  CHECK(report.drops[static_cast<unsigned>(drop::timer_failed)].count >= 3);
  process.drops[static_cast<unsigned>(drop::timer_failed)].fetch_sub(3);
}

TEST_CASE("there is room for every hook, every cause and every value, and for twice as many values") {
  const prof::status_report report = prof::status();
  CHECK(report.hook_count == 83);
  CHECK(report.hook_count <= prof::status_report::max_hooks);
  CHECK(report.drop_count <= prof::status_report::max_drops);
  CHECK(report.value_count >= 10);
  CHECK(2 * report.value_count <= prof::status_report::max_values);
}

TEST_CASE("values are found by their whole name; what is not there is 0 or an empty text") {
  prof::status_report report;
  add_status_row(&report, {status_row::kind::value, "wind", 7, nullptr, ""});
  add_status_row(&report, {status_row::kind::value, "sky", 0, "blue", ""});
  CHECK(report.number("wind") == 7);
  CHECK(std::string(report.text("wind")).empty());
  CHECK(std::string(report.text("sky")) == "blue");
  CHECK(report.number("sky") == 0);
  CHECK(report.number("win") == 0);
  CHECK(report.number("wind ") == 0);
  CHECK(std::string(report.text("")).empty());
  CHECK(report.value_count == 2);
  CHECK(report.hook_count == 0);
  CHECK(report.drop_count == 0);
}

TEST_CASE("rows beyond the arrays are left out") {
  prof::status_report report;
  for (int i = 0; i < 200; ++i) {
    add_status_row(&report, {status_row::kind::value, "value", 1, nullptr, ""});
    add_status_row(&report, {status_row::kind::hook, "hook", 0, "live", "counts"});
    add_status_row(&report, {status_row::kind::drop, "lost", 2, nullptr, ""});
  }
  CHECK(report.value_count == prof::status_report::max_values);
  CHECK(report.hook_count == prof::status_report::max_hooks);
  CHECK(report.drop_count == prof::status_report::max_drops);
  CHECK(std::string(report.hooks[prof::status_report::max_hooks - 1].state) == "live");
  CHECK(report.own_memory == 0);
}

TEST_CASE("the text has a line for everything") {
  REQUIRE(cpu_of(*enter_process()) != nullptr);  // as when a thread was started or a profile taken
  const std::string text = status_text();
  CHECK(text.compare(0, 5, "prof ") == 0);
  for (const char* line :
       {"\ncpu profile: off\n", "\ncpu rate (Hz): 0\n", "\nheap rate (bytes per sample): ",
        "\nstacks: ", "\nown memory (bytes): ", "\nthreads started: ", "\ndropped:\n",
        "\nmalloc hooks counted by: ", "\npthread_create hook counted by: ", "\nthreads with a timer: ", "\nhooks:\n",
        "\n  malloc: live - ", "\n  pthread_create: "}) {
    CAPTURE(line);
    CHECK(text.find(line) != std::string::npos);
  }
  for (const char* cause : drop_texts) CHECK(text.find(cause) != std::string::npos);
  CHECK(text.back() == '\n');
}

TEST_CASE("the text goes to any sink, with the same errors") {
  CHECK(prof::write_status("/dev/full").os_errno() == ENOSPC);
  CHECK(prof::write_status("/no/such/directory/x").code() == prof::error::open_failed);
  CHECK(prof::write_status(static_cast<const char*>(nullptr)).code() ==
        prof::error::bad_argument);
}

#endif
