// prof/unwind/cfi.hpp - call frame information as compilers write it: finding the FDE of an address in
// .eh_frame or .debug_frame, and what its CIE says.
// Floor 4 (unwind). Used by cfi_program.hpp (which runs the instructions), unwind_table.hpp and walks.
// Safety: async-signal-safe: reads only the bytes of the section it is given, in bounds; every loop is
//         bounded by them. Who gives it memory that may vanish checks that before.
// Memory: none.
// Source: DWARF 5 sections 6.4.1 and 7.24; LSB 5.0 Core 10.6 (.eh_frame, .eh_frame_hdr, pointer
//         encodings); GCC's augmentations z R P L S B (gcc 12 unwind-dw2-fde.c, unwind-dw2.c).
#ifndef PROF_UNWIND_CFI_HPP
#define PROF_UNWIND_CFI_HPP

#include <cstring>

#include "prof/base/byte_reader.hpp"

PROF_DETAIL_BEGIN

using cfi_byte = unsigned char;

// A section's bytes and where they are, or would be, in memory. .debug_frame is not loaded: its
// addresses are those of the file, and `bias` turns them into the process's.
struct cfi_section {
  const cfi_byte* begin = nullptr;
  const cfi_byte* end = nullptr;
  bool is_debug_frame = false;
  std::uintptr_t bias = 0;  // added to absolute addresses
  std::uintptr_t moved = 0;  // see byte_reader

  std::size_t size() const PROF_DETAIL_SIG { return static_cast<std::size_t>(end - begin); }
};

// LSB 10.5.1. Low four bits: how many bytes; next three: relative to what; 0x80: indirect.
inline bool read_encoded_sig(byte_reader& from, std::uint8_t encoding, std::uintptr_t bias,
                             std::uintptr_t data, std::uintptr_t& value) PROF_DETAIL_SIG {
  const std::uintptr_t here = from.address();
  switch (encoding & 0x0f) {
    case 0x00:
    case 0x04:
    case 0x0c: value = from.fixed<std::uintptr_t>(); break;
    case 0x01: value = static_cast<std::uintptr_t>(from.uleb()); break;
    case 0x02: value = from.fixed<std::uint16_t>(); break;
    case 0x03: value = from.fixed<std::uint32_t>(); break;
    case 0x09: value = static_cast<std::uintptr_t>(from.sleb()); break;
    case 0x0a: value = static_cast<std::uintptr_t>(std::intptr_t{from.fixed<std::int16_t>()}); break;
    case 0x0b: value = static_cast<std::uintptr_t>(std::intptr_t{from.fixed<std::int32_t>()}); break;
    default: return false;
  }
  switch (encoding & 0x70) {
    case 0x00: value += bias; break;
    case 0x10: value += here; break;
    case 0x30: value += data; break;
    default: return false;  // text- and function-relative, aligned: no linker on ELF writes them
  }
  return (encoding & 0x80) == 0 && !from.bad();
}

struct cfi_cie {
  std::uint64_t code_align = 0;
  std::int64_t data_align = 0;
  std::uint64_t return_register = 0;
  std::uint8_t address_encoding = 0;
  bool has_augmentation = false;  // the FDE has augmentation data of its own
  bool is_signal_frame = false;
  byte_reader instructions;
};

struct cfi_fde {
  std::uintptr_t begin = 0;
  std::uintptr_t limit = 0;
  std::uintptr_t bias = 0;  // of its section
  const cfi_byte* cie_at = nullptr;  // null: there is no cie yet
  cfi_cie cie;
  byte_reader instructions;
};

// An entry's length, then its body; false at a terminator or the end. `body` may be `section` itself.
inline bool next_entry_sig(byte_reader& section, byte_reader& body) PROF_DETAIL_SIG {
  std::uint64_t length = section.fixed<std::uint32_t>();
  if (length == 0xffffffffu) length = section.fixed<std::uint64_t>();
  if (length == 0 || length > section.left()) return false;
  const byte_reader inner = section.part(length);
  body = inner;
  return true;
}

PROF_DETAIL_NOINLINE inline bool parse_augmentation_sig(byte_reader& body,
                                                        const cfi_section& section,
                                                        const char* letters,
                                                        cfi_cie& cie) PROF_DETAIL_SIG {
  if (*letters == '\0') return true;
  if (*letters != 'z') return false;  // "eh" was GCC 2's
  cie.has_augmentation = true;
  byte_reader data = body.part(body.uleb());
  std::uintptr_t personality = 0;
  for (++letters; *letters != '\0'; ++letters) {
    switch (*letters) {
      case 'R': cie.address_encoding = data.next_byte(); break;
      case 'L': data.skip(1); break;
      case 'S': cie.is_signal_frame = true; break;
      case 'B': break;  // aarch64: return addresses are signed with the B key
      case 'P': {
        const auto encoding = static_cast<std::uint8_t>(data.next_byte() & 0x7f);  // it may be indirect
        if (!read_encoded_sig(data, encoding, section.bias, 0, personality)) return false;
        break;
      }
      default: return !data.bad();  // the length of the data lets unknown ones be skipped
    }
  }
  return !data.bad();
}

// The begin of a CIE, from behind its id to its augmentation data, which `letters` describes.
PROF_DETAIL_NOINLINE inline bool parse_cie_head_sig(byte_reader& body, const char*& letters,
                                                    cfi_cie& cie) PROF_DETAIL_SIG {
  const std::uint8_t version = body.next_byte();
  if (version != 1 && version != 3 && version != 4) return false;
  letters = reinterpret_cast<const char*>(body.at());
  constexpr std::size_t max_letters = 16;  // all that compilers know are 6, "zPLRSB"
  const void* const terminator = std::memchr(letters, 0, body.left() < max_letters ? body.left() : max_letters);
  if (terminator == nullptr) return false;
  body.skip(static_cast<std::uint64_t>(static_cast<const char*>(terminator) - letters) + 1);
  if (version == 4 && (body.next_byte() != sizeof(void*) || body.next_byte() != 0)) return false;  // segments
  cie = cfi_cie{};
  cie.code_align = body.uleb();
  cie.data_align = body.sleb();
  cie.return_register = version == 1 ? body.next_byte() : body.uleb();
  return !body.bad();
}

// A CIE whose body is given, behind the id. Inlined: its two parts are called one behind the other by
// load_cie_sig, not one from the other, for a handler's stack.
PROF_DETAIL_INLINE bool parse_cie_sig(byte_reader& body, const cfi_section& section, cfi_cie& cie) PROF_DETAIL_SIG {
  const char* letters = nullptr;
  if (!parse_cie_head_sig(body, letters, cie)) return false;
  if (!parse_augmentation_sig(body, section, letters, cie)) return false;
  cie.instructions = body;
  return !body.bad();
}

// Whether the id of an entry at `entry` has eight bytes: DWARF's 64-bit format. .eh_frame always has four.
inline bool has_wide_id_sig(const cfi_byte* entry, const cfi_section& section) PROF_DETAIL_SIG {
  return section.is_debug_frame && byte_reader(entry, section.end).fixed<std::uint32_t>() == 0xffffffffu;
}
// All ones, of four bytes too, become 64 bits of them.
inline std::uint64_t read_id_sig(byte_reader& body, bool is_wide) PROF_DETAIL_SIG {
  if (is_wide) return body.fixed<std::uint64_t>();
  const std::uint32_t id = body.fixed<std::uint32_t>();
  return id == 0xffffffffu ? ~std::uint64_t{0} : id;
}

// Where the CIE of an entry is, given the entry's body: the CIE's position in the section, or null
// when the entry is itself a CIE.
inline const cfi_byte* cie_of_sig(byte_reader& body, const cfi_section& section, bool is_wide) PROF_DETAIL_SIG {
  const cfi_byte* const here = body.at();
  const std::uint64_t id = read_id_sig(body, is_wide);
  if (section.is_debug_frame) {
    return id < section.size() ? section.begin + id : nullptr;  // a CIE's id is all ones
  }
  const auto before = static_cast<std::size_t>(here - section.begin);
  return id != 0 && id <= before ? here - id : nullptr;
}

// Reads the CIE of the FDE that begins at `entry`, unless it is the one of the entry before: thousands
// share one.
PROF_DETAIL_NOINLINE inline bool load_cie_sig(const cfi_byte* entry, const cfi_section& section,
                                              cfi_fde& fde) PROF_DETAIL_SIG {
  if (entry < section.begin || entry >= section.end) return false;
  byte_reader body(entry, section.end);
  if (!next_entry_sig(body, body)) return false;
  const cfi_byte* const cie = cie_of_sig(body, section, has_wide_id_sig(entry, section));
  if (cie == nullptr) return false;
  if (cie == fde.cie_at) return true;
  fde.cie_at = nullptr;
  body = byte_reader(cie, section.end);
  if (!next_entry_sig(body, body)) return false;
  const std::uint64_t wanted = section.is_debug_frame ? ~std::uint64_t{0} : 0;
  if (read_id_sig(body, has_wide_id_sig(cie, section)) != wanted || !parse_cie_sig(body, section, fde.cie)) return false;
  fde.cie_at = cie;
  return true;
}

// The rest of it, behind load_cie_sig.
PROF_DETAIL_NOINLINE inline bool parse_fde_body_sig(const cfi_byte* entry, const cfi_section& section,
                                                    cfi_fde& fde) PROF_DETAIL_SIG {
  byte_reader body(entry, section.end, section.moved);
  if (!next_entry_sig(body, body)) return false;
  body.skip(has_wide_id_sig(entry, section) ? sizeof(std::uint64_t) : sizeof(std::uint32_t));
  std::uintptr_t size = 0;
  const std::uint8_t encoding = fde.cie.address_encoding;
  if (!read_encoded_sig(body, encoding, section.bias, 0, fde.begin)) return false;
  if (!read_encoded_sig(body, encoding & 0x0f, 0, 0, size)) return false;
  if (fde.cie.has_augmentation) body.skip(body.uleb());
  fde.limit = fde.begin + size;
  fde.bias = section.bias;
  fde.instructions = body;
  return !body.bad() && size != 0 && fde.limit > fde.begin;
}

// Reads the FDE that begins at `entry`; false when there is a CIE, or nothing readable. In two, one behind
// the other, for a handler's stack.
inline bool parse_fde_sig(const cfi_byte* entry, const cfi_section& section, cfi_fde& fde)
    PROF_DETAIL_SIG {
  return load_cie_sig(entry, section, fde) && parse_fde_body_sig(entry, section, fde);
}

// ---- .eh_frame_hdr -------------------------------------------------------------------------------

// The sorted table {function start, FDE}, both 32 bits and relative to the header: what every linker
// writes (version 1, eh_frame_ptr, fde_count udata4, table datarel sdata4).
struct cfi_header {
  std::uintptr_t address = 0;
  std::size_t count = 0;
  const cfi_byte* eh_frame = nullptr;

  std::uintptr_t relative(std::size_t word) const PROF_DETAIL_SIG {
    std::int32_t offset = 0;
    std::memcpy(&offset, reinterpret_cast<const cfi_byte*>(address) + 12 + 4 * word, sizeof offset);
    return address + static_cast<std::uintptr_t>(std::intptr_t{offset});
  }
  std::uintptr_t start(std::size_t i) const PROF_DETAIL_SIG { return relative(2 * i); }
  const cfi_byte* fde(std::size_t i) const PROF_DETAIL_SIG {
    return reinterpret_cast<const cfi_byte*>(relative(2 * i + 1));
  }
};

inline constexpr std::size_t cfi_header_size = 12;  // without its table

// `bytes`: the first ones of the header at `address`, or a copy.
inline bool parse_header_sig(const cfi_byte* bytes, std::uintptr_t address, cfi_header& header) PROF_DETAIL_SIG {
  if (bytes[0] != 1 || bytes[2] != 0x03 || bytes[3] != 0x3b) return false;
  byte_reader rest(bytes + 4, bytes + cfi_header_size, address - reinterpret_cast<std::uintptr_t>(bytes));
  std::uintptr_t eh_frame = 0;
  if ((bytes[1] & 0x0f) != 0x0b && (bytes[1] & 0x0f) != 0x03) return false;
  if (!read_encoded_sig(rest, bytes[1], 0, address, eh_frame)) return false;
  header.address = address;
  header.count = rest.fixed<std::uint32_t>();
  header.eh_frame = reinterpret_cast<const cfi_byte*>(eh_frame);
  return !rest.bad();
}
inline bool parse_header_sig(std::uintptr_t address, cfi_header& header) PROF_DETAIL_SIG {
  return parse_header_sig(reinterpret_cast<const cfi_byte*>(address), address, header);
}

// The last function of a header's table that begins at or before pc. start_of(i, begin): false if it cannot be
// read.
template <class StartOf>
PROF_DETAIL_INLINE bool find_last_start_sig(std::size_t count, std::uintptr_t pc, StartOf start_of,
                                            std::size_t& entry) PROF_DETAIL_SIG {
  std::size_t low = 0;
  std::size_t high = count;
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    std::uintptr_t begin = 0;
    if (!start_of(middle, begin)) return false;
    if (begin <= pc) low = middle + 1;
    else high = middle;
  }
  entry = low - 1;
  return low != 0;
}

PROF_DETAIL_END

#endif  // PROF_UNWIND_CFI_HPP
