// prof/sample/heap.hpp - which allocations are sampled, what a sample weighs, and what is live.
// Floor 5 (sample). Fed by hook/malloc.hpp and by record_alloc; read by serve/.
// Safety: functions ending in _sig may run inside malloc: no allocation, no lock, no libc.
// Memory: one reservation (heap_bytes) of address space, touched on demand.
// Source: the bytes of all allocations are one stream in which sample points form a Poisson
//         process of one point per `rate` bytes (Go runtime/mprof.go, tcmalloc Sampler). An
//         allocation of S bytes is sampled when a point falls into it, with probability
//         1 - exp(-S/R), and then stands for 1 / (1 - exp(-S/R)) allocations like itself: the
//         weight is fixed here, with the rate its gap was drawn at, so sums are unbiased whatever
//         happens to the rate later (jemalloc PROFILING_INTERNALS: unbias per sample, never after
//         aggregation). A gap is memoryless, so it may be cut at max_gap and redrawn; that lets a
//         new rate reach every thread after at most 4 MiB.
#ifndef PROF_SAMPLE_HEAP_HPP
#define PROF_SAMPLE_HEAP_HPP

#include "prof/base/random.hpp"
#include "prof/profile/builder.hpp"
#include "prof/stack/process.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::uint64_t default_heap_rate = 512 * 1024;
inline constexpr std::int64_t max_gap = std::int64_t{4} << 20;
inline constexpr std::int64_t parked_gap = std::int64_t{1} << 62;

// Objects are counted in 1/65536: a weight such as 1.58 must not be rounded to 2.
inline constexpr unsigned weight_bits = 16;

// Counts of one (stack, labels, size).
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

// A sampled object that was not freed yet.
struct live_slot {
  std::atomic<std::uint64_t> key;  // address
  std::uint64_t size;
  std::uint64_t weight;
  std::uint32_t counts;  // index of its heap_slot, or bootstrap_object
};
inline constexpr std::uint32_t bootstrap_object = ~std::uint32_t{0};

inline std::uint64_t weight_sig(std::uint64_t size, std::uint64_t rate) PROF_DETAIL_SIG {
  if (rate <= 1 || size == 0) return std::uint64_t{1} << weight_bits;
  const double chance = one_minus_exp_minus_sig(static_cast<double>(size) /
                                                static_cast<double>(rate));
  return static_cast<std::uint64_t>((std::uint64_t{1} << weight_bits) / chance + 0.5);
}

// size * weight without overflow for sizes up to 2^63.
inline std::uint64_t weighted_bytes_sig(std::uint64_t size, std::uint64_t weight) PROF_DETAIL_SIG {
  if (weight == std::uint64_t{1} << weight_bits) return size;
  return static_cast<std::uint64_t>(static_cast<double>(size) * static_cast<double>(weight) /
                                        (1u << weight_bits) +
                                    0.5);
}

// ---- the free filter --------------------------------------------------------------------------------

// A table of one-byte counters of live sampled addresses. free() looks at one byte: 0 means "not
// sampled", the answer for almost every free. Base (64-byte aligned) and shift share one word, so
// that a reader never combines two filters.
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

inline constexpr unsigned first_filter_bits = 16;  // 64 KiB
inline constexpr unsigned last_filter_bits = 23;   // 8 MiB, for the 1,047,552 live slots
// Filter k lies behind the smaller ones; its size is 2^k.
constexpr std::size_t filter_offset(unsigned bits) {
  return (std::size_t{1} << bits) - (std::size_t{1} << first_filter_bits);
}
inline constexpr std::size_t filter_bytes = filter_offset(last_filter_bits + 1);

// ---- state ---------------------------------------------------------------------------------------------

using heap_counts = add_only_table<heap_slot>;
using live_objects = add_remove_table<live_slot>;

struct heap_state {
  static constexpr std::size_t counts_first = 256;
  static constexpr unsigned counts_levels = 10;  // 261,888 slots
  static constexpr std::size_t live_first = 1024;
  static constexpr unsigned live_levels = 10;  // 1,047,552 objects

  std::atomic<std::uint64_t> rate;
  heap_counts counts;
  live_objects live;
  std::size_t overflow_counts;  // the slot of samples that found no slot
  char* filters;
  std::atomic<std::uint64_t> filter;       // the filter in force
  std::atomic<std::uint64_t> next_filter;  // being filled, or 0
  // Where the owner's free() reads it.
  std::atomic<std::atomic<char*>*> fast_filter;
  std::atomic<std::uint32_t> growing;
  std::atomic<std::uint64_t> samples;
};

inline constexpr std::size_t heap_bytes =
    page_round(sizeof(heap_state)) +
    page_round(heap_counts::bytes_for(heap_state::counts_first, heap_state::counts_levels)) +
    page_round(live_objects::bytes_for(heap_state::live_first, heap_state::live_levels)) +
    filter_bytes;

inline void set_filter_sig(heap_state& heap, unsigned bits) PROF_DETAIL_SIG {
  const auto base = reinterpret_cast<std::uintptr_t>(heap.filters + filter_offset(bits));
  const std::uint64_t word = base | (64 - bits);
  // What free() reads goes first: an object that was added to the new filter only must not be freed
  // by the old one.
  auto* const fast = heap.fast_filter.load();
  if (fast != nullptr) fast->store(reinterpret_cast<char*>(word));
  heap.filter.store(word);
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

inline heap_state* make_heap_sig() PROF_DETAIL_SIG {
  char* at = static_cast<char*>(os_map_sig(heap_bytes));
  if (at == nullptr) return nullptr;
  auto* const heap = new (at) heap_state{};
  at += page_round(sizeof(heap_state));
  heap->counts.bind(at, heap_state::counts_first, heap_state::counts_levels);
  at += page_round(heap_counts::bytes_for(heap_state::counts_first, heap_state::counts_levels));
  heap->live.bind(at, heap_state::live_first, heap_state::live_levels);
  at += page_round(live_objects::bytes_for(heap_state::live_first, heap_state::live_levels));
  heap->filters = at;
  heap->rate.store(default_heap_rate, std::memory_order_relaxed);
  set_filter_sig(*heap, first_filter_bits);
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

// ---- live objects -----------------------------------------------------------------------------------------

// Doubles the filter when it is one eighth full. An insert publishes its key before it looks at
// next_filter, the grower publishes next_filter before it looks at keys: one of them sees the
// other (all sequentially consistent), so no live object is ever missing from a filter. Counting
// one twice only makes a byte stick above zero.
PROF_DETAIL_COLD inline void grow_filter_sig(heap_state& heap) PROF_DETAIL_SIG {
  const unsigned bits = 64 - static_cast<unsigned>(heap.filter.load() & 63);
  if (bits >= last_filter_bits || heap.growing.exchange(1) != 0) return;
  const auto base = reinterpret_cast<std::uintptr_t>(heap.filters + filter_offset(bits + 1));
  const std::uint64_t word = base | (64 - (bits + 1));
  heap.next_filter.store(word);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::size_t span = heap.live.span();
  for (std::size_t i = 0; i < span; ++i) {
    const std::uint64_t address = heap.live.at(i).key.load();
    if (address > live_objects::claimed) filter_add_sig(address, word);
  }
  set_filter_sig(heap, bits + 1);
  heap.next_filter.store(0);
  heap.growing.store(0);
}

// Remembers a sampled object; false (counted) when there is no room.
inline bool add_live_sig(process_state& process, heap_state& heap, std::uint64_t address,
                         std::uint64_t size, std::uint64_t weight, std::uint32_t counts)
    PROF_DETAIL_SIG {
  const std::size_t index = heap.live.claim_sig(address);
  if (index == no_slot) {
    count_drop_sig(process, drop::live_table_full);
    return false;
  }
  live_slot& slot = heap.live.at(index);
  slot.size = size;
  slot.weight = weight;
  slot.counts = counts;
  heap.live.publish_sig(index, address);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const std::uint64_t next = heap.next_filter.load();  // before `filter`: see grow_filter_sig
  const std::uint64_t now = heap.filter.load();
  filter_add_sig(address, now);
  if (next != 0 && next != now) filter_add_sig(address, next);
  const std::size_t filter_size = std::size_t{1} << (64 - (now & 63));
  if (heap.live.used() > filter_size / 8) grow_filter_sig(heap);
  return true;
}

struct live_object {
  std::uint64_t size = 0;
  std::uint64_t weight = 0;
  std::uint32_t counts = 0;
};

// Forgets an object if it was sampled. To be called before the real free: afterwards another
// thread may own the address.
inline bool take_live_sig(heap_state& heap, std::uint64_t address, live_object& object)
    PROF_DETAIL_SIG {
  if (address <= live_objects::claimed) return false;
  const std::size_t index = heap.live.find_sig(address);
  if (index == no_slot) return false;
  const live_slot& slot = heap.live.at(index);
  object = {slot.size, slot.weight, slot.counts};
  // Only the filter that was in force while the key was still there: one that is being filled may not
  // have counted it, and taking from it could hide a neighbour.
  const std::uint64_t filter = heap.filter.load();
  heap.live.remove_sig(index);
  filter_remove_sig(address, filter);
  return true;
}

inline void count_freed_sig(heap_state& heap, const live_object& object) PROF_DETAIL_SIG {
  if (object.counts == bootstrap_object) return;
  heap_slot& slot = heap.counts.at(object.counts);
  slot.freed_objects.fetch_add(object.weight, std::memory_order_relaxed);
  slot.freed_bytes.fetch_add(weighted_bytes_sig(object.size, object.weight),
                             std::memory_order_relaxed);
}

// ---- recording -----------------------------------------------------------------------------------------------

// An allocation that the sampler chose. `rate` is what its gap was drawn at.
inline void record_sampled_alloc_sig(process_state& process, heap_state& heap,
                                     std::uint64_t address, std::uint64_t size, std::uint64_t rate,
                                     const registers& caller) PROF_DETAIL_SIG {
  if (process.code.load(std::memory_order_acquire) == nullptr) refresh_code_map_sig(process);
  const stack_id stack = capture_stack_sig(process, caller, true);
  const label_set_id labels = current_labels_sig();
  const std::uintptr_t words[3] = {stack, labels, size};
  bool fresh = false;
  std::size_t index = heap.counts.find_or_add_sig(hash_words_sig(words, 3, 1), fresh);
  if (index == no_slot) {
    count_drop_sig(process, drop::count_table_full);
    index = heap.overflow_counts;
  } else {
    fill_slot_sig(heap.counts.at(index), stack, labels, size);
  }
  const std::uint64_t weight = weight_sig(size, rate);
  const std::uint64_t bytes = weighted_bytes_sig(size, weight);
  heap_slot& slot = heap.counts.at(index);
  slot.allocated_objects.fetch_add(weight, std::memory_order_relaxed);
  slot.allocated_bytes.fetch_add(bytes, std::memory_order_relaxed);
  heap.samples.fetch_add(1, std::memory_order_relaxed);
  if (add_live_sig(process, heap, address, size, weight, static_cast<std::uint32_t>(index))) return;
  // Untracked objects must not look live for ever.
  slot.freed_objects.fetch_add(weight, std::memory_order_relaxed);
  slot.freed_bytes.fetch_add(bytes, std::memory_order_relaxed);
}

// ---- the countdown ------------------------------------------------------------------------------------------

// Bytes until the next sample point or cut. 0 at thread start, so that the first allocation of
// every thread takes the slow path, which draws its first gap.
inline PROF_DETAIL_TLS std::int64_t heap_left PROF_DETAIL_TLS_MODEL = 0;

// Counts an allocation down; true when no sample point or cut lies in it. Unsigned, so that a size
// beyond half of the address space does not wrap to a huge gap; heap_left is never negative here,
// since every slow path leaves it at 0 or above. x86-64: one subtraction from memory whose flags
// are the answer, which g++ 12 does not find by itself (it takes four more instructions).
inline bool count_down_sig(std::uint64_t size) PROF_DETAIL_SIG {
#if defined(__x86_64__)
  bool above = false;
  __asm__("subq %[size], %[left]" : "=@cca"(above), [left] "+m"(heap_left) : [size] "r"(size));
  return above;
#else
  const auto before = static_cast<std::uint64_t>(heap_left);
  heap_left = static_cast<std::int64_t>(before - size);
  return before > size;
#endif
}

struct heap_gap {
  std::uint64_t random;  // 0: not seeded
  std::uint64_t rate;    // the gap under way was drawn at this rate
  bool ends_in_point;    // false: it was cut, nothing is sampled at its end
};
inline PROF_DETAIL_TLS heap_gap gap_under_way PROF_DETAIL_TLS_MODEL = {0, 0, false};

inline void seed_gap_sig() PROF_DETAIL_SIG {
  heap_gap& gap = gap_under_way;
  if (gap.random != 0) return;
  gap.random = mix_bits(os_monotonic_ns_sig() ^ std::uint64_t{os_thread_id_sig()} << 40 ^
                        reinterpret_cast<std::uintptr_t>(&gap)) | 1;
}

// Draws the next gap, cut at max_gap, and returns its length (>= 1, or 0 at rate 1).
inline std::int64_t draw_gap_sig(std::uint64_t rate) PROF_DETAIL_SIG {
  heap_gap& gap = gap_under_way;
  gap.rate = rate;
  gap.ends_in_point = false;
  if (rate == 0) return max_gap;
  if (rate == 1) return 0;  // the next allocation takes the slow path too
  const double drawn = exponential_sig(gap.random, static_cast<double>(rate));
  if (drawn >= static_cast<double>(max_gap)) return max_gap;
  gap.ends_in_point = true;
  return static_cast<std::int64_t>(drawn) + 1;
}

// Memoryless: after a sample the next gap starts behind the allocation. Returns `weighed_at`.
inline std::uint64_t next_gap_sig(std::uint64_t rate, std::uint64_t weighed_at) PROF_DETAIL_SIG {
  heap_left = draw_gap_sig(rate);
  return weighed_at;
}

// Called when heap_left fell to 0 or below by an allocation. Returns the rate to weigh it with, or 0
// when no sample point lies in it; leaves heap_left > 0, or 0 at rate 1.
inline std::uint64_t sample_point_sig(std::uint64_t rate) PROF_DETAIL_SIG {
  seed_gap_sig();
  heap_gap& gap = gap_under_way;
  if (heap_left > 0) heap_left = -max_gap;  // wrapped by an absurd size, which will fail anyway
  if (gap.ends_in_point) return next_gap_sig(rate, gap.rate);  // also where the rate changed since
  if (rate == 1) return next_gap_sig(rate, 1);
  if (heap_left < -16 * max_gap) {
    // Far past a cut: one draw for all the bytes behind it instead of one per 4 MiB.
    const double chance = rate == 0 ? 0 : one_minus_exp_minus_sig(static_cast<double>(-heap_left) /
                                                                  static_cast<double>(rate));
    const bool hit = uniform_sig(gap.random) <= chance;
    return next_gap_sig(rate, hit ? rate : 0);
  }
  while (heap_left <= 0) {
    if (gap.ends_in_point) return next_gap_sig(rate, gap.rate);
    heap_left += draw_gap_sig(rate);
  }
  return 0;
}

// Makes the calling thread draw a new gap, so that a new rate counts for it at once.
inline void redraw_gap() noexcept {
  heap_left = 0;
  gap_under_way.ends_in_point = false;
}

// In a forked child: the thread that was growing the filter is not here; the old one is complete.
inline void forget_parent_heap(heap_state& heap) noexcept {
  heap.next_filter.store(0);
  heap.growing.store(0);
}

// ---- reading ---------------------------------------------------------------------------------------------------

// The counts at one moment: a copy of the slots that were used, for deltas.
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
                              const heap_reading* base) noexcept {
  p.add_value_type("alloc_objects", "count");
  p.add_value_type("alloc_space", "bytes");
  p.add_value_type("inuse_objects", "count");
  p.add_value_type("inuse_space", "bytes");
  p.period_type = {p.string("space"), p.string("bytes")};
  p.period = static_cast<std::int64_t>(heap.rate.load(std::memory_order_relaxed));
  profile_builder build(p, process.code.load(std::memory_order_acquire), process.stacks,
                        process.labels);
  const string_index bytes_key = p.string("bytes");
  const std::size_t span = heap.counts.span();
  for (std::size_t i = 0; i < span; ++i) {
    const heap_slot& slot = heap.counts.at(i);
    if (slot.ready.load(std::memory_order_acquire) == 0) continue;
    heap_reading::row now = read_slot(slot);
    if (base != nullptr && i < base->values.size()) {
      now.allocated_objects -= base->values[i].allocated_objects;
      now.allocated_bytes -= base->values[i].allocated_bytes;
      now.freed_objects -= base->values[i].freed_objects;
      now.freed_bytes -= base->values[i].freed_bytes;
    }
    if ((now.allocated_objects | now.allocated_bytes | now.freed_objects) == 0) continue;
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
