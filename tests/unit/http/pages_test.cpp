// tests/unit/http/pages_test.cpp - the index lists what this process can answer, and nothing else.

#include "prof/http/pages.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>

#include "../collect/rain_part.hpp"
#include "../process/own_process.hpp"
#include "prof/http/routes.hpp"
#include "prof/api.hpp"
#include "prof/sample/heap.hpp"

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

std::string index_of(process_state& process, http_pages others = all_pages()) {
  std::string text;
  write_index(process, others, into(text));
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
  CHECK(page.find("<a href='mutex?debug=1'>mutex</a>") != std::string::npos);
  CHECK(page.find("<a href='goroutine?debug=2'>full goroutine stack dump</a>") != std::string::npos);
  CHECK(page.find(">trace<") == std::string::npos);
}

TEST_CASE("every link is described once and every element is closed") {
  const std::string page = index_of(*enter_process());
  CHECK(count_of(page, "<li>") == 11);
  CHECK(count_of(page, "<a ") == 13);
  for (const char* tag : {"html", "head", "body", "table", "tr", "td", "a", "ul", "li", "p",
                          "title", "style"}) {
    CAPTURE(tag);
    const std::string name(tag);
    CHECK(count_of(page, "<" + name + ">") + count_of(page, "<" + name + " ") ==
          count_of(page, "</" + name + ">"));
  }
}

TEST_CASE("a process without parts lists the fixed pages only") {
  const own_process bare;
  const std::string page = index_of(*bare.state);
  CHECK(page.find("heap") == std::string::npos);
  CHECK(page.find("profile?seconds") == std::string::npos);
  CHECK(page.find("cmdline") != std::string::npos);
  CHECK(count_of(page, "<a ") == 3);
  CHECK(count_of(page, "<li>") == 3);
}

TEST_CASE("pages with a description are listed behind the profiles, the index itself is not") {
  constexpr http_page pages[] = {
      {{}, nullptr, false, {}}, {{"secret", 6}, nullptr, false, {}}, {{"weather", 7}, nullptr, false, {"sun", 3}}};
  const own_process bare;
  const std::string alone = index_of(*bare.state, {pages, 3});
  CHECK(alone.find("<tr><td>0</td><td><a href='weather'>weather</a></td></tr>\n") != std::string::npos);
  CHECK(alone.find("<li>weather: sun</li>\n") != std::string::npos);
  CHECK(alone.find("secret") == std::string::npos);
  CHECK(count_of(alone, "<a ") == 1);
  CHECK(count_of(alone, "<li>") == 1);
  const std::string page = index_of(*enter_process(), {pages, 3});
  CHECK(page.find("'>profile</a>") < page.find("'>weather</a>"));
  CHECK(page.find("<li>profile: ") < page.find("<li>weather: "));
  CHECK(page.find("cmdline") == std::string::npos);
}

TEST_CASE("a profile without a text is linked as it is") {
  const own_process own;
  const part_scope registered(*own.state);
  const std::string page = index_of(*own.state);
  CHECK(page.find("<tr><td>3</td><td><a href='rain?debug=1'>rain</a></td></tr>\n") != std::string::npos);
  CHECK(page.find("<tr><td>3</td><td><a href='rain/story'>rain/story</a></td></tr>\n") != std::string::npos);
}

TEST_CASE("every page of the server has an answer, and each text its right length") {
  const http_pages all = all_pages();
  CHECK(all.count == 4);
  for (std::size_t i = 0; i < all.count; ++i) {
    const http_page& page = all.pages[i];
    CAPTURE(page.path.data);
    CHECK(page.path.size == std::strlen(page.path.data));
    CHECK(page.description.size == std::strlen(page.description.data));
    CHECK(static_cast<bool>(page.answer != nullptr));
    CHECK((page.path.size == 0) == (page.description.size == 0));
  }
}

TEST_CASE("counts are the stacks of the heap profile") {
  process_state& process = *enter_process();
  const std::size_t used = heap_sig(process)->counts.used();
  CHECK(find_row(process, "heap").part->count(process) == used);
  CHECK(static_cast<bool>(find_row(process, "profile").part->count == nullptr));
  const std::string page = index_of(process);
  CHECK(page.find("<tr><td>" + std::to_string(used) + "</td><td><a href='heap?") != std::string::npos);
  CHECK(page.find("<tr><td>" + std::to_string(used) + "</td><td><a href='allocs?") != std::string::npos);
  CHECK(page.find("<tr><td>0</td><td><a href='profile?") != std::string::npos);
}

#endif
