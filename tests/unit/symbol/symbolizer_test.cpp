// tests/unit/symbol/symbolizer_test.cpp - names for this program's own addresses, and made-up ones.

#include <prof/symbol/symbolizer.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <prof/process/profile_builder.hpp>

#include "../code/own_library.hpp"
#include "../code/own_registry.hpp"

namespace {

using prof::detail::add_mapping;
using prof::detail::arena;
using prof::detail::code_map;
using prof::detail::code_range;
using prof::detail::name_cache;
using prof::detail::name_detail;
using prof::detail::name_limits;
using prof::detail::no_index;
using prof::detail::own_library;
using prof::detail::own_registry;
using prof::detail::os_pages;
using prof::detail::profile;
using prof::detail::profile_location;
using prof::detail::profile_mapping;
using prof::detail::profile_sample;
using prof::detail::symbolizer;
using prof::detail::text_view;

std::string text_of(text_view text) { return std::string(text.data, text.size); }

// The outermost function of a location: the one that the code is in.
const prof::detail::profile_function& function_of(const profile& p, std::uint32_t location) {
    const profile_location& there = p.locations[location];
    REQUIRE(there.line_count != 0);
    return p.functions[p.lines[there.first_line + there.line_count - 1].function];
}
std::string name_in(const profile& p, std::uint32_t location) {
    return text_of(p.strings[function_of(p, location).name]);
}
std::string linked_in(const profile& p, std::uint32_t location) {
    return text_of(p.strings[function_of(p, location).system_name]);
}
std::string file_in(const profile& p, std::uint32_t location) {
    const std::string path = text_of(p.strings[function_of(p, location).file]);
    return path.substr(path.rfind('/') + 1);
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

void symbolize(profile& p, const code_map* map, name_cache* cache = nullptr,
               name_detail detail = name_detail::functions, const name_limits& limits = {}) {
    arena memory(os_pages);
    symbolizer(memory, cache, limits, detail).symbolize(p, map);
}
// "" where there is no real name.
std::string name_at(std::uint64_t address, const code_map* map) {
    const code_range* const range = map->find(static_cast<std::uintptr_t>(address));
    if (range == nullptr) return "";
    arena memory(os_pages);
    profile p(memory);
    const std::uint32_t location = p.add_location(add_mapping(p, *range), address);
    symbolize(p, map);
    return function_of(p, location).is_made_up ? "" : name_in(p, location);
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
    CHECK(name_at(address_of(&quiet_helper), map) == "(anonymous namespace)::quiet_helper(int)");
    CHECK(name_at(address_of(&doubled_value<long>), map) == "long (anonymous namespace)::doubled_value<long>(long)");
    REQUIRE(libc_function() != 0);
    CHECK(name_at(libc_function(), map) == "lrand48");
    CHECK(name_at(16, map) == "");
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
    for (int round = 0; round < 2; ++round) {  // the second time nothing changes
        symbolize(p, map);
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
    symbolize(p, map);
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
            const name_detail detail = pages % 2 == 0 ? name_detail::inlines : name_detail::functions;
            symbolizer(scarce, nullptr, {}, detail).symbolize(p, map);
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
    std::uintptr_t at = vdso->start;
    while (at < vdso->limit && name_at(at, map).empty()) at += 16;
    if (at == vdso->limit) return;  // a kernel whose vdso has no section table
    const std::string name = name_at(at, map);
    CHECK((name.find("vdso") != std::string::npos || name.find("kernel") != std::string::npos));
    arena memory(os_pages);
    profile blind(memory);
    const std::uint32_t unknown = blind.add_location(add_mapping(blind, *vdso), at);
    symbolize(blind, nullptr);
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
    symbolize(p, map);
    if (before == 0) return;  // linked without build ids: nothing to tell by
    CHECK(name_in(p, location) == made_up(other, address_of(&quiet_helper)));
    CHECK_FALSE(p.mappings[0].has_functions);
}

TEST_CASE("two files that were at one place and path are told apart by the range's number") {
    const own_registry registry;
    const own_library library(false);
    const code_map* const before = prof::detail::read_code_map_sig(nullptr, *registry.code);
    const code_range first = prof::detail::code_of(before, library.path);
    std::uint64_t function = first.start;
    while (function < first.limit && name_at(function, before).empty()) ++function;
    REQUIRE(function < first.limit);
    code_range ranges[2] = {first, first};  // what is there now, and what was unloaded
    ranges[0].number = 1;
    ranges[0].inode ^= 1;
    ranges[0].image = false;
    ranges[0].moved = true;
    ranges[1].number = 2;
    ranges[1].current = false;
    code_map map;
    map.ranges = ranges;
    map.count = 2;
    map.current = 1;
    for (const code_range& range : ranges) {
        arena memory(os_pages);
        profile p(memory);
        const std::uint32_t mapping = add_mapping(p, range);
        const std::uint32_t location = p.add_location(mapping, function);
        symbolize(p, &map);
        CHECK((name_in(p, location) == made_up(range, function)) == (range.number == 1));
    }
}

TEST_CASE("a file that is gone gives no names, unless it is the running program") {
    const code_map* const map = prof::detail::read_code_map();
    code_range gone = *map->find(address_of(&quiet_helper));
    gone.path = "/nowhere/was/here";
    gone.path_size = 17;
    arena memory(os_pages);
    profile p(memory);
    const std::uint32_t location = p.add_location(add_mapping(p, gone), address_of(&quiet_helper));
    symbolize(p, map);
    if (gone.build_id_length != 0) {
        CHECK(name_in(p, location) == "(anonymous namespace)::quiet_helper(int)");
    }
    gone.build_id_length = 0;
    profile q(memory);
    const std::uint32_t unknown = q.add_location(add_mapping(q, gone), address_of(&quiet_helper));
    symbolize(q, map);
    CHECK(name_in(q, unknown) == made_up(gone, address_of(&quiet_helper)));
}

TEST_CASE("what only samples of zeros have makes no claim for its mapping") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const own = map->find(address_of(&quiet_helper));
    for (const std::int64_t value : {0, 1}) {
        arena memory(os_pages);
        profile p(memory);
        p.add_value_type("samples", "count");
        const std::uint32_t mapping = add_mapping(p, *own);
        const std::uint32_t location = p.add_location(mapping, address_of(&quiet_helper));
        p.add_sample(&location, 1, nullptr, 0, &value);
        symbolize(p, map);
        CHECK(name_in(p, location) == "(anonymous namespace)::quiet_helper(int)");
        CHECK(p.mappings[mapping].has_functions == (value != 0));
    }
}

TEST_CASE("names that are demangled too dear stay as they are linked") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const own = map->find(address_of(&quiet_helper));
    for (const bool is_cheap : {false, true}) {
        arena memory(os_pages);
        profile p(memory);
        const std::uint32_t mapping = add_mapping(p, *own);
        const std::uint32_t one = p.add_location(mapping, address_of(&quiet_helper));
        const std::uint32_t other = p.add_location(mapping, address_of(&doubled_value<int>));
        name_limits limits;
        if (!is_cheap) limits.demangler_steps = 1;  // whichever comes first
        symbolize(p, map, nullptr, name_detail::functions, limits);
        const int linked = (name_in(p, one) == linked_in(p, one)) + (name_in(p, other) == linked_in(p, other));
        CHECK(linked == (is_cheap ? 0 : 1));
    }
}

// ---- the cache ----

struct own_cache {
    name_cache names{};
    ~own_cache() {
        if (names.has_store) names.store().~name_store();
    }
};
const name_limits no_time{0, ~std::size_t{0}};  // what is looked up in files is not found

TEST_CASE("what was named once is known again, with its lines") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const own = map->find(address_of(&quiet_helper));
    own_cache cache;
    std::string names[2];
    for (std::string& name : names) {
        arena memory(os_pages);
        profile p(memory);
        const std::uint32_t mapping = add_mapping(p, *own);
        const std::uint32_t location = p.add_location(mapping, address_of(&quiet_helper));
        const std::uint32_t beyond = p.add_location(mapping, own->start);
        symbolize(p, map, &cache.names, name_detail::inlines);
        name = name_in(p, location) + file_in(p, location) + name_in(p, beyond) +
               std::to_string(p.lines[p.locations[location].first_line].line) +
               std::to_string(function_of(p, location).start_line) + (p.mappings[mapping].has_functions ? "f" : "") +
               (p.mappings[mapping].has_line_numbers ? "l" : "");
        CHECK(cache.names.store().size() == 2);
    }
    CHECK(names[0] == names[1]);
    CHECK(names[0].find("(anonymous namespace)::quiet_helper(int)") == 0);
}

TEST_CASE("a detail that was not asked for before is looked up") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const own = map->find(address_of(&quiet_helper));
    own_cache cache;
    std::size_t known = 0;
    for (const name_detail detail : {name_detail::functions, name_detail::lines, name_detail::inlines}) {
        arena memory(os_pages);
        profile p(memory);
        (void)p.add_location(add_mapping(p, *own), address_of(&quiet_helper));
        symbolize(p, map, &cache.names, detail);
        CHECK(cache.names.store().size() == ++known);
    }
}

TEST_CASE("what a limit cut off has a comment, keeps its function, and is looked up again") {
    const code_map* const map = prof::detail::read_code_map();
    const code_range* const own = map->find(address_of(&quiet_helper));
    own_cache cache;
    bool has_lines[2] = {};
    bool has_comment[2] = {};
    for (const bool has_time : {false, true}) {
        arena memory(os_pages);
        profile p(memory);
        const std::uint32_t location = p.add_location(add_mapping(p, *own), address_of(&quiet_helper));
        symbolize(p, map, &cache.names, name_detail::inlines, has_time ? name_limits{} : no_time);
        CHECK(name_in(p, location) == "(anonymous namespace)::quiet_helper(int)");
        has_lines[has_time] = file_in(p, location) == "symbolizer_test.cpp";
        has_comment[has_time] = p.comments.size() == 1 && text_of(p.strings[p.comments[0]]).find("1 addresses have no line") == 0;
    }
    CHECK_FALSE(has_lines[false]);
    CHECK_FALSE(has_comment[true]);
    CHECK(has_comment[false] == has_lines[true]);  // false where the tests are built without -g
}

#endif

}  // namespace
