// tests/fuzz/demangle_fuzz.cpp - the readable form of any name is valid UTF-8, ends with a NUL,
// lies in the arena and has a bounded size; a name that is not C++ stays what it is, and of one
// that is, all that the C++ runtime says of it is kept.
//
// The C++ runtime's demangler is replaced by one that says what the input wants: the real one is
// not ours to search, and there are short names for which libstdc++ 12 does not come back.

#include "prof/symbol/demangle.hpp"

#include "fuzz.hpp"

namespace {

using namespace prof::detail;

// What the demangler says and what it was asked. Outside of a run it refuses, as when a sanitizer
// asks it for a name.
struct runtime {
  bool is_running = false;
  bool refuses = false;
  std::string readable{};
  std::string asked{};
};
runtime cxx;

// The text again and again, up to more than is shown.
std::string repeat(text_view text, std::size_t size) {
  std::string whole;
  while (text.size != 0 && whole.size() < size) whole.append(text.data, text.size);
  whole.resize(text.size == 0 ? 0 : size);
  return whole.c_str();
}

bool is_valid(const std::string& text) { return fuzz::is_utf8({text.data(), text.size()}); }

// Up to its version, which is "@" and more; "@plt" is a part of the name.
std::string without_version(const std::string& name) {
  const std::size_t at = name.find('@');
  if (at == 0 || at == std::string::npos || name.substr(at) == "@plt") return name;
  return name.substr(0, at);
}

void check_cxx(const std::string& shown, const std::string& name) {
  FUZZ_REQUIRE(name.rfind(cxx.asked, 0) == 0 && cxx.asked.find('@') == std::string::npos);
  const std::string rest = name.substr(cxx.asked.size());
  FUZZ_REQUIRE(rest.empty() || rest[0] == '.' || rest == "@plt");
  if (cxx.refuses) return FUZZ_REQUIRE(!is_valid(name) || shown == name);
  const std::string kept = cxx.readable.substr(0, max_readable_name);
  if (!is_valid(kept)) return;
  FUZZ_REQUIRE(shown.rfind(kept, 0) == 0);
  FUZZ_REQUIRE(!rest.empty() || shown == kept);
}

}  // namespace

namespace __cxxabiv1 {

extern "C" char* __cxa_demangle(const char* name, char*, std::size_t*, int* status) {
  cxx.asked = name;
  const bool answers = cxx.is_running && !cxx.refuses;
  if (status != nullptr) *status = answers ? 0 : -2;
  return answers ? strdup(cxx.readable.c_str()) : nullptr;
}

}  // namespace __cxxabiv1

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source in(data, size);
  const std::uint8_t kind = in.byte();
  cxx.refuses = kind % 4 == 0;
  const std::size_t wanted = kind % 16 == 1 ? max_readable_name - 4 + kind / 16 : kind;
  cxx.readable = repeat(in.text(in.byte() % 16), wanted);
  const std::string name = fuzz::to_string(in.rest()).c_str();
  fuzz::pages from;
  arena memory(fuzz::pages::from(), fuzz::pages::first_chunk);

  cxx.is_running = true;
  const text_view shown = demangle(name.c_str(), memory);
  cxx.is_running = false;
  FUZZ_REQUIRE(from.book.holds({shown.data, shown.size + 1}));
  FUZZ_REQUIRE(shown.data[shown.size] == '\0');
  FUZZ_REQUIRE(fuzz::is_utf8(shown));
  FUZZ_REQUIRE(shown.size <= max_readable_name + 10 * name.size());
  const std::string plain = without_version(name);
  if (plain.rfind("_Z", 0) == 0) check_cxx(fuzz::to_string(shown), plain);
  else FUZZ_REQUIRE(!is_valid(plain) || fuzz::to_string(shown) == plain);
  return 0;
}
