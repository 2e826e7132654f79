// tests/unit/write/text_test.cpp - write_heap_text line by line, and against the rules by which
// google/pprof's parseHeap reads it.

#include "prof/write/text.hpp"

#include <doctest/doctest.h>
#if defined(__linux__)
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include <cstdint>
#include <cstdlib>
#include <limits>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

using prof::detail::arena;
using prof::detail::heap_text_stat;
using prof::detail::no_index;
using prof::detail::output;
using prof::detail::page_source;
using prof::detail::profile;
using prof::detail::profile_label;
using prof::detail::profile_mapping;
using prof::detail::write_block_text;
using prof::detail::write_count_text;
using prof::detail::write_heap_text;
using prof::detail::write_mutex_text;

std::size_t g_maps_left = 0;

void* map_pages(std::size_t size) noexcept {
  if (g_maps_left == 0) return nullptr;
  --g_maps_left;
  return std::calloc(1, size);
}
void unmap_pages(void* pages, std::size_t) noexcept {
  std::free(pages);
}

page_source pages(std::size_t maps) {
  g_maps_left = maps;
  return {map_pages, unmap_pages};
}

bool append(void* context, const void* data, std::size_t size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  return true;
}
bool refuse(void*, const void*, std::size_t) {
  return false;
}

std::string text_of(const profile& p, const std::vector<heap_text_stat>& stats = {}) {
  std::string text;
  arena scratch(pages(100));
  CHECK(write_heap_text(p, scratch, {append, &text}, stats.data(), stats.size()));
  return text;
}

void add_heap_types(profile& p) {
  p.add_value_type("alloc_objects", "count");
  p.add_value_type("alloc_space", "bytes");
  p.add_value_type("inuse_objects", "count");
  p.add_value_type("inuse_space", "bytes");
}

// One frame at `address`; values in Go's order.
void add(profile& p, std::uint64_t address, std::int64_t alloc_objects, std::int64_t alloc_bytes,
         std::int64_t inuse_objects, std::int64_t inuse_bytes) {
  const std::uint32_t stack[] = {p.add_location(no_index, address)};
  const std::int64_t values[] = {alloc_objects, alloc_bytes, inuse_objects, inuse_bytes};
  p.add_sample(stack, 1, nullptr, 0, values);
}

// What parseHeap makes of a text: the regular expressions are its own.
struct parsed {
  bool has_alloc = false;
  std::string type{};
  std::vector<std::vector<long long>> records{};  // inuse objects, bytes, alloc objects, bytes
  std::vector<std::vector<unsigned long long>> stacks{};

  explicit parsed(const std::string& text) {
    const std::regex header(
        R"(heap profile: *(\d+): *(\d+) *\[ *(\d+): *(\d+) *\] *@ *(heap[_a-z0-9]*)/?(\d*))");
    const std::regex record(R"((-?\d+): *(-?\d+) *\[ *(\d+): *(\d+) *\] @([ x0-9a-f]*))");
    std::istringstream lines(text);
    std::string line;
    std::smatch match;
    REQUIRE(std::getline(lines, line));
    REQUIRE(std::regex_search(line, match, header));
    type = match[5];
    has_alloc =
        (match[3] != match[1] && match[3] != "0") || (match[4] != match[2] && match[4] != "0");
    while (std::getline(lines, line) && line != "MAPPED_LIBRARIES:") {
      if (line.empty() || line[0] == '#') continue;
      REQUIRE(std::regex_match(line, match, record));
      std::vector<long long> values;
      for (std::size_t i = 1; i <= 4; ++i) values.push_back(std::stoll(match[i]));
      CHECK((values[0] != 0 || values[1] == 0));
      CHECK((values[2] != 0 || values[3] == 0));
      records.push_back(values);
      std::istringstream addresses(match[5]);
      stacks.emplace_back();
      for (std::string address; addresses >> address;) {
        stacks.back().push_back(std::stoull(address, nullptr, 16) - 1);
      }
    }
  }
};

using values = std::vector<long long>;

}  // namespace

TEST_CASE("the whole text of a small profile") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  profile_mapping mapping;
  mapping.start = 0x1000;
  mapping.limit = 0x55550000;
  mapping.offset = 0x200;
  mapping.file = p.string("/bin/program");
  p.mappings.push(mapping);
  const auto leaf = p.add_location(0, 0x1fff);
  const auto root = p.add_location(0, 0x2fff);
  const auto unknown = p.add_location(0, 0x3fff);
  const auto f = p.add_function("f(int)", "_Z1fi", "f.cpp");
  const auto g = p.add_function("g", "g", "g.cpp");
  p.add_line(p.locations[leaf], {f, 10, 0});
  p.add_line(p.locations[leaf], {g, 20, 0});  // f was inlined into g
  p.add_line(p.locations[root], {p.add_function("main", "main"), 0, 0});
  const std::uint32_t stack[] = {leaf, root, unknown, p.add_named_location("[truncated]")};
  const std::int64_t numbers[] = {3, 300, 2, 200};
  p.add_sample(stack, 4, nullptr, 0, numbers);
  CHECK(text_of(p, {{"HeapAlloc", 12345}, {"Sys", 0}}) ==
        "heap profile: 2: 200 [3: 300] @ heapprofile\n"
        "2: 200 [3: 300] @ 0x2000 0x3000 0x4000\n"
        "#\t0x1fff\tf(int)+0x0\tf.cpp:10\n"
        "#\t0x1fff\tg+0x0\tg.cpp:20\n"
        "#\t0x2fff\tmain+0x0\n"
        "#\t0x3fff\n"
        "#\t0x0\t[truncated]+0x0\n"
        "\n"
        "\n"
        "# HeapAlloc = 12345\n"
        "# Sys = 0\n"
        "\n"
        "MAPPED_LIBRARIES:\n"
        "00001000-55550000 r-xp 00000200 00:00 0 /bin/program\n");
}

TEST_CASE("an empty profile still has four columns") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  const parsed read(text_of(p));
  CHECK(read.has_alloc);
  CHECK(read.type == "heapprofile");  // the one type pprof does not scale
  CHECK(read.records.empty());
}

TEST_CASE("records come by bytes in use, then by bytes allocated, and zeros not at all") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  add(p, 1, 1, 10, 1, 10);
  add(p, 2, 9, 90, 0, 0);
  add(p, 3, 5, 5000, 1, 1000);
  add(p, 4, 0, 0, 0, 0);
  add(p, 5, 99, 990, 0, 0);
  const parsed read(text_of(p));
  CHECK(read.records ==
        std::vector<values>{{1, 1000, 5, 5000}, {1, 10, 1, 10}, {0, 0, 99, 990}, {0, 0, 9, 90}});
  CHECK(read.stacks[0] == std::vector<unsigned long long>{3});
  CHECK(read.stacks[3] == std::vector<unsigned long long>{2});
}

TEST_CASE("the header has the totals and always tells that there are alloc columns") {
  const auto header = [](std::int64_t alloc_objects, std::int64_t alloc_bytes,
                         std::int64_t inuse_objects, std::int64_t inuse_bytes) {
    arena memory(pages(100));
    profile p(memory);
    add_heap_types(p);
    add(p, 1, alloc_objects, alloc_bytes, inuse_objects, inuse_bytes);
    add(p, 2, alloc_objects, alloc_bytes, inuse_objects, inuse_bytes);
    const std::string text = text_of(p);
    CHECK(parsed(text).has_alloc);
    return text.substr(0, text.find('\n'));
  };
  CHECK(header(3, 30, 1, 10) == "heap profile: 2: 20 [6: 60] @ heapprofile");
  CHECK(header(3, 30, 3, 30) == "heap profile: 6: 60 [6: 61] @ heapprofile");  // as Go
  CHECK(header(0, 0, 1, 10) == "heap profile: 2: 20 [0: 1] @ heapprofile");
  CHECK(header(0, 0, -1, -10) == "heap profile: 0: 0 [0: 1] @ heapprofile");
}

TEST_CASE("what the parser would refuse is not written") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  add(p, 1, 0, 30, 0, 20);  // bytes without objects
  add(p, 2, 5, 50, 0, -20);
  add(p, 3, -5, -50, -5, -50);  // no sign in the alloc columns
  add(p, 4, 1, -1, 1, 1);
  const parsed read(text_of(p));
  CHECK(read.records ==
        std::vector<values>{{1, 20, 1, 30}, {1, 1, 0, 0}, {-1, -20, 5, 50}, {-5, -50, 0, 0}});
}

TEST_CASE("values are found by name, wherever they stand") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("inuse_space", "bytes");
  p.add_value_type("other", "count");
  p.add_value_type("inuse_objects", "count");
  const std::uint32_t stack[] = {p.add_location(no_index, 1)};
  const std::int64_t numbers[] = {100, 7, 2};
  p.add_sample(stack, 1, nullptr, 0, numbers);
  CHECK(parsed(text_of(p)).records == std::vector<values>{{2, 100, 0, 0}});
}

TEST_CASE("a stack without any address is a record without addresses") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  const std::uint32_t stack[] = {p.add_named_location("[stack table full]")};
  const std::int64_t numbers[] = {1, 10, 1, 10};
  p.add_sample(stack, 1, nullptr, 0, numbers);
  const parsed read(text_of(p));
  REQUIRE(read.stacks.size() == 1);
  CHECK(read.stacks[0].empty());
}

TEST_CASE("names cannot break a line") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  add(p, 1, 1, 10, 1, 10);
  const auto function = p.add_function("f\n1: 1 [1: 1] @ 0x1", "f", "a\rb\x7f.cpp");
  p.add_line(p.locations[0], {function, 1, 0});
  profile_mapping mapping;
  mapping.file = p.string("/bin/two\nlines");
  p.mappings.push(mapping);
  const std::string text = text_of(p, {{"a\nb", 1}});
  CHECK(parsed(text).records.size() == 1);
  CHECK(text.find("#\t0x1\tf?1: 1 [1: 1] @ 0x1+0x0\ta?b?.cpp:1\n") != std::string::npos);
  CHECK(text.find("# a?b = 1\n") != std::string::npos);
  CHECK(text.find("/bin/two?lines\n") != std::string::npos);
}

TEST_CASE("mappings that are gone come last") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  for (unsigned i = 0; i < 3; ++i) {
    profile_mapping mapping;
    mapping.start = 0x1000 * (i + 1);
    mapping.limit = std::uint64_t{0x7f0000000000} + i;
    mapping.file = p.string(std::string(1, static_cast<char>('a' + i)).c_str());
    mapping.current = i != 0;
    p.mappings.push(mapping);
  }
  const std::string text = text_of(p);
  CHECK(text.substr(text.find("MAPPED_LIBRARIES")) ==
        "MAPPED_LIBRARIES:\n"
        "00002000-7f0000000001 r-xp 00000000 00:00 0 b\n"
        "00003000-7f0000000002 r-xp 00000000 00:00 0 c\n"
        "00001000-7f0000000000 r-xp 00000000 00:00 0 a\n");
}

TEST_CASE("refusal and lack of memory are reported") {
  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  for (unsigned i = 1; i < 100; ++i) add(p, i, 1, i, 1, i);
  arena scratch(pages(100));
  CHECK_FALSE(write_heap_text(p, scratch, {refuse, nullptr}, nullptr, 0));
  std::string text;
  arena none(pages(0));
  CHECK_FALSE(write_heap_text(p, none, {append, &text}, nullptr, 0));
  arena little(pages(1), 1024);
  CHECK_FALSE(write_heap_text(p, little, {append, &text}, nullptr, 0));
  CHECK(text.empty());
}

TEST_CASE("a profile that ran out of memory, and indices that lead nowhere, do no harm") {
  arena none(pages(0));
  profile empty(none);
  add_heap_types(empty);
  CHECK(parsed(text_of(empty)).records.empty());

  arena memory(pages(100));
  profile p(memory);
  add_heap_types(p);
  const auto place = p.add_location(77, 1);
  p.add_line(p.locations[place], {55, 1, 0});
  const std::uint32_t stack[] = {no_index, place, 12345};
  const std::int64_t numbers[] = {1, 10, 1, 10};
  p.add_sample(stack, 3, nullptr, 0, numbers);
  profile_mapping mapping;
  mapping.file = 999;
  p.mappings.push(mapping);
  const parsed read(text_of(p));
  REQUIRE(read.stacks.size() == 1);
  CHECK(read.stacks[0] == std::vector<unsigned long long>{1});
}

// ---- waits, and numbers of things --------------------------------------------------------------------------------------

namespace {

using text_function = bool (*)(const profile& p, arena& scratch, output out);

std::string text_by(text_function write, const profile& p) {
  std::string text;
  arena scratch(pages(100));
  CHECK(write(p, scratch, {append, &text}));
  return text;
}

void add_delay_types(profile& p) {
  p.add_value_type("contentions", "count");
  p.add_value_type("delay", "nanoseconds");
}

// One frame at `address`.
void add_delay(profile& p, std::uint64_t address, std::int64_t contentions, std::int64_t delay) {
  const std::uint32_t stack[] = {p.add_location(no_index, address)};
  const std::int64_t numbers[] = {contentions, delay};
  p.add_sample(stack, 1, nullptr, 0, numbers);
}
void add_count(profile& p, std::uint64_t address, std::int64_t count) {
  const std::uint32_t stack[] = {p.add_location(no_index, address)};
  p.add_sample(stack, 1, nullptr, 0, &count);
}

// What parseGoCount makes of a text: the regular expressions are its own.
struct parsed_counts {
  std::string type{};
  long long total = 0;
  std::vector<long long> counts{};
  std::vector<std::vector<unsigned long long>> stacks{};

  explicit parsed_counts(const std::string& text) {
    const std::regex start(R"((\S+) profile: total (\d+))");
    const std::regex record(R"((\d+) @(( 0x[0-9a-f]+)+))");
    std::istringstream lines(text);
    std::string line;
    std::smatch match;
    REQUIRE(std::getline(lines, line));
    CAPTURE(line);
    REQUIRE(std::regex_match(line, match, start));
    type = match[1];
    total = std::stoll(match[2]);
    while (std::getline(lines, line) && line.compare(0, 3, "---") != 0) {
      if (line.empty() || line[0] == '#') continue;
      REQUIRE(std::regex_match(line, match, record));
      counts.push_back(std::stoll(match[1]));
      std::istringstream addresses(match[2]);
      stacks.emplace_back();
      for (std::string address; addresses >> address;) stacks.back().push_back(std::stoull(address, nullptr, 16) - 1);
    }
    CHECK(line == "--- Memory map: ---");
  }
};

// What parseContention makes of one, the same way: delay, contentions.
struct parsed_delays {
  std::string title{};
  std::vector<std::string> attributes{};
  std::vector<values> records{};
  std::vector<std::vector<unsigned long long>> stacks{};

  explicit parsed_delays(const std::string& text) {
    const std::regex record(R"((\d+) *(\d+) @([ x0-9a-f]*))");
    std::istringstream lines(text);
    std::string line;
    std::smatch match;
    REQUIRE(std::getline(lines, title));
    bool has_begun = false;
    while (std::getline(lines, line) && line.compare(0, 3, "---") != 0) {
      has_begun |= line.find('=') == std::string::npos;
      if (!has_begun) attributes.push_back(line);
      if (!has_begun || line.empty() || line[0] == '#') continue;
      REQUIRE(std::regex_match(line, match, record));
      records.push_back({std::stoll(match[1]), std::stoll(match[2])});
      std::istringstream addresses(match[3]);
      stacks.emplace_back();
      for (std::string address; addresses >> address;) stacks.back().push_back(std::stoull(address, nullptr, 16) - 1);
    }
    CHECK(line == "--- Memory map: ---");
  }
};

// Two stacks, one with a name and with labels, in a program.
void add_small_profile(profile& p) {
  profile_mapping mapping;
  mapping.start = 0x1000;
  mapping.limit = 0x55550000;
  mapping.offset = 0x200;
  mapping.file = p.string("/bin/program");
  p.mappings.push(mapping);
  const auto leaf = p.add_location(0, 0x1fff);
  const auto root = p.add_location(0, 0x2fff);
  p.add_line(p.locations[leaf], {p.add_function("f(int)", "_Z1fi", "f.cpp"), 10, 0});
  p.add_line(p.locations[root], {p.add_function("main", "main"), 0, 0});
  const std::uint32_t deep[] = {leaf, root};
  const std::uint32_t flat[] = {p.add_location(0, 0x3fff)};
  const profile_label labels[] = {{p.string("wait"), p.string("mutex"), 0, 0},
                                  {p.string("bytes"), 0, 5, p.string("bytes")},
                                  {p.string("tenant"), p.string("a \"b\" \\"), 0, 0}};
  const std::int64_t less[] = {7, 1000};
  const std::int64_t more[] = {3, 2000000000};
  p.add_sample(flat, 1, nullptr, 0, less);
  p.add_sample(deep, 2, labels, 3, more);
}

}  // namespace

TEST_CASE("the whole text of a small profile of waits") {
  arena memory(pages(100));
  profile p(memory);
  add_delay_types(p);
  add_small_profile(p);
  const std::string records =
      "2000000000 3 @ 0x2000 0x3000\n"
      "# labels: {\"wait\":\"mutex\", \"tenant\":\"a \\\"b\\\" \\\\\"}\n"
      "#\t0x1fff\tf(int)+0x0\tf.cpp:10\n"
      "#\t0x2fff\tmain+0x0\n"
      "\n"
      "1000 7 @ 0x4000\n"
      "#\t0x3fff\n"
      "\n"
      "--- Memory map: ---\n"
      "00001000-55550000 r-xp 00000200 00:00 0 /bin/program\n";
  CHECK(text_by(&write_block_text, p) == "--- contention:\ncycles/second=1000000000\n" + records);
  CHECK(text_by(&write_mutex_text, p) == "--- mutex:\ncycles/second=1000000000\nsampling period=1\n" + records);
}

TEST_CASE("the whole text of a small profile that counts") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("threadcreate", "count");
  add_small_profile(p);
  CHECK(text_by(&write_count_text, p) ==
        "threadcreate profile: total 10\n"
        "7 @ 0x4000\n"
        "#\t0x3fff\n"
        "\n"
        "3 @ 0x2000 0x3000\n"
        "# labels: {\"wait\":\"mutex\", \"tenant\":\"a \\\"b\\\" \\\\\"}\n"
        "#\t0x1fff\tf(int)+0x0\tf.cpp:10\n"
        "#\t0x2fff\tmain+0x0\n"
        "\n"
        "--- Memory map: ---\n"
        "00001000-55550000 r-xp 00000200 00:00 0 /bin/program\n");
}

TEST_CASE("profiles of waits and counts without samples are titles") {
  arena memory(pages(100));
  profile waits(memory);
  add_delay_types(waits);
  CHECK(text_by(&write_block_text, waits) == "--- contention:\ncycles/second=1000000000\n--- Memory map: ---\n");
  profile counts(memory);
  counts.add_value_type("threads", "count");
  CHECK(text_by(&write_count_text, counts) == "threads profile: total 0\n--- Memory map: ---\n");
}

TEST_CASE("waits come by their delay, counts by their number, what is equal in its order, and zeros not at all") {
  arena memory(pages(100));
  profile waits(memory);
  add_delay_types(waits);
  add_delay(waits, 1, 100, 10);
  add_delay(waits, 2, 1, 1000);
  add_delay(waits, 3, 5, 0);
  add_delay(waits, 4, 2, 10);
  add_delay(waits, 5, 0, 20);
  for (const text_function write : {&write_block_text, &write_mutex_text}) {
    const parsed_delays read(text_by(write, waits));
    CHECK(read.records == std::vector<values>{{1000, 1}, {20, 0}, {10, 100}, {10, 2}});
    CHECK(read.stacks == std::vector<std::vector<unsigned long long>>{{2}, {5}, {1}, {4}});
    CHECK(read.attributes.at(0) == "cycles/second=1000000000");
  }
  profile counts(memory);
  counts.add_value_type("threads", "count");
  const std::int64_t numbers[] = {1, 30, 0, 2, 30};
  for (std::uint64_t i = 0; i < 5; ++i) add_count(counts, i + 1, numbers[i]);
  const parsed_counts read(text_by(&write_count_text, counts));
  CHECK(read.type == "threads");
  CHECK(read.total == 63);
  CHECK(read.counts == std::vector<long long>{30, 30, 2, 1});
  CHECK(read.stacks == std::vector<std::vector<unsigned long long>>{{2}, {5}, {4}, {1}});
}

TEST_CASE("only the mutex profile says its period, which changes no number") {
  arena memory(pages(100));
  profile p(memory);
  add_delay_types(p);
  add_delay(p, 1, 1, 1);
  CHECK(parsed_delays(text_by(&write_block_text, p)).title == "--- contention:");
  CHECK(parsed_delays(text_by(&write_block_text, p)).attributes == std::vector<std::string>{"cycles/second=1000000000"});
  CHECK(parsed_delays(text_by(&write_mutex_text, p)).title == "--- mutex:");
  CHECK(parsed_delays(text_by(&write_mutex_text, p)).attributes ==
        std::vector<std::string>{"cycles/second=1000000000", "sampling period=1"});
}

TEST_CASE("a stack without any address gets one in texts of waits and counts: the parser of counts wants one") {
  arena memory(pages(100));
  profile counts(memory);
  counts.add_value_type("threads", "count");
  profile waits(memory);
  add_delay_types(waits);
  for (profile* const p : {&counts, &waits}) {
    const std::uint32_t nameless[] = {p->add_named_location("[no answer]")};
    const std::uint32_t mixed[] = {p->add_named_location("[truncated]"), p->add_location(no_index, 0x10)};
    const std::int64_t two[] = {2, 2};
    const std::int64_t one[] = {1, 1};
    p->add_sample(nameless, 1, nullptr, 0, two);
    p->add_sample(mixed, 2, nullptr, 0, one);
  }
  CHECK(text_by(&write_count_text, counts) ==
        "threads profile: total 3\n"
        "2 @ 0x1\n#\t0x0\t[no answer]+0x0\n\n"
        "1 @ 0x11\n#\t0x0\t[truncated]+0x0\n#\t0x10\n\n"
        "--- Memory map: ---\n");
  CHECK(parsed_counts(text_by(&write_count_text, counts)).stacks ==
        std::vector<std::vector<unsigned long long>>{{0}, {0x10}});
  CHECK(parsed_delays(text_by(&write_block_text, waits)).stacks ==
        std::vector<std::vector<unsigned long long>>{{0}, {0x10}});
}

TEST_CASE("of a difference of waits, what has become less is not written: the parser has no sign") {
  arena memory(pages(100));
  profile p(memory);
  add_delay_types(p);
  add_delay(p, 1, -1, 50);
  add_delay(p, 2, 1, -50);
  add_delay(p, 3, 1, 5);
  for (const text_function write : {&write_block_text, &write_mutex_text}) {
    CHECK(parsed_delays(text_by(write, p)).records == std::vector<values>{{5, 1}});
  }
}

TEST_CASE("a difference of counts is a text that the parser reads, too, although it has no sign") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("threads", "count");
  add_count(p, 1, 2);
  add_count(p, 2, -3);
  const std::string text = text_by(&write_count_text, p);
  CAPTURE(text);
  const bool has_sign = text.find("-3 @") != std::string::npos || text.find("total -") != std::string::npos;
  CHECK_FALSE(has_sign);
}

TEST_CASE("labels cannot break a line of texts of waits and counts, nor end their quotes") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("threads", "count");
  const std::uint32_t stack[] = {p.add_location(no_index, 1)};
  const profile_label labels[] = {{p.string("a\nb\""), p.string("1\n9 @ 0x1"), 0, 0},
                                  {p.string("\xc3\xa9"), p.string("\xe2\x82\xac\\"), 0, 0}};
  const std::int64_t count = 4;
  p.add_sample(stack, 1, labels, 2, &count);
  const std::string text = text_by(&write_count_text, p);
  CHECK(parsed_counts(text).counts == std::vector<long long>{4});
  CHECK(text.find("# labels: {\"a?b\\\"\":\"1?9 @ 0x1\", \"\xc3\xa9\":\"\xe2\x82\xac\\\\\"}\n") !=
        std::string::npos);
}

TEST_CASE("samples with numbers as labels only have no line for labels") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("threads", "count");
  const std::uint32_t stack[] = {p.add_location(no_index, 1)};
  const profile_label labels[] = {{p.string("bytes"), 0, 5, 0}};
  const std::int64_t count = 4;
  p.add_sample(stack, 1, labels, 1, &count);
  CHECK(text_by(&write_count_text, p) == "threads profile: total 4\n4 @ 0x2\n#\t0x1\n\n--- Memory map: ---\n");
}

TEST_CASE("refusal and lack of memory are reported by texts of waits and counts") {
  arena memory(pages(100));
  profile p(memory);
  add_delay_types(p);
  for (unsigned i = 1; i < 1000; ++i) add_delay(p, i, 1, i);
  for (const text_function write : {&write_block_text, &write_mutex_text, &write_count_text}) {
    arena scratch(pages(100));
    CHECK_FALSE(write(p, scratch, {refuse, nullptr}));
    std::string text;
    arena none(pages(0));
    CHECK_FALSE(write(p, none, {append, &text}));
    arena little(pages(1), 1024);
    CHECK_FALSE(write(p, little, {append, &text}));
    CHECK(text.empty());
  }
}

TEST_CASE("indices that lead nowhere do no harm to texts of waits and counts") {
  arena memory(pages(100));
  profile p(memory);
  add_delay_types(p);
  const auto place = p.add_location(77, 1);
  p.add_line(p.locations[place], {55, 1, 0});
  const std::uint32_t stack[] = {no_index, place, 12345};
  const profile_label labels[] = {{999, 998, 0, 0}};
  const std::int64_t numbers[] = {2, 10};
  p.add_sample(stack, 3, labels, 1, numbers);
  profile_mapping mapping;
  mapping.file = 999;
  p.mappings.push(mapping);
  const std::string rest =
      " @ 0x2\n# labels: {\"\":\"\"}\n#\t0x1\n\n--- Memory map: ---\n00000000-00000000 r-xp 00000000 00:00 0 \n";
  CHECK(text_by(&write_block_text, p) == "--- contention:\ncycles/second=1000000000\n10 2" + rest);
  CHECK(text_by(&write_count_text, p) == "contentions profile: total 2\n2" + rest);
}

TEST_CASE("a profile that ran out of memory does no harm to texts of waits and counts") {
  arena none(pages(0));
  profile empty(none);
  add_delay_types(empty);
  CHECK(text_by(&write_block_text, empty) == "--- contention:\ncycles/second=1000000000\n--- Memory map: ---\n");
  CHECK(text_by(&write_mutex_text, empty).find("--- mutex:\n") == 0);
#if defined(__linux__)
  const pid_t child = fork();  // what would crash does so there
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    std::string text;
    arena scratch(pages(100));
    const bool is_good = write_count_text(empty, scratch, {append, &text});
    _exit(is_good || text.empty() ? 0 : 1);
  }
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
#endif
}
