// tests/unit/os/net_test.cpp - the socket calls against the system's own.

#include <prof/os/net.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstring>
#include <string>

#if PROF_DETAIL_OS_LINUX

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <stdlib.h>
#include <unistd.h>

namespace {

using namespace prof::detail;

// A directory of its own for each test's socket.
struct scratch {
    char directory[32] = "/tmp/prof_net_XXXXXX";
    std::string path;

    scratch() {
        REQUIRE(mkdtemp(directory) != nullptr);
        path = std::string(directory) + "/socket";
    }
    ~scratch() {
        unlink(path.c_str());
        rmdir(directory);
    }
};

net_endpoint ip4_port(std::uint16_t port) {
    net_endpoint where;
    where.type = net_endpoint::kind::ip4;
    where.ip[0] = 127;
    where.ip[3] = 1;
    where.port = port;
    return where;
}

net_endpoint ip6_port(std::uint16_t port) {
    net_endpoint where;
    where.type = net_endpoint::kind::ip6;
    where.ip[15] = 1;
    where.port = port;
    return where;
}

net_endpoint at_path(const std::string& path) {
    net_endpoint where;
    where.type = net_endpoint::kind::path;
    std::memcpy(where.path, path.c_str(), path.size() + 1);
    return where;
}

bool exists(const std::string& path) {
    struct stat found;
    return lstat(path.c_str(), &found) == 0;
}

int connect_ip4(std::uint16_t port) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(client >= 0);
    REQUIRE(connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0);
    return client;
}

int connect_path(const std::string& path) {
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    std::memcpy(to.sun_path, path.c_str(), path.size() + 1);
    const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(client >= 0);
    if (connect(client, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0) return client;
    close(client);
    return -1;
}

int wait_for(int socket, short wanted, std::uint64_t timeout_ns, short& happened) {
    net_wait waits[2];
    waits[1] = {socket, wanted, 0};  // the first has no socket and is skipped
    const int answer = os_wait(waits, 2, timeout_ns);
    happened = waits[1].happened;
    return answer;
}

constexpr std::uint64_t second = 1000000000;

}  // namespace

TEST_CASE("port 0 gives a bound port, a connection carries bytes both ways") {
    const net_endpoint where = ip4_port(0);
    net_listener listener;
    REQUIRE(os_listen(where, 8, listener) == 0);
    CHECK(listener.port != 0);
    CHECK(os_accept(listener.socket) == net_again);

    const int client = connect_ip4(listener.port);
    short happened = 0;
    CHECK(wait_for(listener.socket, net_readable, second, happened) == 1);
    const int server = os_accept(listener.socket);
    REQUIRE(server >= 0);
    CHECK((fcntl(server, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(server, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((fcntl(listener.socket, F_GETFD) & FD_CLOEXEC) != 0);

    char buffer[8];
    CHECK(os_receive(server, buffer, sizeof buffer) == net_again);
    CHECK(send(client, "ping", 4, 0) == 4);
    CHECK(wait_for(server, net_readable, second, happened) == 1);
    CHECK(os_receive(server, buffer, sizeof buffer) == 4);
    CHECK(std::memcmp(buffer, "ping", 4) == 0);
    CHECK(os_send(server, {"p", 1}, {"on", 2}) == 3);
    CHECK(os_send(server, {}, {"g", 1}) == 1);
    CHECK(os_send(server, {"!", 1}, {}) == 1);
    CHECK(recv(client, buffer, 5, MSG_WAITALL) == 5);
    CHECK(std::memcmp(buffer, "pong!", 5) == 0);

    os_shutdown_write(server);
    CHECK(recv(client, buffer, 4, 0) == 0);
    CHECK(wait_for(server, net_hangup, 0, happened) == 0);
    close(client);
    CHECK(wait_for(server, net_hangup, second, happened) == 1);
    CHECK((happened & net_gone) != 0);
    CHECK(os_receive(server, buffer, sizeof buffer) == 0);
    os_close_socket(server);
    os_unlisten(where, listener);
    CHECK(listener.socket == -1);
}

TEST_CASE("sending to a peer that is gone is an error and no signal") {
    const net_endpoint where = ip4_port(0);
    net_listener listener;
    REQUIRE(os_listen(where, 8, listener) == 0);
    const int client = connect_ip4(listener.port);
    const int server = os_accept(listener.socket);
    REQUIRE(server >= 0);
    close(client);
    long answer = 0;
    for (int i = 0; i < 100 && answer >= 0; ++i) {
        answer = os_send(server, {"x", 1}, {});
        os_sleep_ns(1000000);
    }
    CHECK(answer < 0);  // the default action of SIGPIPE would have ended the test
    os_close_socket(server);
    os_unlisten(where, listener);
}

TEST_CASE("a port in use is net_in_use; a free one can be taken again at once") {
    net_endpoint where = ip4_port(0);
    net_listener first;
    REQUIRE(os_listen(where, 8, first) == 0);
    where.port = first.port;
    net_listener second_one;
    CHECK(os_listen(where, 8, second_one) == net_in_use);
    CHECK(second_one.socket == -1);

    const int client = connect_ip4(first.port);
    const int server = os_accept(first.socket);
    os_close_socket(server);  // our side closes first and so has the TIME_WAIT
    close(client);
    os_unlisten(where, first);
    CHECK(os_listen(where, 8, second_one) == 0);
    os_unlisten(where, second_one);
}

TEST_CASE("IPv6 loopback") {
    const net_endpoint where = ip6_port(0);
    net_listener listener;
    const int answer = os_listen(where, 8, listener);
    if (answer == -EADDRNOTAVAIL || answer == -EAFNOSUPPORT) return;  // no IPv6 on this machine
    REQUIRE(answer == 0);
    CHECK(listener.port != 0);
    os_unlisten(where, listener);
}

TEST_CASE("a Unix socket has mode 0600 whatever the umask, and goes with its listener") {
    scratch place;
    const mode_t before = umask(0);
    net_listener listener;
    const net_endpoint where = at_path(place.path);
    const int answer = os_listen(where, 8, listener);
    umask(before);
    REQUIRE(answer == 0);
    struct stat made;
    REQUIRE(lstat(place.path.c_str(), &made) == 0);
    CHECK(S_ISSOCK(made.st_mode));
    CHECK((made.st_mode & 0777) == 0600);

    const int client = connect_path(place.path);
    CHECK(client >= 0);
    const int server = os_accept(listener.socket);
    CHECK(server >= 0);
    close(client);
    os_close_socket(server);
    os_unlisten(where, listener);
    CHECK_FALSE(exists(place.path));
}

TEST_CASE("a stale Unix socket is replaced, a live one and a plain file are not") {
    scratch place;
    const net_endpoint where = at_path(place.path);
    net_listener listener;
    REQUIRE(os_listen(where, 8, listener) == 0);

    net_listener other;
    CHECK(os_listen(where, 8, other) == net_in_use);
    CHECK(exists(place.path));

    os_close_socket(listener.socket);  // as a crash does: the file stays
    REQUIRE(exists(place.path));
    REQUIRE(os_listen(where, 8, other) == 0);
    const int client = connect_path(place.path);
    CHECK(client >= 0);
    close(client);

    listener.socket = -1;  // the first one is not allowed to remove the file of the second
    listener.inode = other.inode + 1;
    os_unlisten(where, listener);
    CHECK(exists(place.path));
    os_unlisten(where, other);

    const int file = open(place.path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    REQUIRE(file >= 0);
    close(file);
    CHECK(os_listen(where, 8, other) == net_not_ours);
    CHECK(exists(place.path));
}

TEST_CASE("a stale Unix socket of another user stays") {
    if (geteuid() != 0) return;  // only root can make one
    scratch place;
    const net_endpoint where = at_path(place.path);
    net_listener listener;
    REQUIRE(os_listen(where, 8, listener) == 0);
    os_close_socket(listener.socket);
    REQUIRE(chown(place.path.c_str(), 12345, 12345) == 0);
    CHECK(os_listen(where, 8, listener) == net_not_ours);
    CHECK(exists(place.path));
}

TEST_CASE("a symbolic link to a stale socket stays") {
    scratch place;
    const std::string target = place.path + "2";
    net_listener listener;
    REQUIRE(os_listen(at_path(target), 8, listener) == 0);
    os_close_socket(listener.socket);
    REQUIRE(symlink(target.c_str(), place.path.c_str()) == 0);
    CHECK(os_listen(at_path(place.path), 8, listener) == net_not_ours);
    CHECK(exists(target));
    unlink(target.c_str());
}

TEST_CASE("a directory that does not exist") {
    net_listener listener;
    CHECK(os_listen(at_path("/nowhere/prof/socket"), 8, listener) == -ENOENT);
    CHECK(listener.socket == -1);
}

TEST_CASE("an event stays raised, and waiting ends in time") {
    const int event = os_make_event();
    REQUIRE(event >= 0);
    short happened = 0;
    const std::uint64_t begin = os_monotonic_ns_sig();
    CHECK(wait_for(event, net_readable, 20000000, happened) == 0);
    CHECK(os_monotonic_ns_sig() - begin >= 20000000);
    os_raise_event(event);
    CHECK(wait_for(event, net_readable, net_forever, happened) == 1);
    CHECK(wait_for(event, net_readable, net_forever, happened) == 1);
    os_close_socket(event);
}

#else

TEST_CASE("without sockets every call says so") {
    using namespace prof::detail;
    net_listener listener;
    CHECK(os_listen(net_endpoint{}, 8, listener) == net_unsupported);
    CHECK(os_make_event() == net_unsupported);
}

#endif
