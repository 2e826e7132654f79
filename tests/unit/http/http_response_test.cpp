// tests/unit/http/http_response_test.cpp - heads of responses, downloads and errors.

#include "prof/http/http_response.hpp"

#include <doctest/doctest.h>

#include <string>

#include "prof/os/os.hpp"

using namespace prof::detail;

TEST_CASE("response heads") {
    arena memory{os_pages};
    http_response response(memory);
    arena_vector<char> head(memory);
    const auto written = [&](bool keep_alive) {
        head.clear();
        http_write_head(response, keep_alive, head);
        return std::string(head.data(), head.size());
    };
    response.put("abc");
    CHECK(written(true) ==
          "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\n"
          "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\r\n");
    response.content_type = "application/octet-stream";
    response.file_name = "heap\"\r\nX: y";
    CHECK(written(false) ==
          "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 3\r\n"
          "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
          "Content-Disposition: attachment; filename=\"heap___X: y\"\r\nConnection: close\r\n\r\n");
    response.fail(404, "Unknown profile");
    CHECK(written(true) ==
          "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n"
          "Content-Length: 16\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n"
          "X-Go-Pprof: 1\r\n\r\n");
    CHECK(std::string(response.body.data(), response.body.size()) == "Unknown profile\n");
    response.error = false;
    response.status = 301;
    response.location = "/debug/pprof/";
    response.allow = "GET";
    CHECK(written(true).find("\r\nLocation: /debug/pprof/\r\nAllow: GET\r\n\r\n") !=
          std::string::npos);
}
