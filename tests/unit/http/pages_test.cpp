// tests/unit/http/pages_test.cpp - the index lists what this process can answer, and nothing else.

#include "prof/http/pages.hpp"

#include <doctest/doctest.h>

#include <string>

#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

output into(std::string& text) {
  return {[](void* context, const void* data, std::size_t size) {
            static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
            return true;
          },
          &text};
}

std::string index_of(const process_state& process) {
  std::string text;
  write_index(process, into(text));
  return text;
}

std::size_t count_of(const std::string& text, const std::string& what) {
  std::size_t count = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
    ++count;
  }
  return count;
}

}  // namespace

TEST_CASE("the index links every profile of this process") {
  const std::string page = index_of(*enter_process());
  CHECK(page.compare(0, 15, "<!DOCTYPE html>") == 0);
  CHECK(page.find("<a href='heap?debug=1'>heap</a>") != std::string::npos);
  CHECK(page.find("<a href='allocs?debug=1'>allocs</a>") != std::string::npos);
  CHECK(page.find("<a href='profile?seconds=10'>profile</a> (takes 10 s)") != std::string::npos);
  CHECK(page.find("<a href='cmdline'>cmdline</a>") != std::string::npos);
  CHECK(page.find("<a href='status'>status</a>") != std::string::npos);
  CHECK(page.find("<a href='symbol'>symbol</a>") != std::string::npos);
  CHECK(page.find("mutex") == std::string::npos);
  CHECK(page.find("goroutine") == std::string::npos);
}

TEST_CASE("every link is described once and every element is closed") {
  const std::string page = index_of(*enter_process());
  CHECK(count_of(page, "<li>") == 6);
  CHECK(count_of(page, "<a ") == 6);
  for (const char* tag : {"html", "head", "body", "table", "tr", "td", "a", "ul", "li", "p",
                          "title", "style"}) {
    CAPTURE(tag);
    const std::string name(tag);
    CHECK(count_of(page, "<" + name + ">") + count_of(page, "<" + name + " ") ==
          count_of(page, "</" + name + ">"));
  }
}

TEST_CASE("a process without parts lists the fixed pages only") {
  process_state* const bare = make_process_sig();
  REQUIRE(bare != nullptr);
  const std::string page = index_of(*bare);
  CHECK(page.find("heap") == std::string::npos);
  CHECK(page.find("profile?seconds") == std::string::npos);
  CHECK(page.find("cmdline") != std::string::npos);
  os_unmap_sig(bare, process_bytes);
}

TEST_CASE("counts are the stacks of the heap profile") {
  const process_state& process = *enter_process();
  CHECK(profile_count(process, *find_profile("heap")) ==
        heap_stack_count(*heap_sig(*process_sig())));
  CHECK(profile_count(process, *find_profile("profile")) == 0);
}

#endif
