// prof/symbol/dwarf.hpp - the alphabet of debug information: forms, attributes, abbreviations.
// Floor 9 (symbol). Used by dwarf_units.hpp, dwarf_lines.hpp and dwarf_functions.hpp.
// Safety: ordinary context; thread-compatible. Pure: every length and code comes from a file that nobody vouches for
//         and is checked against its section.
// Memory: abbreviation tables, in the arena: 24 bytes an abbreviation, 16 an attribute.
// Source: DWARF 5 sections 7.5 and 7.26, DWARF 2 to 4 for what they had; GNU extensions (dwz's alternative file, the first
//         split DWARF) from binutils 2.40 include/dwarf2.def.
#ifndef PROF_SYMBOL_DWARF_HPP
#define PROF_SYMBOL_DWARF_HPP

#include "prof/base/byte_reader.hpp"
#include "prof/base/memory.hpp"
#include "prof/base/text.hpp"

PROF_DETAIL_BEGIN

inline byte_reader reader_of(text_view bytes) noexcept {
  const auto* const begin = reinterpret_cast<const unsigned char*>(bytes.data);
  return {begin, begin + bytes.size};
}
inline byte_reader reader_at(text_view section, std::uint64_t offset) noexcept {
  return offset < section.size ? reader_of(section.from(static_cast<std::size_t>(offset))) : byte_reader();
}
// Up to a terminator, which is skipped; without one bad() is set.
inline text_view read_string(byte_reader& from) noexcept {
  const char* const text = reinterpret_cast<const char*>(from.at());
  const std::size_t length = text_view(text, from.left()).find('\0');
  from.skip(std::uint64_t{length} + 1);
  return from.bad() ? text_view() : text_view(text, length);
}

// How much work the debug information of one file may be: bytes can be arranged so that n of them cost n * n. Work is
// counted in steps: a unit, an entry, an attribute, a range, an address that one is compared with, a byte of a line program.
class read_effort {
 public:
  static constexpr std::uint64_t steps_between = 65536;  // from one time that `goes_on` is asked to the next

  // Before this nothing may be read.
  void allow(std::uint64_t steps, bool (*goes_on)(void*), void* context) noexcept {
    left_ = steps;
    until_asked_ = 0;
    goes_on_ = goes_on;
    context_ = context;
  }
  // False once all steps are used up, or `goes_on` said no: from then on always.
  bool spend(std::uint64_t steps) noexcept {
    if (PROF_DETAIL_UNLIKELY(steps >= until_asked_)) return ask(steps);
    until_asked_ -= steps;
    return true;
  }
  PROF_DETAIL_NOINLINE bool ask(std::uint64_t steps = 0) noexcept {
    left_ += until_asked_;
    until_asked_ = 0;
    if (left_ <= steps || !goes_on_(context_)) {
      left_ = 0;
      return false;
    }
    left_ -= steps;
    until_asked_ = left_ < steps_between ? left_ : steps_between;
    left_ -= until_asked_;
    return true;
  }
  bool is_over() const noexcept { return left_ == 0 && until_asked_ == 0; }
  std::uint64_t left() const noexcept { return left_ + until_asked_; }

 private:
  std::uint64_t left_ = 0;         // without until_asked_
  std::uint64_t until_asked_ = 0;
  bool (*goes_on_)(void*) = nullptr;
  void* context_ = nullptr;
};

// How numbers are stored in a unit.
struct dwarf_encoding {
  std::uint8_t version = 0;
  std::uint8_t offset_size = 4;  // 8 in 64-bit DWARF
  std::uint8_t address_size = 8;

  bool operator==(const dwarf_encoding& other) const noexcept {
    return version == other.version && offset_size == other.offset_size && address_size == other.address_size;
  }
};

// The length that units and tables begin with, and by it the size of offsets; false at nonsense.
inline bool read_initial_length(byte_reader& from, std::uint8_t& offset_size, std::uint64_t& length) noexcept {
  length = from.fixed<std::uint32_t>();
  offset_size = length == 0xffffffffu ? 8 : 4;
  if (offset_size == 8) length = from.fixed<std::uint64_t>();
  return !from.bad() && (offset_size == 8 || length < 0xfffffff0u) && length <= from.left();
}
// A number of 1, 2, 3, 4 or 8 bytes.
inline std::uint64_t read_unsigned(byte_reader& from, std::size_t size) noexcept {
  switch (size) {
    case 1: return from.next_byte();
    case 2: return from.fixed<std::uint16_t>();
    case 3: {
      const std::uint64_t low = from.fixed<std::uint16_t>();
      return low | std::uint64_t{from.next_byte()} << 16;
    }
    case 4: return from.fixed<std::uint32_t>();
    default: return from.fixed<std::uint64_t>();
  }
}

// ---- forms -------------------------------------------------------------------------------------------

enum dwarf_form : std::uint16_t {
  form_addr = 0x01,
  form_block2 = 0x03,
  form_block4 = 0x04,
  form_data2 = 0x05,
  form_data4 = 0x06,
  form_data8 = 0x07,
  form_string = 0x08,
  form_block = 0x09,
  form_block1 = 0x0a,
  form_data1 = 0x0b,
  form_flag = 0x0c,
  form_sdata = 0x0d,
  form_strp = 0x0e,
  form_udata = 0x0f,
  form_ref_addr = 0x10,
  form_ref1 = 0x11,
  form_ref2 = 0x12,
  form_ref4 = 0x13,
  form_ref8 = 0x14,
  form_ref_udata = 0x15,
  form_indirect = 0x16,
  form_sec_offset = 0x17,
  form_exprloc = 0x18,
  form_flag_present = 0x19,
  form_strx = 0x1a,
  form_addrx = 0x1b,
  form_ref_sup4 = 0x1c,
  form_strp_sup = 0x1d,
  form_data16 = 0x1e,
  form_line_strp = 0x1f,
  form_ref_sig8 = 0x20,
  form_implicit_const = 0x21,
  form_loclistx = 0x22,
  form_rnglistx = 0x23,
  form_ref_sup8 = 0x24,
  form_strx1 = 0x25,
  form_strx2 = 0x26,
  form_strx3 = 0x27,
  form_strx4 = 0x28,
  form_addrx1 = 0x29,
  form_addrx2 = 0x2a,
  form_addrx3 = 0x2b,
  form_addrx4 = 0x2c,
  form_gnu_addr_index = 0x1f01,
  form_gnu_str_index = 0x1f02,
  form_gnu_ref_alt = 0x1f20,
  form_gnu_strp_alt = 0x1f21,
};

inline constexpr std::uint32_t variable_size = ~std::uint32_t{0};
inline constexpr std::uint32_t unknown_form = variable_size - 1;  // what follows it cannot be read

// Bytes that a value of a form takes.
inline std::uint32_t form_size(std::uint64_t form, const dwarf_encoding& encoding) noexcept {
  switch (form) {
    case form_flag_present:
    case form_implicit_const: return 0;
    case form_data1:
    case form_flag:
    case form_ref1:
    case form_strx1:
    case form_addrx1: return 1;
    case form_data2:
    case form_ref2:
    case form_strx2:
    case form_addrx2: return 2;
    case form_strx3:
    case form_addrx3: return 3;
    case form_data4:
    case form_ref4:
    case form_ref_sup4:
    case form_strx4:
    case form_addrx4: return 4;
    case form_data8:
    case form_ref8:
    case form_ref_sup8:
    case form_ref_sig8: return 8;
    case form_data16: return 16;
    case form_addr: return encoding.address_size;
    case form_ref_addr: return encoding.version < 3 ? encoding.address_size : encoding.offset_size;
    case form_strp:
    case form_sec_offset:
    case form_strp_sup:
    case form_line_strp:
    case form_gnu_ref_alt:
    case form_gnu_strp_alt: return encoding.offset_size;
    case form_block:
    case form_block1:
    case form_block2:
    case form_block4:
    case form_exprloc:
    case form_string:
    case form_sdata:
    case form_udata:
    case form_ref_udata:
    case form_strx:
    case form_addrx:
    case form_loclistx:
    case form_rnglistx:
    case form_indirect:
    case form_gnu_addr_index:
    case form_gnu_str_index: return variable_size;
    default: return unknown_form;
  }
}

// One attribute's value as it stands in the file. form 0: there is none.
struct dwarf_value {
  std::uint16_t form = 0;
  std::uint64_t number = 0;  // constant, offset, index or address, as the form says; of blocks their size
  text_view text;            // of form_string

  bool there() const noexcept { return form != 0; }
};

// What is not of fixed size. Blocks are skipped.
inline void read_variable_form(byte_reader& from, std::uint64_t form, dwarf_value& value) noexcept {
  switch (form) {
    case form_string: value.text = read_string(from); return;
    case form_sdata: value.number = static_cast<std::uint64_t>(from.sleb()); return;
    case form_block1: value.number = from.next_byte(); break;
    case form_block2: value.number = from.fixed<std::uint16_t>(); break;
    case form_block4: value.number = from.fixed<std::uint32_t>(); break;
    case form_block:
    case form_exprloc: value.number = from.uleb(); break;
    default: value.number = from.uleb(); return;
  }
  from.skip(value.number);
}

// False when the form is unknown: nothing behind it can be read.
inline bool read_form(byte_reader& from, std::uint64_t form, std::int64_t implicit, const dwarf_encoding& encoding,
                      dwarf_value& value) noexcept {
  for (int hops = 0; form == form_indirect && hops < 4; ++hops) form = from.uleb();
  const std::uint32_t size = form_size(form, encoding);
  if (size == unknown_form || form == form_indirect) return false;
  value = dwarf_value{};
  value.form = static_cast<std::uint16_t>(form);
  if (size == variable_size) read_variable_form(from, form, value);
  else if (size == 0) value.number = form == form_implicit_const ? static_cast<std::uint64_t>(implicit) : 1;
  else if (size == 16) from.skip(16);
  else value.number = read_unsigned(from, size);
  return !from.bad();
}

// ---- abbreviations -----------------------------------------------------------------------------------

enum dwarf_tag : std::uint16_t {
  tag_compile_unit = 0x11,
  tag_inlined_subroutine = 0x1d,
  tag_subprogram = 0x2e,
  tag_partial_unit = 0x3c,
  tag_skeleton_unit = 0x4a,
};

enum dwarf_attribute : std::uint16_t {
  attribute_name = 0x03,
  attribute_stmt_list = 0x10,
  attribute_low_pc = 0x11,
  attribute_high_pc = 0x12,
  attribute_comp_dir = 0x1b,
  attribute_abstract_origin = 0x31,
  attribute_decl_file = 0x3a,
  attribute_decl_line = 0x3b,
  attribute_specification = 0x47,
  attribute_ranges = 0x55,
  attribute_call_column = 0x57,
  attribute_call_file = 0x58,
  attribute_call_line = 0x59,
  attribute_linkage_name = 0x6e,
  attribute_str_offsets_base = 0x72,
  attribute_addr_base = 0x73,
  attribute_rnglists_base = 0x74,
  attribute_dwo_name = 0x76,
  attribute_mips_linkage_name = 0x2007,  // before DWARF 4
  attribute_gnu_dwo_name = 0x2130,
  attribute_gnu_addr_base = 0x2133,
};

struct attribute_spec {
  std::uint16_t name;
  std::uint16_t form;
  std::int64_t implicit;
};

struct abbreviation {
  std::uint64_t code;
  std::uint32_t first;       // of its attributes
  std::uint32_t count;
  std::uint32_t fixed_size;  // of all values; or variable_size
  std::uint16_t tag;
  bool has_children;
  bool has_code;             // a function or an inlined call that says where its code is
};

// Reads one name and form; false at the end of the list, and of the section.
inline bool read_attribute_spec(byte_reader& from, attribute_spec& spec) noexcept {
  const std::uint64_t name = from.uleb();
  const std::uint64_t form = from.uleb();
  spec.implicit = form == form_implicit_const ? from.sleb() : 0;
  spec.name = name <= 0xffff ? static_cast<std::uint16_t>(name) : 0xffff;
  spec.form = form <= 0xffff ? static_cast<std::uint16_t>(form) : 0xffff;
  return !from.bad() && (name != 0 || form != 0);
}

// All abbreviations of a unit.
class abbreviation_table {
 public:
  explicit abbreviation_table(arena& memory) noexcept : entries_(memory), specs_(memory) {}

  bool is(std::uint64_t offset, const dwarf_encoding& encoding) const noexcept {
    return is_loaded_ && offset == offset_ && encoding == encoding_;
  }

  void load(text_view section, std::uint64_t offset, const dwarf_encoding& encoding, read_effort& effort) noexcept {
    entries_.clear();
    specs_.clear();
    is_loaded_ = true;
    offset_ = offset;
    encoding_ = encoding;
    bool is_sorted = true;
    byte_reader from = reader_at(section, offset);
    for (std::uint64_t code = from.uleb(); code != 0 && !from.bad(); code = from.uleb()) {
      is_sorted = is_sorted && (entries_.empty() || entries_[entries_.size() - 1].code < code);
      if (!load_one(from, code) || !effort.spend(1 + entries_[entries_.size() - 1].count)) break;
    }
    if (is_sorted) return;
    heap_sort(entries_.data(), entries_.size(), [](const abbreviation& a, const abbreviation& b) {
      return a.code != b.code ? a.code < b.code : a.first < b.first;
    });
  }

  // Null for a code that the table does not have.
  const abbreviation* find(std::uint64_t code) const noexcept {
    if (code - 1 < entries_.size() && entries_[static_cast<std::size_t>(code - 1)].code == code) {
      return &entries_[static_cast<std::size_t>(code - 1)];
    }
    const std::size_t i = count_before(entries_.size(), [&](std::size_t k) { return entries_[k].code < code; });
    return i < entries_.size() && entries_[i].code == code ? &entries_[i] : nullptr;
  }
  const attribute_spec* specs(const abbreviation& of) const noexcept { return specs_.data() + of.first; }

  // To the next entry, over all values of this one; false when it cannot be told where that is.
  bool skip(byte_reader& from, const abbreviation& of) const noexcept {
    if (of.fixed_size != variable_size) {
      from.skip(of.fixed_size);
      return !from.bad();
    }
    const attribute_spec* const specs = specs_.data() + of.first;
    dwarf_value ignored;
    for (std::uint32_t i = 0; i < of.count; ++i) {
      const std::uint32_t size = form_size(specs[i].form, encoding_);
      if (size < unknown_form) from.skip(size);
      else if (!read_form(from, specs[i].form, 0, encoding_, ignored)) return false;
    }
    return !from.bad();
  }

 private:
  bool load_one(byte_reader& from, std::uint64_t code) noexcept {
    abbreviation made{};
    made.code = code;
    const std::uint64_t tag = from.uleb();
    made.tag = tag <= 0xffff ? static_cast<std::uint16_t>(tag) : 0;
    made.has_children = from.next_byte() != 0;
    made.first = static_cast<std::uint32_t>(specs_.size());
    bool is_placed = false;
    attribute_spec spec;
    while (read_attribute_spec(from, spec)) {
      if (!specs_.push(spec)) return false;
      made.count++;
      const std::uint32_t size = form_size(spec.form, encoding_);
      made.fixed_size = size >= unknown_form || made.fixed_size >= unknown_form ? variable_size : made.fixed_size + size;
      is_placed = is_placed || spec.name == attribute_low_pc || spec.name == attribute_ranges;
    }
    made.has_code = is_placed && (made.tag == tag_subprogram || made.tag == tag_inlined_subroutine);
    return !from.bad() && entries_.push(made);
  }

  arena_vector<abbreviation> entries_;
  arena_vector<attribute_spec> specs_;
  std::uint64_t offset_ = 0;
  dwarf_encoding encoding_;
  bool is_loaded_ = false;
};

// The tables of the units that were met last: most share one with many, and names lead from unit to unit.
class abbreviation_cache {
 public:
  static constexpr std::size_t capacity = 16;

  explicit abbreviation_cache(arena& memory) noexcept : memory_(memory) {}

  // Valid until `capacity` others have been asked for; null when out of memory.
  const abbreviation_table* find(text_view section, std::uint64_t offset, const dwarf_encoding& encoding,
                                 read_effort& effort) noexcept {
    for (std::size_t i = 0; i < capacity; ++i) {
      if (tables_[i] == nullptr || sections_[i] != section.data || !tables_[i]->is(offset, encoding)) continue;
      used_[i] = ++clock_;
      return tables_[i];
    }
    std::size_t oldest = 0;
    for (std::size_t i = 1; i < capacity; ++i) {
      if (used_[i] < used_[oldest]) oldest = i;
    }
    if (tables_[oldest] == nullptr) {
      void* const room = memory_.allocate(sizeof(abbreviation_table));
      if (room == nullptr) return nullptr;
      tables_[oldest] = new (room) abbreviation_table(memory_);
    }
    used_[oldest] = ++clock_;
    sections_[oldest] = section.data;
    tables_[oldest]->load(section, offset, encoding, effort);
    return tables_[oldest];
  }

 private:
  arena& memory_;
  abbreviation_table* tables_[capacity] = {};
  const char* sections_[capacity] = {};
  std::uint64_t used_[capacity] = {};
  std::uint64_t clock_ = 0;
};

// ---- the attributes of one entry ---------------------------------------------------------------------

// Those that names, places and lines are made of; attributes of others are passed over.
struct die_attributes {
  dwarf_value name;
  dwarf_value linkage_name;
  dwarf_value low_pc;
  dwarf_value high_pc;
  dwarf_value ranges;
  dwarf_value origin;  // the abstract origin, else the specification
  dwarf_value decl_line;
  dwarf_value call_file;
  dwarf_value call_line;
  dwarf_value call_column;
  dwarf_value stmt_list;
  dwarf_value comp_dir;
  dwarf_value str_offsets_base;
  dwarf_value addr_base;
  dwarf_value rnglists_base;
  dwarf_value dwo_name;

  dwarf_value* place_of(std::uint16_t attribute) noexcept {
    switch (attribute) {
      case attribute_name: return &name;
      case attribute_linkage_name:
      case attribute_mips_linkage_name: return &linkage_name;
      case attribute_low_pc: return &low_pc;
      case attribute_high_pc: return &high_pc;
      case attribute_ranges: return &ranges;
      case attribute_abstract_origin: return &origin;
      case attribute_specification: return origin.there() ? nullptr : &origin;
      case attribute_decl_line: return &decl_line;
      case attribute_call_file: return &call_file;
      case attribute_call_line: return &call_line;
      case attribute_call_column: return &call_column;
      case attribute_stmt_list: return &stmt_list;
      case attribute_comp_dir: return &comp_dir;
      case attribute_str_offsets_base: return &str_offsets_base;
      case attribute_addr_base:
      case attribute_gnu_addr_base: return &addr_base;
      case attribute_rnglists_base: return &rnglists_base;
      case attribute_dwo_name:
      case attribute_gnu_dwo_name: return &dwo_name;
      default: return nullptr;
    }
  }

  // Reads one attribute's value; false when nothing behind it can be read.
  bool read(byte_reader& from, const attribute_spec& spec, const dwarf_encoding& encoding) noexcept {
    dwarf_value value;
    if (!read_form(from, spec.form, spec.implicit, encoding, value)) return false;
    dwarf_value* const place = place_of(spec.name);
    if (place != nullptr) *place = value;
    return true;
  }
  bool read_all(byte_reader& from, const abbreviation_table& table, const abbreviation& of,
                const dwarf_encoding& encoding) noexcept {
    const attribute_spec* const specs = table.specs(of);
    for (std::uint32_t i = 0; i < of.count; ++i) {
      if (!read(from, specs[i], encoding)) return false;
    }
    return true;
  }
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DWARF_HPP
