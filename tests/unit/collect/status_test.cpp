// tests/unit/collect/status_test.cpp - the report tells what runs, what was lost and what it costs.

#include "prof/collect/status.hpp"

#include <doctest/doctest.h>

#include <string>

#include "prof/prof.hpp"

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
  CHECK_FALSE(prof::status().cpu_running);
  CHECK(prof::status().cpu_hz == 0);
  std::string bytes;
  prof::cpu_session session;
  prof::cpu_options wanted;
  wanted.hz = 250;
  REQUIRE(session.start(prof::append_to(bytes), wanted));
  const prof::status_report running = prof::status();
  CHECK(running.cpu_running);
  CHECK(running.cpu_hz == 250);
  CHECK(running.cpu_signal != 0);
  CHECK(running.sampled_threads >= 1);
  CHECK(std::string(running.cpu_engine).find("timer_create") != std::string::npos);
  REQUIRE(session.stop());
  const prof::status_report after = prof::status();
  CHECK_FALSE(after.cpu_running);
  CHECK(after.sampled_threads == 0);
  CHECK(after.cpu_signal == running.cpu_signal);
}

TEST_CASE("the report follows heap samples") {
  const std::size_t rate = prof::set_mem_profile_rate(1);
  const prof::status_report before = prof::status();
  CHECK(before.heap_rate == 1);
  prof::record_alloc(g_object, 45671);
  const prof::status_report after = prof::status();
  CHECK(after.heap_samples > before.heap_samples);
  prof::record_free(g_object);
  prof::set_mem_profile_rate(rate);
  CHECK(after.own_memory > 100000);
  CHECK(after.own_memory < (std::uint64_t{1} << 30));
  CHECK(after.stacks >= 1);
}

TEST_CASE("the owner of the heap hooks is this program") {
  char path[4096];
  const std::size_t size = os_executable_path(path, sizeof path);
  const std::string full(path, size);
  const std::string owner = prof::status().heap_owner;
  REQUIRE_FALSE(owner.empty());
  CHECK(full.substr(full.rfind('/')) == "/" + owner.substr(owner.rfind('/') + 1));
}

TEST_CASE("every cause of loss is listed with its count") {
  process_state& process = *enter_process();
  count_drop_sig(process, drop::timer_failed, 3);
  const prof::status_report report = prof::status();
  for (unsigned i = 0; i < static_cast<unsigned>(drop::count_); ++i) {
    CHECK(std::string(report.drops[i].cause) == drop_texts[i]);
    CHECK(report.drops[i].count == process.drops[i].load());
  }
  CHECK(report.drops[static_cast<unsigned>(drop::timer_failed)].count >= 3);
  process.drops[static_cast<unsigned>(drop::timer_failed)].fetch_sub(3);
}

TEST_CASE("there is room for every hook") {
  const prof::status_report report = prof::status();
  CHECK(report.hook_count == 31);
  CHECK(report.hook_count <= prof::status_report::max_hooks);
}

TEST_CASE("the text has a line for everything") {
  const std::string text = status_text();
  CHECK(text.compare(0, 5, "prof ") == 0);
  for (const char* line :
       {"\ncpu profile: off\n", "\ncpu rate (Hz): 0\n", "\nheap rate (bytes per sample): ",
        "\nstacks: ", "\nown memory (bytes): ", "\nthreads started: ", "\ndropped:\n",
        "\nhooks (counted by ", "\n  malloc: live - ", "\n  pthread_create: "}) {
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
