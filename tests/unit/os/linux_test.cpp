// tests/unit/os/linux_test.cpp - what is particular to Linux: maps lines, files, SIGPIPE.

#include "prof/os/os.hpp"

#include <doctest/doctest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

std::string path_of(const os_mapping& mapping) {
  return std::string(mapping.path.data, mapping.path.size);
}

}  // namespace

TEST_CASE("raw system calls answer with -errno and leave errno alone") {
  errno = 77;
  CHECK(os_call_sig(SYS_close, -1) == -EBADF);
  CHECK(os_call_sig(SYS_getpid) == getpid());
  CHECK(errno == 77);
}

TEST_CASE("errno_guard gives errno back") {
  errno = 5;
  {
    const errno_guard keep;
    errno = 9;
  }
  CHECK(errno == 5);
}

namespace {

// From now on that system call answers EPERM. False: there are no filters here.
bool refuse(unsigned number) {
  sock_filter code[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, number},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  };
  const sock_fprog program{sizeof code / sizeof code[0], code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

// The number of the first check that does not hold; 0: all hold; 99: nothing could be refused.
int copies_by_probes() {
  if (!refuse(SYS_process_vm_readv)) return 99;
  char* const pages = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  std::memset(pages, 7, 8192);
  munmap(pages + 4096, 4096);
  const auto at = reinterpret_cast<std::uintptr_t>(pages);
  char copy[64] = "";
  if (!os_copy_sig(copy, at + 4096 - sizeof copy, sizeof copy) || copy[63] != 7) return 1;
  if (os_copy_sig(copy, at + 4096 - sizeof copy + 1, sizeof copy)) return 2;
  for (std::uintptr_t back = 0; back < 2 * sizeof copy; ++back) {
    if (os_copy_sig(copy, ~std::uintptr_t{0} - back, sizeof copy)) return 3;
  }
  return os_copy_sig(copy, 0, sizeof copy) ? 4 : 0;
}

}  // namespace

TEST_CASE("where a filter refuses process_vm_readv, pages are probed, up to the end of the address space") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) _exit(copies_by_probes());
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
#if defined(__x86_64__)
  CHECK(WEXITSTATUS(status) == 0);
#else  // an emulator has no filters
  CHECK((WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99));
#endif
}

TEST_CASE("a line of the maps file is taken apart") {
  const os_mapping code = os_parse_mapping_sig(
      "7f0011223000-7f0011345000 r-xp 00026000 fe:01 1234567                    /usr/lib/a b.so");
  CHECK(code.start == 0x7f0011223000);
  CHECK(code.limit == 0x7f0011345000);
  CHECK(code.offset == 0x26000);
  CHECK(code.device == (std::uint64_t{0xfe} << 32 | 1));
  CHECK(code.inode == 1234567);
  CHECK(code.readable);
  CHECK_FALSE(code.writable);
  CHECK(code.executable);
  CHECK_FALSE(code.shared);
  CHECK(path_of(code) == "/usr/lib/a b.so");

  const os_mapping plain = os_parse_mapping_sig("1000-2000 rw-p 00000000 00:00 0 ");
  CHECK(plain.start == 0x1000);
  CHECK(plain.readable);
  CHECK(plain.writable);
  CHECK_FALSE(plain.executable);
  CHECK(os_parse_mapping_sig("1000-2000 rw-s 00000000 00:01 5 ").shared);
  CHECK(plain.device == 0);
  CHECK(plain.inode == 0);
  CHECK(path_of(plain).empty());

  const os_mapping vdso = os_parse_mapping_sig(
      "7fff8b5fe000-7fff8b600000 --xp 00000000 00:00 0                          [vdso]");
  CHECK_FALSE(vdso.readable);
  CHECK(vdso.executable);
  CHECK(path_of(vdso) == "[vdso]");
}

TEST_CASE("a device number is taken apart as the system does it") {
  const unsigned pairs[][2] = {{0, 0}, {8, 1}, {0, 45}, {0xfff, 0xff}, {0x12345, 0x6789ab}, {254, 0xfffff}};
  for (const auto& pair : pairs) {
    CHECK(os_device_of(makedev(pair[0], pair[1])) == (std::uint64_t{pair[0]} << 32 | pair[1]));
  }
}

TEST_CASE("a text is copied to its end, and from nowhere not at all") {
  const std::size_t page = 4096;
  char* const pages =
      static_cast<char*>(mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  REQUIRE(pages != MAP_FAILED);
  REQUIRE(munmap(pages + page, page) == 0);
  char copy[300];
  for (std::size_t length = 0; length < 200; ++length) {
    char* const text = pages + page - length - 1;  // its zero is the last byte that there is
    std::memset(text, 'x', length);
    text[length] = 0;
    CHECK(os_copy_text_sig(copy, reinterpret_cast<std::uintptr_t>(text), sizeof copy) == length);
    CHECK(copy[length] == 0);
    CHECK(std::string(copy, length) == std::string(length, 'x'));
    CHECK((length == 0 || os_copy_text_sig(copy, reinterpret_cast<std::uintptr_t>(text), length) == 0));
  }
  std::memset(pages, 'x', page);  // without an end
  CHECK(os_copy_text_sig(copy, reinterpret_cast<std::uintptr_t>(pages + page - 100), sizeof copy) == 0);
  CHECK(os_copy_text_sig(copy, 0, sizeof copy) == 0);
  munmap(pages, page);
}

TEST_CASE("the line of an address, or none") {
  char here = 0;
  os_mapping found;
  REQUIRE(os_find_mapping_sig(reinterpret_cast<std::uintptr_t>(&here), found));
  CHECK(found.start <= reinterpret_cast<std::uintptr_t>(&here));
  CHECK(found.limit > reinterpret_cast<std::uintptr_t>(&here));
  CHECK(found.writable);
  CHECK(found.path.size == 0);
  // Asked and read it is the same; an older kernel does not know the question.
  const void* const places[] = {&here, reinterpret_cast<const void*>(&path_of), "text", stdout};
  for (const void* const place : places) {
    os_mapping read;
    os_mapping asked;
    const auto address = reinterpret_cast<std::uintptr_t>(place);
    REQUIRE(os_read_mapping_sig(address, read));
    if (os_query_mapping_sig(address, asked) != 0) asked = read;
    CHECK(asked.start == read.start);
    CHECK(asked.limit == read.limit);
    CHECK(asked.offset == read.offset);
    CHECK(asked.device == read.device);
    CHECK(asked.inode == read.inode);
    CHECK(asked.readable == read.readable);
    CHECK(asked.writable == read.writable);
    CHECK(asked.executable == read.executable);
    CHECK(asked.shared == read.shared);
  }
  CHECK_FALSE(os_read_mapping_sig(1, found));
  CHECK_FALSE(os_find_mapping_sig(1, found));
  CHECK_FALSE(os_find_mapping_sig(~std::uintptr_t{4095}, found));
}

TEST_CASE("broken maps lines give something harmless") {
  const std::string line =
      "7f0011223000-7f0011345000 r-xp 00026000 fe:01 1234567                    /usr/lib/a.so";
  for (std::size_t size = 0; size <= line.size(); ++size) {
    const std::string cut = line.substr(0, size);
    const os_mapping mapping = os_parse_mapping_sig({cut.data(), cut.size()});
    CHECK(mapping.path.size <= size);
  }
}

TEST_CASE("files are read in pieces; a missing one is empty") {
  char buffer[64];
  CHECK(os_read_file("/proc/self/comm", buffer, sizeof buffer) > 1);
  CHECK(os_read_file("/proc/self/maps", buffer, sizeof buffer) == sizeof buffer);
  CHECK(os_read_file("/no/such/file", buffer, sizeof buffer) == 0);
}

TEST_CASE("SIGPIPE is swallowed inside the guard and only there") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);
  int os_error = 0;
  {
    const sigpipe_guard quiet;
    CHECK_FALSE(os_write(ends[1], "x", 1, os_error));
  }
  CHECK(os_error == EPIPE);
  sigset_t pending;
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 0);
  sigset_t mask;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  CHECK(sigismember(&mask, SIGPIPE) == 0);
  close(ends[1]);
}

TEST_CASE("a SIGPIPE that waited before the guard still waits after it") {
  sigset_t pipe_only;
  sigemptyset(&pipe_only);
  sigaddset(&pipe_only, SIGPIPE);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
  pthread_kill(pthread_self(), SIGPIPE);
  { const sigpipe_guard quiet; }
  sigset_t pending;
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 1);
  const timespec at_once{};
  CHECK(sigtimedwait(&pipe_only, nullptr, &at_once) == SIGPIPE);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_CASE("a non-blocking descriptor is written to the end") {
  int ends[2];
  REQUIRE(pipe2(ends, O_NONBLOCK) == 0);
  std::string big(300000, 'x');
  std::size_t got = 0;
  std::thread reader([&] {
    char buffer[4096];
    while (got < big.size()) {
      const long n = read(ends[0], buffer, sizeof buffer);
      if (n > 0) got += static_cast<std::size_t>(n);
      else std::this_thread::yield();
    }
  });
  int os_error = 0;
  CHECK(os_write(ends[1], big.data(), big.size(), os_error));
  reader.join();
  CHECK(got == big.size());
  close(ends[0]);
  close(ends[1]);
}

#endif
