// prof/base/pinned_table.hpp - records of things that many threads meet at, by address: made by the first who comes, gone
// with the last.
// Floor 2 (base). Used by sample/mutex.hpp for locks and condition variables that threads wait for.
// Safety: async-signal-safe. Threads that make or remove one record at the same moment look again, 64 times at most.
// Memory: that of base/table.hpp.
// Source: reference counts of a hash table's slots. A record that is made or goes is closed by the count's top bit; the
//         count of who finds it then, or finds another's in its place, is taken back from whatever is there by then.
#ifndef PROF_BASE_PINNED_TABLE_HPP
#define PROF_BASE_PINNED_TABLE_HPP

#include "prof/base/table.hpp"

PROF_DETAIL_BEGIN

// Slot begins with `table_key key; std::atomic<std::uint32_t> pins;` and has bool is_settled_sig(): nobody owes anything.
template <class Slot>
class pinned_table : public add_remove_table<Slot> {
  using base = add_remove_table<Slot>;

 public:
  // The record of an address, pinned for the caller; no_slot: there is none.
  std::size_t pin_sig(std::uint64_t key) PROF_DETAIL_SIG {
    const std::size_t index = this->find_sig(key);
    return index != no_slot && pin_at_sig(index, key) ? index : no_slot;
  }
  // The same for a slot that had that address a moment ago.
  bool pin_at_sig(std::size_t index, std::uint64_t key) PROF_DETAIL_SIG {
    Slot& slot = this->at(index);
    if ((slot.pins.fetch_add(1) & closed) == 0 && slot.key.load() == key) return true;
    unpin_sig(index);  // it goes, or is made just now, or is another's by now
    return false;
  }

  // The same, made where there is none: fill(slot) writes all but the key and the pins. no_slot: there is no room, or
  // others that make or remove it were stopped in the middle.
  template <class Fill>
  std::size_t pin_or_make_sig(std::uint64_t key, Fill fill) PROF_DETAIL_SIG {
    for (int tries = 0; tries < 64; ++tries) {
      const std::size_t known = this->find_sig(key);
      if (known != no_slot) {
        if (pin_at_sig(known, key)) return known;
        continue;
      }
      const std::size_t made = this->claim_sig(key);
      if (made == no_slot) return no_slot;
      Slot& slot = this->at(made);
      fill(slot);
      // Closed until it is sure that there is no other: two that make one at once both see the other's, or one does, and
      // whoever does takes its own back and looks again.
      if ((slot.pins.fetch_add(1) & closed) == 0) slot.pins.fetch_add(closed);
      slot.key.store(key);
      const bool is_alone = !this->has_other_sig(key, made);
      if (!is_alone) this->remove_sig(made);
      slot.pins.fetch_sub(is_alone ? closed : 1);
      if (is_alone) return made;
    }
    return no_slot;
  }

  void unpin_sig(std::size_t index) PROF_DETAIL_SIG {
    Slot& slot = this->at(index);
    if (slot.pins.fetch_sub(1) != 1 || !slot.is_settled_sig()) return;
    std::uint32_t none = 0;
    if (!slot.pins.compare_exchange_strong(none, closed)) return;
    // Somebody may have come and gone in between, and left something to be paid.
    if (slot.is_settled_sig()) this->remove_sig(index);
    else slot.pins.fetch_sub(closed);
  }

  // In a forked child: whoever had pins is not there.
  void forget_all() noexcept {
    this->for_each_sig([&](std::size_t index, Slot& slot) {
      if (slot.key.load() <= add_remove_keys::claimed) return;
      slot.pins.store(closed);
      this->remove_sig(index);
    });
  }

 private:
  static constexpr std::uint32_t closed = std::uint32_t{1} << 31;  // nobody else may pin it
};

PROF_DETAIL_END

#endif  // PROF_BASE_PINNED_TABLE_HPP
