// tests/unit/http/routes_test.cpp - what each path answers, through a real server and a raw
// socket.

#include "prof/http/routes.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <string>

#include "../collect/rain_part.hpp"
#include "prof/api.hpp"
#include "prof/sample/cpu.hpp"

#if PROF_DETAIL_OS_LINUX

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

namespace {

using namespace prof::detail;
using prof::error;

struct server_scope {
  server_scope() { REQUIRE(prof::http::serve("127.0.0.1:0")); }
  ~server_scope() { prof::http::stop(); }
  server_scope(const server_scope&) = delete;
  server_scope& operator=(const server_scope&) = delete;
};

struct answer {
  int status = 0;
  std::string head;
  std::string body;
  std::string header(const std::string& name) const {
    const std::size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return "";
    const std::size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

int connected() {
  const std::string where = prof::http::address();
  const std::size_t colon = where.rfind(':');
  REQUIRE(colon != std::string::npos);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(where.substr(colon + 1))));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  REQUIRE(client >= 0);
  REQUIRE(connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
  return client;
}

answer send_request(const std::string& request) {
  const int client = connected();
  REQUIRE(send(client, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<long>(request.size()));
  std::string all;
  char buffer[4096];
  for (long n = 1; n > 0;) {
    n = recv(client, buffer, sizeof buffer, 0);
    if (n > 0) all.append(buffer, static_cast<std::size_t>(n));
  }
  close(client);
  answer got;
  const std::size_t end = all.find("\r\n\r\n");
  REQUIRE(end != std::string::npos);
  got.head = all.substr(0, end + 2);
  got.body = all.substr(end + 4);
  got.status = std::atoi(got.head.c_str() + 9);
  return got;
}

answer get(const std::string& path) {
  return send_request("GET /debug/pprof" + path +
                      " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
}

answer post(const std::string& path, const std::string& body) {
  return send_request("POST /debug/pprof" + path +
                      " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: " +
                      std::to_string(body.size()) + "\r\n\r\n" + body);
}

bool is_gzip(const std::string& bytes) {
  return bytes.size() > 20 && bytes.compare(0, 2, "\x1f\x8b") == 0;
}

std::string hex(std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

}  // namespace

extern "C" __attribute__((noinline, used)) int prof_test_route_symbol(int n) { return n + 2; }

TEST_CASE("the address is known while the server runs") {
  CHECK(std::string(prof::http::address()).empty());
  {
    const server_scope server;
    CHECK(std::string(prof::http::address()).compare(0, 10, "127.0.0.1:") == 0);
    CHECK(prof::http::serve("127.0.0.1:0").code() == error::server_running);
  }
  CHECK(std::string(prof::http::address()).empty());
  prof::http::stop();  // does nothing
}

TEST_CASE("addresses that are not understood or not local") {
  CHECK(prof::http::serve(nullptr).code() == error::bad_address);
  CHECK(prof::http::serve("").code() == error::bad_address);
  CHECK(prof::http::serve("nonsense").code() == error::bad_address);
  CHECK(prof::http::serve("0.0.0.0:6060").code() == error::not_loopback);
  CHECK(prof::http::serve("192.0.2.1:6060").code() == error::not_loopback);
  CHECK(std::string(prof::http::address()).empty());
}

TEST_CASE("the index") {
  const server_scope server;
  const answer page = get("/");
  CHECK(page.status == 200);
  CHECK(page.header("Content-Type") == "text/html; charset=utf-8");
  CHECK(page.body.find("<a href='heap?debug=1'>heap</a>") != std::string::npos);
  CHECK(page.body.find("</html>\n") == page.body.size() - 8);
}

TEST_CASE("without its slash the index redirects") {
  const server_scope server;
  const answer moved = get("");
  CHECK(moved.status == 301);
  CHECK(moved.header("Location") == "/debug/pprof/");
}

TEST_CASE("paths elsewhere and profiles of nobody are 404") {
  const server_scope server;
  const answer nothing = get("/nothing");
  CHECK(nothing.status == 404);
  CHECK(nothing.body == "Unknown profile\n");
  CHECK(nothing.header("Content-Type") == "text/plain; charset=utf-8");
  CHECK_FALSE(nothing.header("X-Go-Pprof").empty());
  const answer root =
      send_request("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  CHECK(root.status == 404);
  CHECK(root.body == "404 page not found\n");
  const answer trace = get("/trace");
  CHECK(trace.status == 404);
  CHECK(trace.body.find("PROF_ENABLE_TRACE") != std::string::npos);
}

TEST_CASE("cmdline is the arguments, joined by NUL") {
  const server_scope server;
  const answer line = get("/cmdline");
  CHECK(line.status == 200);
  char expected[65536];
  const std::size_t size = os_command_line(expected, sizeof expected);
  REQUIRE(size > 1);
  CHECK(line.body == std::string(expected, size - 1));
}

TEST_CASE("symbol names addresses of GET and POST") {
  const server_scope server;
  const std::string address = hex(reinterpret_cast<std::uintptr_t>(&prof_test_route_symbol));
  const std::string expected = address + " prof_test_route_symbol\n";
  CHECK(prof_test_route_symbol(1) == 3);
  const answer count = get("/symbol");
  CHECK(count.status == 200);
  CHECK(count.body == "num_symbols: 1\n");
  CHECK(get("/symbol?" + address).body == "num_symbols: 1\n" + expected);
  CHECK(post("/symbol", address).body == "num_symbols: 1\n" + expected);
  CHECK(post("/symbol", address + "+0x1+" + address + "+junk+0x+").body ==
        "num_symbols: 1\n" + expected + expected);
  CHECK(post("/symbol", "").body == "num_symbols: 1\n");
}

TEST_CASE("address tokens are hex with 0x, or decimal") {
  CHECK(parse_address_token("0x1f") == 0x1f);
  CHECK(parse_address_token("0X1F") == 0x1f);
  CHECK(parse_address_token("31") == 31);
  CHECK(parse_address_token("0x1g") == 0);
  CHECK(parse_address_token("1f") == 0);
  CHECK(parse_address_token("") == 0);
  CHECK(parse_address_token("0x") == 0);
}

TEST_CASE("the status page is text") {
  const server_scope server;
  const answer page = get("/status");
  CHECK(page.status == 200);
  CHECK(page.header("Content-Type") == "text/plain; charset=utf-8");
  CHECK(page.body.compare(0, 5, "prof ") == 0);
  CHECK(page.body.find("malloc: live") != std::string::npos);
}

TEST_CASE("heap: binary, text, and their headers as Go sets them") {
  const server_scope server;
  const answer binary = get("/heap");
  CHECK(binary.status == 200);
  CHECK(binary.header("Content-Type") == "application/octet-stream");
  CHECK(binary.header("Content-Disposition") == "attachment; filename=\"heap\"");
  CHECK(binary.header("X-Content-Type-Options") == "nosniff");
  CHECK(is_gzip(binary.body));
  const answer text = get("/heap?debug=1");
  CHECK(text.status == 200);
  CHECK(text.header("Content-Type") == "text/plain; charset=utf-8");
  CHECK(text.header("Content-Disposition").empty());
  CHECK(text.body.compare(0, 14, "heap profile: ") == 0);
  const answer table = get("/heap?format=top&type=alloc_space");
  CHECK(table.status == 200);
  CHECK(table.body.find("alloc_space") != std::string::npos);
  CHECK(is_gzip(get("/allocs").body));
  CHECK(get("/allocs").header("Content-Disposition") == "attachment; filename=\"allocs\"");
}

TEST_CASE("seconds that make no sense are 400 with Go's words") {
  const server_scope server;
  for (const char* seconds : {"abc", "0", "-1", "1.5", "99999999999999999999999"}) {
    CAPTURE(seconds);
    const answer refused = get("/heap?seconds=" + std::string(seconds));
    CHECK(refused.status == 400);
    CHECK(refused.body == "invalid value for \"seconds\" - must be a positive integer\n");
  }
  const answer both = get("/heap?seconds=1&debug=1");
  CHECK(both.status == 400);
  CHECK(both.body == "seconds and debug params are incompatible\n");
  for (const char* path :
       {"/profile?seconds=301", "/heap?seconds=301", "/allocs?seconds=4000000000"}) {
    CAPTURE(path);
    const answer longer = get(path);
    CHECK(longer.status == 400);
    CHECK(longer.body.find("300 seconds") != std::string::npos);
  }
}

TEST_CASE("profiles that take a second") {
  const server_scope server;
  const answer cpu = get("/profile?seconds=1&hz=200");
  CHECK(cpu.status == 200);
  CHECK(cpu.header("Content-Type") == "application/octet-stream");
  CHECK(cpu.header("Content-Disposition") == "attachment; filename=\"profile\"");
  CHECK(is_gzip(cpu.body));
  const answer delta = get("/heap?seconds=1");
  CHECK(delta.status == 200);
  CHECK(delta.header("Content-Disposition") == "attachment; filename=\"heap-delta\"");
  CHECK(is_gzip(delta.body));
  CHECK(cpu_of(*enter_process())->period_ns.load() == 0);
}

TEST_CASE("profiles of a part that is registered at run time are served like any other") {
  const part_scope registered(*enter_process());
  const server_scope server;
  const std::string index = get("/").body;
  CHECK(index.find("<tr><td>3</td><td><a href='rain?debug=1'>rain</a></td></tr>\n") != std::string::npos);
  CHECK(index.find("<li>rain: How much fell</li>\n") != std::string::npos);
  rain.drops.store(12000);
  const answer text = get("/rain?debug=1");
  CHECK(text.status == 200);
  CHECK(text.header("Content-Type") == "text/plain; charset=utf-8");
  CHECK(text.header("Content-Disposition").empty());
  CHECK(text.body.compare(0, 18, "rain: 12000 drops\n") == 0);
  const answer binary = get("/rain");
  CHECK(binary.header("Content-Type") == "application/octet-stream");
  CHECK(binary.header("Content-Disposition") == "attachment; filename=\"rain\"");
  CHECK(is_gzip(binary.body));
  const answer table = get("/rain?format=top&type=water");
  CHECK(table.header("Content-Type") == "text/plain; charset=utf-8");
  CHECK(table.body.find("water") != std::string::npos);
  CHECK(table.body.find("cloud") != std::string::npos);
  const answer delta = get("/rain?seconds=1");
  CHECK(delta.status == 200);
  CHECK(delta.header("Content-Disposition") == "attachment; filename=\"rain-delta\"");
  CHECK(is_gzip(delta.body));
  const answer in_text = get("/rain?seconds=1&format=text");
  CHECK(in_text.body.compare(0, 14, "rain: 0 drops\n") == 0);
  CHECK(get("/rain?seconds=1&debug=1").status == 400);
  CHECK(get("/rain/story?debug=2").body == "It rained 12000 drops, asked with debug=2.\n");
  CHECK(get("/rai").status == 404);
}

TEST_CASE("a part that cannot begin or end is 500 with its words") {
  const part_scope registered(*enter_process());
  const server_scope server;
  rain.is_dry.store(true);
  const answer dry = get("/rain");
  rain.is_dry.store(false);
  CHECK(dry.status == 500);
  CHECK(dry.body == "rain is not supported on this platform\n");
  rain.is_stuck.store(true);
  const answer stuck = get("/rain");
  rain.is_stuck.store(false);
  CHECK(stuck.status == 500);
  CHECK(stuck.body == "the gauge is stuck\n");
  CHECK(stuck.header("Content-Disposition").empty());
}

TEST_CASE("format words in a query: those of the writers, others change nothing") {
  const server_scope server;
  CHECK(is_gzip(get("/heap?format=pprof").body));
  CHECK(get("/heap?format=text").body.compare(0, 14, "heap profile: ") == 0);
  CHECK(is_gzip(get("/heap?format=svg").body));
  CHECK(is_gzip(get("/profile?seconds=1&format=text").body));  // it has none
}

TEST_CASE("while a job goes on, the code map follows what was loaded") {
  const server_scope server;
  process_state& process = *enter_process();
  refresh_code_map(process);
  const int client = connected();
  const std::string request = "GET /debug/pprof/heap?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n";
  REQUIRE(send(client, request.data(), request.size(), MSG_NOSIGNAL) > 0);
  os_sleep_ns(100000000);
  process.code_map_outdated.store(true);  // as a walk does that meets new code
  for (int i = 0; i < 500 && process.code_map_outdated.load(); ++i) os_sleep_ns(10000000);
  CHECK_FALSE(process.code_map_outdated.load());
  close(client);
}

TEST_CASE("a CPU profile that cannot start is 500 with the reason") {
  const server_scope server;
  const answer refused = get("/profile?seconds=1&hz=20000");
  CHECK(refused.status == 500);
  CHECK(refused.body.compare(0, 32, "Could not enable CPU profiling: ") == 0);
  CHECK(refused.body.find("1 to 10000") != std::string::npos);
}

TEST_CASE("a client that leaves, and a server that stops, end the CPU profile") {
  {
    const server_scope server;
    const int client = connected();
    const std::string request =
        "GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    REQUIRE(send(client, request.data(), request.size(), MSG_NOSIGNAL) > 0);
    cpu_state& cpu = *cpu_of(*enter_process());
    for (int i = 0; i < 500 && cpu.period_ns.load() == 0; ++i) os_sleep_ns(10000000);
    CHECK(cpu.period_ns.load() != 0);
    close(client);
    for (int i = 0; i < 500 && cpu.period_ns.load() != 0; ++i) os_sleep_ns(10000000);
    CHECK(cpu.period_ns.load() == 0);
  }
  const int kept = [] {
    const server_scope server;
    const int client = connected();
    const std::string request =
        "GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    REQUIRE(send(client, request.data(), request.size(), MSG_NOSIGNAL) > 0);
    cpu_state& cpu = *cpu_of(*enter_process());
    for (int i = 0; i < 500 && cpu.period_ns.load() == 0; ++i) os_sleep_ns(10000000);
    return client;
  }();
  CHECK(cpu_of(*enter_process())->period_ns.load() == 0);
  close(kept);
}

TEST_CASE("a Unix socket serves the same, and its file goes with the server") {
  char directory[] = "/tmp/prof_routes_XXXXXX";
  REQUIRE(mkdtemp(directory) != nullptr);
  const std::string path = std::string(directory) + "/s";
  REQUIRE(prof::http::serve(("unix:" + path).c_str()));
  CHECK(access(path.c_str(), F_OK) == 0);
  prof::http::stop();
  CHECK(access(path.c_str(), F_OK) != 0);
  rmdir(directory);
}

TEST_CASE("the server's own thread and memory are not the program's") {
  const std::uint64_t started = cpu_of(*enter_process())->threads_started.load();
  const server_scope server;
  CHECK(get("/").status == 200);
  CHECK(cpu_of(*enter_process())->threads_started.load() == started);
}

#endif
