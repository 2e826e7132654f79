// tests/unit/os/linux_net_test.cpp - how Linux names endpoints and clears stale socket files. (The
// contract itself is tested by net_test.cpp.)

#include "prof/os/net.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct socket_directory {
  char name[32] = "/tmp/prof_lnet_XXXXXX";
  net_endpoint where;

  socket_directory() {
    REQUIRE(mkdtemp(name) != nullptr);
    where.type = net_endpoint::kind::path;
    std::snprintf(where.path, sizeof where.path, "%s/s", name);
  }
  ~socket_directory() {
    unlink(where.path);
    rmdir(name);
  }
  socket_directory(const socket_directory&) = delete;
  socket_directory& operator=(const socket_directory&) = delete;
};

}  // namespace

TEST_CASE("endpoints become the kernel's addresses") {
  net_endpoint where;
  where.type = net_endpoint::kind::ip4;
  where.port = 0x1234;
  where.ip[0] = 127;
  where.ip[3] = 9;
  const net_name four = net_name_of(where);
  CHECK(four.any.sa_family == AF_INET);
  CHECK(four.ip4.sin_port == htons(0x1234));
  CHECK(four.ip4.sin_addr.s_addr == htonl(0x7f000009));
  CHECK(four.size == sizeof(sockaddr_in));

  where.type = net_endpoint::kind::ip6;
  where.ip[0] = 0;
  where.ip[3] = 0;
  where.ip[15] = 1;
  const net_name six = net_name_of(where);
  CHECK(six.any.sa_family == AF_INET6);
  CHECK(std::memcmp(&six.ip6.sin6_addr, &in6addr_loopback, 16) == 0);

  where.type = net_endpoint::kind::path;
  std::strcpy(where.path, "/tmp/x");
  const net_name path = net_name_of(where);
  CHECK(path.any.sa_family == AF_UNIX);
  CHECK(std::string(path.path.sun_path) == "/tmp/x");
}

TEST_CASE("EINTR means later, other errors stay") {
  CHECK(net_answer(-EINTR) == net_again);
  CHECK(net_answer(-EBADF) == -EBADF);
  CHECK(net_answer(7) == 7);
}

TEST_CASE("opened sockets are close-on-exec and do not block") {
  const int made = net_open(AF_UNIX);
  REQUIRE(made >= 0);
  CHECK((fcntl(made, F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((fcntl(made, F_GETFL) & O_NONBLOCK) != 0);
  os_close_socket(made);
  CHECK(net_open(9999) < 0);
}

TEST_CASE("a stale socket file makes way, a live one and a plain file do not") {
  const socket_directory here;
  const net_name name = net_name_of(here.where);
  CHECK(net_remove_stale(here.where.path, name) == 0);  // nothing there

  std::FILE* const plain = std::fopen(here.where.path, "w");
  REQUIRE(plain != nullptr);
  std::fclose(plain);
  CHECK(net_remove_stale(here.where.path, name) == net_not_ours);
  unlink(here.where.path);

  net_listener listener;
  REQUIRE(os_listen(here.where, 2, listener) == 0);
  CHECK(net_remove_stale(here.where.path, name) == net_in_use);
  os_close_socket(listener.socket);  // the file stays behind, as after a crash
  CHECK(net_remove_stale(here.where.path, name) == 0);
  CHECK(access(here.where.path, F_OK) != 0);
}

TEST_CASE("another file under the same path is left alone when listening ends") {
  const socket_directory here;
  net_listener listener;
  REQUIRE(os_listen(here.where, 2, listener) == 0);
  unlink(here.where.path);
  std::FILE* const plain = std::fopen(here.where.path, "w");
  REQUIRE(plain != nullptr);
  std::fclose(plain);
  os_unlisten(here.where, listener);
  CHECK(access(here.where.path, F_OK) == 0);
  CHECK(listener.socket == -1);
}

TEST_CASE("an event stays raised for every waiter") {
  const int event = os_make_event();
  REQUIRE(event >= 0);
  net_wait wait{event, net_readable, 0};
  CHECK(os_wait(&wait, 1, 0) == 0);
  os_raise_event(event);
  CHECK(os_wait(&wait, 1, 0) == 1);
  CHECK(os_wait(&wait, 1, net_forever) == 1);
  CHECK((wait.happened & net_readable) != 0);
  os_close_socket(event);
}

#endif
