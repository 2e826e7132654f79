// tests/unit/collect/writers_test.cpp - the formats of profiles: their words, types, and which one a request means.

#include "prof/collect/writers.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <set>
#include <string>

#include "prof/api.hpp"
#include "rain_part.hpp"

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

constexpr profile_row with_text{{"rain", 4}, {"How much fell", 13}, 0, {}, {}, &write_rain_text};
constexpr profile_row without_text{{"drought", 7}, {"How much did not", 16}};

prof::profile_request asking(prof::format format, int debug = 0) {
  prof::profile_request request;
  request.format = format;
  request.debug = debug;
  return request;
}

prof::format written_as(const profile_row& row, const prof::profile_request& request) {
  return writer_of(row, request).value;
}

// A profile of five drops, as the request wants it.
std::string written(const profile_row& row, const prof::profile_request& request) {
  arena store(os_pages);
  arena scratch(os_pages);
  profile p(store);
  p.add_value_type("drops", "count");
  const std::int64_t value = 5;
  const std::uint32_t leaf = p.add_named_location("cloud");
  (void)p.add_sample(&leaf, 1, nullptr, 0, &value);
  std::string text;
  CHECK(writer_of(row, request).write(p, scratch, into(text), row, request));
  return text;
}

}  // namespace

TEST_CASE("every format has one writer, with a word of its own and a content type") {
  std::set<int> formats;
  std::set<std::string> words;
  for (const profile_writer_row& writer : profile_writers) {
    CAPTURE(writer.word.data);
    formats.insert(static_cast<int>(writer.value));
    words.insert(std::string(writer.word.data, writer.word.size));
    CHECK(writer.word.size == std::strlen(writer.word.data));
    CHECK(std::strchr(writer.content_type, '/') != nullptr);
    CHECK(static_cast<bool>(writer.write != nullptr));
  }
  CHECK(formats.size() == 3);
  CHECK(words == std::set<std::string>{"pprof", "text", "top"});
}

TEST_CASE("content types are Go's, and only what is binary is a download") {
  const profile_writer_row& pprof = writer_of(with_text, asking(prof::format::pprof));
  CHECK(std::string(pprof.content_type) == "application/octet-stream");
  CHECK(pprof.is_download);
  for (const prof::format format : {prof::format::text, prof::format::top}) {
    const profile_writer_row& writer = writer_of(with_text, asking(format));
    CHECK(std::string(writer.content_type) == "text/plain; charset=utf-8");
    CHECK_FALSE(writer.is_download);
  }
}

TEST_CASE("a format is found by its word, any other word changes nothing") {
  CHECK(format_of("pprof", prof::format::top) == prof::format::pprof);
  CHECK(format_of("text", prof::format::top) == prof::format::text);
  CHECK(format_of("top", prof::format::pprof) == prof::format::top);
  for (const char* word : {"", "to", "top2", "TOP", "svg"}) {
    CAPTURE(word);
    CHECK(format_of(word, prof::format::text) == prof::format::text);
    CHECK(format_of(word, prof::format::pprof) == prof::format::pprof);
  }
}

TEST_CASE("debug makes a text of what would be pprof, and of nothing else") {
  CHECK(written_as(with_text, asking(prof::format::pprof)) == prof::format::pprof);
  CHECK(written_as(with_text, asking(prof::format::pprof, 1)) == prof::format::text);
  CHECK(written_as(with_text, asking(prof::format::pprof, 2)) == prof::format::text);
  CHECK(written_as(with_text, asking(prof::format::text)) == prof::format::text);
  CHECK(written_as(with_text, asking(prof::format::top)) == prof::format::top);
  CHECK(written_as(with_text, asking(prof::format::top, 1)) == prof::format::top);
}

TEST_CASE("a row without a text is written as pprof where one is asked for") {
  CHECK(written_as(without_text, asking(prof::format::pprof, 1)) == prof::format::pprof);
  CHECK(written_as(without_text, asking(prof::format::text)) == prof::format::pprof);
  CHECK(written_as(without_text, asking(prof::format::text, 1)) == prof::format::pprof);
  CHECK(written_as(without_text, asking(prof::format::top)) == prof::format::top);
  CHECK(written(without_text, asking(prof::format::text)).compare(0, 2, "\x1f\x8b") == 0);
}

TEST_CASE("each writer writes its format") {
  CHECK(written(with_text, asking(prof::format::pprof)).compare(0, 2, "\x1f\x8b") == 0);
  CHECK(written(with_text, asking(prof::format::text)).compare(0, 14, "rain: 5 drops\n") == 0);
  prof::profile_request table = asking(prof::format::top);
  table.top_type = "drops";
  const std::string top = written(with_text, table);
  CHECK(top.find("cloud") != std::string::npos);
  CHECK(top.find("drops") != std::string::npos);
}

TEST_CASE("a table has as many rows as were asked for") {
  arena store(os_pages);
  arena scratch(os_pages);
  profile p(store);
  p.add_value_type("drops", "count");
  for (const char* name : {"cloud", "fog", "hail"}) {
    const std::int64_t value = 5;
    const std::uint32_t leaf = p.add_named_location(name);
    (void)p.add_sample(&leaf, 1, nullptr, 0, &value);
  }
  std::string all;
  std::string first;
  prof::profile_request request = asking(prof::format::top);
  request.top_rows = 0;
  CHECK(write_as_top(p, scratch, into(all), with_text, request));
  request.top_rows = 1;
  CHECK(write_as_top(p, scratch, into(first), with_text, request));
  const auto rows = [](const std::string& table) {
    int found = 0;
    for (const char* name : {"cloud", "fog", "hail"}) found += table.find(name) != std::string::npos ? 1 : 0;
    return found;
  };
  CHECK(rows(all) == 3);
  CHECK(rows(first) == 1);
}

#endif
