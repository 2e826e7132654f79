// prof/stack/rule_lookup.hpp - the unwind rule of an address, wherever it is known from: the cache, the
// module's table, its call frame information, the loader.
// Floor 3 (stack). The Code of unwind.hpp's walks; made by capture.hpp for each of them.
// Safety: async-signal-safe. Modules are those of an immutable code map, which the caller keeps; one
//         that the map does not know yet is asked for with _dl_find_object, which is lock-free.
// Memory: the cache is one per process, 256 KiB of address space beside process_state.
// Source: per-pc rule caches as in framehop; glibc 2.35 _dl_find_object (async-signal-safe by its manual).
#ifndef PROF_STACK_RULE_LOOKUP_HPP
#define PROF_STACK_RULE_LOOKUP_HPP

#include "prof/stack/call_site.hpp"
#include "prof/stack/exit_path.hpp"
#include "prof/stack/modules.hpp"

PROF_DETAIL_BEGIN

// Direct-mapped. An entry's two words are written apart, so each is checked against the other; `salt`
// changes with the code map, which empties the cache.
class rule_cache {
 public:
  bool find_sig(std::uint64_t key, std::uint64_t salt, packed_rule& rule) const PROF_DETAIL_SIG {
    const entry& place = entries_[index_of(key)];
    rule = place.rule.load(std::memory_order_relaxed);
    return (place.check.load(std::memory_order_relaxed) ^ rule ^ salt) == key;
  }
  void keep_sig(std::uint64_t key, std::uint64_t salt, packed_rule rule) PROF_DETAIL_SIG {
    entry& place = entries_[index_of(key)];
    place.rule.store(rule, std::memory_order_relaxed);
    place.check.store(key ^ rule ^ salt, std::memory_order_relaxed);
  }

 private:
  struct entry {
    std::atomic<std::uint64_t> check;
    std::atomic<packed_rule> rule;
  };
  static constexpr unsigned index_bits = 14;
  // Multiplicative hashing: Knuth, 2^64 divided by the golden ratio.
  static std::size_t index_of(std::uint64_t key) PROF_DETAIL_SIG {
    return static_cast<std::size_t>((key * 0x9e3779b97f4a7c15u) >> (64 - index_bits));
  }
  entry entries_[std::size_t{1} << index_bits];
};

// Reads this process's memory without trusting any address: each page is probed by one system
// call before its first load, and remembered for this walk only.
class probed_memory {
 public:
  bool read_word(std::uintptr_t address, std::uintptr_t& word) PROF_DETAIL_SIG {
    if (!page_ok_sig(address) || !page_ok_sig(address + sizeof word - 1)) return false;
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
    return true;
  }
  bool readable(std::uintptr_t address, std::size_t size) PROF_DETAIL_SIG {
    const std::uintptr_t last = address + size - 1;
    if (last < address) return false;
    for (std::uintptr_t page = address & ~page_mask; page <= last; page += page_mask + 1) {
      if (!page_ok_sig(page)) return false;
    }
    return true;
  }

 private:
  static constexpr std::uintptr_t page_mask = 4095;
  static constexpr std::size_t pages = 8;
  bool page_ok_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const std::uintptr_t page = address >> 12;
    if (page == 0) return false;  // what an empty entry of known_ would match
    std::uintptr_t& known = known_[page % pages];
    return PROF_DETAIL_LIKELY(known == page) || probe_slow_sig(page, known);
  }
  // A walk goes up: eight bytes across the page's end answer for the next one as well.
  PROF_DETAIL_NOINLINE bool probe_slow_sig(std::uintptr_t page, std::uintptr_t& known)
      PROF_DETAIL_SIG {
    if (os_readable_sig(((page + 1) << 12) - 4)) known_[(page + 1) % pages] = page + 1;
    else if (!os_readable_sig(page << 12)) return false;
    known = page;
    return true;
  }
  std::uintptr_t known_[pages] = {};
};

class rule_lookup {
 public:
  // Rules kept under another epoch are not found again.
  rule_lookup(const code_map* map, rule_cache& cache, std::uint64_t epoch,
              std::atomic<bool>& stale, cfi_scratch& scratch) PROF_DETAIL_SIG
      : map_(map), cache_(cache), stale_(stale), scratch_(scratch), salt_(~mix_bits(epoch)) {}

  bool contains(std::uintptr_t address) const PROF_DETAIL_SIG {
    if (map_ != nullptr && map_->find_current(address) != nullptr) return true;
    os_object object;
    return os_find_object_sig(address, object);
  }

  bool known_rule_sig(std::uintptr_t return_address, packed_rule& rule) const PROF_DETAIL_SIG {
    return cache_.find_sig(std::uint64_t{return_address} << 1 | 1, salt_, rule);
  }

  template <class Memory>
  packed_rule rule_at_sig(std::uintptr_t pc, bool is_return, Memory& memory) PROF_DETAIL_SIG {
    const std::uint64_t key = std::uint64_t{pc} << 1 | (is_return ? 1 : 0);
    packed_rule rule = 0;
    if (PROF_DETAIL_LIKELY(cache_.find_sig(key, salt_, rule))) return rule;
    rule = find_slow_sig(pc, is_return, memory);
    cache_.keep_sig(key, salt_, rule);
    return rule;
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
  // A return address has a call before it. Where there is none, the address was pushed by hand: the
  // trampoline of a signal handler, glibc's __start_context.
  template <class Memory>
  PROF_DETAIL_NOINLINE packed_rule find_slow_sig(std::uintptr_t pc, bool is_return,
                                                 Memory& memory) PROF_DETAIL_SIG {
    const bool called = is_return && call_tracer<Memory>(memory).is_return_address_sig(pc);
    if (called || !is_return) {
      const packed_rule rule = describe_sig(called ? pc - 1 : pc, memory);
      return rule != 0 || !contains(pc) ? rule : read_code_sig(pc, memory);
    }
    const packed_rule pushed = describe_sig(pc, memory);
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
    rule.offset = return_address_in_third ? 0 : 8;
    return pack_rule_sig(rule);
  }

  template <class Memory>
  packed_rule describe_sig(std::uintptr_t pc, Memory& memory) PROF_DETAIL_SIG {
    packed_rule rule = 0;
    const code_range* const range = map_ == nullptr ? nullptr : map_->find_current(pc);
    const unwind_table* const table = range == nullptr ? nullptr : table_of_sig(*range);
    if (table != nullptr) rule = table->find_sig(pc - range->header);
    else rule = pack_rule_sig(interpret_sig(pc, memory));
    if (rule == 0 && os_is_signal_return_sig(pc, memory)) {
      rule = static_cast<packed_rule>(rule_kind::signal_frame);
    }
    return rule;
  }

  // What the code itself says, where nothing else does.
  template <class Memory>
  PROF_DETAIL_NOINLINE packed_rule read_code_sig(std::uintptr_t pc, Memory& memory)
      PROF_DETAIL_SIG {
#if defined(__x86_64__)
    static_assert(sizeof(exit_path<Memory>) <= sizeof scratch_, "make room in cfi_scratch");
    void* const place = &scratch_;
    return pack_rule_sig((new (place) exit_path<Memory>(pc, memory))->find_sig());
#else
    (void)pc;
    (void)memory;
    return 0;
#endif
  }

  // Apart from what runs the FDE, so that a handler's stack holds only one of the two.
  template <class Memory>
  PROF_DETAIL_NOINLINE bool find_fde_sig(std::uintptr_t pc, Memory& memory) PROF_DETAIL_SIG {
    static_assert(sizeof(cfi_search<Memory>) <= sizeof scratch_.search, "make room in cfi_scratch");
    void* const place = scratch_.search;
    return (new (place) cfi_search<Memory>(place_of_sig(pc), memory))->find_fde_sig(pc, scratch_.fde);
  }

  static const unwind_table* table_of_sig(const code_range& range) PROF_DETAIL_SIG {
    if (range.module == nullptr) return nullptr;
    const unwind_table* const table = range.module->table.load(std::memory_order_acquire);
    if (table == nullptr) range.module->wanted.store(true, std::memory_order_relaxed);
    return table;
  }

  PROF_DETAIL_NOINLINE cfi_place place_of_sig(std::uintptr_t pc) PROF_DETAIL_SIG {
    const code_range* const range = map_ == nullptr ? nullptr : map_->find_current(pc);
    if (range != nullptr) return range->cfi;
    os_object object;
    if (!os_find_object_sig(pc, object)) return {};
    stale_.store(true, std::memory_order_relaxed);  // loaded after the map was read
    return {object.cfi_header, object.limit};
  }

  const code_map* const map_;
  rule_cache& cache_;
  std::atomic<bool>& stale_;
  cfi_scratch& scratch_;
  const std::uint64_t salt_;
};

PROF_DETAIL_END

#endif  // PROF_STACK_RULE_LOOKUP_HPP
