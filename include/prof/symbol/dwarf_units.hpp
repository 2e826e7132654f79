// prof/symbol/dwarf_units.hpp - the units of one file's debug information, and what their values stand for: strings,
// addresses, ranges, entries elsewhere.
// Floor 9 (symbol). Used by dwarf_lines.hpp, dwarf_functions.hpp and debug_info.hpp.
// Safety: ordinary context; thread-compatible. Pure, as dwarf.hpp.
// Memory: some 200 bytes a unit, in the arena. Strings stay in the sections.
// Source: DWARF 5 sections 7.5.1 (unit headers), 7.26 to 7.29 (strings, addresses, ranges), 3.1.3 and E.2 (partial and
//         imported units); DWARF 4 section 2.17.3 (.debug_ranges); split units and alternative files as GNU wrote them first.
#ifndef PROF_SYMBOL_DWARF_UNITS_HPP
#define PROF_SYMBOL_DWARF_UNITS_HPP

#include "prof/symbol/dwarf.hpp"

PROF_DETAIL_BEGIN

// One file's sections, whole and uncompressed; empty where there is none.
struct dwarf_sections {
  text_view info;
  text_view abbrev;
  text_view line;
  text_view str;
  text_view line_str;
  text_view str_offsets;
  text_view addr;
  text_view ranges;
  text_view rnglists;

  std::size_t bytes() const noexcept {
    return info.size + abbrev.size + line.size + str.size + line_str.size + str_offsets.size + addr.size + ranges.size +
           rnglists.size;
  }
};

struct dwarf_unit {
  dwarf_encoding encoding;
  std::uint64_t offset = 0;     // in .debug_info, of its header
  std::uint64_t first_die = 0;  // of its root
  std::uint64_t end = 0;
  std::uint64_t abbreviations = 0;  // offset in .debug_abbrev
  std::uint16_t tag = 0;            // of its root
  bool is_split = false;            // what it has lies in a .dwo file
  std::uint64_t str_offsets_base = 0;
  std::uint64_t addr_base = 0;
  std::uint64_t rnglists_base = 0;
  std::uint64_t low_pc = 0;
  dwarf_value low;
  dwarf_value high;
  dwarf_value ranges;
  dwarf_value line_program;
  dwarf_value directory;
};

inline constexpr int max_copies = 16;  // from an entry to the one it is a copy of
inline constexpr std::size_t max_text = std::size_t{64} * 1024;  // longer names are cut, as those of symbols are

// ---- reading units -----------------------------------------------------------------------------------

enum dwarf_unit_type : std::uint8_t {
  unit_of_types = 2,
  skeleton_unit = 4,
  split_unit = 5,
  split_unit_of_types = 6,
};

// Reads the header at `from`, which goes on to the next one. False where no unit begins; a unit that is of no use (types, an
// unknown version) has version 0.
inline bool read_unit_header(text_view info, byte_reader& from, dwarf_unit& unit) noexcept {
  unit = dwarf_unit{};
  unit.offset = info.size - from.left();
  std::uint64_t length = 0;
  if (!read_initial_length(from, unit.encoding.offset_size, length)) return false;
  unit.end = info.size - from.left() + length;
  byte_reader body = from.part(length);
  const std::uint16_t version = body.fixed<std::uint16_t>();
  std::uint8_t type = 1;
  if (version >= 5) {
    type = body.next_byte();
    unit.encoding.address_size = body.next_byte();
  }
  unit.abbreviations = read_unsigned(body, unit.encoding.offset_size);
  if (version < 5) unit.encoding.address_size = body.next_byte();
  if (type == skeleton_unit || type == split_unit) body.skip(8);
  unit.first_die = unit.end - body.left();
  const bool is_read = version >= 2 && version <= 5 && type != unit_of_types && type != split_unit_of_types;
  const std::uint8_t size = unit.encoding.address_size;
  if (is_read && !body.bad() && (size == 4 || size == 8)) unit.encoding.version = static_cast<std::uint8_t>(version);
  return true;
}

// The declaration of an abbreviation, found without reading the others into a table: of roots, which mostly are the first.
inline bool find_declaration(text_view abbrev, std::uint64_t offset, std::uint64_t code, byte_reader& from,
                             std::uint16_t& tag, read_effort& effort) noexcept {
  from = reader_at(abbrev, offset);
  for (std::uint64_t at = from.uleb(); at != 0 && !from.bad(); at = from.uleb()) {
    tag = static_cast<std::uint16_t>(from.uleb());
    from.next_byte();
    if (at == code) return !from.bad();
    attribute_spec passed;
    while (effort.spend(1) && read_attribute_spec(from, passed)) {}
    if (effort.is_over()) break;
  }
  return false;
}

// ---- one file's units --------------------------------------------------------------------------------

class dwarf_units {
 public:
  explicit dwarf_units(arena& memory) noexcept : units_(memory), cache_(memory) {}

  const dwarf_sections& sections() const noexcept { return sections_; }
  read_effort& effort() const noexcept { return *effort_; }
  std::size_t size() const noexcept { return units_.size(); }
  const dwarf_unit& operator[](std::size_t i) const noexcept { return units_[i]; }

  // Reads all headers and roots. `alternative`: the file that dwz moved what several files have in common to; may be null.
  // What this and all later calls cost is taken from `effort`, which must stay there.
  void load(const dwarf_sections& sections, dwarf_units* alternative, read_effort& effort) noexcept {
    sections_ = sections;
    alternative_ = alternative;
    effort_ = &effort;
    byte_reader from = reader_of(sections.info);
    dwarf_unit unit;
    while (!from.empty() && effort.spend(1) && read_unit_header(sections.info, from, unit)) {
      if (unit.encoding.version != 0 && read_root(unit)) units_.push(unit);
    }
  }

  // The unit that an offset of .debug_info lies in, or null.
  const dwarf_unit* find(std::uint64_t offset) const noexcept {
    const std::size_t behind = count_before(units_.size(), [&](std::size_t i) { return units_[i].offset <= offset; });
    return behind != 0 && offset < units_[behind - 1].end ? &units_[behind - 1] : nullptr;
  }

  text_view string_of(const dwarf_unit& unit, const dwarf_value& value) const noexcept {
    switch (value.form) {
      case form_string: return cut(value.text);
      case form_strp: return string_at(sections_.str, value.number);
      case form_line_strp: return string_at(sections_.line_str, value.number);
      case form_strp_sup:
      case form_gnu_strp_alt: return alternative_ == nullptr ? text_view() : string_at(alternative_->sections_.str, value.number);
      case form_strx:
      case form_strx1:
      case form_strx2:
      case form_strx3:
      case form_strx4:
      case form_gnu_str_index: return indexed_string(unit, value.number);
      default: return {};
    }
  }

  // False: it is no address, or in a table that is not there.
  bool address_of(const dwarf_unit& unit, const dwarf_value& value, std::uint64_t& address) const noexcept {
    switch (value.form) {
      case form_addr: address = value.number; return true;
      case form_addrx:
      case form_addrx1:
      case form_addrx2:
      case form_addrx3:
      case form_addrx4:
      case form_gnu_addr_index: return indexed_address(unit, value.number, address);
      default: return false;
    }
  }

  // Reads the entry at an offset; false when none can be read there.
  bool read_die(const dwarf_unit& unit, std::uint64_t offset, die_attributes& die) noexcept {
    if (offset < unit.first_die || offset >= unit.end) return false;
    byte_reader from = reader_of({sections_.info.data + offset, static_cast<std::size_t>(unit.end - offset)});
    const abbreviation_table* const table = cache_.find(sections_.abbrev, unit.abbreviations, unit.encoding, *effort_);
    const abbreviation* const found = table == nullptr ? nullptr : table->find(from.uleb());
    if (found == nullptr || !effort_->spend(1 + found->count)) return false;
    const std::size_t left = from.left();
    const bool is_read = die.read_all(from, *table, *found, unit.encoding);
    return effort_->spend((left - from.left()) / 64) && is_read;  // a text in it may be long
  }

  // Where a reference leads, which may be in another file; null: nowhere, or to a file that is not there.
  dwarf_units* target_of(const dwarf_unit& unit, const dwarf_value& value, std::uint64_t& offset) noexcept {
    offset = value.number;
    switch (value.form) {
      case form_ref1:
      case form_ref2:
      case form_ref4:
      case form_ref8:
      case form_ref_udata: offset += unit.offset; return offset < unit.end ? this : nullptr;
      case form_ref_addr: return this;
      case form_ref_sup4:
      case form_ref_sup8:
      case form_gnu_ref_alt: return alternative_;
      default: return nullptr;
    }
  }

 private:
  static text_view cut(text_view text) noexcept { return {text.data, text.size < max_text ? text.size : max_text}; }
  text_view string_at(text_view section, std::uint64_t offset) const noexcept {
    if (offset >= section.size || !effort_->spend(1)) return {};
    const text_view rest = cut(section.from(static_cast<std::size_t>(offset)));
    const text_view found(rest.data, rest.find('\0'));
    effort_->spend(found.size / 64);  // bytes that are looked at in one step
    return found;
  }

  // Attributes first, their meaning behind: a root may name its bases last.
  bool read_root(dwarf_unit& unit) noexcept {
    byte_reader from = reader_of({sections_.info.data + unit.first_die, static_cast<std::size_t>(unit.end - unit.first_die)});
    byte_reader specs;
    const std::uint64_t code = from.uleb();
    if (code == 0 || !find_declaration(sections_.abbrev, unit.abbreviations, code, specs, unit.tag, *effort_)) return false;
    die_attributes root;
    attribute_spec spec;
    while (read_attribute_spec(specs, spec)) {
      if (!effort_->spend(1) || !root.read(from, spec, unit.encoding)) return false;
    }
    const bool is_long = unit.encoding.offset_size == 8;
    const auto base = [&](const dwarf_value& value, std::uint64_t header) { return value.there() ? value.number : header; };
    unit.is_split = root.dwo_name.there();
    unit.str_offsets_base = base(root.str_offsets_base, unit.encoding.version < 5 ? 0 : is_long ? 16 : 8);
    unit.addr_base = base(root.addr_base, unit.encoding.version < 5 ? 0 : is_long ? 16 : 8);
    unit.rnglists_base = base(root.rnglists_base, is_long ? 20 : 12);
    unit.low = root.low_pc;
    unit.high = root.high_pc;
    unit.ranges = root.ranges;
    unit.line_program = root.stmt_list;
    unit.directory = root.comp_dir;
    if (!address_of(unit, unit.low, unit.low_pc)) unit.low_pc = 0;
    return true;
  }

  text_view indexed_string(const dwarf_unit& unit, std::uint64_t index) const noexcept {
    const std::uint64_t size = unit.encoding.offset_size;
    if (index > sections_.str_offsets.size) return {};
    byte_reader from = reader_at(sections_.str_offsets, unit.str_offsets_base + index * size);
    const std::uint64_t offset = read_unsigned(from, size);
    return from.bad() ? text_view() : string_at(sections_.str, offset);
  }
  bool indexed_address(const dwarf_unit& unit, std::uint64_t index, std::uint64_t& address) const noexcept {
    if (index > sections_.addr.size) return false;
    byte_reader from = reader_at(sections_.addr, unit.addr_base + index * unit.encoding.address_size);
    address = read_unsigned(from, unit.encoding.address_size);
    return !from.bad();
  }

  dwarf_sections sections_;
  dwarf_units* alternative_ = nullptr;
  read_effort* effort_ = nullptr;
  arena_vector<dwarf_unit> units_;
  abbreviation_cache cache_;
};

// ---- ranges ------------------------------------------------------------------------------------------

struct dwarf_range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

// Where the code of an entry is: a single range or a list, one by one. `least`: where the file's code begins. What was
// dropped at the link lies below it, at 0 or 1, or is empty, or at the very end of the address space.
class dwarf_ranges {
 public:
  dwarf_ranges(const dwarf_units& units, const dwarf_unit& unit, const dwarf_value& low, const dwarf_value& high,
               const dwarf_value& list, std::uint64_t least) noexcept
      : units_(units), unit_(unit), least_(least), base_(unit.low_pc) {
    if (list.there()) open_list(list);
    else open_single(low, high);
  }

  // The next range with anything in it; false: there is no more.
  bool next(dwarf_range& range) noexcept {
    range = single_;
    single_ = dwarf_range{};
    if (is_real(range)) return true;
    while (!list_.empty() && units_.effort().spend(1) && next_entry(range)) {
      if (is_real(range)) return true;
    }
    return false;
  }

 private:
  bool is_real(const dwarf_range& range) const noexcept { return range.begin >= least_ && range.end > range.begin; }

  // An end that is no address is a size.
  void open_single(const dwarf_value& low, const dwarf_value& high) noexcept {
    if (!high.there() || !units_.address_of(unit_, low, single_.begin)) return;
    if (!units_.address_of(unit_, high, single_.end)) single_.end = single_.begin + high.number;
  }
  void open_list(const dwarf_value& list) noexcept {
    if (unit_.encoding.version < 5) {
      list_ = reader_at(units_.sections().ranges, list.number);
      return;
    }
    std::uint64_t offset = list.number;
    if (list.form == form_rnglistx) {
      const std::uint64_t size = unit_.encoding.offset_size;
      if (offset > units_.sections().rnglists.size) return;
      byte_reader table = reader_at(units_.sections().rnglists, unit_.rnglists_base + offset * size);
      offset = unit_.rnglists_base + read_unsigned(table, size);
      if (table.bad()) return;
    }
    list_ = reader_at(units_.sections().rnglists, offset);
  }

  // False at the end of the list. Entries that only set the base give an empty range.
  bool next_entry(dwarf_range& range) noexcept {
    return unit_.encoding.version < 5 ? next_pair(range) : next_kind(range);
  }

  // DWARF 4: pairs relative to the base, which one of all ones sets.
  bool next_pair(dwarf_range& range) noexcept {
    const std::size_t size = unit_.encoding.address_size;
    const std::uint64_t all_ones = size == 4 ? 0xffffffffu : ~std::uint64_t{0};
    range.begin = read_unsigned(list_, size);
    range.end = read_unsigned(list_, size);
    if (list_.bad() || (range.begin == 0 && range.end == 0)) return false;
    if (range.begin == all_ones) {
      set_base(range.end);
      range = dwarf_range{};
      return true;
    }
    const bool is_dropped = is_dropped_ || range.begin + 1 == all_ones;  // lld's mark there, for all ones is taken
    range.begin += base_;
    range.end = is_dropped ? range.begin : range.end + base_;
    return true;
  }

  // What is relative to dropped code is dropped, too; 0 in DWARF 4 takes the base away, as clang does.
  void set_base(std::uint64_t base) noexcept {
    base_ = base;
    const bool is_mark = base >= ~std::uint64_t{1};
    is_dropped_ = is_mark || (base < least_ && (base != 0 || unit_.encoding.version == 5));
  }
  std::uint64_t indexed() noexcept {
    dwarf_value value;
    value.form = form_addrx;
    value.number = list_.uleb();
    std::uint64_t address = 0;
    return units_.address_of(unit_, value, address) ? address : 0;
  }
  std::uint64_t address() noexcept { return read_unsigned(list_, unit_.encoding.address_size); }

  // DWARF 5: entries of eight kinds.
  bool next_kind(dwarf_range& range) noexcept {
    range = dwarf_range{};
    switch (list_.next_byte()) {
      case 1: set_base(indexed()); break;
      case 2:
        range.begin = indexed();
        range.end = indexed();
        break;
      case 3:
        range.begin = indexed();
        range.end = range.begin + list_.uleb();
        break;
      case 4:
        range.begin = base_ + list_.uleb();
        range.end = base_ + list_.uleb();
        if (is_dropped_) range.end = range.begin;
        break;
      case 5: set_base(address()); break;
      case 6:
        range.begin = address();
        range.end = address();
        break;
      case 7:
        range.begin = address();
        range.end = range.begin + list_.uleb();
        break;
      default: return false;
    }
    return !list_.bad();
  }

  const dwarf_units& units_;
  const dwarf_unit& unit_;
  std::uint64_t least_;
  std::uint64_t base_;
  bool is_dropped_ = false;  // what base_ is of
  dwarf_range single_;
  byte_reader list_;
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DWARF_UNITS_HPP
