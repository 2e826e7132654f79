// tests/unit/os/linux_clock_test.cpp - clocks by the vDSO, and without it.

#include "prof/os/os.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <initializer_list>

#if PROF_DETAIL_OS_LINUX

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <time.h>

namespace {

using namespace prof::detail;

constexpr text_view clock_name{vdso_clock_name, sizeof vdso_clock_name - 1};

std::uint64_t libc_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000000000u + static_cast<std::uint64_t>(now.tv_nsec);
}

// An image of one segment with a dynamic section, three symbols and their names.
struct fake_vdso {
  alignas(8) unsigned char bytes[4096] = {};
  ElfW(Ehdr) elf{};
  ElfW(Phdr) segments[2]{};
  ElfW(Dyn) entries[3]{};
  ElfW(Sym) symbols[3]{};

  fake_vdso() {
    std::memcpy(elf.e_ident, ELFMAG, SELFMAG);
    elf.e_phoff = sizeof elf;
    elf.e_phnum = 2;
    segments[0].p_type = PT_LOAD;
    segments[0].p_vaddr = 0x7000;
    segments[1].p_type = PT_DYNAMIC;
    segments[1].p_offset = 0x200;
    entries[0] = {DT_SYMTAB, {0x7000 + 0x300}};
    entries[1] = {DT_STRTAB, {0x7000 + 0x400}};
    for (ElfW(Sym)& symbol : symbols) symbol.st_info = STT_FUNC;
    symbols[1].st_name = 1;
    symbols[1].st_shndx = symbols[2].st_shndx = 5;
    symbols[1].st_value = 0x7111;
    symbols[2].st_name = 5;
    symbols[2].st_value = 0x7222;
    std::memcpy(bytes + 0x400, "\0one\0two", 9);
  }
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(bytes); }
  std::uintptr_t find(text_view name) {
    std::memcpy(bytes, &elf, sizeof elf);
    std::memcpy(bytes + sizeof elf, segments, sizeof segments);
    std::memcpy(bytes + 0x200, entries, sizeof entries);
    std::memcpy(bytes + 0x300, symbols, sizeof symbols);
    return find_vdso_function_sig(address(), name);
  }
};

}  // namespace

TEST_CASE("the vDSO's clock is found where the kernel has one") {
  const std::uintptr_t header = getauxval(AT_SYSINFO_EHDR);
  const std::uintptr_t found = find_vdso_function_sig(header, clock_name);
  CHECK((found != 0) == (header != 0));
  CHECK(os_monotonic_ns_sig() != 0);
  CHECK(vdso_clock.load() == (found != 0 ? found : 1));
  CHECK(find_vdso_function_sig(header, {"no_such_function", 16}) == 0);
}

TEST_CASE("with and without it the clocks are libc's") {
  for (const bool by_system_call : {false, true}) {
    CAPTURE(by_system_call);
    vdso_clock.store(by_system_call ? 1 : 0);
    const std::uint64_t before[] = {libc_ns(CLOCK_MONOTONIC), libc_ns(CLOCK_THREAD_CPUTIME_ID), libc_ns(CLOCK_REALTIME)};
    const std::uint64_t own[] = {os_monotonic_ns_sig(), os_thread_cpu_ns_sig(), os_realtime_ns_sig()};
    const std::uint64_t after[] = {libc_ns(CLOCK_MONOTONIC), libc_ns(CLOCK_THREAD_CPUTIME_ID), libc_ns(CLOCK_REALTIME)};
    for (unsigned i = 0; i < 3; ++i) {
      CHECK(before[i] <= own[i]);
      CHECK(own[i] <= after[i]);
    }
  }
  vdso_clock.store(0);
}

TEST_CASE("a vDSO's functions are found by their whole names") {
  fake_vdso vdso;
  const std::uintptr_t bias = vdso.address() - 0x7000;
  CHECK(vdso.find({"one", 3}) == bias + 0x7111);
  CHECK(vdso.find({"two", 3}) == bias + 0x7222);
  CHECK(vdso.find({"on", 2}) == 0);
  CHECK(vdso.find({"ones", 4}) == 0);
  CHECK(vdso.find({"a name that is longer than any of its functions", 48}) == 0);
}

TEST_CASE("what is no vDSO has no functions") {
  fake_vdso vdso;
  SUBCASE("no ELF image") { vdso.elf.e_ident[0] = 'x'; }
  SUBCASE("no dynamic section") { vdso.segments[1].p_type = PT_NOTE; }
  SUBCASE("no symbols") { vdso.entries[0].d_tag = DT_HASH; }
  SUBCASE("names before the symbols") { vdso.entries[1].d_un.d_ptr = 0x7000; }
  SUBCASE("undefined") { vdso.symbols[1].st_shndx = SHN_UNDEF; }
  SUBCASE("an object") { vdso.symbols[1].st_info = STT_OBJECT; }
  SUBCASE("a name that cannot be read") { vdso.symbols[1].st_name = 0xf0000000u; }
  CHECK(vdso.find({"one", 3}) == 0);
  CHECK(find_vdso_function_sig(0, {"one", 3}) == 0);
  CHECK(find_vdso_function_sig(~std::uintptr_t{4095}, {"one", 3}) == 0);
}

#endif
