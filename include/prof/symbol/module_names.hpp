// prof/symbol/module_names.hpp - functions, lines and inlined calls of many addresses of one file, from all that the file and
// its debug files have.
// Floor 9 (symbol). Used by the symbolizer; knows no process, only bytes.
// Safety: ordinary context; thread-compatible. Pure, as elf_image.hpp.
// Memory: in the arena; nothing of the files is copied but what was compressed.
// Source: which name wins: the symbol's, for it tells clones and aliases apart; then the debug information's; then the begin of
//         the function.
#ifndef PROF_SYMBOL_MODULE_NAMES_HPP
#define PROF_SYMBOL_MODULE_NAMES_HPP

#include "prof/symbol/debug_info.hpp"
#include "prof/symbol/elf.hpp"
#include "prof/symbol/function_begin.hpp"

PROF_DETAIL_BEGIN

// How much is wanted.
enum class name_detail : std::uint8_t { functions, lines, inlines };

// What names may take. Once it is used up the rest keeps what it has.
struct name_limits {
  std::uint64_t deadline_ns = ~std::uint64_t{0};  // on the monotonic clock
  std::size_t memory = ~std::size_t{0};           // bytes of the arena
  // Of the demangler for all names: 100 of the worst there can be, some 100,000 usual ones. Behind that names stay as linked.
  std::uint64_t demangler_steps = std::uint64_t{1} << 24;
  // Files that are mapped: their pages are given back while they are read. Null: none are.
  const text_view* mapped = nullptr;
  std::size_t mapped_count = 0;
};

// One frame of an address, as linked; texts live as long as the files and the arena.
struct named_frame {
  text_view linkage;  // empty: no name is known
  text_view tail;     // "@plt" behind it
  text_view file;
  std::uint32_t start_line = 0;
  std::uint32_t line = 0;
  std::uint32_t column = 0;
};

#if PROF_DETAIL_OS_LINUX

class module_names {
 public:
  module_names(arena& memory, const name_limits& limits) noexcept
      : memory_(memory), limits_(limits), wanted_(memory), begins_(memory), info_(memory) {}

  // `image`: the file that runs; `debug`: the one with its debug information, which may be the same; `alternative`: dwz's, or
  // null. `addresses` as linked, sorted, which must stay there, as must the images. False: there is no memory.
  bool find(const elf_image& image, const elf_image& debug, const elf_image* alternative, const std::uint64_t* addresses,
            std::size_t count, name_detail detail) noexcept {
    if (!wanted_.resize(count) || !begins_.resize(count)) return false;
    for (std::size_t i = 0; i < count; ++i) {
      wanted_[i] = wanted_code{};
      wanted_[i].address = addresses[i];
    }
    find_symbols(image, debug, addresses, count);
    if (detail != name_detail::functions) find_lines(debug, alternative, detail == name_detail::inlines);
    find_begins(image, addresses);
    return true;
  }

  // Calls see(frame) for each, innermost first. Where one of the calls has no name, or some are not known, only the function is
  // told, with the line of the code: another function's line would be wrong.
  template <class See>
  void for_each_frame(std::size_t i, See see) const noexcept {
    const wanted_code& code = wanted_[i];
    named_frame frame;
    frame.file = code.file;
    frame.line = code.line;
    frame.column = code.column;
    std::uint32_t s = code.scope;
    const bool has_calls = knows_calls(s);
    while (s != no_index && info_.functions().scope(s).parent != no_index) {
      const code_scope& call = info_.functions().scope(s);
      s = call.parent;
      if (!has_calls) continue;
      describe(call, frame);
      see(frame);
      frame = named_frame{};
      frame.file = call.call_file;
      frame.line = call.call_line;
      frame.column = call.call_column;
    }
    if (s != no_index) describe(info_.functions().scope(s), frame);
    const elf_symbol* const symbol = symbol_of(i, frame);
    if (symbol != nullptr && symbol->stub) frame.tail = {"@plt", 4};
    see(frame);
  }
  // Where the function of an address without a name begins, as linked; false: that is not known either.
  bool begin_of(std::size_t i, std::uint64_t& begin) const noexcept {
    begin = begins_[i];
    return begin != 0;
  }

  bool lacks_line(std::size_t i) const noexcept { return wanted_[i].line_unit == no_index; }

  unread problem() const noexcept { return problem_; }
  // Some addresses were not looked for in the debug information: a limit was reached.
  bool is_cut() const noexcept { return is_cut_; }

 private:
  std::uint32_t scope_of(std::size_t i) const noexcept { return wanted_[i].scope; }

  bool knows_calls(std::uint32_t s) const noexcept {
    for (; s != no_index && info_.functions().scope(s).parent != no_index; s = info_.functions().scope(s).parent) {
      named_frame frame;
      describe(info_.functions().scope(s), frame);
      if (frame.linkage.size == 0 || info_.functions().scope(s).may_lack_calls) return false;
    }
    return true;
  }

  void describe(const code_scope& scope, named_frame& frame) const noexcept {
    if (scope.function == no_index) return;
    const source_function& function = info_.functions().function(scope);
    frame.linkage = function.linkage_name.size != 0 ? function.linkage_name : function.name;
    frame.start_line = function.start_line;
  }

  // ---- symbols ---------------------------------------------------------------------------------------

  // Those of the file that runs, and where it was stripped, those of its debug file.
  void find_symbols(const elf_image& image, const elf_image& debug, const std::uint64_t* addresses,
                    std::size_t count) noexcept {
    own_ = make_search(image);
    if (own_ != nullptr) own_->find(addresses, count);
    if (own_ == nullptr || own_->has_symbols() || &debug == &image) return;
    stripped_ = make_search(debug);
    if (stripped_ != nullptr) stripped_->find(addresses, count);
  }
  symbol_search* make_search(const elf_image& image) noexcept {
    void* const room = memory_.allocate(sizeof(symbol_search));
    return room == nullptr ? nullptr : new (room) symbol_search(image, memory_);
  }
  // The best symbol, whose name is put into `frame`.
  const elf_symbol* symbol_of(std::size_t i, named_frame& frame) const noexcept {
    for (const symbol_search* search : {stripped_, own_}) {
      const elf_symbol* const found = search == nullptr ? nullptr : search->symbol_of(i);
      if (found == nullptr || is_left(i, *found)) continue;
      frame.linkage = search->name_of(*found);
      return found;
    }
    return nullptr;
  }
  // One without a size must not name the functions behind it.
  bool is_left(std::size_t i, const elf_symbol& symbol) const noexcept {
    return symbol.tier != symbol_tier::sized && begins_[i] > symbol.start;
  }

  void find_begins(const elf_image& image, const std::uint64_t* addresses) noexcept {
    constexpr std::uint64_t not_wanted = ~std::uint64_t{0};
    for (std::size_t i = 0; i < wanted_.size(); ++i) {
      named_frame ignored;
      const elf_symbol* const symbol = symbol_of(i, ignored);
      const bool is_sure = symbol != nullptr ? symbol->tier == symbol_tier::sized : scope_of(i) != no_index;
      if (is_sure) begins_[i] = not_wanted;
    }
    function_begins(image).find(addresses, wanted_.size(), begins_.data());
    for (std::uint64_t& begin : begins_) {
      if (begin == not_wanted) begin = 0;
    }
  }

  // ---- lines -----------------------------------------------------------------------------------------

  // What was dropped at the link lies below it. Code that is linked at 0 has the file's header in front of it.
  static std::uint64_t least_code(const elf_image& image) noexcept {
    std::uint64_t least = ~std::uint64_t{0};
    Elf64_Phdr segment{};
    for (std::size_t i = 0; image.segment(i, segment); ++i) {
      const bool is_code = segment.p_type == PT_LOAD && (segment.p_flags & PF_X) != 0;
      const std::uint64_t begin = segment.p_vaddr == 0 && segment.p_offset == 0 ? sizeof(Elf64_Ehdr) : segment.p_vaddr;
      if (is_code && begin < least) least = begin;
    }
    return least != ~std::uint64_t{0} ? least : 0;
  }

  void find_lines(const elf_image& debug, const elf_image* alternative, bool inlines) noexcept {
    dwarf_sections sections;
    dwarf_sections shared;
    if (!read_sections(debug, sections)) return;
    if (alternative != nullptr && !read_sections(*alternative, shared)) alternative = nullptr;
    info_.open(sections, alternative != nullptr ? &shared : nullptr, least_code(debug), &goes_on, this);
    is_cut_ = !info_.find(wanted_.data(), wanted_.size(), inlines);
    if (info_.split_units() != 0) problem_ = unread::split;
  }
  bool read_sections(const elf_image& image, dwarf_sections& sections) noexcept {
    const std::size_t used = memory_.used();
    dwarf_section_reader reader(image, memory_, used < limits_.memory ? limits_.memory - used : 0, &goes_on, this);
    if (reader.read(sections)) return true;
    is_cut_ = reader.problem() == unread::late;
    if (!is_cut_) problem_ = reader.problem();
    return false;
  }
  static bool goes_on(void* self) { return static_cast<module_names*>(self)->goes_on(); }
  // Also gives back what of the files was read since it did so last: some 8 MB of debug information.
  bool goes_on() noexcept {
    constexpr std::uint64_t steps_between = std::uint64_t{1} << 20;
    const std::uint64_t left = info_.effort().left();
    if (left + steps_between < left_before_ || left > left_before_) {
      for (std::size_t i = 0; i < limits_.mapped_count; ++i) os_forget_pages(limits_.mapped[i]);
      left_before_ = left;
    }
    return memory_.used() <= limits_.memory && !memory_.exhausted() && os_monotonic_ns_sig() < limits_.deadline_ns;
  }

  arena& memory_;
  name_limits limits_;
  symbol_search* own_ = nullptr;
  symbol_search* stripped_ = nullptr;
  arena_vector<wanted_code> wanted_;
  arena_vector<std::uint64_t> begins_;  // of code without a sure symbol
  debug_info info_;
  std::uint64_t left_before_ = 0;  // of the effort, when pages were given back
  unread problem_ = unread::none;
  bool is_cut_ = false;
};

#endif

PROF_DETAIL_END

#endif  // PROF_SYMBOL_MODULE_NAMES_HPP
