// tests/unit/unwind/cfi_bytes.hpp - call frame information made by hand.
#ifndef PROF_TESTS_UNIT_STACK_CFI_BYTES_HPP
#define PROF_TESTS_UNIT_STACK_CFI_BYTES_HPP

#include "prof/unwind/cfi.hpp"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

PROF_DETAIL_BEGIN

// Bytes in the machine's order.
struct cfi_text {
  std::string bytes;

  cfi_text() = default;
  cfi_text(std::initializer_list<unsigned> values) {
    for (const unsigned value : values) u8(value);
  }
  template <class Integer>
  cfi_text& fixed(Integer value) {
    char copy[sizeof value];
    std::memcpy(copy, &value, sizeof value);
    bytes.append(copy, sizeof copy);
    return *this;
  }
  cfi_text& u8(unsigned value) { return fixed(static_cast<std::uint8_t>(value)); }
  cfi_text& uleb(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) u8(static_cast<unsigned>(value & 0x7f) | 0x80u);
    return u8(static_cast<unsigned>(value));
  }
  cfi_text& sleb(std::int64_t value) {
    for (; value < -64 || value > 63; value >>= 7) u8(static_cast<unsigned>(value & 0x7f) | 0x80u);
    return u8(static_cast<unsigned>(value & 0x7f));
  }
  cfi_text& text(const std::string& more) {
    bytes += more;
    return *this;
  }
  cfi_text& add(const cfi_text& more) { return text(more.bytes); }
  // A block: its length, then itself.
  cfi_text& block(const cfi_text& inner) { return uleb(inner.bytes.size()).add(inner); }

  const cfi_byte* begin() const { return reinterpret_cast<const cfi_byte*>(bytes.data()); }
  const cfi_byte* end() const { return begin() + bytes.size(); }
  byte_reader reader() const { return {begin(), end()}; }
};

// What a CIE says; by default as gcc writes it for x86-64, with absolute addresses.
struct cie_text {
  unsigned version = 1;
  std::string letters = "zR";
  std::uint64_t code_align = 1;
  std::int64_t data_align = -8;
  std::uint64_t return_register = 16;
  cfi_text augmentation;
  cfi_text instructions;

  // In here, for g++ 12 (aarch64, -O1) takes lists in member initializers for uninitialized.
  cie_text() : augmentation({0x00}), instructions({0x0c, 7, 8, 0x90, 1}) {}  // cfa = rsp + 8; rip at cfa - 8

  cfi_text body() const {
    cfi_text out;
    out.u8(version).text(letters + '\0');
    if (version == 4) out.u8(8).u8(0);
    out.uleb(code_align).sleb(data_align);
    if (version == 1)
      out.u8(static_cast<unsigned>(return_register));
    else
      out.uleb(return_register);
    if (!letters.empty() && letters[0] == 'z') out.block(augmentation);
    return out.add(instructions);
  }
};

// A section that grows entry by entry.
struct cfi_section_text {
  cfi_text out;
  bool is_debug_frame = false;
  bool long_lengths = false;
  std::size_t cie_at = 0;

  std::size_t entry(const cfi_text& body) {
    const std::size_t at = out.bytes.size();
    if (long_lengths)
      out.fixed(0xffffffffu).fixed(std::uint64_t{body.bytes.size()});
    else
      out.fixed(static_cast<std::uint32_t>(body.bytes.size()));
    out.add(body);
    return at;
  }
  std::size_t cie(const cie_text& cie = {}) {
    cfi_text body;
    body.fixed(is_debug_frame ? 0xffffffffu : 0u).add(cie.body());
    return cie_at = entry(body);
  }
  // Of a CIE whose addresses are absolute.
  std::size_t fde(std::uintptr_t start, std::uintptr_t size, const cfi_text& instructions = {},
                  bool augmented = true) {
    const std::size_t id_at = out.bytes.size() + (long_lengths ? 12 : 4);
    cfi_text body;
    body.fixed(static_cast<std::uint32_t>(is_debug_frame ? cie_at : id_at - cie_at));
    body.fixed(start).fixed(size);
    if (augmented) body.u8(0);
    return entry(body.add(instructions));
  }
  void terminator() { out.fixed(std::uint32_t{0}); }

  cfi_section section() const {
    cfi_section made;
    made.begin = out.begin();
    made.end = out.end();
    made.is_debug_frame = is_debug_frame;
    return made;
  }
  const cfi_byte* at(std::size_t entry_at) const { return out.begin() + entry_at; }
};

// A search header and its .eh_frame, and behind them their code: 64 KiB of it exist.
struct loaded_cfi {
  struct function {
    std::uintptr_t start;
    std::size_t entry;
  };
  cfi_section_text text;
  std::vector<function> functions;

  loaded_cfi() { text.cie(); }
  static unsigned char* bytes() {
    alignas(4096) static unsigned char place[0x110000];
    return place;
  }
  static std::uintptr_t header() { return reinterpret_cast<std::uintptr_t>(bytes()); }
  static std::uintptr_t code() { return header() + 0x100000; }
  std::size_t eh_frame_at() const { return 12 + 8 * functions.size(); }
  std::uintptr_t limit() const { return header() + eh_frame_at() + text.out.bytes.size(); }

  // In ascending order.
  void add(std::uintptr_t offset, std::uintptr_t size, const cfi_text& instructions = {}) {
    functions.push_back({code() + offset, text.fde(code() + offset, size, instructions)});
  }
  void load() const {
    const auto relative = [](std::uintptr_t address) {
      return static_cast<std::int32_t>(static_cast<std::intptr_t>(address - header()));
    };
    cfi_text head = {1, 0x1b, 0x03, 0x3b};
    head.fixed(static_cast<std::int32_t>(eh_frame_at()) - 4);
    head.fixed(static_cast<std::uint32_t>(functions.size()));
    for (const function& f : functions) {
      head.fixed(relative(f.start)).fixed(static_cast<std::int32_t>(eh_frame_at() + f.entry));
    }
    head.add(text.out);
    std::memset(bytes(), 0, 0x100000);
    std::memcpy(bytes(), head.bytes.data(), head.bytes.size());
  }
};

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_STACK_CFI_BYTES_HPP
