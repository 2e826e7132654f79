// tests/unit/symbol/debug_info_test.cpp - many units at once: overlapping, split, without ranges, hostile.

#include "prof/symbol/debug_info.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "dwarf_bytes.hpp"

namespace {

using namespace prof::detail;

// A line program with one file whose rows have one line.
std::uint64_t add_lines(dwarf_file& file, const char* name, std::uint64_t begin, std::uint64_t limit, std::int64_t line) {
  line_text text(4);
  text.files = {{name, 0}};
  text.sequence(begin, limit, line);
  return text.add_to(file);
}

// ---- which unit --------------------------------------------------------------------------------------

// G2: overlapping units.
TEST_CASE("trap: of overlapping units the one that has the function has the line, too") {
  for (const bool is_first : {false, true}) {
    dwarf_file file;
    const auto wide = [&] {
      dwarf_unit_text unit(file, 4);
      unit.root(0x1000, 0x9000, add_lines(file, "wide.c", 0x1000, 0x9000, 1));
      unit.function("far", 0x8000, 0x8100);
      unit.close();
      unit.finish();
    };
    if (!is_first) wide();
    dwarf_unit_text unit(file, 4);
    unit.root(0x2000, 0x3000, add_lines(file, "own.c", 0x2000, 0x3000, 2));
    unit.function("own", 0x2000, 0x3000);
    unit.close();
    unit.finish();
    if (is_first) wide();
    CHECK(found_at(file, 0x2000) == "own /src/own.c:2");
    CHECK(found_at(file, 0x8000) == "far /src/wide.c:1");
    CHECK(found_at(file, 0x4000) == "? /src/wide.c:1");
  }
}

// G2: duplicates.
TEST_CASE("trap: of two units with a function at one place the first of the file is taken, line and all") {
  dwarf_file file;
  for (const char* name : {"one", "two", "three"}) {
    dwarf_unit_text unit(file, 4);
    const std::string source = std::string(name) + ".c";
    unit.root(0x2000, 0x3000, add_lines(file, source.c_str(), 0x2000, 0x3000, 5));
    unit.function(name, 0x2000, 0x3000);
    unit.close();
    unit.finish();
  }
  CHECK(found_at(file, 0x2800) == "one /src/one.c:5");
}

TEST_CASE("a unit that does not say where its code is is asked for what no other knows the line of") {
  for (const bool has_low : {false, true}) {
    dwarf_file file;
    dwarf_unit_text silent(file, 4);
    std::vector<dwarf_attr> root = {{attribute_comp_dir, form_string, "/src"},
                                    {attribute_stmt_list, form_sec_offset, add_lines(file, "silent.S", 0x1000, 0x4000, 1)}};
    if (has_low) root.emplace_back(unsigned{attribute_low_pc}, unsigned{form_addr}, 0);
    silent.die(tag_compile_unit, false, root);
    silent.finish();
    dwarf_unit_text unit(file, 4);
    unit.root(0x2000, 0x3000, add_lines(file, "own.c", 0x2000, 0x2800, 2));
    unit.function("own", 0x2000, 0x3000);
    unit.close();
    unit.finish();
    CHECK(found_at(file, 0x2000) == "own /src/own.c:2");
    CHECK(found_at(file, 0x3800) == "? /src/silent.S:1");
    CHECK(found_at(file, 0x2900) == "own /src/silent.S:1");
  }
}

TEST_CASE("trap: partial units have neither code nor lines of their own") {
  dwarf_file file;
  dwarf_unit_text partial(file, 4);
  partial.die(tag_partial_unit, false, {{attribute_stmt_list, form_sec_offset, add_lines(file, "p.h", 0x1000, 0x9000, 1)}});
  partial.finish();
  CHECK(found_at(file, 0x2000) == "? ?:0");
}

TEST_CASE("units of types are no units of code") {
  dwarf_file file;
  dwarf_unit_text types(file, 5, false, 2);
  types.root(0x1000, 0x9000, add_lines(file, "t.h", 0x1000, 0x9000, 1));
  types.function("typed", 0x2000, 0x3000);
  types.close();
  types.finish();
  CHECK(found_at(file, 0x2000) == "? ?:0");
}

// G2: split DWARF.
TEST_CASE("trap: of split units the lines are here, and it is counted that names are not") {
  for (const unsigned version : {4u, 5u}) {
    CAPTURE(version);
    dwarf_file file;
    const bool is_new = version == 5;
    if (is_new) file.rnglists.add({7}).u64(0x2000).uleb(0x1000).u8(0);
    else file.ranges.u64(0x2000).u64(0x3000).u64(0).u64(0);
    dwarf_unit_text unit(file, version, false, 4);
    unit.die(is_new ? unsigned{tag_skeleton_unit} : unsigned{tag_compile_unit}, false,
             {{is_new ? unsigned{attribute_dwo_name} : unsigned{attribute_gnu_dwo_name}, form_string, "a.dwo"},
              {0x2132u, form_sec_offset, 4096},  // DW_AT_GNU_ranges_base: of the .dwo file only
              {attribute_low_pc, form_addr, 0},
              {attribute_ranges, form_sec_offset, 0},
              {attribute_stmt_list, form_sec_offset, add_lines(file, "/a.c", 0x2000, 0x3000, 7)}});
    unit.finish();
    dwarf_search search({0x2000});
    CHECK(search.run(file.sections()).at(0) == "? /a.c:7");
    CHECK(search.info.split_units() == 1);
    dwarf_search elsewhere({0x5000});
    elsewhere.run(file.sections());
    CHECK(elsewhere.info.split_units() == 0);
  }
}

TEST_CASE("lines without functions, where no more is wanted") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x2000, 0x3000, add_lines(file, "a.c", 0x2000, 0x3000, 5));
  unit.function("f", 0x2000, 0x3000);
  unit.close();
  unit.finish();
  dwarf_search search({0x2000});
  CHECK(search.run(file.sections(), nullptr, 0x1000, false).at(0) == "? /src/a.c:5");
  CHECK(search.is_whole);
  CHECK(search.info.functions().scopes() == 0);
}

// G2: garbage-collected code.
TEST_CASE("trap: units and lines of dropped code have no address, wherever the file's code begins") {
  dwarf_file file;
  for (const std::uint64_t mark : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}, ~std::uint64_t{1}}) {
    dwarf_unit_text unit(file, 4);
    unit.root(mark, mark + 0x8000, add_lines(file, "gone.c", mark, mark + 0x8000, 666));
    unit.function("gone", mark, mark + 0x8000);
    unit.close();
    unit.finish();
  }
  dwarf_unit_text unit(file, 4);
  unit.root(0x2000, 0x3000, add_lines(file, "a.c", 0x2000, 0x3000, 5));
  unit.function("f", 0x2000, 0x3000);
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "f /src/a.c:5");
  CHECK(found_at(file, 0x4000) == "? ?:0");
}

TEST_CASE("no sections, and no addresses") {
  dwarf_search nothing({0x2000});
  CHECK(nothing.run(dwarf_sections{}).at(0) == "? ?:0");
  CHECK(nothing.is_whole);
  dwarf_search nobody({});
  nobody.run(dwarf_sections{});
  CHECK(nobody.is_whole);
}

// ---- giving up ---------------------------------------------------------------------------------------

TEST_CASE("who asks is asked before each unit, and what was found before a no stays") {
  dwarf_file file;
  std::vector<std::uint64_t> addresses;
  for (std::uint64_t i = 0; i < 10; ++i) {
    const std::uint64_t at = 0x2000 + 0x100 * i;
    dwarf_unit_text unit(file, 4);
    unit.root(at, at + 0x100, add_lines(file, "a.c", at, at + 0x100, 5));
    unit.function("f", at, at + 0x100);
    unit.close();
    unit.finish();
    addresses.push_back(at);
  }
  dwarf_search whole(addresses);
  whole.run(file.sections());
  CHECK(whole.is_whole);
  CHECK(whole.asked >= 10);
  CHECK(whole.asked <= 12);
  for (std::size_t limit = 0; limit < whole.asked; ++limit) {
    dwarf_search search(addresses);
    search.asked_limit = limit;
    search.run(file.sections());
    CHECK_FALSE(search.is_whole);
    CHECK(search.asked == limit + 1);
    std::size_t found = 0;
    for (std::size_t i = 0; i < 10; ++i) found += search.at(i) == "f /src/a.c:5" ? 1u : 0u;
    CHECK(found <= limit);
    CHECK(found + 2 >= limit);
  }
}

// A small file with all that there is.
dwarf_file rich(unsigned version, bool is_long) {
  dwarf_file file;
  line_text lines(version);
  if (version == 5) lines.directories = {"/src", "sub"};
  lines.files = {{"a.c", 0}, {"b.c", 0}};
  lines.sequence(0x1000, 0x9000, 10);
  const std::uint64_t at = lines.add_to(file);
  if (version == 5) file.rnglists.add({7}).u64(0x2100).uleb(0x10).u8(7).u64(0x2200).uleb(0x10).u8(0);
  else file.ranges.u64(0x1100).u64(0x1110).u64(0x1200).u64(0x1210).u64(0).u64(0);  // behind the unit's begin
  dwarf_unit_text unit(file, version, is_long);
  const unsigned offset = version >= 4 ? form_sec_offset : is_long ? form_data8 : form_data4;
  unit.die(tag_compile_unit, true,
           {{attribute_name, form_strp, "unit"}, {attribute_stmt_list, offset, at}, {attribute_low_pc, form_addr, 0x1000},
            {attribute_high_pc, version >= 4 ? unsigned{form_data8} : unsigned{form_addr}, version >= 4 ? 0x8000 : 0x9000}, {attribute_comp_dir, form_strp, "/src"}});
  const std::uint64_t in = unit.die(tag_subprogram, false, {{attribute_name, form_strp, "in"}, {attribute_decl_line, form_data1, 3}});
  unit.function("f", 0x2000, 0x3000, true);
  unit.die(tag_inlined_subroutine, false,
           {{attribute_abstract_origin, form_ref4, in}, {attribute_ranges, offset, 0}, {attribute_call_file, form_data1, 1}, {attribute_call_line, form_udata, 300}});
  unit.close();
  unit.close();
  unit.finish();
  return file;
}

std::vector<dwarf_text*> sections_of(dwarf_file& file) {
  return {&file.info, &file.abbrev, &file.line, &file.str, &file.line_str, &file.str_offsets, &file.addr, &file.ranges, &file.rnglists};
}

// In memory of its own, whose end a sanitizer sees.
struct exact {
  std::unique_ptr<char[]> bytes;
  std::size_t size;
  explicit exact(const std::string& text) : bytes(new char[text.size()]), size(text.size()) { std::memcpy(bytes.get(), text.data(), size); }
};
dwarf_search& search_exact(const dwarf_file& file, dwarf_search& search) {
  dwarf_file copy = file;
  std::vector<exact> kept;
  for (const dwarf_text* const section : sections_of(copy)) kept.emplace_back(section->bytes);
  dwarf_sections made;
  text_view* const places[] = {&made.info, &made.abbrev, &made.line, &made.str, &made.line_str, &made.str_offsets, &made.addr, &made.ranges, &made.rnglists};
  for (std::size_t i = 0; i < kept.size(); ++i) *places[i] = {kept[i].bytes.get(), kept[i].size};
  search.run(made, nullptr, 0);
  for (std::size_t i = 0; i < search.wanted.size(); ++i) search.at(i);
  return search;
}

TEST_CASE("every version of it is found, in 32 and 64 bits") {
  for (unsigned version = 2; version <= 5; ++version) {
    for (const bool is_long : {false, true}) {
      if (version == 2 && is_long) continue;  // there was none
      const dwarf_file file = rich(version, is_long);
      CHECK(found_at(file, 0x2100) == (version == 5 ? "in@3 /src/b.c:10 < f /src/b.c:300" : "in@3 /src/a.c:10 < f /src/a.c:300"));
      CHECK(found_at(file, 0x2205) == found_at(file, 0x2100));
      CHECK(found_at(file, 0x2210) == (version == 5 ? "f /src/b.c:10" : "f /src/a.c:10"));
    }
  }
}

TEST_CASE("every section cut short at every byte") {
  for (unsigned version = 2; version <= 5; ++version) {
    dwarf_file file = rich(version, version == 5);
    for (dwarf_text* const section : sections_of(file)) {
      const std::string whole = section->bytes;
      for (std::size_t size = 0; size < whole.size(); ++size) {
        section->bytes = whole.substr(0, size);
        dwarf_search search({0x2000, 0x2100, 0x2205, 0x8fff});
        CHECK(search_exact(file, search).asked <= 4);
      }
      section->bytes = whole;
    }
  }
}

TEST_CASE("every byte of every section changed") {
  for (unsigned version = 2; version <= 5; ++version) {
    dwarf_file file = rich(version, version == 5);
    for (dwarf_text* const section : sections_of(file)) {
      for (char& byte : section->bytes) {
        const char before = byte;
        for (const unsigned change : {0x01u, 0x80u, 0xffu, 0x7fu}) {
          byte = static_cast<char>(static_cast<unsigned char>(before) ^ change);
          dwarf_search search({0x2000, 0x2100, 0x2205, 0x8fff});
          CHECK(search_exact(file, search).asked <= 4);
        }
        byte = before;
      }
    }
  }
}

// ---- work --------------------------------------------------------------------------------------------

// How often is asked when all is used up: least_steps, and a little for the bytes.
constexpr std::size_t most_asked = debug_info::least_steps / read_effort::steps_between;

std::vector<std::uint64_t> many_addresses(std::uint64_t count) {
  std::vector<std::uint64_t> addresses;
  for (std::uint64_t i = 0; i < count; ++i) addresses.push_back(0x10000 + i);
  return addresses;
}
void check_given_up(const dwarf_file& file, dwarf_search& search, std::size_t units = 1) {
  const std::size_t of_bytes = file.sections().bytes() * debug_info::steps_per_byte / read_effort::steps_between;
  search.run(file.sections());
  CHECK_FALSE(search.is_whole);
  CHECK(search.asked >= most_asked / 2);
  CHECK(search.asked <= most_asked + of_bytes + units + 2);
}

TEST_CASE("work: entries that each cover all addresses") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x10000, 0x90000, 0);
  const std::uint64_t in = unit.abstract("in");
  unit.function("f", 0x10000, 0x90000, true);
  const std::string declarations = unit.declarations.bytes;
  const std::size_t begin = unit.body.size();
  unit.inlined(in, 0x10000, 0x90000, 1, 1);
  const std::string entry = unit.body.bytes.substr(begin);
  for (int i = 0; i < 9999; ++i) unit.body.bytes += entry;
  unit.close();
  unit.close();
  unit.finish();
  dwarf_search search(many_addresses(5000));
  check_given_up(file, search);
  CHECK(search.at(0) == "in ?:0 < f ?:1");
}

TEST_CASE("work: a long list of ranges that many entries share") {
  dwarf_file file;
  for (int i = 0; i < 10000; ++i) file.ranges.u64(0x90000).u64(0x90001);
  dwarf_unit_text unit(file, 4);
  unit.root(0x10000, 0x90000, 0);
  const std::size_t begin = unit.body.size();
  unit.die(tag_subprogram, false, {{attribute_ranges, form_sec_offset, 0}});
  const std::string entry = unit.body.bytes.substr(begin);
  for (int i = 0; i < 5000; ++i) unit.body.bytes += entry;
  unit.close();
  unit.finish();
  dwarf_search search({0x10000});
  check_given_up(file, search);
}

TEST_CASE("work: a line program that many units share") {
  dwarf_file file;
  line_text lines(4);
  lines.files = {{"a.c", 0}};
  lines.at(0x10000);
  for (int i = 0; i < 50000; ++i) lines.copy();
  lines.advance(0x1000).end();
  const std::uint64_t at = lines.add_to(file);
  for (int i = 0; i < 1000; ++i) {
    dwarf_unit_text unit(file, 4);
    unit.root(0x10000, 0x11000, at);
    unit.close();
    unit.finish();
  }
  dwarf_search search({0x10000});
  check_given_up(file, search, 1000);
  CHECK(search.at(0) == "? /src/a.c:1");
}

TEST_CASE("work: units that each have a giant table of abbreviations") {
  dwarf_file file;
  const std::uint64_t lines = add_lines(file, "a.c", 0x10000, 0x11000, 5);
  file.abbrev = {50, 1, 0, 0, 0};  // a declaration that every other table begins with
  for (unsigned i = 0; i < 2000; ++i) {
    dwarf_unit_text unit(file, 4);
    unit.root(0x10000, 0x11000, lines);
    unit.function("f", 0x20000, 0x30000);
    unit.close();
    unit.finish_with(i % 2 * 5);
    if (i != 0) continue;
    file.abbrev.add(unit.declarations);
    for (unsigned k = 0; k < 20000; ++k) file.abbrev.uleb(100 + k).uleb(1).u8(0).u8(0).u8(0);
  }
  dwarf_search search({0x10000});
  check_given_up(file, search, 2000);
  CHECK(search.at(0) == "? /src/a.c:5");
}

TEST_CASE("work: entries with very many attributes of no size") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x10000, 0x90000, 0);
  std::vector<dwarf_attr> attrs(20000, dwarf_attr(0x3fffu, form_flag_present));
  attrs.emplace_back(unsigned{attribute_low_pc}, unsigned{form_flag_present});
  const std::size_t begin = unit.body.size();
  unit.die(tag_subprogram, false, attrs);
  const std::string entry = unit.body.bytes.substr(begin);
  for (int i = 0; i < 5000; ++i) unit.body.bytes += entry;
  unit.close();
  unit.finish();
  dwarf_search search({0x10000});
  check_given_up(file, search);
}

TEST_CASE("work: names that lead through more units than their tables are kept of") {
  dwarf_file file;
  std::vector<std::uint64_t> targets;
  for (int i = 0; i < 17; ++i) {
    dwarf_unit_text unit(file, 4);
    unit.die(tag_compile_unit, true, {});
    targets.push_back(unit.begin + unit.abstract("in"));
    unit.close();
    for (unsigned k = 0; k < 5000; ++k) unit.declarations.uleb(100 + k).uleb(1).u8(0).u8(0).u8(0);
    unit.finish();
  }
  dwarf_unit_text unit(file, 4);
  unit.root(0x10000, 0x90000, 0);
  for (std::uint64_t i = 0; i < 20000; ++i) {
    unit.next_code = 2;
    const std::string declarations = unit.declarations.bytes;
    // Each one names itself, so that none is known from before, and wants its line from elsewhere.
    unit.die(tag_subprogram, false,
             {{attribute_abstract_origin, form_ref_addr, targets[i % 17]}, {attribute_name, form_string, "f"},
              {attribute_low_pc, form_addr, 0x10000 + i}, {attribute_high_pc, form_data1, 1}});
    if (i != 0) unit.declarations.bytes = declarations;
  }
  unit.close();
  unit.finish();
  dwarf_search search(many_addresses(20000));
  check_given_up(file, search);
  CHECK(search.at(0) == "f ?:0");
}

TEST_CASE("work: texts without an end") {
  dwarf_file file;
  file.str.bytes.assign(500000, 'x');
  dwarf_unit_text unit(file, 4);
  unit.root(0x10000, 0x90000, 0);
  for (std::uint64_t i = 0; i < 40000; ++i) {
    unit.next_code = 2;
    const std::string declarations = unit.declarations.bytes;
    unit.die(tag_subprogram, false,
             {{attribute_name, form_strp, i}, {attribute_low_pc, form_addr, 0x10000 + i}, {attribute_high_pc, form_data1, 1}});
    if (i != 0) unit.declarations.bytes = declarations;
  }
  unit.close();
  unit.finish();
  dwarf_search search(many_addresses(40000));
  search.run(file.sections());
  CHECK(search.asked >= 40000 * (max_text / 64) / read_effort::steps_between);  // what is looked through is counted
  CHECK(search.info.functions().function(search.info.functions().scope(0)).name.size == max_text);
}

TEST_CASE("work: entries that overlap in one long text") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x10000, 0x90000, 0);
  unit.next_code = 'a';
  const std::uint64_t texts = unit.die(tag_variable, false, {{attribute_name, form_string, std::string(400000, 'a')}});
  unit.next_code = 2;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    unit.next_code = 2;
    const std::string declarations = unit.declarations.bytes;
    unit.die(tag_subprogram, false,
             {{attribute_abstract_origin, form_ref4, texts + i}, {attribute_low_pc, form_addr, 0x10000 + i}, {attribute_high_pc, form_data1, 1}});
    if (i != 0) unit.declarations.bytes = declarations;
  }
  unit.close();
  unit.finish();
  dwarf_search search(many_addresses(20000));
  check_given_up(file, search);
  CHECK(to_std(search.info.functions().function(search.info.functions().scope(0)).name) == std::string(max_text, 'a'));
}

TEST_CASE("work: what an honest file of many units costs is far from the limit") {
  dwarf_file file;
  for (std::uint64_t i = 0; i < 200; ++i) {
    const std::uint64_t at = 0x10000 + 0x100 * i;
    dwarf_unit_text unit(file, 4);
    unit.root(at, at + 0x100, add_lines(file, "a.c", at, at + 0x100, 5));
    const std::uint64_t in = unit.abstract("in");
    unit.function("f", at, at + 0x100, true);
    unit.inlined(in, at + 0x10, at + 0x20, 1, 6);
    unit.close();
    unit.close();
    unit.finish();
  }
  dwarf_search search(many_addresses(200 * 0x100));
  search.run(file.sections());
  CHECK(search.is_whole);
  CHECK(search.asked <= 210);
  CHECK(search.at(199 * 0x100 + 0x10) == "in /src/a.c:5 < f /src/a.c:6");
}

}  // namespace
