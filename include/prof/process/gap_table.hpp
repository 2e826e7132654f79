// prof/process/gap_table.hpp - at which rate the gap under each countdown was drawn, and what a countdown that is
// used up means: whether its object is sampled, and where the next sample point lies.
// Floor 7 (process). Asked by the hooks' slow paths and by record_alloc's.
// Safety: async-signal-safe; a countdown belongs to one thread.
// Memory: 24 bytes per thread and object that samples, in pieces; at most 65,280. Where there is no room, every
//         allocation of that thread asks, which is slow and right.
// Source: base/poisson.hpp. The bytes of hooked allocations and of recorded ones are one stream: what is counted by
//         another object's hooks uses the countdown up as well, and a sample point in it is passed over. The rest of
//         a Poisson process is one of the same rate (thinning by an independent choice; Kingman, Poisson Processes,
//         1993, 5.1).
#ifndef PROF_PROCESS_GAP_TABLE_HPP
#define PROF_PROCESS_GAP_TABLE_HPP

#include "prof/process/thread_state.hpp"

PROF_DETAIL_BEGIN

struct gap_slot {
  table_key key;                        // the countdown's address
  std::atomic<std::uint64_t> drawn_at;  // the rate of a gap that ends in a sample point; 0: it was cut
  std::atomic<std::uint32_t> thread;
};

class gap_table {
 public:
  static constexpr std::size_t first_level = 256;
  static constexpr unsigned levels = 8;

  void bind(table_memory& memory) noexcept {
    table_.bind(memory, first_level, levels);
    random_.store(os_monotonic_ns_sig() ^ std::uint64_t{os_process_id_sig()} << 32, std::memory_order_relaxed);
  }

  // An object of `size` bytes used a countdown up, which is `countdown` behind it. Returns the rate to weigh the
  // object with, or 0 when no sample point lies in it; the countdown goes on from there.
  std::uint64_t sample_sig(std::int64_t& countdown, std::uint64_t size, std::uint64_t rate) PROF_DETAIL_SIG {
    const auto key = std::uint64_t{reinterpret_cast<std::uintptr_t>(&countdown)};
    // 0: no gap was under way, as at the start of a thread, whose countdown an earlier one may have had.
    const bool is_first = static_cast<std::uint64_t>(countdown) + size == 0;
    std::size_t index = table_.find_sig(key);
    const std::uint64_t drawn_at =
        is_first || index == no_slot ? 0 : table_.at(index).drawn_at.load(std::memory_order_relaxed);
    poisson_gap gap{countdown, next_random_sig(), drawn_at, drawn_at != 0};
    const std::uint64_t weighed_at = sample_point_sig(gap, rate);
    countdown = gap.left;
    if (gap.left == 0) return weighed_at;  // rate 1: the next object asks again
    if (index == no_slot && gap.ends_in_point) index = add_sig(key);
    if (index == no_slot) {
      if (gap.ends_in_point) countdown = 0;
      return weighed_at;
    }
    gap_slot& slot = table_.at(index);
    slot.drawn_at.store(gap.ends_in_point ? gap.rate : 0, std::memory_order_relaxed);
    if (is_first) slot.thread.store(os_thread_id_sig(), std::memory_order_relaxed);
    return weighed_at;
  }

  // In a forked child, whose one thread had another id in the parent: only its gaps are under way.
  void keep_thread(std::uint32_t before, std::uint32_t now) noexcept {
    table_.for_each_sig([&](std::size_t index, gap_slot& slot) {
      if (slot.key.load() <= add_remove_keys::claimed) return;
      if (slot.thread.load() == before) slot.thread.store(now);
      else table_.remove_sig(index);
    });
  }

  std::size_t used() const noexcept { return table_.used(); }

 private:
  std::uint64_t next_random_sig() PROF_DETAIL_SIG {
    return mix_bits(random_.fetch_add(0x9e3779b97f4a7c15u, std::memory_order_relaxed)) | 1;
  }

  PROF_DETAIL_NOINLINE std::size_t add_sig(std::uint64_t key) PROF_DETAIL_SIG {
    // A gap may go although it is under way, if its thread has the id of one that has just ended: then one sample
    // point is passed over.
    forget_ended_sig(table_, next_look_, [](const gap_slot& slot, std::uint64_t) PROF_DETAIL_SIG {
      return slot.thread.load(std::memory_order_relaxed);
    });
    const std::size_t index = table_.claim_sig(key);
    if (index == no_slot) return no_slot;
    table_.at(index).thread.store(os_thread_id_sig(), std::memory_order_relaxed);
    table_.publish_sig(index, key);
    return index;
  }

  add_remove_table<gap_slot> table_;
  std::atomic<std::uint64_t> random_{0};
  std::atomic<std::size_t> next_look_{0};
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_GAP_TABLE_HPP
