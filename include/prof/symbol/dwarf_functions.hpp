// prof/symbol/dwarf_functions.hpp - the function that an address is in, and the calls in it that were inlined there.
// Floor 9 (symbol). Used by debug_info.hpp.
// Safety: ordinary context; thread-compatible. Pure, as dwarf.hpp: no recursion, see max_open.
// Memory: 64 bytes a function or inlined call that a wanted address is in, and 64 a function that one was inlined of.
// Source: DWARF 5 sections 3.3.8 (inlined subroutines) and 2.13 (specifications). Walking every entry of a unit once and
//         reading only those with code, as addr2line-rs does in two passes; here both at once, because what is wanted is known.
#ifndef PROF_SYMBOL_DWARF_FUNCTIONS_HPP
#define PROF_SYMBOL_DWARF_FUNCTIONS_HPP

#include "prof/profile/model.hpp"
#include "prof/symbol/dwarf_lines.hpp"

PROF_DETAIL_BEGIN

// What is told of a function wherever it was inlined.
struct source_function {
  text_view linkage_name;
  text_view name;
  std::uint32_t start_line = 0;
};

// A function, or a call inlined into the scope `parent`.
struct code_scope {
  std::uint32_t parent = no_index;
  std::uint32_t function = no_index;  // of source_function
  text_view call_file;                // where it was inlined
  std::uint32_t call_line = 0;
  std::uint32_t call_column = 0;
  bool may_lack_calls = false;  // it is too deep for those in it to be kept
};

class function_walk {
 public:
  static constexpr std::size_t max_open = 256;  // scopes within each other that are kept, and a leaf in them

  function_walk(arena& memory, line_program& lines) noexcept
      : lines_(lines), table_(memory), scopes_(memory), functions_(memory), origins_(memory), known_(memory) {}

  const code_scope& scope(std::uint32_t i) const noexcept { return scopes_[i]; }
  const source_function& function(const code_scope& of) const noexcept { return functions_[of.function]; }
  std::size_t scopes() const noexcept { return scopes_.size(); }

  // Gives the wanted addresses that have no scope yet the innermost one that this unit has for them. `lines` is open for the
  // unit. Of two functions at one place the first of the file is taken.
  void walk(dwarf_units& units, const dwarf_unit& unit, wanted_code* wanted, std::size_t count,
            std::uint64_t least) noexcept {
    units_ = &units;
    unit_ = &unit;
    wanted_ = wanted;
    count_ = count;
    least_ = least;
    open_count_ = 0;
    if (!table_.is(unit.abbreviations, unit.encoding)) {
      table_.load(units.sections().abbrev, unit.abbreviations, unit.encoding, units.effort());
    }
    const char* const begin = units.sections().info.data + unit.first_die;
    byte_reader from = reader_of({begin, static_cast<std::size_t>(unit.end - unit.first_die)});
    std::uint32_t depth = 0;
    while (!from.empty() && take_entry(from, depth)) {}
  }

 private:
  struct open_scope {
    std::uint32_t depth;  // of its entry
    std::uint32_t scope;  // no_index: no wanted address is in it, nor in what it holds
  };

  // False at the end of the unit, and where it cannot be read any further.
  bool take_entry(byte_reader& from, std::uint32_t& depth) noexcept {
    const std::uint64_t code = from.uleb();
    if (code == 0) return close(depth);
    const abbreviation* const found = table_.find(code);
    if (found == nullptr || !units_->effort().spend(1 + found->count)) return false;
    if (found->has_code ? !take_code(from, *found, depth) : !table_.skip(from, *found)) return false;
    if (found->has_children) ++depth;
    return depth != 0;  // a root without children
  }

  // The list of an entry's children ends; false when the root's does.
  bool close(std::uint32_t& depth) noexcept {
    if (depth <= 1) return false;
    --depth;
    while (open_count_ != 0 && open_[open_count_ - 1].depth >= depth) --open_count_;
    return true;
  }

  bool take_code(byte_reader& from, const abbreviation& entry, std::uint32_t depth) noexcept {
    const std::uint32_t outer = open_count_ != 0 ? open_[open_count_ - 1].scope : no_index;
    const bool is_call = entry.tag == tag_inlined_subroutine;
    if (is_call && outer == no_index) return table_.skip(from, entry);
    const std::uint64_t offset = static_cast<std::uint64_t>(reinterpret_cast<const char*>(from.at()) - units_->sections().info.data);
    die_attributes die;
    if (!die.read_all(from, table_, entry, unit_->encoding)) return false;
    const std::uint32_t scope = claim(die, is_call ? outer : no_index);
    if (scope != no_index) describe(scope, die, is_call, offset);
    if (entry.has_children) open(depth, scope);
    return true;
  }
  // What lies deeper than there is room for belongs to nothing.
  void open(std::uint32_t depth, std::uint32_t scope) noexcept {
    if (open_count_ > max_open) return;
    if (open_count_ == max_open && scope != no_index) scopes_[scope].may_lack_calls = true;
    open_[open_count_] = {depth, open_count_ < max_open ? scope : no_index};
    ++open_count_;
  }

  // A new scope for the wanted addresses in an entry's ranges that are in `outer` so far; no_index: there are none. An inlined
  // call that claims code outside of its function, which compilers did, gets none of it.
  std::uint32_t claim(const die_attributes& die, std::uint32_t outer) noexcept {
    const auto fresh = static_cast<std::uint32_t>(scopes_.size());
    bool is_met = false;
    dwarf_ranges ranges(*units_, *unit_, die.low_pc, die.high_pc, die.ranges, least_);
    dwarf_range range;
    while (ranges.next(range)) {
      for (std::size_t i = first_wanted(wanted_, count_, range.begin); i < count_ && wanted_[i].address < range.end; ++i) {
        if (!units_->effort().spend(1)) break;
        if (wanted_[i].scope != outer) continue;
        if (!is_met && !scopes_.push(code_scope{})) return no_index;
        is_met = true;
        wanted_[i].scope = fresh;
      }
    }
    if (!is_met) return no_index;
    scopes_[fresh].parent = outer;
    return fresh;
  }

  void describe(std::uint32_t scope, const die_attributes& die, bool is_call, std::uint64_t self) noexcept {
    code_scope& made = scopes_[scope];
    if (is_call) {
      // The table of the unit that holds the call.
      if (die.call_file.there()) made.call_file = lines_.path_of(die.call_file.number);
      made.call_line = static_cast<std::uint32_t>(die.call_line.number);
      made.call_column = static_cast<std::uint32_t>(die.call_column.number);
    }
    made.function = function_of(die, self);
  }

  // ---- names -----------------------------------------------------------------------------------------

  struct place {
    const dwarf_units* units;
    std::uint64_t offset;
  };

  // The function of an entry, which mostly says of which other entry it is a copy: known once for all of its copies.
  std::uint32_t function_of(const die_attributes& die, std::uint64_t self) noexcept {
    std::uint64_t offset = self;
    dwarf_units* const target = die.origin.there() ? units_->target_of(*unit_, die.origin, offset) : nullptr;
    const place origin{target != nullptr ? target : units_, target != nullptr ? offset : self};
    const bool is_own = die.name.there() || die.linkage_name.there() || target == nullptr;
    const auto fresh = static_cast<std::uint32_t>(functions_.size());
    const std::uint32_t found =
        is_own ? fresh : known_.find_or_add(reinterpret_cast<std::uintptr_t>(origin.units) ^ mix_bits(origin.offset), fresh,
                                            [&](std::uint32_t i) { return is_of(i, origin); });
    if (found != fresh) return found;
    if (!origins_.push(is_own ? place{} : origin)) return no_index;
    if (!functions_.push(source_function{})) {
      origins_.resize(fresh);  // they go one by one
      return no_index;
    }
    collect_names(die, functions_[fresh]);
    return fresh;
  }
  bool is_of(std::uint32_t i, const place& origin) const noexcept {
    return i < origins_.size() && origins_[i].units == origin.units && origins_[i].offset == origin.offset;
  }

  // Each of the three from the nearest entry that has it.
  void collect_names(const die_attributes& die, source_function& function) noexcept {
    die_attributes at = die;
    dwarf_units* units = units_;
    const dwarf_unit* unit = unit_;
    for (int hops = 0; hops <= max_copies; ++hops) {
      if (function.linkage_name.size == 0) function.linkage_name = units->string_of(*unit, at.linkage_name);
      if (function.name.size == 0) function.name = units->string_of(*unit, at.name);
      if (function.start_line == 0) function.start_line = static_cast<std::uint32_t>(at.decl_line.number);
      const bool is_whole = function.linkage_name.size != 0 && function.start_line != 0;
      std::uint64_t offset = 0;
      units = is_whole || !at.origin.there() ? nullptr : units->target_of(*unit, at.origin, offset);
      unit = units == nullptr ? nullptr : units->find(offset);
      if (unit == nullptr) return;
      at = die_attributes{};
      if (!units->read_die(*unit, offset, at)) return;
    }
  }

  line_program& lines_;
  abbreviation_table table_;
  arena_vector<code_scope> scopes_;
  arena_vector<source_function> functions_;
  arena_vector<place> origins_;  // of functions_, one by one
  index_set known_;
  dwarf_units* units_ = nullptr;
  const dwarf_unit* unit_ = nullptr;
  wanted_code* wanted_ = nullptr;
  std::size_t count_ = 0;
  std::uint64_t least_ = 0;
  open_scope open_[max_open + 1];  // the last one stands for all that lies deeper
  std::size_t open_count_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_SYMBOL_DWARF_FUNCTIONS_HPP
