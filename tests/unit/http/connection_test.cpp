// tests/unit/http/connection_test.cpp - one connection over a socket pair, step by step, without a loop or thread.

#include <prof/http/connection.hpp>

#include <doctest/doctest.h>

#if PROF_DETAIL_OS_LINUX

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

using namespace prof::detail;

namespace {

struct finished_job {
  int finished = 0;
  int canceled = 0;
};
struct job_state {
  finished_job* seen;
};

void finish(void* state, http_response& answer, http_job&) noexcept {
  ++static_cast<job_state*>(state)->seen->finished;
  answer.body.append("later", 5);
}

// /now answers at once, /later after a job, /twice after one of two steps; anything else is 404.
void begin(void* context, const http_request& request, http_response& response, http_job& job) noexcept {
  if (request.path.equals(text_view("/now"))) {
    response.body.append("now", 3);
    return;
  }
  const bool is_twice = request.path.equals(text_view("/twice"));
  if (!is_twice && !request.path.equals(text_view("/later"))) return response.fail(404, "no such page");
  job.keep(job_state{static_cast<finished_job*>(context)});
  job.deadline_ns = os_monotonic_ns_sig() + 1000000;
  job.step = &finish;
  job.cancel = [](void* state) { ++static_cast<job_state*>(state)->seen->canceled; };
  if (!is_twice) return;
  job.deadline_ns = http_job::at_once;
  job.step = [](void*, http_response& answer, http_job& next) {
    answer.body.append("first, ", 7);
    next.deadline_ns = os_monotonic_ns_sig() + 1000000;
    next.step = &finish;
  };
}

// Both ends of a connection in one thread.
struct pair_of_ends {
  int client = -1;
  finished_job jobs;
  http_setting setting;
  http_connection connection;

  pair_of_ends() {
    int ends[2] = {-1, -1};
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    client = ends[0];
    setting.routes = {&begin, &jobs};
    setting.rules.unix_socket = true;
    connection.open(ends[1], setting);
  }
  ~pair_of_ends() {
    connection.close();
    close(client);
  }
  void say(const std::string& text) {
    REQUIRE(write(client, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    connection.on_ready(net_readable);
    work();
  }
  // As a worker, and then the loop, would do.
  void work() {
    if (!connection.is_due()) return;
    connection.set_working();
    CHECK_FALSE(connection.has_worked());
    connection.work();
    connection.set_worked();
    REQUIRE(connection.has_worked());
    connection.take_back();
  }
  std::string heard() {
    char buffer[4096];
    const ssize_t n = read(client, buffer, sizeof buffer);
    return n <= 0 ? std::string() : std::string(buffer, static_cast<std::size_t>(n));
  }
};

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("a connection answers a request that came in two pieces, and waits for the next") {
  pair_of_ends ends;
  ends.say("GET /now HT");
  CHECK(ends.heard().empty());
  CHECK((ends.connection.wait().wanted & net_readable) != 0);
  ends.say("TP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string answer = ends.heard();
  CHECK(answer.substr(0, 15) == "HTTP/1.1 200 OK");
  CHECK(answer.substr(answer.size() - 3) == "now");
  CHECK(ends.connection.is_open());
  CHECK(ends.connection.is_spare());
  CHECK_FALSE(ends.connection.has_job());
}

TEST_CASE("a job keeps the connection waiting until its deadline") {
  pair_of_ends ends;
  ends.say("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(ends.heard().empty());
  CHECK_FALSE(ends.connection.is_spare());
  CHECK(ends.connection.has_job());
  while (os_monotonic_ns_sig() < ends.connection.deadline()) os_sleep_ns(100000);
  ends.connection.on_deadline();
  CHECK(ends.connection.is_due());
  ends.work();
  CHECK_FALSE(ends.connection.has_job());
  CHECK(has(ends.heard(), "later"));
  CHECK(ends.jobs.finished == 1);
  CHECK(ends.jobs.canceled == 0);
}

TEST_CASE("a client that hangs up cancels its job once") {
  pair_of_ends ends;
  ends.say("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ends.connection.on_ready(net_gone);
  CHECK_FALSE(ends.connection.is_open());
  CHECK_FALSE(ends.connection.has_job());
  ends.connection.close();
  CHECK(ends.jobs.canceled == 1);
  CHECK(ends.jobs.finished == 0);
}

namespace {

// Up to where a worker has the first step of a request.
void ask(pair_of_ends& ends, const char* path) {
  const std::string text = "GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  REQUIRE(write(ends.client, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  ends.connection.on_ready(net_readable);
  ends.connection.on_deadline();
  REQUIRE(ends.connection.is_due());
  ends.connection.set_working();
}

}  // namespace

TEST_CASE("a job of two steps waits between them, and is one answer") {
  pair_of_ends ends;
  ask(ends, "/twice");
  ends.connection.work();
  ends.connection.set_worked();
  ends.connection.take_back();
  CHECK(ends.connection.has_job());
  CHECK_FALSE(ends.connection.is_due());
  CHECK(ends.heard().empty());
  ends.connection.on_deadline();
  ends.work();
  CHECK(has(ends.heard(), "first, later"));
  CHECK(ends.jobs.finished == 1);
  CHECK(ends.jobs.canceled == 0);
}

TEST_CASE("a client that is gone while a worker has its request gets no answer, and what is left of the job is canceled") {
  for (const char* const path : {"/later", "/twice"}) {
    pair_of_ends ends;
    ask(ends, path);
    CHECK(ends.connection.wait().socket >= 0);
    CHECK((ends.connection.wait().wanted & net_hangup) == 0);  // half a close is no end
    ends.connection.on_ready(net_gone);
    CHECK(ends.connection.wait().socket < 0);
    CHECK(ends.connection.is_open());
    ends.connection.work();
    ends.connection.set_worked();
    ends.connection.take_back();
    CHECK_FALSE(ends.connection.is_open());
    CHECK(ends.heard().empty());
    const bool has_more = std::string(path) == "/twice";
    CHECK(ends.jobs.canceled == (has_more ? 1 : 0));
    CHECK(ends.jobs.finished == (has_more ? 0 : 1));
  }
}

TEST_CASE("a connection that is closed before what a worker left is taken back cancels it") {
  pair_of_ends ends;
  ask(ends, "/twice");
  ends.connection.work();
  ends.connection.set_worked();
  ends.connection.close();
  CHECK(ends.jobs.canceled == 1);
  ends.connection.close();
  CHECK(ends.jobs.canceled == 1);
}

TEST_CASE("a request that does not end is answered 408 at its deadline, an idle connection is closed") {
  pair_of_ends slow;
  slow.say("GET /now HTTP/1.1\r\n");
  slow.connection.on_deadline();
  CHECK(slow.heard().substr(0, 12) == "HTTP/1.1 408");
  pair_of_ends idle;
  idle.say("GET /now HTTP/1.1\r\nHost: localhost\r\n\r\n");
  CHECK(has(idle.heard(), "200"));
  idle.connection.on_deadline();
  CHECK_FALSE(idle.connection.is_open());
}

TEST_CASE("an abandoned connection cancels nothing: its parent process owns the job") {
  pair_of_ends ends;
  ends.say("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
  ends.connection.abandon();
  CHECK_FALSE(ends.connection.is_open());
  CHECK(ends.jobs.canceled == 0);
}

#endif
