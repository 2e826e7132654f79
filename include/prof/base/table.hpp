// prof/base/table.hpp - lock-free hash tables of fixed address space that grow level by level.
// Floor 2 (base). Used by stack/ (stacks), sample/ (counts, live objects).
// Safety: functions ending in _sig are async-signal-safe and wait-free: probing is bounded by
//         max_probe slots on each of at most max_levels levels.
// Memory: the caller reserves bytes_for(levels) zeroed bytes once; level k has first << k slots
//         and its pages are touched only when level k-1 is three quarters full, so a small
//         program pays for a small table. Nothing is ever moved: an index stays valid for ever.
//         When the limit is reached the insert fails and overflow() counts it.
// Source: chained doubling levels as in async-profiler's call trace storage (v4.5, idea only);
//         linear probing, Knuth vol. 3, 6.4.
#ifndef PROF_BASE_TABLE_HPP
#define PROF_BASE_TABLE_HPP

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// splitmix64's finalizer (Steele, Lea, Flood, 2014): spreads keys that are no hashes themselves.
constexpr std::uint64_t mix_bits(std::uint64_t x) PROF_DETAIL_SIG {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

inline constexpr std::size_t max_probe = 16;
inline constexpr unsigned max_levels = 16;
inline constexpr std::size_t no_slot = ~std::size_t{0};

// Shared layout of the two tables below. Slot begins with `std::atomic<std::uint64_t> key`.
template <class Slot>
class leveled_slots {
 public:
  static constexpr std::size_t slots_in(std::size_t first, unsigned levels) {
    return first * ((std::size_t{1} << levels) - 1);
  }
  static constexpr std::size_t bytes_for(std::size_t first, unsigned levels) {
    return slots_in(first, levels) * sizeof(Slot);
  }

  // `first` is a power of two >= max_probe; `memory` holds bytes_for(first, levels) zero bytes.
  void bind(void* memory, std::size_t first, unsigned levels) noexcept {
    slots_ = static_cast<Slot*>(memory);
    first_ = first;
    reserved_levels_ = levels;
    open_levels_.store(1, std::memory_order_release);
  }

  unsigned levels() const PROF_DETAIL_SIG { return open_levels_.load(std::memory_order_acquire); }
  // Slots that may hold something now; indices below it are valid for at().
  std::size_t span() const PROF_DETAIL_SIG { return slots_in(first_, levels()); }
  Slot& at(std::size_t index) PROF_DETAIL_SIG { return slots_[index]; }
  const Slot& at(std::size_t index) const PROF_DETAIL_SIG { return slots_[index]; }
  std::size_t used() const PROF_DETAIL_SIG { return used_.load(std::memory_order_relaxed); }
  std::uint64_t overflow() const PROF_DETAIL_SIG {
    return overflow_.load(std::memory_order_relaxed);
  }

 protected:
  std::size_t probe_index(std::uint64_t key, unsigned level, std::size_t step) const
      PROF_DETAIL_SIG {
    const std::size_t mask = (first_ << level) - 1;
    return slots_in(first_, level) + ((mix_bits(key) + step) & mask);
  }

  bool crowded(unsigned levels) const PROF_DETAIL_SIG {
    const std::size_t span_now = slots_in(first_, levels);
    return used() > span_now - span_now / 4;
  }

  // Opens one more level unless another thread just did or the reservation ends here.
  bool open_level_sig(unsigned seen) PROF_DETAIL_SIG {
    if (seen >= reserved_levels_) return false;
    open_levels_.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel);
    return true;
  }

  Slot* slots_ = nullptr;
  std::size_t first_ = 0;
  unsigned reserved_levels_ = 0;
  std::atomic<unsigned> open_levels_{0};
  std::atomic<std::size_t> used_{0};
  std::atomic<std::uint64_t> overflow_{0};
};

// Keys are only added. The key must be a 64-bit hash of what the slot stands for: equal hashes are
// taken for equal things (a false match needs about 2^32 distinct keys).
// Two threads that add the same new key while a level opens may end up with two slots for it;
// readers merge equal entries, so that is harmless.
template <class Slot>
class add_only_table : public leveled_slots<Slot> {
 public:
  // Index of the key's slot; `fresh` tells the one caller that claimed it and must fill it in.
  std::size_t find_or_add_sig(std::uint64_t key, bool& fresh) PROF_DETAIL_SIG {
    fresh = false;
    for (unsigned attempt = 0; attempt <= max_levels; ++attempt) {
      const unsigned levels = this->levels();
      const std::size_t index = find_or_add_in_sig(key, levels, fresh);
      if (index != no_slot) {
        if (fresh && this->crowded(levels)) this->open_level_sig(levels);
        return index;
      }
      if (!this->open_level_sig(levels)) break;
    }
    this->overflow_.fetch_add(1, std::memory_order_relaxed);
    return no_slot;
  }

 private:
  std::size_t find_or_add_in_sig(std::uint64_t key, unsigned levels, bool& fresh)
      PROF_DETAIL_SIG {
    for (unsigned level = 0; level < levels; ++level) {
      const bool last = level + 1 == levels;
      for (std::size_t step = 0; step < max_probe; ++step) {
        const std::size_t index = this->probe_index(key, level, step);
        auto& slot_key = this->slots_[index].key;
        std::uint64_t seen = slot_key.load(std::memory_order_acquire);
        if (seen == 0 && !last) break;  // older levels take no new keys
        if (seen == 0 && slot_key.compare_exchange_strong(seen, key, std::memory_order_acq_rel)) {
          this->used_.fetch_add(1, std::memory_order_relaxed);
          fresh = true;
          return index;
        }
        if (seen == key) return index;
      }
    }
    return no_slot;
  }
};

// Keys come and go, and a key is present at most once because its owner is unique (a live
// address). Keys 0 to 2 are reserved.
template <class Slot>
class add_remove_table : public leveled_slots<Slot> {
 public:
  // Claims a slot for a key that is not in the table; publish_sig makes it visible.
  std::size_t claim_sig(std::uint64_t key) PROF_DETAIL_SIG {
    for (unsigned attempt = 0; attempt <= max_levels; ++attempt) {
      const unsigned levels = this->levels();
      for (unsigned level = levels; level-- > 0;) {
        const std::size_t index = claim_in_sig(key, level);
        if (index == no_slot) continue;
        if (this->crowded(levels)) this->open_level_sig(levels);
        return index;
      }
      if (!this->open_level_sig(levels)) break;
    }
    this->overflow_.fetch_add(1, std::memory_order_relaxed);
    return no_slot;
  }

  void publish_sig(std::size_t index, std::uint64_t key) PROF_DETAIL_SIG {
    // Pairs with the acquire in find_sig: who sees the key sees the slot's payload.
    this->slots_[index].key.store(key, std::memory_order_release);
  }

  std::size_t find_sig(std::uint64_t key) const PROF_DETAIL_SIG {
    for (unsigned level = this->levels(); level-- > 0;) {
      for (std::size_t step = 0; step < max_probe; ++step) {
        const std::size_t index = this->probe_index(key, level, step);
        const std::uint64_t seen = this->slots_[index].key.load(std::memory_order_acquire);
        if (seen == key) return index;
        if (seen == empty) break;
      }
    }
    return no_slot;
  }

  // Gives the slot back; its payload must have been read before.
  void remove_sig(std::size_t index) PROF_DETAIL_SIG {
    this->slots_[index].key.store(removed, std::memory_order_release);
    this->used_.fetch_sub(1, std::memory_order_relaxed);
  }

  static constexpr std::uint64_t empty = 0;
  static constexpr std::uint64_t removed = 1;
  static constexpr std::uint64_t claimed = 2;

 private:
  std::size_t claim_in_sig(std::uint64_t key, unsigned level) PROF_DETAIL_SIG {
    for (std::size_t step = 0; step < max_probe; ++step) {
      const std::size_t index = this->probe_index(key, level, step);
      auto& slot_key = this->slots_[index].key;
      std::uint64_t seen = slot_key.load(std::memory_order_relaxed);
      if (seen > removed) continue;
      if (slot_key.compare_exchange_strong(seen, claimed, std::memory_order_acq_rel)) {
        this->used_.fetch_add(1, std::memory_order_relaxed);
        return index;
      }
    }
    return no_slot;
  }
};

PROF_DETAIL_END

#endif  // PROF_BASE_TABLE_HPP
