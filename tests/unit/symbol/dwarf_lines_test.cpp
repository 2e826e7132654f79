// tests/unit/symbol/dwarf_lines_test.cpp - line programs of every version and instruction, paths, and what linkers leave.

#include "prof/symbol/dwarf_lines.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "dwarf_bytes.hpp"

namespace {

using namespace prof::detail;

// One unit and its line program; where() is "file:line:column", or "" where the program has no row.
struct lines_of {
  dwarf_file file;
  arena memory{os_pages};
  much_effort effort;
  dwarf_units units{memory};
  line_program lines{memory};
  std::vector<wanted_code> wanted{};

  explicit lines_of(const dwarf_text& program, unsigned version = 4, const char* directory = "/src") {
    file.line = program;
    dwarf_unit_text unit(file, version);
    unit.die(tag_compile_unit, false,
             {{attribute_stmt_list, form_sec_offset, 0}, {attribute_comp_dir, form_string, directory}});
    unit.finish();
    open();
  }
  explicit lines_of(const line_text& text, const char* directory = "/src") : lines_of(text.bytes(), text.version, directory) {}
  void open() {
    units.load(file.sections(), nullptr, effort);
    lines.open(units, units[0]);
  }
  // Which of them run() was asked to take over.
  lines_of& run(const std::vector<std::uint64_t>& addresses, std::uint64_t least = 0x1000) {
    wanted.assign(addresses.size(), wanted_code{});
    for (std::size_t i = 0; i < addresses.size(); ++i) wanted[i].address = addresses[i];
    lines.run(wanted.data(), wanted.size(), 0, least, [](std::size_t) { return false; });
    return *this;
  }
  std::string at(std::size_t i) const {
    const wanted_code& code = wanted[i];
    return code.line_unit == no_index ? "" : dwarf_search::place(code.file, code.line, code.column);
  }
  std::string where(std::uint64_t address) { return run({address}).at(0); }
};

line_text small(unsigned version) {
  line_text text(version);
  if (version == 5) text.directories = {"/src", "sub", "/abs"};
  else text.directories = {"sub", "/abs"};
  const std::vector<line_text::file_entry> files = {{"a.c", 0}, {"b.c", 1}, {"c.c", 2}, {"/d.c", 1}, {"e.c", 9}};
  text.files = files;
  return text;
}

// ---- versions and paths ------------------------------------------------------------------------------

TEST_CASE("headers of versions 2 to 5, in 32 and 64 bits") {
  for (unsigned version = 2; version <= 5; ++version) {
    for (const bool is_long : {false, true}) {
      CAPTURE(version);
      CAPTURE(is_long);
      line_text text = small(version);
      text.is_long = is_long;
      text.at(0x2000).line(9).copy().advance(0x10).end();
      lines_of lines(text);
      CHECK(lines.where(0x2004) == (version < 5 ? "/src/a.c:10" : "/src/sub/b.c:10"));
      CHECK(lines.where(0x1fff) == "");
      CHECK(lines.where(0x2010) == "");
    }
  }
}

TEST_CASE("a path is the unit's directory, the file's and its name, as far as none is absolute") {
  for (const unsigned version : {4u, 5u}) {
    CAPTURE(version);
    lines_of lines(small(version));
    const unsigned first = version < 5 ? 1 : 0;
    const auto path = [&](unsigned i) { return to_std(lines.lines.path_of(first + i)); };
    CHECK(path(0) == "/src/a.c");
    CHECK(path(1) == "/src/sub/b.c");
    CHECK(path(2) == "/abs/c.c");
    CHECK(path(3) == "/d.c");
    CHECK(path(4) == "/src/e.c");
    CHECK(path(5) == "");
    CHECK(path(~0u) == "");
    CHECK(to_std(lines.lines.path_of(~std::uint64_t{0})) == "");
    // Made once.
    CHECK(lines.lines.path_of(first + 1).data == lines.lines.path_of(first + 1).data);
  }
}

TEST_CASE("DWARF 5: directory 0 that is relative is one of the unit's") {
  line_text text(5);
  text.directories = {"build", "sub"};
  text.files = {{"a.c", 0}, {"b.c", 1}};
  lines_of lines(text);
  CHECK(to_std(lines.lines.path_of(0)) == "/src/build/a.c");
  CHECK(to_std(lines.lines.path_of(1)) == "build/sub/b.c");
}

TEST_CASE("a unit without a directory") {
  lines_of lines(small(4), "");
  CHECK(to_std(lines.lines.path_of(1)) == "a.c");
  CHECK(to_std(lines.lines.path_of(2)) == "sub/b.c");
  lines_of slash(small(4), "/src/");
  CHECK(to_std(slash.lines.path_of(1)) == "/src/a.c");
}

// G2: call_file 0 is a file in DWARF 5 only.
TEST_CASE("trap: file 0 is the unit's in DWARF 5 and none before") {
  lines_of five(small(5));
  CHECK(to_std(five.lines.path_of(0)) == "/src/a.c");
  lines_of four(small(4));
  CHECK(to_std(four.lines.path_of(0)) == "");
}

TEST_CASE("DWARF 5: lists of entries in any form, with contents that nobody knows") {
  dwarf_file strings;
  dwarf_text tables;
  tables.u8(1).uleb(1).uleb(form_line_strp).uleb(2).u32(7).u32(12);
  tables.u8(5);
  tables.uleb(1).uleb(form_strp).uleb(2).uleb(form_data1).uleb(5).uleb(form_data16).uleb(4).uleb(form_udata);
  tables.uleb(0x2001).uleb(form_block1);
  tables.uleb(2);
  tables.u32(5).u8(1).u64(1).u64(2).uleb(77).u8(2).u8(9).u8(9);
  tables.u32(9).u8(0).u64(1).u64(2).uleb(77).u8(0);
  line_text text(5);
  text.sequence(0x2000, 0x2010, 5, 0);
  lines_of lines(text.bytes_with(tables), 5);
  lines.file.line_str = dwarf_text().string("nought").string("/one").string("two");
  lines.file.str = dwarf_text().string("zero").string("a.c").string("b.c");
  lines.open();
  CHECK(to_std(lines.lines.path_of(0)) == "/one/two/a.c");
  CHECK(to_std(lines.lines.path_of(1)) == "/one/b.c");
  CHECK(lines.where(0x2000) == "/one/two/a.c:5");
}

// ---- instructions ------------------------------------------------------------------------------------

TEST_CASE("every standard instruction") {
  line_text text = small(4);
  text.at(0x2000).line(99).column(7).copy();                  // 0x2000: 100
  text.program.u8(6).u8(7).u8(10).u8(11).u8(12).uleb(300);    // statements, blocks, prologues, isa
  text.advance(0x10).line(-50).copy();                        // 0x2010: 50
  text.program.u8(8);                                         // as opcode 255: (255 - 13) / 12 = 20
  text.file(2).column(0).copy();                              // 0x2024: 50 in b.c
  text.program.u8(9).u16(0x1000);                             // fixed_advance_pc
  text.line(1).copy();                                        // 0x3024
  text.program.u8(13 + 12 * 3 + 5);                           // 0x3027, line + 2
  text.advance(1).end();
  lines_of lines(text);
  CHECK(lines.where(0x2000) == "/src/a.c:100:7");
  CHECK(lines.where(0x200f) == "/src/a.c:100:7");
  CHECK(lines.where(0x2010) == "/src/a.c:50:7");
  CHECK(lines.where(0x2023) == "/src/a.c:50:7");
  CHECK(lines.where(0x2024) == "/src/sub/b.c:50");
  CHECK(lines.where(0x3023) == "/src/sub/b.c:50");
  CHECK(lines.where(0x3024) == "/src/sub/b.c:51");
  CHECK(lines.where(0x3027) == "/src/sub/b.c:53");
  CHECK(lines.where(0x3028) == "");
}

TEST_CASE("special instructions of another line base and range, and instructions of more than a byte") {
  line_text text = small(4);
  text.line_base = -10;
  text.line_range = 200;
  text.least_instruction = 4;
  text.at(0x2000).line(100).copy();
  text.program.u8(13 + 0);    // address + 0, line - 10
  text.program.u8(13 + 205);  // address + 4, line - 5
  text.advance(2).end();
  lines_of lines(text);
  CHECK(lines.where(0x2000) == "/src/a.c:91");
  CHECK(lines.where(0x2004) == "/src/a.c:86");
  CHECK(lines.where(0x200b) == "/src/a.c:86");
  CHECK(lines.where(0x200c) == "");
}

TEST_CASE("instructions that nobody knows are passed over, standard or extended") {
  line_text text = small(4);
  text.operands = {0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 3, 0};  // two more, of three operands and of none
  text.at(0x2000).copy();
  text.program.u8(13).uleb(1).uleb(0x4000).uleb(1).u8(14);
  text.extended(4, dwarf_text().uleb(9)).extended(0x80, dwarf_text{1, 2, 3});
  text.program.u8(0).uleb(0);  // of no bytes at all
  text.line(1).advance(4).copy().advance(4).end();
  lines_of lines(text);
  CHECK(lines.where(0x2000) == "/src/a.c:1");
  CHECK(lines.where(0x2004) == "/src/a.c:2");
}

TEST_CASE("a version 2 program with fewer standard instructions") {
  line_text text = small(2);
  text.operands = {0, 1, 1, 1, 1, 0, 0, 0, 1};
  text.at(0x2000).copy();
  text.program.u8(10 + 12 * 2 + 4);  // 10 is special here: address + 2, line + 1
  text.advance(2).end();
  lines_of lines(text);
  CHECK(lines.where(0x2001) == "/src/a.c:1");
  CHECK(lines.where(0x2002) == "/src/a.c:2");
}

TEST_CASE("DW_LNE_define_file adds to the list") {
  line_text text = small(4);
  text.extended(3, dwarf_text().string("f.c").uleb(2).uleb(0).uleb(0));
  text.sequence(0x2000, 0x2010, 3, 6);
  text.extended(3, dwarf_text().string("cut"));
  lines_of lines(text);
  CHECK(lines.where(0x2000) == "/abs/f.c:3");
  CHECK(to_std(lines.lines.path_of(7)) == "");
}

TEST_CASE("of several rows at one address the last holds, and a row holds up to the next one") {
  line_text text = small(4);
  text.at(0x2000).line(1).copy().line(1).copy().line(1).copy().advance(0x10).line(1).copy().advance(0).end();
  text.sequence(0x3000, 0x3010, 70);
  lines_of lines(text);
  lines.run({0x1fff, 0x2000, 0x2000, 0x200f, 0x2010, 0x2fff, 0x3000, 0x300f, 0x3010});
  const std::vector<std::string> expected = {"", "/src/a.c:4", "/src/a.c:4", "/src/a.c:4", "", "", "/src/a.c:70", "/src/a.c:70", ""};
  for (std::size_t i = 0; i < expected.size(); ++i) CHECK(lines.at(i) == expected[i]);
}

TEST_CASE("sequences may come in any order") {
  line_text text = small(4);
  text.sequence(0x4000, 0x4010, 40).sequence(0x2000, 0x2010, 20).sequence(0x3000, 0x3010, 30);
  lines_of lines(text);
  CHECK(lines.where(0x2008) == "/src/a.c:20");
  CHECK(lines.where(0x3008) == "/src/a.c:30");
  CHECK(lines.where(0x4008) == "/src/a.c:40");
}

TEST_CASE("an address keeps the line that another unit knew, unless it is to be taken over") {
  line_text text = small(4);
  text.sequence(0x2000, 0x2010, 20);
  lines_of lines(text);
  wanted_code codes[3];
  for (std::size_t i = 0; i < 3; ++i) {
    codes[i].address = 0x2000 + i;
    codes[i].line = 7;
    codes[i].line_unit = i == 0 ? no_index : 5;
  }
  lines.lines.run(codes, 3, 1, 0x1000, [](std::size_t i) { return i == 2; });
  CHECK(codes[0].line == 20);
  CHECK(codes[1].line == 7);
  CHECK(codes[1].line_unit == 5);
  CHECK(codes[2].line == 20);
  CHECK(codes[2].line_unit == 1);
}

// ---- dropped code ------------------------------------------------------------------------------------

// G2: garbage-collected code.
TEST_CASE("trap: sequences of dropped code have no rows: at 0, 1, -1, -2") {
  for (const std::uint64_t mark : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}, ~std::uint64_t{1}}) {
    CAPTURE(mark);
    line_text text = small(4);
    text.at(mark).line(665).copy().advance(0x3000).end();
    text.sequence(0x2000, 0x2010, 20);
    lines_of lines(text);
    CHECK(lines.where(0x2008) == "/src/a.c:20");
    CHECK(lines.where(0x2800) == "");
    CHECK(lines.where(mark) == "");
  }
}

TEST_CASE("trap: a sequence that goes back is not believed from there on") {
  line_text text = small(4);
  text.at(0x3000).copy().advance(0x10).line(1).copy().at(0x2000).line(1).copy().advance(0x2000).copy().end();
  text.sequence(0x5000, 0x5010, 50);
  // So far back that the sum wraps.
  text.at(0x6000).line(59).copy().advance(0x10).copy().advance(~std::uint64_t{0xfff}).line(1).copy().advance(0x3000).copy().end();
  lines_of lines(text);
  CHECK(lines.where(0x3000) == "/src/a.c:1");
  CHECK(lines.where(0x6000) == "/src/a.c:60");
  CHECK(lines.where(0x6800) == "");
  CHECK(lines.where(0x2000) == "");
  CHECK(lines.where(0x3800) == "");
  CHECK(lines.where(0x5000) == "/src/a.c:50");
}

TEST_CASE("addresses of 4 bytes, and the marks of dropped code there") {
  line_text text = small(4);
  text.extended(2, dwarf_text().u32(0x2000)).copy().advance(0x10).end();
  for (const std::uint64_t mark : {0xffffffffu, 0xfffffffeu}) {
    text.extended(2, dwarf_text().u32(mark)).line(9).copy().advance(0x10).end();
  }
  text.extended(2, dwarf_text().u16(0x5000)).copy().advance(0x10).end();
  lines_of lines(text);
  CHECK(lines.where(0x2000) == "/src/a.c:1");
  CHECK(lines.where(0xfffffffeu) == "");
  CHECK(lines.where(0xffffffffu) == "");
  CHECK(lines.where(0x5000) == "");
}

// ---- hostile -----------------------------------------------------------------------------------------

TEST_CASE("a program cut short at every byte") {
  for (unsigned version = 2; version <= 5; ++version) {
    line_text text = small(version);
    text.sequence(0x2000, 0x2010, 20).sequence(0x3000, 0x3010, 30);
    const std::string whole = text.bytes().bytes;
    lines_of lines(text);
    CHECK(lines.where(0x3000) != "");
    for (std::size_t size = 0; size < whole.size(); ++size) {
      lines.file.line.bytes = whole.substr(0, size);
      lines.open();
      CHECK(lines.where(0x3000) == "");  // its length says that there is more
      // Whose length was made to fit has what came before the cut.
      dwarf_text shorter;
      shorter.bytes = whole.substr(0, size);
      if (size >= 4) shorter.bytes.replace(0, 4, dwarf_text().u32(size - 4).bytes);
      lines.file.line = shorter;
      lines.open();
      const std::string found = lines.where(0x2000);
      CHECK((found == "" || found.size() > 5));
    }
  }
}

TEST_CASE("versions, lengths and parameters that make no sense have no rows and no files") {
  const auto check = [](const line_text& text, std::size_t at, std::uint64_t value, std::size_t size) {
    lines_of lines(text);
    CHECK(lines.where(0x2000) == "/src/a.c:20");
    lines.file.line.bytes.replace(at, size, dwarf_text().number(value, size).bytes);
    lines.open();
    CHECK(lines.where(0x2000) == "");
    CHECK(lines.lines.path_of(1).size == 0);
  };
  line_text text = small(4);
  text.sequence(0x2000, 0x2010, 20);
  check(text, 4, 1, 2);           // version
  check(text, 4, 6, 2);
  check(text, 0, 0xfffffff0u, 4);  // length
  check(text, 6, 0xffffffffu, 4);  // length of the header
  check(text, 14, 0, 1);           // line range, by which is divided
  check(text, 15, 0, 1);           // first special instruction
  lines_of nowhere(text);
  nowhere.file.line.bytes.clear();
  nowhere.open();
  CHECK(nowhere.where(0x2000) == "");
}

TEST_CASE("what a unit before had is gone") {
  line_text text = small(4);
  text.sequence(0x2000, 0x2010, 20);
  lines_of lines(text);
  CHECK(lines.where(0x2000) != "");
  dwarf_unit without = lines.units[0];
  without.line_program = dwarf_value{};
  lines.lines.open(lines.units, without);
  CHECK(lines.where(0x2000) == "");
  CHECK(lines.lines.path_of(1).size == 0);
}

TEST_CASE("huge counts of entries end with the bytes, entries of no size too") {
  struct {
    dwarf_text tables;
  } const all[] = {
      {dwarf_text().u8(1).uleb(1).uleb(form_string).uleb(~std::uint64_t{0}).string("a")},
      {dwarf_text().u8(1).uleb(1).uleb(form_flag_present).uleb(~std::uint64_t{0}).u64(0)},
      {dwarf_text().u8(1).uleb(1).uleb(form_implicit_const).uleb(5).u64(0)},
      {dwarf_text().u8(1).uleb(1).uleb(form_block).uleb(3).uleb(~std::uint64_t{0})},
      {dwarf_text().u8(0).uleb(~std::uint64_t{0}).u64(0)},
      {dwarf_text().u8(255).uleb(1).uleb(form_string).u64(0)},
      {dwarf_text().u8(1).uleb(1).uleb(0x77).uleb(3).u64(0)},
  };
  for (const auto& one : all) {
    line_text text(5);
    text.sequence(0x2000, 0x2010, 20);
    lines_of lines(text.bytes_with(one.tables), 5);
    CHECK(lines.lines.path_of(0).size <= max_text);
    CHECK(lines.memory.bytes() < 1000000);
  }
}

TEST_CASE("a path that no system opens is none, and costs nothing") {
  line_text text(4);
  text.directories = {std::string(5000, 'd')};
  text.files = {{"a.c", 1}, {"b.c", 0}};
  lines_of lines(text);
  const std::size_t before = lines.memory.bytes();
  for (int i = 0; i < 1000; ++i) CHECK(lines.lines.path_of(1).size == 0);
  CHECK(lines.memory.bytes() == before);
  CHECK(to_std(lines.lines.path_of(2)) == "/src/b.c");
}

TEST_CASE("a program of overlapping sequences costs no more than it may") {
  line_text text = small(4);
  for (int i = 0; i < 2000; ++i) text.sequence(0x2000, 0x9000, i + 1);
  lines_of lines(text);
  std::vector<std::uint64_t> addresses;
  for (std::uint64_t i = 0; i < 2000; ++i) addresses.push_back(0x2000 + i);
  std::size_t asked = 0;
  lines.effort.allow(1000000, [](void* count) { return ++*static_cast<std::size_t*>(count) != 0; }, &asked);
  lines.run(addresses);
  CHECK(lines.effort.is_over());
  CHECK(asked <= 20);
  CHECK(lines.at(0) != "");
}

}  // namespace
