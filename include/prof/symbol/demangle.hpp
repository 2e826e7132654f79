// prof/symbol/demangle.hpp - linker names as people write them.
// Floor 9 (symbol). Used by the symbolizer.
// Safety: ordinary context; thread-compatible: one demangler, one arena, one thread. Any name is answered within
//         a bound of steps, nodes and characters (mangled_name.hpp, readable_name.hpp); no malloc, no recursion.
// Memory: the result is in the arena; what reading takes is the demangler's and is used again for the next name.
// Source: Itanium C++ ABI 5.1; clone suffixes as GNU binutils 2.40 shows them (cp-demangle.c d_clone_suffix).
//         Not the runtime's __cxa_demangle: a name of 220 characters took it 10 s and 1.5 GB of malloc, and
//         libstdc++ 12 refuses names of more than 1024 characters (GCC PR 87675).
#ifndef PROF_SYMBOL_DEMANGLE_HPP
#define PROF_SYMBOL_DEMANGLE_HPP

#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"
#include "prof/symbol/mangled_name.hpp"
#include "prof/symbol/readable_name.hpp"

PROF_DETAIL_BEGIN

// Most names are ASCII, and what is shown of them then needs no look.
PROF_DETAIL_NOINLINE inline bool is_ascii(text_view text) noexcept {
  std::uint64_t bits = 0;
  std::size_t at = 0;
  for (; text.size - at >= sizeof bits; at += sizeof bits) {
    std::uint64_t next;
    std::memcpy(&next, text.data + at, sizeof next);
    bits |= next;
  }
  for (; at < text.size; ++at) bits |= static_cast<std::uint64_t>(static_cast<unsigned char>(text.data[at]));
  return (bits & 0x8080808080808080) == 0;
}

// ---- demangling --------------------------------------------------------------------------------

inline constexpr text_view stub_suffix{"@plt", 4};

// Length of the clone suffix that `text` begins with: ".cold", ".part.0", ".llvm.123", ".7".
PROF_DETAIL_COLD inline std::size_t clone_suffix_length(text_view text) noexcept {
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

// "foo()" and ".part.0.cold" make "foo() [clone .part.0] [clone .cold]". NUL-terminated; empty when out of memory.
PROF_DETAIL_COLD inline text_view join_clones(arena& memory, text_view name, text_view clones, text_view tail,
                                                  bool clean) noexcept {
  std::size_t room = name.size + clones.size + tail.size + 1;
  for (std::size_t i = 0; i < clones.size; ++i) room += clones.data[i] == '.' ? 9 : 0;
  char* const place = static_cast<char*>(memory.allocate(room));
  if (place == nullptr) return {};
  std::size_t used = 0;
  const auto put = [&](text_view text) PROF_DETAIL_NOINLINE {
    std::memcpy(place + used, text.data, text.size);
    used += text.size;
  };
  put(name);
  while (clones.size != 0) {
    const std::size_t length = clone_suffix_length(clones);
    put({" [clone ", 8});
    put({clones.data, length});
    put({"]", 1});
    clones = clones.from(length);
  }
  put(tail);
  if (!clean) clean_utf8(place, used);
  return {place, used};
}

// The texts one after the other, NUL-terminated and valid UTF-8; empty when out of memory.
inline text_view join_clean(arena& memory, text_view a, text_view b = {}) noexcept {
  return join_clones(memory, a, {}, b, is_ascii(a) && is_ascii(b));
}

// Whether a text is clone suffixes and nothing else.
PROF_DETAIL_COLD inline bool is_clones(text_view text) noexcept {
  std::size_t length = 1;
  for (; text.size != 0 && length != 0; text = text.from(length)) length = clone_suffix_length(text);
  return length != 0;
}

// Demangles one name after the other.
class demangler {
 public:
  explicit demangler(arena& memory) noexcept : readable_(memory), name_(memory) {}

  // The readable form of a linker name without its version ("@GLIBC_2.14"); the name itself when it is not C++ or
  // cannot be read. "@plt" stays. NUL-terminated in the arena, valid UTF-8.
  PROF_DETAIL_NOINLINE text_view demangle(text_view name, arena& memory) noexcept {
    const std::size_t at = name.find('@');
    const text_view tail = at != 0 && name.from(at).equals(stub_suffix) ? stub_suffix : text_view();
    if (at != 0) name.size = at;
    const bool clean = is_ascii(name);
    if (name_.parse(name)) {
      const text_view clones = name.from(name_.end());
      if (is_clones(clones) && readable_.print(name_)) {
        return join_clones(memory, readable_.text(), clones, tail, clean);
      }
    }
    return join_clones(memory, name, {}, tail, clean);
  }
  // What the last name took.
  std::uint32_t steps() const noexcept { return name_.steps(); }

 private:
  readable_name readable_;  // first: the arena finds large blocks again that are asked for before small ones
  mangled_name name_;
};

// One name only; what it takes beside the result is given back to the arena.
inline text_view demangle(text_view mangled, arena& memory) noexcept {
  return demangler(memory).demangle(mangled, memory);
}

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DEMANGLE_HPP
