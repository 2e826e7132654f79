// prof/symbol/dwarf_lines.hpp - file and line of addresses, by running a unit's line program once.
// Floor 9 (symbol). Used by dwarf_functions.hpp (files of calls) and debug_info.hpp.
// Safety: ordinary context; thread-compatible. Pure, as dwarf.hpp.
// Memory: a unit's list of files, 40 bytes each, used again for the next unit; no rows are kept.
// Source: DWARF 5 section 6.2, DWARF 2 to 4 for their headers. What linkers leave of code they dropped: GNU ld 2.40 puts it
//         at 0, lld 14 at the end of the address space.
#ifndef PROF_SYMBOL_DWARF_LINES_HPP
#define PROF_SYMBOL_DWARF_LINES_HPP

#include "prof/profile/model.hpp"
#include "prof/symbol/dwarf_units.hpp"

PROF_DETAIL_BEGIN

// What is asked for, and what is known of it so far. Sorted by address.
struct wanted_code {
  std::uint64_t address = 0;       // as linked
  std::uint32_t scope = no_index;  // the innermost function or inlined call, see dwarf_functions.hpp
  std::uint32_t line_unit = no_index;  // whose line program knew it
  text_view file;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

// The first of sorted addresses that is not below one.
inline std::size_t first_wanted(const wanted_code* wanted, std::size_t count, std::uint64_t address) noexcept {
  return count_before(count, [&](std::size_t i) { return wanted[i].address < address; });
}

class line_program {
 public:
  static constexpr std::size_t max_path = 4096;  // what the system opens, with its NUL; longer ones are none

  explicit line_program(arena& memory) noexcept : memory_(memory), directories_(memory), files_(memory), paths_(memory) {}

  // Reads the header of a unit's program; what cannot be read has no files and no lines.
  void open(const dwarf_units& units, const dwarf_unit& unit) noexcept {
    units_ = &units;
    unit_ = &unit;
    directories_.clear();
    files_.clear();
    paths_.clear();
    program_ = byte_reader();
    if (unit.line_program.there()) read_header(reader_at(units.sections().line, unit.line_program.number));
    paths_.resize(files_.size());
  }

  // The path of a file by its number, as long as the arena lives; empty when there is none. Numbers begin with 1 before
  // DWARF 5, and 0 is no file there.
  text_view path_of(std::uint64_t number) noexcept {
    const std::uint64_t index = number - first_number();
    if (index >= paths_.size()) return {};
    text_view& path = paths_[static_cast<std::size_t>(index)];
    if (path.size == 0) path = join_path(files_[static_cast<std::size_t>(index)]);
    return path;
  }

  // Gives the wanted addresses that the program has rows for their lines; `self`: the unit's number, for line_unit.
  // Addresses whose line another unit knew keep it, unless takes_over(their index).
  template <class TakesOver>
  void run(wanted_code* wanted, std::size_t count, std::uint32_t self, std::uint64_t least, TakesOver takes_over) noexcept {
    byte_reader from = program_;
    const auto answer = [&](std::size_t i, const row& at) {
      wanted_code& code = wanted[i];
      if (!units_->effort().spend(1)) return;
      if (code.line_unit != no_index && code.line_unit != self && !takes_over(i)) return;
      code.line_unit = self;
      code.file = path_of(at.file);
      code.line = at.line;
      code.column = at.column;
    };
    while (!from.empty() && !units_->effort().is_over() && run_sequence(from, wanted, count, least, answer)) {}
  }

 private:
  struct file_entry {
    text_view name;
    std::uint64_t directory = 0;
  };
  struct row {
    std::uint64_t address = 0;
    std::uint64_t file = 1;
    std::uint32_t line = 1;
    std::uint32_t column = 0;
  };

  // ---- the header ------------------------------------------------------------------------------------

  std::uint64_t first_number() const noexcept { return version_ < 5 ? 1 : 0; }

  void read_header(byte_reader from) noexcept {
    std::uint64_t length = 0;
    encoding_ = unit_->encoding;
    if (!read_initial_length(from, encoding_.offset_size, length) || !units_->effort().spend(length)) return;
    byte_reader body = from.part(length);
    version_ = body.fixed<std::uint16_t>();
    if (version_ < 2 || version_ > 5) return;
    if (version_ == 5) {
      encoding_.address_size = body.next_byte();
      body.skip(1);  // segment selectors
    }
    std::uint64_t header_length = read_unsigned(body, encoding_.offset_size);
    byte_reader header = body.part(header_length);
    if (!read_parameters(header)) return;
    if (version_ < 5) read_old_lists(header);
    else read_lists(header);
    program_ = body;
  }

  bool read_parameters(byte_reader& header) noexcept {
    least_instruction_ = header.next_byte();
    if (version_ >= 4) header.skip(1);  // operations per instruction: 1 on our machines
    header.skip(1);                     // is_stmt
    line_base_ = static_cast<std::int8_t>(header.next_byte());
    line_range_ = header.next_byte();
    opcode_base_ = header.next_byte();
    for (unsigned i = 1; i < opcode_base_; ++i) {
      const std::uint8_t count = header.next_byte();
      if (i < sizeof operands_) operands_[i] = count;
    }
    return !header.bad() && line_range_ != 0 && opcode_base_ != 0;
  }

  void read_old_lists(byte_reader& header) noexcept {
    directories_.push(units_->string_of(*unit_, unit_->directory));
    for (text_view name = read_string(header); name.size != 0; name = read_string(header)) directories_.push(name);
    file_entry file;
    while (read_old_file(header, file)) files_.push(file);
  }
  static bool read_old_file(byte_reader& from, file_entry& file) noexcept {
    file.name = read_string(from);
    if (file.name.size == 0) return false;
    file.directory = from.uleb();
    from.uleb();  // when it was changed
    from.uleb();  // how long it is
    return !from.bad();
  }

  // DWARF 5: each list says first what its entries are made of.
  void read_lists(byte_reader& header) noexcept {
    read_list(header, [this](const file_entry& entry) { return directories_.push(entry.name); });
    read_list(header, [this](const file_entry& entry) { return files_.push(entry); });
  }
  template <class Add>
  void read_list(byte_reader& header, Add add) noexcept {
    constexpr std::size_t max_contents = 8;  // five are defined
    struct {
      std::uint64_t content;
      std::uint64_t form;
    } format[max_contents];
    const std::size_t contents = header.next_byte();
    for (std::size_t i = 0; i < contents; ++i) {
      const std::uint64_t content = header.uleb();
      const std::uint64_t form = header.uleb();
      if (i < max_contents) format[i] = {content, form};
    }
    const std::uint64_t count = contents <= max_contents ? header.uleb() : 0;
    if (contents == 0 || count > header.left()) return;  // an entry takes a byte at least
    for (std::uint64_t k = 0; k < count && !header.bad(); ++k) {
      file_entry entry;
      for (std::size_t i = 0; i < contents; ++i) {
        dwarf_value value;
        if (!read_form(header, format[i].form, 0, encoding_, value)) return;
        if (format[i].content == 1) entry.name = units_->string_of(*unit_, value);
        if (format[i].content == 2) entry.directory = value.number;
      }
      if (!add(entry)) return;
    }
  }

  // ---- paths -----------------------------------------------------------------------------------------

  static bool is_absolute(text_view path) noexcept { return path.starts_with({"/", 1}); }

  // The unit's directory, the file's and its name, as far as each is needed.
  text_view join_path(const file_entry& file) noexcept {
    text_view parts[3];
    parts[2] = file.name;
    if (file.directory < directories_.size()) parts[1] = directories_[static_cast<std::size_t>(file.directory)];
    if (!directories_.empty()) parts[0] = directories_[0];
    if (file.directory == 0 || is_absolute(parts[1])) parts[0] = text_view();
    if (file.directory == 0 && version_ == 5 && !is_absolute(parts[1])) parts[0] = units_->string_of(*unit_, unit_->directory);
    std::size_t first = 0;
    if (is_absolute(file.name)) first = 2;
    std::size_t size = 0;
    for (std::size_t i = first; i < 3; ++i) size += parts[i].size + 1;
    if (size > max_path || size == 3 - first) return {};
    char* const place = static_cast<char*>(memory_.allocate(size));
    if (place == nullptr) return {};
    std::size_t used = 0;
    for (std::size_t i = first; i < 3; ++i) {
      if (parts[i].size == 0) continue;
      if (used != 0 && place[used - 1] != '/') place[used++] = '/';
      std::memcpy(place + used, parts[i].data, parts[i].size);
      used += parts[i].size;
    }
    return {place, used};
  }

  // ---- the program -----------------------------------------------------------------------------------

  struct machine {
    row at;
    bool is_over = false;   // the sequence has ended
    bool is_wrong = false;  // it is of code that was dropped, or makes no sense
    bool has_row = false;   // this instruction made one
  };

  // From one sequence to the next; false at the end of the program. Each row holds up to the next one, and of several at
  // one address the last is right.
  template <class Answer>
  bool run_sequence(byte_reader& from, wanted_code* wanted, std::size_t count, std::uint64_t least,
                    Answer answer) noexcept {
    machine state;
    row before;
    bool has_before = false;
    std::size_t next = count;
    while (!from.empty() && !state.is_over) {
      step(from, state);
      if (from.bad()) return false;
      if (!state.has_row) continue;
      if (!has_before) next = first_wanted(wanted, count, state.at.address);
      state.is_wrong = state.is_wrong || state.at.address < least || (has_before && state.at.address < before.address);
      for (; has_before && !state.is_wrong && next < count && wanted[next].address < state.at.address; ++next) {
        answer(next, before);
      }
      before = state.at;
      has_before = true;
    }
    return true;
  }

  void step(byte_reader& from, machine& state) noexcept {
    const std::uint8_t opcode = from.next_byte();
    state.has_row = false;
    if (opcode >= opcode_base_) return step_special(opcode, state);
    switch (opcode) {
      case 0: return step_extended(from, state);
      case 1: state.has_row = true; break;
      case 2: state.at.address += from.uleb() * least_instruction_; break;
      case 3: state.at.line += static_cast<std::uint32_t>(from.sleb()); break;
      case 4: state.at.file = from.uleb(); break;
      case 5: state.at.column = static_cast<std::uint32_t>(from.uleb()); break;
      case 8: state.at.address += std::uint64_t{(255u - opcode_base_) / line_range_} * least_instruction_; break;
      case 9: state.at.address += from.fixed<std::uint16_t>(); break;
      default:
        for (unsigned i = operands_[opcode < sizeof operands_ ? opcode : 0]; i != 0; --i) from.uleb();
    }
  }
  void step_special(std::uint8_t opcode, machine& state) noexcept {
    const unsigned adjusted = static_cast<unsigned>(opcode - opcode_base_);
    state.at.address += std::uint64_t{adjusted / line_range_} * least_instruction_;
    state.at.line += static_cast<std::uint32_t>(line_base_ + static_cast<int>(adjusted % line_range_));
    state.has_row = true;
  }
  void step_extended(byte_reader& from, machine& state) noexcept {
    byte_reader body = from.part(from.uleb());
    switch (body.next_byte()) {
      case 1: state.has_row = state.is_over = true; break;
      case 2: {
        const std::size_t size = body.left() == 4 ? 4 : 8;
        const std::uint64_t address = read_unsigned(body, size);
        const std::uint64_t last = size == 4 ? 0xffffffffu : ~std::uint64_t{0};
        state.is_wrong = state.is_wrong || body.bad() || address < state.at.address || address >= last - 1;
        state.at.address = address;
        break;
      }
      case 3: {
        file_entry file;
        if (read_old_file(body, file) && files_.push(file)) paths_.resize(files_.size());
        break;
      }
      default: break;  // discriminators, and what others may add
    }
  }

  arena& memory_;
  const dwarf_units* units_ = nullptr;
  const dwarf_unit* unit_ = nullptr;
  dwarf_encoding encoding_;
  arena_vector<text_view> directories_;
  arena_vector<file_entry> files_;
  arena_vector<text_view> paths_;
  byte_reader program_;
  std::uint16_t version_ = 0;
  std::uint8_t least_instruction_ = 1;
  std::uint8_t line_range_ = 1;
  std::uint8_t opcode_base_ = 1;
  std::uint8_t operands_[32] = {};
  std::int8_t line_base_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DWARF_LINES_HPP
