// prof/os/linux_symbols.hpp - the OS contract on Linux: next definitions of symbols, found without the loader.
// Floor 3 (os). Included by os/os.hpp only, behind os/linux.hpp.
// Safety: async-signal-safe. dlsym(3) takes the loader's lock: a hook that called it while its caller holds a lock of the
//         host's would wait for a thread that loads a library, whose constructor or malloc waits for that lock.
//         Everything is copied by a system call that fails where memory is gone, because a library may be unloaded
//         meanwhile.
// Memory: some 2 KiB of the caller's stack.
// Source: System V gABI ch. 5 (dynamic section, hash table); "GNU Hash ELF Sections" (Robenek, 2006, and glibc's
//         elf/dl-lookup.c); struct r_debug of <link.h>, where debuggers find what is loaded; Drepper, "How To Write
//         Shared Libraries", 2.2.2 (versions: a hidden one is for old programs only).
#ifndef PROF_OS_LINUX_SYMBOLS_HPP
#define PROF_OS_LINUX_SYMBOLS_HPP

#include <sys/auxv.h>

#include "prof/os/linux.hpp"

PROF_DETAIL_BEGIN

// Of this object; null in a static program that is not position-independent.
extern "C" const ElfW(Dyn) prof_own_dynamic[] __asm__("_DYNAMIC") __attribute__((__weak__, __visibility__("hidden")));

template <class Value>
inline bool os_copy_value_sig(std::uintptr_t from, Value& to) PROF_DETAIL_SIG {
  return os_copy_sig(&to, from, sizeof to);
}

// ---- what is loaded, in the order in which symbols are searched ----------------------------------------------

// Where the program's own dynamic section is; 0 where it has none or the kernel does not say.
PROF_DETAIL_COLD inline std::uintptr_t os_program_dynamic_sig() PROF_DETAIL_SIG {
  const errno_guard keep_errno;  // getauxval sets it where there is no such entry
  const auto headers = static_cast<std::uintptr_t>(getauxval(AT_PHDR));
  const auto count = static_cast<std::uintptr_t>(getauxval(AT_PHNUM));
  std::uintptr_t bias = 0;
  for (int pass = 0; headers != 0 && pass < 2; ++pass) {
    for (std::uintptr_t i = 0; i < count; ++i) {
      ElfW(Phdr) segment;
      if (!os_copy_value_sig(headers + i * sizeof segment, segment)) return 0;
      if (segment.p_type == PT_PHDR) bias = headers - segment.p_vaddr;
      if (pass == 1 && segment.p_type == PT_DYNAMIC) return bias + segment.p_vaddr;
    }
  }
  return 0;
}

// The loader's list, whose head it leaves for debuggers; 0 where there is no loader.
PROF_DETAIL_COLD inline std::uintptr_t os_first_loaded_sig() PROF_DETAIL_SIG {
  ElfW(Dyn) entry;
  for (std::uintptr_t at = os_program_dynamic_sig(); at != 0 && os_copy_value_sig(at, entry); at += sizeof entry) {
    if (entry.d_tag == DT_NULL) return 0;
    if (entry.d_tag != DT_DEBUG) continue;
    r_debug debug{};
    if (entry.d_un.d_ptr == 0 || !os_copy_value_sig(entry.d_un.d_ptr, debug)) return 0;
    return reinterpret_cast<std::uintptr_t>(debug.r_map);
  }
  return 0;
}

// ---- symbols of one object ---------------------------------------------------------------------------------------

// Where an object has what a look-up needs.
struct loaded_symbols {
  std::uintptr_t bias = 0;
  std::uintptr_t symbols = 0;
  std::uintptr_t names = 0;
  std::uintptr_t versions = 0;  // of each symbol; 0: none has one
  std::uintptr_t gnu_hash = 0;
  std::uintptr_t hash = 0;
};

// glibc writes addresses over the offsets in most dynamic sections, musl and vDSOs leave them.
inline std::uintptr_t os_place_of_sig(std::uintptr_t bias, std::uintptr_t value) PROF_DETAIL_SIG {
  return value < bias ? bias + value : value;
}

PROF_DETAIL_COLD inline loaded_symbols os_symbols_of_sig(std::uintptr_t bias, std::uintptr_t dynamic) PROF_DETAIL_SIG {
  loaded_symbols found;
  found.bias = bias;
  ElfW(Dyn) entry;
  for (; dynamic != 0 && os_copy_value_sig(dynamic, entry) && entry.d_tag != DT_NULL; dynamic += sizeof entry) {
    const std::uintptr_t place = os_place_of_sig(bias, entry.d_un.d_ptr);
    if (entry.d_tag == DT_SYMTAB) found.symbols = place;
    if (entry.d_tag == DT_STRTAB) found.names = place;
    if (entry.d_tag == DT_VERSYM) found.versions = place;
    if (entry.d_tag == DT_GNU_HASH) found.gnu_hash = place;
    if (entry.d_tag == DT_HASH) found.hash = place;
  }
  return found;
}

// The address of symbol `index` if it is the definition of `name` that new programs get; 0: it is not.
PROF_DETAIL_COLD inline std::uintptr_t os_definition_sig(const loaded_symbols& in, std::uint32_t index,
                                                         text_view name) PROF_DETAIL_SIG {
  constexpr std::uint16_t hidden_version = 0x8000;
  ElfW(Sym) symbol;
  std::uint16_t version = 0;
  char copy[64];
  if (!os_copy_value_sig(in.symbols + index * sizeof symbol, symbol)) return 0;
  if (symbol.st_shndx == SHN_UNDEF || (symbol.st_info & 15) != STT_FUNC || name.size >= sizeof copy) return 0;
  if (!os_copy_sig(copy, in.names + symbol.st_name, name.size + 1)) return 0;
  if (copy[name.size] != 0 || !name.equals({copy, name.size})) return 0;
  if (in.versions != 0 && !os_copy_value_sig(in.versions + index * sizeof version, version)) return 0;
  return (version & hidden_version) == 0 ? in.bias + symbol.st_value : 0;
}

// Symbols of one hash bucket: a dozen in a large library, and a bound for damaged ones.
inline constexpr std::uint32_t most_in_chain = 4096;

PROF_DETAIL_COLD inline std::uintptr_t os_find_by_gnu_hash_sig(const loaded_symbols& in, text_view name) PROF_DETAIL_SIG {
  struct {
    std::uint32_t buckets, first_symbol, bloom_words, bloom_shift;
  } head{};
  std::uint32_t hash = 5381;
  for (std::size_t i = 0; i < name.size; ++i) hash = hash * 33 + static_cast<unsigned char>(name.data[i]);
  if (!os_copy_value_sig(in.gnu_hash, head) || head.buckets == 0 || head.bloom_words == 0) return 0;
  constexpr std::uint32_t word_bits = 8 * sizeof(std::uintptr_t);
  const std::uintptr_t bloom = in.gnu_hash + sizeof head;
  std::uintptr_t word = 0;
  if (!os_copy_value_sig(bloom + hash / word_bits % head.bloom_words * sizeof word, word)) return 0;
  const std::uintptr_t both = word >> hash % word_bits & word >> (hash >> (head.bloom_shift & 31)) % word_bits;
  if ((both & 1) == 0) return 0;
  const std::uintptr_t buckets = bloom + head.bloom_words * sizeof word;
  std::uint32_t index = 0;
  if (!os_copy_value_sig(buckets + hash % head.buckets * sizeof index, index) || index < head.first_symbol) return 0;
  const std::uintptr_t chain = buckets + std::uintptr_t{head.buckets} * sizeof index;
  const std::uint32_t last = index + most_in_chain;
  for (std::uint32_t there = 0; (there & 1) == 0 && index != last; ++index) {
    if (!os_copy_value_sig(chain + (index - head.first_symbol) * sizeof there, there)) return 0;
    if ((there | 1) != (hash | 1)) continue;
    const std::uintptr_t found = os_definition_sig(in, index, name);
    if (found != 0) return found;
  }
  return 0;
}

PROF_DETAIL_COLD inline std::uintptr_t os_find_by_hash_sig(const loaded_symbols& in, text_view name) PROF_DETAIL_SIG {
  struct {
    std::uint32_t buckets, chains;
  } head{};
  std::uint32_t hash = 0;
  for (std::size_t i = 0; i < name.size; ++i) {
    hash = (hash << 4) + static_cast<unsigned char>(name.data[i]);
    hash = (hash ^ (hash >> 24 & 0xf0)) & 0x0fffffff;
  }
  if (!os_copy_value_sig(in.hash, head) || head.buckets == 0) return 0;
  const std::uintptr_t buckets = in.hash + sizeof head;
  std::uint32_t index = 0;
  if (!os_copy_value_sig(buckets + hash % head.buckets * sizeof index, index)) return 0;
  for (std::uint32_t left = most_in_chain; index != 0 && left != 0; --left) {
    const std::uintptr_t found = os_definition_sig(in, index, name);
    if (found != 0) return found;
    const std::uintptr_t next = buckets + (std::uintptr_t{head.buckets} + index) * sizeof index;
    if (!os_copy_value_sig(next, index)) return 0;
  }
  return 0;
}

inline std::uintptr_t os_find_in_sig(const loaded_symbols& in, text_view name) PROF_DETAIL_SIG {
  if (in.symbols == 0 || in.names == 0) return 0;
  if (in.gnu_hash != 0) return os_find_by_gnu_hash_sig(in, name);
  return in.hash != 0 ? os_find_by_hash_sig(in, name) : 0;
}

// ---- next definitions ------------------------------------------------------------------------------------------------

struct wanted_symbol {
  const char* name = nullptr;
  void* found = nullptr;
};

// Finds functions by name in the objects behind this one; what is not there (behind a plugin there is no libc) in those
// before it. What has been found already stays.
PROF_DETAIL_COLD inline void os_find_next_symbols_sig(wanted_symbol* wanted, std::size_t count) PROF_DETAIL_SIG {
  constexpr int most_objects = 4096;
  const auto own = reinterpret_cast<std::uintptr_t>(&prof_own_dynamic[0]);
  const std::uintptr_t first = os_first_loaded_sig();
  for (int pass = 0; pass < 2; ++pass) {
    bool looks = pass == 1;
    link_map object{};
    std::uintptr_t at = first;
    for (int n = 0; at != 0 && n < most_objects && os_copy_value_sig(at, object); ++n) {
      const auto dynamic = reinterpret_cast<std::uintptr_t>(object.l_ld);
      at = reinterpret_cast<std::uintptr_t>(object.l_next);
      if (dynamic == own) {
        looks = pass == 0;
        continue;
      }
      if (!looks) continue;
      const loaded_symbols in = os_symbols_of_sig(object.l_addr, dynamic);
      for (std::size_t i = 0; i < count; ++i) {
        if (wanted[i].found != nullptr) continue;
        wanted[i].found = reinterpret_cast<void*>(os_find_in_sig(in, text_view(wanted[i].name)));
      }
    }
  }
}

PROF_DETAIL_END

#endif  // PROF_OS_LINUX_SYMBOLS_HPP
