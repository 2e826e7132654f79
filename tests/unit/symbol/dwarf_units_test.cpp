// tests/unit/symbol/dwarf_units_test.cpp - units of every version, their strings, addresses, ranges and references.

#include "prof/symbol/dwarf_units.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "dwarf_bytes.hpp"

namespace {

using namespace prof::detail;

struct loaded {
  arena memory{os_pages};
  much_effort effort;
  dwarf_units units{memory};
  dwarf_units other{memory};
  explicit loaded(const dwarf_file& file, const dwarf_file* alternative = nullptr) {
    if (alternative != nullptr) other.load(alternative->sections(), nullptr, effort);
    units.load(file.sections(), alternative != nullptr ? &other : nullptr, effort);
  }
  std::string text(const dwarf_value& value) const { return to_std(units.string_of(units[0], value)); }
  std::string directory(std::size_t i = 0) const { return to_std(units.string_of(units[i], units[i].directory)); }
};

dwarf_value value_of(unsigned form, std::uint64_t number) {
  dwarf_value value;
  value.form = static_cast<std::uint16_t>(form);
  value.number = number;
  return value;
}

// ---- headers -----------------------------------------------------------------------------------------

TEST_CASE("units of versions 2 to 5, in 32 and 64 bits, one behind the other") {
  dwarf_file file;
  for (unsigned version = 2; version <= 5; ++version) {
    for (const bool is_long : {false, true}) {
      dwarf_unit_text unit(file, version, is_long);
      unit.die(tag_compile_unit, false, {{attribute_comp_dir, form_strp, "v" + std::to_string(version) + (is_long ? "l" : "")}});
      unit.finish();
    }
  }
  const loaded found(file);
  REQUIRE(found.units.size() == 8);
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(found.directory(i) == "v" + std::to_string(2 + i / 2) + (i % 2 != 0 ? "l" : ""));
    CHECK(found.units[i].encoding.version == 2 + i / 2);
    CHECK(found.units[i].encoding.offset_size == (i % 2 != 0 ? 8 : 4));
    CHECK(found.units[i].tag == tag_compile_unit);
  }
}

TEST_CASE("type units, unknown versions and sizes of addresses are passed over, partial units are known") {
  dwarf_file file;
  const auto add = [&](unsigned version, unsigned type, unsigned address_size, unsigned tag) {
    dwarf_unit_text unit(file, version, false, type, address_size);
    unit.die(tag, false, {{attribute_comp_dir, form_string, std::to_string(version) + "/" + std::to_string(type)}});
    unit.finish();
  };
  add(5, 2, 8, tag_compile_unit);
  add(5, 6, 8, tag_compile_unit);
  add(1, 1, 8, tag_compile_unit);
  add(6, 1, 8, tag_compile_unit);
  add(4, 1, 3, tag_compile_unit);
  add(5, 3, 8, tag_partial_unit);
  add(5, 4, 8, tag_skeleton_unit);
  add(4, 1, 4, tag_compile_unit);
  const loaded found(file);
  REQUIRE(found.units.size() == 3);
  CHECK(found.directory(0) == "5/3");
  CHECK(found.units[0].tag == tag_partial_unit);
  CHECK(found.directory(1) == "5/4");
  CHECK(found.directory(2) == "4/1");
  CHECK(found.units[2].encoding.address_size == 4);
}

TEST_CASE("a unit whose root cannot be read does not hide the next one") {
  dwarf_file file;
  for (const unsigned form : {0x7fu, unsigned{form_string}}) {
    dwarf_unit_text unit(file, 4);
    unit.die(tag_compile_unit, false, {{attribute_comp_dir, form, "n"}});
    unit.finish();
  }
  dwarf_unit_text empty(file, 4);
  empty.finish();
  dwarf_unit_text without(file, 4);
  without.body.u8(1);
  without.finish_with(99999);
  dwarf_unit_text last(file, 4);
  last.die(tag_compile_unit, false, {{attribute_comp_dir, form_string, "last"}});
  last.finish();
  const loaded found(file);
  REQUIRE(found.units.size() == 2);
  CHECK(found.directory(0) == "n");
  CHECK(found.directory(1) == "last");
}

TEST_CASE("a root's declaration is found behind others, sparse and unsorted") {
  dwarf_file file;
  dwarf_unit_text unit(file, 5);
  unit.next_code = 900;
  unit.die(tag_variable, false, {{attribute_decl_line, form_implicit_const, 3}, {attribute_name, form_strp, "v"}});
  unit.body.bytes.clear();
  unit.next_code = 7;
  unit.die(tag_compile_unit, false, {{attribute_comp_dir, form_strp, "root"}});
  unit.finish();
  CHECK(loaded(file).directory() == "root");
}

TEST_CASE("a unit is found by any offset in it, and none elsewhere") {
  dwarf_file file;
  std::vector<std::uint64_t> begins;
  for (int i = 0; i < 5; ++i) {
    dwarf_unit_text unit(file, 5, false, i == 2 ? 2 : 1);  // one of them holds types
    begins.push_back(unit.begin);
    unit.die(tag_compile_unit, false, {{attribute_name, form_string, "u"}});
    unit.finish();
  }
  const loaded found(file);
  REQUIRE(found.units.size() == 4);
  CHECK(found.units.find(0)->offset == begins[0]);
  CHECK(found.units.find(begins[1] - 1)->offset == begins[0]);
  CHECK(found.units.find(begins[1])->offset == begins[1]);
  CHECK(found.units.find(begins[2]) == nullptr);
  CHECK(found.units.find(begins[3] - 1) == nullptr);
  CHECK(found.units.find(begins[4] + 3)->offset == begins[4]);
  CHECK(found.units.find(file.info.size()) == nullptr);
  CHECK(found.units.find(~std::uint64_t{0}) == nullptr);
}

// ---- strings and addresses ---------------------------------------------------------------------------

TEST_CASE("strings of every kind") {
  dwarf_file file;
  dwarf_file shared;
  dwarf_text table = {0, 0, 0, 0, 0, 0, 0, 0};
  for (const char* text : {"s0", "s1", "s2"}) table.u32(file.add_string(text));
  file.str_offsets = table;
  const std::uint64_t in_str = file.add_string("str");
  const std::uint64_t in_line = file.add_line_string("line");
  const std::uint64_t in_shared = shared.add_string("shared");
  dwarf_unit_text unit(file, 5);
  unit.die(tag_compile_unit, false, {});
  unit.finish();
  dwarf_value inlined = value_of(form_string, 0);
  inlined.text = {"here", 4};

  const loaded with(file, &shared);
  CHECK(with.text(inlined) == "here");
  CHECK(with.text(value_of(form_strp, in_str)) == "str");
  CHECK(with.text(value_of(form_line_strp, in_line)) == "line");
  CHECK(with.text(value_of(form_strp_sup, in_shared)) == "shared");
  CHECK(with.text(value_of(form_gnu_strp_alt, in_shared)) == "shared");
  for (const unsigned form : {form_strx, form_strx1, form_strx2, form_strx3, form_strx4, form_gnu_str_index}) {
    CHECK(with.text(value_of(form, 2)) == "s2");
  }
  CHECK(with.text(value_of(form_udata, in_str)) == "");
  CHECK(with.text(dwarf_value{}) == "");
  const loaded without(file);
  CHECK(without.text(value_of(form_strp_sup, in_shared)) == "");
  CHECK(without.text(value_of(form_gnu_strp_alt, in_shared)) == "");
}

TEST_CASE("strings that lie nowhere are empty, those without an end or a bound are cut") {
  dwarf_file file;
  file.str.bytes += "open";
  file.line_str.bytes += std::string(3 * max_text, 'x');
  file.str_offsets = dwarf_text().u64(0).u32(0xfffffff0u);
  dwarf_unit_text unit(file, 5);
  unit.die(tag_compile_unit, false, {});
  unit.finish();
  const loaded found(file);
  for (const std::uint64_t offset : {std::uint64_t{file.str.size()}, std::uint64_t{1} << 40, ~std::uint64_t{0}}) {
    CHECK(found.text(value_of(form_strp, offset)) == "");
    CHECK(found.text(value_of(form_strx, offset)) == "");
  }
  CHECK(found.text(value_of(form_strx, 0)) == "");
  CHECK(found.text(value_of(form_strp, file.str.size() - 4)) == "open");
  CHECK(found.text(value_of(form_line_strp, 10)).size() == max_text);
  dwarf_value inlined = value_of(form_string, 0);
  inlined.text = {file.line_str.bytes.data(), file.line_str.size()};
  CHECK(found.text(inlined).size() == max_text);
}

// G2: rnglistx and addrx before the base attributes in the same entry.
TEST_CASE("trap: a root's indexed values come before the bases that they need") {
  for (const bool is_long : {false, true}) {
    dwarf_file file;
    file.addr = dwarf_text().u64(0xbad).u64(0xbad);
    const std::size_t addr_base = file.addr.size();
    file.addr.u64(0x5000).u64(0x6000);
    const std::uint64_t name = file.add_string("late");
    file.str_offsets = dwarf_text().u64(0xbad).u64(0xbad);
    const std::size_t str_base = file.str_offsets.size();
    file.str_offsets.number(0, is_long ? 8 : 4).number(name, is_long ? 8 : 4);
    file.rnglists = dwarf_text().u64(0xbad).u64(0xbad);
    const std::size_t list_base = file.rnglists.size();
    file.rnglists.number(is_long ? 8 : 4, is_long ? 8 : 4).add({4, 0x10, 0x20, 0});  // offset_pair [0x10, 0x20)
    dwarf_unit_text unit(file, 5, is_long);
    unit.die(tag_compile_unit, false,
             {{attribute_comp_dir, form_strx1, 1},
              {attribute_ranges, form_rnglistx, 0},
              {attribute_low_pc, form_addrx, 1},
              {attribute_rnglists_base, form_sec_offset, list_base},
              {attribute_str_offsets_base, form_sec_offset, str_base},
              {attribute_addr_base, form_sec_offset, addr_base}});
    unit.finish();
    const loaded found(file);
    REQUIRE(found.units.size() == 1);
    CHECK(found.directory() == "late");
    CHECK(found.units[0].low_pc == 0x6000);
    dwarf_ranges ranges(found.units, found.units[0], found.units[0].low, found.units[0].high, found.units[0].ranges, 0x1000);
    dwarf_range range;
    REQUIRE(ranges.next(range));
    CHECK(range.begin == 0x6010);
    CHECK(range.end == 0x6020);
  }
}

TEST_CASE("bases that a unit does not name are behind the tables' headers, or at their begin before DWARF 5") {
  for (const unsigned version : {4u, 5u}) {
    for (const bool is_long : {false, true}) {
      CAPTURE(version);
      CAPTURE(is_long);
      dwarf_file file;
      dwarf_text header;
      if (version == 5) header.bytes.assign(is_long ? 16 : 8, '\1');
      file.addr.add(header).u64(0x7000);
      file.str_offsets.add(header).number(file.add_string("implied"), is_long ? 8 : 4);
      dwarf_unit_text unit(file, version, is_long);
      const bool is_new = version == 5;
      unit.die(tag_compile_unit, false,
               {{attribute_comp_dir, is_new ? unsigned{form_strx} : unsigned{form_gnu_str_index}, 0},
                {attribute_low_pc, is_new ? unsigned{form_addrx} : unsigned{form_gnu_addr_index}, 0}});
      unit.finish();
      const loaded found(file);
      REQUIRE(found.units.size() == 1);
      CHECK(found.directory() == "implied");
      CHECK(found.units[0].low_pc == 0x7000);
    }
  }
}

TEST_CASE("addresses of every form, of 4 and 8 bytes; what is not in the table is none") {
  for (const unsigned size : {4u, 8u}) {
    dwarf_file file;
    file.addr = dwarf_text().u64(0).number(0x1111, size).number(0x2222, size);
    dwarf_unit_text unit(file, 5, false, 1, size);
    unit.die(tag_compile_unit, false, {{attribute_name, form_string, "u"}});
    unit.finish();
    const loaded found(file);
    REQUIRE(found.units.size() == 1);
    std::uint64_t address = 0;
    for (const unsigned form : {form_addrx, form_addrx1, form_addrx2, form_addrx3, form_addrx4, form_gnu_addr_index}) {
      CHECK(found.units.address_of(found.units[0], value_of(form, 1), address));
      CHECK(address == 0x2222);
    }
    CHECK(found.units.address_of(found.units[0], value_of(form_addr, 5), address));
    CHECK(address == 5);
    for (const std::uint64_t index : {std::uint64_t{2}, std::uint64_t{100}, std::uint64_t{1} << 61, ~std::uint64_t{0}}) {
      CHECK_FALSE(found.units.address_of(found.units[0], value_of(form_addrx, index), address));
    }
    CHECK_FALSE(found.units.address_of(found.units[0], value_of(form_udata, 0), address));
    CHECK_FALSE(found.units.address_of(found.units[0], dwarf_value{}, address));
  }
}

// ---- references --------------------------------------------------------------------------------------

TEST_CASE("references within the unit, across units and into the other file") {
  dwarf_file file;
  dwarf_file shared;
  dwarf_unit_text first(file, 4);
  first.root(0x1000, 0x2000, 0);
  first.close();
  first.finish();
  dwarf_unit_text second(file, 4);
  second.root(0x2000, 0x3000, 0);
  second.close();
  second.finish();
  dwarf_unit_text there(shared, 4);
  there.root(0, 0, 0);
  there.close();
  there.finish();
  loaded found(file, &shared);
  const dwarf_unit& unit = found.units[1];
  std::uint64_t offset = 0;
  for (const unsigned form : {form_ref1, form_ref2, form_ref4, form_ref8, form_ref_udata}) {
    CHECK(found.units.target_of(unit, value_of(form, 11), offset) == &found.units);
    CHECK(offset == unit.offset + 11);
    CHECK(found.units.target_of(unit, value_of(form, unit.end - unit.offset), offset) == nullptr);
  }
  CHECK(found.units.target_of(unit, value_of(form_ref_addr, 3), offset) == &found.units);
  CHECK(offset == 3);
  for (const unsigned form : {form_ref_sup4, form_ref_sup8, form_gnu_ref_alt}) {
    CHECK(found.units.target_of(unit, value_of(form, 12), offset) == &found.other);
    CHECK(offset == 12);
  }
  CHECK(found.units.target_of(unit, value_of(form_ref_sig8, 12), offset) == nullptr);
  CHECK(found.units.target_of(unit, dwarf_value{}, offset) == nullptr);
  loaded alone(file);
  CHECK(alone.units.target_of(alone.units[0], value_of(form_gnu_ref_alt, 12), offset) == nullptr);
}

TEST_CASE("an entry is read at its offset, and nowhere outside of its unit") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(0x1000, 0x2000, 0);
  const std::uint64_t at = unit.function("f", 0x1000, 0x1010);
  unit.close();
  unit.finish();
  loaded found(file);
  die_attributes die;
  CHECK(found.units.read_die(found.units[0], at, die));
  CHECK(to_std(die.name.text) == "f");
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{10}, found.units[0].end, ~std::uint64_t{0}}) {
    CHECK_FALSE(found.units.read_die(found.units[0], offset, die));
  }
  CHECK_FALSE(found.units.read_die(found.units[0], found.units[0].end - 1, die));  // the end of a list
}

// ---- ranges ------------------------------------------------------------------------------------------

using pairs = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

struct range_case {
  dwarf_file file;
  unsigned version = 4;
  unsigned address_size = 8;
  std::uint64_t low = 0x10000;  // of the unit
  std::uint64_t least = 0x1000;

  pairs of(const dwarf_value& low_pc, const dwarf_value& high_pc, const dwarf_value& list) {
    file.info = dwarf_text();
    dwarf_unit_text unit(file, version, false, 1, address_size);
    unit.die(tag_compile_unit, false, {{attribute_low_pc, form_addr, low}});
    unit.finish();
    const loaded found(file);
    REQUIRE(found.units.size() == 1);
    dwarf_ranges ranges(found.units, found.units[0], low_pc, high_pc, list, least);
    pairs out;
    dwarf_range range;
    while (ranges.next(range)) out.emplace_back(range.begin, range.end);
    return out;
  }
  pairs single(const dwarf_value& low_pc, const dwarf_value& high_pc) { return of(low_pc, high_pc, {}); }
  pairs list(const dwarf_text& text) {
    (version < 5 ? file.ranges : file.rnglists) = dwarf_text().u64(~std::uint64_t{0}).add(text);
    return of({}, {}, value_of(form_sec_offset, 8));
  }
};

TEST_CASE("a single range: its end is an address or a size") {
  range_case test;
  CHECK(test.single(value_of(form_addr, 0x2000), value_of(form_addr, 0x2010)) == pairs{{0x2000, 0x2010}});
  for (const unsigned form : {form_data1, form_data4, form_udata, form_sdata, form_implicit_const}) {
    CHECK(test.single(value_of(form_addr, 0x2000), value_of(form, 0x10)) == pairs{{0x2000, 0x2010}});
  }
  CHECK(test.single(value_of(form_addr, 0x2000), {}).empty());
  CHECK(test.single({}, value_of(form_data4, 0x10)).empty());
  CHECK(test.single(value_of(form_addr, 0x2000), value_of(form_data4, 0)).empty());
  CHECK(test.single(value_of(form_addr, 0x2000), value_of(form_sdata, ~std::uint64_t{0})).empty());
  CHECK(test.single(value_of(form_addrx, 7), value_of(form_data4, 16)).empty());
}

// G2: garbage-collected code.
TEST_CASE("trap: ranges of dropped code are none: at 0, 1, -1, -2") {
  range_case test;
  for (const std::uint64_t mark : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}, ~std::uint64_t{1}}) {
    CAPTURE(mark);
    CHECK(test.single(value_of(form_addr, mark), value_of(form_data4, 0x40)).empty());
    test.version = 4;
    CHECK(test.list(dwarf_text().u64(mark == 0 ? 1 : mark).u64(mark).u64(0x20).u64(0x30).u64(0).u64(0)).size() <= 1);
    test.version = 5;
    CHECK(test.list(dwarf_text().u8(7).u64(mark).uleb(0x40).u8(0)).empty());
    CHECK(test.list(dwarf_text().u8(6).u64(mark).u64(mark).u8(0)).empty());
    CHECK(test.list(dwarf_text().u8(5).u64(mark).u8(4).uleb(0x10).uleb(0x40).u8(4).uleb(0x3000).uleb(0x3040).u8(0)).empty());
    test.file.addr = dwarf_text().u64(0).u64(mark);
    CHECK(test.list(dwarf_text().u8(3).uleb(0).uleb(0x40).u8(0)).empty());
    CHECK(test.list(dwarf_text().u8(1).uleb(0).u8(4).uleb(0x3000).uleb(0x3040).u8(0)).empty());
    test.version = 4;
    const bool is_reset = mark == 0;  // clang's way to say that what follows is relative to nothing
    CHECK(test.list(dwarf_text().u64(~std::uint64_t{0}).u64(mark).u64(0x3000).u64(0x3040).u64(0).u64(0)).empty() == !is_reset);
    test.version = 5;
  }
}

TEST_CASE(".debug_ranges: pairs, bases, dropped pairs, an end, and none") {
  range_case test;
  CHECK(test.list(dwarf_text().u64(0x10).u64(0x20).u64(0x40).u64(0x50).u64(0).u64(0)) ==
        pairs{{0x10010, 0x10020}, {0x10040, 0x10050}});
  CHECK(test.list(dwarf_text().u64(~std::uint64_t{0}).u64(0x50000).u64(1).u64(2).u64(0).u64(0)) == pairs{{0x50001, 0x50002}});
  // lld's mark there is -2, for -1 is a base: both words, or the first with a size in the second.
  const std::uint64_t mark = ~std::uint64_t{1};
  CHECK(test.list(dwarf_text().u64(mark).u64(mark).u64(mark).u64(0x30).u64(0x10).u64(0x20).u64(0).u64(0)) ==
        pairs{{0x10010, 0x10020}});
  // GNU ld's is 1 in both, for 0 is the end.
  test.low = 0;
  CHECK(test.list(dwarf_text().u64(1).u64(1).u64(0x2000).u64(0x2020).u64(0).u64(0)) == pairs{{0x2000, 0x2020}});
  CHECK(test.list(dwarf_text().u64(1).u64(0x20).u64(0x2000).u64(0x2020).u64(0).u64(0)) == pairs{{0x2000, 0x2020}});
  // Without an end, and cut.
  CHECK(test.list(dwarf_text().u64(0x2000).u64(0x2020)) == pairs{{0x2000, 0x2020}});
  CHECK(test.list(dwarf_text().u64(0x2000).u64(0x2020).u64(0x3000).u32(0)) == pairs{{0x2000, 0x2020}});
  test.address_size = 4;
  CHECK(test.list(dwarf_text().u32(0xffffffffu).u32(0x50000).u32(1).u32(2).u32(0xfffffffeu).u32(9).u32(0).u32(0)) ==
        pairs{{0x50001, 0x50002}});
}

TEST_CASE(".debug_rnglists: every kind of entry") {
  range_case test;
  test.version = 5;
  test.file.addr = dwarf_text().u64(0).u64(0x20000).u64(0x20100);
  dwarf_text list;
  list.u8(4).uleb(0x10).uleb(0x20);                  // offset_pair, of the unit's begin
  list.u8(1).uleb(0).u8(4).uleb(0x10).uleb(0x20);    // base_addressx
  list.u8(2).uleb(0).uleb(1);                        // startx_endx
  list.u8(3).uleb(1).uleb(0x80);                     // startx_length
  list.u8(5).u64(0x30000).u8(4).uleb(1).uleb(2);     // base_address
  list.u8(6).u64(0x40000).u64(0x40010);              // start_end
  list.u8(7).u64(0x50000).uleb(0x1000);              // start_length
  list.u8(0).u8(7).u64(0x60000).uleb(0x1000);        // end_of_list
  CHECK(test.list(list) == pairs{{0x10010, 0x10020},
                                 {0x20010, 0x20020},
                                 {0x20000, 0x20100},
                                 {0x20100, 0x20180},
                                 {0x30001, 0x30002},
                                 {0x40000, 0x40010},
                                 {0x50000, 0x51000}});
  CHECK(test.list(dwarf_text().u8(7).u64(0x50000).uleb(0x10).u8(8).u8(7).u64(0x60000).uleb(1)) == pairs{{0x50000, 0x50010}});
  for (std::size_t size = 0; size < list.size(); ++size) {
    dwarf_text cut;
    cut.bytes = list.bytes.substr(0, size);
    CHECK(test.list(cut).size() <= 7);
  }
  CHECK(test.list(dwarf_text().u8(2).uleb(0).uleb(500)).empty());
  CHECK(test.list(dwarf_text().u8(3).uleb(500).uleb(0x80)).empty());
}

TEST_CASE("a list by its index, which may lie nowhere") {
  range_case test;
  test.version = 5;
  test.file.rnglists = dwarf_text().u64(0).u32(2);  // 32 bits: 12 bytes of header
  test.file.rnglists.u32(8).u32(0xffff0000u);       // offsets behind the base
  test.file.rnglists.u8(7).u64(0x50000).uleb(0x10).u8(0);
  CHECK(test.of({}, {}, value_of(form_rnglistx, 0)) == pairs{{0x50000, 0x50010}});
  CHECK(test.of({}, {}, value_of(form_rnglistx, 1)).empty());
  CHECK(test.of({}, {}, value_of(form_rnglistx, std::uint64_t{1} << 62)).empty());
  // One whose offset is behind the section's end is not the list at the base.
  test.file.rnglists = dwarf_text().u64(0).u32(2).u8(7).u64(0x50000).uleb(0x10).u8(0);
  CHECK(test.of({}, {}, value_of(form_rnglistx, 20)).empty());
  CHECK(test.of({}, {}, value_of(form_sec_offset, 12)) == pairs{{0x50000, 0x50010}});
  CHECK(test.of({}, {}, value_of(form_sec_offset, 1000)).empty());
}

TEST_CASE("an entry with a list has what the list says, not its low_pc") {
  range_case test;
  test.file.ranges = dwarf_text().u64(0x10).u64(0x20).u64(0).u64(0);
  CHECK(test.of(value_of(form_addr, 0), value_of(form_data4, 0x100), value_of(form_data4, 0)) == pairs{{0x10010, 0x10020}});
}

TEST_CASE("ranges that are read take effort, and a list without an end ends") {
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.die(tag_compile_unit, false, {{attribute_low_pc, form_addr, 0x10000}});
  unit.finish();
  for (int i = 0; i < 10000; ++i) file.ranges.u64(1).u64(2);
  arena memory(os_pages);
  read_effort effort;
  effort.allow(1000, [](void*) { return true; }, nullptr);
  dwarf_units units(memory);
  units.load(file.sections(), nullptr, effort);
  dwarf_ranges ranges(units, units[0], {}, {}, value_of(form_sec_offset, 0), 0x1000);
  dwarf_range range;
  std::size_t count = 0;
  while (ranges.next(range)) ++count;
  CHECK(count > 900);
  CHECK(count <= 1000);
  CHECK(effort.is_over());
}

// ---- hostile -----------------------------------------------------------------------------------------

TEST_CASE("units cut short at every byte of every section") {
  dwarf_file file;
  dwarf_unit_text first(file, 5, true);
  first.root(0x1000, 0x2000, 0);
  first.close();
  first.finish();
  dwarf_unit_text second(file, 4);
  second.die(tag_compile_unit, false, {{attribute_name, form_strp, "second"}, {attribute_ranges, form_sec_offset, 0}});
  second.finish();
  for (dwarf_text* const section : {&file.info, &file.abbrev, &file.str}) {
    const std::string whole = section->bytes;
    for (std::size_t size = 0; size < whole.size(); ++size) {
      section->bytes = whole.substr(0, size);
      const loaded found(file);
      CHECK(found.units.size() <= (section == &file.info ? 1 : 2));
    }
    section->bytes = whole;
  }
  CHECK(loaded(file).units.size() == 2);
}

TEST_CASE("roots whose declarations lie behind giant tables cost no more than they may") {
  dwarf_file file;
  for (unsigned i = 0; i < 3000; ++i) {
    dwarf_unit_text unit(file, 4);
    unit.body.uleb(5000);
    unit.finish_with(0);
  }
  for (unsigned i = 1; i <= 5000; ++i) file.abbrev.uleb(i).uleb(tag_compile_unit).u8(0).u8(0).u8(0);
  arena memory(os_pages);
  read_effort effort;
  std::size_t asked = 0;
  effort.allow(std::uint64_t{1} << 20, [](void* count) { return ++*static_cast<std::size_t*>(count) != 0; }, &asked);
  dwarf_units units(memory);
  units.load(file.sections(), nullptr, effort);
  CHECK(effort.is_over());
  CHECK(asked <= 20);
  CHECK(units.size() > 100);
  CHECK(units.size() < 300);
}

}  // namespace
