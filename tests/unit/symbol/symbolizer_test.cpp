// tests/unit/symbol/symbolizer_test.cpp - names for this program's own addresses, and made-up ones.

#include <prof/symbol/symbolizer.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "../code/own_registry.hpp"

namespace {

using prof::detail::arena;
using prof::detail::code_map;
using prof::detail::code_range;
using prof::detail::os_pages;
using prof::detail::profile;
using prof::detail::profile_location;
using prof::detail::profile_mapping;
using prof::detail::profile_sample;
using prof::detail::symbolizer;
using prof::detail::text_view;

std::string text_of(text_view text) { return std::string(text.data, text.size); }

const prof::detail::profile_function& function_of(const profile& p, std::uint32_t location) {
    const profile_location& there = p.locations[location];
    REQUIRE(there.line_count == 1);
    return p.functions[p.lines[there.first_line].function];
}
std::string name_in(const profile& p, std::uint32_t location) {
    return text_of(p.strings[function_of(p, location).name]);
}
std::string linked_in(const profile& p, std::uint32_t location) {
    return text_of(p.strings[function_of(p, location).system_name]);
}

#if PROF_DETAIL_OS_LINUX

__attribute__((noinline)) static int quiet_helper(int x) {
    __asm__ volatile("");
    return x + 1;
}
template <class T>
__attribute__((noinline)) T doubled_value(T x) {
    __asm__ volatile("");
    return x + x;
}

template <class Function>
std::uint64_t address_of(Function* function) {
    return reinterpret_cast<std::uintptr_t>(function);
}
std::uint64_t libc_function() {
    // Without -fPIE &lrand48 is a stub of this program. Static programs have no next definition.
    const void* const found = prof::detail::os_next_symbol("lrand48");
    return found != nullptr ? reinterpret_cast<std::uintptr_t>(found) : address_of(&lrand48);
}

std::uint32_t add_mapping(profile& p, const code_range& range) {
    static const char digits[] = "0123456789abcdef";
    std::string id;
    for (std::uint32_t i = 0; i < range.build_id_length; ++i) {
        id += digits[range.build_id[i] >> 4];
        id += digits[range.build_id[i] & 15];
    }
    profile_mapping made;
    made.start = range.start;
    made.limit = range.limit;
    made.offset = range.offset;
    made.file = p.string({range.path, range.path_size});
    made.build_id = p.string(id.c_str());
    p.mappings.push(made);
    return static_cast<std::uint32_t>(p.mappings.size() - 1);
}

std::string base_name(const code_range& range) {
    const std::string path(range.path, range.path_size);
    return path.substr(path.rfind('/') + 1);
}

// What a location without symbol is called.
std::string made_up(const code_range& range, std::uint64_t address) {
    char digits[16];
    const std::size_t n = prof::detail::format_hex(address - range.start + range.offset, digits);
    return base_name(range) + "+0x" + std::string(digits, n);
}

const code_range* vdso_of(const code_map& map) {
    for (std::size_t i = 0; i < map.count; ++i) {
        if (base_name(map.ranges[i]) == "[vdso]") return &map.ranges[i];
    }
    return nullptr;
}

TEST_CASE("an address is named: static function, template, shared library, nothing") {
    CHECK(quiet_helper(doubled_value(1)) == 3);
    const code_map* const map = prof::detail::read_code_map();
    REQUIRE(map != nullptr);
    arena memory(os_pages);
    symbolizer names(memory);
    CHECK(text_of(names.name_of(address_of(&quiet_helper), map)).find("quiet_helper(int)") !=
          std::string::npos);
    CHECK(text_of(names.name_of(address_of(&doubled_value<long>), map)).find(
              "long (anonymous namespace)::doubled_value<long>(long)") == 0);
    REQUIRE(libc_function() != 0);
    CHECK(text_of(names.name_of(libc_function(), map)) == "lrand48");
    CHECK(names.name_of(16, map).size == 0);
    CHECK(names.name_of(address_of(&quiet_helper), nullptr).size == 0);
}

TEST_CASE("a profile's locations get functions and its mappings their claims") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const own = map->find(address_of(&quiet_helper));
    const code_range* const libc = map->find(libc_function());
    REQUIRE((own != nullptr && libc != nullptr));
    arena memory(os_pages);
    profile p(memory);
    const std::uint32_t own_mapping = add_mapping(p, *own);
    const std::uint32_t libc_mapping = add_mapping(p, *libc);
    const std::uint32_t empty_mapping = add_mapping(p, *libc);
    const std::uint32_t helper = p.add_location(own_mapping, address_of(&quiet_helper) + 1);
    const std::uint32_t twice = p.add_location(own_mapping, address_of(&doubled_value<int>));
    const std::uint32_t known = p.add_location(libc_mapping, libc_function());
    const std::uint32_t beyond = p.add_location(libc_mapping, libc->limit + 5);
    const std::uint32_t nowhere = p.add_location(prof::detail::no_index, 0x1234);
    const std::uint32_t named = p.add_named_location("[stack table full]");
    {
        arena own_memory(os_pages);
        symbolizer names(own_memory);
        for (int round = 0; round < 2; ++round) {  // the second time nothing changes
            names.symbolize(p, map);
            CHECK(name_in(p, helper) == "(anonymous namespace)::quiet_helper(int)");
            CHECK(linked_in(p, helper).find("_ZN") == 0);
            CHECK(name_in(p, twice).find("doubled_value<int>(int)") != std::string::npos);
            CHECK(name_in(p, known) == "lrand48");
            CHECK(linked_in(p, known) == "lrand48");
            CHECK(name_in(p, beyond) == made_up(*libc, libc->limit + 5));
            CHECK(linked_in(p, beyond) == name_in(p, beyond));
            CHECK(name_in(p, nowhere) == "0x1234");
            CHECK(name_in(p, named) == "[stack table full]");
            CHECK(p.mappings[own_mapping].has_functions);
            CHECK_FALSE(p.mappings[libc_mapping].has_functions);
            CHECK_FALSE(p.mappings[empty_mapping].has_functions);
            CHECK_FALSE(p.mappings[own_mapping].has_filenames);
            CHECK_FALSE(p.mappings[own_mapping].has_line_numbers);
        }
    }
    CHECK(name_in(p, helper) == "(anonymous namespace)::quiet_helper(int)");
    CHECK(p.complete());
}

TEST_CASE("an address outside of its mapping is not looked up in its file") {
    const code_map* const map = prof::detail::read_code_map();
    code_range cut = *map->find(address_of(&quiet_helper));
    const code_range whole = cut;
    cut.limit = address_of(&quiet_helper);
    arena memory(os_pages);
    profile p(memory);
    const std::uint32_t mapping = add_mapping(p, cut);
    const std::uint32_t outside = p.add_location(mapping, address_of(&quiet_helper));
    symbolizer(memory).symbolize(p, map);
    CHECK(name_in(p, outside) == made_up(whole, address_of(&quiet_helper)));
    CHECK_FALSE(p.mappings[mapping].has_functions);
}

int pages_left = 0;
void* map_sparingly(std::size_t size) noexcept {
    return pages_left-- > 0 ? prof::detail::os_map_sig(size) : nullptr;
}

TEST_CASE("without memory names are lost, never functions") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const own = map->find(address_of(&quiet_helper));
    for (const std::size_t chunk : {256u, 1024u, 16384u}) {
        for (int pages = 0; pages < 12; ++pages) {
            arena plenty(os_pages);
            profile p(plenty);
            const std::uint32_t mapping = add_mapping(p, *own);
            for (std::uint64_t i = 0; i < 600; ++i) {
                p.add_location(mapping, own->start + i * (own->limit - own->start) / 600);
            }
            pages_left = pages;
            arena scarce({&map_sparingly, &prof::detail::os_unmap_sig}, chunk);
            symbolizer names(scarce);
            names.symbolize(p, map);
            names.name_of(address_of(&quiet_helper), map);
            for (std::size_t i = 0; i < p.locations.size() && p.locations[0].line_count != 0; ++i) {
                CHECK_FALSE(name_in(p, static_cast<std::uint32_t>(i)).empty());
            }
        }
    }
}

TEST_CASE("the vdso is read in memory") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const vdso = vdso_of(*map);
    if (vdso == nullptr) return;
    arena memory(os_pages);
    symbolizer names(memory);
    std::uintptr_t at = vdso->start;
    while (at < vdso->limit && names.name_of(at, map).size == 0) at += 16;
    if (at == vdso->limit) return;  // a kernel whose vdso has no section table
    const std::string name = text_of(names.name_of(at, map));
    CHECK((name.find("vdso") != std::string::npos || name.find("kernel") != std::string::npos));
    profile p(memory);
    const std::uint32_t mapping = add_mapping(p, *vdso);
    const std::uint32_t there = p.add_location(mapping, at);
    names.symbolize(p, map);
    CHECK(name_in(p, there) == name);
    CHECK(p.mappings[mapping].has_functions);
    profile blind(memory);
    const std::uint32_t unknown = blind.add_location(add_mapping(blind, *vdso), at);
    symbolizer(memory).symbolize(blind, nullptr);
    CHECK(name_in(blind, unknown) == made_up(*vdso, at));
}

TEST_CASE("a replaced file gives no names") {
    const code_map* const map = prof::detail::read_code_map();
    code_range other = *map->find(address_of(&quiet_helper));
    const std::uint32_t before = other.build_id_length;
    other.build_id_length = 20;
    other.build_id[0] = static_cast<unsigned char>(other.build_id[0] ^ 1);
    arena memory(os_pages);
    profile p(memory);
    const std::uint32_t location =
        p.add_location(add_mapping(p, other), address_of(&quiet_helper));
    symbolizer(memory).symbolize(p, map);
    if (before == 0) return;  // linked without build ids: nothing to tell by
    CHECK(name_in(p, location) == made_up(other, address_of(&quiet_helper)));
    CHECK_FALSE(p.mappings[0].has_functions);
}

TEST_CASE("a file that is gone gives no names, unless it is the running program") {
    const code_map* const map = prof::detail::read_code_map();
    code_range gone = *map->find(address_of(&quiet_helper));
    gone.path = "/nowhere/was/here";
    gone.path_size = 17;
    arena memory(os_pages);
    symbolizer names(memory);
    profile p(memory);
    const std::uint32_t location = p.add_location(add_mapping(p, gone), address_of(&quiet_helper));
    names.symbolize(p, map);
    if (gone.build_id_length != 0) {
        CHECK(name_in(p, location) == "(anonymous namespace)::quiet_helper(int)");
    }
    gone.build_id_length = 0;
    profile q(memory);
    const std::uint32_t unknown = q.add_location(add_mapping(q, gone), address_of(&quiet_helper));
    names.symbolize(q, map);
    CHECK(name_in(q, unknown) == made_up(gone, address_of(&quiet_helper)));
}

#endif

}  // namespace
