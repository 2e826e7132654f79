// prof/hook/blocking.hpp - sleeping, polling, reading and accepting in the whole program: calls that wait for time or for
// descriptors.
// Floor 9 (hook). Defines foreign symbols; what it sees goes to sample/block.hpp. Included where
//          PROF_ENABLE_BLOCK_SYSCALLS is on.
// Safety: as hook/waiting.hpp. All are cancellation points (pthreads(7)): a wait may end by unwinding.
// Memory: none.
// Source: nanosleep(2), poll(2), select(2), epoll_wait(2), read(2), recv(2), accept(2); the LSB's checked variants
//         (__read_chk and others), which compilers call under _FORTIFY_SOURCE. While the block profile is on, a call at a
//         descriptor first asks whether it would wait (two system calls, os_would_wait_sig), so that reads of files and
//         of what has arrived are no waits; who polls or sleeps without time does not wait either.
#ifndef PROF_HOOK_BLOCKING_HPP
#define PROF_HOOK_BLOCKING_HPP

#include "prof/hook/waiting.hpp"
#include "prof/os/linux_waits.hpp"

PROF_DETAIL_BEGIN

// X(identifier, symbol, result, parameters, arguments); the order of status().
#define PROF_DETAIL_BLOCKING_ENTRIES(X)                                                                             \
  X(nanosleep, "nanosleep", int, (const timespec* time, timespec* left), (time, left))                              \
  X(clock_nanosleep, "clock_nanosleep", int, (clockid_t clock, int flags, const timespec* time, timespec* left),    \
    (clock, flags, time, left))                                                                                     \
  X(usleep, "usleep", int, (useconds_t us), (us))                                                                   \
  X(sleep, "sleep", unsigned, (unsigned seconds), (seconds))                                                        \
  X(poll, "poll", int, (pollfd * asked, nfds_t count, int ms), (asked, count, ms))                                  \
  X(poll_chk, "__poll_chk", int, (pollfd * asked, nfds_t count, int ms, std::size_t room), (asked, count, ms, room)) \
  X(ppoll, "ppoll", int, (pollfd * asked, nfds_t count, const timespec* until, const sigset_t* mask),               \
    (asked, count, until, mask))                                                                                    \
  X(ppoll_chk, "__ppoll_chk", int,                                                                                  \
    (pollfd * asked, nfds_t count, const timespec* until, const sigset_t* mask, std::size_t room),                  \
    (asked, count, until, mask, room))                                                                              \
  X(select, "select", int, (int count, fd_set* to_read, fd_set* to_write, fd_set* other, timeval* until),           \
    (count, to_read, to_write, other, until))                                                                       \
  X(pselect, "pselect", int,                                                                                        \
    (int count, fd_set* to_read, fd_set* to_write, fd_set* other, const timespec* until, const sigset_t* mask),     \
    (count, to_read, to_write, other, until, mask))                                                                 \
  X(epoll_wait, "epoll_wait", int, (int epoll, epoll_event* events, int room, int ms), (epoll, events, room, ms))   \
  X(epoll_pwait, "epoll_pwait", int, (int epoll, epoll_event* events, int room, int ms, const sigset_t* mask),      \
    (epoll, events, room, ms, mask))                                                                                \
  X(read, "read", ssize_t, (int file, void* to, std::size_t size), (file, to, size))                                \
  X(read_chk, "__read_chk", ssize_t, (int file, void* to, std::size_t size, std::size_t room),                      \
    (file, to, size, room))                                                                                         \
  X(readv, "readv", ssize_t, (int file, const iovec* to, int count), (file, to, count))                             \
  X(recv, "recv", ssize_t, (int socket, void* to, std::size_t size, int flags), (socket, to, size, flags))          \
  X(recv_chk, "__recv_chk", ssize_t, (int socket, void* to, std::size_t size, std::size_t room, int flags),         \
    (socket, to, size, room, flags))                                                                                \
  X(recvfrom, "recvfrom", ssize_t,                                                                                  \
    (int socket, void* to, std::size_t size, int flags, sockaddr* from, socklen_t* from_size),                      \
    (socket, to, size, flags, from, from_size))                                                                     \
  X(recvfrom_chk, "__recvfrom_chk", ssize_t,                                                                        \
    (int socket, void* to, std::size_t size, std::size_t room, int flags, sockaddr* from, socklen_t* from_size),    \
    (socket, to, size, room, flags, from, from_size))                                                               \
  X(recvmsg, "recvmsg", ssize_t, (int socket, msghdr* to, int flags), (socket, to, flags))                          \
  X(accept, "accept", int, (int socket, sockaddr* from, socklen_t* from_size), (socket, from, from_size))           \
  X(accept4, "accept4", int, (int socket, sockaddr* from, socklen_t* from_size, int flags),                         \
    (socket, from, from_size, flags))

enum blocking_entry_index : int {
#define PROF_DETAIL_ENUM(identifier, symbol, result, parameters, arguments) blocking_entry_##identifier,
  PROF_DETAIL_BLOCKING_ENTRIES(PROF_DETAIL_ENUM)
#undef PROF_DETAIL_ENUM
      blocking_entry_count
};
static_assert(blocking_entry_count <= max_wait_entries);

inline std::atomic<hook_role> blocking_role{hook_role::unresolved};
inline std::atomic<std::uint32_t> blocking_resolver{0};
inline hook_record blocking_records[blocking_entry_count] = {
#define PROF_DETAIL_RECORD(identifier, symbol, result, parameters, arguments) {symbol, {"unknown"}, {"not called yet"}},
    PROF_DETAIL_BLOCKING_ENTRIES(PROF_DETAIL_RECORD)
#undef PROF_DETAIL_RECORD
};
const hook_set& blocking_hooks() PROF_DETAIL_SIG;

// ---- the entries --------------------------------------------------------------------------------------------------

// Waits until a time, or for what it is told of.
template <class Tag, wait_kind Kind, class Signature>
struct timed_entry;
template <class Tag, wait_kind Kind, class R, class... Args>
struct timed_entry<Tag, Kind, R(Args...)> : plain_wait_entry<Tag, R(Args...)> {
  static constexpr wait_kind kind = Kind;
  static const hook_set& set() PROF_DETAIL_SIG { return blocking_hooks(); }
  static const volatile void* object(Args...) PROF_DETAIL_SIG { return nullptr; }
};

// Waits at the descriptor that is the first argument. flags(rest...): those of recv(2).
template <class Tag, wait_kind Kind, class Signature>
struct descriptor_entry;
template <class Tag, wait_kind Kind, class R, class... Rest>
struct descriptor_entry<Tag, Kind, R(int, Rest...)> : plain_wait_entry<Tag, R(int, Rest...)> {
  static constexpr wait_kind kind = Kind;
  static const hook_set& set() PROF_DETAIL_SIG { return blocking_hooks(); }
  static const volatile void* object(int descriptor, Rest...) PROF_DETAIL_SIG {
    return reinterpret_cast<const void*>(static_cast<std::intptr_t>(descriptor));
  }
  static int flags(Rest...) PROF_DETAIL_SIG { return 0; }
  static bool may_wait(int descriptor, Rest... rest) PROF_DETAIL_SIG {
    return (Tag::flags(rest...) & MSG_DONTWAIT) == 0 && os_would_wait_sig(descriptor);
  }
};

template <class Time>
bool is_some_time_sig(const Time* time) PROF_DETAIL_SIG {
  static constexpr Time none{};
  return time == nullptr || std::memcmp(time, &none, sizeof none) != 0;
}
// As libc's checked variants: the caller asks for more than its buffer holds.
inline void check_room(std::size_t size, std::size_t room) {
  if (size > room) __builtin_trap();
}

struct nanosleep_entry : timed_entry<nanosleep_entry, wait_kind::sleep, int(const timespec*, timespec*)> {
  static constexpr int index = blocking_entry_nanosleep;
  static bool may_wait(const timespec*, timespec*) PROF_DETAIL_SIG { return true; }
  static int fallback(const timespec* time, timespec* left) {
    return static_cast<int>(os_cancellable_call(SYS_nanosleep, os_word(time), os_word(left), 0));
  }
};
struct clock_nanosleep_entry
    : timed_entry<clock_nanosleep_entry, wait_kind::sleep, int(clockid_t, int, const timespec*, timespec*)> {
  static constexpr int index = blocking_entry_clock_nanosleep;
  static bool may_wait(clockid_t, int, const timespec*, timespec*) PROF_DETAIL_SIG { return true; }
  static int fallback(clockid_t clock, int flags, const timespec* time, timespec* left) {
    return os_wait_clock(clock, flags, time, left);
  }
};
struct usleep_entry : timed_entry<usleep_entry, wait_kind::sleep, int(useconds_t)> {
  static constexpr int index = blocking_entry_usleep;
  static bool may_wait(useconds_t us) PROF_DETAIL_SIG { return us != 0; }
  static int fallback(useconds_t us) {
    const timespec time = os_timespec(std::uint64_t{us} * 1000);
    return nanosleep_entry::fallback(&time, nullptr);
  }
};
struct sleep_entry : timed_entry<sleep_entry, wait_kind::sleep, unsigned(unsigned)> {
  static constexpr int index = blocking_entry_sleep;
  static bool may_wait(unsigned seconds) PROF_DETAIL_SIG { return seconds != 0; }
  static unsigned fallback(unsigned seconds) {
    timespec left = os_timespec(std::uint64_t{seconds} * 1000000000);
    return nanosleep_entry::fallback(&left, &left) == 0 ? 0 : static_cast<unsigned>(left.tv_sec);
  }
};

struct poll_entry : timed_entry<poll_entry, wait_kind::poll, int(pollfd*, nfds_t, int)> {
  static constexpr int index = blocking_entry_poll;
  static bool may_wait(pollfd*, nfds_t, int ms) PROF_DETAIL_SIG { return ms != 0; }
  static int fallback(pollfd* asked, nfds_t count, int ms) { return os_wait_poll(asked, count, ms); }
};
struct poll_chk_entry : timed_entry<poll_chk_entry, wait_kind::poll, int(pollfd*, nfds_t, int, std::size_t)> {
  static constexpr int index = blocking_entry_poll_chk;
  static bool may_wait(pollfd*, nfds_t, int ms, std::size_t) PROF_DETAIL_SIG { return ms != 0; }
  static int fallback(pollfd* asked, nfds_t count, int ms, std::size_t room) {
    check_room(count, room / sizeof(pollfd));
    return os_wait_poll(asked, count, ms);
  }
};
struct ppoll_entry
    : timed_entry<ppoll_entry, wait_kind::poll, int(pollfd*, nfds_t, const timespec*, const sigset_t*)> {
  static constexpr int index = blocking_entry_ppoll;
  static bool may_wait(pollfd*, nfds_t, const timespec* until, const sigset_t*) PROF_DETAIL_SIG {
    return is_some_time_sig(until);
  }
  static int fallback(pollfd* asked, nfds_t count, const timespec* until, const sigset_t* mask) {
    return os_wait_poll(asked, count, until, mask);
  }
};
struct ppoll_chk_entry
    : timed_entry<ppoll_chk_entry, wait_kind::poll, int(pollfd*, nfds_t, const timespec*, const sigset_t*, std::size_t)> {
  static constexpr int index = blocking_entry_ppoll_chk;
  static bool may_wait(pollfd*, nfds_t, const timespec* until, const sigset_t*, std::size_t) PROF_DETAIL_SIG {
    return is_some_time_sig(until);
  }
  static int fallback(pollfd* asked, nfds_t count, const timespec* until, const sigset_t* mask, std::size_t room) {
    check_room(count, room / sizeof(pollfd));
    return os_wait_poll(asked, count, until, mask);
  }
};
struct select_entry : timed_entry<select_entry, wait_kind::poll, int(int, fd_set*, fd_set*, fd_set*, timeval*)> {
  static constexpr int index = blocking_entry_select;
  static bool may_wait(int, fd_set*, fd_set*, fd_set*, timeval* until) PROF_DETAIL_SIG { return is_some_time_sig(until); }
  static int fallback(int count, fd_set* to_read, fd_set* to_write, fd_set* other, timeval* until) {
    return os_wait_select(count, to_read, to_write, other, until);
  }
};
struct pselect_entry
    : timed_entry<pselect_entry, wait_kind::poll, int(int, fd_set*, fd_set*, fd_set*, const timespec*, const sigset_t*)> {
  static constexpr int index = blocking_entry_pselect;
  static bool may_wait(int, fd_set*, fd_set*, fd_set*, const timespec* until, const sigset_t*) PROF_DETAIL_SIG {
    return is_some_time_sig(until);
  }
  static int fallback(int count, fd_set* to_read, fd_set* to_write, fd_set* other, const timespec* until,
                      const sigset_t* mask) {
    timespec left = until != nullptr ? *until : timespec{};
    return os_wait_select(count, to_read, to_write, other, until != nullptr ? &left : nullptr, mask);
  }
};
struct epoll_wait_entry : timed_entry<epoll_wait_entry, wait_kind::poll, int(int, epoll_event*, int, int)> {
  static constexpr int index = blocking_entry_epoll_wait;
  static bool may_wait(int, epoll_event*, int, int ms) PROF_DETAIL_SIG { return ms != 0; }
  static int fallback(int epoll, epoll_event* events, int room, int ms) {
    return os_wait_epoll(epoll, events, room, ms, nullptr);
  }
};
struct epoll_pwait_entry
    : timed_entry<epoll_pwait_entry, wait_kind::poll, int(int, epoll_event*, int, int, const sigset_t*)> {
  static constexpr int index = blocking_entry_epoll_pwait;
  static bool may_wait(int, epoll_event*, int, int ms, const sigset_t*) PROF_DETAIL_SIG { return ms != 0; }
  static int fallback(int epoll, epoll_event* events, int room, int ms, const sigset_t* mask) {
    return os_wait_epoll(epoll, events, room, ms, mask);
  }
};

struct read_entry : descriptor_entry<read_entry, wait_kind::read, ssize_t(int, void*, std::size_t)> {
  static constexpr int index = blocking_entry_read;
  static ssize_t fallback(int file, void* to, std::size_t size) {
    return os_cancellable_call(SYS_read, file, os_word(to), static_cast<long>(size));
  }
};
struct read_chk_entry : descriptor_entry<read_chk_entry, wait_kind::read, ssize_t(int, void*, std::size_t, std::size_t)> {
  static constexpr int index = blocking_entry_read_chk;
  static ssize_t fallback(int file, void* to, std::size_t size, std::size_t room) {
    check_room(size, room);
    return read_entry::fallback(file, to, size);
  }
};
struct readv_entry : descriptor_entry<readv_entry, wait_kind::read, ssize_t(int, const iovec*, int)> {
  static constexpr int index = blocking_entry_readv;
  static ssize_t fallback(int file, const iovec* to, int count) {
    return os_cancellable_call(SYS_readv, file, os_word(to), count);
  }
};
struct recvfrom_entry
    : descriptor_entry<recvfrom_entry, wait_kind::read, ssize_t(int, void*, std::size_t, int, sockaddr*, socklen_t*)> {
  static constexpr int index = blocking_entry_recvfrom;
  static int flags(void*, std::size_t, int all, sockaddr*, socklen_t*) PROF_DETAIL_SIG { return all; }
  static ssize_t fallback(int socket, void* to, std::size_t size, int all, sockaddr* from, socklen_t* from_size) {
    return os_cancellable_call(SYS_recvfrom, socket, os_word(to), static_cast<long>(size), all, os_word(from),
                               os_word(from_size));
  }
};
struct recvfrom_chk_entry
    : descriptor_entry<recvfrom_chk_entry, wait_kind::read,
                       ssize_t(int, void*, std::size_t, std::size_t, int, sockaddr*, socklen_t*)> {
  static constexpr int index = blocking_entry_recvfrom_chk;
  static int flags(void*, std::size_t, std::size_t, int all, sockaddr*, socklen_t*) PROF_DETAIL_SIG { return all; }
  static ssize_t fallback(int socket, void* to, std::size_t size, std::size_t room, int all, sockaddr* from,
                          socklen_t* from_size) {
    check_room(size, room);
    return recvfrom_entry::fallback(socket, to, size, all, from, from_size);
  }
};
struct recv_entry : descriptor_entry<recv_entry, wait_kind::read, ssize_t(int, void*, std::size_t, int)> {
  static constexpr int index = blocking_entry_recv;
  static int flags(void*, std::size_t, int all) PROF_DETAIL_SIG { return all; }
  static ssize_t fallback(int socket, void* to, std::size_t size, int all) {
    return recvfrom_entry::fallback(socket, to, size, all, nullptr, nullptr);
  }
};
struct recv_chk_entry
    : descriptor_entry<recv_chk_entry, wait_kind::read, ssize_t(int, void*, std::size_t, std::size_t, int)> {
  static constexpr int index = blocking_entry_recv_chk;
  static int flags(void*, std::size_t, std::size_t, int all) PROF_DETAIL_SIG { return all; }
  static ssize_t fallback(int socket, void* to, std::size_t size, std::size_t room, int all) {
    return recvfrom_chk_entry::fallback(socket, to, size, room, all, nullptr, nullptr);
  }
};
struct recvmsg_entry : descriptor_entry<recvmsg_entry, wait_kind::read, ssize_t(int, msghdr*, int)> {
  static constexpr int index = blocking_entry_recvmsg;
  static int flags(msghdr*, int all) PROF_DETAIL_SIG { return all; }
  static ssize_t fallback(int socket, msghdr* to, int all) {
    return os_cancellable_call(SYS_recvmsg, socket, os_word(to), all);
  }
};
struct accept4_entry : descriptor_entry<accept4_entry, wait_kind::accept, int(int, sockaddr*, socklen_t*, int)> {
  static constexpr int index = blocking_entry_accept4;
  static int fallback(int socket, sockaddr* from, socklen_t* from_size, int of_new) {
    return static_cast<int>(os_cancellable_call(SYS_accept4, socket, os_word(from), os_word(from_size), of_new));
  }
};
struct accept_entry : descriptor_entry<accept_entry, wait_kind::accept, int(int, sockaddr*, socklen_t*)> {
  static constexpr int index = blocking_entry_accept;
  static int fallback(int socket, sockaddr* from, socklen_t* from_size) {
    return accept4_entry::fallback(socket, from, from_size, 0);
  }
};

// ---- the family ----------------------------------------------------------------------------------------------------

void test_blocking_hooks() noexcept;
inline void blocking_rates_changed() noexcept;
extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const hook_family_part prof_hooks_blocking_v2 = {
    hook_family_magic, blocking_records, blocking_entry_count, &test_blocking_hooks, &blocking_rates_changed};

PROF_DETAIL_END

// ---- the symbols. Under other names, for headers have inline functions of these under _FORTIFY_SOURCE. ----------------

extern "C" {
// NOLINTBEGIN(bugprone-macro-parentheses): the arguments are in parentheses already
#define PROF_DETAIL_SYMBOL(identifier, symbol, result, parameters, arguments)              \
  PROF_DETAIL_HOOKED result prof_hooked_##identifier parameters __asm__(symbol);           \
  PROF_DETAIL_HOOKED result prof_hooked_##identifier parameters {                          \
    return ::prof::detail::identifier##_entry::state.route.load(::prof::detail::route_order) arguments; \
  }
PROF_DETAIL_BLOCKING_ENTRIES(PROF_DETAIL_SYMBOL)
#undef PROF_DETAIL_SYMBOL
// NOLINTEND(bugprone-macro-parentheses)
// The same symbols, as callers see them that know nothing of ours.
#define PROF_DETAIL_CALL(identifier, symbol, result, parameters, arguments) \
  result prof_call_##identifier parameters __asm__(symbol);
PROF_DETAIL_BLOCKING_ENTRIES(PROF_DETAIL_CALL)
#undef PROF_DETAIL_CALL
}

PROF_DETAIL_BEGIN

inline constexpr hook_entry_facts blocking_facts[blocking_entry_count] = {
#define PROF_DETAIL_FACTS(identifier, symbol, result, parameters, arguments) \
  facts_of<identifier##_entry, &::prof_hooked_##identifier>(for_block),
    PROF_DETAIL_BLOCKING_ENTRIES(PROF_DETAIL_FACTS)
#undef PROF_DETAIL_FACTS
};
static_assert(facts_are_in_order(blocking_facts));
inline constexpr hook_set blocking_hook_set = {
    hook_family::blocking, &prof_hooks_blocking_v2, blocking_facts,       blocking_records,
    &blocking_role,        &blocking_resolver,      blocking_entry_count, nullptr,
    &first_wait_target_sig};
inline const hook_set& blocking_hooks() PROF_DETAIL_SIG { return blocking_hook_set; }
inline void blocking_rates_changed() noexcept { wait_rates_changed(blocking_hooks()); }

// Nothing of this waits or reads: there is no such descriptor, and no time.
inline void call_blocking_symbol(int entry) noexcept {
  constexpr int none = -1;
  const timespec at_once{};
  timeval no_time{};
  switch (entry) {
    case blocking_entry_nanosleep: (void)prof_call_nanosleep(&at_once, nullptr); break;
    case blocking_entry_clock_nanosleep: (void)prof_call_clock_nanosleep(CLOCK_MONOTONIC, 0, &at_once, nullptr); break;
    case blocking_entry_usleep: (void)prof_call_usleep(0); break;
    case blocking_entry_sleep: (void)prof_call_sleep(0); break;
    case blocking_entry_poll: (void)prof_call_poll(nullptr, 0, 0); break;
    case blocking_entry_poll_chk: (void)prof_call_poll_chk(nullptr, 0, 0, 0); break;
    case blocking_entry_ppoll: (void)prof_call_ppoll(nullptr, 0, &at_once, nullptr); break;
    case blocking_entry_ppoll_chk: (void)prof_call_ppoll_chk(nullptr, 0, &at_once, nullptr, 0); break;
    case blocking_entry_select: (void)prof_call_select(0, nullptr, nullptr, nullptr, &no_time); break;
    case blocking_entry_pselect: (void)prof_call_pselect(0, nullptr, nullptr, nullptr, &at_once, nullptr); break;
    case blocking_entry_epoll_wait: (void)prof_call_epoll_wait(none, nullptr, 1, 0); break;
    case blocking_entry_epoll_pwait: (void)prof_call_epoll_pwait(none, nullptr, 1, 0, nullptr); break;
    case blocking_entry_read: (void)prof_call_read(none, nullptr, 0); break;
    case blocking_entry_read_chk: (void)prof_call_read_chk(none, nullptr, 0, 0); break;
    case blocking_entry_readv: (void)prof_call_readv(none, nullptr, 0); break;
    case blocking_entry_recv: (void)prof_call_recv(none, nullptr, 0, 0); break;
    case blocking_entry_recv_chk: (void)prof_call_recv_chk(none, nullptr, 0, 0, 0); break;
    case blocking_entry_recvfrom: (void)prof_call_recvfrom(none, nullptr, 0, 0, nullptr, nullptr); break;
    case blocking_entry_recvfrom_chk: (void)prof_call_recvfrom_chk(none, nullptr, 0, 0, 0, nullptr, nullptr); break;
    case blocking_entry_recvmsg: (void)prof_call_recvmsg(none, nullptr, 0); break;
    case blocking_entry_accept: (void)prof_call_accept(none, nullptr, nullptr); break;
    default: (void)prof_call_accept4(none, nullptr, nullptr, 0);
  }
}
inline std::atomic<bool> blocking_hooks_tested{false};
PROF_DETAIL_COLD inline void test_blocking_hooks() noexcept {
  const errno_guard keep_errno;
  test_wait_hooks_once(blocking_hooks(), blocking_hooks_tested, &call_blocking_symbol);
}

PROF_DETAIL_END

#endif  // PROF_HOOK_BLOCKING_HPP
