// tests/unit/symbol/module_names_test.cpp - which of symbol, debug information and begin names an address, and what is cut.

#include "prof/symbol/module_names.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "../unwind/cfi_bytes.hpp"
#include "dwarf_bytes.hpp"
#include "small_elf.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;
using namespace small_elfs;

void add_debug(small_elf& elf, const dwarf_file& file) {
  elf.add(".debug_info", SHT_PROGBITS, 0, 0, file.info.bytes);
  elf.add(".debug_abbrev", SHT_PROGBITS, 0, 0, file.abbrev.bytes);
  elf.add(".debug_line", SHT_PROGBITS, 0, 0, file.line.bytes);
  elf.add(".debug_str", SHT_PROGBITS, 0, 0, file.str.bytes);
  elf.add(".debug_ranges", SHT_PROGBITS, 0, 0, file.ranges.bytes);
}
void add_frames(small_elf& elf, const std::vector<std::pair<std::uint64_t, std::uint64_t>>& functions) {
  cfi_section_text frames;
  frames.cie();
  for (const auto& function : functions) frames.fde(function.first, function.second);
  elf.add(".eh_frame", SHT_PROGBITS, SHF_ALLOC, 0x50000, frames.out.bytes);
}

// outer [text, text + 0x100) with inner at 0x10, told only there; nameless [text + 0x200, ...) has lines only.
dwarf_file two_functions() {
  dwarf_file file;
  line_text lines(4);
  lines.files = {{"a.c", 0}};
  lines.sequence(text, text + 0x400, 10);
  dwarf_unit_text unit(file, 4);
  unit.root(text, text + 0x400, lines.add_to(file));
  const std::uint64_t inner = unit.abstract("inner");
  unit.function("outer", text, text + 0x100, true);
  unit.inlined(inner, text + 0x10, text + 0x20, 1, 5);
  unit.close();
  unit.close();
  unit.finish();
  return file;
}

struct names_of {
  std::string file;
  std::string debug;
  elf_image image;
  elf_image debug_image;
  std::string other{};
  elf_image other_image{};
  std::vector<std::uint64_t> addresses{};
  arena memory{os_pages};
  module_names names;

  explicit names_of(std::string bytes, std::string debug_bytes = "", name_limits limits = {})
      : file(std::move(bytes)),
        debug(std::move(debug_bytes)),
        image(file.data(), file.size()),
        debug_image(debug.data(), debug.size()),
        names(memory, limits) {}
  names_of& find(std::vector<std::uint64_t> at, name_detail detail = name_detail::inlines) {
    addresses = std::move(at);
    const elf_image* const alternative = other.empty() ? nullptr : &other_image;
    names.find(image, debug.empty() ? image : debug_image, alternative, addresses.data(), addresses.size(), detail);
    return *this;
  }
  std::string at(std::size_t i) const {
    std::string out;
    names.for_each_frame(i, [&](const named_frame& frame) {
      out += (out.empty() ? "" : " < ") + (frame.linkage.size == 0 ? std::string("?") : to_std(frame.linkage)) + to_std(frame.tail);
      if (frame.file.size != 0) out += " " + to_std(frame.file) + ":" + std::to_string(frame.line);
    });
    std::uint64_t begin = 0;
    if (names.begin_of(i, begin)) out += " +" + std::to_string(begin - text);
    return out;
  }
};

small_elf with_symbols() {
  small_elf elf = with_text_section();
  elf.symbol("outer.constprop.0", text, 0x100, STT_FUNC, STB_LOCAL, 1);
  return elf;
}

TEST_CASE("the symbol names the outermost frame, the debug information those in it") {
  small_elf elf = with_symbols();
  add_debug(elf, two_functions());
  names_of names(finish(elf));
  names.find({text + 0x10, text + 0x30, text + 0x200});
  CHECK(names.at(0) == "inner /src/a.c:10 < outer.constprop.0 /src/a.c:5");
  CHECK(names.at(1) == "outer.constprop.0 /src/a.c:10");
  CHECK(names.at(2) == "? /src/a.c:10");
  CHECK_FALSE(names.names.lacks_line(2));
  CHECK(names.names.problem() == unread::none);
  CHECK_FALSE(names.names.is_cut());
}

TEST_CASE("no more is found than is wanted") {
  small_elf elf = with_symbols();
  add_debug(elf, two_functions());
  const std::string file = finish(elf);
  CHECK(names_of(file).find({text + 0x10}, name_detail::functions).at(0) == "outer.constprop.0");
  CHECK(names_of(file).find({text + 0x10}, name_detail::lines).at(0) == "outer.constprop.0 /src/a.c:10");
  CHECK(names_of(file).find({text + 0x10}, name_detail::inlines).at(0) == "inner /src/a.c:10 < outer.constprop.0 /src/a.c:5");
  names_of nobody(file);
  nobody.find({});
  CHECK_FALSE(nobody.names.is_cut());
}

TEST_CASE("without symbols the debug information names all") {
  small_elf elf = with_text_section();
  add_debug(elf, two_functions());
  names_of names(elf.bytes());
  names.find({text + 0x10, text + 0x30});
  CHECK(names.at(0) == "inner /src/a.c:10 < outer /src/a.c:5");
  CHECK(names.at(1) == "outer /src/a.c:10");
}

TEST_CASE("code that has neither has its function's begin") {
  small_elf elf = with_symbols();
  add_frames(elf, {{text, 0x100}, {text + 0x200, 0x40}, {text + 0x240, 0x40}});
  names_of names(finish(elf));
  names.find({text + 0x10, text + 0x150, text + 0x200, text + 0x23f, text + 0x240, text + 0x280});
  CHECK(names.at(0) == "outer.constprop.0");
  CHECK(names.at(1) == "?");
  CHECK(names.at(2) == "? +512");
  CHECK(names.at(3) == "? +512");
  CHECK(names.at(4) == "? +576");
  CHECK(names.at(5) == "?");
}

TEST_CASE("a symbol without a size does not name the functions behind its own") {
  small_elf elf = with_text_section();
  elf.symbol("open", text, 0, STT_FUNC, STB_GLOBAL, 1);
  add_frames(elf, {{text, 0x40}, {text + 0x100, 0x40}});
  names_of names(finish(elf));
  names.find({text, text + 0x3f, text + 0x80, text + 0x100});
  CHECK(names.at(0) == "open +0");
  CHECK(names.at(1) == "open +0");
  CHECK(names.at(2) == "open");
  CHECK(names.at(3) == "? +256");
}

// ---- other files -------------------------------------------------------------------------------------

// G2: a debug file beside a program without any symbols.
TEST_CASE("trap: a program that was stripped of all symbols has those of its debug file") {
  small_elf bare = with_text_section();
  small_elf debug = with_symbols();
  add_debug(debug, two_functions());
  names_of names(bare.bytes(), finish(debug));
  names.find({text + 0x10, text + 0x30});
  CHECK(names.at(0) == "inner /src/a.c:10 < outer.constprop.0 /src/a.c:5");
  CHECK(names.at(1) == "outer.constprop.0 /src/a.c:10");
}

TEST_CASE("lines come from the debug file, symbols from the program that has its own") {
  small_elf own = with_text_section();
  own.symbol("own", text, 0x100, STT_FUNC, STB_GLOBAL, 1);
  small_elf debug = with_symbols();
  add_debug(debug, two_functions());
  names_of names(finish(own), finish(debug));
  CHECK(names.find({text + 0x30}).at(0) == "own /src/a.c:10");
}

TEST_CASE("calls within each other deeper than they are kept leave the function with the line of the code") {
  for (const unsigned depth : {200u, 300u}) {
    dwarf_file file;
    line_text lines(4);
    lines.files = {{"a.c", 0}};
    lines.sequence(text, text + 0x400, 10);
    dwarf_unit_text unit(file, 4);
    unit.root(text, text + 0x400, lines.add_to(file));
    const std::uint64_t inner = unit.abstract("inner");
    unit.function("outer", text, text + 0x100, true);
    for (unsigned i = 0; i < depth; ++i) unit.inlined(inner, text + 0x10, text + 0x20, 1, 5, true);
    for (unsigned i = 0; i < depth; ++i) unit.close();
    unit.close();
    unit.close();
    unit.finish();
    small_elf elf = with_text_section();
    add_debug(elf, file);
    names_of names(finish(elf));
    const std::string found = names.find({text + 0x10}).at(0);
    if (depth == 200) CHECK(found.substr(0, 40) == "inner /src/a.c:10 < inner /src/a.c:5 < i");
    else CHECK(found == "outer /src/a.c:10");
  }
}

TEST_CASE("names come from the file that dwz made; without it, or with a damaged one, code has its function's") {
  dwarf_file shared;
  dwarf_unit_text common(shared, 4);
  common.die(tag_partial_unit, true, {});
  const std::uint64_t inner = common.begin + common.abstract("shared");
  common.close();
  common.finish();
  dwarf_file file;
  dwarf_unit_text unit(file, 4);
  unit.root(text, text + 0x400, 0);
  unit.function("outer", text, text + 0x100, true);
  unit.die(tag_inlined_subroutine, false,
           {{attribute_abstract_origin, form_gnu_ref_alt, inner}, {attribute_low_pc, form_addr, text}, {attribute_high_pc, form_data1, 0x10}});
  unit.close();
  unit.close();
  unit.finish();
  small_elf elf = with_text_section();
  add_debug(elf, file);
  small_elf other;
  add_debug(other, shared);
  names_of with(elf.bytes());
  with.other = other.bytes();
  with.other_image = elf_image(with.other.data(), with.other.size());
  CHECK(with.find({text}).at(0) == "shared < outer");
  CHECK(names_of(elf.bytes()).find({text}).at(0) == "outer");
  small_elf broken;
  broken.add(".debug_info", SHT_PROGBITS, SHF_COMPRESSED, 0, "?");
  names_of damaged(elf.bytes());
  damaged.other = broken.bytes();
  damaged.other_image = elf_image(damaged.other.data(), damaged.other.size());
  CHECK(damaged.find({text}).at(0) == "outer");
  CHECK(damaged.names.problem() == unread::damaged);
}

// ---- what is not read --------------------------------------------------------------------------------

TEST_CASE("debug information that cannot be read leaves the symbols, and says why") {
  small_elf split = with_symbols();
  dwarf_file skeleton;
  dwarf_unit_text unit(skeleton, 4);
  unit.die(tag_compile_unit, false,
           {{attribute_gnu_dwo_name, form_string, "a.dwo"}, {attribute_low_pc, form_addr, text}, {attribute_high_pc, form_data4, 0x100}});
  unit.finish();
  add_debug(split, skeleton);
  names_of names(finish(split));
  CHECK(names.find({text}).at(0) == "outer.constprop.0");
  CHECK(names.names.problem() == unread::split);
  CHECK(names.names.lacks_line(0));

  small_elf zstd = with_symbols();
  Elf64_Chdr head{};
  head.ch_type = 2;
  zstd.add(".debug_info", SHT_PROGBITS, SHF_COMPRESSED, 0, raw(head));
  names_of packed(finish(zstd));
  CHECK(packed.find({text}).at(0) == "outer.constprop.0");
  CHECK(packed.names.problem() == unread::zstd);
}

// G2: a unit with one bad .debug_aranges entry.
TEST_CASE("trap: .debug_aranges, which may be wrong, is not asked") {
  small_elf elf = with_symbols();
  dwarf_text wrong;
  wrong.u32(44).u16(2).u32(0).u8(8).u8(0).u32(0).u64(0x666).u64(~std::uint64_t{0}).u64(0).u64(0);
  elf.add(".debug_aranges", SHT_PROGBITS, 0, 0, wrong.bytes);
  add_debug(elf, two_functions());
  CHECK(names_of(finish(elf)).find({text + 0x30}).at(0) == "outer.constprop.0 /src/a.c:10");
}

// G2: garbage-collected code.
TEST_CASE("trap: what was dropped lies below a file's code, which may be linked at 0 itself") {
  for (const std::uint64_t begin : {load_address, std::uint64_t{0}}) {
    dwarf_file file;
    line_text gone(4);
    gone.files = {{"gone.c", 0}};
    gone.sequence(0, 0x100000, 666);
    dwarf_unit_text dropped(file, 4);
    dropped.root(0, 0x100000, gone.add_to(file));
    dropped.function("gone", 0, 0x100000);
    dropped.close();
    dropped.finish();
    line_text lines(4);
    lines.files = {{"a.c", 0}};
    lines.sequence(text, text + 0x100, 10);
    dwarf_unit_text unit(file, 4);
    unit.root(text, text + 0x100, lines.add_to(file));
    unit.function("kept", text, text + 0x100);
    unit.close();
    unit.finish();
    small_elf elf = with_text_section();
    add_debug(elf, file);
    std::string bytes = elf.bytes();
    Elf64_Phdr load;
    std::memcpy(&load, &bytes[sizeof(Elf64_Ehdr)], sizeof load);
    load.p_vaddr = begin;
    std::memcpy(&bytes[sizeof(Elf64_Ehdr)], &load, sizeof load);
    names_of names(bytes);
    names.find({text + 0x10, text + 0x200});
    CHECK(names.at(0) == "kept /src/a.c:10");
    CHECK(names.at(1) == "?");
  }
}

// ---- limits ------------------------------------------------------------------------------------------

TEST_CASE("once time or memory is used up, addresses keep their symbols") {
  small_elf elf = with_symbols();
  add_debug(elf, two_functions());
  const std::string file = finish(elf);
  name_limits late;
  late.deadline_ns = 1;
  names_of no_time(file, "", late);
  CHECK(no_time.find({text + 0x10}).at(0) == "outer.constprop.0");
  CHECK(no_time.names.is_cut());
  name_limits small;
  small.memory = 1;
  names_of no_memory(file, "", small);
  CHECK(no_memory.find({text + 0x10}).at(0) == "outer.constprop.0");
  CHECK(no_memory.names.is_cut());
}

TEST_CASE("a section that fits is unpacked, though the arena maps more for it") {
  dwarf_file file = two_functions();
  file.str.bytes.resize(300000);
  small_elf elf = with_symbols();
  add_debug(elf, file);
  for (auto& part : elf.parts) {
    if (part.name != ".debug_str") continue;
    part.content = compressed(part.content, part.content.size());
    part.head.sh_flags |= SHF_COMPRESSED;
  }
  name_limits limits;
  limits.memory = 450000;
  names_of names(finish(elf), "", limits);
  CHECK(names.find({text + 0x10}).at(0) == "inner /src/a.c:10 < outer.constprop.0 /src/a.c:5");
  CHECK_FALSE(names.names.is_cut());
  CHECK(names.memory.bytes() > limits.memory);
  CHECK(names.memory.used() < limits.memory);
}

TEST_CASE("without any memory there are no names, and that is said") {
  small_elf elf = with_symbols();
  add_debug(elf, two_functions());
  const std::string file = finish(elf);
  const elf_image image(file.data(), file.size());
  arena nothing(page_source{[](std::size_t) noexcept -> void* { return nullptr; }, [](void*, std::size_t) noexcept {}});
  module_names names(nothing, {});
  const std::uint64_t address = text;
  CHECK_FALSE(names.find(image, image, nullptr, &address, 1, name_detail::inlines));
}

TEST_CASE("a file of debug information that makes endless work is given up, with its symbols") {
  dwarf_file file;
  for (int i = 0; i < 10000; ++i) file.ranges.u64(0x90000).u64(0x90001);
  dwarf_unit_text unit(file, 4);
  unit.root(text, text + 0x100, 0);
  const std::size_t begin = unit.body.size();
  unit.die(tag_subprogram, false, {{attribute_ranges, form_sec_offset, 0}});
  const std::string entry = unit.body.bytes.substr(begin);
  for (int i = 0; i < 5000; ++i) unit.body.bytes += entry;
  unit.close();
  unit.finish();
  small_elf elf = with_symbols();
  add_debug(elf, file);
  names_of names(finish(elf));
  CHECK(names.find({text}).at(0) == "outer.constprop.0");
  CHECK(names.names.is_cut());
}

TEST_CASE("an image cut short at every byte, and with every byte changed") {
  small_elf elf = with_symbols();
  add_debug(elf, two_functions());
  add_frames(elf, {{text, 0x100}, {text + 0x200, 0x40}});
  const std::string whole = finish(elf);
  const auto check = [](std::string file) {
    names_of names(std::move(file));
    names.find({text + 0x10, text + 0x210});
    CHECK(names.at(0).size() + names.at(1).size() < 2000);
    CHECK_FALSE(names.names.is_cut());
  };
  for (std::size_t size = 0; size < whole.size(); size += 3) check(whole.substr(0, size));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    std::string file = whole;
    file[i] = static_cast<char>(~static_cast<unsigned char>(file[i]));
    check(file);
  }
}

}  // namespace

#endif
