// prof/process/count_table.hpp - what samplers count: (stack, labels, one word more) to some counters, and the
// difference between two moments.
// Floor 7 (process). One per kind of profile, in its sampler's state.
// Safety: functions ending in _sig are async-signal-safe and wait-free; snapshots are for ordinary context.
// Memory: 32 bytes and 8 for each counter per distinct entry, in pieces; at most 261,888 of them, of which the
//         first is refused at about 100,000, since only the last level takes new ones. What finds no room is
//         counted under the stack that says so.
// Source: Go's runtime/mprof.go (a bucket per stack); nothing is ever drained, so that any number of profiles may run
//         at once, each the difference of two snapshots.
#ifndef PROF_PROCESS_COUNT_TABLE_HPP
#define PROF_PROCESS_COUNT_TABLE_HPP

#include "prof/base/memory.hpp"
#include "prof/process/annotation.hpp"
#include "prof/process/stack_table.hpp"

PROF_DETAIL_BEGIN

// What an entry stands for. `extra` is the sampler's: a size, a kind, a lock.
struct count_key {
  stack_id stack = overflow_stack;
  label_set_id labels = no_labels;
  std::uint64_t extra = 0;
};

// The counters of all entries at one moment, by index: `width` numbers for each.
struct count_snapshot {
  explicit count_snapshot(arena& memory) noexcept : values(memory) {}
  arena_vector<std::uint64_t> values;
  std::size_t width = 0;
  std::size_t size() const noexcept { return width == 0 ? 0 : values.size() / width; }
};

class count_table {
 public:
  static constexpr std::size_t first_level = 256;
  static constexpr unsigned levels = 10;
  static constexpr std::size_t max_counters = 8;
  static constexpr std::size_t most_entries = leveled_table::slots_in(first_level, levels);

  void bind(table_memory& memory, std::size_t counters) noexcept {
    counters_ = counters;
    keys_.bind(memory, sizeof(slot) + counters * sizeof(counter), first_level, levels);
  }

  // The entry of a key, made when there is none; `lost`: there is no room, and it is the overflow entry. no_slot when not
  // even that has memory.
  std::size_t find_or_add_sig(const count_key& key, bool& lost) PROF_DETAIL_SIG {
    const std::uintptr_t words[3] = {key.stack, key.labels, static_cast<std::uintptr_t>(key.extra)};
    const std::size_t index = add_sig(hash_words_sig(words, 3, 1), key);
    lost = index == no_slot;
    return lost ? add_sig(overflow_key, {}) : index;
  }
  void add_to_sig(std::size_t index, std::size_t which, std::uint64_t amount) PROF_DETAIL_SIG {
    counters_of(index)[which].fetch_add(amount, std::memory_order_relaxed);
  }

  // Entries in use.
  std::size_t used() const PROF_DETAIL_SIG { return keys_.used(); }
  std::uint64_t overflow() const PROF_DETAIL_SIG { return keys_.overflow(); }
  count_key key_of(std::size_t index) const noexcept {
    const slot& there = slot_at(index);
    return {there.stack.load(std::memory_order_relaxed), there.labels.load(std::memory_order_relaxed),
            there.extra.load(std::memory_order_relaxed)};
  }

  // The counters now. An entry's last counter is read first: a sampler whose later counters take back what earlier ones
  // counted (freed, allocated) must not show more taken back than counted.
  void read(count_snapshot& snapshot) const noexcept {
    const std::size_t span = keys_.span();
    snapshot.width = counters_;
    if (!snapshot.values.resize(span * counters_)) return;
    for (std::size_t i = 0; i < span; ++i) {
      if (!is_ready(i)) continue;
      for (std::size_t k = counters_; k-- > 0;) {
        snapshot.values[i * counters_ + k] = counters_of(i)[k].load(std::memory_order_acquire);
      }
    }
  }

  // Calls visit(key, values) for every entry that differs between two snapshots of this table; base null: that has
  // counted anything.
  template <class Visit>
  void for_each_since(const count_snapshot* base, const count_snapshot& now, Visit visit) const {
    for (std::size_t i = 0; i < now.size(); ++i) {
      std::uint64_t values[max_counters] = {};
      std::uint64_t any = 0;
      for (std::size_t k = 0; k < counters_; ++k) {
        values[k] = now.values[i * counters_ + k];
        if (base != nullptr && i < base->size()) values[k] -= base->values[i * counters_ + k];
        any |= values[k];
      }
      if (any != 0) visit(key_of(i), values);
    }
  }

 private:
  using counter = std::atomic<std::uint64_t>;
  struct slot {
    table_key key;
    std::atomic<std::uint32_t> ready;  // the members below are written
    std::atomic<stack_id> stack;
    std::atomic<label_set_id> labels;
    std::atomic<std::uint64_t> extra;
  };
  static constexpr std::uint64_t overflow_key = 3;
  static_assert(leveled_table::pieces_in(sizeof(slot) + max_counters * sizeof(counter), first_level, levels) <=
                leveled_table::most_pieces);

  const slot& slot_at(std::size_t index) const PROF_DETAIL_SIG {
    return *static_cast<const slot*>(keys_.place_sig(index));
  }
  counter* counters_of(std::size_t index) const PROF_DETAIL_SIG {
    return reinterpret_cast<counter*>(static_cast<slot*>(keys_.place_sig(index)) + 1);
  }
  bool is_ready(std::size_t index) const noexcept {
    const auto* const there = static_cast<const slot*>(keys_.find_place_sig(index));
    return there != nullptr && there->ready.load(std::memory_order_acquire) != 0;
  }

  std::size_t add_sig(std::uint64_t hash, const count_key& key) PROF_DETAIL_SIG {
    bool fresh = false;
    const std::size_t index = keys_.find_or_add_sig(hash, fresh);
    if (index == no_slot) return no_slot;
    slot& there = *static_cast<slot*>(keys_.place_sig(index));
    if (there.ready.load(std::memory_order_acquire) != 0) return index;
    // Everyone who meets an unready entry writes the same values: the key is their hash.
    there.stack.store(key.stack, std::memory_order_relaxed);
    there.labels.store(key.labels, std::memory_order_relaxed);
    there.extra.store(key.extra, std::memory_order_relaxed);
    there.ready.store(1, std::memory_order_release);
    return index;
  }

  add_only_keys keys_;
  std::size_t counters_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_COUNT_TABLE_HPP
