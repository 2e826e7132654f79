"""Mutants of the unwinder: each takes one remedy out of include/prof/stack, and a unit test must fail then."""

from typing import List, NamedTuple


class Mutant(NamedTuple):
    name: str  # what is missing
    header: str  # below include/prof
    before: str  # occurs once
    after: str
    test: str  # below tests/unit


UNWIND = "stack/unwind.hpp"
STEP = "stack/rule_step.hpp"
SCAN = "stack/stack_scan.hpp"
EXITS = "stack/exit_path.hpp"
LOOKUP = "stack/rule_lookup.hpp"
MODULE = "stack/module_cfi.hpp"
MODULES = "stack/modules.hpp"
CALLS = "stack/call_site.hpp"
TABLE = "stack/unwind_table.hpp"
PROGRAM = "stack/cfi_program.hpp"
WALKS = "stack/unwind_test.cpp"
STEPS = "stack/rule_step_test.cpp"

MUTANTS: List[Mutant] = [
    # ---- where a frame's caller is
    Mutant("no red zone", STEP, "place + red_zone < at.sp", "place < at.sp", WALKS),
    Mutant("a realigned frame's stale rule is believed", STEP, "place >= cfa || ", "", WALKS),
    Mutant("rbx is not carried", STEP, "  at.third = caller_third;\n", "", WALKS),
    Mutant("a frame may stand still", STEP, "cfa == at.sp && !frame.interrupted", "false", WALKS),
    Mutant("a frame may go down", STEP, "(cfa & 7) != 0 || cfa < at.sp", "(cfa & 7) != 0", STEPS),
    Mutant("0 in an interrupted frame is the root for certain", STEP,
           "interrupted ? step::doubted_root : step::root", "step::root", WALKS),
    Mutant("a PLT entry's push is not seen", STEP, "? 16 : 8", "? 8 : 8", WALKS),
    Mutant("registers of frames that were not interrupted", STEP, "return frame.interrupted && ", "return ", WALKS),
    Mutant("a call's last byte is not the call's", UNWIND, "now_.at.pc : now_.at.pc - 1", "now_.at.pc : now_.at.pc",
           WALKS),
    # ---- an exception's landing
    Mutant("a thrower's return address is believed", UNWIND, "&& overwritten_step_sig(rule)", "&& false", WALKS),
    Mutant("a thrower's registers are its caller's", UNWIND,
           "now_.at.fp = now_.at.third = unknown_register;\n    now_.at.pc = kept;", "now_.at.pc = kept;", WALKS),
    Mutant("a thrower's rbx is its caller's", UNWIND, "now_.at.fp = now_.at.third = unknown_register;",
           "now_.at.fp = unknown_register;", WALKS),
    Mutant("a thrower's fp is its caller's", UNWIND, "now_.at.fp = now_.at.third = unknown_register;",
           "now_.at.third = unknown_register;", WALKS),
    Mutant("of two kept callers the first is certain", UNWIND,
           "if (others || returns_.leads_sig(pc, here, true))", "if (returns_.leads_sig(pc, here, true))", WALKS),
    Mutant("any thrower of a stack may be landing", UNWIND, "frames_.walked() - interrupted_frame_ <= 1",
           "frames_.walked() - interrupted_frame_ <= 900", WALKS),
    Mutant("a landing function's fp is everybody's", SCAN, "|| !needs_fp || !has_passed_sig(frames)) return false;",
           "|| !needs_fp) return false;", WALKS),
    Mutant("where a landing function's fp leads is believed", SCAN,
           "    if (!returns_.leads_sig(next.at.pc, {inside, code_.function_start_sig(inside, memory_)}, true)) return false;\n",
           "", WALKS),
    # ---- signals and jumps
    Mutant("ret goes anywhere", UNWIND, "|| !code_.contains(to)) return false;", ") return false;", WALKS),
    Mutant("every jmp *slot is a PLT's", UNWIND, "if (!returns_.is_return_sig(to)) return returns && ",
           "if (returns && !returns_.is_return_sig(to)) return ", WALKS),
    Mutant("signal frames without an end", UNWIND, "if (++signal_frames_ > max_signal_frames) return step::cut;", "",
           WALKS),
    Mutant("one jump in a whole stack", UNWIND, "    jumped_ = false;\n", "", WALKS),
    Mutant("jumps without an end", UNWIND, "jumped_ = !is_call;", "", WALKS),
    Mutant("a tail call goes back", UNWIND, "start == target &&", "false &&", WALKS),
    # ---- without a rule
    Mutant("a frame behind no call is exact", UNWIND,
           "if (!exact_ && !returns_.is_return_sig(now_.at.pc)) result_.approximate = true;", "", WALKS),
    Mutant("a record that no call confirms is exact", UNWIND,
           "if (!leads_here_sig(return_address)) result_.approximate = true;\n      linked_", "linked_", WALKS),
    Mutant("fp 0 is the root for certain", UNWIND, "if (!linked_) result_.approximate = true;\n", "", WALKS),
    Mutant("bridges without a limit", UNWIND, "if (bridges_ >= 3) return false;", "", WALKS),
    Mutant("frame records of any size", UNWIND, "fp - now_.at.sp > max_frame_size || ", "", WALKS),
    Mutant("scans without a budget", SCAN, "at_ < limit_ && budget_ != 0; at_ += 8) {", "at_ < limit_; at_ += 8) {", WALKS),
    Mutant("a landing function's place is looked for without a budget", SCAN,
           "at < limit && budget_ != 0 && memory_.read_word(at, word)", "at < limit && memory_.read_word(at, word)",
           "stack/stack_scan_test.cpp"),
    Mutant("what a scan found is exact", UNWIND,
           "now_.at.sp = at + 8;\n    result_.approximate = true;", "now_.at.sp = at + 8;", WALKS),
    Mutant("any word behind a call is a scan's", SCAN, "to_, at < near_limit);", "to_, true);", WALKS),
    Mutant("a record that goes down leads out of code", UNWIND,
           "return next_fp == 0 || next_fp > fp || code_.contains(return_address);", "return true;", WALKS),
    Mutant("what was read from code says where fp is", UNWIND, "rule_kind::offset && !is_read) restore_fp_sig",
           "rule_kind::offset) restore_fp_sig", WALKS),
    Mutant("fp 0 is the root in anybody's code", UNWIND, " || !code_.contains(now_.at.pc)) return step::lost;",
           ") return step::lost;", WALKS),
    Mutant("a scan forgets the caller's fp", UNWIND, "!is_read) restore_fp_sig(rule);", "false) restore_fp_sig(rule);",
           WALKS),
    Mutant("the end of the stack is not marked", UNWIND, "result_.truncated = found != step::root || ",
           "result_.truncated = ", WALKS),
    Mutant("walks without an end", UNWIND, " && slow < max_slow_steps; ++slow) {", "; ++slow) {", WALKS),
    Mutant("what nobody vouches for is read like a stack", STEP,
           "is_own ? memory.read_word(address, word) : memory.read_copy(address, word)",
           "memory.read_word(address, word)", WALKS),
    Mutant("whatever was pushed is a caller for certain", UNWIND, "                                                 : may_land_;",
           "                                                 : true;", WALKS),
    Mutant("walks by rules without an end", UNWIND, "while (frames_.walked() < max_walk) {", "while (true) {", WALKS),
    Mutant("code that goes is read like any other", "stack/return_address.hpp",
           "code.is_lasting_sig(address) ? memory.read_word(address, word) : memory.read_copy(address, word)",
           "memory.read_word(address, word)", WALKS),
    # ---- calls and stubs
    Mutant("endbr64 hides a stub", CALLS,
           "if ((code & 0xffffffffu) == 0xfa1e0ff3u && !memory_.read_word(at += 4, code)) return 0;", "", WALKS),
    Mutant("circles of stubs", CALLS, "for (int hop = 0; hop < max_hops && target != 0; ++hop) {\n      if (target == here)"
           " return true;\n      if (here == 0", "for (; target != 0;) {\n      if (target == here) return true;\n"
           "      if (here == 0", WALKS),
    Mutant("lld's PLT has no way out", CALLS, "depth = is_jump && behind_load ? 16 :", "depth = is_jump ? 0 :",
           "stack/call_site_test.cpp"),
    Mutant("bnd hides a PLT's jump", CALLS, "    if ((code & 0xff) == 0xf2) code >>= 8;\n", "",
           "stack/call_site_test.cpp"),
    Mutant("a copy of sp is no frame pointer", EXITS, "from == sp_number ? at_.sp : unknown",
           "from == sp_number && false ? at_.sp : unknown", "stack/exit_path_test.cpp"),
    Mutant("pops restore nothing", EXITS, "if (number == third_number && was_saved) at_.third_at = at_.sp;", "",
           "stack/exit_path_test.cpp"),
    Mutant("pushes are forgotten", EXITS, "if (at_.sp > at_.pushed_to) at_.pushed_to = at_.sp;", "",
           "stack/exit_path_test.cpp"),
    # ---- which file's code it is
    Mutant("what a walk registers need not be there still", MODULES,
           "to.again = mapping.executable && mapping_hash_sig(mapping) == to.range.mapping;",
           "to.again = mapping.executable;", "stack/modules_test.cpp"),
    Mutant("what was described need not be the same file still", MODULES,
           "if (!still_has_build_id_sig(range)) return;", "", "stack/capture_test.cpp"),
    Mutant("other code's push is a PLT's", CALLS, "const bool is_push = (code & 0xff) == 0x68 && ", "const bool is_push = (code & 0xff) == 0x68 || ",
           WALKS),
    Mutant("other code's load is a PLT's", CALLS, "const bool is_load = (code & 0xffff) == 0x35ff && ", "const bool is_load = (code & 0xffff) == 0x35ff || ",
           WALKS),
    Mutant("ret leads to a root", UNWIND, "return returns && return_by_hand_sig(to);", "return false;", WALKS),
    Mutant("a profile is named by a map from before its counts", "serve/collect.hpp",
           "    if (result read = read_counts(); !read) return read;\n",
           "    refresh_code_map(process_);\n    if (result read = read_counts(); !read) return read;\n    if (false)\n",
           "serve/collect_test.cpp"),
    # ---- call frame information and its tables
    Mutant("a search table begins with its header", MODULE,
           "limit < header + cfi_header_size ? 0 : (limit - header - cfi_header_size) / 8", "(limit - header) / 8",
           "stack/module_cfi_test.cpp"),
    Mutant("a header's pointer is believed", "stack/mapped_image.hpp",
           "return frames != 0 && frames >= in.begin && frames < in.cfi.limit ?", "return frames != 0 ?",
           "stack/mapped_image_test.cpp"),
    Mutant("what was built again has the same hash", "stack/mapped_image.hpp",
           "if (!add_to_hash_sig(hash, begin + done, size, room)) return 0;",
           "if (!add_to_hash_sig(hash, place.header + done, size, room)) return 0;", "stack/mapped_image_test.cpp"),
    Mutant("64-bit .debug_frame is read as 32-bit", "stack/cfi.hpp", "  if (is_wide) return body.fixed<std::uint64_t>();\n", "",
           "stack/cfi_test.cpp"),
    Mutant("restore takes the row before", PROGRAM, "if (column == dwarf_fp) now_.fp = initial_.fp;", "",
           "stack/cfi_program_test.cpp"),
    Mutant("remembered rows without a limit", PROGRAM, "if (remembered_ == max_remembered) broken_ = true;\n    else ",
           "", "stack/cfi_program_test.cpp"),
    Mutant("the PLT's literal is 11", PROGRAM, "if (i == 6) literal = there - 0x30;", "if (i == 6) literal = 11;",
           "stack/cfi_program_test.cpp"),
    Mutant("padding belongs to the function before", TABLE,
           "if (covered_ != 0 && fde.begin > covered_) add_row(covered_, 0);", "", "stack/unwind_table_test.cpp"),
    Mutant("wide rules are lost", TABLE, "return packed == interpret ? wide_of(rule) : packed;", "return packed;",
           "stack/unwind_table_test.cpp"),
    Mutant("a header that is cut short is read", TABLE,
           "parse_header_sig(source.header, header) &&\n                          header.count <= source.most_entries",
           "parse_header_sig(source.header, header)", "stack/unwind_table_test.cpp"),
    Mutant("dropped functions of .debug_frame hide others", TABLE,
           "section.is_debug_frame && fde.begin == section.bias", "false", "stack/unwind_table_test.cpp"),
    Mutant("a search ends before its function", MODULE, "pc >= fde.begin &&", "", "stack/module_cfi_test.cpp"),
    Mutant("a section that is not mapped is read", MODULE,
           "    if (!is_mapped(source.eh_frame)) source.eh_frame = {};\n", "", "stack/module_cfi_test.cpp"),
    Mutant("a context begins in the middle of a function", LOOKUP, "&& function_start_sig(pc, memory) == pc;", ";",
           "stack/rule_lookup_test.cpp"),
    Mutant("a pushed address has no wide rule", LOOKUP, "rule & ~packed_is_exact", "rule",
           "stack/rule_lookup_test.cpp"),
    # ---- what is loaded
    Mutant("a page is not asked about before it is read", "stack/probed_memory.hpp",
           "if (!page_ok_sig(address)) return false;\n    if ((address", "if ((address", "stack/probed_memory_test.cpp"),
    Mutant("a word's second page is not asked about", "stack/probed_memory.hpp",
           "> page_mask + 1 - sizeof word &&", "> page_mask + 1 &&", "stack/probed_memory_test.cpp"),
    Mutant("another file at the same place is the same", "stack/still_loaded.hpp",
           " &&\n         is_same_file_sig(object, range)", "", "stack/still_loaded_test.cpp"),
    Mutant("a historic range is the current one's", "stack/code_map.hpp",
           "if (now != nullptr && now->number == number) return now;", "if (now != nullptr) return now;",
           "stack/code_map_test.cpp"),
    Mutant("a rule is of whatever was loaded there", LOOKUP,
           "if (ranges_.is_latest_sig(known.number)) return known;", "return known;", "stack/rule_lookup_test.cpp"),
    Mutant("rules of nameless code are kept", LOOKUP, "known.number != 0 || !ranges_.is_code_sig(inside)", "true",
           "stack/rule_lookup_test.cpp"),
    Mutant("two files without names are the same", "stack/still_loaded.hpp", "range.stand_in != 0 && ", "",
           "stack/still_loaded_test.cpp"),
    Mutant("registering code is free", "stack/range_lookup.hpp", "is_new && took_ns < short_ns", "is_new",
           "stack/range_lookup_test.cpp"),
    Mutant("a long stack keeps no root", "stack/frame_list.hpp", "rotate_sig(place(walked_));\n", "",
           "stack/frame_list_test.cpp"),
]
