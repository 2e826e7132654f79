"""Mutants of the readers of debug information: each takes one remedy out, and a unit test must fail then."""

from typing import List

from mutation.unwinder import Mutant

DWARF = "symbol/dwarf.hpp"
UNITS = "symbol/dwarf_units.hpp"
LINES = "symbol/dwarf_lines.hpp"
FUNCTIONS = "symbol/dwarf_functions.hpp"
INFO = "symbol/debug_info.hpp"
SECTIONS = "symbol/dwarf_sections.hpp"
BEGINS = "symbol/function_begin.hpp"
NAMES = "symbol/module_names.hpp"
READER = "base/byte_reader.hpp"
READER_TEST = "base/byte_reader_test.cpp"
DWARF_TEST = "symbol/dwarf_test.cpp"
UNITS_TEST = "symbol/dwarf_units_test.cpp"
LINES_TEST = "symbol/dwarf_lines_test.cpp"
FUNCTIONS_TEST = "symbol/dwarf_functions_test.cpp"
INFO_TEST = "symbol/debug_info_test.cpp"
SECTIONS_TEST = "symbol/dwarf_sections_test.cpp"
BEGINS_TEST = "symbol/function_begin_test.cpp"
NAMES_TEST = "symbol/module_names_test.cpp"

MUTANTS: List[Mutant] = [
    # ---- bytes
    Mutant("a number may be padded without end", READER, "      if (shift == max_leb_bits) fail();\n", "", READER_TEST),
    Mutant("a negative number has no sign", READER, "is_signed && (byte & 0x40) != 0 && shift < 64", "false", READER_TEST),
    Mutant("a part may end behind the whole", READER, "bad_ ? at_ : at_ + bytes", "at_ + bytes", READER_TEST),
    Mutant("what is skipped need not be there", READER, "if (bytes > left()) fail();\n    else at_ += bytes;", "at_ += bytes;", READER_TEST),
    Mutant("letters of an augmentation have no end", "unwind/cfi.hpp", "body.left() < max_letters ? body.left() : max_letters",
           "body.left() + 0 * max_letters", "unwind/cfi_test.cpp"),
    # ---- the alphabet
    Mutant("a form within a form has no end", DWARF, "hops < 4; ++hops", "hops < 4000; ++hops", DWARF_TEST),
    Mutant("abbreviations are in order", DWARF, "    if (is_sorted) return;\n", "    return;\n", DWARF_TEST),
    Mutant("a reference across units had always an offset's size", DWARF,
           "encoding.version < 3 ? encoding.address_size : encoding.offset_size", "encoding.offset_size", DWARF_TEST),
    Mutant("a specification goes before the abstract origin", DWARF,
           "return origin.there() ? nullptr : &origin;", "return &origin;", DWARF_TEST),
    Mutant("who spends is asked once", DWARF, "until_asked_ = left_ < steps_between ? left_ : steps_between;",
           "until_asked_ = left_;", DWARF_TEST),
    Mutant("a table of abbreviations costs nothing", DWARF,
           " || !effort.spend(1 + entries_[entries_.size() - 1].count)", "", DWARF_TEST),
    # ---- units, values, ranges
    Mutant("a root's values are read with the bases that came before", UNITS,
           "      if (!effort_->spend(1) || !root.read(from, spec, unit.encoding)) return false;\n",
           "      if (!effort_->spend(1) || !root.read(from, spec, unit.encoding)) return false;\n"
           "      if (spec.name == attribute_addr_base && root.low_pc.there()) root.addr_base = dwarf_value{};\n",
           UNITS_TEST),
    Mutant("bases are where the unit says or at 0", UNITS,
           "return value.there() ? value.number : header;", "return value.there() ? value.number : header * 0;", UNITS_TEST),
    Mutant("units of types are units", UNITS,
           " && type != unit_of_types && type != split_unit_of_types", "", UNITS_TEST),
    Mutant("a skeleton's header is an ordinary one", UNITS,
           "  if (type == skeleton_unit || type == split_unit) body.skip(8);\n", "", UNITS_TEST),
    Mutant("what lies below the file's code is code", UNITS, "range.begin >= least_ && range.end", "range.end", UNITS_TEST),
    Mutant("lld's mark in lists is an address", UNITS, "is_dropped_ || range.begin + 1 == all_ones;", "is_dropped_;", UNITS_TEST),
    Mutant("a base of dropped code is one", UNITS, "        if (is_dropped_) range.end = range.begin;\n", "", UNITS_TEST),
    Mutant("a base below the file's code is one", UNITS, "is_dropped_ = is_mark || (base < least_ && (base != 0 || unit_.encoding.version == 5));",
           "is_dropped_ = is_mark;", UNITS_TEST),
    Mutant("a base of 0 is always of dropped code", UNITS, " && (base != 0 || unit_.encoding.version == 5)", "", UNITS_TEST),
    Mutant("a base is a range", UNITS, "    if (range.begin == all_ones) {", "    if (false) {", UNITS_TEST),
    Mutant("an index behind the lists is 0", UNITS, "      if (table.bad()) return;\n", "", UNITS_TEST),
    Mutant("texts have no bound", UNITS, "text.size < max_text ? text.size : max_text", "text.size", UNITS_TEST),
    Mutant("ranges cost nothing", UNITS, "units_.effort().spend(1) && next_entry(range)", "next_entry(range)", UNITS_TEST),
    Mutant("texts within entries cost nothing", UNITS, "effort_->spend((left - from.left()) / 64) && is_read", "left != 0 && is_read", INFO_TEST),
    Mutant("roots cost nothing", UNITS, "while (effort.spend(1) && read_attribute_spec(from, passed)) {}",
           "while (read_attribute_spec(from, passed)) {}", UNITS_TEST),
    Mutant("the other file's strings are this file's", UNITS,
           "string_at(alternative_->sections_.str, value.number)", "string_at(sections_.str, value.number)", UNITS_TEST),
    # ---- lines
    Mutant("file 0 is one before DWARF 5", LINES, "return version_ < 5 ? 1 : 0;", "return 0;", LINES_TEST),
    Mutant("of rows at one address the first holds", LINES, "      before = state.at;\n      has_before = true;\n",
           "      if (!has_before || before.address != state.at.address) before = state.at;\n      has_before = true;\n", LINES_TEST),
    Mutant("a sequence may go back", LINES, " || (has_before && state.at.address < before.address)", "", LINES_TEST),
    Mutant("sequences of dropped code count", LINES, "state.is_wrong || state.at.address < least ||", "state.is_wrong ||", LINES_TEST),
    Mutant("sequences at the end of the address space count", LINES, " || address >= last - 1", "", LINES_TEST),
    Mutant("entries of no size are read as often as they say", LINES,
           "contents == 0 || count > header.left()", "contents == 0", LINES_TEST),
    Mutant("a path may be of any length", LINES, "size > max_path || ", "", LINES_TEST),
    Mutant("answers cost nothing", LINES, "      if (!units_->effort().spend(1)) return;\n", "", LINES_TEST),
    Mutant("division by no range", LINES, "line_range_ != 0 && ", "", LINES_TEST),
    # ---- functions
    Mutant("a call may claim what its parent has not", FUNCTIONS, "if (wanted_[i].scope != outer) continue;",
           "if (outer == no_index && wanted_[i].scope != no_index) continue;", FUNCTIONS_TEST),
    Mutant("calls in a call that has nothing are its caller's", FUNCTIONS, "if (entry.has_children) open(depth, scope);",
           "if (entry.has_children && (scope != no_index || !is_call)) open(depth, scope);", FUNCTIONS_TEST),
    Mutant("what is too deep takes the place of a scope that is open", FUNCTIONS, "if (open_count_ > max_open) return;",
           "if (open_count_ == max_open) --open_count_;", FUNCTIONS_TEST),
    Mutant("a call without a file is in file 0", FUNCTIONS, "if (die.call_file.there()) made", "made", FUNCTIONS_TEST),
    Mutant("names are 15 hops away at most", FUNCTIONS, "hops <= max_copies", "hops < max_copies", FUNCTIONS_TEST),
    Mutant("names are 17 hops away", FUNCTIONS, "hops <= max_copies", "hops <= max_copies + 1", FUNCTIONS_TEST),
    Mutant("every copy is a function of its own", FUNCTIONS,
           "die.name.there() || die.linkage_name.there() || target == nullptr", "true", FUNCTIONS_TEST),
    Mutant("a call's file is of the unit that its function is in", FUNCTIONS,
           "made.call_file = lines_.path_of(die.call_file.number);",
           "made.call_file = text_view();", FUNCTIONS_TEST),
    Mutant("entries cost nothing", FUNCTIONS, " || !units_->effort().spend(1 + found->count)", "", INFO_TEST),
    Mutant("addresses in ranges cost nothing", FUNCTIONS, "        if (!units_->effort().spend(1)) break;\n", "", INFO_TEST),
    # ---- units together
    Mutant("an address keeps the line of the first unit that has one", INFO,
           "return wanted[k].scope != no_index && wanted[k].scope >= before;", "return k == count && before != 0;", INFO_TEST),
    Mutant("partial units have code", INFO, "      if (unit.tag == tag_partial_unit) continue;  // others import what it has\n", "", INFO_TEST),
    Mutant("units without ranges have nothing", INFO, "if (!is_placed && unit.line_program.there()) unplaced_", "if (false) unplaced_", INFO_TEST),
    Mutant("split units are not counted", INFO, "split_units_ += unit.is_split ? 1 : 0;", "", INFO_TEST),
    Mutant("who asks is asked once", INFO, "    for (const std::uint32_t i : hits_) {\n      if (!effort_.ask()) return false;\n",
           "    for (const std::uint32_t i : hits_) {\n", INFO_TEST),
    Mutant("work has no bound", INFO, "bytes * steps_per_byte + least_steps", "~std::uint64_t{0} + 0 * bytes", INFO_TEST),
    Mutant("work that was given up is all", INFO, "return !effort_.is_over();", "return true;", INFO_TEST),
    # ---- unpacking
    Mutant("a match may begin before the output", "base/inflate.hpp", "distance > static_cast<std::size_t>(out - begin_)",
           "distance > static_cast<std::size_t>(out - begin_) + 1", "base/inflate_test.cpp"),
    Mutant("near matches are copied as far ones", "base/inflate.hpp", "PROF_DETAIL_LIKELY(distance >= 8)", "true", "base/inflate_test.cpp"),
    # ---- sections
    Mutant("any size is believed", SECTIONS,
           "    if (!inflate_can_fill(packed, static_cast<std::size_t>(size))) return fail(unread::damaged);\n", "", SECTIONS_TEST),
    Mutant("no budget", SECTIONS, "    if (size > budget_ - unpacked_) return fail(unread::too_large);\n", "", SECTIONS_TEST),
    Mutant("zstd is zlib", SECTIONS, "head.ch_type != by_zlib", "head.ch_type > by_zstd", SECTIONS_TEST),
    Mutant("names of sections are prefixes", "code/elf_image.hpp", "return end == strings.size || strings.data[end] == '\\0';",
           "return end <= strings.size;", SECTIONS_TEST),
    # ---- begins
    Mutant("an entry holds what is behind it", BEGINS, " && address >= fde.begin && address < fde.limit", "", BEGINS_TEST),
    Mutant("overlapping entries have no bound", BEGINS, "        if (++looks > max_looks) return;\n", "", BEGINS_TEST),
    Mutant("the last of overlapping entries wins", BEGINS, "if (begins[i] == 0) begins[i] = fde.begin;\n        if",
           "begins[i] = fde.begin;\n        if", BEGINS_TEST),
    Mutant("a header's count is believed", BEGINS, "header_.size / 8 < header.count ? header_.size / 8 : header.count",
           "header.count", BEGINS_TEST),
    # ---- a module
    Mutant("a file linked at 0 has code at 0", NAMES,
           "segment.p_vaddr == 0 && segment.p_offset == 0 ? sizeof(Elf64_Ehdr) : segment.p_vaddr", "segment.p_vaddr", NAMES_TEST),
    Mutant("a debug file's symbols are not asked", NAMES, "    if (stripped_ != nullptr) stripped_->find(addresses, count);\n", "", NAMES_TEST),
    Mutant("a symbol without a size goes on", NAMES, "return symbol.tier != symbol_tier::sized && begins_[i] > symbol.start;",
           "return symbol.tier != symbol_tier::sized && begins_[i] > symbol.start && i > 9;", NAMES_TEST),
    Mutant("calls without a name are told", NAMES, "      if (frame.linkage.size == 0 || ", "      if (", NAMES_TEST),
    Mutant("calls that are too deep are told as if they were all", NAMES, " || info_.functions().scope(s).may_lack_calls", "", NAMES_TEST),
    Mutant("sections are unpacked whatever time it takes", SECTIONS, "return may_go_on_(context_) || fail(unread::late);", "return true;",
           SECTIONS_TEST),
    Mutant("what has no name has none for ever", "symbol/name_cache.hpp", "found != no_index && now_ns < names_[found].until_ns",
           "found != no_index", "symbol/name_cache_test.cpp"),
    Mutant("time has no end", NAMES, "os_monotonic_ns_sig() < limits_.deadline_ns", "true", NAMES_TEST),
    Mutant("memory has no end", NAMES, "memory_.used() <= limits_.memory && ", "", NAMES_TEST),
    Mutant("without memory all is well", NAMES, "|| !begins_.resize(count)) return false;", "|| !begins_.resize(count)) return true;", NAMES_TEST),
    Mutant("that it was cut is not said", NAMES, "is_cut_ = !info_.find", "is_cut_ = info_.find", NAMES_TEST),
]
