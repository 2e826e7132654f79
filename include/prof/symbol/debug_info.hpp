// prof/symbol/debug_info.hpp - lines and inlined calls of many addresses of one file, one unit after the other.
// Floor 9 (symbol). Used by the symbolizer; knows no process, only bytes.
// Safety: ordinary context; thread-compatible. Pure, as dwarf.hpp.
// Memory: an index of units and the answers, in the arena; of what a unit is made of nothing stays.
// Source: the order of work is addr2line-rs's turned round: the addresses are known, so that neither ranges nor functions nor
//         rows need be kept. .debug_aranges is not read: compilers leave it out, and units out of it.
#ifndef PROF_SYMBOL_DEBUG_INFO_HPP
#define PROF_SYMBOL_DEBUG_INFO_HPP

#include "prof/symbol/dwarf_functions.hpp"
#include "prof/symbol/dwarf_sections.hpp"

PROF_DETAIL_BEGIN

class debug_info {
 public:
  explicit debug_info(arena& memory) noexcept
      : units_(memory), alternative_(memory), lines_(memory), walk_(memory, lines_), hits_(memory), unplaced_(memory) {}

  // Enough for any file that a compiler made, which costs a step or two for each byte, and for 10^5 addresses.
  static constexpr std::uint64_t steps_per_byte = 32;
  static constexpr std::uint64_t least_steps = std::uint64_t{1} << 24;

  // `alternative`: the sections of dwz's file, or null. `least`: the lowest address of the file's code. `goes_on` is asked
  // with `context` before each unit that is looked at and every 64 Ki steps within one.
  void open(const dwarf_sections& sections, const dwarf_sections* alternative, std::uint64_t least,
            bool (*goes_on)(void*), void* context) noexcept {
    least_ = least;
    const std::size_t bytes = sections.bytes() + (alternative != nullptr ? alternative->bytes() : 0);
    effort_.allow(bytes * steps_per_byte + least_steps, goes_on, context);
    if (alternative != nullptr) alternative_.load(*alternative, nullptr, effort_);
    units_.load(sections, alternative != nullptr ? &alternative_ : nullptr, effort_);
  }

  const read_effort& effort() const noexcept { return effort_; }
  std::size_t units() const noexcept { return units_.size(); }
  // Units of which only a skeleton is here, that a wanted address was in.
  std::size_t split_units() const noexcept { return split_units_; }
  const function_walk& functions() const noexcept { return walk_; }

  // Lines, and with `inlines` functions too, of wanted addresses, sorted. False: `goes_on` said no, or it was more work than
  // any honest file is; the rest stays as it is.
  bool find(wanted_code* wanted, std::size_t count, bool inlines) noexcept {
    sort_units(wanted, count);
    for (const std::uint32_t i : hits_) {
      if (!effort_.ask()) return false;
      answer_from(i, wanted, count, inlines);
    }
    for (const std::uint32_t i : unplaced_) {
      if (first_without_line(wanted, count) == count) break;
      if (!effort_.ask()) return false;
      answer_from(i, wanted, count, inlines);
    }
    return !effort_.is_over();
  }

 private:
  // Which units may know any of them: units overlap, so each may be in several; and those that do not say where their code is.
  void sort_units(const wanted_code* wanted, std::size_t count) noexcept {
    hits_.clear();
    unplaced_.clear();
    for (std::size_t i = 0; i < units_.size(); ++i) {
      const dwarf_unit& unit = units_[i];
      if (unit.tag == tag_partial_unit) continue;  // others import what it has
      const bool is_placed = unit.ranges.there() || unit.high.there();
      if (is_placed && holds_any(unit, wanted, count)) hits_.push(static_cast<std::uint32_t>(i));
      if (!is_placed && unit.line_program.there()) unplaced_.push(static_cast<std::uint32_t>(i));
    }
  }
  bool holds_any(const dwarf_unit& unit, const wanted_code* wanted, std::size_t count) const noexcept {
    dwarf_ranges ranges(units_, unit, unit.low, unit.high, unit.ranges, least_);
    dwarf_range range;
    while (ranges.next(range)) {
      const std::size_t i = first_wanted(wanted, count, range.begin);
      if (i < count && wanted[i].address < range.end) return true;
    }
    return false;
  }
  static std::size_t first_without_line(const wanted_code* wanted, std::size_t count) noexcept {
    std::size_t i = 0;
    while (i < count && wanted[i].line_unit != no_index) ++i;
    return i;
  }

  // An address keeps the line of the unit that has its function.
  void answer_from(std::uint32_t i, wanted_code* wanted, std::size_t count, bool inlines) noexcept {
    const dwarf_unit& unit = units_[i];
    split_units_ += unit.is_split ? 1 : 0;
    const std::size_t before = walk_.scopes();
    lines_.open(units_, unit);
    if (inlines) walk_.walk(units_, unit, wanted, count, least_);
    lines_.run(wanted, count, i, least_,
               [&](std::size_t k) { return wanted[k].scope != no_index && wanted[k].scope >= before; });
  }

  read_effort effort_;
  dwarf_units units_;
  dwarf_units alternative_;
  line_program lines_;
  function_walk walk_;
  arena_vector<std::uint32_t> hits_;
  arena_vector<std::uint32_t> unplaced_;
  std::uint64_t least_ = 0;
  std::size_t split_units_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DEBUG_INFO_HPP
