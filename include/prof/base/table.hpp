// prof/base/table.hpp - lock-free hash tables that grow level by level, in pieces, and never move an entry.
// Floor 2 (base). Used by process/ (stacks, labels, counts, threads) and sample/ (live objects, timers).
// Safety: functions ending in _sig are async-signal-safe and wait-free: probing is bounded by max_probe slots on
//         each of at most max_levels levels. Adding may map one piece by a system call.
// Memory: level k has first << k slots, in pieces of at most 256 KiB that are mapped when a key falls into them,
//         so a small program pays for a small table. Nothing is ever moved: an index stays valid for ever. When
//         the limit is reached or the system refuses a piece, adding fails and overflow() counts it.
// Source: chained doubling levels as in async-profiler's call trace storage (v4.5, idea only);
//         linear probing, Knuth vol. 3, 6.4.
#ifndef PROF_BASE_TABLE_HPP
#define PROF_BASE_TABLE_HPP

#include "prof/base/table_memory.hpp"

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

using table_key = std::atomic<std::uint64_t>;

// What the tables below share whatever they hold, so that it is compiled once. A slot is so many bytes that begin
// with its key; all zero, it is empty.
class leveled_table {
  struct slot_place {
    std::size_t piece;  // its number
    std::size_t slot;   // in it
  };

 public:
  static constexpr std::size_t slots_in(std::size_t first, unsigned levels) {
    return first * ((std::size_t{1} << levels) - 1);
  }

  // How many pieces a full table has; a constant expression for users' static_asserts.
  static constexpr std::size_t most_pieces = 264;
  static constexpr std::size_t pieces_in(std::size_t slot_bytes, std::size_t first, unsigned levels) {
    const unsigned shift = 63 - static_cast<unsigned>(__builtin_clzll(piece_bytes / slot_bytes));
    const std::size_t whole = ((first << levels) - 1) >> shift;
    return whole == 0 ? levels : whole + shift - (63 - static_cast<unsigned>(__builtin_clzll(first)));
  }

  // `first` is a power of two, at least max_probe; the slots of the first level fit a piece.
  void bind(table_memory& memory, std::size_t slot_bytes, std::size_t first, unsigned levels) noexcept {
    memory_ = &memory;
    slot_bytes_ = slot_bytes;
    first_ = first;
    most_levels_ = levels;
    piece_shift_ = 63 - static_cast<unsigned>(__builtin_clzll(piece_bytes / slot_bytes));
    small_levels_ = piece_shift_ - (63 - static_cast<unsigned>(__builtin_clzll(first)));
    open_levels_.store(1, std::memory_order_release);
  }

  unsigned levels() const PROF_DETAIL_SIG { return open_levels_.load(std::memory_order_acquire); }
  // Indices of slots that may hold something now are below it; not all of them have memory: see find_place_sig.
  std::size_t span() const PROF_DETAIL_SIG { return slots_in(first_, levels()); }
  std::size_t used() const PROF_DETAIL_SIG { return used_.load(std::memory_order_relaxed); }
  const std::atomic<std::size_t>& used_now() const PROF_DETAIL_SIG { return used_; }  // for hot paths
  std::uint64_t overflow() const PROF_DETAIL_SIG { return overflow_.load(std::memory_order_relaxed); }

  // Null where no key has ever been near.
  void* find_place_sig(std::size_t index) const PROF_DETAIL_SIG {
    const slot_place at = place_of(index);
    char* const piece = pieces_[at.piece].load(std::memory_order_acquire);
    return piece == nullptr ? nullptr : piece + at.slot * slot_bytes_;
  }
  // Of a key that was added.
  void* place_sig(std::size_t index) const PROF_DETAIL_SIG {
    const slot_place at = place_of(index);
    return pieces_[at.piece].load(std::memory_order_acquire) + at.slot * slot_bytes_;
  }

 protected:
  // The slots a key may be in on one level: a power of two of them, `begin` the index of the first.
  struct run {
    std::size_t begin;
    std::size_t mask;
    std::size_t first;  // where probing begins
    std::size_t index(std::size_t step) const PROF_DETAIL_SIG { return begin + ((first + step) & mask); }
  };

  // Counted from `first_` on, levels begin at powers of two. Level k below small_levels_ is piece k; behind them pieces
  // are numbered through.
  slot_place place_of(std::size_t index) const PROF_DETAIL_SIG {
    const std::size_t at = index + first_;
    const std::size_t whole = at >> piece_shift_;
    if (whole != 0) return {small_levels_ + whole - 1, at & ((std::size_t{1} << piece_shift_) - 1)};
    const unsigned level = static_cast<unsigned>(__builtin_clzll(first_) - __builtin_clzll(at));
    return {level, at - (first_ << level)};
  }
  // Probing stays in one piece, so that a lookup meets one that is mapped or one that is not.
  run run_of(std::uint64_t key, unsigned level) const PROF_DETAIL_SIG {
    const std::size_t level_size = first_ << level;
    const std::size_t hash = static_cast<std::size_t>(mix_bits(key)) & (level_size - 1);
    const std::size_t in_piece = level_size >> piece_shift_ != 0 ? std::size_t{1} << piece_shift_ : level_size;
    return {slots_in(first_, level) + (hash & ~(in_piece - 1)), in_piece - 1, hash & (in_piece - 1)};
  }
  // The memory of a run's first slot; null when there is none and none can be had.
  char* map_run_sig(const run& keys) PROF_DETAIL_SIG {
    const std::size_t piece = place_of(keys.begin).piece;
    return piece_at_sig(pieces_[piece], *memory_, (keys.mask + 1) * slot_bytes_);
  }
  table_key& key_in(void* place) const PROF_DETAIL_SIG { return *static_cast<table_key*>(place); }
  table_key& key_of(std::size_t index) const PROF_DETAIL_SIG { return key_in(place_sig(index)); }

  bool crowded(unsigned levels) const PROF_DETAIL_SIG {
    const std::size_t span_now = slots_in(first_, levels);
    return used() > span_now - span_now / 4;
  }
  // Whether the last level has memory for a key. If not, the level is not full, and one more would not help.
  bool has_memory_sig(std::uint64_t key, unsigned open) const PROF_DETAIL_SIG {
    return find_place_sig(run_of(key, open - 1).begin) != nullptr;
  }
  // Opens one more level unless another thread just did or there are no more.
  bool open_level_sig(unsigned seen) PROF_DETAIL_SIG {
    if (seen >= most_levels_) return false;
    open_levels_.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel);
    return true;
  }
  std::size_t lose_sig() PROF_DETAIL_SIG {
    overflow_.fetch_add(1, std::memory_order_relaxed);
    return no_slot;
  }

  table_memory* memory_ = nullptr;
  std::size_t slot_bytes_ = 0;
  std::size_t first_ = 0;
  unsigned most_levels_ = 0;
  unsigned piece_shift_ = 0;   // log2 of the slots of a whole piece
  unsigned small_levels_ = 0;  // so many levels are smaller than a whole piece
  std::atomic<unsigned> open_levels_{0};
  std::atomic<std::size_t> used_{0};
  std::atomic<std::uint64_t> overflow_{0};
  std::atomic<char*> pieces_[most_pieces] = {};
};

// Keys are only added. The key must be a 64-bit hash of what the slot stands for: equal hashes are
// taken for equal things (a false match needs about 2^32 distinct keys).
// Two threads that add the same new key while a level opens may end up with two slots for it;
// readers merge equal entries, so that is harmless.
class add_only_keys : public leveled_table {
 public:
  // Index of the key's slot; `fresh` tells the one caller that claimed it and must fill it in.
  std::size_t find_or_add_sig(std::uint64_t key, bool& fresh) PROF_DETAIL_SIG {
    fresh = false;
    for (unsigned attempt = 0; attempt <= max_levels; ++attempt) {
      const unsigned open = levels();
      const std::size_t index = find_or_add_in_sig(key, open, fresh);
      if (index != no_slot) {
        if (fresh && crowded(open)) open_level_sig(open);
        return index;
      }
      if (!has_memory_sig(key, open) || !open_level_sig(open)) break;
    }
    return lose_sig();
  }

 private:
  std::size_t find_or_add_in_sig(std::uint64_t key, unsigned open, bool& fresh) PROF_DETAIL_SIG {
    for (unsigned level = 0; level < open; ++level) {
      const run keys = run_of(key, level);
      const bool last = level + 1 == open;  // older levels take no new keys
      char* const memory = last ? map_run_sig(keys) : static_cast<char*>(find_place_sig(keys.begin));
      for (std::size_t step = 0; memory != nullptr && step < max_probe; ++step) {
        table_key& place = key_in(memory + ((keys.first + step) & keys.mask) * slot_bytes_);
        std::uint64_t seen = place.load(std::memory_order_acquire);
        if (seen == 0 && !last) break;
        if (seen == 0 && place.compare_exchange_strong(seen, key, std::memory_order_acq_rel)) {
          used_.fetch_add(1, std::memory_order_relaxed);
          fresh = true;
          return keys.index(step);
        }
        if (seen == key) return keys.index(step);
      }
    }
    return no_slot;
  }
};

// Keys come and go, and a key is present at most once because its owner is unique (a live
// address). Keys 0 to 2 are reserved.
class add_remove_keys : public leveled_table {
 public:
  static constexpr std::uint64_t empty = 0;
  static constexpr std::uint64_t removed = 1;
  static constexpr std::uint64_t claimed = 2;

  // Claims a slot for a key that is not in the table; publish_sig makes it visible.
  std::size_t claim_sig(std::uint64_t key) PROF_DETAIL_SIG {
    for (unsigned attempt = 0; attempt <= max_levels; ++attempt) {
      const unsigned open = levels();
      for (unsigned level = open; level-- > 0;) {
        const std::size_t index = claim_in_sig(key, level);
        if (index == no_slot) continue;
        if (crowded(open)) open_level_sig(open);
        return index;
      }
      if (!has_memory_sig(key, open) || !open_level_sig(open)) break;
    }
    return lose_sig();
  }

  void publish_sig(std::size_t index, std::uint64_t key) PROF_DETAIL_SIG {
    // Pairs with the acquire in find_sig: who sees the key sees the slot's payload.
    key_of(index).store(key, std::memory_order_release);
  }

  std::size_t find_sig(std::uint64_t key) const PROF_DETAIL_SIG {
    for (unsigned level = levels(); level-- > 0;) {
      const run keys = run_of(key, level);
      char* const memory = static_cast<char*>(find_place_sig(keys.begin));
      for (std::size_t step = 0; memory != nullptr && step < max_probe; ++step) {
        const std::uint64_t seen =
            key_in(memory + ((keys.first + step) & keys.mask) * slot_bytes_).load(std::memory_order_acquire);
        if (seen == key) return keys.index(step);
        if (seen == empty) break;
      }
    }
    return no_slot;
  }

  // Whether another slot than `index` has the key: for owners that are not unique, see sample/mutex.hpp.
  bool has_other_sig(std::uint64_t key, std::size_t index) const PROF_DETAIL_SIG {
    for (unsigned level = levels(); level-- > 0;) {
      const run keys = run_of(key, level);
      char* const memory = static_cast<char*>(find_place_sig(keys.begin));
      for (std::size_t step = 0; memory != nullptr && step < max_probe; ++step) {
        const std::uint64_t seen = key_in(memory + ((keys.first + step) & keys.mask) * slot_bytes_).load();
        if (seen == empty) break;
        if (seen == key && keys.index(step) != index) return true;
      }
    }
    return false;
  }

  // Gives the slot back; its payload must have been read before.
  void remove_sig(std::size_t index) PROF_DETAIL_SIG {
    key_of(index).store(removed, std::memory_order_release);
    used_.fetch_sub(1, std::memory_order_relaxed);
  }
  // The same where others may do so too, and the slot may have another key since; false: it was not there.
  bool remove_key_sig(std::size_t index, std::uint64_t key) PROF_DETAIL_SIG {
    if (!key_of(index).compare_exchange_strong(key, removed, std::memory_order_acq_rel)) return false;
    used_.fetch_sub(1, std::memory_order_relaxed);
    return true;
  }

 private:
  std::size_t claim_in_sig(std::uint64_t key, unsigned level) PROF_DETAIL_SIG {
    const run keys = run_of(key, level);
    char* const memory = map_run_sig(keys);
    for (std::size_t step = 0; memory != nullptr && step < max_probe; ++step) {
      table_key& place = key_in(memory + ((keys.first + step) & keys.mask) * slot_bytes_);
      std::uint64_t seen = place.load(std::memory_order_relaxed);
      if (seen > removed) continue;
      if (place.compare_exchange_strong(seen, claimed, std::memory_order_acq_rel)) {
        used_.fetch_add(1, std::memory_order_relaxed);
        return keys.index(step);
      }
    }
    return no_slot;
  }
};

// Either of the two with slots of one type, whose first member is `table_key key`.
template <class Keys, class Slot>
class typed_table : public Keys {
 public:
  void bind(table_memory& memory, std::size_t first, unsigned levels) noexcept {
    Keys::bind(memory, sizeof(Slot), first, levels);
  }
  // Of a key that was added.
  Slot& at(std::size_t index) PROF_DETAIL_SIG { return *static_cast<Slot*>(this->place_sig(index)); }
  const Slot& at(std::size_t index) const PROF_DETAIL_SIG { return *static_cast<const Slot*>(this->place_sig(index)); }
  // Calls visit(index, slot) for every slot that has memory.
  template <class Visit>
  void for_each_sig(Visit visit) {
    const std::size_t span = this->span();
    for (std::size_t i = 0; i < span; ++i) {
      void* const place = this->find_place_sig(i);
      if (place != nullptr) visit(i, *static_cast<Slot*>(place));
    }
  }
};
template <class Slot>
using add_only_table = typed_table<add_only_keys, Slot>;
template <class Slot>
using add_remove_table = typed_table<add_remove_keys, Slot>;

PROF_DETAIL_END

#endif  // PROF_BASE_TABLE_HPP
