// tests/unit/symbol/dwarf_bytes.hpp - debug information made by hand, and what is found in it as one line of text.
#ifndef PROF_TESTS_UNIT_SYMBOL_DWARF_BYTES_HPP
#define PROF_TESTS_UNIT_SYMBOL_DWARF_BYTES_HPP

#include "prof/symbol/debug_info.hpp"

#include "prof/os/os.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <type_traits>
#include <vector>

PROF_DETAIL_BEGIN

// Bytes in the machine's order.
struct dwarf_text {
  std::string bytes;

  dwarf_text() = default;
  dwarf_text(std::initializer_list<unsigned> values) {
    for (const unsigned value : values) u8(value);
  }
  // The lowest bytes of a number.
  dwarf_text& number(std::uint64_t value, std::size_t size) {
    for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(i < 8 ? value >> (8 * i) & 0xff : 0);
    return *this;
  }
  dwarf_text& u8(std::uint64_t value) { return number(value, 1); }
  dwarf_text& u16(std::uint64_t value) { return number(value, 2); }
  dwarf_text& u32(std::uint64_t value) { return number(value, 4); }
  dwarf_text& u64(std::uint64_t value) { return number(value, 8); }
  dwarf_text& uleb(std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) u8((value & 0x7f) | 0x80);
    return u8(value);
  }
  dwarf_text& sleb(std::int64_t value) {
    for (; value < -64 || value > 63; value >>= 7) u8((static_cast<std::uint64_t>(value) & 0x7f) | 0x80);
    return u8(static_cast<std::uint64_t>(value) & 0x7f);
  }
  dwarf_text& string(const std::string& text) {
    bytes += text;
    return u8(0);
  }
  dwarf_text& add(const dwarf_text& more) {
    bytes += more.bytes;
    return *this;
  }
  dwarf_text& length(std::uint64_t size, bool is_long) {
    if (is_long) u32(0xffffffffu);
    return number(size, is_long ? 8 : 4);
  }

  std::size_t size() const { return bytes.size(); }
  text_view view() const { return {bytes.data(), bytes.size()}; }
  byte_reader reader() const { return reader_of(view()); }
};

// All sections of a file.
struct dwarf_file {
  dwarf_text info, abbrev, line, str, line_str, str_offsets, addr, ranges, rnglists;

  // Each string begins behind another one, so that 0 is never the right offset.
  dwarf_file() {
    str.string("zero");
    line_str.string("nought");
  }
  std::uint64_t add_string(const std::string& text) {
    const std::size_t at = str.size();
    str.string(text);
    return at;
  }
  std::uint64_t add_line_string(const std::string& text) {
    const std::size_t at = line_str.size();
    line_str.string(text);
    return at;
  }
  dwarf_sections sections() const {
    dwarf_sections made;
    made.info = info.view();
    made.abbrev = abbrev.view();
    made.line = line.view();
    made.str = str.view();
    made.line_str = line_str.view();
    made.str_offsets = str_offsets.view();
    made.addr = addr.view();
    made.ranges = ranges.view();
    made.rnglists = rnglists.view();
    return made;
  }
};

// An attribute's name, form and value: a number, or a text (of strings and blocks).
struct dwarf_attr {
  unsigned name;
  unsigned form;
  std::uint64_t number = 0;
  std::string text{};

  dwarf_attr(unsigned n, unsigned f) : name(n), form(f) {}
  template <class Integer, class = std::enable_if_t<std::is_integral_v<Integer>>>
  dwarf_attr(unsigned n, unsigned f, Integer value) : name(n), form(f), number(static_cast<std::uint64_t>(value)) {}
  dwarf_attr(unsigned n, unsigned f, const char* value) : name(n), form(f), text(value) {}
  dwarf_attr(unsigned n, unsigned f, const std::string& value) : name(n), form(f), text(value) {}
};

inline constexpr unsigned tag_lexical_block = 0x0b;
inline constexpr unsigned tag_namespace = 0x39;
inline constexpr unsigned tag_variable = 0x34;

// One unit with abbreviations of its own, written entry by entry.
struct dwarf_unit_text {
  dwarf_file& file;
  unsigned version;
  bool is_long = false;
  unsigned type = 1;
  unsigned address_size = 8;
  std::uint64_t begin;  // offset of its header in .debug_info
  dwarf_text body;
  dwarf_text declarations;
  std::uint64_t next_code = 1;

  dwarf_unit_text(dwarf_file& into, unsigned v, bool wide = false, unsigned t = 1, unsigned address = 8)
      : file(into), version(v), is_long(wide), type(t), address_size(address), begin(into.info.size()) {}

  std::size_t offset_size() const { return is_long ? 8 : 4; }
  std::size_t header_size() const {
    const std::size_t id = version >= 5 && (type == 4 || type == 5) ? 8 : 0;
    return (is_long ? 12 : 4) + 2 + offset_size() + 1 + (version >= 5 ? 1 : 0) + id;
  }
  // Of the next entry, from the begin of the unit.
  std::uint64_t here() const { return header_size() + body.size(); }

  void value(dwarf_text& to, const dwarf_attr& attr) {
    const dwarf_encoding encoding{static_cast<std::uint8_t>(version), static_cast<std::uint8_t>(offset_size()),
                                  static_cast<std::uint8_t>(address_size)};
    const bool is_text = !attr.text.empty();
    switch (attr.form) {
      case form_string: to.string(attr.text); return;
      case form_strp: to.number(is_text ? file.add_string(attr.text) : attr.number, offset_size()); return;
      case form_line_strp: to.number(is_text ? file.add_line_string(attr.text) : attr.number, offset_size()); return;
      case form_block1: to.u8(attr.text.size()).bytes += attr.text; return;
      case form_block2: to.u16(attr.text.size()).bytes += attr.text; return;
      case form_block4: to.u32(attr.text.size()).bytes += attr.text; return;
      case form_block:
      case form_exprloc: to.uleb(attr.text.size()).bytes += attr.text; return;
      case form_sdata: to.sleb(static_cast<std::int64_t>(attr.number)); return;
      default: break;
    }
    const std::uint32_t size = form_size(attr.form, encoding);
    if (size == variable_size) to.uleb(attr.number);
    else if (size < unknown_form) to.number(attr.number, size);
  }
  // Returns its offset from the begin of the unit.
  std::uint64_t die(unsigned tag, bool has_children, const std::vector<dwarf_attr>& attrs) {
    const std::uint64_t at = here();
    declarations.uleb(next_code).uleb(tag).u8(has_children ? 1 : 0);
    body.uleb(next_code++);
    for (const dwarf_attr& attr : attrs) {
      declarations.uleb(attr.name).uleb(attr.form);
      if (attr.form == form_implicit_const) declarations.sleb(static_cast<std::int64_t>(attr.number));
      value(body, attr);
    }
    declarations.u8(0).u8(0);
    return at;
  }
  void close() { body.u8(0); }  // the list of children ends
  void finish() {
    const std::uint64_t abbreviations = file.abbrev.size();
    file.abbrev.add(declarations).u8(0);
    finish_with(abbreviations);
  }
  // With another unit's abbreviations.
  void finish_with(std::uint64_t abbreviations) {
    dwarf_text head;
    head.u16(version);
    if (version >= 5) head.u8(type).u8(address_size);
    head.number(abbreviations, offset_size());
    if (version < 5) head.u8(address_size);
    if (version >= 5 && (type == 4 || type == 5)) head.u64(0x1122334455667788u);
    file.info.length(head.size() + body.size(), is_long).add(head).add(body);
  }

  // ---- what most tests have

  // A root of [low, high) whose line program is at `lines`.
  void root(std::uint64_t low, std::uint64_t high, std::uint64_t lines, const char* name = "unit.c") {
    const unsigned offset = version >= 4 ? form_sec_offset : form_data4;
    const unsigned size = version >= 4 ? form_udata : form_addr;
    die(tag_compile_unit, true,
        {{attribute_name, form_string, name},
         {attribute_comp_dir, form_string, "/src"},
         {attribute_stmt_list, offset, lines},
         {attribute_low_pc, form_addr, low},
         {attribute_high_pc, size, version >= 4 ? high - low : high}});
  }
  std::uint64_t function(const char* name, std::uint64_t low, std::uint64_t high, bool has_children = false) {
    return die(tag_subprogram, has_children,
               {{attribute_name, form_string, name}, {attribute_low_pc, form_addr, low}, {attribute_high_pc, form_data8, high - low}});
  }
  // Of another entry of this unit.
  void inlined(std::uint64_t origin, std::uint64_t low, std::uint64_t high, unsigned call_file, unsigned call_line,
               bool has_children = false) {
    die(tag_inlined_subroutine, has_children,
        {{attribute_abstract_origin, form_ref4, origin},
         {attribute_low_pc, form_addr, low},
         {attribute_high_pc, form_data8, high - low},
         {attribute_call_file, form_data1, call_file},
         {attribute_call_line, form_data1, call_line}});
  }
  // A function that has no code of its own.
  std::uint64_t abstract(const char* name) {
    return die(tag_subprogram, false, {{attribute_name, form_string, name}});
  }
};

// A line program, written instruction by instruction.
struct line_text {
  struct file_entry {
    std::string name;
    std::uint64_t directory;
  };
  unsigned version;
  bool is_long = false;
  unsigned least_instruction = 1;
  int line_base = -3;
  unsigned line_range = 12;
  std::vector<unsigned> operands{0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1};  // of the standard instructions
  std::vector<std::string> directories;  // DWARF 5: 0 is the unit's
  std::vector<file_entry> files;
  dwarf_text program;

  explicit line_text(unsigned v) : version(v) {}

  line_text& extended(unsigned code, const dwarf_text& body) {
    program.u8(0).uleb(body.size() + 1).u8(code).add(body);
    return *this;
  }
  line_text& at(std::uint64_t address) { return extended(2, dwarf_text().u64(address)); }
  line_text& copy() {
    program.u8(1);
    return *this;
  }
  line_text& advance(std::uint64_t by) {
    program.u8(2).uleb(by);
    return *this;
  }
  line_text& line(std::int64_t by) {
    program.u8(3).sleb(by);
    return *this;
  }
  line_text& file(std::uint64_t number) {
    program.u8(4).uleb(number);
    return *this;
  }
  line_text& column(std::uint64_t number) {
    program.u8(5).uleb(number);
    return *this;
  }
  line_text& end() { return extended(1, {}); }
  // One row for [begin, end).
  line_text& sequence(std::uint64_t begin, std::uint64_t limit, std::int64_t line_number, std::uint64_t file_number = 1) {
    return at(begin).file(file_number).line(line_number - 1).copy().advance(limit - begin).end();
  }

  dwarf_text lists() const {
    dwarf_text out;
    if (version < 5) {
      for (const std::string& directory : directories) out.string(directory);
      out.u8(0);
      for (const file_entry& one : files) out.string(one.name).uleb(one.directory).uleb(0).uleb(0);
      return out.u8(0);
    }
    out.u8(1).uleb(1).uleb(form_string).uleb(directories.size());
    for (const std::string& directory : directories) out.string(directory);
    out.u8(2).uleb(1).uleb(form_string).uleb(2).uleb(form_udata).uleb(files.size());
    for (const file_entry& one : files) out.string(one.name).uleb(one.directory);
    return out;
  }
  dwarf_text header(const dwarf_text& tables) const {
    dwarf_text out;
    out.u8(least_instruction);
    if (version >= 4) out.u8(1);
    out.u8(1).u8(static_cast<std::uint64_t>(line_base)).u8(line_range).u8(operands.size() + 1);
    for (const unsigned count : operands) out.u8(count);
    return out.add(tables);
  }
  dwarf_text bytes_with(const dwarf_text& tables) const {
    const dwarf_text head = header(tables);
    dwarf_text body;
    body.u16(version);
    if (version == 5) body.u8(8).u8(0);
    body.number(head.size(), is_long ? 8 : 4).add(head).add(program);
    return dwarf_text().length(body.size(), is_long).add(body);
  }
  dwarf_text bytes() const { return bytes_with(lists()); }
  // Returns its offset.
  std::uint64_t add_to(dwarf_file& out) const {
    const std::size_t offset = out.line.size();
    out.line.add(bytes());
    return offset;
  }
};

inline std::string to_std(text_view text) { return std::string(text.data, text.size); }

// Enough for any test but those that count it.
struct much_effort : read_effort {
  much_effort() {
    allow(~std::uint64_t{0}, [](void*) { return true; }, nullptr);
  }
};

// What is found at addresses: one line of text for each, "inner file:line < outer file:line:column"; "?" is a name or a
// file that is not known.
struct dwarf_search {
  arena memory{os_pages};
  debug_info info{memory};
  std::vector<wanted_code> wanted{};
  std::size_t asked = 0;
  std::size_t asked_limit = ~std::size_t{0};
  bool is_whole = false;

  explicit dwarf_search(std::vector<std::uint64_t> addresses) {
    std::sort(addresses.begin(), addresses.end());
    for (const std::uint64_t address : addresses) {
      wanted_code code;
      code.address = address;
      wanted.push_back(code);
    }
  }
  dwarf_search& run(const dwarf_sections& sections, const dwarf_sections* alternative = nullptr, std::uint64_t least = 0x1000,
                    bool inlines = true) {
    const auto goes_on = [](void* self) {
      auto& search = *static_cast<dwarf_search*>(self);
      return ++search.asked <= search.asked_limit;
    };
    info.open(sections, alternative, least, goes_on, this);
    is_whole = info.find(wanted.data(), wanted.size(), inlines);
    return *this;
  }

  static std::string known(text_view text) { return text.size == 0 ? "?" : to_std(text); }
  static std::string place(text_view file, std::uint32_t line, std::uint32_t column) {
    return known(file) + ":" + std::to_string(line) + (column == 0 ? "" : ":" + std::to_string(column));
  }
  std::string name_of(const code_scope& scope) const {
    if (scope.function == no_index) return "?";
    const source_function& function = info.functions().function(scope);
    const std::string line = function.start_line == 0 ? "" : "@" + std::to_string(function.start_line);
    return known(function.linkage_name.size != 0 ? function.linkage_name : function.name) + line;
  }
  std::string at(std::size_t i) const {
    const wanted_code& code = wanted[i];
    if (code.scope == no_index) return "? " + place(code.file, code.line, code.column);
    std::string out;
    std::string where = place(code.file, code.line, code.column);
    for (std::uint32_t s = code.scope; s != no_index;) {
      const code_scope& scope = info.functions().scope(s);
      out += (out.empty() ? "" : " < ") + name_of(scope) + " " + where;
      where = place(scope.call_file, scope.call_line, scope.call_column);
      s = scope.parent;
    }
    return out;
  }
};

inline std::string found_at(const dwarf_file& file, std::uint64_t address, const dwarf_file* alternative = nullptr) {
  const dwarf_sections other = alternative != nullptr ? alternative->sections() : dwarf_sections{};
  dwarf_search search({address});
  return search.run(file.sections(), alternative != nullptr ? &other : nullptr).at(0);
}

PROF_DETAIL_END

#endif  // PROF_TESTS_UNIT_SYMBOL_DWARF_BYTES_HPP
