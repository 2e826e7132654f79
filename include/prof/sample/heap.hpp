// prof/sample/heap.hpp - what is counted of sampled allocations, and which of them are live.
// Floor 8 (sample). Fed by hook/malloc.hpp and by record_alloc; read by part/heap_part.hpp.
// Safety: functions ending in _sig may run inside malloc: no allocation, no lock, no libc.
// Memory: tables that are mapped as they grow, never freed.
// Source: Go's heap profile (runtime/mprof.go): a bucket per stack and size class, four columns.
//         What is sampled, and what it weighs: base/poisson.hpp.
#ifndef PROF_SAMPLE_HEAP_HPP
#define PROF_SAMPLE_HEAP_HPP

#include "prof/base/live_table.hpp"
#include "prof/base/poisson.hpp"
#include "prof/process/attach.hpp"
#include "prof/process/capture.hpp"
#include "prof/process/profile_builder.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::uint64_t default_heap_rate = std::uint64_t{512} * 1024;

// The counters of one (stack, labels, size class). Freed behind allocated: see count_table::read.
enum heap_counter : std::size_t {
  allocated_objects,  // in 1 / 2^weight_bits
  allocated_bytes,
  freed_objects,
  freed_bytes,
  heap_counters
};

// The counts of an object that a hook made itself while it could not forward.
inline constexpr std::uint32_t bootstrap_object = ~std::uint32_t{0};

struct heap_state {
  std::atomic<std::uint64_t> rate;
  count_table counts;
  live_table live;
  std::atomic<std::uint64_t> samples;
};
inline constexpr std::uint32_t heap_layout =
    layout_of({sizeof(heap_state), offsetof(heap_state, counts), offsetof(heap_state, live),
               offsetof(heap_state, samples), sizeof(live_slot), heap_counters});

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
  if (used < count_table::most_entries / 4) return size;
  return used < count_table::most_entries / 8 * 3 ? size_class_sig(size) : 0;
}

PROF_DETAIL_COLD inline heap_state* make_heap_sig(process_state& process) PROF_DETAIL_SIG {
  void* const pages = process.memory.take_sig(sizeof(heap_state));
  if (pages == nullptr) return nullptr;
  auto* const heap = new (pages) heap_state{};
  heap->counts.bind(process.memory, heap_counters);
  heap->rate.store(default_heap_rate, std::memory_order_relaxed);
  if (heap->live.bind(process.memory)) return heap;
  process.memory.give_back_sig(pages, sizeof(heap_state));
  return nullptr;
}

// The process's heap state, made on first use; null only when no memory can be mapped.
inline heap_state* heap_sig(process_state& process) PROF_DETAIL_SIG {
  return part_state_sig<heap_state>(
      process, part::heap, &make_heap_sig, [](process_state& to, heap_state* spare) PROF_DETAIL_SIG {
        spare->live.unbind_sig();
        to.memory.give_back_sig(spare, sizeof(heap_state));
      });
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
  heap.counts.add_to_sig(object.counts, freed_objects, object.weight);
  heap.counts.add_to_sig(object.counts, freed_bytes, weighted_bytes_sig(object.size, object.weight));
}

// An allocation of the calling thread that the sampler chose. `rate` is what its gap was drawn at.
inline void record_sampled_alloc_sig(process_state& process, heap_state& heap, std::uint32_t thread,
                                     std::uint64_t address, std::uint64_t size, std::uint64_t rate,
                                     const host_call& caller) PROF_DETAIL_SIG {
  first_code_map_sig(process);
  const count_key key{capture_call_sig(process, thread, caller), labels_of_sig(process, thread),
                      counted_size_sig(heap.counts.used(), size)};
  bool lost = false;
  const std::size_t index = heap.counts.find_or_add_sig(key, lost);
  if (lost) count_drop_sig(process, drop::count_table_full);
  heap.samples.fetch_add(1, std::memory_order_relaxed);
  if (index == no_slot) return;
  const live_object object{size, weight_sig(size, rate), static_cast<std::uint32_t>(index)};
  heap.counts.add_to_sig(index, allocated_objects, object.weight);
  heap.counts.add_to_sig(index, allocated_bytes, weighted_bytes_sig(size, object.weight));
  // Untracked objects must not look live for ever.
  if (!add_live_sig(process, heap, address, object)) count_freed_sig(heap, object);
}

// ---- a profile ----------------------------------------------------------------------------------------

inline std::int64_t whole_objects(std::uint64_t weight) noexcept {
  const auto value = static_cast<std::int64_t>(weight);
  const std::int64_t half = std::int64_t{1} << (weight_bits - 1);
  return (value + half) >> weight_bits;
}

// Fills in Go's heap profile shape (four columns; label "bytes" = object size). `base` non-null:
// the difference to that snapshot.
inline void fill_heap_profile(profile& p, const process_state& process, const heap_state& heap,
                              const count_snapshot& now, const count_snapshot* base) noexcept {
  p.add_value_type("alloc_objects", "count");
  p.add_value_type("alloc_space", "bytes");
  p.add_value_type("inuse_objects", "count");
  p.add_value_type("inuse_space", "bytes");
  p.period_type = {p.string("space"), p.string("bytes")};
  p.period = static_cast<std::int64_t>(heap.rate.load(std::memory_order_relaxed));
  profile_builder build(p, process);
  const string_index bytes_key = p.string("bytes");
  heap.counts.for_each_since(base, now, [&](const count_key& key, const std::uint64_t* counted) {
    const std::int64_t values[4] = {
        whole_objects(counted[allocated_objects]), static_cast<std::int64_t>(counted[allocated_bytes]),
        whole_objects(counted[allocated_objects] - counted[freed_objects]),
        static_cast<std::int64_t>(counted[allocated_bytes] - counted[freed_bytes])};
    const auto size = static_cast<std::int64_t>(key.extra);
    const profile_label object_size{bytes_key, 0, size, 0};
    build.add(key.stack, key.labels, values, &object_size, size != 0 ? 1 : 0);
  });
  build.add_stack_comments();
}

PROF_DETAIL_END

#endif  // PROF_SAMPLE_HEAP_HPP
