// tests/unit/symbol/elf_test.cpp - symbols of hand-made, real, truncated and damaged ELF images.

#include <prof/symbol/elf.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "small_elf.hpp"
#include "symbol_at.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using prof::detail::arena;
using prof::detail::elf_image;
using prof::detail::elf_symbol;
using prof::detail::found_symbol;
using prof::detail::os_pages;
using prof::detail::read_stub;
using prof::detail::symbol_at;
using prof::detail::symbol_search;
using prof::detail::text_view;
using namespace small_elfs;

// Of addresses as linked, sorted: "" where there is none.
std::vector<std::string> names_at(const char* data, std::size_t size, const std::vector<std::uint64_t>& addresses) {
    arena memory(os_pages);
    symbol_search symbols(elf_image(data, size), memory);
    symbols.find(addresses.data(), addresses.size());
    std::vector<std::string> names;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
        const elf_symbol* const found = symbols.symbol_of(i);
        const text_view name = found != nullptr ? symbols.name_of(*found) : text_view();
        names.push_back(std::string(name.data, name.size) + (found != nullptr && found->stub ? "@plt" : ""));
    }
    return names;
}
std::string name_at(const std::string& file, std::uint64_t address) {
    const found_symbol found = symbol_at(elf_image(file.data(), file.size()), address);
    return std::string(found.name.data, found.name.size) + (found.symbol.stub ? "@plt" : "");
}

TEST_CASE("a symbol covers its size and nothing else") {
    small_elf elf = with_text_section();
    elf.symbol("f", text + 0x100, 0x20, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("resolver", text + 0x200, 8, STT_GNU_IFUNC, STB_GLOBAL, 1);
    elf.symbol("elsewhere", text + 0x300, 8, STT_FUNC, STB_GLOBAL, SHN_UNDEF);
    elf.symbol("data", text + 0x400, 8, STT_OBJECT, STB_GLOBAL, 1);
    const std::string file = finish(elf);
    CHECK(name_at(file, text + 0xff) == "");
    CHECK(name_at(file, text + 0x100) == "f");
    CHECK(name_at(file, text + 0x11f) == "f");
    CHECK(name_at(file, text + 0x120) == "");
    CHECK(name_at(file, text + 0x204) == "resolver");
    CHECK(name_at(file, text + 0x300) == "");
    CHECK(name_at(file, text + 0x400) == "");
    CHECK(name_at(file, 0x40) == "");
}

TEST_CASE("the innermost of nested symbols wins, and the outer one behind it") {
    small_elf elf = with_text_section();
    elf.symbol("outer", text, 0x800, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("middle", text + 0x100, 0x100, STT_FUNC, STB_LOCAL, 1);
    elf.symbol("inner", text + 0x180, 0x10, STT_FUNC, STB_LOCAL, 1);
    for (unsigned i = 0; i < 50; ++i) {
        elf.symbol("tiny" + std::to_string(i), text + 0x200 + i * 16, 4, STT_FUNC, STB_LOCAL, 1);
    }
    const std::string file = finish(elf);
    CHECK(name_at(file, text + 0x50) == "outer");
    CHECK(name_at(file, text + 0x17f) == "middle");
    CHECK(name_at(file, text + 0x180) == "inner");
    CHECK(name_at(file, text + 0x190) == "middle");
    CHECK(name_at(file, text + 0x203) == "tiny0");
    CHECK(name_at(file, text + 0x7ff) == "outer");
    CHECK(name_at(file, text + 0x800) == "");
}

TEST_CASE("among aliases: a size, then global, weak, local, then the shortest, then the order") {
    small_elf elf = with_text_section();
    elf.symbol("sizeless", text, 0, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("l", text, 16, STT_FUNC, STB_LOCAL, 1);
    elf.symbol("w", text, 16, STT_FUNC, STB_WEAK, 1);
    elf.symbol("global_b", text, 16, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("global_a", text, 16, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("global_longer", text, 16, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("ll", text + 64, 16, STT_FUNC, STB_LOCAL, 1);
    elf.symbol("ww", text + 64, 16, STT_FUNC, STB_WEAK, 1);
    const std::string file = finish(elf);
    CHECK(name_at(file, text + 8) == "global_a");
    CHECK(name_at(file, text + 72) == "ww");
    CHECK(name_at(file, text + 32) == "sizeless");
}

TEST_CASE("assembly without sizes and types") {
    small_elf elf = with_text_section();
    elf.symbol("open", text, 0, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("local_label", text + 0x40, 0, STT_NOTYPE, STB_LOCAL, 1);
    elf.symbol("global_label", text + 0x80, 0, STT_NOTYPE, STB_GLOBAL, 1);
    elf.symbol("$x", text + 0x90, 0, STT_NOTYPE, STB_LOCAL, 1);
    elf.symbol("next", text + 0x100, 0x10, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("last", text + 0xff0, 0, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("_etext", text + 0x1000, 0, STT_NOTYPE, STB_GLOBAL, 1);
    const std::string file = finish(elf);
    CHECK(name_at(file, text + 0x3f) == "open");
    CHECK(name_at(file, text + 0x40) == "open");
    CHECK(name_at(file, text + 0x80) == "global_label");
    CHECK(name_at(file, text + 0xff) == "global_label");
    CHECK(name_at(file, text + 0x10f) == "next");
    CHECK(name_at(file, text + 0x110) == "");
    CHECK(name_at(file, text + 0xfff) == "last");
    CHECK(name_at(file, text + 0x1000) == "");
}

// ---- stubs ----

std::string jump(std::int64_t to, std::int64_t from, const std::string& prefix) {
    const auto distance = static_cast<std::int32_t>(
        to - from - static_cast<std::int64_t>(prefix.size()) - 6);
    return prefix + "\xff\x25" + raw(distance);
}

// The stub table is the first part, so that its place in the file is known; a linker's order of
// relocations need not be that of the stubs.
std::string with_stubs() {
    constexpr std::uint64_t at = load_address + 64 + 2 * 56 + 36;  // headers and the note
    constexpr std::uint64_t slots = load_address + 0x8000;
    small_elf elf;
    const std::string endbr("\xf3\x0f\x1e\xfa", 4);
    std::string code = jump(slots + 16, at, std::string("\xff\x35\0\0\0\0", 6));
    code.resize(16, '\x90');
    code += jump(slots + 32, at + 16, "");
    code.resize(32, '\x90');
    code += jump(slots + 24, at + 32, endbr + "\xf2");
    code.resize(48, '\x90');
    elf.add(".plt", SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, at, code, 0, 16);
    elf.symbol("alpha", 0, 0, STT_FUNC, STB_GLOBAL, SHN_UNDEF);
    elf.symbol("beta", 0, 0, STT_FUNC, STB_GLOBAL, SHN_UNDEF);
    const std::uint32_t names = elf.add(".dynstr", SHT_STRTAB, 0, 0, elf.strings);
    const std::uint32_t dynamic =
        elf.add(".dynsym", SHT_DYNSYM, 0, 0, elf.symbols, names, sizeof(Elf64_Sym));
    Elf64_Rela first{};
    first.r_offset = slots + 24;
    first.r_info = std::uint64_t{1} << 32 | R_X86_64_JUMP_SLOT;
    Elf64_Rela second{};
    second.r_offset = slots + 32;
    second.r_info = std::uint64_t{2} << 32 | R_X86_64_JUMP_SLOT;
    elf.add(".rela.plt", SHT_RELA, 0, 0, raw(first) + raw(second), dynamic, sizeof first);
    return elf.bytes();
}

TEST_CASE("stubs of the procedure linkage table are named by the slot they jump through") {
    const std::string file = with_stubs();
    const std::uint64_t plt = load_address + 64 + 2 * 56 + 36;
    CHECK(name_at(file, plt) == "");
    CHECK(name_at(file, plt + 16) == "beta@plt");
    CHECK(name_at(file, plt + 31) == "beta@plt");
    CHECK(name_at(file, plt + 32) == "alpha@plt");
    CHECK(name_at(file, plt + 48) == "");
}

TEST_CASE("aarch64 stubs are decoded") {
    // From a GNU ld 2.40 .plt: 1f3f0: adrp x16, 20000; ldr x17, [x16, #8] - and one page back.
    const std::uint32_t forward[] = {0xb0000010u, 0xf9400611u};
    const std::uint32_t back[] = {0xf0fffff0u, 0xf9400611u};
    std::uint64_t slot = 0;
    REQUIRE(read_stub(EM_AARCH64, {reinterpret_cast<const char*>(forward), 8}, 0x1f3f0, slot));
    CHECK(slot == 0x20008);
    REQUIRE(read_stub(EM_AARCH64, {reinterpret_cast<const char*>(back), 8}, 0x1f3f0, slot));
    CHECK(slot == 0x1e008);
    CHECK_FALSE(read_stub(EM_AARCH64, {reinterpret_cast<const char*>(back), 7}, 0x1f3f0, slot));
    CHECK_FALSE(read_stub(EM_386, {reinterpret_cast<const char*>(back), 8}, 0x1f3f0, slot));
}

TEST_CASE("the wrong kinds of ELF have no symbols") {
    small_elf elf = with_text_section();
    elf.symbol("f", text, 16, STT_FUNC, STB_GLOBAL, 1);
    std::string file = finish(elf);
    CHECK(name_at(file, text) == "f");
    std::string other = file;
    other[EI_CLASS] = ELFCLASS32;
    CHECK_FALSE(elf_image(other.data(), other.size()).usable());
    CHECK(name_at(other, text) == "");
    other = file;
    other[EI_DATA] = ELFDATA2MSB;
    CHECK(name_at(other, text) == "");
    CHECK(name_at("#!/bin/sh\n", load_address) == "");
}

// ---- damage ----

// Reads everything through a copy of exactly this size, so that a sanitizer sees one byte too far.
std::size_t read_everything(const char* data, std::size_t size) {
    const std::unique_ptr<char[]> exact(new char[size]);
    if (size != 0) std::memcpy(exact.get(), data, size);
    std::size_t sum = 0;
    const text_view id = elf_image(exact.get(), size).build_id();
    for (std::size_t i = 0; i < id.size; ++i) sum += static_cast<unsigned char>(id.data[i]);
    static const std::vector<std::uint64_t> addresses = [] {
        std::vector<std::uint64_t> made;
        for (std::uint64_t offset = 0; offset < 0x2100; offset += 8) made.push_back(load_address + offset);
        return made;
    }();
    for (const std::string& name : names_at(exact.get(), size, addresses)) {
        for (const char c : name) sum += static_cast<unsigned char>(c);
    }
    return sum;
}

TEST_CASE("every truncation is read without reading beyond it") {
    for (const std::string& file : {rich_image(), with_stubs()}) {
        std::size_t sum = 0;
        for (std::size_t size = 0; size <= file.size(); ++size) {
            sum += read_everything(file.data(), size);
        }
        CHECK(sum != 0);
    }
    std::size_t size = 0;
    const void* const own = prof::detail::os_map_file("/proc/self/exe", size);
    REQUIRE(own != nullptr);
    REQUIRE(size > 4096);
    for (std::size_t cut = 0; cut <= 4096; ++cut) {
        read_everything(static_cast<const char*>(own), cut);
    }
    prof::detail::os_unmap_sig(const_cast<void*>(own), size);
}

TEST_CASE("every field at its extremes is read without reading beyond the image") {
    std::size_t sum = 0;
    for (const std::string& file : {rich_image(), with_stubs()}) {
        const std::uint64_t size = file.size();
        const std::uint64_t extremes[] = {0, 1, size - 1, size + 1, ~std::uint64_t{0} - 24};
        for (std::size_t at = 0; at + 8 <= file.size(); at += 4) {
            for (const std::uint64_t extreme : extremes) {
                for (const std::size_t width : {sizeof(Elf64_Word), sizeof(Elf64_Xword)}) {
                    std::string damaged = file;
                    std::memcpy(&damaged[at], &extreme, width);
                    sum += read_everything(damaged.data(), damaged.size());
                }
            }
        }
    }
    CHECK(sum != 0);
}

TEST_CASE("flipped bytes are read without reading beyond the image") {
    std::uint64_t state = 0x9e3779b97f4a7c15u;  // xorshift64 (Marsaglia, 2003), fixed seed
    const auto random = [&](std::size_t below) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return static_cast<std::size_t>(state % below);
    };
    std::size_t sum = 0;
    for (const std::string& file : {rich_image(), with_stubs()}) {
        for (int round = 0; round < 2000; ++round) {
            std::string damaged = file;
            for (std::size_t n = 1 + random(4); n != 0; --n) {
                damaged[random(damaged.size())] = static_cast<char>(random(256));
            }
            sum += read_everything(damaged.data(), damaged.size());
        }
    }
    CHECK(sum != 0);
}

TEST_CASE("a cut stub is not decoded") {
    const std::string stub("\xf3\x0f\x1e\xfa\xf2\xff\x25\x10\0\0\0", 11);
    for (std::size_t size = 0; size <= stub.size(); ++size) {
        const std::unique_ptr<char[]> exact(new char[size]);
        if (size != 0) std::memcpy(exact.get(), stub.data(), size);
        std::uint64_t slot = 0;
        CHECK(read_stub(EM_X86_64, {exact.get(), size}, 0x1000, slot) == (size == stub.size()));
        CHECK(slot == (size == stub.size() ? 0x101bu : 0u));
    }
}

// ---- this program ----

TEST_CASE("many addresses at once have the names that each has alone") {
    small_elf elf = with_text_section();
    elf.symbol("outer", text, 0x800, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("inner", text + 0x100, 0x100, STT_FUNC, STB_LOCAL, 1);
    elf.symbol("open", text + 0x900, 0, STT_FUNC, STB_GLOBAL, 1);
    elf.symbol("label", text + 0x980, 0, STT_NOTYPE, STB_LOCAL, 1);
    elf.symbol("far", text + 0xf00, 4, STT_FUNC, STB_GLOBAL, 1);
    const std::string file = finish(elf);
    std::vector<std::uint64_t> all;
    for (std::uint64_t at = text - 0x80; at < text + 0x1080; at += 0x40) all.push_back(at);
    all.push_back(text + (std::uint64_t{1} << 40));  // a wide span: the pieces in between are large
    const std::vector<std::string> names = names_at(file.data(), file.size(), all);
    for (std::size_t i = 0; i < all.size(); ++i) CHECK(names[i] == name_at(file, all[i]));
    CHECK(names[2] == "outer");
    CHECK(name_at(file, text + 0x980) == "open");
}

TEST_CASE("a file in which everything overlaps has no names instead of taking all day") {
    small_elf elf = with_text_section();
    for (int i = 0; i < 1 << 14; ++i) elf.symbol("f" + std::to_string(i), text, 0x1000, STT_FUNC, STB_GLOBAL, 1);
    const std::string file = finish(elf);
    std::vector<std::uint64_t> all;
    for (std::uint64_t at = text; at < text + 0x1000; ++at) all.push_back(at);
    REQUIRE((all.size() << 14) >= symbol_search::max_offers);
    all.push_back(all.back());
    for (const std::string& name : names_at(file.data(), file.size(), all)) CHECK(name.empty());
    CHECK(name_at(file, text) == "f0");
}

// ---- this program ----

TEST_CASE("the running program has symbols") {
    std::size_t size = 0;
    const void* const own = prof::detail::os_map_file("/proc/self/exe", size);
    REQUIRE(own != nullptr);
    {
        arena memory(os_pages);
        const symbol_search symbols(elf_image(own, size), memory);
        CHECK(symbols.has_symbols());
    }
    prof::detail::os_unmap_sig(const_cast<void*>(own), size);
}

}  // namespace

#endif
