// tests/fuzz/demangle_fuzz.cpp - the readable form of any name is valid UTF-8, ends with a NUL, lies in the arena and
// has a bounded size; it takes a bounded number of steps and as much memory; a name that is not C++ stays what it is.
// What a demangler read before makes no difference. A shortened name has the same properties, and one without
// templates stays as it is.

#include "prof/symbol/demangle.hpp"
#include "prof/base/short_name.hpp"

#include "fuzz.hpp"

namespace {

using namespace prof::detail;

bool is_valid(const std::string& text) { return fuzz::is_utf8({text.data(), text.size()}); }

// Up to its version, which is "@" and more; "@plt" is a part of the name.
std::string without_version(const std::string& name) {
  const std::size_t at = name.find('@');
  if (at == 0 || at == std::string::npos || name.substr(at) == "@plt") return name;
  return name.substr(0, at);
}

void check_text(text_view text, fuzz::pages& from) {
  FUZZ_REQUIRE(from.book.holds({text.data, text.size + 1}));
  FUZZ_REQUIRE(text.data[text.size] == '\0');
  FUZZ_REQUIRE(fuzz::is_utf8(text));
}

void check_short(text_view shown, arena& memory, fuzz::pages& from) {
  const text_view less = shorten(shown, memory);
  check_text(less, from);
  FUZZ_REQUIRE(less.size <= 3 * shown.size);
  const std::string whole = fuzz::to_string(shown);
  const bool plain = whole.find('<') == std::string::npos && whole.find("std::__") == std::string::npos;
  FUZZ_REQUIRE(!plain || fuzz::to_string(less) == whole);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string name = std::string(reinterpret_cast<const char*>(data), size).c_str();
  fuzz::pages from;
  arena memory(fuzz::pages::from(), fuzz::pages::first_chunk);

  const text_view shown = demangle(name.c_str(), memory);
  check_text(shown, from);
  FUZZ_REQUIRE(shown.size <= max_readable_name + 10 * name.size());
  const std::string plain = without_version(name);
  const bool may_be_cxx = plain.rfind("_Z", 0) == 0 || plain.rfind("___Z", 0) == 0 || plain.rfind("____Z", 0) == 0;
  FUZZ_REQUIRE(may_be_cxx || !is_valid(plain) || fuzz::to_string(shown) == plain);

  demangler names(memory);
  const std::string other(name.rbegin(), name.rend());
  names.demangle({other.data(), other.size()}, memory);
  const text_view again = names.demangle({name.data(), name.size()}, memory);
  FUZZ_REQUIRE(fuzz::to_string(again) == fuzz::to_string(shown));
  // One loop may take some steps more before it sees that there are none left.
  FUZZ_REQUIRE(names.steps() <= mangled_name::max_steps + 1000);
  FUZZ_REQUIRE(memory.bytes() <= std::size_t{64} * 1024 * 1024);
  check_short(shown, memory, from);
  return 0;
}
