// tests/fuzz/table_fuzz.cpp - what is written as text has the lines it should have, whatever the
// names hold: a heap profile is what pprof's parser takes, and in the table of functions no name
// makes a row of its own.

#include "prof/write/text.hpp"
#include "prof/write/top.hpp"

#include "fuzz.hpp"
#include "profile_maker.hpp"

namespace {

using namespace prof::detail;

bool receive(void* context, const void* data, std::size_t size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  return true;
}

std::vector<std::string> lines_of(const std::string& text) {
  FUZZ_REQUIRE(!text.empty() && text.back() == '\n');
  std::vector<std::string> lines(1);
  for (const char c : text) {
    if (c == '\n') lines.emplace_back();
    else lines.back() += c;
    FUZZ_REQUIRE(c == '\n' || c == '\t' || !fuzz::is_control(c));
  }
  lines.pop_back();
  return lines;
}

// ---- patterns: N a number, D digits, H hex digits, * the rest, other characters themselves -----

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f'); }

bool skip(const std::string& line, std::size_t& at, bool (*is_one)(char)) {
  const std::size_t begin = at;
  while (at < line.size() && is_one(line[at])) ++at;
  return at != begin;
}

// From `at`, which is moved behind what fits.
bool fits(const std::string& line, const char* pattern, std::size_t& at) {
  for (; *pattern != '\0'; ++pattern) {
    bool good = true;
    if (*pattern == 'N' && at < line.size() && line[at] == '-') ++at;
    if (*pattern == '*') at = line.size();
    else if (*pattern == 'N' || *pattern == 'D') good = skip(line, at, is_digit);
    else if (*pattern == 'H') good = skip(line, at, is_hex);
    else good = at < line.size() && line[at++] == *pattern;
    if (!good) return false;
  }
  return true;
}

bool fits(const std::string& line, const char* pattern) {
  std::size_t at = 0;
  return fits(line, pattern, at) && at == line.size();
}

bool begins(const std::string& line, const char* with) { return line.rfind(with, 0) == 0; }

// ---- the heap profile (google/pprof profile/legacy_profile.go parseHeap) -----------------------

// Bytes without an object make the parser refuse the whole file.
void check_record(const std::string& line) {
  std::size_t at = 0;
  FUZZ_REQUIRE(fits(line, "N: N [D: D] @", at));
  while (at < line.size()) FUZZ_REQUIRE(fits(line, " 0xH", at));
  FUZZ_REQUIRE(!begins(line, "0: ") || begins(line, "0: 0 "));
  const std::string allocated = line.substr(line.find('['));
  FUZZ_REQUIRE(!begins(allocated, "[0: ") || begins(allocated, "[0: 0]"));
}

void check_heap_text(const std::string& text) {
  const std::vector<std::string> lines = lines_of(text);
  FUZZ_REQUIRE(fits(lines[0], "heap profile: D: D [D: D] @ heapprofile"));
  std::size_t i = 1;
  for (; i < lines.size() && lines[i] != "MAPPED_LIBRARIES:"; ++i) {
    if (!lines[i].empty() && lines[i][0] != '#') check_record(lines[i]);
  }
  FUZZ_REQUIRE(i < lines.size());
  for (++i; i < lines.size(); ++i) FUZZ_REQUIRE(fits(lines[i], "H-H r-xp H 00:00 D *"));
}

// ---- the table ---------------------------------------------------------------------------------

void check_top(const std::string& text, std::size_t limit) {
  const std::vector<std::string> lines = lines_of(text);
  std::size_t i = 0;
  for (const char* fact : {"Type: ", "Time: ", "Duration: ", "Period: "}) {
    const bool is_there = i < lines.size() && begins(lines[i], fact);
    FUZZ_REQUIRE(is_there || i != 0);  // only Type is always there
    if (is_there) ++i;
  }
  FUZZ_REQUIRE(i < lines.size() && begins(lines[i], "Showing nodes accounting for "));
  ++i;
  std::size_t stated = 0;
  if (i < lines.size() && begins(lines[i], "Showing top ")) {
    FUZZ_REQUIRE(fits(lines[i], "Showing top D nodes out of D"));
    stated = std::stoul(lines[i++].substr(12));
  }
  FUZZ_REQUIRE(i < lines.size() && lines[i] == "      flat  flat%   sum%        cum   cum%");
  const std::size_t rows = lines.size() - i - 1;
  FUZZ_REQUIRE(stated == 0 || rows == stated);
  FUZZ_REQUIRE(limit == 0 || rows <= limit);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source in(data, size);
  fuzz::pages first(in.number<std::uint16_t>());
  arena store(fuzz::pages::from(), fuzz::pages::first_chunk);
  const std::uint8_t refused = in.byte();
  top_options options;
  options.limit = in.byte() % 8;
  const std::uint8_t column = in.byte();
  if (column < 8) options.column = column;
  profile p(store);
  fuzz::profile_maker(in, p).make();

  fuzz::pages second(refused);
  arena scratch(fuzz::pages::from(), fuzz::pages::first_chunk);
  std::string text;
  const heap_text_stat stat{p.strings.empty() ? text_view() : p.strings[p.strings.size() - 1], 7};
  if (write_heap_text(p, scratch, {receive, &text}, &stat, 1)) check_heap_text(text);
  else FUZZ_REQUIRE(scratch.exhausted() && text.empty());

  text.clear();
  const bool has_column = top_column(p, options) < p.value_types.size();
  if (write_top(p, scratch, {receive, &text}, options)) check_top(text, options.limit);
  else FUZZ_REQUIRE((scratch.exhausted() || !has_column) && text.empty());
  return 0;
}
