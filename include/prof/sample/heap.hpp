// prof/sample/heap.hpp - what is counted of sampled allocations, and which of them are live.
// Floor 8 (sample). Fed by hook/malloc.hpp and by record_alloc; read by serve/.
// Safety: functions ending in _sig may run inside malloc: no allocation, no lock, no libc.
// Memory: one reservation (heap_bytes) of address space, touched on demand.
// Source: Go's heap profile (runtime/mprof.go): a bucket per stack and size class, four columns.
//         What is sampled, and what it weighs: base/poisson.hpp.
#ifndef PROF_SAMPLE_HEAP_HPP
#define PROF_SAMPLE_HEAP_HPP

#include "prof/base/live_table.hpp"
#include "prof/base/poisson.hpp"
#include "prof/process/profile_builder.hpp"
#include "prof/process/capture.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::uint64_t default_heap_rate = std::uint64_t{512} * 1024;

// Counts of one (stack, labels, size class).
struct heap_slot {
  std::atomic<std::uint64_t> key;
  std::atomic<std::uint32_t> ready;  // the three fields below are written
  std::atomic<stack_id> stack;
  std::atomic<label_set_id> labels;
  std::atomic<std::uint64_t> size;
  std::atomic<std::uint64_t> allocated_objects;  // in 1 / 2^weight_bits
  std::atomic<std::uint64_t> allocated_bytes;
  std::atomic<std::uint64_t> freed_objects;
  std::atomic<std::uint64_t> freed_bytes;
};

// The counts of an object that a hook made itself while it could not forward.
inline constexpr std::uint32_t bootstrap_object = ~std::uint32_t{0};

// ---- state ------------------------------------------------------------------------------------------

using heap_counts = add_only_table<heap_slot>;

struct heap_state {
  static constexpr std::size_t counts_first = 256;
  static constexpr unsigned counts_levels = 10;  // 261,888 slots; see counted_size_sig

  std::atomic<std::uint64_t> rate;
  heap_counts counts;
  live_table live;
  std::size_t overflow_counts;  // the slot of samples that found no slot
  std::atomic<std::uint64_t> samples;
};

inline constexpr std::size_t heap_counts_slots =
    heap_counts::slots_in(heap_state::counts_first, heap_state::counts_levels);
inline constexpr std::size_t heap_counts_bytes = page_round(
    heap_counts::bytes_for(heap_state::counts_first, heap_state::counts_levels));
inline constexpr std::size_t heap_bytes =
    page_round(sizeof(heap_state)) + heap_counts_bytes + page_round(live_table::bytes());

// The next size class, four to a doubling, at or above `size`.
constexpr std::uint64_t size_class_sig(std::uint64_t size) PROF_DETAIL_SIG {
  if (size <= 8 || size > std::uint64_t{1} << 62) return size;
  const int shift = 61 - __builtin_clzll(size - 1);
  return (((size - 1) >> shift) + 1) << shift;
}

// By which size an object is counted. Exact while there is room; a server that allocates every
// size there is must not fill the table with them, so from a quarter on by class, and from three
// eighths on by stack alone (0): the table refuses its first key at about 100,000 of its 261,888
// slots, since only the last level takes new ones. Sums are right in any case.
constexpr std::uint64_t counted_size_sig(std::size_t used, std::uint64_t size) PROF_DETAIL_SIG {
  if (used < heap_counts_slots / 4) return size;
  return used < heap_counts_slots / 8 * 3 ? size_class_sig(size) : 0;
}

inline void fill_slot_sig(heap_slot& slot, stack_id stack, label_set_id labels, std::uint64_t size)
    PROF_DETAIL_SIG {
  if (slot.ready.load(std::memory_order_acquire) != 0) return;
  // Everyone who meets an unready slot writes the same values: the key is their hash.
  slot.stack.store(stack, std::memory_order_relaxed);
  slot.labels.store(labels, std::memory_order_relaxed);
  slot.size.store(size, std::memory_order_relaxed);
  slot.ready.store(1, std::memory_order_release);
}

PROF_DETAIL_COLD inline heap_state* make_heap_sig() PROF_DETAIL_SIG {
  char* at = static_cast<char*>(os_map_sig(heap_bytes));
  if (at == nullptr) return nullptr;
  auto* const heap = new (at) heap_state{};
  at += page_round(sizeof(heap_state));
  heap->counts.bind(at, heap_state::counts_first, heap_state::counts_levels);
  at += heap_counts_bytes;
  heap->live.bind(at);
  heap->rate.store(default_heap_rate, std::memory_order_relaxed);
  bool fresh = false;
  heap->overflow_counts = heap->counts.find_or_add_sig(3, fresh);
  fill_slot_sig(heap->counts.at(heap->overflow_counts), overflow_stack, no_labels, 0);
  return heap;
}

// The process's heap state, made on first use; null only when no memory can be mapped.
inline heap_state* heap_sig(process_state& process) PROF_DETAIL_SIG {
  auto& place = process.part_states[static_cast<unsigned>(part::heap)];
  void* there = place.load(std::memory_order_acquire);
  if (PROF_DETAIL_LIKELY(there != nullptr)) return static_cast<heap_state*>(there);
  heap_state* const made = make_heap_sig();
  if (made == nullptr) return nullptr;
  if (place.compare_exchange_strong(there, made, std::memory_order_acq_rel)) return made;
  os_unmap_sig(made, heap_bytes);
  return static_cast<heap_state*>(there);
}

// ---- recording --------------------------------------------------------------------------------------

// Remembers a sampled object; false (counted) when there is no room.
inline bool add_live_sig(process_state& process, heap_state& heap, std::uint64_t address,
                         const live_object& object) PROF_DETAIL_SIG {
  if (heap.live.add_sig(address, object)) return true;
  count_drop_sig(process, drop::live_table_full);
  return false;
}

inline void count_freed_sig(heap_state& heap, const live_object& object) PROF_DETAIL_SIG {
  if (object.counts == bootstrap_object) return;
  heap_slot& slot = heap.counts.at(object.counts);
  slot.freed_objects.fetch_add(object.weight, std::memory_order_relaxed);
  slot.freed_bytes.fetch_add(weighted_bytes_sig(object.size, object.weight),
                             std::memory_order_relaxed);
}

// An allocation that the sampler chose. `rate` is what its gap was drawn at.
inline void record_sampled_alloc_sig(process_state& process, heap_state& heap,
                                     std::uint64_t address, std::uint64_t size, std::uint64_t rate,
                                     const registers& caller) PROF_DETAIL_SIG {
  first_code_map_sig(process);
  const stack_id stack = capture_stack_sig(process, caller, true);
  const label_set_id labels = current_labels_sig(process);
  const std::uint64_t counted = counted_size_sig(heap.counts.used(), size);
  const std::uintptr_t words[3] = {stack, labels, counted};
  bool fresh = false;
  std::size_t index = heap.counts.find_or_add_sig(hash_words_sig(words, 3, 1), fresh);
  if (index == no_slot) {
    count_drop_sig(process, drop::count_table_full);
    index = heap.overflow_counts;
  } else {
    fill_slot_sig(heap.counts.at(index), stack, labels, counted);
  }
  const std::uint64_t weight = weight_sig(size, rate);
  const std::uint64_t bytes = weighted_bytes_sig(size, weight);
  heap_slot& slot = heap.counts.at(index);
  slot.allocated_objects.fetch_add(weight, std::memory_order_relaxed);
  slot.allocated_bytes.fetch_add(bytes, std::memory_order_relaxed);
  heap.samples.fetch_add(1, std::memory_order_relaxed);
  if (add_live_sig(process, heap, address, {size, weight, static_cast<std::uint32_t>(index)})) return;
  // Untracked objects must not look live for ever.
  slot.freed_objects.fetch_add(weight, std::memory_order_relaxed);
  slot.freed_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

// A gap that was never drawn starts from the clock, the thread and its own address.
inline void seed_gap_sig(poisson_gap& gap) PROF_DETAIL_SIG {
  if (gap.random != 0) return;
  gap.random = mix_bits(os_monotonic_ns_sig() ^ std::uint64_t{os_thread_id_sig()} << 40 ^
                        reinterpret_cast<std::uintptr_t>(&gap)) | 1;
}

// The gap of hooked allocations; record_alloc has one of its own, because hooks that only forward
// are parked. 0 at thread start, so that a thread's first allocation draws the first gap.
inline PROF_DETAIL_TLS poisson_gap hook_gap PROF_DETAIL_TLS_MODEL = {0, 0, 0, false};

inline void redraw_hook_gap() noexcept { redraw_sig(hook_gap); }

// ---- reading ----------------------------------------------------------------------------------------

// The counts at one moment: a copy of the slots that were used. Read before the code map is refreshed, so that
// the map knows all code that their stacks went through; and for deltas.
struct heap_reading {
  explicit heap_reading(arena& memory) noexcept : values(memory) {}
  struct row {
    std::uint64_t allocated_objects;
    std::uint64_t allocated_bytes;
    std::uint64_t freed_objects;
    std::uint64_t freed_bytes;
  };
  arena_vector<row> values;  // by slot index
};

inline heap_reading::row read_slot(const heap_slot& slot) noexcept {
  // Freed before allocated: an object freed meanwhile must not count as freed only.
  heap_reading::row row;
  row.freed_objects = slot.freed_objects.load(std::memory_order_acquire);
  row.freed_bytes = slot.freed_bytes.load(std::memory_order_acquire);
  row.allocated_objects = slot.allocated_objects.load(std::memory_order_acquire);
  row.allocated_bytes = slot.allocated_bytes.load(std::memory_order_acquire);
  return row;
}

inline void read_heap(const heap_state& heap, heap_reading& reading) noexcept {
  const std::size_t span = heap.counts.span();
  reading.values.resize(span);
  for (std::size_t i = 0; i < span && i < reading.values.size(); ++i) {
    if (heap.counts.at(i).ready.load(std::memory_order_acquire) == 0) continue;
    reading.values[i] = read_slot(heap.counts.at(i));
  }
}

inline std::int64_t whole_objects(std::uint64_t weight) noexcept {
  const auto value = static_cast<std::int64_t>(weight);
  const std::int64_t half = std::int64_t{1} << (weight_bits - 1);
  return (value + half) >> weight_bits;
}

// Fills in Go's heap profile shape (four columns; label "bytes" = object size). `base` non-null:
// the difference to that reading.
inline void fill_heap_profile(profile& p, const process_state& process, const heap_state& heap,
                              const heap_reading& reading, const heap_reading* base) noexcept {
  p.add_value_type("alloc_objects", "count");
  p.add_value_type("alloc_space", "bytes");
  p.add_value_type("inuse_objects", "count");
  p.add_value_type("inuse_space", "bytes");
  p.period_type = {p.string("space"), p.string("bytes")};
  p.period = static_cast<std::int64_t>(heap.rate.load(std::memory_order_relaxed));
  profile_builder build(p, process.code.load(), process.stacks, process.labels);
  const string_index bytes_key = p.string("bytes");
  for (std::size_t i = 0; i < reading.values.size(); ++i) {
    const heap_slot& slot = heap.counts.at(i);
    heap_reading::row now = reading.values[i];
    if (base != nullptr && i < base->values.size()) {
      now.allocated_objects -= base->values[i].allocated_objects;
      now.allocated_bytes -= base->values[i].allocated_bytes;
      now.freed_objects -= base->values[i].freed_objects;
      now.freed_bytes -= base->values[i].freed_bytes;
    }
    if ((now.allocated_objects | now.allocated_bytes | now.freed_objects) == 0) continue;  // or not used
    const std::int64_t values[4] = {
        whole_objects(now.allocated_objects), static_cast<std::int64_t>(now.allocated_bytes),
        whole_objects(now.allocated_objects - now.freed_objects),
        static_cast<std::int64_t>(now.allocated_bytes - now.freed_bytes)};
    const auto size = static_cast<std::int64_t>(slot.size.load(std::memory_order_relaxed));
    const profile_label object_size{bytes_key, 0, size, 0};
    build.add(slot.stack.load(std::memory_order_relaxed),
              slot.labels.load(std::memory_order_relaxed), &object_size, size != 0 ? 1 : 0, values);
  }
  build.add_stack_comments();
}

// Stacks known to the heap profile, for the index page.
inline std::size_t heap_stack_count(const heap_state& heap) noexcept {
  return heap.counts.used() - 1;
}

PROF_DETAIL_END

#endif  // PROF_SAMPLE_HEAP_HPP
