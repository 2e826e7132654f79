// prof/os/net.hpp - the OS contract for sockets: what the server asks the system.
// Floor 3 (os). Used by http/ only, so that a program without the server sees no socket header.
// Safety: ordinary context; every call is one or a few system calls, none blocks but os_wait.
//         Failures are negative errnos; none throws, prints, raises SIGPIPE or touches errno.
// Memory: none; the caller owns descriptors and closes them with os_close_sig or os_unlisten.
// Source: os/linux_net.hpp names the man pages; elsewhere every call answers "unsupported".
#ifndef PROF_OS_NET_HPP
#define PROF_OS_NET_HPP

#include "prof/os/os.hpp"

PROF_DETAIL_BEGIN

// Where to listen: a numeric address and port, or the path of a Unix socket.
struct net_endpoint {
  enum class kind : unsigned char { none, ip4, ip6, path };
  kind type = kind::none;
  std::uint16_t port = 0;
  unsigned char ip[16] = {};  // network order; ip4 uses the first four
  char path[108] = {};        // NUL-terminated; 108 is sun_path of unix(7)
};

// A listening socket. device and inode say which file a Unix socket made.
struct net_listener {
  int socket = -1;
  std::uint16_t port = 0;  // the bound one when 0 was asked for
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
};

// One descriptor to wait for; a negative one is skipped. The layout of struct pollfd.
struct net_wait {
  int socket = -1;
  short wanted = 0;
  short happened = 0;
};

inline constexpr std::uint64_t net_forever = ~std::uint64_t{0};

PROF_DETAIL_END

#if PROF_DETAIL_OS_LINUX
#include "prof/os/linux_net.hpp"
#else

PROF_DETAIL_BEGIN

inline constexpr int net_again = -1;
inline constexpr int net_in_use = -2;
inline constexpr int net_not_ours = -3;
inline constexpr int net_unsupported = -4;
inline constexpr short net_readable = 1;
inline constexpr short net_writable = 2;
inline constexpr short net_hangup = 4;
inline constexpr short net_gone = 4;

inline int os_listen(const net_endpoint&, int, net_listener&) noexcept {
  return net_unsupported;
}
inline void os_unlisten(const net_endpoint&, net_listener&) noexcept {}
inline int os_accept(int) noexcept {
  return net_unsupported;
}
inline long os_receive(int, void*, std::size_t) noexcept {
  return net_unsupported;
}
inline long os_send(int, text_view, text_view) noexcept {
  return net_unsupported;
}
inline void os_shutdown_write(int) noexcept {}
inline void os_close_socket(int) noexcept {}
inline int os_wait(net_wait*, std::size_t, std::uint64_t) noexcept {
  return net_unsupported;
}
inline int os_make_event() noexcept {
  return net_unsupported;
}
inline void os_raise_event(int) noexcept {}
inline void os_clear_event(int) noexcept {}

PROF_DETAIL_END

#endif

PROF_DETAIL_BEGIN

// ---- the contract ------------------------------------------------------------------------------

// Named answers, all negative: try again later; someone listens there; the path holds something
// that is not a stale socket of this user; this system has no sockets.
//   net_again, net_in_use, net_not_ours, net_unsupported
// Events of net_wait: bytes or an end to receive; room to send; the peer closed its side (to be
// asked for); what `happened` shows of a peer that is gone.
//   net_readable, net_writable, net_hangup, net_gone

// 0 or a negative errno. A Unix socket has mode 0600 from its first moment; a stale one in the way
// is removed when it is a socket of this user that nobody answers on.
int os_listen(const net_endpoint& where, int backlog, net_listener& listener) noexcept;
// Closes, and removes the file of a Unix socket if it is still the one os_listen made.
void os_unlisten(const net_endpoint& where, net_listener& listener) noexcept;
// A non-blocking, close-on-exec connection, net_again, or a negative errno.
int os_accept(int listener) noexcept;
// The bytes received, 0 at the peer's end, net_again, or a negative errno.
long os_receive(int socket, void* to, std::size_t size) noexcept;
// Sends one text and behind it another, either of which may be empty. The bytes taken, net_again, or a negative errno.
long os_send(int socket, text_view first, text_view second) noexcept;
void os_shutdown_write(int socket) noexcept;
void os_close_socket(int socket) noexcept;
// Waits for the first event; the number of descriptors with one, 0 when time is up or a signal
// came, or a negative errno.
int os_wait(net_wait* waits, std::size_t count, std::uint64_t timeout_ns) noexcept;
// A descriptor that becomes readable when raised from any thread, and stays so until it is cleared.
int os_make_event() noexcept;
void os_raise_event(int event) noexcept;
void os_clear_event(int event) noexcept;

PROF_DETAIL_END

#endif  // PROF_OS_NET_HPP
