// tests/unit/http/server_test.cpp - a real server on loopback, driven by raw client sockets.

#include <prof/http/server.hpp>

#include <doctest/doctest.h>

#if PROF_DETAIL_OS_LINUX

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "../children.hpp"

using prof::error;
using namespace prof::detail;

namespace {

static_assert(sizeof(http_server) < 128 * 1024, "its user plans for 128 KiB of pages");
static_assert(!std::is_copy_constructible<http_server>::value, "a thread knows its address");

constexpr std::uint64_t millisecond = 1000000;

// ---- routes ----

struct counters {
    std::atomic<int> begun{0};
    std::atomic<int> finished{0};
    std::atomic<int> canceled{0};
    std::atomic<int> meanwhile{0};
    std::atomic<int> inside{0};
    std::atomic<int> threads{0};
    std::atomic<int> worked{0};
    std::atomic<int> refused{0};
    http_server* server = nullptr;
};

struct sleeper {
    counters* seen;
    std::uint64_t ms;
};

void finish_sleep(void* state, http_response& response, http_job&) {
    const sleeper& job = *static_cast<sleeper*>(state);
    job.seen->finished++;
    response.put("slept");
}

void cancel_sleep(void* state) { static_cast<sleeper*>(state)->seen->canceled++; }

void work(void* state, http_response& response, http_job&) {
    const sleeper& asked = *static_cast<sleeper*>(state);
    os_sleep_ns(asked.ms * millisecond);
    asked.seen->worked++;
    response.put("worked");
}

void restart(void* state, http_response& response, http_job&) {
    const sleeper& asked = *static_cast<sleeper*>(state);
    asked.seen->server->stop();
    address where;
    (void)parse_address("127.0.0.1:0", where);
    asked.seen->refused += asked.seen->server->start(where, {}).code() == error::server_running ? 1 : 0;
    response.put("asked");
    asked.seen->worked++;
}

void begin(void* context, const http_request& request, http_response& response, http_job& job) {
    counters& seen = *static_cast<counters*>(context);
    seen.begun++;
    text_view value;
    if (request.path.equals("/sleep") && request.parameter("ms", value)) {
        std::uint64_t ms = 0;
        parse_decimal(value, ms);
        job.keep(sleeper{&seen, ms});
        job.deadline_ns = os_monotonic_ns_sig() + ms * millisecond;
        job.step = &finish_sleep;
        job.cancel = &cancel_sleep;
    } else if (request.path.equals("/work") && request.parameter("ms", value)) {
        std::uint64_t ms = 0;
        parse_decimal(value, ms);
        job.keep(sleeper{&seen, ms});
        job.deadline_ns = http_job::at_once;
        job.step = &work;
    } else if (request.path.equals("/restart_at_once")) {
        sleeper asked{&seen, 0};
        restart(&asked, response, job);
    } else if (request.path.equals("/restart")) {
        job.keep(sleeper{&seen, 0});
        job.deadline_ns = http_job::at_once;
        job.step = &restart;
    } else if (request.path.equals("/big") && request.parameter("n", value)) {
        std::uint64_t n = 0;
        parse_decimal(value, n);
        response.content_type = "application/octet-stream";
        response.body.resize(static_cast<std::size_t>(n));
    } else if (request.path.equals("/debug/pprof/symbol")) {
        char digits[20];
        response.put({digits, format_decimal(request.body.size, digits)});
        if (request.body.size != 0) response.put({request.body.data + request.body.size - 1, 1});
    } else if (request.path.equals("/stop")) {
        seen.server->stop();
        response.put("stopping");
    } else if (request.path.equals("/missing")) {
        response.fail(404, "Unknown profile");
    } else {
        response.put("at ");
        response.put(request.path);
    }
}

void count_meanwhile(void* context) { static_cast<counters*>(context)->meanwhile++; }
void own_begins(void* context) { static_cast<counters*>(context)->inside++; }
void own_ends(void* context, std::size_t new_threads) {
    static_cast<counters*>(context)->inside--;
    static_cast<counters*>(context)->threads += static_cast<int>(new_threads);
}

// A server on a free port that answers with the routes above.
struct running_server {
    counters seen;
    http_server server;
    std::uint16_t port = 0;

    explicit running_server(const http_limits& limits = {}) {
        seen.server = &server;
        address where;
        REQUIRE(parse_address("127.0.0.1:0", where));
        const prof::result r = server.start(where, {&begin, &seen, &count_meanwhile, &own_begins, &own_ends}, 0, limits);
        INFO(r.message());
        REQUIRE(r);
        const std::string bound(server.bound_address());
        port = static_cast<std::uint16_t>(std::atoi(bound.c_str() + bound.rfind(':') + 1));
        REQUIRE(port != 0);
    }
};

// ---- client ----

class client {
  public:
    explicit client(std::uint16_t port) : socket_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in to{};
        to.sin_family = AF_INET;
        to.sin_port = htons(port);
        to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        finish_open(reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
    explicit client(const std::string& path)
        : socket_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un to{};
        to.sun_family = AF_UNIX;
        std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
        finish_open(reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
    ~client() { hang_up(); }
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    bool connected() const { return connected_; }
    int number() const { return socket_; }
    void hang_up() {
        if (socket_ >= 0) close(socket_);
        socket_ = -1;
    }
    bool send_text(const std::string& text) {
        std::size_t sent = 0;
        while (sent < text.size()) {
            const ssize_t n = send(socket_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
            if (n <= 0) return false;
            sent += static_cast<std::size_t>(n);
        }
        return true;
    }
    bool get(const std::string& target, const std::string& fields = "") {
        return send_text("GET " + target + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n");
    }

    // One response; "" when the connection ended before it. head holds its head afterwards.
    std::string response(bool has_body = true) {
        head.clear();
        std::size_t end = std::string::npos;
        while ((end = input_.find("\r\n\r\n")) == std::string::npos) {
            if (!more()) return "";
        }
        head = input_.substr(0, end + 4);
        input_.erase(0, end + 4);
        std::size_t size = 0;
        const std::size_t length = head.find("Content-Length: ");
        if (length != std::string::npos) {
            size = static_cast<std::size_t>(std::atoll(head.c_str() + length + 16));
        }
        if (!has_body) size = 0;
        while (input_.size() < size) {
            if (!more()) return "";
        }
        const std::string body = input_.substr(0, size);
        input_.erase(0, size);
        return body;
    }
    int status() const { return head.size() < 12 ? 0 : std::atoi(head.c_str() + 9); }

    // True when the server closes within five seconds and sends nothing more.
    bool at_end() {
        if (!input_.empty()) return false;
        return !more() && !timed_out_;
    }

    std::string head;

  private:
    void finish_open(const sockaddr* to, socklen_t size) {
        REQUIRE(socket_ >= 0);
        connected_ = connect(socket_, to, size) == 0;
    }
    bool more() {
        char buffer[65536];
        pollfd wait{socket_, POLLIN, 0};
        timed_out_ = poll(&wait, 1, 5000) == 0;
        if (timed_out_) return false;
        const ssize_t n = recv(socket_, buffer, sizeof buffer, 0);
        if (n <= 0) return false;
        input_.append(buffer, static_cast<std::size_t>(n));
        return true;
    }

    int socket_;
    bool connected_ = false;
    bool timed_out_ = false;
    std::string input_;
};

void sleep_ms(std::uint64_t ms) { os_sleep_ns(ms * millisecond); }

// Waits up to two seconds for a counter.
bool becomes(const std::atomic<int>& value, int wanted) {
    for (int i = 0; i < 2000 && value != wanted; ++i) sleep_ms(1);
    return value == wanted;
}

std::uint64_t cpu_ns() { return os_clock_ns_sig(CLOCK_PROCESS_CPUTIME_ID); }

}  // namespace

TEST_CASE("keep-alive, HEAD, errors, HTTP/1.0") {
    running_server s;
    client c(s.port);
    REQUIRE(c.get("/a"));
    CHECK(c.response() == "at /a");
    CHECK(c.status() == 200);
    CHECK(c.head.find("Connection:") == std::string::npos);
    REQUIRE(c.get("/b%20c?x"));
    CHECK(c.response() == "at /b c");

    REQUIRE(c.send_text("HEAD /abc HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    CHECK(c.response(false).empty());
    CHECK(c.status() == 200);
    CHECK(c.head.find("Content-Length: 7\r\n") != std::string::npos);

    REQUIRE(c.get("/missing"));
    CHECK(c.response() == "Unknown profile\n");
    CHECK(c.status() == 404);
    CHECK(c.head.find("X-Go-Pprof: 1\r\n") != std::string::npos);

    REQUIRE(c.get("/last", "Connection: close\r\n"));
    CHECK(c.response() == "at /last");
    CHECK(c.head.find("Connection: close\r\n") != std::string::npos);
    CHECK(c.at_end());

    client old(s.port);
    REQUIRE(old.send_text("GET /old HTTP/1.0\r\nHost: localhost\r\n\r\n"));
    CHECK(old.response() == "at /old");
    CHECK(old.at_end());
    CHECK(s.seen.begun == 6);
}

TEST_CASE("pipelined requests are answered in order") {
    running_server s;
    client c(s.port);
    std::string all;
    for (int i = 0; i < 500; ++i) {
        all += "GET /" + std::to_string(i) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
    }
    all += "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc\r\n";
    all += "GET /end HTTP/1.1\r\nHost: localhost\r\n\r\n";
    REQUIRE(c.send_text(all));
    for (int i = 0; i < 500; ++i) {
        const std::string body = c.response();
        if (body != "at /" + std::to_string(i)) FAIL(body);
    }
    CHECK(c.response() == "3c");
    CHECK(c.response() == "at /end");
}

TEST_CASE("a request byte by byte, and one whose client half-closes") {
    running_server s;
    client c(s.port);
    const std::string text =
        "\r\nPOST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabcde";
    for (char byte : text) {
        REQUIRE(c.send_text(std::string(1, byte)));
        sleep_ms(1);
    }
    CHECK(c.response() == "5e");
    REQUIRE(c.get("/again"));
    shutdown(c.number(), SHUT_WR);
    CHECK(c.response() == "at /again");
    CHECK(c.at_end());
}

TEST_CASE("bodies up to 1 MiB, large responses to a slow reader") {
    running_server s;
    client c(s.port);
    const std::string rest = " HTTP/1.1\r\nHost: localhost\r\nContent-Length: ";
    const std::string post = "POST /debug/pprof/symbol" + rest;
    REQUIRE(c.send_text(post + "1048576\r\n\r\n" + std::string(1048576, 'z')));
    CHECK(c.response() == "1048576z");

    REQUIRE(c.get("/big?n=30000000"));
    sleep_ms(100);
    client other(s.port);
    REQUIRE(other.get("/meanwhile"));
    CHECK(other.response() == "at /meanwhile");
    CHECK(c.response().size() == 30000000);
    REQUIRE(c.get("/after"));
    CHECK(c.response() == "at /after");

    c.send_text(post + "1048577\r\n\r\n" + std::string(1048577, 'z'));
    CHECK(c.response() == "the body is larger than 1 MiB\n");
    CHECK(c.status() == 413);
    CHECK(c.at_end());

    client asking(s.port);
    REQUIRE(asking.send_text(post + "2\r\nExpect: 100-continue\r\n\r\n"));
    CHECK(asking.response().empty());
    CHECK(asking.status() == 100);
    REQUIRE(asking.send_text("ok"));
    CHECK(asking.response() == "2k");
}

TEST_CASE("refusals answer and close") {
    running_server s;
    const std::string end = "\r\n\r\n";
    const auto refused = [&](const std::string& text) {
        client c(s.port);
        c.send_text(text);
        c.response();
        CHECK(c.head.find("Connection: close\r\n") != std::string::npos);
        CHECK(c.head.find("X-Go-Pprof: 1\r\n") != std::string::npos);
        CHECK(c.at_end());
        return c.status();
    };
    CHECK(refused("GET / HTTP/1.1\r\nHost: evil.com" + end) == 403);
    CHECK(refused("GET / HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site" + end) == 403);
    CHECK(refused("garbage" + end) == 400);
    CHECK(refused("PUT / HTTP/1.1\r\nHost: localhost" + end) == 405);
    CHECK(refused("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked" + end) == 411);
    CHECK(refused("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(8192, 'x') + end) == 431);
    CHECK(refused(std::string(100000, 'x')) == 431);
    CHECK(s.seen.begun == 0);
    client c(s.port);
    REQUIRE(c.get("/", "X: " + std::string(8000, 'x') + "\r\n"));
    CHECK(c.response() == "at /");
}

TEST_CASE("slow loris: the read deadline is for the whole request") {
    http_limits limits;
    limits.read_ns = 200 * millisecond;
    limits.idle_ns = 300 * millisecond;
    running_server s(limits);
    client slow(s.port);
    client slow_body(s.port);
    client silent(s.port);
    REQUIRE(slow_body.send_text(
        "POST /debug/pprof/symbol HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab"));
    const std::uint64_t begin_ns = os_monotonic_ns_sig();
    pollfd wait{slow.number(), POLLIN, 0};
    for (int i = 0; i < 100 && poll(&wait, 1, 0) == 0; ++i) {
        slow.send_text("x");
        sleep_ms(20);
    }
    const std::uint64_t took = os_monotonic_ns_sig() - begin_ns;
    slow.response();
    CHECK(slow.status() == 408);
    CHECK(took < 900 * millisecond);
    CHECK(slow.at_end());
    slow_body.response();
    CHECK(slow_body.status() == 408);
    silent.response();
    CHECK(silent.status() == 408);

    client idle(s.port);
    REQUIRE(idle.get("/"));
    idle.response();
    sleep_ms(200);  // longer than read_ns would allow
    REQUIRE(idle.get("/"));
    CHECK(idle.response() == "at /");
    CHECK(idle.at_end());  // after idle_ns, without a 408
}

TEST_CASE("a reader that takes nothing is closed at the write deadline") {
    http_limits limits;
    limits.write_ns = 100 * millisecond;
    running_server s(limits);
    client c(s.port);
    REQUIRE(c.get("/big?n=30000000"));
    sleep_ms(300);
    CHECK(c.response().empty());
}

TEST_CASE("a job ends at its deadline and blocks nobody") {
    running_server s;
    client job(s.port);
    client head(s.port);
    const std::uint64_t begin_ns = os_monotonic_ns_sig();
    REQUIRE(job.get("/sleep?ms=150"));
    REQUIRE(head.send_text("HEAD /sleep?ms=50 HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    client c(s.port);
    REQUIRE(c.get("/quick"));
    CHECK(c.response() == "at /quick");
    CHECK(s.seen.finished == 0);
    REQUIRE(job.get("/next"));  // pipelined behind the job
    CHECK(head.response(false).empty());
    CHECK(head.head.find("Content-Length: 5\r\n") != std::string::npos);
    CHECK(job.response() == "slept");
    CHECK(os_monotonic_ns_sig() - begin_ns >= 150 * millisecond);
    CHECK(job.response() == "at /next");
    CHECK(s.seen.finished == 2);
    CHECK(s.seen.canceled == 0);
}

TEST_CASE("about once a second while a job goes on the routes have a moment, and never when nothing does") {
    running_server s;
    client c(s.port);
    REQUIRE(c.get("/quick"));
    CHECK(c.response() == "at /quick");
    CHECK(s.seen.meanwhile == 0);
    REQUIRE(c.get("/sleep?ms=2100"));
    CHECK(c.response() == "slept");
    const int during = s.seen.meanwhile;
    CHECK(during >= 2);
    CHECK(during <= 4);
    sleep_ms(1100);
    CHECK(s.seen.meanwhile == during);
    REQUIRE(c.get("/quick"));
    CHECK(c.response() == "at /quick");
    CHECK(s.seen.meanwhile == during);
}

TEST_CASE("a client that hangs up cancels its job at once") {
    running_server s;
    client gone(s.port);
    client half(s.port);
    REQUIRE(gone.get("/sleep?ms=60000"));
    REQUIRE(half.get("/sleep?ms=60000"));
    REQUIRE(becomes(s.seen.begun, 2));
    gone.hang_up();
    CHECK(becomes(s.seen.canceled, 1));
    shutdown(half.number(), SHUT_WR);  // as in Go, an end of input counts as gone
    CHECK(becomes(s.seen.canceled, 2));
    CHECK(s.seen.finished == 0);
}

TEST_CASE("a request that takes long keeps no other waiting") {
    running_server s;
    std::vector<std::unique_ptr<client>> slow;
    for (int i = 0; i < 7; ++i) {
        slow.push_back(std::make_unique<client>(s.port));
        REQUIRE(slow.back()->get("/work?ms=1000"));
    }
    REQUIRE(becomes(s.seen.begun, 7));
    client c(s.port);
    for (int i = 0; i < 20; ++i) {
        REQUIRE(c.get("/quick"));
        CHECK(c.response() == "at /quick");
    }
    CHECK(s.seen.worked == 0);
    for (const auto& one : slow) CHECK(one->response() == "worked");
    CHECK(s.seen.worked == 7);
    CHECK(s.seen.threads == 7);
}

TEST_CASE("requests that follow each other are worked at by one thread, and those that take no time by none") {
    running_server s;
    for (int i = 0; i < 200; ++i) {
        client c(s.port);
        REQUIRE(c.get("/quick"));
        REQUIRE(c.response() == "at /quick");
    }
    CHECK(s.seen.threads == 0);
    for (int i = 0; i < 200; ++i) {
        client c(s.port);
        REQUIRE(c.get("/work?ms=0"));
        REQUIRE(c.response() == "worked");
    }
    CHECK(s.seen.threads == 1);
    s.server.stop();
    address where;
    REQUIRE(parse_address(s.server.bound_address(), where));
    REQUIRE(s.server.start(where, {&begin, &s.seen, nullptr, &own_begins, &own_ends}));
    client c(s.port);
    REQUIRE(c.get("/work?ms=0"));
    CHECK(c.response() == "worked");
    CHECK(s.seen.threads == 1);  // the library has the last one's stack
    CHECK(becomes(s.seen.inside, 0));
}

TEST_CASE("a client that hangs up while its request is worked at costs its slot no longer") {
    running_server s;
    {
        client gone(s.port);
        REQUIRE(gone.get("/work?ms=100"));
        REQUIRE(becomes(s.seen.begun, 1));
    }
    CHECK(becomes(s.seen.worked, 1));
    for (int i = 0; i < 20; ++i) {
        client gone(s.port);
        const linger at_once{1, 0};  // a reset, which shows while the worker has it
        setsockopt(gone.number(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        REQUIRE(gone.get("/work?ms=20"));
        REQUIRE(becomes(s.seen.begun, 2 + i));
    }
    CHECK(becomes(s.seen.worked, 21));
    client c(s.port);
    REQUIRE(c.get("/quick"));
    CHECK(c.response() == "at /quick");
}

TEST_CASE("stop waits for what a worker is doing; the server can start again") {
    running_server s;
    client c(s.port);
    REQUIRE(c.get("/work?ms=100"));
    REQUIRE(becomes(s.seen.begun, 1));
    s.server.stop();
    CHECK(s.seen.worked == 1);
    address where;
    REQUIRE(parse_address(s.server.bound_address(), where));
    REQUIRE(s.server.start(where, {&begin, &s.seen}));
    client again(s.port);
    REQUIRE(again.get("/again"));
    CHECK(again.response() == "at /again");
}

TEST_CASE("a route that has stopped the server cannot start it, and does not wait for itself") {
    for (const char* const path : {"/restart", "/restart_at_once"}) {
        running_server s;
        client c(s.port);
        REQUIRE(c.get(path));
        REQUIRE(becomes(s.seen.worked, 1));
        for (int i = 0; i < 1000 && s.server.running(); ++i) sleep_ms(1);
        s.server.stop();
        CHECK_FALSE(s.server.running());
        CHECK(s.seen.refused == 1);
    }
}

TEST_CASE("stop during a job cancels it; the server can start again") {
    running_server s;
    client c(s.port);
    client idle(s.port);
    REQUIRE(idle.get("/"));
    idle.response();
    REQUIRE(c.get("/sleep?ms=60000"));
    REQUIRE(becomes(s.seen.begun, 2));
    CHECK(s.server.running());
    const std::uint64_t begin_ns = os_monotonic_ns_sig();
    s.server.stop();
    CHECK(os_monotonic_ns_sig() - begin_ns < 1000 * millisecond);
    CHECK_FALSE(s.server.running());
    CHECK(s.seen.canceled == 1);
    CHECK(c.response().empty());
    CHECK(idle.at_end());
    CHECK_FALSE(client(s.port).connected());
    s.server.stop();

    address where;
    REQUIRE(parse_address(s.server.bound_address(), where));
    REQUIRE(s.server.start(where, {&begin, &s.seen}));
    CHECK(std::string(s.server.bound_address()) == "127.0.0.1:" + std::to_string(s.port));
    client again(s.port);
    REQUIRE(again.get("/again"));
    CHECK(again.response() == "at /again");
}

TEST_CASE("a route may stop the server; start then begins afresh") {
    running_server s;
    client c(s.port);
    REQUIRE(c.get("/stop"));
    c.response();
    for (int i = 0; i < 1000 && s.server.running(); ++i) sleep_ms(1);
    CHECK_FALSE(s.server.running());
    address where;
    REQUIRE(parse_address("127.0.0.1:0", where));
    REQUIRE(s.server.start(where, {&begin, &s.seen}));
    CHECK(s.server.running());
}

TEST_CASE("20 connections at once are all answered") {
    running_server s;
    std::atomic<int> answered{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 20; ++i) {
        threads.emplace_back([&] {
            client c(s.port);
            if (c.get("/x", "Connection: close\r\n") && c.response() == "at /x") answered++;
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK(answered == 20);
}

TEST_CASE("with eight jobs the ninth connection is told 503, and idle ones make way") {
    running_server s;
    std::vector<client*> jobs;
    for (int i = 0; i < 8; ++i) {
        jobs.push_back(new client(s.port));
        REQUIRE(jobs.back()->get("/sleep?ms=600"));
    }
    REQUIRE(becomes(s.seen.begun, 8));
    sleep_ms(150);  // the backlog's moment of patience is over
    for (int i = 0; i < 3; ++i) {
        const std::uint64_t begin_ns = os_monotonic_ns_sig();
        client ninth(s.port);
        ninth.get("/x");
        CHECK(ninth.response() == "too many connections; try again later\n");
        CHECK(ninth.status() == 503);
        CHECK(ninth.at_end());
        CHECK(os_monotonic_ns_sig() - begin_ns < 100 * millisecond);
    }
    for (client* job : jobs) CHECK(job->response() == "slept");
    client late(s.port);  // all eight are idle now; the one that is idle longest goes
    REQUIRE(late.get("/late"));
    CHECK(late.response() == "at /late");
    int closed = 0;
    for (client* job : jobs) {
        pollfd wait{job->number(), POLLIN, 0};
        closed += poll(&wait, 1, 0);
        delete job;
    }
    CHECK(closed == 1);
}

TEST_CASE("errors of start") {
    running_server s;
    address where;
    const std::string port = std::to_string(s.port);
    REQUIRE(parse_address(s.server.bound_address(), where));
    CHECK(s.server.start(where, {&begin, &s.seen}).code() == error::server_running);
    CHECK(s.server.running());

    http_server second;
    CHECK(std::string(second.bound_address()).empty());
    const prof::result used = second.start(where, {&begin, &s.seen});
    CHECK(used.code() == error::address_in_use);
    CHECK(used.os_errno() == EADDRINUSE);
    CHECK(std::string(used.message()) ==
          "port " + port + " on 127.0.0.1 is in use; pass another address or stop the other process");
    CHECK_FALSE(second.running());

    REQUIRE(parse_address("unix:/nowhere/prof.sock", where));
    const prof::result absent = second.start(where, {&begin, &s.seen});
    CHECK(absent.code() == error::listen_failed);
    CHECK(std::string(absent.message()) ==
          "cannot listen on unix:/nowhere/prof.sock: No such file or directory");
    REQUIRE(parse_address("unix:/etc/passwd", where));
    CHECK(std::string(second.start(where, {&begin, &s.seen}).message()) ==
          "cannot listen on unix:/etc/passwd: what is there is not a socket of this user");
}

TEST_CASE("a Unix socket: stale file, private mode, empty Host, removed by stop") {
    char directory[] = "/tmp/prof_server_XXXXXX";
    REQUIRE(mkdtemp(directory) != nullptr);
    const std::string path = std::string(directory) + "/socket";
    address where;
    REQUIRE(parse_address(("unix:" + path).c_str(), where));
    net_listener crashed;
    REQUIRE(os_listen(where, 8, crashed) == 0);
    os_close_socket(crashed.socket);

    counters seen;
    http_server server;
    REQUIRE(server.start(where, {&begin, &seen}));
    CHECK(std::string(server.bound_address()) == "unix:" + path);
    struct stat made;
    REQUIRE(stat(path.c_str(), &made) == 0);
    CHECK((made.st_mode & 0777) == 0600);
    client c(path);
    REQUIRE(c.send_text("GET /u HTTP/1.1\r\nHost:\r\n\r\n"));
    CHECK(c.response() == "at /u");

    client job(path);
    REQUIRE(job.get("/sleep?ms=60000"));
    REQUIRE(becomes(seen.begun, 2));
    job.hang_up();
    CHECK(becomes(seen.canceled, 1));

    http_server second;
    const prof::result used = second.start(where, {&begin, &seen});
    CHECK(std::string(used.message()) ==
          "unix:" + path + " is in use; pass another address or stop the other process");
    server.stop();
    CHECK(stat(path.c_str(), &made) != 0);
    CHECK(rmdir(directory) == 0);
}

TEST_CASE("after fork the child has no server, leaves the parent's alone, and can have its own") {
    running_server s;
    client c(s.port);
    REQUIRE(c.get("/sleep?ms=400"));
    REQUIRE(becomes(s.seen.begun, 1));
    const pid_t child = fork();
    if (child == 0) {
        if (s.server.running()) _exit(1);
        s.server.stop();
        address where;
        if (!parse_address("127.0.0.1:0", where)) _exit(2);
        if (child_may_start_threads) {
            if (!s.server.start(where, {&begin, &s.seen})) _exit(3);
            if (!s.server.running()) _exit(4);
            s.server.stop();
        }
        if (s.seen.canceled != 0) _exit(5);
        _exit(0);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(s.server.running());
    CHECK(c.response() == "slept");
}

TEST_CASE("after a fork while a worker is at work the child can have its own server") {
    running_server s;
    client c(s.port);
    REQUIRE(c.get("/work?ms=400"));
    REQUIRE(becomes(s.seen.begun, 1));
    const pid_t child = fork();
    if (child == 0) {
        if (s.server.running()) _exit(1);
        address where;
        if (!parse_address("127.0.0.1:0", where)) _exit(2);
        if (child_may_start_threads) {
            if (!s.server.start(where, {&begin, &s.seen})) _exit(3);
            const std::string bound(s.server.bound_address());
            client own(static_cast<std::uint16_t>(std::atoi(bound.c_str() + bound.rfind(':') + 1)));
            if (!own.get("/work?ms=0") || own.response() != "worked") _exit(4);
            s.server.stop();
        }
        _exit(0);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
    CHECK(c.response() == "worked");
}

TEST_CASE("an idle server does not wake up") {
    running_server s;
    client c(s.port);
    REQUIRE(c.get("/"));
    c.response();
    // Other tests' threads may end meanwhile; a server that wakes up uses time in every window.
    std::uint64_t least = ~std::uint64_t{0};
    for (int i = 0; i < 5 && least >= 2 * millisecond; ++i) {
        const std::uint64_t before = cpu_ns();
        sleep_ms(300);
        least = std::min(least, cpu_ns() - before);
    }
    CHECK(least < 2 * millisecond);
}

TEST_CASE("no descriptor is left behind") {
    const auto descriptors = [] {
        int open = 0;
        for (int i = 0; i < 256; ++i) open += fcntl(i, F_GETFD) != -1;
        return open;
    };
    const int before = descriptors();
    {
        running_server s;
        for (int i = 0; i < 50; ++i) {
            client c(s.port);
            c.get("/big?n=1000000");
            if (i % 2 == 0) c.response();
        }
    }
    CHECK(descriptors() == before);
}

TEST_CASE("start, stop and running from many threads") {
    counters seen;
    http_server server;
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int n = 0; n < 20; ++n) {
                address where;
                (void)parse_address("127.0.0.1:0", where);
                (void)server.start(where, {&begin, &seen});
                (void)server.running();
                server.stop();
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    CHECK_FALSE(server.running());
}

#endif
