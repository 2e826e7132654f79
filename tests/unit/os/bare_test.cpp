// tests/unit/os/bare_test.cpp - the backend without an OS, compiled beside the real one under
// another namespace. (tests/e2e/test_bare.py builds a whole program with it.)

#include <doctest/doctest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <new>
#include <string>
#include <type_traits>

// A second copy of the floors below, so that no inline function here has the name of a real one.
#undef PROF_OS_OS_HPP
#undef PROF_OS_BARE_HPP
#undef PROF_BASE_MEMORY_HPP
#undef PROF_BASE_PLATFORM_HPP
#undef PROF_BASE_RESULT_HPP
#undef PROF_BASE_TEXT_HPP
#undef PROF_DETAIL_OS_LINUX
#undef __linux__
#define prof prof_bare_test
#include "prof/os/os.hpp"
#undef prof

namespace {

using namespace prof_bare_test::detail;

}  // namespace

TEST_CASE("bare: the bare backend was chosen") {
  static_assert(PROF_DETAIL_OS_LINUX == 0);
  static_assert(!std::is_same_v<prof_bare_test::result, int>);
}

TEST_CASE("bare: memory comes from the C library, zeroed") {
  arena memory(os_pages, 1024);
  char* const place = static_cast<char*>(memory.allocate(5000));
  REQUIRE(place != nullptr);
  bool zero = true;
  for (int i = 0; i < 5000; ++i) zero = zero && place[i] == 0;
  CHECK(zero);
}

TEST_CASE("bare: what cannot be known is answered so") {
  std::size_t size = 1;
  int os_error = 5;
  int timer = 0;
  char buffer[8];
  CHECK_FALSE(os_readable_sig(reinterpret_cast<std::uintptr_t>(buffer)));
  CHECK_FALSE(os_copy_sig(buffer, reinterpret_cast<std::uintptr_t>(buffer), 8));
  CHECK_FALSE(os_for_each_mapping_sig(nullptr, nullptr));
  CHECK(os_executable_path(buffer, sizeof buffer) == 0);
  CHECK(os_command_line(buffer, sizeof buffer) == 0);
  CHECK(os_map_file("/etc/passwd", size) == nullptr);
  os_mapping mapping;
  CHECK_FALSE(os_find_mapping_sig(reinterpret_cast<std::uintptr_t>(buffer), mapping));
  CHECK(os_copy_text_sig(buffer, reinterpret_cast<std::uintptr_t>("x"), sizeof buffer) == 0);
  CHECK(os_read_link_sig("/proc/self/exe", buffer, sizeof buffer) == 0);
  CHECK(os_environment("PATH", buffer, sizeof buffer) == 0);
  CHECK(size == 0);
  CHECK(os_open_write("/tmp/x", os_error) == -1);
  CHECK_FALSE(os_write(1, "x", 1, os_error));
  CHECK_FALSE(os_close(1, os_error));
  CHECK(os_default_signal() == 0);
  CHECK(os_candidate_signal(0) == 0);
  CHECK_FALSE(os_install_handler(1));
  CHECK(os_signal_handler(1) == nullptr);
  CHECK(os_timer_create_sig(1, 1, nullptr, timer) != 0);
  CHECK(os_timer_set_sig(1, 1, 1) != 0);
  CHECK_FALSE(os_for_each_thread(nullptr, nullptr));
  CHECK(os_thread_count() == 0);
  CHECK_FALSE(os_signal_blocked(1, 1));
  CHECK_FALSE(os_signal_awaited(1, 1));
  CHECK(std::string(os_file_of(buffer)).empty());
  CHECK_FALSE(std::string(os_error_text(1)).empty());
  os_timer_delete_sig(0);
  os_pin_object(nullptr);
}

TEST_CASE("bare: a FILE* and the clock work") {
  std::FILE* const file = std::tmpfile();
  REQUIRE(file != nullptr);
  int os_error = 0;
  CHECK(os_write(file, "abc", 3, os_error));
  CHECK(os_flush(file, os_error));
  std::rewind(file);
  char buffer[4] = "";
  CHECK(std::fread(buffer, 1, 3, file) == 3);
  CHECK(std::string(buffer) == "abc");
  std::fclose(file);
  CHECK(os_realtime_ns_sig() > 1700000000000000000u);
  CHECK(os_process_id_sig() == 1);
  CHECK(os_thread_id_sig() == 1);
}
