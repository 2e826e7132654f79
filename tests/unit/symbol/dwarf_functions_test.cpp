// tests/unit/symbol/dwarf_functions_test.cpp - functions and inlined calls, nested, copied, shared, misplaced and too deep.

#include "prof/symbol/dwarf_functions.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "dwarf_bytes.hpp"

namespace {

using namespace prof::detail;

// A line program with a.c and b.c: line 10 all over.
std::uint64_t add_lines(dwarf_file& file, const char* first = "a.c", const char* second = "b.c", unsigned version = 4) {
  line_text text(version);
  if (version == 5) text.directories = {"/src"};
  text.files = {{first, 0}, {second, 0}};
  text.sequence(0x1000, 0x9000, 10, version == 5 ? 0 : 1);
  return text.add_to(file);
}

// ---- nesting -----------------------------------------------------------------------------------------

TEST_CASE("inlined calls within each other, with lexical blocks and namespaces in between") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  const std::uint64_t deep = unit.abstract("deep");
  unit.die(tag_namespace, true, {});
  unit.function("f", 0x2000, 0x3000, true);
  unit.die(tag_lexical_block, true, {{attribute_low_pc, form_addr, 0x2000}, {attribute_high_pc, form_data4, 0x900}});
  unit.inlined(in, 0x2100, 0x2400, 1, 21, true);
  unit.die(tag_variable, false, {{attribute_name, form_string, "v"}});
  unit.die(tag_lexical_block, true, {});
  unit.inlined(deep, 0x2200, 0x2300, 2, 22);
  unit.close();
  unit.close();
  unit.inlined(deep, 0x2500, 0x2600, 2, 23);
  unit.close();
  unit.inlined(in, 0x2a00, 0x2b00, 2, 24);
  unit.close();
  unit.function("g", 0x3000, 0x3100);
  unit.close();
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "f /src/a.c:10");
  CHECK(found_at(file, 0x2100) == "in /src/a.c:10 < f /src/a.c:21");
  CHECK(found_at(file, 0x2200) == "deep /src/a.c:10 < in /src/b.c:22 < f /src/a.c:21");
  CHECK(found_at(file, 0x22ff) == "deep /src/a.c:10 < in /src/b.c:22 < f /src/a.c:21");
  CHECK(found_at(file, 0x2300) == "in /src/a.c:10 < f /src/a.c:21");
  CHECK(found_at(file, 0x2400) == "f /src/a.c:10");
  CHECK(found_at(file, 0x2500) == "deep /src/a.c:10 < f /src/b.c:23");
  CHECK(found_at(file, 0x2a00) == "in /src/a.c:10 < f /src/b.c:24");
  CHECK(found_at(file, 0x3000) == "g /src/a.c:10");
  CHECK(found_at(file, 0x3100) == "? /src/a.c:10");
}

TEST_CASE("an inlined call in several ranges, and a function in several parts") {
  dwarf_file file;
  file.ranges.u64(0x2100).u64(0x2200).u64(0x5000).u64(0x5010).u64(0).u64(0);
  file.ranges.u64(0x2000).u64(0x3000).u64(0x5000).u64(0x6000).u64(0).u64(0);
  dwarf_unit_text unit(file, 4);
  unit.die(tag_compile_unit, true,
           {{attribute_ranges, form_sec_offset, 48}, {attribute_low_pc, form_addr, 0}, {attribute_stmt_list, form_sec_offset, add_lines(file)}});
  const std::uint64_t in = unit.abstract("in");
  unit.die(tag_subprogram, true, {{attribute_name, form_string, "f"}, {attribute_ranges, form_sec_offset, 48}});
  unit.die(tag_inlined_subroutine, false,
           {{attribute_abstract_origin, form_ref4, in}, {attribute_ranges, form_sec_offset, 0}, {attribute_call_line, form_data1, 3},
            {attribute_call_file, form_data1, 2}, {attribute_call_column, form_data1, 4}});
  unit.close();
  unit.close();
  unit.finish();
  for (const std::uint64_t address : {0x2100u, 0x5000u, 0x500fu}) CHECK(found_at(file, address) == "in a.c:10 < f b.c:3:4");
  for (const std::uint64_t address : {0x2000u, 0x5010u, 0x5fffu}) CHECK(found_at(file, address) == "f a.c:10");
  CHECK(found_at(file, 0x4000) == "? ?:0");
}

TEST_CASE("many addresses at once have what each has alone") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  for (std::uint64_t i = 0; i < 50; ++i) {
    unit.function(("f" + std::to_string(i)).c_str(), 0x2000 + 64 * i, 0x2040 + 64 * i, true);
    unit.inlined(in, 0x2010 + 64 * i, 0x2020 + 64 * i, 1, static_cast<unsigned>(i), true);
    unit.inlined(in, 0x2018 + 64 * i, 0x201c + 64 * i, 2, static_cast<unsigned>(i));
    unit.close();
    unit.close();
  }
  unit.close();
  unit.finish();
  std::vector<std::uint64_t> addresses;
  for (std::uint64_t i = 0; i < 900; ++i) addresses.push_back(0x1f00 + 4 * i + i % 3);
  dwarf_search all(addresses);
  all.run(file.sections());
  CHECK(all.is_whole);
  for (std::size_t i = 0; i < all.wanted.size(); ++i) CHECK(all.at(i) == found_at(file, all.wanted[i].address));
}

// G2: inlined range must lie inside its parent.
TEST_CASE("trap: an inlined call that claims code outside of its function gets none of it") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  const std::uint64_t deep = unit.abstract("deep");
  unit.function("f", 0x2000, 0x2100, true);
  unit.inlined(in, 0x2000, 0x3000, 1, 5, true);
  unit.close();
  unit.close();
  unit.function("g", 0x2100, 0x2200, true);
  unit.inlined(in, 0x2100, 0x2110, 1, 6, true);
  unit.inlined(deep, 0x2100, 0x2200, 1, 7);
  unit.close();
  unit.inlined(in, 0x2180, 0x2190, 1, 8);
  unit.close();
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x20ff) == "in /src/a.c:10 < f /src/a.c:5");
  CHECK(found_at(file, 0x2100) == "deep /src/a.c:10 < in /src/a.c:7 < g /src/a.c:6");
  CHECK(found_at(file, 0x2110) == "g /src/a.c:10");  // also where its parent has no wanted address
  CHECK(found_at(file, 0x2180) == "in /src/a.c:10 < g /src/a.c:8");
  dwarf_search both({0x2100, 0x2120});
  both.run(file.sections());
  CHECK(both.at(0) == "deep /src/a.c:10 < in /src/a.c:7 < g /src/a.c:6");
  CHECK(both.at(1) == "g /src/a.c:10");
}

// G2: duplicates.
TEST_CASE("trap: of two functions at one place the first of the file is taken") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  unit.function("first", 0x2000, 0x2100);
  unit.function("second", 0x2000, 0x2200, true);
  unit.inlined(in, 0x2000, 0x2200, 1, 5);
  unit.close();
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "first /src/a.c:10");
  CHECK(found_at(file, 0x2100) == "in /src/a.c:10 < second /src/a.c:5");
}

TEST_CASE("a nested function is no part of the one around it") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  unit.function("outer", 0x2000, 0x2100, true);
  unit.function("nested", 0x3000, 0x3100, true);
  unit.inlined(in, 0x3000, 0x3010, 2, 5);
  unit.close();
  unit.inlined(in, 0x2010, 0x2020, 2, 6);
  unit.close();
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x3000) == "in /src/a.c:10 < nested /src/b.c:5");
  CHECK(found_at(file, 0x3020) == "nested /src/a.c:10");
  CHECK(found_at(file, 0x2010) == "in /src/a.c:10 < outer /src/b.c:6");
}

TEST_CASE("dropped functions name nothing") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  for (const std::uint64_t mark : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}, ~std::uint64_t{1}}) unit.function("gone", mark, mark + 0x8000);
  unit.function("here", 0x2000, 0x2100);
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "here /src/a.c:10");
  CHECK(found_at(file, 0x3000) == "? /src/a.c:10");
}

// ---- depth -------------------------------------------------------------------------------------------

// `depth` calls within each other, each one byte shorter.
dwarf_file nest(unsigned depth, bool with_blocks) {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  unit.function("f", 0x2000, 0x3000, true);
  for (unsigned i = 1; i <= depth; ++i) {
    unit.inlined(in, 0x2000 + i, 0x3000, 1, 1, true);
    if (with_blocks) unit.die(tag_lexical_block, true, {});
  }
  for (unsigned i = 1; i <= depth; ++i) {
    if (with_blocks) unit.close();
    unit.close();
  }
  unit.inlined(in, 0x2000, 0x2001, 1, 2);
  unit.close();
  unit.function("g", 0x3000, 0x3100, true);
  unit.inlined(in, 0x3000, 0x3010, 1, 1);
  unit.close();
  unit.close();
  unit.finish();
  return file;
}

std::size_t frames(const std::string& chain) {
  std::size_t count = 1;
  for (const char c : chain) count += c == '<' ? 1 : 0;
  return count;
}

TEST_CASE("256 scopes within each other are kept, and a leaf in them; deeper ones are left out, and what follows is right") {
  for (const bool with_blocks : {false, true}) {
    for (const unsigned depth : {10u, 254u, 255u, 256u, 257u, 258u, 300u, 1000u}) {
      CAPTURE(depth);
      const dwarf_file file = nest(depth, with_blocks);
      CHECK(frames(found_at(file, 0x2ffe)) == (depth < 256 ? depth + 1 : 257));
      CHECK(frames(found_at(file, 0x2005)) == 6);
      CHECK(found_at(file, 0x2000) == "in /src/a.c:10 < f /src/a.c:2");
      CHECK(found_at(file, 0x3000) == "in /src/a.c:10 < g /src/a.c:1");
      CHECK(found_at(file, 0x3010) == "g /src/a.c:10");
    }
  }
}

TEST_CASE("behind what lies too deep the 256th scope still has its own calls") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  unit.function("f", 0x2000, 0x3000, true);
  for (unsigned i = 1; i <= 255; ++i) unit.inlined(in, 0x2000, 0x3000, 1, 1, true);
  unit.inlined(in, 0x2000, 0x2100, 1, 1, true);
  unit.inlined(in, 0x2000, 0x2100, 1, 1, true);
  unit.close();
  unit.close();
  unit.inlined(in, 0x2200, 0x2300, 1, 9);  // as deep as the 257th: a leaf needs no room
  for (unsigned i = 0; i <= 255; ++i) unit.close();
  unit.close();
  unit.finish();
  CHECK(frames(found_at(file, 0x2200)) == 257);
  CHECK(frames(found_at(file, 0x2000)) == 257);
}

// ---- names -------------------------------------------------------------------------------------------

TEST_CASE("a function's name, linkage name and line come each from the nearest entry that has it") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t declared = unit.die(tag_subprogram, false,
                                          {{attribute_name, form_strp, "method"},
                                           {attribute_linkage_name, form_strp, "_ZN1C6methodEv"},
                                           {attribute_decl_line, form_data1, 5}});
  const std::uint64_t defined =
      unit.die(tag_subprogram, false, {{attribute_specification, form_ref4, declared}, {attribute_decl_line, form_data1, 50}});
  const std::uint64_t old = unit.die(tag_subprogram, false, {{attribute_mips_linkage_name, form_string, "_Z3oldv"}, {attribute_name, form_string, "old"}});
  unit.die(tag_subprogram, true,
           {{attribute_abstract_origin, form_ref4, defined}, {attribute_low_pc, form_addr, 0x2000}, {attribute_high_pc, form_data4, 0x100}});
  unit.inlined(old, 0x2010, 0x2020, 1, 5);
  unit.close();
  unit.die(tag_subprogram, false,
           {{attribute_specification, form_ref4, declared}, {attribute_low_pc, form_addr, 0x3000}, {attribute_high_pc, form_data4, 0x100}});
  unit.die(tag_subprogram, false, {{attribute_low_pc, form_addr, 0x4000}, {attribute_high_pc, form_data4, 0x100}});
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "_ZN1C6methodEv@50 /src/a.c:10");
  CHECK(found_at(file, 0x2010) == "_Z3oldv /src/a.c:10 < _ZN1C6methodEv@50 /src/a.c:5");
  CHECK(found_at(file, 0x3000) == "_ZN1C6methodEv@5 /src/a.c:10");
  CHECK(found_at(file, 0x4000) == "? /src/a.c:10");
}

dwarf_file copied(int hops) {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  std::uint64_t at = unit.abstract("named");
  for (int i = 1; i < hops; ++i) at = unit.die(tag_subprogram, false, {{attribute_abstract_origin, form_ref4, at}});
  unit.die(tag_subprogram, false,
           {{attribute_abstract_origin, form_ref4, at}, {attribute_low_pc, form_addr, 0x2000}, {attribute_high_pc, form_data4, 0x100}});
  unit.close();
  unit.finish();
  return file;
}

TEST_CASE("a name may be 16 hops away, not 17") {
  CHECK(found_at(copied(1), 0x2000) == "named /src/a.c:10");
  CHECK(found_at(copied(15), 0x2000) == "named /src/a.c:10");
  CHECK(found_at(copied(16), 0x2000) == "named /src/a.c:10");
  CHECK(found_at(copied(17), 0x2000) == "? /src/a.c:10");
}

TEST_CASE("entries that are copies of each other, and of themselves, have no name and an end") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t one = unit.here();
  const std::uint64_t size = unit.die(tag_subprogram, false, {{attribute_abstract_origin, form_ref4, 0}}) - one + 5;
  unit.body.bytes.resize(unit.body.bytes.size() - 5);
  unit.body.bytes += dwarf_text().uleb(2).u32(one + size).bytes;
  unit.body.bytes += dwarf_text().uleb(2).u32(one).bytes;
  const std::uint64_t self = unit.here();
  unit.die(tag_subprogram, false,
           {{attribute_abstract_origin, form_ref4, self}, {attribute_low_pc, form_addr, 0x3000}, {attribute_high_pc, form_data4, 0x100}});
  unit.die(tag_subprogram, false,
           {{attribute_abstract_origin, form_ref4, one}, {attribute_low_pc, form_addr, 0x2000}, {attribute_high_pc, form_data4, 0x100}});
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "? /src/a.c:10");
  CHECK(found_at(file, 0x3000) == "? /src/a.c:10");
}

TEST_CASE("references to nowhere give no name") {
  for (const std::uint64_t target : {std::uint64_t{0}, std::uint64_t{5}, std::uint64_t{0x7fffffff}}) {
    for (const unsigned form : {form_ref4, form_ref_addr, form_ref_sig8, form_gnu_ref_alt}) {
      dwarf_file file;
      dwarf_unit_text unit(file, 4);
      unit.root(0x1000, 0x9000, add_lines(file));
      unit.die(tag_subprogram, false,
               {{attribute_abstract_origin, form, target}, {attribute_low_pc, form_addr, 0x2000}, {attribute_high_pc, form_data4, 0x100}});
      unit.close();
      unit.finish();
      CHECK(found_at(file, 0x2000) == "? /src/a.c:10");
    }
  }
}

TEST_CASE("a function is kept once for all of its inlined copies") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x9000, add_lines(file));
  const std::uint64_t in = unit.abstract("in");
  const std::uint64_t other = unit.abstract("other");
  unit.function("f", 0x2000, 0x3000, true);
  for (std::uint64_t i = 0; i < 20; ++i) unit.inlined(i % 2 == 0 ? in : other, 0x2000 + 16 * i, 0x2008 + 16 * i, 1, 1);
  unit.close();
  unit.close();
  unit.finish();
  std::vector<std::uint64_t> addresses;
  for (std::uint64_t i = 0; i < 20; ++i) addresses.push_back(0x2000 + 16 * i);
  dwarf_search search(addresses);
  search.run(file.sections());
  const function_walk& functions = search.info.functions();
  for (std::size_t i = 0; i < 20; ++i) {
    const code_scope& scope = functions.scope(search.wanted[i].scope);
    CHECK(scope.function == functions.scope(search.wanted[i % 2].scope).function);
    CHECK(search.at(i) == (i % 2 == 0 ? "in /src/a.c:10 < f /src/a.c:1" : "other /src/a.c:10 < f /src/a.c:1"));
  }
}

// ---- other units, other files ------------------------------------------------------------------------

// G2: call_file is of the unit that holds the call, the function of whichever unit has its entry.
TEST_CASE("trap: a call's file is of the unit that holds it, its function of another unit") {
  dwarf_file file;
  dwarf_unit_text early(file, 4);  // without code, as gcc's LTO leaves it
  const std::uint64_t early_lines = add_lines(file, "early_a.h", "early_b.h");
  early.die(tag_compile_unit, true, {{attribute_stmt_list, form_sec_offset, early_lines}, {attribute_name, form_string, "early"}});
  const std::uint64_t in = early.die(tag_subprogram, false,
                                     {{attribute_name, form_string, "in"}, {attribute_decl_file, form_data1, 2}, {attribute_decl_line, form_data1, 33}});
  early.close();
  early.finish();
  dwarf_unit_text late(file, 4);
  late.root(0x1000, 0x9000, add_lines(file, "late_a.c", "late_b.c"));
  late.function("f", 0x2000, 0x3000, true);
  late.die(tag_inlined_subroutine, false,
           {{attribute_abstract_origin, form_ref_addr, early.begin + in},
            {attribute_low_pc, form_addr, 0x2100},
            {attribute_high_pc, form_data4, 0x100},
            {attribute_call_file, form_data1, 2},
            {attribute_call_line, form_data1, 44}});
  late.close();
  late.close();
  late.finish();
  CHECK(found_at(file, 0x2100) == "in@33 /src/late_a.c:10 < f /src/late_b.c:44");
}

// G2: call_file 0.
TEST_CASE("trap: a call in file 0 is in the unit's file in DWARF 5, in none before, and so is one that names no file") {
  for (const unsigned version : {4u, 5u}) {
    dwarf_file file;
    dwarf_unit_text unit(file, version);
    unit.root(0x1000, 0x9000, add_lines(file, "a.c", "b.c", version));
    const std::uint64_t in = unit.abstract("in");
    unit.function("f", 0x2000, 0x3000, true);
    unit.inlined(in, 0x2100, 0x2200, 0, 5);
    unit.die(tag_inlined_subroutine, false,
             {{attribute_abstract_origin, form_ref4, in}, {attribute_low_pc, form_addr, 0x2200}, {attribute_high_pc, form_data4, 0x100}});
    unit.close();
    unit.close();
    unit.finish();
    CHECK(found_at(file, 0x2100) == (version == 5 ? "in /src/a.c:10 < f /src/a.c:5" : "in /src/a.c:10 < f ?:5"));
    CHECK(found_at(file, 0x2200) == "in /src/a.c:10 < f ?:0");
  }
}

// G2: partial units, imported units, alternative file.
TEST_CASE("trap: names come from partial units and from the file that dwz made") {
  for (const unsigned form : {form_gnu_ref_alt, form_ref_sup4, form_ref_sup8}) {
    const unsigned text_form = form == form_gnu_ref_alt ? form_gnu_strp_alt : form_strp_sup;
    dwarf_file shared;
    dwarf_unit_text common(shared, 5, false, 3);
    common.die(tag_partial_unit, true, {{attribute_name, form_strp, "common"}});
    const std::uint64_t declared = common.die(tag_subprogram, false, {{attribute_name, form_strp, "declared"}, {attribute_decl_line, form_data1, 7}});
    const std::uint64_t in = common.die(tag_subprogram, false, {{attribute_specification, form_ref4, declared}, {attribute_linkage_name, form_strp, "_Z2inv"}});
    common.close();
    common.finish();
    const std::uint64_t g = shared.add_string("g");

    dwarf_file file;
    dwarf_unit_text partial(file, 5, false, 3);
    partial.die(tag_partial_unit, true, {{attribute_stmt_list, form_sec_offset, add_lines(file, "p.h", "q.h", 5)}});
    const std::uint64_t own = partial.abstract("own");
    partial.close();
    partial.finish();
    dwarf_unit_text unit(file, 5);
    unit.root(0x1000, 0x9000, add_lines(file, "a.c", "b.c", 5));
    unit.die(tag_subprogram, true, {{attribute_name, text_form, g}, {attribute_low_pc, form_addr, 0x2000}, {attribute_high_pc, form_data4, 0x1000}});
    unit.die(tag_inlined_subroutine, false,
             {{attribute_abstract_origin, form, common.begin + in}, {attribute_low_pc, form_addr, 0x2100}, {attribute_high_pc, form_data4, 0x100}});
    unit.die(tag_inlined_subroutine, false,
             {{attribute_abstract_origin, form_ref_addr, partial.begin + own}, {attribute_low_pc, form_addr, 0x2200}, {attribute_high_pc, form_data4, 0x100}});
    unit.close();
    unit.close();
    unit.finish();
    CHECK(found_at(file, 0x2000, &shared) == "g /src/a.c:10");
    CHECK(found_at(file, 0x2100, &shared) == "_Z2inv@7 /src/a.c:10 < g ?:0");
    CHECK(found_at(file, 0x2200, &shared) == "own /src/a.c:10 < g ?:0");
    // Without that file nothing is misread.
    CHECK(found_at(file, 0x2100) == "? /src/a.c:10 < ? ?:0");
    CHECK(found_at(file, 0x2200) == "own /src/a.c:10 < ? ?:0");
  }
}

// ---- entries that cannot be read ---------------------------------------------------------------------

TEST_CASE("behind an entry that cannot be read the unit's rest is unknown, and other units are not") {
  for (const bool with_code : {false, true}) {
    for (int kind = 0; kind < 3; ++kind) {
      dwarf_file file;
      const std::uint64_t lines = add_lines(file);
      dwarf_unit_text unit(file, 4);
      unit.root(0x1000, 0x4000, lines);
      unit.function("before", 0x2000, 0x2100);
      const unsigned code = with_code ? unsigned{attribute_low_pc} : unsigned{attribute_decl_line};
      if (kind == 0) unit.die(tag_subprogram, false, {{code, 0x7f}});                             // a form that nobody knows
      if (kind == 1) unit.body.uleb(9999);                                                        // no such abbreviation
      if (kind == 2) unit.die(tag_subprogram, false, {{attribute_name, form_indirect, 0x16}, {code, form_udata, 5}});
      if (kind == 2) unit.body.bytes.insert(unit.body.bytes.size() - 1, std::string(8, '\x16'));  // form of a form of a form
      unit.function("behind", 0x3000, 0x3100);
      unit.close();
      unit.finish();
      dwarf_unit_text next(file, 4);
      next.root(0x4000, 0x5000, lines);
      next.function("next", 0x4000, 0x4100);
      next.close();
      next.finish();
      CHECK(found_at(file, 0x2000) == "before /src/a.c:10");
      CHECK(found_at(file, 0x3000) == "? /src/a.c:10");
      CHECK(found_at(file, 0x4000) == "next /src/a.c:10");
    }
  }
}

TEST_CASE("a root without children, and one whose children have no end") {
  dwarf_file file;
  const std::uint64_t lines = add_lines(file);
  dwarf_unit_text leaf(file, 4);
  leaf.die(tag_compile_unit, false,
           {{attribute_low_pc, form_addr, 0x1000}, {attribute_high_pc, form_data4, 0x1000}, {attribute_stmt_list, form_sec_offset, lines}});
  leaf.function("no child", 0x1000, 0x1100);
  leaf.finish();
  dwarf_unit_text open(file, 4);
  open.root(0x2000, 0x3000, lines);
  open.function("f", 0x2000, 0x2100, true);
  open.finish();
  dwarf_unit_text closed(file, 4);
  closed.root(0x3000, 0x4000, lines);
  closed.close();
  closed.function("behind", 0x3000, 0x3100);
  closed.finish();
  CHECK(found_at(file, 0x1000) == "? a.c:10");
  CHECK(found_at(file, 0x2000) == "f /src/a.c:10");
  CHECK(found_at(file, 0x3000) == "? /src/a.c:10");
}

TEST_CASE("abbreviations that are sparse and unsorted") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.next_code = 70000;
  unit.root(0x1000, 0x9000, add_lines(file));
  unit.next_code = 5;
  unit.function("five", 0x2000, 0x2100);
  unit.next_code = ~std::uint64_t{0} - 1;
  unit.function("last", 0x3000, 0x3100);
  unit.next_code = 1;
  unit.function("one", 0x4000, 0x4100);
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "five /src/a.c:10");
  CHECK(found_at(file, 0x3000) == "last /src/a.c:10");
  CHECK(found_at(file, 0x4000) == "one /src/a.c:10");
}

TEST_CASE("values of every form in front of a name") {
  dwarf_file file;
  dwarf_unit_text unit(file, 5);
  unit.root(0x1000, 0x9000, add_lines(file, "a.c", "b.c", 5));
  std::vector<dwarf_attr> attrs;
  for (unsigned form = 1; form <= 0x2c; ++form) {
    const bool is_block = form == form_block || form == form_block1 || form == form_block2 || form == form_block4 || form == form_exprloc;
    if (form == 2 || form == form_indirect) continue;
    if (is_block) attrs.emplace_back(0x3fffu, form, std::string(form, '\0'));
    else if (form == form_string) attrs.emplace_back(0x3fffu, form, "text");
    else attrs.emplace_back(0x3fffu, form, 3);
  }
  for (const unsigned form : {form_gnu_addr_index, form_gnu_str_index, form_gnu_ref_alt, form_gnu_strp_alt}) attrs.emplace_back(0x3fffu, form, 300);
  std::uint64_t low = 0x2000;
  // With code, and passed over as a variable.
  for (const unsigned tag : {unsigned{tag_subprogram}, tag_variable}) {
    std::vector<dwarf_attr> all = attrs;
    all.emplace_back(unsigned{attribute_name}, unsigned{form_strp}, "f");
    all.emplace_back(unsigned{attribute_low_pc}, unsigned{form_addr}, low);
    all.emplace_back(unsigned{attribute_high_pc}, unsigned{form_udata}, 0x100);
    unit.die(tag, false, all);
    low += 0x1000;
  }
  unit.function("behind", 0x4000, 0x4100);
  unit.close();
  unit.finish();
  CHECK(found_at(file, 0x2000) == "f /src/a.c:10");
  CHECK(found_at(file, 0x3000) == "? /src/a.c:10");
  CHECK(found_at(file, 0x4000) == "behind /src/a.c:10");
}

}  // namespace
