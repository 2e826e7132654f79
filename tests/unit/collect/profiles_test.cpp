// tests/unit/collect/profiles_test.cpp - the public calls: sessions, profiles by name, rates, every error.

#include "prof/collect/profiles.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "prof/api.hpp"
#include "prof/os/os.hpp"
#include "prof/process/enter.hpp"
#include "prof/sample/cpu.hpp"

#if PROF_DETAIL_OS_LINUX

#include <link.h>
#include <sys/wait.h>

namespace {

using prof::error;
using prof::result;

struct scratch_file {
  char path[32] = "/tmp/prof_api_XXXXXX";
  scratch_file() {
    const int made = mkstemp(path);
    REQUIRE(made >= 0);
    close(made);
  }
  ~scratch_file() { std::remove(path); }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  std::string text() const {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream all;
    all << file.rdbuf();
    return all.str();
  }
};

bool is_gzip(const std::string& bytes) {
  return bytes.size() > 20 && bytes.compare(0, 2, "\x1f\x8b") == 0;
}

bool cpu_runs() {
  return prof::detail::cpu_of(*prof::detail::enter_process())->period_ns.load() != 0;
}

// Runs in a forked child; the number it returns.
template <class Body>
int in_child(Body body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

int count_object(dl_phdr_info*, std::size_t, void* count) {
  ++*static_cast<int*>(count);
  return 0;
}

int code_of(const result& r) { return static_cast<int>(r.code()); }

}  // namespace

// ---- the unnamed session
// -------------------------------------------------------------------------

TEST_CASE("stopping what does not run does nothing") {
  CHECK(prof::stop_cpu_profile());
  CHECK(prof::stop_cpu_profile());
  prof::cpu_session session;
  CHECK_FALSE(session.running());
  CHECK(session.stop());
}

TEST_CASE("start, stop, and the file is a profile") {
  const scratch_file file;
  REQUIRE(prof::start_cpu_profile(file.path));
  CHECK(cpu_runs());
  CHECK(prof::stop_cpu_profile());
  CHECK_FALSE(cpu_runs());
  CHECK(is_gzip(file.text()));
}

TEST_CASE("a second start is refused and touches neither the first one nor any file") {
  const scratch_file first;
  const scratch_file second;
  { std::ofstream(second.path) << "precious"; }
  REQUIRE(prof::start_cpu_profile(first.path));
  const result refused = prof::start_cpu_profile(second.path);
  CHECK(refused.code() == error::cpu_in_use);
  CHECK(std::string(refused.message()) == "cpu profiling already in use");
  CHECK(second.text() == "precious");
  CHECK(prof::start_cpu_profile("/no/such/directory/x").code() == error::cpu_in_use);
  CHECK(cpu_runs());
  CHECK(prof::stop_cpu_profile());
  CHECK(is_gzip(first.text()));
  CHECK(second.text() == "precious");
}

TEST_CASE("a start that fails leaves nothing running, and the next one works") {
  const result missing = prof::start_cpu_profile("/no/such/directory/x");
  CHECK(missing.code() == error::open_failed);
  CHECK(missing.os_errno() == ENOENT);
  CHECK_FALSE(cpu_runs());
  CHECK(prof::start_cpu_profile(static_cast<std::FILE*>(nullptr)).code() == error::bad_argument);
  prof::cpu_options fast;
  fast.hz = 10001;
  std::string text;
  CHECK(prof::start_cpu_profile(prof::append_to(text), fast).code() == error::bad_argument);
  CHECK_FALSE(cpu_runs());
  REQUIRE(prof::start_cpu_profile(prof::append_to(text)));
  CHECK(prof::stop_cpu_profile());
  CHECK(is_gzip(text));
}

TEST_CASE("the end tells when the bytes could not be written") {
  REQUIRE(prof::start_cpu_profile("/dev/full"));
  const result full = prof::stop_cpu_profile();
  CHECK(full.code() == error::write_failed);
  CHECK(full.os_errno() == ENOSPC);
  CHECK_FALSE(cpu_runs());
}

TEST_CASE("two threads that start at once: one runs, one is refused") {
  for (int round = 0; round < 20; ++round) {
    std::string text[2];
    result answers[2];
    std::thread other([&] { answers[1] = prof::start_cpu_profile(prof::append_to(text[1])); });
    answers[0] = prof::start_cpu_profile(prof::append_to(text[0]));
    other.join();
    CHECK(static_cast<bool>(answers[0]) != static_cast<bool>(answers[1]));
    CHECK(prof::stop_cpu_profile());
    CHECK(is_gzip(answers[0] ? text[0] : text[1]));
    CHECK((answers[0] ? text[1] : text[0]).empty());
  }
}

// ---- sessions
// ------------------------------------------------------------------------------------------

TEST_CASE("a session runs once at a time and can be used again") {
  std::string text;
  prof::cpu_session session;
  REQUIRE(session.start(prof::append_to(text)));
  CHECK(session.running());
  CHECK(session.start(prof::append_to(text)).code() == error::session_in_use);
  CHECK(session.stop());
  CHECK(is_gzip(text));
  text.clear();
  REQUIRE(session.start(prof::append_to(text)));
  CHECK(session.stop());
  CHECK(is_gzip(text));
}

TEST_CASE("a session that is destroyed writes its profile") {
  std::string text;
  {
    prof::cpu_session session;
    REQUIRE(session.start(prof::append_to(text)));
  }
  CHECK(is_gzip(text));
  CHECK_FALSE(cpu_runs());
}

TEST_CASE("eight sessions at once, the ninth is refused; all eight are written") {
  std::vector<std::string> text(9);
  std::vector<std::unique_ptr<prof::cpu_session>> sessions;
  for (std::size_t i = 0; i < 9; ++i) {
    sessions.push_back(std::make_unique<prof::cpu_session>());
    const result started = sessions[i]->start(prof::append_to(text[i]));
    CHECK(started.code() == (i < 8 ? error::none : error::too_many_sessions));
  }
  CHECK_FALSE(sessions[8]->running());
  CHECK(sessions[8]->stop());
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(sessions[i]->stop());
    CHECK(is_gzip(text[i]));
  }
  CHECK(text[8].empty());
  CHECK_FALSE(cpu_runs());
}

TEST_CASE("the unnamed session and others run side by side") {
  std::string named;
  std::string unnamed;
  prof::cpu_session session;
  REQUIRE(session.start(prof::append_to(named)));
  REQUIRE(prof::start_cpu_profile(prof::append_to(unnamed)));
  CHECK(session.stop());
  CHECK(cpu_runs());
  CHECK(prof::stop_cpu_profile());
  CHECK(is_gzip(named));
  CHECK(is_gzip(unnamed));
}

// ---- profiles by name
// ------------------------------------------------------------------------------------

TEST_CASE("unknown, absent and null names") {
  std::string text;
  CHECK(prof::write_profile("nothing", prof::append_to(text)).code() == error::unknown_profile);
  CHECK(prof::write_profile("", prof::append_to(text)).code() == error::unknown_profile);
  CHECK(prof::write_profile(nullptr, prof::append_to(text)).code() == error::unknown_profile);
  CHECK(prof::write_profile("trace", prof::append_to(text)).code() == error::not_in_version);
  CHECK(text.empty());
}

TEST_CASE("an unknown profile does not truncate a file") {
  const scratch_file file;
  { std::ofstream(file.path) << "precious"; }
  CHECK(prof::write_profile("nothing", file.path).code() == error::unknown_profile);
  CHECK(prof::write_profile("trace", file.path).code() == error::not_in_version);
  CHECK(file.text() == "precious");
}

TEST_CASE("heap profiles to every kind of sink") {
  const scratch_file file;
  CHECK(prof::write_heap_profile(file.path));
  CHECK(is_gzip(file.text()));
  std::string text;
  CHECK(prof::write_profile("allocs", prof::append_to(text)));
  CHECK(is_gzip(text));
  std::ostringstream stream;
  CHECK(prof::write_heap_profile(stream));
  CHECK(is_gzip(stream.str()));
  std::FILE* const out = std::fopen(file.path, "wb");
  REQUIRE(out != nullptr);
  CHECK(prof::write_heap_profile(out));
  CHECK(is_gzip(file.text()));
  std::fclose(out);
  const int number = open(file.path, O_WRONLY | O_TRUNC);
  CHECK(prof::write_heap_profile(prof::fd(number)));
  close(number);
  CHECK(is_gzip(file.text()));
}

TEST_CASE("a full device and a closed pipe are errors, never signals") {
  CHECK(prof::write_heap_profile("/dev/full").os_errno() == ENOSPC);
  const int full = open("/dev/full", O_WRONLY);
  CHECK(prof::write_heap_profile(prof::fd(full)).os_errno() == ENOSPC);
  close(full);
  std::FILE* const file = std::fopen("/dev/full", "w");
  CHECK(prof::write_heap_profile(file).os_errno() == ENOSPC);
  std::fclose(file);
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);
  const result broken = prof::write_heap_profile(prof::fd(ends[1]));
  CHECK(broken.code() == error::write_failed);
  CHECK(broken.os_errno() == EPIPE);
  CHECK(std::string(broken.message()) == "writing the profile failed: Broken pipe");
  close(ends[1]);
  CHECK(prof::write_heap_profile(prof::fd(-1)).code() == error::bad_argument);
}

TEST_CASE("a CPU profile of some seconds blocks that long") {
  std::string text;
  prof::profile_request request;
  request.seconds = 1;
  const std::uint64_t before = prof::detail::os_monotonic_ns_sig();
  CHECK(prof::write_profile("profile", prof::append_to(text), request));
  const std::uint64_t took = prof::detail::os_monotonic_ns_sig() - before;
  CHECK(took >= 1000000000);
  CHECK(took < 8000000000);
  CHECK(is_gzip(text));
  CHECK_FALSE(cpu_runs());
}

TEST_CASE("cancel ends the wait with an error and frees the sampler") {
  for (const char* name : {"profile", "heap"}) {
    std::atomic<bool> cancel{false};
    std::string text;
    prof::profile_request request;
    request.seconds = 60;
    request.cancel = &cancel;
    result ended;
    std::thread waiting(
        [&] { ended = prof::write_profile(name, prof::append_to(text), request); });
    prof::detail::os_sleep_ns(100000000);
    const std::uint64_t before = prof::detail::os_monotonic_ns_sig();
    cancel.store(true);
    waiting.join();
    CHECK(prof::detail::os_monotonic_ns_sig() - before < 5000000000);
    CHECK(ended.code() == error::canceled);
    CHECK(text.empty());
    CHECK_FALSE(cpu_runs());
  }
}

TEST_CASE("a bad rate in a request is an error") {
  std::string text;
  prof::profile_request request;
  request.hz = 20000;
  request.seconds = 1;
  CHECK(prof::write_profile("profile", prof::append_to(text), request).code() ==
        error::bad_argument);
  CHECK(text.empty());
}

TEST_CASE("every profile is visited in order, with whether it is there") {
  std::string seen;
  prof::for_each_profile([&seen](const char* name, bool available) {
    seen.append(name).append(available ? "+ " : "- ");
  });
  CHECK(seen ==
        "allocs+ block+ goroutine+ heap+ mutex+ profile+ threadcreate+ threads+ trace- ");
}

// ---- rates and limits
// ------------------------------------------------------------------------------------

TEST_CASE("the CPU rate of later profiles") {
  CHECK(prof::set_cpu_profile_rate(250) == 100);
  CHECK(prof::set_cpu_profile_rate(0) == 250);
  CHECK(prof::set_cpu_profile_rate(10001) == 250);
  std::string text;
  prof::cpu_session session;
  REQUIRE(session.start(prof::append_to(text)));
  CHECK(prof::detail::cpu_of(*prof::detail::enter_process())->period_ns.load() == 4000000);
  CHECK(session.stop());
  CHECK(prof::set_cpu_profile_rate(100) == 250);
}

TEST_CASE("configure works before the first profile and is too late afterwards") {
  prof::options wanted;
  wanted.max_depth = 64;
  std::string text;
  CHECK(prof::write_heap_profile(prof::append_to(text)));
  const result late = prof::configure(wanted);
  CHECK(late.code() == error::configured_late);
  // A process that made no call yet: a child, made to forget.
  CHECK(in_child([&] {
          prof::detail::process_state& process = *prof::detail::process_sig();
          process.used.store(false);
          if (!prof::configure(wanted)) return 1;
          if (process.depth.load() != 64) return 2;
          wanted.max_depth = 0;
          if (prof::configure(wanted).code() != error::bad_argument) return 3;
          wanted.max_depth = 1025;
          if (prof::configure(wanted).code() != error::bad_argument) return 4;
          wanted.max_depth = 1024;
          wanted.signal = -1;
          if (prof::configure(wanted).code() != error::bad_argument) return 5;
          wanted.signal = 65;
          if (prof::configure(wanted).code() != error::bad_argument) return 6;
          if (process.depth.load() != 64) return 7;
          wanted.signal = SIGRTMIN + 8;
          if (!prof::configure(wanted)) return 8;
          if (process.wanted_signal.load() != SIGRTMIN + 8) return 9;
          if (!prof::configure(wanted)) return 10;  // again, as long as nothing ran
          if (!prof::write_heap_profile(prof::append_to(text))) return 11;
          return code_of(prof::configure(wanted));
        }) == static_cast<int>(error::configured_late));
}

// ---- fork
// ------------------------------------------------------------------------------------------------

TEST_CASE("a child profiles on its own while its parent's profile runs") {
  std::string parents;
  prof::cpu_session session;
  REQUIRE(session.start(prof::append_to(parents)));
  CHECK(in_child([] {
          std::string text;
          prof::cpu_session own;
          if (!own.start(prof::append_to(text))) return 1;
          if (!own.stop()) return 2;
          if (!is_gzip(text)) return 3;
          if (cpu_runs()) return 4;
          if (!prof::write_heap_profile(prof::append_to(text))) return 5;
          return 0;
        }) == 0);
  CHECK(cpu_runs());
  CHECK(session.stop());
  CHECK(is_gzip(parents));
}

// A refresh holds the loader's lock, which glibc leaves as it is in a child.
TEST_CASE("a child of a process whose code map is read all the time can ask the loader and profile") {
  auto& process = *prof::detail::enter_process();
  std::atomic<bool> stop{false};
  std::atomic<int> rounds{0};
  std::thread reader([&] {
    while (!stop.load()) {
      prof::detail::refresh_code_map(process);
      rounds.fetch_add(1);
    }
  });
  while (rounds.load() < 3) std::this_thread::yield();
  int failed = 0;
  for (int i = 0; i < 100; ++i) {
    const int ended = in_child([] {
      alarm(20);  // instead of hanging
      int objects = 0;
      dl_iterate_phdr(&count_object, &objects);
      prof::detail::refresh_code_map(*prof::detail::enter_process());
      return objects > 1 ? 0 : 1;
    });
    failed += ended == 0 ? 0 : 1;
  }
  stop.store(true);
  reader.join();
  CHECK(failed == 0);
}

TEST_CASE("the unnamed session of a parent is not the child's") {
  std::string parents;
  REQUIRE(prof::start_cpu_profile(prof::append_to(parents)));
  CHECK(in_child([] {
          std::string text;
          if (!prof::start_cpu_profile(prof::append_to(text))) return 1;
          if (!prof::stop_cpu_profile()) return 2;
          return is_gzip(text) ? 0 : 3;
        }) == 0);
  CHECK(prof::stop_cpu_profile());
}

TEST_CASE("a child that ends its copy of a session leaves the parent's file alone") {
  const scratch_file file;
  prof::cpu_session session;
  REQUIRE(session.start(file.path));
  CHECK(in_child([&session] {
          (void)session.stop();
          return 0;
        }) == 0);
  CHECK(file.text().empty());
  CHECK(session.stop());
  CHECK(is_gzip(file.text()));
}

#endif
