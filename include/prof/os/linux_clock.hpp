// prof/os/linux_clock.hpp - the OS contract on Linux: clocks, asked of the kernel's own shared object.
// Floor 3 (os). Included by os/os.hpp only, behind os/linux.hpp.
// Safety: async-signal-safe. Not by libc's clock_gettime, which programs replace: libfaketime (0.9.10) takes a lock
//         and allocates in it, so a handler, or a hook inside malloc, would wait for itself.
// Memory: an address for each object that includes prof, found once: 30 us.
// Source: vdso(7); getauxval(3), AT_SYSINFO_EHDR; System V gABI ch. 5 (dynamic section, symbol table);
//         tools/testing/selftests/vDSO/parse_vdso.c of the kernel (6.18) reads it in the same way.
#ifndef PROF_OS_LINUX_CLOCK_HPP
#define PROF_OS_LINUX_CLOCK_HPP

#include <sys/auxv.h>

#include "prof/os/linux.hpp"

PROF_DETAIL_BEGIN

#if defined(__x86_64__)
inline constexpr char vdso_clock_name[] = "__vdso_clock_gettime";
#else
inline constexpr char vdso_clock_name[] = "__kernel_clock_gettime";
#endif

// Where the vDSO whose ELF header is at `header` has its symbols; all 0: nowhere.
struct vdso_symbols {
  std::uintptr_t bias = 0;
  std::uintptr_t symbols = 0;
  std::uintptr_t names = 0;
};

// What can be read of the vDSO is copied: a sandbox may have unmapped it.
inline vdso_symbols find_vdso_symbols_sig(std::uintptr_t header) PROF_DETAIL_SIG {
  vdso_symbols found;
  ElfW(Ehdr) elf;
  std::uintptr_t dynamic = 0;
  if (header == 0 || !os_copy_sig(&elf, header, sizeof elf) || std::memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0) {
    return {};
  }
  for (std::size_t i = 0; i < elf.e_phnum; ++i) {
    ElfW(Phdr) segment;
    if (!os_copy_sig(&segment, header + elf.e_phoff + i * sizeof segment, sizeof segment)) return {};
    if (segment.p_type == PT_LOAD) found.bias = header + segment.p_offset - segment.p_vaddr;
    if (segment.p_type == PT_DYNAMIC) dynamic = header + segment.p_offset;
  }
  for (ElfW(Dyn) entry; dynamic != 0 && os_copy_sig(&entry, dynamic, sizeof entry); dynamic += sizeof entry) {
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_SYMTAB) found.symbols = found.bias + entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRTAB) found.names = found.bias + entry.d_un.d_ptr;
  }
  return found.symbols < found.names ? found : vdso_symbols{};  // the table ends where the names begin, or before
}

// The address of its function of that name; 0: it has none.
PROF_DETAIL_COLD inline std::uintptr_t find_vdso_function_sig(std::uintptr_t header, text_view name) PROF_DETAIL_SIG {
  constexpr std::size_t most = 64;  // symbols; there are a dozen
  const vdso_symbols in = find_vdso_symbols_sig(header);
  for (std::size_t i = 0; i < most; ++i) {
    const std::uintptr_t at = in.symbols + i * sizeof(ElfW(Sym));
    ElfW(Sym) symbol;
    char copy[32];
    if (at >= in.names || name.size >= sizeof copy || !os_copy_sig(&symbol, at, sizeof symbol)) return 0;
    if (symbol.st_shndx == SHN_UNDEF || (symbol.st_info & 15) != STT_FUNC) continue;
    if (!os_copy_sig(copy, in.names + symbol.st_name, name.size + 1)) continue;
    if (copy[name.size] == 0 && name.equals({copy, name.size})) return in.bias + symbol.st_value;
  }
  return 0;
}

// Of this object; 0: not looked for yet, 1: there is none (vdso=0, some emulators).
inline std::atomic<std::uintptr_t> vdso_clock{0};

PROF_DETAIL_COLD inline std::uintptr_t vdso_clock_slow_sig() PROF_DETAIL_SIG {
  const text_view name{vdso_clock_name, sizeof vdso_clock_name - 1};
  const std::uintptr_t found = find_vdso_function_sig(getauxval(AT_SYSINFO_EHDR), name);
  vdso_clock.store(found != 0 ? found : 1, std::memory_order_relaxed);
  return found != 0 ? found : 1;
}

inline std::uint64_t os_clock_ns_sig(clockid_t clock) PROF_DETAIL_SIG {
  timespec now{};
  std::uintptr_t function = vdso_clock.load(std::memory_order_relaxed);
  if (PROF_DETAIL_UNLIKELY(function == 0)) function = vdso_clock_slow_sig();
  if (function == 1) os_call_sig(SYS_clock_gettime, clock, os_word(&now));
  else reinterpret_cast<int (*)(clockid_t, timespec*)>(function)(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}
inline std::uint64_t os_monotonic_ns_sig() PROF_DETAIL_SIG { return os_clock_ns_sig(CLOCK_MONOTONIC); }
inline std::uint64_t os_thread_cpu_ns_sig() PROF_DETAIL_SIG { return os_clock_ns_sig(CLOCK_THREAD_CPUTIME_ID); }
inline std::uint64_t os_realtime_ns_sig() PROF_DETAIL_SIG { return os_clock_ns_sig(CLOCK_REALTIME); }

PROF_DETAIL_END

#endif  // PROF_OS_LINUX_CLOCK_HPP
