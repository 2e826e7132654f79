// tests/unit/write/threads_text_test.cpp - every thread with its stack as text, from profiles that are made by hand.

#include "prof/write/threads_text.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

namespace {

using prof::detail::arena;
using prof::detail::no_index;
using prof::detail::page_source;
using prof::detail::profile;
using prof::detail::profile_label;
using prof::detail::profile_mapping;
using prof::detail::write_goroutine_dump;
using prof::detail::write_thread_dump;

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

std::string text_of(const profile& p) {
  std::string text;
  arena scratch(pages(100));
  CHECK(write_thread_dump(p, scratch, {append, &text}));
  return text;
}

// A label with a text, or with a number.
struct mark {
  const char* key;
  const char* text;
  std::int64_t number;
  mark(const char* of, const char* is) : key(of), text(is), number(0) {}
  mark(const char* of, std::int64_t is) : key(of), text(nullptr), number(is) {}
};
using marks = std::vector<mark>;

void add(profile& p, const std::vector<std::uint32_t>& stack, const marks& given, std::int64_t value = 1) {
  std::vector<profile_label> labels;
  for (const mark& one : given) {
    labels.push_back({p.string(one.key), one.text == nullptr ? 0 : p.string(one.text), one.number, 0});
  }
  REQUIRE(p.add_sample(stack.data(), stack.size(), labels.data(), labels.size(), &value) != nullptr);
}
marks thread(std::int64_t id, const marks& more = {}) {
  marks all = {{".thread", id}, {".name", "worker"}, {".state", "S"}};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// A location with one line.
std::uint32_t at(profile& p, std::uint64_t address, const char* function, const char* file, std::int64_t line) {
  const std::uint32_t place = p.add_location(no_index, address);
  p.add_line(p.locations[place], {p.add_function(function, function, file), line, 0});
  return place;
}

// The first line of each thread.
std::vector<std::string> titles(const std::string& text) {
  std::vector<std::string> found;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end - begin);
    if (line.compare(0, 7, "thread ") == 0) found.push_back(line);
    begin = end + 1;
  }
  return found;
}

constexpr std::int64_t second = 1000000000;

struct model {
  arena memory{pages(100)};
  profile p{memory};
  model() { p.add_value_type("threads", "count"); }
};

}  // namespace

TEST_CASE("the whole text of a small profile") {
  model m;
  profile& p = m.p;
  profile_mapping mapping;
  mapping.file = p.string("/usr/lib/libx.so");
  p.mappings.push(mapping);
  const std::uint32_t main = at(p, 0x401234, "main", "/src/main.cpp", 12);
  const std::uint32_t work = at(p, 0x401300, "work(int)", "/src/work.cpp", 34);
  const std::uint32_t other = p.add_location(0, 0x7f001000);
  p.add_line(p.locations[other], {p.add_function("x_wait", "x_wait"), 0, 0});
  const std::uint32_t unknown = p.add_location(0, 0x7f002000);
  const std::uint32_t start = at(p, 0x401400, "start_work()", "/src/main.cpp", 20);
  add(p, {main}, {{".thread", 100}, {".name", "program"}, {".state", "R"}, {".cpu", 12345678901}});
  add(p, {other, unknown, work},
      {{"tenant", "a"}, {".thread", 101}, {".name", "worker"}, {".state", "S"}, {".channel", "futex_wait_queue"},
       {".cpu", 2 * second}, {".wait", "mutex"}, {".object", 0x7ffc0010}, {".waited", 185 * second}, {".owner", 100}});
  add(p, {start, main}, {{".made", 101}, {".creator", 100}}, 0);
  const std::string threads =
      "thread 101 [mutex, 3 minutes labels:{\"tenant\": \"a\"}]:\n"
      "# name \"worker\", state S, cpu 2.000 s, kernel futex_wait_queue, waits for mutex 0x7ffc0010 since 185.000 s, "
      "held by thread 100\n"
      "x_wait\n"
      "\t/usr/lib/libx.so:0 pc=0x7f001000\n"
      "0x7f002000\n"
      "work(int)\n"
      "\t/src/work.cpp:34 pc=0x401300\n"
      "created in thread 100 by start_work()\n"
      "\t/src/main.cpp:20 pc=0x401400\n"
      "main\n"
      "\t/src/main.cpp:12 pc=0x401234\n"
      "\n"
      "thread 100 [running]:\n"
      "# name \"program\", state R, cpu 12.345 s\n"
      "main\n"
      "\t/src/main.cpp:12 pc=0x401234\n"
      "\n";
  CHECK(text_of(p) == threads);
  std::string goroutines;
  arena scratch(pages(100));
  CHECK(write_goroutine_dump(p, scratch, {append, &goroutines}));
  std::string expected = threads;
  expected.replace(0, 6, "goroutine");
  expected.replace(expected.find("thread 100 [running]"), 6, "goroutine");
  CHECK(goroutines == expected);
}

TEST_CASE("a profile without threads is an empty text") {
  model m;
  CHECK(text_of(m.p).empty());
  add(m.p, {at(m.p, 1, "f", "", 0)}, {{"a", "b"}});  // no thread
  add(m.p, {at(m.p, 1, "f", "", 0)}, {{".made", 7}, {".creator", 8}}, 0);
  CHECK(text_of(m.p).empty());
}

TEST_CASE("those who wait longest come first, then all by their ids") {
  model m;
  const std::uint32_t f = at(m.p, 1, "f", "", 0);
  add(m.p, {f}, thread(30));
  add(m.p, {f}, thread(4));
  add(m.p, {f}, thread(50, {{".wait", "mutex"}, {".waited", 2 * second}}));
  add(m.p, {f}, thread(60, {{".wait", "mutex"}, {".waited", 3 * second}}));
  add(m.p, {f}, thread(7, {{".wait", "cond"}, {".waited", 2 * second}}));
  add(m.p, {f}, thread(100));
  CHECK(titles(text_of(m.p)) == std::vector<std::string>{"thread 60 [mutex]:", "thread 7 [cond]:", "thread 50 [mutex]:",
                                                         "thread 4 [waiting]:", "thread 30 [waiting]:",
                                                         "thread 100 [waiting]:"});
}

TEST_CASE("a thread's state is what it waits for, else what the kernel says") {
  const auto state = [](const marks& given) {
    model m;
    marks all = {{".thread", 1}};
    all.insert(all.end(), given.begin(), given.end());
    add(m.p, {at(m.p, 1, "f", "", 0)}, all);
    return titles(text_of(m.p)).at(0);
  };
  CHECK(state({{".state", "R"}}) == "thread 1 [running]:");
  CHECK(state({{".state", "S"}}) == "thread 1 [waiting]:");
  CHECK(state({{".state", "D"}}) == "thread 1 [uninterruptible]:");
  CHECK(state({{".state", "T"}}) == "thread 1 [stopped]:");
  CHECK(state({{".state", "t"}}) == "thread 1 [stopped]:");
  CHECK(state({{".state", "I"}}) == "thread 1 [waiting]:");
  CHECK(state({}) == "thread 1 [waiting]:");
  CHECK(state({{".state", "R"}, {".wait", "semaphore"}}) == "thread 1 [semaphore]:");
}

TEST_CASE("whole minutes of a wait are in the title, the exact time beside it") {
  const auto text = [](std::int64_t waited) {
    model m;
    add(m.p, {at(m.p, 1, "f", "", 0)}, {{".thread", 1}, {".wait", "join"}, {".object", 16}, {".waited", waited}});
    const std::string whole = text_of(m.p);
    return whole.substr(0, whole.find("\nf\n"));
  };
  const std::string facts = ":\n# name \"\", state , cpu 0.000 s, waits for join 0x10";
  CHECK(text(0) == "thread 1 [join]" + facts);
  CHECK(text(1) == "thread 1 [join]" + facts + " since 0.000 s");
  CHECK(text(9 * second + 9000000) == "thread 1 [join]" + facts + " since 9.009 s");
  CHECK(text(59 * second + 999999999) == "thread 1 [join]" + facts + " since 59.999 s");
  CHECK(text(60 * second) == "thread 1 [join, 1 minutes]" + facts + " since 60.000 s");
  CHECK(text(3600 * second + 90000000) == "thread 1 [join, 60 minutes]" + facts + " since 3600.090 s");
}

TEST_CASE("a thread without a stack says why") {
  model m;
  add(m.p, {m.p.add_named_location("[no answer]")}, thread(5, {{".why", "it blocks the signal"}}));
  CHECK(text_of(m.p) ==
        "thread 5 [waiting]:\n"
        "# name \"worker\", state S, cpu 0.000 s, no stack: it blocks the signal\n"
        "[no answer]\n"
        "\t pc=0x0\n"
        "\n");
}

TEST_CASE("a wait channel of the kernel is shown, a 0 is none") {
  const auto facts = [](const char* channel) {
    model m;
    add(m.p, {at(m.p, 1, "f", "", 0)}, thread(1, {{".channel", channel}}));
    const std::string text = text_of(m.p);
    const std::size_t begin = text.find("# ");
    return text.substr(begin, text.find('\n', begin) - begin);
  };
  CHECK(facts("0") == "# name \"worker\", state S, cpu 0.000 s");
  CHECK(facts("hrtimer_nanosleep") == "# name \"worker\", state S, cpu 0.000 s, kernel hrtimer_nanosleep");
}

// ---- deadlocks ---------------------------------------------------------------------------------------------------------

TEST_CASE("threads that wait in a circle are named before all others, circle by circle") {
  model m;
  const std::uint32_t f = at(m.p, 1, "f", "", 0);
  const auto waits = [](const char* kind, std::int64_t object, std::int64_t owner, std::int64_t circle) {
    marks all = {{".wait", kind}, {".object", object}, {".owner", owner}};
    if (circle != 0) all.emplace_back(".circle", circle);
    return all;
  };
  add(m.p, {f}, thread(12, waits("mutex", 0x100, 13, 2)));
  add(m.p, {f}, thread(13, waits("wrlock", 0x200, 14, 2)));
  add(m.p, {f}, thread(14, waits("mutex", 0x300, 12, 2)));
  add(m.p, {f}, thread(20, waits("mutex", 0x400, 20, 1)));
  add(m.p, {f}, thread(30, waits("mutex", 0x400, 20, 0)));
  const std::string text = text_of(m.p);
  CHECK(text.substr(0, text.find("thread 12 [")) ==
        "deadlock 1: thread 20 waits for the mutex 0x400 of thread 20\n\n"
        "deadlock 2: thread 12 waits for the mutex 0x100 of thread 13, thread 13 waits for the wrlock 0x200 of thread 14, "
        "thread 14 waits for the mutex 0x300 of thread 12\n\n");
  CHECK(text.find("waits for wrlock 0x200, held by thread 14, deadlock 2\n") != std::string::npos);
  CHECK(text.find("waits for mutex 0x400, held by thread 20, deadlock 1\n") != std::string::npos);
  CHECK(text.find("waits for mutex 0x400, held by thread 20\n") != std::string::npos);
  CHECK(titles(text).size() == 5);
}

// ---- who made whom -----------------------------------------------------------------------------------------------------

TEST_CASE("each thread has the stack that made it, and one whose maker is not known none") {
  model m;
  const std::uint32_t f = at(m.p, 0x10, "f", "", 0);
  const std::uint32_t first = at(m.p, 0x20, "first", "a.cpp", 1);
  const std::uint32_t second_one = at(m.p, 0x30, "second", "a.cpp", 2);
  add(m.p, {second_one}, {{".made", 2}, {".creator", 1}}, 0);
  add(m.p, {f}, thread(3));
  add(m.p, {f}, thread(2));
  add(m.p, {f}, thread(1));
  add(m.p, {first, f}, {{".made", 1}, {".creator", 9}}, 0);
  const std::string facts = " [waiting]:\n# name \"worker\", state S, cpu 0.000 s\nf\n\t pc=0x10\n";
  CHECK(text_of(m.p) == "thread 1" + facts +
                            "created in thread 9 by first\n\ta.cpp:1 pc=0x20\nf\n\t pc=0x10\n"
                            "\n"
                            "thread 2" + facts +
                            "created in thread 1 by second\n\ta.cpp:2 pc=0x30\n"
                            "\n"
                            "thread 3" + facts + "\n");
}

TEST_CASE("what a thread waits for has an address, a descriptor, or neither") {
  model m;
  const std::uint32_t f = at(m.p, 0x10, "f", "", 0);
  add(m.p, {f}, thread(1, {{".wait", "mutex"}, {".object", 0x1230}}));
  add(m.p, {f}, thread(2, {{".wait", "read"}, {".descriptor", 5}}));
  add(m.p, {f}, thread(3, {{".wait", "sleep"}}));
  const std::string text = text_of(m.p);
  CHECK(text.find(", waits for mutex 0x1230\n") != std::string::npos);
  CHECK(text.find(", waits for read of descriptor 5\n") != std::string::npos);
  CHECK(text.find(", waits for sleep\n") != std::string::npos);
}

// ---- labels ------------------------------------------------------------------------------------------------------------

TEST_CASE("the program's labels are quoted in the title, those of ours and numbers are not there") {
  model m;
  add(m.p, {at(m.p, 1, "f", "", 0)},
      {{"path", "C:\\a\"b\""}, {"count", 5}, {"line", "one\ntwo"}, {"\"", "\xc3\xa9"}, {".thread", 1}, {".state", "R"}});
  CHECK(titles(text_of(m.p)).at(0) ==
        "thread 1 [running labels:{\"path\": \"C:\\\\a\\\"b\\\"\", \"line\": \"one?two\", \"\\\"\": \"\xc3\xa9\"}]:");
}

TEST_CASE("names cannot begin a line of their own, nor end their quotes") {
  model m;
  profile_mapping mapping;
  mapping.file = m.p.string("/bin/a\nthread 7 [running]:");
  m.p.mappings.push(mapping);
  const std::uint32_t place = m.p.add_location(0, 0x10);
  m.p.add_line(m.p.locations[place], {m.p.add_function("f\nthread 8 [running]:", "f"), 1, 0});
  add(m.p, {place, at(m.p, 0x20, "g\x1b[2J", "a\r\n.cpp", 3)},
      {{".thread", 1}, {".name", "\"\nthread 9 [running]:\\"}, {".state", "R"}});
  CHECK(text_of(m.p) ==
        "thread 1 [running]:\n"
        "# name \"\\\"?thread 9 [running]:\\\\\", state R, cpu 0.000 s\n"
        "f?thread 8 [running]:\n"
        "\t/bin/a?thread 7 [running]::0 pc=0x10\n"
        "g?[2J\n"
        "\ta??.cpp:3 pc=0x20\n"
        "\n");
}

// ---- frames ------------------------------------------------------------------------------------------------------------

TEST_CASE("inlined functions have a pair of lines each, innermost first") {
  model m;
  const std::uint32_t place = m.p.add_location(no_index, 0x10);
  m.p.add_line(m.p.locations[place], {m.p.add_function("inner", "inner", "i.hpp"), 1, 0});
  m.p.add_line(m.p.locations[place], {m.p.add_function("outer", "outer", "o.cpp"), 2, 0});
  add(m.p, {place}, thread(1));
  const std::string text = text_of(m.p);
  CHECK(text.substr(text.find("inner")) == "inner\n\ti.hpp:1 pc=0x10\nouter\n\to.cpp:2 pc=0x10\n\n");
}

TEST_CASE("refusal and lack of memory are reported") {
  model m;
  for (std::int64_t i = 1; i < 300; ++i) add(m.p, {at(m.p, 1, "f", "", 0)}, thread(i));
  arena scratch(pages(100));
  CHECK_FALSE(write_thread_dump(m.p, scratch, {refuse, nullptr}));
  CHECK_FALSE(write_goroutine_dump(m.p, scratch, {refuse, nullptr}));
  std::string text;
  arena none(pages(0));
  CHECK_FALSE(write_thread_dump(m.p, none, {append, &text}));
  arena little(pages(1), 1024);
  CHECK_FALSE(write_thread_dump(m.p, little, {append, &text}));
  CHECK(text.empty());
}

TEST_CASE("a profile that ran out of memory, and indices that lead nowhere, do no harm") {
  arena none(pages(0));
  profile empty(none);
  CHECK(text_of(empty).empty());

  model m;
  const std::uint32_t place = m.p.add_location(77, 1);
  m.p.add_line(m.p.locations[place], {55, 1, 0});
  const std::uint32_t lost = m.p.add_location(78, 2);
  m.p.add_line(m.p.locations[lost], {m.p.add_function("f", "f"), 1, 0});
  const std::int64_t value = 1;
  const std::uint32_t stack[] = {no_index, place, 12345, lost};
  const profile_label labels[] = {{m.p.string(".thread"), 0, 1, 0}, {999, 998, 0, 0}};
  m.p.add_sample(stack, 4, labels, 2, &value);
  CHECK(text_of(m.p) ==
        "thread 1 [waiting labels:{\"\": \"\"}]:\n"
        "# name \"\", state , cpu 0.000 s\n"
        "f\n"
        "\t pc=0x2\n"
        "\n");
}
