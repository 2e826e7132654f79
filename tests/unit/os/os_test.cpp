// tests/unit/os/os_test.cpp - the OS contract, as every backend that is not bare must answer it.

#include "prof/os/os.hpp"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct mapping_count {
  int count = 0;
  bool ordered = true;
  bool found_code = false;
  std::uintptr_t last = 0;
};

std::string scratch_path() {
  char path[] = "/tmp/prof_os_XXXXXX";
  const int made = mkstemp(path);
  REQUIRE(made >= 0);
  close(made);
  return path;
}

}  // namespace

TEST_CASE("pages come zeroed and aligned, and a mad size is refused") {
  char* const pages = static_cast<char*>(os_map_sig(100000));
  REQUIRE(pages != nullptr);
  CHECK(reinterpret_cast<std::uintptr_t>(pages) % 4096 == 0);
  bool zero = true;
  for (int i = 0; i < 100000; ++i) zero = zero && pages[i] == 0;
  CHECK(zero);
  pages[99999] = 1;
  os_unmap_sig(pages, 100000);
  CHECK_FALSE(os_readable_sig(reinterpret_cast<std::uintptr_t>(pages)));
  CHECK(os_map_sig(std::size_t{1} << 62) == nullptr);
}

TEST_CASE("identity and clocks") {
  CHECK(os_process_id_sig() == static_cast<std::uint32_t>(getpid()));
  std::uint32_t other = 0;
  std::thread([&] { other = os_thread_id_sig(); }).join();
  CHECK(os_thread_id_sig() == os_process_id_sig());
  CHECK(other != os_thread_id_sig());
  const std::uint64_t before = os_monotonic_ns_sig();
  os_sleep_ns(2000000);
  os_yield();
  CHECK(os_monotonic_ns_sig() - before >= 2000000);
  CHECK(os_realtime_ns_sig() > 1700000000000000000u);
}

TEST_CASE("memory is probed and copied without faulting") {
  char* const pages = static_cast<char*>(os_map_sig(8192));
  REQUIRE(pages != nullptr);
  const auto first = reinterpret_cast<std::uintptr_t>(pages);
  os_unmap_sig(pages + 4096, 4096);
  std::memcpy(pages + 4090, "secret", 6);
  CHECK(os_readable_sig(first));
  CHECK_FALSE(os_readable_sig(first + 4096));
  CHECK_FALSE(os_readable_sig(0));
  char copy[8] = "";
  CHECK(os_copy_sig(copy, first + 4090, 6));
  CHECK(std::string(copy, 6) == "secret");
  CHECK_FALSE(os_copy_sig(copy, first + 4092, 8));
  CHECK_FALSE(os_copy_sig(copy, 0, 1));
  os_unmap_sig(pages, 4096);
}

TEST_CASE("the mappings come in order and hold this code") {
  mapping_count seen;
  CHECK(os_for_each_mapping_sig(
      [](void* context, const os_mapping& mapping) {
        auto& counts = *static_cast<mapping_count*>(context);
        ++counts.count;
        counts.ordered =
            counts.ordered && mapping.start >= counts.last && mapping.start < mapping.limit;
        counts.last = mapping.limit;
        const auto here = reinterpret_cast<std::uintptr_t>(&scratch_path);
        if (here < mapping.start || here >= mapping.limit) return true;
        counts.found_code = mapping.executable && mapping.readable && mapping.inode != 0;
        return true;
      },
      &seen));
  int visits = 0;
  CHECK(os_for_each_mapping_sig([](void* count, const os_mapping&) { return ++*static_cast<int*>(count) < 3; },
                                &visits));
  CHECK(visits == 3);
  CHECK(seen.count > 5);
  CHECK(seen.ordered);
  CHECK(seen.found_code);
}

TEST_CASE("the executable and its command line") {
  char buffer[4096];
  const std::size_t size = os_executable_path(buffer, sizeof buffer);
  REQUIRE(size > 0);
  CHECK(buffer[0] == '/');
  CHECK(os_executable_path(buffer, 3) == 3);
  const std::size_t line = os_command_line(buffer, sizeof buffer);
  REQUIRE(line > 1);
  CHECK(buffer[line - 1] == '\0');
}

TEST_CASE("a mapped file is described, and what is no file is not waited for") {
  const std::string path = scratch_path();
  std::ofstream(path) << "hello";
  std::size_t size = 0;
  os_file_facts facts;
  const void* const pages = os_map_file(path.c_str(), size, &facts);
  REQUIRE(pages != nullptr);
  struct stat status;
  REQUIRE(stat(path.c_str(), &status) == 0);
  CHECK(facts.inode == status.st_ino);
  CHECK(facts.device == (std::uint64_t{major(status.st_dev)} << 32 | minor(status.st_dev)));
  CHECK(facts.changed_ns == static_cast<std::uint64_t>(status.st_ctim.tv_sec) * 1000000000u +
                                static_cast<std::uint64_t>(status.st_ctim.tv_nsec));
  CHECK_FALSE(facts.is_absent);
  os_unmap_sig(const_cast<void*>(pages), size);
  std::remove(path.c_str());
  CHECK(os_map_file(path.c_str(), size, &facts) == nullptr);
  CHECK(facts.is_absent);
  REQUIRE(mkfifo(path.c_str(), 0600) == 0);  // nobody will ever write to it
  for (const std::string& other : {path, std::string("/tmp"), std::string("/dev/zero"), std::string("/proc/self/maps")}) {
    CAPTURE(other);
    CHECK(os_map_file(other.c_str(), size, &facts) == nullptr);
    CHECK(size == 0);
    CHECK_FALSE(facts.is_absent);
  }
  CHECK(os_map_file((path + "/below").c_str(), size, &facts) == nullptr);
  CHECK(facts.is_absent);
  std::remove(path.c_str());
}

TEST_CASE("links and the environment are read into buffers") {
  char buffer[4096];
  const std::string path = scratch_path();
  std::remove(path.c_str());
  REQUIRE(symlink("/where/it/leads", path.c_str()) == 0);
  CHECK(std::string(buffer, os_read_link_sig(path.c_str(), buffer, sizeof buffer)) == "/where/it/leads");
  CHECK(os_read_link_sig("/tmp", buffer, sizeof buffer) == 0);
  std::remove(path.c_str());
  setenv("PROF_TEST_OF_THE_ENVIRONMENT", "a:b", 1);
  setenv("PROF_TEST_OF_THE_ENVIRONMENT_TOO", "c", 1);
  CHECK(std::string(buffer, os_environment("PROF_TEST_OF_THE_ENVIRONMENT", buffer, sizeof buffer)) == "a:b");
  CHECK(os_environment("PROF_TEST_OF_THE_ENVIRONMENT", buffer, 3) == 0);
  CHECK(os_environment("PROF_TEST_OF_THE", buffer, sizeof buffer) == 0);
  unsetenv("PROF_TEST_OF_THE_ENVIRONMENT");
  unsetenv("PROF_TEST_OF_THE_ENVIRONMENT_TOO");
  CHECK(os_environment("PROF_TEST_OF_THE_ENVIRONMENT", buffer, sizeof buffer) == 0);
}

TEST_CASE("files are written, mapped, and fail with words") {
  const std::string path = scratch_path();
  int os_error = 0;
  const int out = os_open_write(path.c_str(), os_error);
  REQUIRE(out >= 0);
  CHECK(os_write(out, "hello", 5, os_error));
  CHECK(os_close(out, os_error));
  CHECK(os_error == 0);
  std::size_t size = 0;
  const void* const mapped = os_map_file(path.c_str(), size);
  REQUIRE(mapped != nullptr);
  CHECK(size == 5);
  CHECK(std::memcmp(mapped, "hello", 5) == 0);
  os_unmap_sig(const_cast<void*>(mapped), size);

  CHECK_FALSE(os_close(out, os_error));
  CHECK(std::string(os_error_text(os_error)) == "Bad file descriptor");
  CHECK_FALSE(os_write(out, "x", 1, os_error));
  CHECK(os_open_write("/no/such/directory/file", os_error) == -1);
  CHECK(std::string(os_error_text(os_error)) == "No such file or directory");
  CHECK(os_open_write("/tmp", os_error) == -1);
  CHECK(std::string(os_error_text(os_error)) == "Is a directory");
  CHECK(os_map_file("/no/such/file", size) == nullptr);
  CHECK(size == 0);
  std::remove(path.c_str());
}

TEST_CASE("stdio files are written and flushed, and a full one says so") {
  std::FILE* const full = std::fopen("/dev/full", "w");
  REQUIRE(full != nullptr);
  int os_error = 0;
  CHECK(os_write(full, "x", 1, os_error));
  CHECK_FALSE(os_flush(full, os_error));
  CHECK(std::string(os_error_text(os_error)) == "No space left on device");
  std::fclose(full);
}

TEST_CASE("an unknown errno has words too") {
  CHECK(std::string(os_error_text(0)) == "no error");
  CHECK(std::string(os_error_text(4095)) == "system error");
}

TEST_CASE("signals: the default one, candidates from the top, what is installed") {
  CHECK(os_default_signal() == SIGPROF);
  CHECK(std::string(os_signal_name(SIGPROF)) == "SIGPROF");
  CHECK(std::string(os_signal_name(SIGRTMIN + 5)) == "a real-time signal");
  int count = 0;
  for (int n = 0; os_candidate_signal(n) != 0; ++n, ++count) {
    CHECK(os_candidate_signal(n) > SIGRTMIN);
    CHECK(os_candidate_signal(n) < SIGRTMAX);
  }
  CHECK(count > 10);
  const int free_one = os_candidate_signal(count - 1);
  CHECK(os_signal_handler(free_one) == nullptr);
  CHECK(os_install_handler(free_one));
  CHECK(os_signal_handler(free_one) == os_own_signal_handler());
  signal(free_one, SIG_DFL);
  CHECK_FALSE(os_install_handler(SIGKILL));
  CHECK_FALSE(os_install_handler(9999));
}

TEST_CASE("the file of an address") {
  CHECK(std::string(os_file_of(reinterpret_cast<const void*>(&std::fopen))).find("libc") !=
        std::string::npos);
  CHECK(std::string(os_file_of(nullptr)).empty());
  os_pin_object(&os_pages);
}

#endif
