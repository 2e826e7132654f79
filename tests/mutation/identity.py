"""Mutants of which file a piece of code is of: each takes one proof out of a header, and a unit test must fail then."""

from typing import List

from mutation.unwinder import Mutant

LINUX = "os/linux.hpp"
LOADER = "os/linux_loader.hpp"
OS = "os/os_test.cpp"
LINES = "os/linux_test.cpp"
MOVED = "code/moved_code.hpp"
MOVES = "code/moved_code_test.cpp"
MODULES = "code/modules.hpp"
MEMORY = "symbol/memory_image.hpp"
COPIES = "symbol/memory_image_test.cpp"
FILE = "symbol/module_file.hpp"
FILES = "symbol/module_file_test.cpp"
DEBUG = "symbol/debug_files.hpp"
FOUND = "symbol/debug_files_test.cpp"
LOADED = "code/loaded_image.hpp"

MUTANTS: List[Mutant] = [
    # ---- files that are none
    Mutant("open waits for a pipe's writer", LINUX, "O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY", "O_RDONLY | O_CLOEXEC", OS),
    Mutant("a file below a file is no absent one", LINUX, " || descriptor == -ENOTDIR", "", OS),
    Mutant("large device numbers are cut", LINUX, "(device >> 12 & 0xffffff00u)", "0", LINES),
    Mutant("a text is copied beyond its page", LINUX, "64 - (from + done) % 64", "64", LINES),
    Mutant("a variable is known by its begin", LOADER, " || begin[name_size] != '='", "", OS),
    # ---- code on pages of no file
    Mutant("moved code is not listed", MODULES, "  return find_moved_code_sig(code, build.never_unloaded, room);\n", "  return false;\n",
           MOVES),
    Mutant("moved code has the line's offset", MODULES, "  range.offset = code.offset;\n", "", MOVES),
    Mutant("moved code has no path", MODULES, "  if (range.moved) name_moved_code_sig(range, path, sizeof path);\n", "", MOVES),
    Mutant("a walk names no moved code", MODULES,
           "    name_moved_code_sig(scratch.range, scratch.path, sizeof scratch.path);\n", "", MOVES),
    Mutant("a line is not cut at its begin", MOVED, "if (to.code.start < begin) to.code.start = begin;", "", MOVES),
    Mutant("a line is not cut at its end", MOVED, "if (to.code.limit > end) to.code.limit = end;", "", MOVES),
    Mutant("data is code", MOVED, " || (segment.p_flags & PF_X) == 0", "", MOVES),
    Mutant("only a line's begin is looked at", MOVED, "{code.start, code.limit - 1}", "{code.start, code.start}", MOVES),
    Mutant("a moved header has no name", MOVED, "  if (file.path_size == 0) take_loader_name_sig(file);\n", "", MOVES),
    Mutant("huge pages are a file", LOADED, ' || path.starts_with({"/anon_hugepage", 14})', "", MOVES),
    Mutant("what is moved is another range", "code/code_range.hpp", "a.device == b.device &&", "a.moved == b.moved &&", MOVES),
    # ---- the file that runs
    Mutant("a build id that is missing is any", FILE, "return is_same_build_id(image_.build_id(), wanted.build_id);",
           "return image_.build_id().size == 0 || is_same_build_id(image_.build_id(), wanted.build_id);", FILES),
    Mutant("without build ids any file is it", FILE, "ours.device == wanted.device &&\n           ours.inode == wanted.inode", "true",
           FILES),
    Mutant("a mapping's device is not compared", FILE, "ours.device == wanted.device &&\n", "\n", FILES),
    Mutant("an inode that came back is the same", FILE, "facts.changed_ns > wanted.seen_ns", "false", FILES),
    Mutant("an inode of no device", FILE, "facts.device == wanted.device && facts.inode", "facts.inode", FILES),
    Mutant("the program is any file", FILE, "&& has_same_begin(wanted.range->header)", "", FILES),
    Mutant("/proc/self/exe is not looked at", FILE, "  if (may_be_program(wanted) &&", "  if (false &&", FILES),
    Mutant("memory is not looked at", FILE, " || take_memory(*wanted.range, memory))", ")", FILES),
    Mutant("a long build id is another", FILE, " || (kept.size == build_id_size && of_file.starts_with(kept))", "", FILES),
    # ---- symbols in memory
    Mutant("what was unloaded is believed", MEMORY, "file != nullptr && still_loaded_sig(range, object)", "file != nullptr", COPIES),
    Mutant("the dynamic section has the linker's addresses only", MEMORY,
           "    if (value >= begin_ && value < end_) return value;\n", "", COPIES),
    Mutant("symbols keep sections that are not there", MEMORY,
           "      symbol.st_shndx = section_of(symbol.st_value);\n", "", COPIES),
    Mutant("tables may end outside", MEMORY, " && p.size <= end_ - p.at", "", COPIES),
    Mutant("a chain's last symbol is not counted", MEMORY, "      ++last;\n", "", COPIES),
    Mutant("a chain without end counts", MEMORY, "return is_complete ? last : 0;", "return last;", COPIES),
    # ---- debug files
    Mutant("another build's debug file", DEBUG, "if (wanted_.id.size != 0) return id.equals(wanted_.id);", "if (wanted_.id.size != 0) return true;",
           FOUND),
    Mutant("the CRC is not looked at", DEBUG, "    return crc == wanted;\n", "    return true;\n", FOUND),
    Mutant("a CRC takes what time it takes", DEBUG, "      if (is_late_) return false;\n", "", FOUND),
    Mutant("a file is its own debug file", DEBUG, "    if (!has_more) return false;\n", "", FOUND),
    Mutant("a link may lead anywhere", DEBUG,
           "  if (text_view(content.data, end).find('/') != end) return {};\n", "", FOUND),
    Mutant("folders are relative to where the program is", DEBUG, "a.size == 0 || a.data[0] != '/'", "a.size == 0", FOUND),
    Mutant("another build's supplement", DEBUG, "return id.equals(wanted_.id) || (link.is_supplement && link.id.equals(wanted_.id));",
           "return true;", FOUND),
    Mutant("what names a supplement is one", DEBUG, "(link.is_supplement && link.id", "(link.id", FOUND),
    Mutant("a link's target is not followed", DEBUG, " || try_beside_target(path, of)", "", FOUND),
    Mutant("a checksum ends outside", DEBUG, " || rest.size - end - 2 < length", "", FOUND),
    # ---- names
    Mutant("a mapping is known by its place", "symbol/symbolizer.hpp", "mapping.range != 0 ?", "false ?", "symbol/symbolizer_test.cpp"),
]
