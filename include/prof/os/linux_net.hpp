// prof/os/linux_net.hpp - sockets on Linux by raw system calls.
// Floor 3 (os). Included by os/net.hpp only; kept apart from os/linux.hpp because only the server
//          needs it.
// Safety: ordinary context; no errno, no cancellation point, no SIGPIPE (MSG_NOSIGNAL).
// Memory: none.
// Source: man-pages 6.03: socket(2), bind(2), unix(7), ip(7), accept4(2), sendmsg(2), ppoll(2), eventfd(2).
//         Run on kernel 6.18.
#ifndef PROF_OS_LINUX_NET_HPP
#define PROF_OS_LINUX_NET_HPP

#include "prof/os/os.hpp"  // net.hpp, which includes this one, declares the types

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

PROF_DETAIL_BEGIN

inline constexpr int net_again = -EAGAIN;
inline constexpr int net_in_use = -EADDRINUSE;
inline constexpr int net_not_ours = -EEXIST;
inline constexpr int net_unsupported = -EOPNOTSUPP;
inline constexpr short net_readable = POLLIN;
inline constexpr short net_writable = POLLOUT;
#ifdef POLLRDHUP
inline constexpr short net_hangup = POLLRDHUP;
#else
inline constexpr short net_hangup = 0x2000;  // hidden without _GNU_SOURCE; asm-generic/poll.h
#endif
inline constexpr short net_gone = net_hangup | POLLHUP | POLLERR | POLLNVAL;

static_assert(sizeof(net_wait) == sizeof(pollfd) &&
                  offsetof(net_wait, wanted) == offsetof(pollfd, events) &&
                  offsetof(net_wait, happened) == offsetof(pollfd, revents),
              "net_wait is passed to ppoll as it is");

// An endpoint as bind(2) wants it.
struct net_name {
  union {
    sockaddr any;
    sockaddr_in ip4;
    sockaddr_in6 ip6;
    sockaddr_un path;
  };
  std::uint32_t size = 0;
};

inline net_name net_name_of(const net_endpoint& where) noexcept {
  net_name name;
  std::memset(&name.path, 0, sizeof name.path);  // the largest member
  if (where.type == net_endpoint::kind::ip4) {
    name.ip4.sin_family = AF_INET;
    name.ip4.sin_port = htons(where.port);
    std::memcpy(&name.ip4.sin_addr, where.ip, 4);
    name.size = sizeof name.ip4;
  } else if (where.type == net_endpoint::kind::ip6) {
    name.ip6.sin6_family = AF_INET6;
    name.ip6.sin6_port = htons(where.port);
    std::memcpy(&name.ip6.sin6_addr, where.ip, 16);
    name.size = sizeof name.ip6;
  } else {
    static_assert(sizeof name.path.sun_path == sizeof where.path);
    name.path.sun_family = AF_UNIX;
    std::memcpy(name.path.sun_path, where.path, sizeof where.path);
    name.size = sizeof name.path;
  }
  return name;
}

inline int net_open(int family) noexcept {
  return static_cast<int>(
      os_call_sig(SYS_socket, family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}
inline int net_bind(int socket, const net_name& name) noexcept {
  return static_cast<int>(os_call_sig(SYS_bind, socket, os_word(&name.any), name.size));
}
inline int net_stat(const char* path, struct stat& found) noexcept {
  return static_cast<int>(
      os_call_sig(SYS_newfstatat, AT_FDCWD, os_word(path), os_word(&found), AT_SYMLINK_NOFOLLOW));
}
inline int net_unlink(const char* path) noexcept {
  return static_cast<int>(os_call_sig(SYS_unlinkat, AT_FDCWD, os_word(path), 0));
}

inline int net_bind_port(int socket, const net_name& name, net_listener& listener) noexcept {
  const int yes = 1;  // a restart need not wait for the old connections' TIME_WAIT, socket(7)
  os_call_sig(SYS_setsockopt, socket, SOL_SOCKET, SO_REUSEADDR, os_word(&yes), sizeof yes);
  const int answer = net_bind(socket, name);
  if (answer != 0) return answer;
  net_name bound = name;
  std::uint32_t size = sizeof bound.path;
  os_call_sig(SYS_getsockname, socket, os_word(&bound.any), os_word(&size));
  const bool is_ip4 = name.any.sa_family == AF_INET;
  listener.port = ntohs(is_ip4 ? bound.ip4.sin_port : bound.ip6.sin6_port);
  return 0;
}

// Makes way for bind: 0 when the path is free now. Two processes that start on one stale path in
// the same instant may both come this far; the later one then has the path.
inline int net_remove_stale(const char* path, const net_name& name) noexcept {
  struct stat found;
  const int answer = net_stat(path, found);
  if (answer == -ENOENT) return 0;
  if (answer != 0) return answer;
  const auto user = static_cast<std::uint32_t>(os_call_sig(SYS_geteuid));
  if (!S_ISSOCK(found.st_mode) || found.st_uid != user) return net_not_ours;
  const int trial = net_open(AF_UNIX);
  if (trial < 0) return trial;
  const long reply = os_call_sig(SYS_connect, trial, os_word(&name.any), name.size);
  os_close_sig(trial);
  return reply == -ECONNREFUSED ? net_unlink(path) : net_in_use;
}

inline int net_bind_path(int socket, const char* path, const net_name& name,
                         net_listener& listener) noexcept {
  // The file gets the mode of the socket's own inode less the umask (unix_bind in the kernel's
  // net/unix/af_unix.c), so that it is 0600 from the start and the process-wide umask is left
  // alone. Checked below, before listen: until then nobody can connect.
  os_call_sig(SYS_fchmod, socket, 0600);
  int answer = net_bind(socket, name);
  if (answer == -EADDRINUSE) {
    answer = net_remove_stale(path, name);
    if (answer == 0) answer = net_bind(socket, name);
  }
  if (answer != 0) return answer;
  struct stat made;
  answer = net_stat(path, made);
  if (answer != 0) return answer;
  listener.device = made.st_dev;
  listener.inode = made.st_ino;
  return (made.st_mode & 077) == 0 ? 0 : -EPERM;
}

inline void os_unlisten(const net_endpoint& where, net_listener& listener) noexcept {
  struct stat found;
  if (listener.inode != 0 && net_stat(where.path, found) == 0 && found.st_dev == listener.device &&
      found.st_ino == listener.inode) {
    net_unlink(where.path);
  }
  const int socket = listener.socket;
  listener = net_listener{};  // before it is closed: a fork must not find a number that is reused
  if (socket >= 0) os_close_sig(socket);
}

inline int os_listen(const net_endpoint& where, int backlog, net_listener& listener) noexcept {
  listener = net_listener{};
  const net_name name = net_name_of(where);
  listener.socket = net_open(name.any.sa_family);
  if (listener.socket < 0) return listener.socket;
  int answer = where.type == net_endpoint::kind::path
                   ? net_bind_path(listener.socket, where.path, name, listener)
                   : net_bind_port(listener.socket, name, listener);
  if (answer == 0) {
    answer = static_cast<int>(os_call_sig(SYS_listen, listener.socket, backlog));
  }
  if (answer != 0) os_unlisten(where, listener);
  return answer;
}

// EINTR means "later" too: the caller's loop comes back anyway.
inline long net_answer(long answer) noexcept {
  return answer == -EINTR ? net_again : answer;
}

inline int os_accept(int listener) noexcept {
  const long socket =
      net_answer(os_call_sig(SYS_accept4, listener, 0, 0, SOCK_CLOEXEC | SOCK_NONBLOCK));
  // A pipelined answer does not wait 40 ms for the delayed ACK of the one before.
  const int yes = 1;
  if (socket >= 0) {  // refused by Unix sockets, which have no such delay
    os_call_sig(SYS_setsockopt, socket, IPPROTO_TCP, TCP_NODELAY, os_word(&yes), sizeof yes);
  }
  return static_cast<int>(socket);
}
inline long os_receive(int socket, void* to, std::size_t size) noexcept {
  return net_answer(
      os_call_sig(SYS_recvfrom, socket, os_word(to), static_cast<long>(size), 0, 0, 0));
}
inline long os_send(int socket, text_view first, text_view second) noexcept {
  iovec parts[] = {{const_cast<char*>(first.data), first.size}, {const_cast<char*>(second.data), second.size}};
  msghdr message;
  std::memset(&message, 0, sizeof message);
  message.msg_iov = parts;
  message.msg_iovlen = 2;
  return net_answer(os_call_sig(SYS_sendmsg, socket, os_word(&message), MSG_NOSIGNAL));
}
inline void os_shutdown_write(int socket) noexcept {
  os_call_sig(SYS_shutdown, socket, SHUT_WR);
}
inline void os_close_socket(int socket) noexcept {
  os_close_sig(socket);
}

inline int os_wait(net_wait* waits, std::size_t count, std::uint64_t timeout_ns) noexcept {
  for (std::size_t i = 0; i < count; ++i) waits[i].happened = 0;
  timespec left = os_timespec(timeout_ns);  // ppoll, because aarch64 has no poll; it writes here
  const long answer = os_call_sig(SYS_ppoll, os_word(waits), static_cast<long>(count),
                                  timeout_ns == net_forever ? 0 : os_word(&left), 0, 8);
  return answer == -EINTR ? 0 : static_cast<int>(answer);
}

inline int os_make_event() noexcept {
  return static_cast<int>(os_call_sig(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK));
}
inline void os_raise_event(int event) noexcept {
  const std::uint64_t one = 1;
  os_call_sig(SYS_write, event, os_word(&one), sizeof one);
}
inline void os_clear_event(int event) noexcept {
  std::uint64_t raised = 0;
  os_call_sig(SYS_read, event, os_word(&raised), sizeof raised);
}

PROF_DETAIL_END

#endif  // PROF_OS_LINUX_NET_HPP
