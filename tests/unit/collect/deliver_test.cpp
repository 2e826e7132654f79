// tests/unit/collect/deliver_test.cpp - bytes reach every kind of sink, and every failure is told.

#include "prof/collect/deliver.hpp"

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#if PROF_DETAIL_OS_LINUX

namespace {

using prof::error;
using prof::result;
using prof::sink;
using prof::detail::delivery;

struct scratch_file {
  char path[32] = "/tmp/prof_deliver_XXXXXX";
  scratch_file() {
    const int made = mkstemp(path);
    REQUIRE(made >= 0);
    close(made);
  }
  ~scratch_file() { std::remove(path); }
  scratch_file(const scratch_file&) = delete;
  scratch_file& operator=(const scratch_file&) = delete;
  std::string text() const {
    std::ifstream file(path);
    std::ostringstream all;
    all << file.rdbuf();
    return all.str();
  }
};

// Opens, writes two pieces, closes; the last result.
result deliver(const sink& target) {
  delivery d(target);
  if (result opened = d.open(); !opened) return opened;
  const prof::detail::output out = d.out();
  if (out.write(out.context, "two ", 4)) out.write(out.context, "pieces", 6);
  return d.close();
}

}  // namespace

TEST_CASE("every kind of sink gets all bytes") {
  const scratch_file file;
  SUBCASE("path") { CHECK(deliver(file.path)); }
  SUBCASE("path that held more") {
    { std::ofstream(file.path) << "something much longer than that"; }
    CHECK(deliver(file.path));
  }
  SUBCASE("descriptor, which stays open") {
    const int number = open(file.path, O_WRONLY);
    CHECK(deliver(prof::fd(number)));
    CHECK(close(number) == 0);
  }
  SUBCASE("FILE*, flushed and left open") {
    std::FILE* const out = std::fopen(file.path, "w");
    REQUIRE(out != nullptr);
    CHECK(deliver(out));
    CHECK(file.text() == "two pieces");
    std::fclose(out);
  }
  SUBCASE("string") {
    std::string text;
    CHECK(deliver(prof::append_to(text)));
    std::ofstream(file.path) << text;
  }
  SUBCASE("stream") {
    std::ofstream stream(file.path);
    CHECK(deliver(stream));
  }
  CHECK(file.text() == "two pieces");
}

TEST_CASE("a path is opened close-on-exec and closed at the end") {
  const scratch_file file;
  const int lowest = dup(0);
  close(lowest);
  {
    delivery d(file.path);
    REQUIRE(d.open());
    CHECK((fcntl(lowest, F_GETFD) & FD_CLOEXEC) != 0);
  }
  CHECK(fcntl(lowest, F_GETFD) == -1);
}

TEST_CASE("null sinks are told before anything is written") {
  const result refused = deliver(static_cast<std::FILE*>(nullptr));
  CHECK(refused.code() == error::bad_argument);
  CHECK(std::string(refused.message()) == "the sink is null; pass a FILE*, fd, path or callback");
  CHECK(deliver(static_cast<const char*>(nullptr)).code() == error::bad_argument);
  CHECK(deliver("").code() == error::bad_argument);
  CHECK(deliver(prof::fd(-1)).code() == error::bad_argument);
}

TEST_CASE("a path that cannot be opened says which and why") {
  const result missing = deliver("/no/such/directory/file");
  CHECK(missing.code() == error::open_failed);
  CHECK(missing.os_errno() == ENOENT);
  CHECK(std::string(missing.message()) ==
        "cannot write to /no/such/directory/file: No such file or directory; pass another path");
  CHECK(deliver("/tmp").os_errno() == EISDIR);
  const std::string long_path = "/tmp/" + std::string(5000, 'x');
  const result refused = deliver(long_path.c_str());
  CHECK(refused.code() == error::open_failed);
  CHECK(refused.os_errno() == ENAMETOOLONG);
}

TEST_CASE("a full device is told by a path, a descriptor and a FILE*") {
  result failed;
  SUBCASE("path") { failed = deliver("/dev/full"); }
  SUBCASE("descriptor") {
    const int number = open("/dev/full", O_WRONLY);
    failed = deliver(prof::fd(number));
    close(number);
  }
  SUBCASE("FILE*, whose buffer fails at the end only") {
    std::FILE* const out = std::fopen("/dev/full", "w");
    failed = deliver(out);
    std::fclose(out);
  }
  SUBCASE("FILE* without a buffer") {
    std::FILE* const out = std::fopen("/dev/full", "w");
    std::setvbuf(out, nullptr, _IONBF, 0);
    failed = deliver(out);
    std::fclose(out);
  }
  CHECK(failed.code() == error::write_failed);
  CHECK(failed.os_errno() == ENOSPC);
  CHECK(std::string(failed.message()) ==
        "writing the profile failed: No space left on device");
}

TEST_CASE("a pipe without a reader is an error and no signal") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  close(ends[0]);
  result failed;
  SUBCASE("descriptor") { failed = deliver(prof::fd(ends[1])); }
  SUBCASE("FILE*") {
    std::FILE* const out = fdopen(dup(ends[1]), "w");
    failed = deliver(out);
    // What stdio still holds would raise SIGPIPE in the host's own fclose.
    prof::detail::sigpipe_guard quiet;
    std::fclose(out);
  }
  CHECK(failed.code() == error::write_failed);
  CHECK(failed.os_errno() == EPIPE);
  sigset_t pending;
  sigpending(&pending);
  CHECK(sigismember(&pending, SIGPIPE) == 0);
  close(ends[1]);
}

TEST_CASE("a callback that says stop gets nothing more") {
  struct seen {
    int calls = 0;
  } target;
  const sink out(
      [](void* context, const void*, std::size_t) {
        ++static_cast<seen*>(context)->calls;
        return false;
      },
      &target);
  const result failed = deliver(out);
  CHECK(failed.code() == error::write_failed);
  CHECK(failed.os_errno() == 0);
  CHECK(std::string(failed.message()).find("refused") != std::string::npos);
  CHECK(target.calls == 1);
}

TEST_CASE("a stream that went bad is an error") {
  std::ostringstream stream;
  stream.setstate(std::ios::badbit);
  CHECK(deliver(stream).code() == error::write_failed);
}

TEST_CASE("a stream is flushed at the end, so that a full device is told") {
  std::ofstream full("/dev/full");  // takes the bytes into its buffer without complaint
  CHECK(deliver(full).code() == error::write_failed);
}

#if defined(__cpp_exceptions)
TEST_CASE("what a stream or callback throws is an error and ends here") {
  std::ofstream full("/dev/full");
  full.exceptions(std::ios::badbit | std::ios::failbit);
  CHECK(deliver(full).code() == error::write_failed);
  const prof::sink throws([](void*, const void*, std::size_t) -> bool { throw 1; }, nullptr);
  CHECK(deliver(throws).code() == error::write_failed);
  full.exceptions(std::ios::goodbit);
}
#endif

TEST_CASE("a FILE* opened for reading is an error") {
  std::FILE* const in = std::fopen("/dev/null", "r");
  REQUIRE(in != nullptr);
  const result failed = deliver(in);
  CHECK(failed.code() == error::write_failed);
  CHECK(failed.os_errno() == EBADF);
  std::fclose(in);
}

#endif
