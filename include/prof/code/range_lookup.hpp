// prof/code/range_lookup.hpp - which code range a walk is in, whatever was unloaded and loaded since the
// code map was read.
// Floor 5 (code). Used by rule_lookup.hpp; one per walk.
// Safety: async-signal-safe. Code that the map does not know is registered on the spot, which reads
//         /proc/self/maps up to it, twice: 0.2 ms for 200 mappings, once per loaded file; what takes long,
//         fails or is repeated is put off.
// Memory: the sixteen ranges met last, and what the loader answers: members, for a handler's stack is small.
// Source: a library with a frame on the stack cannot be unloaded, so one check holds for the whole walk, unless it
//         goes through more than sixteen.
#ifndef PROF_CODE_RANGE_LOOKUP_HPP
#define PROF_CODE_RANGE_LOOKUP_HPP

#include "prof/code/modules.hpp"

PROF_DETAIL_BEGIN

class range_lookup {
 public:
  range_lookup(const code_map* map, code_registry& registry, std::atomic<bool>& stale)
      PROF_DETAIL_SIG : map_(map), registry_(registry), stale_(stale) {}

  // The range that is loaded at an address now, registered if it is new; null: none is known.
  PROF_DETAIL_NOINLINE const code_range* meet_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const code_range* range = met_sig(address);
    if (range != nullptr) return range;
    range = find_slow_sig(address);
    if (range != nullptr || !may_register_sig(address)) return range;
    const std::uint64_t began = os_thread_cpu_ns_sig();
    const std::size_t known = registry_.ranges.size();
    register_code_at_sig(registry_, address);
    range = find_slow_sig(address);
    failed_ = range == nullptr;
    charge_sig(os_thread_cpu_ns_sig() - began, registry_.ranges.size() != known);
    return range;
  }
  // The same if this walk met it before; else null.
  const code_range* met_sig(std::uintptr_t address) const PROF_DETAIL_SIG {
    for (const code_range* const range : met_) {
      if (range != nullptr && range->holds(address)) return range;
    }
    return nullptr;
  }

  // 0: none is known.
  range_number number_at_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const code_range* const range = meet_sig(address);
    return range != nullptr ? range->number : 0;
  }

  // Whether that is the range at an address now. The answer holds for all of the range's code until another
  // range is asked about: is_latest_sig.
  PROF_DETAIL_NOINLINE bool is_range_sig(range_number number, std::uintptr_t address) PROF_DETAIL_SIG {
    const bool same = number_at_sig(address) == number;
    if (same && number != 0) latest_ = number;
    return same;
  }
  // How often it was found out what is at an address, by system calls.
  std::uint32_t lookups() const PROF_DETAIL_SIG { return lookups_; }
  bool is_latest_sig(range_number number) const PROF_DETAIL_SIG { return number == latest_; }

  // Cheaper, and enough to refuse a word that is no address of code.
  bool is_code_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const code_range* const range = listed_sig(address);
    if (range != nullptr && range->never_unloaded) return true;
    if (os_answers_for_objects()) {
      if (!os_find_object_sig(address, object_)) return false;
      // The loader answers for a file's data too; but code may have been moved to pages without a name, which
      // the map does not list: met by a walk, it is code.
      return range != nullptr || met_sig(address) != nullptr || !has_lasting_code_sig(object_.start);
    }
    return range != nullptr || late_sig(address) != nullptr;
  }
  // Whether it is code that stays.
  bool is_never_unloaded_sig(std::uintptr_t address) const PROF_DETAIL_SIG {
    const code_range* const range = listed_sig(address);
    return range != nullptr && range->never_unloaded;
  }
  // Where the call frame information of an address is, met or not.
  cfi_place cfi_at_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const code_range* const met = met_sig(address);
    if (met != nullptr) return met->cfi;
    const code_range* const range = listed_sig(address);
    if (range != nullptr && range->never_unloaded) return range->cfi;
    if (!os_find_object_sig(address, object_)) return {};
    return {object_.cfi_header, object_.limit};
  }

 private:
  // Whether code of the file whose first byte is at `header` is listed, and stays.
  bool has_lasting_code_sig(std::uintptr_t header) const PROF_DETAIL_SIG {
    return map_ != nullptr && map_->lists_never_unloaded_sig(header);
  }
  // What the map says of an address; null: nothing.
  const code_range* listed_sig(std::uintptr_t address) const PROF_DETAIL_SIG {
    return map_ == nullptr ? nullptr : map_->find_current(address);
  }
  // Where the loader cannot be asked: one that a walk registered and that was there.
  const code_range* late_sig(std::uintptr_t address) const PROF_DETAIL_SIG {
    return registry_.ranges.find_recent_sig(
        [address](const code_range& known) { return known.holds(address); });
  }
  const code_range* remember_sig(const code_range* range) PROF_DETAIL_SIG {
    if (range == nullptr) return nullptr;
    met_[next_] = range;
    next_ = (next_ + 1) % (sizeof met_ / sizeof met_[0]);
    return range;
  }

  PROF_DETAIL_NOINLINE const code_range* find_slow_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    const code_range* const range = listed_sig(address);
    if (range != nullptr && !range->never_unloaded) ++lookups_;
    if (range != nullptr && still_loaded_sig(*range, object_)) return remember_sig(range);
    if (os_answers_for_objects() && !os_find_object_sig(address, object_)) return nullptr;
    ++lookups_;
    stale_.store(true, std::memory_order_relaxed);
    if (!os_answers_for_objects()) {
      return remember_sig(registry_.ranges.find_recent_sig([&](const code_range& known) {
        return known.holds(address) && still_loaded_sig(known, object_);
      }));
    }
    return remember_sig(registry_.ranges.find_sig(object_.start, [&](const code_range& known) {
      return known.holds(address) && is_range_of_sig(object_, known);
    }));
  }

  // A walk before the first map is read meets many new files, and registers them all.
  bool may_register_sig(std::uintptr_t address) PROF_DETAIL_SIG {
    constexpr std::uint64_t credit_ns = 2000000000;  // 20 ms of registering at once, see charge_sig
    if (failed_ || registry_.ranges.full()) return false;
    if (os_answers_for_objects() && !os_find_object_sig(address, object_)) return false;
    return registry_.registration_paid_at.load(std::memory_order_relaxed) <=
           os_monotonic_ns_sig() + credit_ns;
  }
  // What registers nothing new may do so for ever (an unreadable header; a 17th recent range, see
  // remember_recent_sig), and /proc/self/maps may be long (33 ms with 60,000 mappings): going on like that
  // costs one per cent of a CPU at most.
  void charge_sig(std::uint64_t took_ns, bool is_new) PROF_DETAIL_SIG {
    constexpr std::uint64_t short_ns = 1000000;
    if (!failed_ && is_new && took_ns < short_ns) return;
    const std::uint64_t now = os_monotonic_ns_sig();
    const std::uint64_t paid_at = registry_.registration_paid_at.load(std::memory_order_relaxed);
    registry_.registration_paid_at.store((paid_at > now ? paid_at : now) + 100 * took_ns,
                                 std::memory_order_relaxed);
  }

  const code_map* const map_;
  code_registry& registry_;
  std::atomic<bool>& stale_;
  os_object object_;
  const code_range* met_[16] = {};
  unsigned next_ = 0;
  std::uint32_t lookups_ = 0;
  range_number latest_ = ~range_number{0};
  bool failed_ = false;  // to register code: once is enough for a walk
};

PROF_DETAIL_END

#endif  // PROF_CODE_RANGE_LOOKUP_HPP
