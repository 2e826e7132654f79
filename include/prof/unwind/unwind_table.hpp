// prof/unwind/unwind_table.hpp - a module's call frame information compiled into a table: which unwind
// rule holds from which address on, 6 bytes a row.
// Floor 4 (unwind). Built for module_cfi.hpp, by capture.hpp before and after a profile (of a file without search
//          header by the first walk, a few milliseconds); searched by walks.
// Safety: find_sig is async-signal-safe and reads only the table, which is never freed: it stays true
//         for a module that was unloaded. Building reads the module's sections, which the caller keeps
//         mapped meanwhile.
// Memory: per row 4 bytes of address and 2 of rule number, per 4 KiB of code 4 bytes, per distinct
//         rule 8 bytes, and 40 more if it does not fit them; in pages of its own. While building, an
//         array of rules' slots.
// Source: the idea of page-indexed 6-byte rows: OpenTelemetry's eBPF profiler, nativeunwind.
#ifndef PROF_UNWIND_UNWIND_TABLE_HPP
#define PROF_UNWIND_UNWIND_TABLE_HPP

#include "prof/base/memory.hpp"
#include "prof/base/table.hpp"
#include "prof/os/os.hpp"
#include "prof/unwind/cfi_program.hpp"

PROF_DETAIL_BEGIN

// Addresses are relative to `origin` of the module they were built from, so that a module that is
// loaded again elsewhere finds its table again.
struct unwind_table {
  std::size_t bytes = 0;
  std::size_t rows = 0;
  std::size_t pages = 0;
  std::size_t rules = 0;
  const std::uint32_t* starts = nullptr;      // sorted
  const std::uint32_t* first_rows = nullptr;  // by page: the first row at or behind its begin
  const packed_rule* rule_of = nullptr;
  const std::uint16_t* rule_numbers = nullptr;
  const unwind_rule* wide_rules = nullptr;
  std::size_t wide = 0;

  packed_rule find_sig(std::uintptr_t offset) const PROF_DETAIL_SIG {
    const std::size_t page = offset >> page_bits;
    if (page + 1 >= pages) return 0;
    std::size_t low = first_rows[page];
    std::size_t high = first_rows[page + 1];
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (starts[middle] <= offset) low = middle + 1;
      else high = middle;
    }
    return low == 0 ? 0 : rule_of[rule_numbers[low - 1]];
  }

  // What an unpackable rule is; null: that has to be interpreted.
  const unwind_rule* wide_sig(packed_rule rule) const PROF_DETAIL_SIG {
    const packed_rule number = rule >> packed_wide_shift;
    return number != 0 && number <= wide ? &wide_rules[number - 1] : nullptr;
  }

  static constexpr unsigned page_bits = 12;
};

// Where the FDEs of a module come from: a sorted list of where each begins. What .eh_frame covers is its;
// .debug_frame fills the gaps. It also lists functions that the linker dropped (--gc-sections), at address 0.
struct fde_place {
  std::uintptr_t begin;
  const cfi_byte* entry;
  bool is_debug_frame;
};

struct cfi_source {
  cfi_section eh_frame;
  cfi_section debug_frame;
  std::uintptr_t header = 0;  // .eh_frame_hdr in memory, 0: none
  std::size_t most_entries = 0;  // that its segment has room for
  std::uintptr_t origin = 0;  // of the table's addresses

  const cfi_section& section(const fde_place& place) const noexcept {
    return place.is_debug_frame ? debug_frame : eh_frame;
  }
};

// All FDEs of a section, one behind the other, as the linker left them.
inline void list_fdes(const cfi_section& section, arena_vector<fde_place>& places) noexcept {
  byte_reader rest(section.begin, section.end);
  byte_reader body;
  cfi_fde fde;
  for (const cfi_byte* entry = rest.at(); next_entry_sig(rest, body); entry = rest.at()) {
    if (!parse_fde_sig(entry, section, fde)) continue;
    const bool is_dropped = section.is_debug_frame && fde.begin == section.bias;
    if (!is_dropped) places.push({fde.begin, entry, section.is_debug_frame});
  }
}

inline void list_all_fdes(const cfi_source& source, arena_vector<fde_place>& places) noexcept {
  cfi_header header;
  const bool has_header = source.header != 0 && parse_header_sig(source.header, header) &&
                          header.count <= source.most_entries;
  if (has_header) {
    for (std::size_t i = 0; i < header.count; ++i) {
      places.push({header.start(i), header.fde(i), false});
    }
  } else {
    list_fdes(source.eh_frame, places);
  }
  list_fdes(source.debug_frame, places);
  if (has_header && source.debug_frame.begin == nullptr) return;  // sorted by the linker
  heap_sort(places.data(), places.size(), [](const fde_place& a, const fde_place& b) {
    return a.begin != b.begin ? a.begin < b.begin : !a.is_debug_frame && b.is_debug_frame;
  });
}

class unwind_table_builder {
 public:
  unwind_table_builder(const cfi_source& source, arena& scratch) noexcept
      : source_(source), places_(scratch), rules_(scratch), wide_(scratch), slots_(scratch) {}
  ~unwind_table_builder() {
    if (pages_ != nullptr) os_unmap_sig(pages_, reserved_);
  }
  unwind_table_builder(const unwind_table_builder&) = delete;
  unwind_table_builder& operator=(const unwind_table_builder&) = delete;

  // Null when there is no call frame information, or no memory.
  const unwind_table* build() noexcept {
    list_all_fdes(source_, places_);
    if (places_.empty() || !reserve()) return nullptr;
    rules_.push(0);  // number 0: nothing is known
    (void)number_of(interpret);
    for (std::size_t i = 0; i < places_.size(); ++i) add_fde(places_[i], limit_of(i));
    add_row(covered_, 0);
    return finish();
  }

 private:
  static constexpr std::size_t max_rules = 0xffff;
  static constexpr auto interpret = static_cast<packed_rule>(rule_kind::unpackable);
  static constexpr std::uint16_t interpret_number = 1;  // the first that build() adds
  struct slot {
    packed_rule rule;
    std::uint32_t number_plus_1;
  };

  // Address space for the most rows there can be: each takes a byte of instructions, and each FDE
  // adds two. What is not needed is given back untouched.
  bool reserve() noexcept {
    most_rows_ = source_.eh_frame.size() + source_.debug_frame.size() + 2 * places_.size();
    reserved_ = most_rows_ * (sizeof(std::uint32_t) + sizeof(std::uint16_t));
    pages_ = static_cast<char*>(os_map_sig(reserved_));
    if (pages_ == nullptr) return false;
    starts_ = reinterpret_cast<std::uint32_t*>(pages_);
    numbers_ = reinterpret_cast<std::uint16_t*>(pages_ + most_rows_ * sizeof(std::uint32_t));
    return slots_.resize(1024);
  }

  // Where .eh_frame begins to cover what lies behind an entry of .debug_frame.
  std::uintptr_t limit_of(std::size_t i) noexcept {
    if (!places_[i].is_debug_frame) return ~std::uintptr_t{0};
    if (next_eh_frame_ <= i) next_eh_frame_ = i + 1;
    while (next_eh_frame_ < places_.size() && places_[next_eh_frame_].is_debug_frame) ++next_eh_frame_;
    return next_eh_frame_ < places_.size() ? places_[next_eh_frame_].begin : ~std::uintptr_t{0};
  }

  void add_fde(const fde_place& place, std::uintptr_t limit_of_all) noexcept {
    cfi_fde& fde = fde_;
    if (!parse_fde_sig(place.entry, source_.section(place), fde)) return;
    // Two sections, or two functions, for one address.
    if (fde.begin < covered_ || fde.limit > limit_of_all) return;
    if (covered_ != 0 && fde.begin > covered_) add_row(covered_, 0);  // padding, or undescribed code
    cfi_program program(fde);
    std::uintptr_t begin = 0;
    std::uintptr_t limit = 0;
    unwind_rule rule;
    while (program.next_sig(begin, limit, rule)) add_row(begin, packed_of(rule));
    covered_ = fde.limit;
  }

  packed_rule packed_of(const unwind_rule& rule) noexcept {
    const packed_rule packed = pack_rule_sig(rule);
    return packed == interpret ? wide_of(rule) : packed;
  }
  // Such rules are few and neighbours are alike, so only the last are compared.
  packed_rule wide_of(const unwind_rule& rule) noexcept {
    constexpr std::size_t compared = 8;
    const std::size_t first = wide_.size() > compared ? wide_.size() - compared : 0;
    for (std::size_t i = wide_.size(); i-- > first;) {
      if (wide_[i] == rule) return interpret | packed_rule{i + 1} << packed_wide_shift;
    }
    return wide_.push(rule) ? interpret | packed_rule{wide_.size()} << packed_wide_shift : interpret;
  }

  void add_row(std::uintptr_t begin, packed_rule rule) noexcept {
    const std::uintptr_t offset = begin - source_.origin;
    if (begin < source_.origin || offset >> 32 != 0 || rows_ == most_rows_) return;
    const std::uint16_t number = number_of(rule);
    if (rows_ != 0 && numbers_[rows_ - 1] == number) return;
    starts_[rows_] = static_cast<std::uint32_t>(offset);
    numbers_[rows_++] = number;
  }

  std::uint16_t number_of(packed_rule rule) noexcept {
    if (rule == 0) return 0;
    if (rule == last_rule_) return last_number_;
    if (rules_.size() * 2 > slots_.size() && !grow_slots()) return interpret_number;
    slot& place = find_slot(slots_, rule);
    if (place.number_plus_1 == 0) {
      if (rules_.size() >= max_rules || !rules_.push(rule)) return interpret_number;
      place = {rule, static_cast<std::uint32_t>(rules_.size())};
    }
    last_rule_ = rule;
    last_number_ = static_cast<std::uint16_t>(place.number_plus_1 - 1);
    return last_number_;
  }
  static slot& find_slot(arena_vector<slot>& table, packed_rule rule) noexcept {
    const std::size_t mask = table.size() - 1;
    std::size_t at = mix_bits(rule) & mask;
    while (table[at].number_plus_1 != 0 && table[at].rule != rule) at = (at + 1) & mask;
    return table[at];
  }
  bool grow_slots() noexcept {
    arena_vector<slot> bigger(slots_.memory());
    if (!bigger.resize(slots_.size() * 2)) return false;
    for (const slot& old : slots_) {
      if (old.number_plus_1 != 0) find_slot(bigger, old.rule) = old;
    }
    slots_.take_over(bigger);
    return true;
  }

  // Rows, page index and rules in one mapping of the right size.
  const unwind_table* finish() noexcept {
    const std::size_t count = rows_ == 0 ? 0 : (starts_[rows_ - 1] >> unwind_table::page_bits) + 2;
    const std::size_t head = (sizeof(unwind_table) + 15) & ~std::size_t{15};
    const std::size_t bytes = head + rules_.size() * sizeof(packed_rule) + wide_.size() * sizeof(unwind_rule) +
                              rows_ * 4 + count * 4 + rows_ * 2;
    char* const place = rows_ == 0 || slots_.memory().exhausted()
                            ? nullptr
                            : static_cast<char*>(os_map_sig(bytes));
    if (place == nullptr) return nullptr;
    auto* const table = new (place) unwind_table;
    auto* const rules = reinterpret_cast<packed_rule*>(place + head);
    auto* const wide = reinterpret_cast<unwind_rule*>(rules + rules_.size());
    auto* const starts = reinterpret_cast<std::uint32_t*>(wide + wide_.size());
    auto* const firsts = starts + rows_;
    auto* const numbers = reinterpret_cast<std::uint16_t*>(firsts + count);
    std::memcpy(rules, rules_.data(), rules_.size() * sizeof(packed_rule));
    if (!wide_.empty()) std::memcpy(wide, wide_.data(), wide_.size() * sizeof(unwind_rule));
    std::memcpy(starts, starts_, rows_ * sizeof *starts);
    std::memcpy(numbers, numbers_, rows_ * sizeof *numbers);
    fill_pages(firsts, count);
    table->bytes = bytes;
    table->rows = rows_;
    table->pages = count;
    table->rules = rules_.size();
    table->starts = starts;
    table->first_rows = firsts;
    table->rule_of = rules;
    table->rule_numbers = numbers;
    table->wide_rules = wide;
    table->wide = wide_.size();
    return table;
  }
  void fill_pages(std::uint32_t* firsts, std::size_t count) const noexcept {
    std::size_t row = 0;
    for (std::size_t page = 0; page < count; ++page) {
      while (row < rows_ && starts_[row] < page << unwind_table::page_bits) ++row;
      firsts[page] = static_cast<std::uint32_t>(row);
    }
  }

  const cfi_source& source_;
  cfi_fde fde_;
  arena_vector<fde_place> places_;
  arena_vector<packed_rule> rules_;
  arena_vector<unwind_rule> wide_;
  arena_vector<slot> slots_;
  char* pages_ = nullptr;
  std::size_t reserved_ = 0;
  std::size_t most_rows_ = 0;
  std::uint32_t* starts_ = nullptr;
  std::uint16_t* numbers_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t next_eh_frame_ = 0;  // the first place of .eh_frame behind the one that is added
  std::uintptr_t covered_ = 0;
  packed_rule last_rule_ = ~packed_rule{0};
  std::uint16_t last_number_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_UNWIND_TABLE_HPP
