// tests/unit/os/linux_call_test.cpp - a system call gets its arguments and answers as the kernel does, without errno.

#include "prof/os/linux_call.hpp"

#include <doctest/doctest.h>

#if defined(__linux__)

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

TEST_CASE("a system call answers as the kernel does") {
  using prof::detail::os_call_sig;
  errno = 77;
  CHECK(os_call_sig(SYS_getpid) == getpid());
  CHECK(os_call_sig(SYS_close, -1) == -EBADF);
  CHECK(errno == 77);
}

TEST_CASE("a system call gets all six arguments in order") {
  using prof::detail::os_call_sig;
  using prof::detail::os_word;
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  CHECK(os_call_sig(SYS_write, ends[1], os_word("abcdef"), 6) == 6);
  char to[4] = {};
  CHECK(os_call_sig(SYS_read, ends[0], os_word(to), 3) == 3);
  CHECK(to[0] == 'a');
  CHECK(to[2] == 'c');
  CHECK(to[3] == 0);
  const long pages = os_call_sig(SYS_mmap, 0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(pages > 0);
  CHECK(os_call_sig(SYS_munmap, pages, 8192) == 0);
  CHECK(os_call_sig(SYS_mmap, 0, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 1) == -EINVAL);  // the sixth
  close(ends[0]);
  close(ends[1]);
}

#endif
