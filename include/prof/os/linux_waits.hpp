// prof/os/linux_waits.hpp - the OS contract on Linux: system calls that wait for time or for descriptors.
// Floor 3 (os). Included by hook/blocking.hpp only, for its system headers are some.
// Safety: functions ending in _sig are async-signal-safe. The others stand in for functions of libc where those cannot be
//         reached; like these they set errno, and a thread may be cancelled in them.
// Memory: none.
// Source: poll(2), select(2), fcntl(2) (O_NONBLOCK), pthread_setcanceltype(3), pthreads(7) "Cancellation points". A thread
//         that may be cancelled at any time while it is in one system call is how glibc made its own cancellation points
//         until 2.40.
#ifndef PROF_OS_LINUX_WAITS_HPP
#define PROF_OS_LINUX_WAITS_HPP

#include "prof/os/os.hpp"

#if PROF_DETAIL_OS_LOCKS

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>

PROF_DETAIL_BEGIN

// Whether reading or accepting at a descriptor waits: nothing is there, and it may not answer so (EAGAIN). Two system
// calls; files and what is no descriptor never wait.
inline bool os_would_wait_sig(int descriptor) PROF_DETAIL_SIG {
  pollfd asked{descriptor, POLLIN, 0};
  const timespec at_once{};
  if (os_call_sig(SYS_ppoll, os_word(&asked), 1, os_word(&at_once), 0, 8) != 0) return false;
  return (os_call_sig(SYS_fcntl, descriptor, F_GETFL) & O_NONBLOCK) == 0;
}

inline constexpr long os_signal_set_size = 8;  // of the kernel: 64 signals

// One system call as a cancellation point. As libc's functions answer.
PROF_DETAIL_COLD inline long os_cancellable_call(long number, long a, long b, long c, long d = 0, long e = 0, long f = 0) {
  int before = PTHREAD_CANCEL_DEFERRED;
  (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &before);
  const long answer = os_call_sig(number, a, b, c, d, e, f);
  (void)pthread_setcanceltype(before, nullptr);
  if (answer >= 0 || answer <= -4096) return answer;
  errno = static_cast<int>(-answer);
  return -1;
}

inline timespec os_milliseconds(int ms) PROF_DETAIL_SIG {
  return {ms / 1000, static_cast<long>(ms % 1000) * 1000000};
}
inline int os_wait_poll(pollfd* asked, nfds_t count, const timespec* until, const sigset_t* mask) {
  timespec left = until != nullptr ? *until : timespec{};  // the kernel writes what is left
  return static_cast<int>(os_cancellable_call(SYS_ppoll, os_word(asked), static_cast<long>(count),
                                              until != nullptr ? os_word(&left) : 0, os_word(mask), os_signal_set_size));
}
inline int os_wait_poll(pollfd* asked, nfds_t count, int ms) {
  const timespec until = os_milliseconds(ms);
  return os_wait_poll(asked, count, ms < 0 ? nullptr : &until, nullptr);
}
inline int os_wait_select(int count, fd_set* to_read, fd_set* to_write, fd_set* other, timespec* left,
                          const sigset_t* mask) {
  const long mask_and_size[2] = {os_word(mask), os_signal_set_size};
  return static_cast<int>(os_cancellable_call(SYS_pselect6, count, os_word(to_read), os_word(to_write), os_word(other),
                                              os_word(left), os_word(mask_and_size)));
}
// What is left of the time comes back in `until`, as on Linux.
inline int os_wait_select(int count, fd_set* to_read, fd_set* to_write, fd_set* other, timeval* until) {
  if (until == nullptr) return os_wait_select(count, to_read, to_write, other, static_cast<timespec*>(nullptr), nullptr);
  timespec left{until->tv_sec + until->tv_usec / 1000000, until->tv_usec % 1000000 * 1000};
  const int answer = os_wait_select(count, to_read, to_write, other, &left, nullptr);
  *until = {left.tv_sec, left.tv_nsec / 1000};
  return answer;
}
inline int os_wait_epoll(int epoll, epoll_event* events, int room, int ms, const sigset_t* mask) {
  return static_cast<int>(
      os_cancellable_call(SYS_epoll_pwait, epoll, os_word(events), room, ms, os_word(mask), os_signal_set_size));
}
// 0 or an errno.
inline int os_wait_clock(clockid_t clock, int flags, const timespec* until, timespec* left) {
  const errno_guard keep_errno;
  return os_cancellable_call(SYS_clock_nanosleep, clock, flags, os_word(until), os_word(left)) == 0 ? 0 : errno;
}

PROF_DETAIL_END

#endif  // PROF_DETAIL_OS_LOCKS

#endif  // PROF_OS_LINUX_WAITS_HPP
