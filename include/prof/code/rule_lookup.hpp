// prof/code/rule_lookup.hpp - the unwind rule of an address, wherever it is known from: the cache, the
// module's table, its call frame information, the loader.
// Floor 5 (code). The Code of unwind.hpp's walks; made by capture.hpp for each of them.
// Safety: async-signal-safe; the caller keeps the code map.
// Memory: the cache is one per process, 256 KiB of address space beside process_state.
// Source: per-pc rule caches as in framehop.
#ifndef PROF_CODE_RULE_LOOKUP_HPP
#define PROF_CODE_RULE_LOOKUP_HPP

#include "prof/unwind/call_site.hpp"
#include "prof/code/copied_cfi.hpp"
#include "prof/unwind/exit_path.hpp"
#include "prof/code/range_lookup.hpp"

PROF_DETAIL_BEGIN

// Direct-mapped. An entry's two words are written apart, so each is checked against the other; `salt`
// changes with the code map, which empties the cache. What is checked has 49 bits: an address and whether it is a
// return address; above them there is the number of its range.
class rule_cache {
 public:
  bool find_sig(std::uintptr_t pc, bool is_return, std::uint64_t salt, code_rule& found) const PROF_DETAIL_SIG {
    const entry& place = entries_[index_of(pc, is_return)];
    found.rule = place.rule.load(std::memory_order_relaxed);
    const std::uint64_t there = place.check.load(std::memory_order_relaxed) ^ found.rule ^ salt;
    found.number = static_cast<range_number>(there >> key_bits);
    return (there & key_mask) == key_of(pc, is_return);
  }
  void keep_sig(std::uintptr_t pc, bool is_return, std::uint64_t salt, code_rule known) PROF_DETAIL_SIG {
    entry& place = entries_[index_of(pc, is_return)];
    const std::uint64_t there = key_of(pc, is_return) | std::uint64_t{known.number} << key_bits;
    place.rule.store(known.rule, std::memory_order_relaxed);
    place.check.store(there ^ known.rule ^ salt, std::memory_order_relaxed);
  }

 private:
  struct entry {
    std::atomic<std::uint64_t> check;
    std::atomic<packed_rule> rule;
  };
  static constexpr unsigned key_bits = frame_address_bits + 1;
  static constexpr std::uint64_t key_mask = (std::uint64_t{1} << key_bits) - 1;
  static constexpr unsigned index_bits = 14;
  static std::uint64_t key_of(std::uintptr_t pc, bool is_return) PROF_DETAIL_SIG {
    return std::uint64_t{pc} << 1 | (is_return ? 1 : 0);
  }
  // Addresses in 2 KiB of code share a page of 256 entries: when caches are cold, a page's translation takes as
  // long as what is there. In 256 aligned bytes of code none takes another's place. Each frame waits for this, so
  // it is a few shifts, less than a multiplication.
  static std::size_t index_of(std::uintptr_t pc, bool is_return) PROF_DETAIL_SIG {
    const std::uintptr_t slot = (pc ^ pc >> 5) & 0xff;
    return static_cast<std::size_t>(((pc >> 3 ^ pc >> 9) & 0x3f00) | slot) ^ (is_return ? 0 : 0x80);
  }
  entry entries_[std::size_t{1} << index_bits];
};

class rule_lookup {
 public:
  // Rules kept under another epoch are not found again.
  rule_lookup(const code_map* map, code_registry& registry, rule_cache& cache, std::uint64_t epoch,
              std::atomic<bool>& stale, cfi_scratch& scratch) PROF_DETAIL_SIG
      : ranges_(map, registry, stale), cache_(cache), scratch_(scratch), salt_(~mix_bits(epoch)) {}

  bool contains(std::uintptr_t address) PROF_DETAIL_SIG {
    return ranges_.is_code_sig(address);
  }

  bool is_never_unloaded_sig(std::uintptr_t address) const PROF_DETAIL_SIG {
    return ranges_.is_never_unloaded_sig(address);
  }

  // Only what is in the cache, and of the range that the walk asked about last.
  bool known_rule_sig(std::uintptr_t return_address, code_rule& known) const PROF_DETAIL_SIG {
    return cache_.find_sig(return_address, true, salt_, known) &&
           ranges_.is_latest_sig(known.number);
  }

  template <class Memory>
  code_rule rule_at_sig(std::uintptr_t pc, bool is_return, Memory& memory) PROF_DETAIL_SIG {
    code_rule known;
    if (!fits_frame_sig(pc)) return known;
    // A call may be the last instruction of its range.
    const std::uintptr_t inside = is_return ? pc - 1 : pc;
    const std::uint32_t asked = ranges_.lookups();
    if (PROF_DETAIL_LIKELY(cache_.find_sig(pc, is_return, salt_, known))) {
      if (ranges_.is_latest_sig(known.number)) return known;
      const bool is_there = ranges_.is_range_sig(known.number, inside);
      known.lookups = static_cast<std::uint16_t>(ranges_.lookups() - asked);
      if (is_there) return known;
    }
    known.number = ranges_.number_at_sig(inside);
    known.rule = find_slow_sig(pc, is_return, memory);
    // Code without a number has none to tell it from what is loaded there next.
    const bool is_kept = known.number != 0 || !ranges_.is_code_sig(inside);
    if (is_kept) cache_.keep_sig(pc, is_return, salt_, known);
    known.missed = is_kept ? 1 : 0;
    known.lookups = static_cast<std::uint16_t>(ranges_.lookups() - asked + (is_kept ? 0 : uncached_lookups));
    return known;
  }

  // Of one that rule_at_sig found, for the address in the function that it was found for.
  template <class Memory>
  unwind_rule unpack_sig(packed_rule rule, std::uintptr_t pc, Memory& memory) PROF_DETAIL_SIG {
    const code_range* const range = ranges_.met_sig(pc);
    const unwind_table* const table = range == nullptr ? nullptr : table_of_sig(*range);
    const unwind_rule* const wide = table == nullptr ? nullptr : table->wide_sig(rule & ~packed_is_exact);
    return wide != nullptr ? *wide : interpret_sig(pc, memory);
  }

  template <class Memory>
  PROF_DETAIL_NOINLINE unwind_rule interpret_sig(std::uintptr_t pc, Memory& memory)
      PROF_DETAIL_SIG {
    return find_fde_sig(pc, memory) ? find_row_sig(scratch_, pc) : unwind_rule{};
  }

  template <class Memory>
  PROF_DETAIL_NOINLINE std::uintptr_t function_start_sig(std::uintptr_t pc, Memory& memory)
      PROF_DETAIL_SIG {
    return find_fde_sig(pc, memory) ? scratch_.fde.begin : 0;
  }

 private:
  // What a rule costs that is found in every walk, in copied code: 6 us.
  static constexpr std::uint32_t uncached_lookups = 9;

  template <class Memory>
  PROF_DETAIL_NOINLINE packed_rule find_slow_sig(std::uintptr_t pc, bool is_return,
                                                 Memory& memory) PROF_DETAIL_SIG {
    const std::uintptr_t inside = is_return ? pc - 1 : pc;
    if (ranges_.is_never_unloaded_sig(inside)) return find_in_code_sig(pc, is_return, memory, memory);
    any_code<Memory> any{memory};
    return contains(inside) ? find_in_code_sig(pc, is_return, any, memory)
                            : foreign_rule_sig(pc, is_return, any);
  }
  // Of an address that is no file's code: a JIT's, or any number.
  template <class Memory>
  static packed_rule foreign_rule_sig(std::uintptr_t pc, bool is_return, any_code<Memory>& any)
      PROF_DETAIL_SIG {
    if (!os_is_signal_return_sig(pc, any)) return 0;
    return static_cast<packed_rule>(rule_kind::signal_frame) | (is_return ? packed_is_exact : 0);
  }

  // A return address has a call before it. Where there is none, the address was pushed by hand: the
  // trampoline of a signal handler, glibc's __start_context. Code: the Memory that the code is read through.
  template <class Code, class Memory>
  packed_rule find_in_code_sig(std::uintptr_t pc, bool is_return, Code& code, Memory& memory)
      PROF_DETAIL_SIG {
    // What a handler returns to may stand right behind another function's last call.
    const bool called = is_return && !os_is_signal_return_sig(pc, code) &&
                        call_tracer<Code>(code).is_return_address_sig(pc);
    if (called || !is_return) {
      const packed_rule rule = describe_sig(called ? pc - 1 : pc, code, memory);
      return rule != 0 ? rule : read_code_sig(pc, code);
    }
    const packed_rule pushed = describe_sig(pc, code, memory);
    if (pushed == 0) return 0;
    // Nobody called this function: it is where a context that makecontext made begins.
    const bool is_entry = pushed == entry_rule() && function_start_sig(pc, memory) == pc;
    return (is_entry ? static_cast<packed_rule>(rule_kind::end) : pushed) | packed_is_exact;
  }
  // Of a function's first instruction, before it has a frame: CFA = sp + 8 (x86-64), sp (aarch64).
  static packed_rule entry_rule() PROF_DETAIL_SIG {
    unwind_rule rule;
    rule.kind = rule_kind::offset;
    rule.reg = dwarf_sp;
    rule.offset = return_address_in_lr ? 0 : 8;
    return pack_rule_sig(rule);
  }

  template <class Code, class Memory>
  packed_rule describe_sig(std::uintptr_t pc, Code& code, Memory& memory) PROF_DETAIL_SIG {
    packed_rule rule = 0;
    const code_range* const range = ranges_.met_sig(pc);
    const unwind_table* const table = range == nullptr ? nullptr : table_of_sig(*range);
    if (table != nullptr) rule = table->find_sig(pc - range->header);
    else rule = interpret_packed_sig(pc, memory);
    if (rule == 0 && os_is_signal_return_sig(pc, code)) {
      rule = static_cast<packed_rule>(rule_kind::signal_frame);
    }
    return rule;
  }

  // What the code itself says, where nothing else does.
  template <class Code>
  PROF_DETAIL_NOINLINE packed_rule read_code_sig(std::uintptr_t pc, Code& code) PROF_DETAIL_SIG {
#if defined(__x86_64__)
    static_assert(sizeof(exit_path<Code>) <= sizeof scratch_, "make room in cfi_scratch");
    void* const place = &scratch_;
    return pack_rule_sig((new (place) exit_path<Code>(pc, code))->find_sig());
#else
    (void)pc;
    (void)code;
    return 0;
#endif
  }

  template <class Memory>
  PROF_DETAIL_NOINLINE packed_rule interpret_packed_sig(std::uintptr_t pc, Memory& memory)
      PROF_DETAIL_SIG {
    if (!find_fde_sig(pc, memory)) return 0;
    return pack_rule_sig(find_row_sig(scratch_, pc));
  }

  // Apart from what runs the FDE, so that a handler's stack holds only one of the two.
  template <class Memory>
  PROF_DETAIL_NOINLINE bool find_fde_sig(std::uintptr_t pc, Memory& memory) PROF_DETAIL_SIG {
    static_assert(sizeof(cfi_search<Memory>) <= sizeof scratch_.search, "make room in cfi_scratch");
    void* const place = scratch_.search;
    if (!ranges_.is_never_unloaded_sig(pc)) return find_copied_fde_sig(pc);
    return (new (place) cfi_search<Memory>(ranges_.cfi_at_sig(pc), memory))
        ->find_fde_sig(pc, scratch_.fde);
  }

  PROF_DETAIL_NOINLINE bool find_copied_fde_sig(std::uintptr_t pc) PROF_DETAIL_SIG {
    static_assert(sizeof(copied_cfi_search) <= sizeof scratch_.search, "make room in cfi_scratch");
    void* const place = scratch_.search;
    return (new (place) copied_cfi_search(ranges_.cfi_at_sig(pc), scratch_.copy))->find_fde_sig(pc, scratch_.fde);
  }

  static const unwind_table* table_of_sig(const code_range& range) PROF_DETAIL_SIG {
    if (range.module == nullptr) return nullptr;
    const unwind_table* const table = range.module->table.load(std::memory_order_acquire);
    if (table == nullptr) range.module->wanted.store(true, std::memory_order_relaxed);
    return table;
  }

  range_lookup ranges_;
  rule_cache& cache_;
  cfi_scratch& scratch_;
  const std::uint64_t salt_;
};

PROF_DETAIL_END

#endif  // PROF_CODE_RULE_LOOKUP_HPP
