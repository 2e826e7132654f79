// tests/unit/collect/sessions_test.cpp - what the table's calls for profiles do: structs of other versions, sessions,
// waiting, limits.

#include "prof/collect/sessions.hpp"

#include <doctest/doctest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include "prof/api.hpp"
#include "prof/sample/cpu.hpp"
#include "rain_part.hpp"

#if PROF_DETAIL_OS_LINUX

#include <sys/wait.h>

namespace {

using namespace prof::detail;
using prof::error;
using prof::result;

bool is_gzip(const std::string& bytes) { return bytes.size() > 20 && bytes.compare(0, 2, "\x1f\x8b") == 0; }

cpu_state& cpu() { return *cpu_of(*enter_process()); }

prof::profile_request text_of_seconds(unsigned seconds) {
  prof::profile_request request;
  request.seconds = seconds;
  request.format = prof::format::text;
  return request;
}

// A request as a later version hands it over.
struct longer_request : prof::profile_request {
  unsigned char more[64];
};

}  // namespace

TEST_CASE("of a struct of an earlier version the members it has are taken, the others keep their defaults") {
  prof::profile_request given;
  given.debug = 1;
  given.seconds = 7;
  given.hz = 250;
  given.top_rows = 99;
  given.top_type = "drops";
  const prof::profile_request known = known_of(given, offsetof(prof::profile_request, hz));
  CHECK(known.debug == 1);
  CHECK(known.seconds == 7);
  CHECK(known.hz == 0);
  CHECK(known.top_rows == 10);
  CHECK(known.top_type == nullptr);
  const prof::profile_request whole = known_of(given, sizeof given);
  CHECK(whole.hz == 250);
  CHECK(whole.top_rows == 99);
  CHECK(std::string(whole.top_type) == "drops");
  CHECK(known_of(given, 0).debug == 0);
}

TEST_CASE("of a struct of a later version the members that are known are taken") {
  longer_request given;
  given.seconds = 7;
  std::memset(given.more, 0xff, sizeof given.more);
  const prof::profile_request known = known_of<prof::profile_request>(given, sizeof given);
  CHECK(known.seconds == 7);
  CHECK(known.top_rows == 10);
}

TEST_CASE("a session begins with what its caller's version knows") {
  std::string text;
  prof::cpu_options wanted;
  wanted.hz = 777;
  void* session = nullptr;
  REQUIRE(start_session(session, prof::append_to(text), wanted, sizeof wanted));
  CHECK(session != nullptr);
  CHECK(cpu().period_ns.load() == 1000000000u / 777);
  CHECK(stop_session(session));
  CHECK(is_gzip(text));
  CHECK(cpu().period_ns.load() == 0);
  text.clear();
  REQUIRE(start_session(session, prof::append_to(text), wanted, 0));  // one that knew no member
  CHECK(cpu().period_ns.load() == 10000000);
  CHECK(stop_session(session));
  CHECK(is_gzip(text));
}

TEST_CASE("a session that does not start leaves no file and nothing running") {
  void* session = &session;
  prof::cpu_options wanted;
  const result missing = start_session(session, "/no/such/directory/x", wanted, sizeof wanted);
  CHECK(missing.code() == error::open_failed);
  CHECK(session == nullptr);
  CHECK(cpu().period_ns.load() == 0);
  char path[] = "/tmp/prof_sessions_XXXXXX";
  const int made = mkstemp(path);
  REQUIRE(made >= 0);
  REQUIRE(write(made, "precious", 8) == 8);
  close(made);
  wanted.hz = 10001;
  CHECK(start_session(session, path, wanted, sizeof wanted).code() == error::bad_argument);
  CHECK(session == nullptr);
  std::string kept;
  std::getline(std::ifstream(path), kept);
  CHECK(kept == "precious");
  std::remove(path);
}

TEST_CASE("the unnamed session is one, and ends once") {
  process_state& process = *enter_process();
  std::string text;
  const prof::cpu_options wanted;
  CHECK(stop_cpu());
  REQUIRE(start_cpu(prof::append_to(text), wanted, sizeof wanted));
  CHECK(process.unnamed_session.load() != nullptr);
  CHECK(start_cpu(prof::append_to(text), wanted, sizeof wanted).code() == error::cpu_in_use);
  CHECK(stop_cpu());
  CHECK(process.unnamed_session.load() == nullptr);
  CHECK(is_gzip(text));
  const std::size_t size = text.size();
  CHECK(stop_cpu());
  CHECK(text.size() == size);
}

TEST_CASE("while another thread is about to start the unnamed session, it can neither be started nor ended") {
  process_state& process = *enter_process();
  process.unnamed_session.store(&process);
  std::string text;
  const prof::cpu_options wanted;
  CHECK(start_cpu(prof::append_to(text), wanted, sizeof wanted).code() == error::cpu_in_use);
  CHECK(stop_cpu());
  CHECK(process.unnamed_session.load() == &process);
  process.unnamed_session.store(nullptr);
}

TEST_CASE("a profile of a part that is registered at run time is written by name, now and over some seconds") {
  const part_scope registered(*enter_process());
  std::string text;
  rain.drops.store(12000);
  CHECK(write_named_profile("rain", prof::append_to(text), text_of_seconds(0), sizeof(prof::profile_request)));
  CHECK(text.compare(0, 18, "rain: 12000 drops\n") == 0);
  text.clear();
  std::thread weather([] {
    while (rain.begun.load() < 2) os_yield();
    rain.drops.store(17000);
  });
  CHECK(write_named_profile("rain", prof::append_to(text), text_of_seconds(1), sizeof(prof::profile_request)));
  weather.join();
  CHECK(text.compare(0, 17, "rain: 5000 drops\n") == 0);
  CHECK(text.find("\ntook some time\n") != std::string::npos);
  CHECK(rain.ended.load() == 2);
  CHECK(rain.canceled.load() == 0);
}

TEST_CASE("a profile whose sink cannot be opened, or whose wait is canceled, is canceled at its part") {
  const part_scope registered(*enter_process());
  std::string text;
  CHECK(write_named_profile("rain", "/no/such/directory/x", {}, sizeof(prof::profile_request)).code() ==
        error::open_failed);
  CHECK(rain.canceled.load() == 1);
  const std::atomic<bool> cancel{true};
  prof::profile_request request = text_of_seconds(60);
  request.cancel = &cancel;
  CHECK(write_named_profile("rain", prof::append_to(text), request, sizeof request).code() == error::canceled);
  CHECK(rain.canceled.load() == 2);
  CHECK(rain.ended.load() == 0);
  CHECK(text.empty());
}

TEST_CASE("a request of an earlier version is answered as that meant it") {
  const part_scope registered(*enter_process());
  std::string text;
  prof::profile_request request;
  request.debug = 1;
  request.seconds = 60;
  CHECK(write_named_profile("rain", prof::append_to(text), request, offsetof(prof::profile_request, seconds)));
  CHECK(text.compare(0, 6, "rain: ") == 0);
  CHECK(text.find("\nnow\n") != std::string::npos);
}

TEST_CASE("waiting ends when told") {
  process_state& process = *enter_process();
  std::atomic<bool> cancel{true};
  CHECK_FALSE(wait_unless_canceled(process, 1000000000, &cancel));
  CHECK(wait_unless_canceled(process, 0, &cancel));
  CHECK(wait_unless_canceled(process, 1000, nullptr));
}

TEST_CASE("while a profile is taken, the code map follows what was loaded, once a second") {
  process_state& process = *enter_process();
  refresh_code_map(process);
  process.code_map_outdated.store(true);
  CHECK(wait_unless_canceled(process, 200000000, nullptr));
  CHECK(process.code_map_outdated.load());
  CHECK(wait_unless_canceled(process, 1100000000, nullptr));
  CHECK_FALSE(process.code_map_outdated.load());
}

TEST_CASE("limits of an earlier version change what it knew of") {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    process_state& process = *process_sig();
    process.used.store(false);
    prof::options wanted;
    wanted.max_depth = 64;
    wanted.signal = 65;  // unknown to that version
    if (!set_limits(wanted, offsetof(prof::options, signal))) _exit(1);
    if (process.depth.load() != 64) _exit(2);
    if (process.wanted_signal.load() != 0) _exit(3);
    if (set_limits(wanted, sizeof wanted).code() != error::bad_argument) _exit(4);
    process.used.store(true);
    if (set_limits(wanted, sizeof wanted).code() != error::configured_late) _exit(5);
    _exit(0);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

#endif
