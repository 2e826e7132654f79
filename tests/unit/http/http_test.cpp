// tests/unit/http/http_test.cpp - requests parsed, checked and refused.

#include <prof/http/http.hpp>

#include <doctest/doctest.h>

#include <string>
#include <utility>

using namespace prof::detail;

namespace {

std::string text_of(text_view view) { return std::string(view.data, view.size); }

// A parsed request with what it borrows from.
struct parsed {
    std::string head;
    arena memory{os_pages};
    http_request request;
    http_refusal why;

    explicit parsed(std::string text) : head(std::move(text)) {
        REQUIRE(http_head_end({head.data(), head.size()}, 0) == head.size());
        why = http_parse_head({head.data(), head.size()}, memory, request);
    }
    int status() const { return why.status; }
    int checked(bool unix_socket = false) const {
        REQUIRE(why.status == 0);
        http_rules rules;
        rules.unix_socket = unix_socket;
        return http_check(request, rules).status;
    }
};

std::string get(const std::string& fields, const std::string& target = "/debug/pprof/heap") {
    return "GET " + target + " HTTP/1.1\r\n" + fields + "\r\n";
}

int host_status(const std::string& host, bool unix_socket = false) {
    return parsed(get("Host: " + host + "\r\n")).checked(unix_socket);
}

std::string parameter(const std::string& query, const char* name) {
    const parsed p(get("Host: localhost\r\n", "/p?" + query));
    REQUIRE(p.status() == 0);
    text_view value;
    return p.request.parameter(name, value) ? text_of(value) : "(none)";
}

}  // namespace

TEST_CASE("the end of a head, whole and byte by byte") {
    const std::string head = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const std::string more = head + "GET /next";
    CHECK(http_head_end({more.data(), more.size()}, 0) == head.size());
    for (std::size_t n = 0; n < head.size(); ++n) {
        CHECK(http_head_end({head.data(), n}, n == 0 ? 0 : n - 1) == 0);
    }
    CHECK(http_head_end({head.data(), head.size()}, head.size() - 1) == head.size());
    CHECK(http_head_end("GET / HTTP/1.0\n\n", 0) == 16);
    CHECK(http_head_end("GET / HTTP/1.0\n\n", 15) == 16);
}

TEST_CASE("a request in its parts") {
    const parsed p(
        "POST /debug/pprof/symbol%20x?debug=1&a=b HTTP/1.1\r\nHost: localhost:6060\r\n"
        "X-Name:  some value \t\r\nx-name: second\r\nEmpty:\r\nContent-Length: 12\r\n\r\n");
    REQUIRE(p.status() == 0);
    CHECK(text_of(p.request.method) == "POST");
    CHECK(text_of(p.request.path) == "/debug/pprof/symbol x");
    CHECK(text_of(p.request.query) == "debug=1&a=b");
    CHECK(text_of(p.request.header("X-NAME")) == "some value");
    text_view value;
    CHECK(p.request.find_header("empty", value));
    CHECK(value.size == 0);
    CHECK_FALSE(p.request.find_header("absent", value));
    CHECK(p.request.body_size == 12);
    CHECK(p.request.keep_alive);
}

TEST_CASE("keep-alive is of HTTP/1.1 without Connection: close") {
    CHECK(parsed(get("Host: localhost\r\n")).request.keep_alive);
    CHECK_FALSE(parsed(get("Host: localhost\r\nConnection: close\r\n")).request.keep_alive);
    CHECK_FALSE(parsed(get("Host: localhost\r\nConnection: TE, Close\r\n")).request.keep_alive);
    CHECK(parsed(get("Host: localhost\r\nConnection: closed\r\n")).request.keep_alive);
    CHECK_FALSE(parsed("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").request.keep_alive);
    CHECK(parsed("GET / HTTP/1.0\nHost: localhost\n\n").status() == 0);
}

TEST_CASE("malformed requests") {
    for (const char* text :
         {"GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/1.1 \r\nHost: localhost\r\n\r\n",
          " GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
          "GET / x HTTP/1.1\r\nHost: localhost\r\n\r\n", "G(T / HTTP/1.1\r\nHost: localhost\r\n\r\n",
          "GET / http/1.1\r\nHost: localhost\r\n\r\n", "GET / HTTP/1.10\r\nHost: localhost\r\n\r\n",
          "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
          "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET /\x80 HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
          "GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
          "GET / HTTP/1.1\r\n: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
          "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n"}) {
        INFO(text);
        CHECK(parsed(text).status() == 400);
    }
    CHECK(parsed("GET / HTTP/2.0\r\n\r\n").status() == 505);
    CHECK(parsed("GET / HTTP/1.2\r\n\r\n").status() == 505);
}

TEST_CASE("bodies: length, limit, no chunks") {
    CHECK(parsed(get("Host: a\r\nContent-Length: 1048576\r\n")).status() == 0);
    CHECK(parsed(get("Host: a\r\nContent-Length: 1048577\r\n")).status() == 413);
    CHECK(parsed(get("Host: a\r\nContent-Length: 99999999999999999999\r\n")).status() == 400);
    CHECK(parsed(get("Host: a\r\nTransfer-Encoding: Chunked\r\n")).status() == 411);
    CHECK(parsed(get("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n")).status() == 501);
    CHECK(parsed(get("Host: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n")).status() ==
          411);
}

TEST_CASE("query parameters: decoded, the first one wins") {
    CHECK(parameter("seconds=5&debug=1", "debug") == "1");
    CHECK(parameter("seconds=5&seconds=6", "seconds") == "5");
    CHECK(parameter("a=%31+2%2b", "a") == "1 2+");
    CHECK(parameter("%61=1", "a") == "1");
    CHECK(parameter("a", "a").empty());
    CHECK(parameter("a=", "a").empty());
    CHECK(parameter("a=b=c", "a") == "b=c");
    CHECK(parameter("&&a=1&", "a") == "1");
    CHECK(parameter("aa=1&A=2", "a") == "(none)");
    CHECK(parameter("a=%zz&a=2", "a") == "2");
    CHECK(parameter("a=1;b=2&a=3", "a") == "3");
    CHECK(parameter("", "a") == "(none)");
}

TEST_CASE("the Host header names this machine, exactly") {
    for (const char* host : {"localhost", "localhost:6060", "LOCALHOST:1", "127.0.0.1",
                             "127.0.0.1:80", "127.1.2.3:80", "[::1]", "[::1]:6060"}) {
        INFO(host);
        CHECK(host_status(host) == 0);
    }
    for (const char* host :
         {"", "example.com", "localhost.evil.com", "localhost.", "localhost.:6060", "127.0.0.1.",
          "127.0.0.1.nip.io", "localhost:", "localhost:x", "localhost:65536", "localhost:1:2",
          "127.1", "0127.0.0.1", "2130706433", "0x7f000001", "0.0.0.0", "[::]", "[::1", "::1",
          "[::1]x", "evil.com@localhost", "localhost@evil.com", "localhost,evil.com",
          "localhost evil.com", "localhost/", "128.0.0.1"}) {
        INFO(host);
        CHECK(host_status(host) == 403);
    }
    CHECK(host_status("", true) == 0);
    CHECK(host_status("localhost", true) == 0);
    CHECK(host_status("example.com", true) == 403);
    CHECK(parsed("GET / HTTP/1.0\r\n\r\n").checked() == 403);
    CHECK(parsed("GET / HTTP/1.0\r\n\r\n").checked(true) == 0);
}

TEST_CASE("other sites may link to the index and do nothing else") {
    const std::string host = "Host: localhost\r\n";
    const std::string index = "/debug/pprof/";
    for (const char* site : {"cross-site", "same-site"}) {
        const std::string from = host + "Sec-Fetch-Site: " + site + "\r\n";
        const std::string link = from + "Sec-Fetch-Mode: navigate\r\n";
        CHECK(parsed(get(from)).checked() == 403);
        CHECK(parsed(get(from, index)).checked() == 403);
        CHECK(parsed(get(from + "Sec-Fetch-Mode: no-cors\r\n", index)).checked() == 403);
        CHECK(parsed(get(link)).checked() == 403);
        CHECK(parsed(get(link, index)).checked() == 0);
        CHECK(parsed(get(link + "Sec-Fetch-Dest: document\r\n", index)).checked() == 0);
        CHECK(parsed(get(link + "Sec-Fetch-Dest: iframe\r\n", index)).checked() == 403);
    }
    CHECK(parsed(get(host + "Sec-Fetch-Site: same-origin\r\n")).checked() == 0);
    CHECK(parsed(get(host + "Sec-Fetch-Site: none\r\n")).checked() == 0);
}

TEST_CASE("methods") {
    const std::string rest = " HTTP/1.1\r\nHost: localhost\r\n";
    const std::string end = "\r\n";
    const auto check = [&](const std::string& line, const std::string& fields = "") {
        const parsed p(line + rest + fields + end);
        REQUIRE(p.status() == 0);
        return http_check(p.request, {});
    };
    CHECK(check("GET /x").status == 0);
    CHECK(check("HEAD /x").status == 0);
    CHECK(check("POST /debug/pprof/symbol", "Content-Length: 5\r\n").status == 0);
    CHECK(check("POST /debug/pprof/heap").status == 405);
    CHECK(text_of(check("POST /debug/pprof/heap").allow) == "GET, HEAD");
    CHECK(check("DELETE /debug/pprof/symbol").status == 405);
    CHECK(text_of(check("DELETE /debug/pprof/symbol").allow) == "GET, HEAD, POST");
    CHECK(check("get /x").status == 405);
    CHECK(check("GET /x", "Content-Length: 0\r\n").status == 0);
    CHECK(check("GET /x", "Content-Length: 5\r\n").status == 400);
}
