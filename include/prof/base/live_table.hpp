// prof/base/live_table.hpp - the sampled objects that were not freed yet, and the filter that tells
// free() that an address is not among them.
// Floor 2 (base). Used by sample/heap.hpp; the filter's word is read by hook/entry.hpp.
// Safety: functions ending in _sig run inside malloc and free: no allocation, no libc, no lock but
//         `growing_`, which is only tried by inserts, and awaited for a bounded time by whoever
//         publishes the filter.
// Memory: 40 B per slot, in pieces; a filter of 64 KiB that doubles up to 8 MiB, each mapped when it is needed.
//         Smaller ones are kept, for free() may be reading them.
// Source: a counting Bloom filter with one hash (Fan et al., Summary Cache, 1998), because a false
//         "maybe" costs only a look into the table.
#ifndef PROF_BASE_LIVE_TABLE_HPP
#define PROF_BASE_LIVE_TABLE_HPP

#include "prof/base/table.hpp"

PROF_DETAIL_BEGIN

// What is known about a live object.
struct live_object {
  std::uint64_t size = 0;
  std::uint64_t weight = 0;
  std::uint32_t counts = 0;  // index of the counts it was added to
};

struct live_slot {
  table_key key;  // address
  live_object object;
};

// ---- the filter's word -----------------------------------------------------------------------------

// A filter is a table of one-byte counters. Base (64-byte aligned) and shift share one word, so that
// a reader never combines two filters.
constexpr std::size_t filter_index_sig(std::uint64_t address, std::uint64_t word) PROF_DETAIL_SIG {
  return static_cast<std::size_t>((address * 0x9e3779b97f4a7c15u) >> (word & 63));
}
inline std::atomic<std::uint8_t>& filter_byte_sig(std::uint64_t address, std::uint64_t word)
    PROF_DETAIL_SIG {
  auto* const base = reinterpret_cast<std::atomic<std::uint8_t>*>(word & ~std::uint64_t{63});
  return base[filter_index_sig(address, word)];
}
inline void filter_add_sig(std::uint64_t address, std::uint64_t word) PROF_DETAIL_SIG {
  auto& byte = filter_byte_sig(address, word);
  std::uint8_t seen = byte.load(std::memory_order_relaxed);
  // 255 is sticky: it only means that such frees take the slow path.
  while (seen != 255 && !byte.compare_exchange_weak(seen, static_cast<std::uint8_t>(seen + 1))) {
  }
}
inline void filter_remove_sig(std::uint64_t address, std::uint64_t word) PROF_DETAIL_SIG {
  auto& byte = filter_byte_sig(address, word);
  std::uint8_t seen = byte.load(std::memory_order_relaxed);
  while (seen != 255 && seen != 0 &&
         !byte.compare_exchange_weak(seen, static_cast<std::uint8_t>(seen - 1))) {
  }
}

// ---- the table ----------------------------------------------------------------------------------------

class live_table {
 public:
  static constexpr std::size_t first_level = 1024;
  static constexpr unsigned levels = 10;            // 1,047,552 objects
  static constexpr unsigned first_filter_bits = 16;  // 64 KiB
  static constexpr unsigned last_filter_bits = 23;   // 8 MiB
  static_assert(leveled_table::pieces_in(sizeof(live_slot), first_level, levels) <= leveled_table::most_pieces);
  // Addresses up to this one are marks of the table.
  static constexpr std::uint64_t last_reserved = add_remove_table<live_slot>::claimed;

  // False: the system gives no memory for the first filter.
  bool bind(table_memory& memory) noexcept {
    memory_ = &memory;
    slots_.bind(memory, first_level, levels);
    if (!map_filter_sig(first_filter_bits)) return false;
    set_filter_sig(first_filter_bits);
    return true;
  }

  // Gives the first filter back, of a table that nothing was added to.
  void unbind_sig() PROF_DETAIL_SIG { memory_->give_back_sig(filters_[0].load(), std::size_t{1} << first_filter_bits); }

  // Remembers an object; false when there is no room.
  bool add_sig(std::uint64_t address, const live_object& object) PROF_DETAIL_SIG {
    const std::size_t index = slots_.claim_sig(address);
    if (index == no_slot) return false;
    slots_.at(index).object = object;
    slots_.publish_sig(index, address);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    const std::uint64_t next = next_filter_.load();  // before filter_: see grow_filter_sig
    const std::uint64_t now = filter_.load();
    filter_add_sig(address, now);
    if (next != 0 && next != now) filter_add_sig(address, next);
    if (slots_.used() > filter_size(now) / 8) grow_filter_sig();
    return true;
  }

  // Forgets an object if it is known. To be called before the real free: afterwards another thread
  // may own the address.
  bool take_sig(std::uint64_t address, live_object& object) PROF_DETAIL_SIG {
    if (address <= last_reserved) return false;
    const std::size_t index = slots_.find_sig(address);
    if (index == no_slot) return false;
    object = slots_.at(index).object;
    // Only the filter that was in force while the key was still there: one that is being filled
    // may not have counted it, and taking from it could hide a neighbour.
    const std::uint64_t now = filter_.load();
    slots_.remove_sig(index);
    filter_remove_sig(address, now);
    return true;
  }

  // False: certainly not known.
  bool maybe_known_sig(std::uint64_t address) const PROF_DETAIL_SIG {
    return filter_byte_sig(address, filter_.load()).load(std::memory_order_relaxed) != 0;
  }
  bool contains_sig(std::uint64_t address) const PROF_DETAIL_SIG {
    return address > last_reserved && slots_.find_sig(address) != no_slot;
  }

  // From now on `fast` holds the word of the filter in force: free() reads it there. Keeps growers
  // out meanwhile, and waits for one that is at it: it takes no lock and calls nothing, so it ends
  // within milliseconds, unless it stayed behind in the parent of a fork; hence the bound.
  void publish_filter_to_sig(std::atomic<char*>& fast) PROF_DETAIL_SIG {
    constexpr int patience = 1000000;
    bool alone = false;
    for (int i = 0; !alone && i < patience; ++i) alone = growing_.exchange(1) == 0;
    fast_filter_.store(&fast);
    fast.store(reinterpret_cast<char*>(filter_.load()));
    if (alone) growing_.store(0);
  }
  // Where the filter's word is published now, and an end to that if it still is there: its object
  // may have been unloaded.
  std::atomic<char*>* published_to_sig() const PROF_DETAIL_SIG { return fast_filter_.load(); }
  void stop_publishing_sig(std::atomic<char*>* to) PROF_DETAIL_SIG {
    fast_filter_.compare_exchange_strong(to, nullptr);
  }

  // Doubles the filter, which an eighth as many objects as it has bytes asks for. An insert publishes its
  // key before it looks at next_filter_, the grower publishes next_filter_ before it looks at keys: one of
  // them sees the other (all sequentially consistent), so no object is ever missing from a filter. Counting
  // one twice only makes a byte stick above zero.
  PROF_DETAIL_COLD void grow_filter_sig() PROF_DETAIL_SIG {
    if (filter_bits() == last_filter_bits || growing_.exchange(1) != 0) return;
    // Another thread may have grown it between the look and the lock.
    const unsigned bits = filter_bits() + 1;
    if (bits <= last_filter_bits && map_filter_sig(bits)) fill_next_filter_sig(bits);
    growing_.store(0);
  }

  // In a forked child: the thread that was growing the filter is not here; the old one is complete.
  void forget_growing() noexcept {
    auto* const fast = fast_filter_.load();
    if (fast != nullptr) fast->store(reinterpret_cast<char*>(filter_.load()));
    next_filter_.store(0);
    growing_.store(0);
  }

  std::size_t used() const PROF_DETAIL_SIG { return slots_.used(); }
  std::uint64_t filter() const PROF_DETAIL_SIG { return filter_.load(); }
  unsigned filter_bits() const PROF_DETAIL_SIG {
    return 64 - static_cast<unsigned>(filter_.load() & 63);
  }
  bool growing() const PROF_DETAIL_SIG { return growing_.load() != 0; }

 private:
  static constexpr std::size_t filter_size(std::uint64_t word) PROF_DETAIL_SIG {
    return std::size_t{1} << (64 - (word & 63));
  }
  std::uint64_t word_of(unsigned bits) const PROF_DETAIL_SIG {
    return reinterpret_cast<std::uintptr_t>(filters_[bits - first_filter_bits].load()) | (64 - bits);
  }
  // A table whose filter cannot grow goes on with the one it has: more frees look into the table.
  bool map_filter_sig(unsigned bits) PROF_DETAIL_SIG {
    return piece_at_sig(filters_[bits - first_filter_bits], *memory_, std::size_t{1} << bits) != nullptr;
  }
  void fill_next_filter_sig(unsigned bits) PROF_DETAIL_SIG {
    const std::uint64_t word = word_of(bits);
    next_filter_.store(word);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    slots_.for_each_sig([word](std::size_t, live_slot& slot) PROF_DETAIL_SIG {
      const std::uint64_t address = slot.key.load();
      if (address > last_reserved) filter_add_sig(address, word);
    });
    set_filter_sig(bits);
    next_filter_.store(0);
  }
  void set_filter_sig(unsigned bits) PROF_DETAIL_SIG {
    const std::uint64_t word = word_of(bits);
    // What free() reads goes first: an object that was added to the new filter only must not be
    // freed by the old one.
    auto* const fast = fast_filter_.load();
    if (fast != nullptr) fast->store(reinterpret_cast<char*>(word));
    filter_.store(word);
  }

  table_memory* memory_ = nullptr;
  add_remove_table<live_slot> slots_;
  std::atomic<char*> filters_[last_filter_bits - first_filter_bits + 1] = {};
  std::atomic<std::uint64_t> filter_{0};       // the filter in force
  std::atomic<std::uint64_t> next_filter_{0};  // being filled, or 0
  std::atomic<std::atomic<char*>*> fast_filter_{nullptr};  // where the owner's free() reads it
  std::atomic<std::uint32_t> growing_{0};
};

PROF_DETAIL_END

#endif  // PROF_BASE_LIVE_TABLE_HPP
