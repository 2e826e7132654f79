// tests/unit/base/sink_test.cpp - what a sink is made from, and what it refuses.

#include "prof/base/sink.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <sstream>
#include <string>
#include <vector>

namespace {

using prof::sink;
using kind = prof::sink::kind;

template <class... From>
constexpr bool makes_sink = std::is_constructible_v<sink, From...>;

// What is accepted.
static_assert(makes_sink<std::FILE*>);
static_assert(makes_sink<prof::fd>);
static_assert(makes_sink<const char*>);
static_assert(makes_sink<char*>);
static_assert(makes_sink<const char (&)[6]>);
static_assert(makes_sink<std::ostream&>);
static_assert(makes_sink<std::ostringstream&>);
static_assert(makes_sink<prof::append_to<std::string>>);
static_assert(makes_sink<bool (*)(void*, const void*, std::size_t), void*>);
static_assert(std::is_convertible_v<const char*, sink>);
static_assert(std::is_convertible_v<prof::append_to<std::string>, sink>);

// What is refused, since it could mean two things.
static_assert(!makes_sink<std::string&>);
static_assert(!makes_sink<const std::string&>);
static_assert(!makes_sink<std::string>);
static_assert(!makes_sink<const std::string>);
static_assert(!makes_sink<int>);
static_assert(!makes_sink<int&>);
static_assert(!makes_sink<unsigned>);
static_assert(!makes_sink<bool>);
static_assert(!makes_sink<std::nullptr_t>);
static_assert(!makes_sink<void*>);
static_assert(!makes_sink<std::ostringstream>);  // a temporary stream would be gone at the end
static_assert(!makes_sink<const std::ostringstream&>);
static_assert(!makes_sink<>);
static_assert(!std::is_convertible_v<int, prof::fd>);

struct custom_stream {
  std::string got;
  void write(const char* data, std::streamsize size) {
    got.append(data, static_cast<std::size_t>(size));
  }
};

struct custom_text {
  std::vector<char> got;
  void append(const char* data, std::size_t size) { got.insert(got.end(), data, data + size); }
};

}  // namespace

TEST_CASE("a FILE*, a descriptor and a path are kept as they are") {
  const sink file(stderr);
  CHECK(file.type() == kind::file);
  CHECK(file.file() == stderr);
  CHECK(file.valid());

  const sink descriptor(prof::fd(2));
  CHECK(descriptor.type() == kind::descriptor);
  CHECK(descriptor.descriptor() == 2);
  CHECK(descriptor.valid());

  const sink path("some/where");
  CHECK(path.type() == kind::path);
  CHECK(std::strcmp(path.path(), "some/where") == 0);
  CHECK(path.valid());
}

TEST_CASE("null and negative things are invalid") {
  CHECK_FALSE(sink(static_cast<std::FILE*>(nullptr)).valid());
  CHECK_FALSE(sink(static_cast<const char*>(nullptr)).valid());
  CHECK_FALSE(sink("").valid());
  CHECK_FALSE(sink(prof::fd(-1)).valid());
  CHECK_FALSE(
      sink(static_cast<bool (*)(void*, const void*, std::size_t)>(nullptr), nullptr).valid());
}

TEST_CASE("a callback gets its context, and its answer counts") {
  struct seen {
    std::string bytes;
    bool answer = true;
  } target;
  const sink out(
      [](void* context, const void* data, std::size_t size) {
        auto& self = *static_cast<seen*>(context);
        self.bytes.append(static_cast<const char*>(data), size);
        return self.answer;
      },
      &target);
  CHECK(out.type() == kind::callback);
  CHECK(out.valid());
  CHECK(out.call("ab", 2));
  target.answer = false;
  CHECK_FALSE(out.call("\0c", 2));
  CHECK(target.bytes == std::string("ab\0c", 4));
}

TEST_CASE("append_to appends to anything with append") {
  std::string text = "kept ";
  const sink out = prof::append_to(text);
  CHECK(out.call("and ", 4));
  CHECK(out.call("added", 5));
  CHECK(text == "kept and added");

  custom_text bytes;
  const sink other = prof::append_to(bytes);
  CHECK(other.call("xyz", 3));
  CHECK(bytes.got.size() == 3);
}

TEST_CASE("a stream gets the bytes, and a bad stream says stop") {
  std::ostringstream stream;
  const sink out(stream);
  CHECK(out.call("abc", 3));
  CHECK(stream.str() == "abc");
  stream.setstate(std::ios::badbit);
  CHECK_FALSE(out.call("d", 1));

  std::ostream& base = stream;
  base.clear();
  CHECK(sink(base).call("e", 1));
}

TEST_CASE("a stream of the host's own needs only write") {
  custom_stream stream;
  const sink out(stream);
  CHECK(out.valid());
  CHECK(out.call("abc", 3));
  CHECK(stream.got == "abc");
}

TEST_CASE("a sink is a small value that can be passed on") {
  static_assert(std::is_trivially_copyable_v<sink>);
  static_assert(sizeof(sink) <= 5 * sizeof(void*));
  std::string text;
  const sink first = prof::append_to(text);
  const sink second = first;
  CHECK(second.call("1", 1));
  CHECK(text == "1");
}
