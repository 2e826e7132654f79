// tests/fuzz/fuzz.hpp - what the fuzz targets share: a failed property, numbers drawn from the
// input, pages that may run out.
//
// A target is one <name>_fuzz.cpp with LLVMFuzzerTestOneInput. It says at its top which property
// holds for every input, and breaks off when it does not. test_fuzz.py builds and runs all of them.
#ifndef PROF_TESTS_FUZZ_FUZZ_HPP
#define PROF_TESTS_FUZZ_FUZZ_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

// libFuzzer calls it with each input; so does replay_main.cpp with each file of a corpus.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

// Hidden as prof::detail is, of whose types it is made.
namespace fuzz __attribute__((visibility("hidden"))) {

using prof::detail::page_source;
using prof::detail::text_view;

// ---- properties --------------------------------------------------------------------------------

[[noreturn]] inline void fail(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: this must hold for every input, and does not: %s\n", file, line,
               what);
  std::abort();
}

#define FUZZ_REQUIRE(condition) \
  (static_cast<bool>(condition) ? void() : fuzz::fail(#condition, __FILE__, __LINE__))

inline std::string to_string(text_view text) { return std::string(text.data, text.size); }

// By decoding and encoding, where prof compares with ranges of bytes.
inline bool is_utf8(text_view text) {
  for (std::size_t at = 0; at < text.size;) {
    const auto byte = [&](std::size_t i) {
      return i < text.size ? static_cast<unsigned char>(text.data[i]) : 0U;
    };
    const unsigned lead = byte(at);
    const unsigned more = lead < 0x80 ? 0 : lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    std::uint32_t code = more == 0 ? lead : lead & (0x3fU >> more);
    for (unsigned i = 1; i <= more; ++i) {
      if ((byte(at + i) & 0xc0) != 0x80) return false;
      code = code << 6 | (byte(at + i) & 0x3f);
    }
    const unsigned shortest = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    if (shortest != more || (lead & 0xc0) == 0x80 || lead >= 0xf8 || code > 0x10ffff) return false;
    if (code >= 0xd800 && code <= 0xdfff) return false;
    at += 1 + more;
  }
  return true;
}

inline bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

inline bool lies_in(text_view part, const char* begin, std::size_t size) {
  const std::less_equal<const char*> before;
  return before(begin, part.data) && before(part.data + part.size, begin + size);
}

// ---- the input ---------------------------------------------------------------------------------

// Behind the end of the input there are zeros.
class source {
 public:
  source(const std::uint8_t* data, std::size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  bool empty() const { return rest_.size == 0; }
  text_view rest() const { return rest_; }

  template <class Integer>
  Integer number() {
    Integer value{};
    const text_view bytes = text(sizeof value);
    std::memcpy(&value, bytes.data, bytes.size);
    return value;
  }
  std::uint8_t byte() { return number<std::uint8_t>(); }
  // The next bytes, fewer when there are fewer.
  text_view text(std::size_t size) {
    const text_view taken{rest_.data, size < rest_.size ? size : rest_.size};
    rest_ = rest_.from(taken.size);
    return taken;
  }

 private:
  text_view rest_;
};

// ---- pages -------------------------------------------------------------------------------------

// Small chunks from the heap, so that a sanitizer sees their ends, and a memory of where they are.
struct page_book {
  std::uint32_t refused = 0;  // bit i: the i-th request is refused
  unsigned requests = 0;
  std::vector<text_view> chunks{};

  bool holds(text_view part) const {
    for (const text_view& chunk : chunks) {
      if (lies_in(part, chunk.data, chunk.size)) return true;
    }
    return false;
  }
};

inline page_book* open_book = nullptr;  // page_source has no context

// Arenas made while it lives get their pages from it.
class pages {
 public:
  explicit pages(std::uint32_t refused = 0) : before_(open_book) {
    book.refused = refused;
    open_book = &book;
  }
  ~pages() { open_book = before_; }
  pages(const pages&) = delete;
  pages& operator=(const pages&) = delete;

  page_book book{};
  static constexpr std::size_t first_chunk = 512;

  static page_source from() { return {map, std_free}; }

 private:
  static void* map(std::size_t size) noexcept {
    page_book& book = *open_book;
    const unsigned bit = book.requests++;
    if (bit < 32 && (book.refused >> bit & 1U) != 0) return nullptr;
    void* const chunk = std::calloc(1, size);
    book.chunks.push_back({static_cast<const char*>(chunk), size});
    return chunk;
  }
  static void std_free(void* chunk, std::size_t) noexcept { std::free(chunk); }

  page_book* before_;
};

}  // namespace fuzz

#endif  // PROF_TESTS_FUZZ_FUZZ_HPP
