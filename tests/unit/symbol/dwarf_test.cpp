// tests/unit/symbol/dwarf_test.cpp - lengths, forms and abbreviations, one by one, and cut short.

#include "prof/symbol/dwarf.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "dwarf_bytes.hpp"

namespace {

using namespace prof::detail;

constexpr dwarf_encoding usual{4, 4, 8};
constexpr dwarf_encoding wide{5, 8, 8};

// ---- effort ------------------------------------------------------------------------------------------

struct counting {
  std::size_t asked = 0;
  std::size_t limit = ~std::size_t{0};
  static bool goes_on(void* self) {
    auto& counter = *static_cast<counting*>(self);
    return ++counter.asked <= counter.limit;
  }
};

TEST_CASE("effort: who spends is asked every 64 Ki steps, and no more once all are used up") {
  counting counter;
  read_effort effort;
  CHECK_FALSE(effort.spend(1));
  effort.allow(1000000, counting::goes_on, &counter);
  std::size_t spent = 0;
  while (effort.spend(1)) ++spent;
  CHECK(spent > 1000000 - 64);
  CHECK(spent <= 1000000);
  CHECK(counter.asked >= spent / read_effort::steps_between);
  CHECK(counter.asked <= spent / read_effort::steps_between + 2);
  CHECK(effort.is_over());
  const std::size_t asked = counter.asked;
  CHECK_FALSE(effort.spend(1));
  CHECK_FALSE(effort.ask());
  CHECK(counter.asked == asked);
}

TEST_CASE("effort: a no is final") {
  counting counter;
  counter.limit = 2;
  read_effort effort;
  effort.allow(~std::uint64_t{0}, counting::goes_on, &counter);
  CHECK(effort.ask());
  CHECK(effort.spend(5));
  CHECK(effort.spend(2 * read_effort::steps_between));
  CHECK_FALSE(effort.ask());
  CHECK(effort.is_over());
  counter.limit = 100;
  CHECK_FALSE(effort.spend(1));
}

TEST_CASE("effort: more than is left at once is refused") {
  counting counter;
  read_effort effort;
  effort.allow(1000, counting::goes_on, &counter);
  CHECK(effort.spend(10));
  CHECK_FALSE(effort.spend(~std::uint64_t{0}));
  CHECK(effort.is_over());
}

// ---- lengths and numbers -----------------------------------------------------------------------------

TEST_CASE("initial length: 32 and 64 bits, reserved values, more than there is") {
  std::uint8_t offset_size = 0;
  std::uint64_t length = 0;
  const auto read = [&](const dwarf_text& text) {
    byte_reader from = text.reader();
    return read_initial_length(from, offset_size, length);
  };
  CHECK(read(dwarf_text().u32(2).u16(0)));
  CHECK(length == 2);
  CHECK(offset_size == 4);
  CHECK(read(dwarf_text().u32(0xffffffffu).u64(1).u8(0)));
  CHECK(length == 1);
  CHECK(offset_size == 8);
  CHECK_FALSE(read(dwarf_text().u32(3).u16(0)));
  CHECK_FALSE(read(dwarf_text().u32(0xfffffff0u)));
  CHECK_FALSE(read(dwarf_text().u32(0xffffffffu).u32(1)));
  CHECK_FALSE(read(dwarf_text().u32(0xffffffffu).u64(~std::uint64_t{0}).u8(0)));
  CHECK_FALSE(read(dwarf_text().u16(0)));
}

TEST_CASE("numbers of every size") {
  const dwarf_text text = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto read = [&](std::size_t size) {
    byte_reader from = text.reader();
    const std::uint64_t value = read_unsigned(from, size);
    CHECK(from.left() == 8 - size);
    return value;
  };
  CHECK(read(1) == 0x01);
  CHECK(read(2) == 0x0201);
  CHECK(read(3) == 0x030201);
  CHECK(read(4) == 0x04030201);
  CHECK(read(8) == 0x0807060504030201u);
}

TEST_CASE("a string without a terminator is none") {
  const dwarf_text text = dwarf_text().string("one").string("");
  byte_reader from = text.reader();
  CHECK(to_std(read_string(from)) == "one");
  CHECK(to_std(read_string(from)) == "");
  CHECK_FALSE(from.bad());
  byte_reader cut = reader_of({"abc", 3});
  CHECK(read_string(cut).size == 0);
  CHECK(cut.bad());
  byte_reader none;
  CHECK(read_string(none).size == 0);
  CHECK(none.bad());
  CHECK(reader_at(text.view(), 4).left() == 1);
  CHECK(reader_at(text.view(), 5).empty());
  CHECK(reader_at(text.view(), ~std::uint64_t{0}).empty());
}

// ---- forms -------------------------------------------------------------------------------------------

struct form_case {
  unsigned form;
  dwarf_encoding encoding;
  dwarf_text bytes;
  std::uint64_t number;
};

std::vector<form_case> all_forms() {
  const dwarf_encoding old{2, 4, 8};
  const dwarf_encoding narrow{4, 4, 4};
  const dwarf_text four = dwarf_text().u32(0x01020304);
  const dwarf_text eight = dwarf_text().u64(0x0102030405060708u);
  const dwarf_text leb = dwarf_text().uleb(624485);
  return {
      {form_addr, usual, eight, 0x0102030405060708u},
      {form_addr, narrow, four, 0x01020304},
      {form_block2, usual, dwarf_text().u16(3).u8(9).u8(9).u8(9), 3},
      {form_block4, usual, dwarf_text().u32(2).u8(9).u8(9), 2},
      {form_data2, usual, dwarf_text().u16(0xfffe), 0xfffe},
      {form_data4, usual, four, 0x01020304},
      {form_data8, usual, eight, 0x0102030405060708u},
      {form_string, usual, dwarf_text().string("hi"), 0},
      {form_block, usual, dwarf_text().uleb(1).u8(9), 1},
      {form_block1, usual, dwarf_text().u8(0), 0},
      {form_data1, usual, {200}, 200},
      {form_flag, usual, {1}, 1},
      {form_sdata, usual, dwarf_text().sleb(-2), ~std::uint64_t{1}},
      {form_strp, usual, four, 0x01020304},
      {form_strp, wide, eight, 0x0102030405060708u},
      {form_udata, usual, leb, 624485},
      {form_ref_addr, old, eight, 0x0102030405060708u},  // of an address's size once
      {form_ref_addr, usual, four, 0x01020304},
      {form_ref_addr, wide, eight, 0x0102030405060708u},
      {form_ref1, usual, {7}, 7},
      {form_ref2, usual, dwarf_text().u16(700), 700},
      {form_ref4, usual, four, 0x01020304},
      {form_ref8, usual, eight, 0x0102030405060708u},
      {form_ref_udata, usual, leb, 624485},
      {form_indirect, usual, dwarf_text().uleb(form_data1).u8(77), 77},
      {form_sec_offset, usual, four, 0x01020304},
      {form_exprloc, usual, dwarf_text().uleb(2).u8(9).u8(9), 2},
      {form_flag_present, usual, {}, 1},
      {form_strx, wide, leb, 624485},
      {form_addrx, wide, leb, 624485},
      {form_ref_sup4, wide, four, 0x01020304},
      {form_strp_sup, wide, eight, 0x0102030405060708u},
      {form_data16, wide, dwarf_text().u64(1).u64(2), 0},
      {form_line_strp, usual, four, 0x01020304},
      {form_ref_sig8, usual, eight, 0x0102030405060708u},
      {form_implicit_const, wide, {}, ~std::uint64_t{4}},
      {form_loclistx, wide, leb, 624485},
      {form_rnglistx, wide, leb, 624485},
      {form_ref_sup8, wide, eight, 0x0102030405060708u},
      {form_strx1, wide, {7}, 7},
      {form_strx2, wide, dwarf_text().u16(700), 700},
      {form_strx3, wide, {1, 2, 3}, 0x030201},
      {form_strx4, wide, four, 0x01020304},
      {form_addrx1, wide, {7}, 7},
      {form_addrx2, wide, dwarf_text().u16(700), 700},
      {form_addrx3, wide, {1, 2, 3}, 0x030201},
      {form_addrx4, wide, four, 0x01020304},
      {form_gnu_addr_index, usual, leb, 624485},
      {form_gnu_str_index, usual, leb, 624485},
      {form_gnu_ref_alt, usual, four, 0x01020304},
      {form_gnu_strp_alt, wide, eight, 0x0102030405060708u},
  };
}

TEST_CASE("every form is read and takes its bytes, and cut short it is not read") {
  for (const form_case& one : all_forms()) {
    CAPTURE(one.form);
    dwarf_text text = one.bytes;
    text.u8(0xee);
    byte_reader from = text.reader();
    dwarf_value value;
    REQUIRE(read_form(from, one.form, -5, one.encoding, value));
    CHECK(value.there());
    CHECK(value.form == (one.form == form_indirect ? unsigned{form_data1} : one.form));
    CHECK(value.number == one.number);
    CHECK(from.left() == 1);
    CHECK(to_std(value.text) == (one.form == form_string ? "hi" : ""));
    for (std::size_t size = 0; size < one.bytes.size(); ++size) {
      byte_reader cut = reader_of({one.bytes.bytes.data(), size});
      CHECK_FALSE(read_form(cut, one.form, 0, one.encoding, value));
    }
  }
}

TEST_CASE("the size of every form that has one is what reading it takes") {
  for (const form_case& one : all_forms()) {
    CAPTURE(one.form);
    const std::uint32_t size = form_size(one.form, one.encoding);
    if (size != variable_size) CHECK(size == one.bytes.size());
  }
}

TEST_CASE("a form that nobody knows ends what can be read") {
  const dwarf_text text = {1, 2, 3, 4, 5, 6, 7, 8};
  for (const std::uint64_t form : {std::uint64_t{0}, std::uint64_t{0x02}, std::uint64_t{0x2d}, std::uint64_t{0x1f03}, std::uint64_t{0x1000b}, ~std::uint64_t{0}}) {
    byte_reader from = text.reader();
    dwarf_value value;
    CHECK_FALSE(read_form(from, form, 0, usual, value));
  }
}

TEST_CASE("DW_FORM_indirect may lead to itself, but not for ever") {
  dwarf_value value;
  const dwarf_text some = {form_indirect, form_indirect, form_data1, 5};
  byte_reader from = some.reader();
  CHECK(read_form(from, form_indirect, 0, usual, value));
  CHECK(value.number == 5);
  dwarf_text many;
  for (int i = 0; i < 1000; ++i) many.u8(form_indirect);
  from = many.reader();
  CHECK_FALSE(read_form(from, form_indirect, 0, usual, value));
  CHECK(from.left() > 900);
}

TEST_CASE("a block that is longer than the bytes is not read") {
  dwarf_value value;
  for (const dwarf_text& text : {dwarf_text().uleb(~std::uint64_t{0}).u8(1), dwarf_text().uleb(3).u8(1).u8(2)}) {
    byte_reader from = text.reader();
    CHECK_FALSE(read_form(from, form_exprloc, 0, usual, value));
  }
}

// ---- abbreviations -----------------------------------------------------------------------------------

dwarf_text declaration(std::uint64_t code, unsigned tag, const std::vector<unsigned>& specs, bool has_children = false) {
  dwarf_text out;
  out.uleb(code).uleb(tag).u8(has_children ? 1 : 0);
  for (const unsigned one : specs) out.uleb(one);
  return out.u8(0).u8(0);
}

struct loaded {
  arena memory{os_pages};
  much_effort effort;
  abbreviation_table table{memory};
  explicit loaded(const dwarf_text& text, std::uint64_t offset = 0, dwarf_encoding encoding = usual) {
    table.load(text.view(), offset, encoding, effort);
  }
  unsigned tag(std::uint64_t code) const {
    const abbreviation* const found = table.find(code);
    return found == nullptr ? 0 : found->tag;
  }
};

TEST_CASE("abbreviations in order, with holes, in any order, and twice") {
  dwarf_text dense;
  dense.add(declaration(1, 10, {})).add(declaration(2, 20, {})).add(declaration(3, 30, {})).u8(0);
  const loaded a(dense);
  CHECK(a.tag(1) == 10);
  CHECK(a.tag(3) == 30);
  CHECK(a.tag(4) == 0);
  CHECK(a.tag(0) == 0);

  dwarf_text sparse;
  sparse.add(declaration(5, 50, {})).add(declaration(1000, 60, {})).add(declaration(~std::uint64_t{0}, 70, {})).u8(0);
  const loaded b(sparse);
  CHECK(b.tag(5) == 50);
  CHECK(b.tag(1000) == 60);
  CHECK(b.tag(~std::uint64_t{0}) == 70);
  CHECK(b.tag(1) == 0);
  CHECK(b.tag(999) == 0);

  dwarf_text mixed;
  for (unsigned i = 0; i < 100; ++i) mixed.add(declaration(1 + i * 37 % 101, i + 1, {}));
  mixed.add(declaration(1, 999, {})).u8(0);
  const loaded c(mixed);
  for (unsigned i = 0; i < 100; ++i) CHECK(c.tag(1 + i * 37 % 101) == i + 1);
}

TEST_CASE("a table begins at its offset, ends with a zero code, and is not read past the section") {
  dwarf_text text = {1, 2, 3};
  text.add(declaration(1, 10, {attribute_name, form_strp})).u8(0).add(declaration(2, 20, {}));
  const loaded found(text, 3);
  CHECK(found.tag(1) == 10);
  CHECK(found.tag(2) == 0);
  for (std::size_t size = 0; size < text.size(); ++size) {
    const dwarf_text cut = [&] {
      dwarf_text out;
      out.bytes = text.bytes.substr(0, size);
      return out;
    }();
    const loaded some(cut, 3);
    CHECK(some.tag(2) == 0);
    CHECK((some.tag(1) == 10) == (size >= 3 + 7));
  }
  const loaded none(text, ~std::uint64_t{0});
  CHECK(none.tag(1) == 0);
}

TEST_CASE("an abbreviation knows its size, its attributes and whether it has code") {
  dwarf_text text;
  text.add(declaration(1, tag_subprogram, {attribute_name, form_strp, attribute_low_pc, form_addr}, true));
  text.add(declaration(2, tag_subprogram, {attribute_name, form_string, attribute_ranges, form_sec_offset}));
  text.add(declaration(3, tag_inlined_subroutine, {attribute_abstract_origin, form_ref4}));
  text.add(declaration(4, tag_variable, {attribute_low_pc, form_addr}));
  text.add(declaration(5, tag_subprogram, {attribute_name, 0x7f}));
  text.uleb(6).uleb(tag_subprogram).u8(0).uleb(attribute_decl_line).uleb(form_implicit_const).sleb(-7).u8(0).u8(0).u8(0);
  const loaded found(text);
  CHECK(found.table.find(1)->fixed_size == 12);
  CHECK(found.table.find(1)->has_children);
  CHECK(found.table.find(1)->has_code);
  CHECK(found.table.find(2)->fixed_size == variable_size);
  CHECK(found.table.find(2)->has_code);
  CHECK_FALSE(found.table.find(2)->has_children);
  CHECK_FALSE(found.table.find(3)->has_code);
  CHECK_FALSE(found.table.find(4)->has_code);
  CHECK(found.table.find(5)->fixed_size == variable_size);
  CHECK(found.table.find(6)->fixed_size == 0);
  CHECK(found.table.specs(*found.table.find(6))->implicit == -7);
  CHECK(found.table.find(1)->count == 2);
  CHECK(found.table.specs(*found.table.find(1))[1].name == attribute_low_pc);
}

TEST_CASE("an entry is passed over, but not one with a form that nobody knows") {
  dwarf_text text;
  text.add(declaration(1, 1, {attribute_name, form_strp, attribute_low_pc, form_addr}));
  text.add(declaration(2, 2, {attribute_name, form_string, attribute_low_pc, form_addr, 0x99, form_exprloc}));
  text.add(declaration(3, 3, {attribute_name, 0x7f})).u8(0);
  const loaded found(text);
  dwarf_text entry;
  entry.string("abc").u64(1).uleb(2).u8(0).u8(0);
  const auto skip = [&](std::uint64_t code, std::size_t size) {
    byte_reader from = reader_of({entry.bytes.data(), size});
    return found.table.skip(from, *found.table.find(code)) ? static_cast<int>(from.left()) : -1;
  };
  CHECK(skip(1, entry.size()) == 3);
  CHECK(skip(1, 11) == -1);
  CHECK(skip(2, entry.size()) == 0);
  CHECK(skip(2, entry.size() - 1) == -1);
  CHECK(skip(3, entry.size()) == -1);
}

TEST_CASE("abbreviations cost effort, and a table that is too much of it ends early") {
  dwarf_text text;
  for (unsigned i = 1; i <= 100000; ++i) text.add(declaration(i, 10, {attribute_name, form_strp}));
  arena memory(os_pages);
  counting counter;
  counter.limit = 1;
  read_effort effort;
  effort.allow(~std::uint64_t{0}, counting::goes_on, &counter);
  abbreviation_table table(memory);
  table.load(text.view(), 0, usual, effort);
  CHECK(effort.is_over());
  CHECK(table.find(1) != nullptr);
  CHECK(table.find(100000) == nullptr);
}

TEST_CASE("the cache gives each table again, by section, offset and encoding, and forgets the oldest") {
  arena memory(os_pages);
  much_effort effort;
  abbreviation_cache cache(memory);
  dwarf_text first;
  dwarf_text second;
  for (unsigned i = 0; i < 40; ++i) {
    first.add(declaration(1, 10 + i, {attribute_low_pc, form_addr})).u8(0);
    second.add(declaration(1, 60 + i, {attribute_low_pc, form_addr})).u8(0);
  }
  const std::size_t each = first.size() / 40;
  const auto tag = [&](const dwarf_text& text, unsigned i) { return cache.find(text.view(), i * each, usual, effort)->find(1)->tag; };
  for (int round = 0; round < 3; ++round) {
    for (unsigned i = 0; i < 40; ++i) {
      CHECK(tag(first, i) == 10 + i);
      CHECK(tag(second, i) == 60 + i);
      CHECK(tag(first, 0) == 10);
    }
  }
  const abbreviation_table* const one = cache.find(first.view(), 0, usual, effort);
  CHECK(cache.find(first.view(), 0, usual, effort) == one);
  CHECK(one->find(1)->fixed_size == 8);
  CHECK(cache.find(first.view(), 0, dwarf_encoding{4, 4, 4}, effort)->find(1)->fixed_size == 4);
}

// ---- the attributes of one entry ---------------------------------------------------------------------

TEST_CASE("an entry's attributes go to their places") {
  struct {
    unsigned attribute;
    dwarf_value die_attributes::*place;
  } const all[] = {{attribute_name, &die_attributes::name},
                   {attribute_linkage_name, &die_attributes::linkage_name},
                   {attribute_mips_linkage_name, &die_attributes::linkage_name},
                   {attribute_low_pc, &die_attributes::low_pc},
                   {attribute_high_pc, &die_attributes::high_pc},
                   {attribute_ranges, &die_attributes::ranges},
                   {attribute_abstract_origin, &die_attributes::origin},
                   {attribute_specification, &die_attributes::origin},
                   {attribute_decl_line, &die_attributes::decl_line},
                   {attribute_call_file, &die_attributes::call_file},
                   {attribute_call_line, &die_attributes::call_line},
                   {attribute_call_column, &die_attributes::call_column},
                   {attribute_stmt_list, &die_attributes::stmt_list},
                   {attribute_comp_dir, &die_attributes::comp_dir},
                   {attribute_str_offsets_base, &die_attributes::str_offsets_base},
                   {attribute_addr_base, &die_attributes::addr_base},
                   {attribute_gnu_addr_base, &die_attributes::addr_base},
                   {attribute_rnglists_base, &die_attributes::rnglists_base},
                   {attribute_dwo_name, &die_attributes::dwo_name},
                   {attribute_gnu_dwo_name, &die_attributes::dwo_name}};
  for (const auto& one : all) {
    CAPTURE(one.attribute);
    die_attributes die;
    const dwarf_text text = {42};
    byte_reader from = text.reader();
    REQUIRE(die.read(from, {static_cast<std::uint16_t>(one.attribute), form_data1, 0}, usual));
    CHECK((die.*one.place).number == 42);
  }
}

TEST_CASE("the abstract origin goes before the specification, in whichever order") {
  for (const bool is_first : {true, false}) {
    const dwarf_text text = {1, 2};
    byte_reader from = text.reader();
    die_attributes die;
    const attribute_spec origin{attribute_abstract_origin, form_data1, 0};
    const attribute_spec specification{attribute_specification, form_data1, 0};
    die.read(from, is_first ? origin : specification, usual);
    die.read(from, is_first ? specification : origin, usual);
    CHECK(die.origin.number == (is_first ? 1 : 2));
  }
}

}  // namespace
