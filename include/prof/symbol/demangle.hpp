// prof/symbol/demangle.hpp - linker names as people write them.
// Floor 9 (symbol). Used by the symbolizer.
// Safety: ordinary context; thread-safe. The C++ runtime's demangler calls malloc and free once
//         per name: the caller keeps the hooks quiet if that must not be seen.
// Memory: the result is in the arena; the demangler's buffer is freed before this returns.
// Source: Itanium C++ ABI 5.1 and its __cxa_demangle; clone suffixes as GNU binutils 2.40 shows
//         them (cp-demangle.c d_clone_suffix); UTF-8: Unicode 15.0 table 3-7. libstdc++ 12 refuses
//         names of more than 1024 characters (PR 87675); they stay as they are.
#ifndef PROF_SYMBOL_DEMANGLE_HPP
#define PROF_SYMBOL_DEMANGLE_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"

#include <cxxabi.h>

#include <cstdlib>

PROF_DETAIL_BEGIN

// The texts one after the other, NUL-terminated and valid UTF-8; empty when out of memory.
inline text_view join_clean(arena& memory, text_view a, text_view b = {}) noexcept {
  char* const place = static_cast<char*>(memory.allocate(a.size + b.size + 1));
  if (place == nullptr) return {};
  std::memcpy(place, a.data, a.size);
  std::memcpy(place + a.size, b.data, b.size);
  clean_utf8(place, a.size + b.size);
  return {place, a.size + b.size};
}

// ---- demangling --------------------------------------------------------------------------------

inline constexpr text_view stub_suffix{"@plt", 4};
// Substitutions let a short name stand for one of any length; what is beyond this nobody reads.
inline constexpr std::size_t max_readable_name = std::size_t{64} * 1024;

// Length of the clone suffix that `text` begins with: ".cold", ".part.0", ".llvm.123", ".7".
inline std::size_t clone_suffix_length(text_view text) noexcept {
  const auto digit = [&](std::size_t i) {
    return i < text.size && text.data[i] >= '0' && text.data[i] <= '9';
  };
  const auto word = [&](std::size_t i) {
    const char c = i < text.size ? text.data[i] : '\0';
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || digit(i);
  };
  const auto dot = [&](std::size_t i) { return i < text.size && text.data[i] == '.'; };
  std::size_t at = 0;
  if (dot(0) && word(1)) {
    for (at = 2; word(at);) ++at;
  }
  while (at != 0 && dot(at) && digit(at + 1)) {
    for (at += 2; digit(at);) ++at;
  }
  return at;
}

// "foo()" and ".part.0.cold" make "foo() [clone .part.0] [clone .cold]".
inline text_view join_clones(arena& memory, text_view name, text_view clones,
                             text_view tail) noexcept {
  std::size_t room = name.size + clones.size + tail.size + 1;
  for (std::size_t i = 0; i < clones.size; ++i) room += clones.data[i] == '.' ? 9 : 0;
  char* const place = static_cast<char*>(memory.allocate(room));
  if (place == nullptr) return {};
  std::size_t used = 0;
  const auto put = [&](text_view text) {
    std::memcpy(place + used, text.data, text.size);
    used += text.size;
  };
  put(name);
  while (clones.size != 0) {
    const std::size_t length = clone_suffix_length(clones);
    put(" [clone ");
    put({clones.data, length});
    put("]");
    clones = clones.from(length);
  }
  put(tail);
  clean_utf8(place, used);
  return {place, used};
}

// The part of a linker name before its clone suffixes, which begin at `first` or behind it; all of
// it when what follows is no suffix.
inline std::size_t unsuffixed_length(text_view name, std::size_t first) noexcept {
  const std::size_t base = first + name.from(first).find('.');
  for (text_view rest = name.from(base); rest.size != 0;) {
    const std::size_t length = clone_suffix_length(rest);
    if (length == 0) return name.size;
    rest = rest.from(length);
  }
  return base;
}

// Demangles a C++ name, cut where its clone suffixes begin: `base`. Demanglers differ in what they
// show for those: libc++abi "foo() (.cold)". g++'s coroutines take a frame whose own name has a dot
// in it, so a cut that leaves no name is tried again at the next dots. Null or what is to be freed.
inline char* demangle_unsuffixed(text_view name, arena& memory, std::size_t& base) noexcept {
  constexpr int max_dots = 8;
  std::size_t first = 0;
  for (int dots = 0; dots < max_dots && first < name.size; ++dots) {
    base = unsuffixed_length(name, first);
    const char* const text = memory.copy(name.data, base);
    if (text == nullptr) return nullptr;
    int status = 0;
    char* const readable = abi::__cxa_demangle(text, nullptr, nullptr, &status);
    if (readable != nullptr) return readable;
    first = base + 1;
  }
  return nullptr;
}

// The readable form of a linker name without its version ("@GLIBC_2.14"); of names that are not
// C++ the name itself. "@plt" stays. NUL-terminated in the arena, valid UTF-8.
inline text_view demangle(const char* mangled, arena& memory) noexcept {
  text_view name(mangled);
  const std::size_t at = name.find('@');
  const text_view tail = name.from(at).equals(stub_suffix) ? stub_suffix : text_view();
  if (at != 0) name.size = at;
  if (!name.starts_with({"_Z", 2})) return join_clean(memory, name, at != 0 ? tail : text_view());
  std::size_t base = 0;
  char* const readable = demangle_unsuffixed(name, memory, base);
  if (readable == nullptr) return join_clean(memory, name, tail);
  text_view shown(readable);
  if (shown.size > max_readable_name) shown.size = max_readable_name;
  const text_view answer = join_clones(memory, shown, name.from(base), tail);
  std::free(readable);
  return answer;
}

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DEMANGLE_HPP
