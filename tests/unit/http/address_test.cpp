// tests/unit/http/address_test.cpp - what is an address, what is loopback, and what is neither.

#include <prof/http/address.hpp>

#include <doctest/doctest.h>

#include <cstring>
#include <string>

using prof::error;
using namespace prof::detail;

namespace {

std::string shown(const char* text) {
    address where;
    const prof::result r = parse_address(text, where);
    INFO(text);
    CHECK(r.code() == error::none);
    return format_address(where).c_str();
}

error code(text_view text) {
    address where;
    return parse_address(text, where).code();
}

}  // namespace

TEST_CASE("loopback addresses, and their text") {
    CHECK(shown("localhost:6060") == "127.0.0.1:6060");
    CHECK(shown("LocalHost:6060") == "127.0.0.1:6060");
    CHECK(shown(":6060") == "127.0.0.1:6060");
    CHECK(shown("127.0.0.1:0") == "127.0.0.1:0");
    CHECK(shown("127.8.9.255:65535") == "127.8.9.255:65535");
    CHECK(shown("[::1]:6060") == "[::1]:6060");
    CHECK(shown("[0:0:0:0:0:0:0:1]:80") == "[::1]:80");
    CHECK(shown("[0::0001]:80") == "[::1]:80");
    CHECK(shown("unix:/run/prof.sock") == "unix:/run/prof.sock");
}

TEST_CASE("addresses that are not loopback are told from garbage") {
    for (const char* text : {"0.0.0.0:6060", "192.168.1.1:80", "128.0.0.1:80", "[::]:80",
                             "[fe80::1]:80", "[1::]:80", "[2001:db8::1:0]:80", "example.com:80",
                             "localhost.:80", "localhost.evil.com:80", "my-host_1:80"}) {
        INFO(text);
        CHECK(code(text) == error::not_loopback);
    }
    address where;
    const prof::result r = parse_address("0.0.0.0:6060", where);
    CHECK(std::strstr(r.message(), "0.0.0.0:6060 is not a loopback address") == r.message());
}

TEST_CASE("garbage") {
    for (const char* text :
         {"", "6060", "localhost", "localhost:", "localhost:x", "localhost:-1", "localhost:65536",
          "localhost:000080", "localhost:80:80", "::1:80", "[::1]", "[::1]80", "[::1:80", "[]:80",
          "[:1]:80", "[1:]:80", "[::1::]:80", "[1:2:3:4:5:6:7]:80", "[1:2:3:4:5:6:7:8:9]:80",
          "[12345::]:80", "[::1%lo]:80", "[::127.0.0.1]:80", "127.0.0:80", "127.0.0.1.1:80",
          "127.0.0.256:80", "0127.0.0.1:80", "127.1:80", "127.0.0.:80", ".:80", "local host:80",
          "*:80", "http://localhost:80", "unix:", "unix:relative", "unix:@abstract"}) {
        INFO(text);
        CHECK(code(text) == error::bad_address);
    }
    CHECK(code({"unix:/a\0b", 9}) == error::bad_address);
    CHECK(code(("unix:/" + std::string(106, 'x')).c_str()) == error::none);
    CHECK(code(("unix:/" + std::string(107, 'x')).c_str()) == error::bad_address);
}

TEST_CASE("an error shows the text on one line and cut") {
    address where;
    const prof::result r = parse_address("a\nb", where);
    CHECK(std::strstr(r.message(), "\"a?b\"") != nullptr);
    const std::string longer(1000, 'x');
    CHECK(std::strlen(parse_address(longer.c_str(), where).message()) < 232);
}

TEST_CASE("the host alone, as errors say it, and behind what is there already") {
    const auto host = [](const char* text) {
        address where;
        REQUIRE(parse_address(text, where));
        address_text shown_host;
        shown_host.put("at ");
        put_host(where, shown_host);
        return std::string(shown_host.c_str());
    };
    CHECK(host("localhost:6060") == "at 127.0.0.1");
    CHECK(host("[::1]:6060") == "at [::1]");
    CHECK(host("unix:/run/prof.sock") == "at unix:/run/prof.sock");
}

TEST_CASE("the longest address there is fits its text") {
    const std::string longest = "unix:/" + std::string(106, 'x');
    CHECK(shown(longest.c_str()) == longest);
}

TEST_CASE("eight groups spread around the gap") {
    unsigned char ip[16];
    REQUIRE(parse_ip6("1:2::7:8", ip));
    const unsigned char wanted[16] = {0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 8};
    CHECK(std::memcmp(ip, wanted, 16) == 0);
    REQUIRE(parse_ip6("ff01:2:3:4:5:6:7:8", ip));
    CHECK(ip[0] == 0xff);
    CHECK(ip[15] == 8);
    REQUIRE(parse_ip6("::", ip));
    CHECK(ip[15] == 0);
}
