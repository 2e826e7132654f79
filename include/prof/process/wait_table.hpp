// prof/process/wait_table.hpp - which threads wait now: for what, since when, with which stack.
// Floor 7 (process). Filled by hooks of waiting calls; read by the block, mutex and threads profiles.
// Safety: functions ending in _sig are async-signal-safe: atomic words only. A record belongs to its thread; others read
//         copies of it, and see by its begin, before and after, when it was another wait meanwhile.
// Memory: 88 bytes per waiting thread, in pieces; at most 32,512 at once.
// Source: Go's block profile records a wait when it ends, so that who is blocked now is invisible (golang/go#14689); here
//         a wait is known from its begin.
#ifndef PROF_PROCESS_WAIT_TABLE_HPP
#define PROF_PROCESS_WAIT_TABLE_HPP

#include "prof/base/table.hpp"
#include "prof/process/annotation.hpp"
#include "prof/process/stack_table.hpp"
#include "prof/process/thread_state.hpp"

PROF_DETAIL_BEGIN

// X(identifier, word): what a thread waits for. The words are values of the label "wait".
#define PROF_DETAIL_WAITS(X)  \
  X(mutex, "mutex")           \
  X(rdlock, "rdlock")         \
  X(wrlock, "wrlock")         \
  X(cond, "cond")             \
  X(semaphore, "semaphore")   \
  X(barrier, "barrier")       \
  X(join, "join")             \
  X(once, "once")             \
  X(futex, "futex")           \
  X(sleep, "sleep")           \
  X(poll, "poll")             \
  X(read, "read")             \
  X(accept, "accept")

enum class wait_kind : std::uint32_t {
#define PROF_DETAIL_WAIT(identifier, word) identifier,
  PROF_DETAIL_WAITS(PROF_DETAIL_WAIT)
#undef PROF_DETAIL_WAIT
      count_
};
inline constexpr const char* wait_words[] = {
#define PROF_DETAIL_WAIT(identifier, word) word,
    PROF_DETAIL_WAITS(PROF_DETAIL_WAIT)
#undef PROF_DETAIL_WAIT
};
inline text_view wait_word(std::uint64_t kind) noexcept {
  return kind < static_cast<std::uint64_t>(wait_kind::count_) ? text_view(wait_words[kind]) : text_view("?");
}

// Whether what is waited for is a descriptor, not an address.
inline bool is_at_descriptor(wait_kind kind) noexcept { return kind == wait_kind::read || kind == wait_kind::accept; }

// A wait as it begins, and as others read it while it goes on.
struct wait_facts {
  wait_kind kind = wait_kind::mutex;
  std::uint32_t thread = 0;
  stack_id stack = overflow_stack;
  label_set_id labels = no_labels;
  std::uintptr_t object = 0;   // the address of the lock or whatever it is, or a descriptor; 0: time
  std::uint64_t began_ns = 0;  // os_monotonic_ns_sig()
  // For the block profile, see sample/block.hpp: the rate it is weighed with, 0: not at all; how long it must last.
  std::uint64_t rate_ns = 0;
  std::uint64_t least_ns = 0;
  // For the mutex profile's view of the waiters, see sample/mutex.hpp: the lock's record + 1, 0: none; what had been
  // charged there before. A wait at a condition variable has that one's record here, and the mutex it gave up.
  std::uint64_t lock = 0;
  std::uint64_t charged_before = 0;
  std::uintptr_t mutex = 0;
};

struct wait_slot {
  table_key key;  // thread id + thread_key_base
  std::atomic<std::uintptr_t> frame;  // an address in the hook's frame, for hook/waiting.hpp
  std::atomic<std::uint32_t> kind;
  std::atomic<stack_id> stack;
  std::atomic<label_set_id> labels;
  std::atomic<std::uintptr_t> object;
  std::atomic<std::uint64_t> began_ns;
  std::atomic<std::uint64_t> rate_ns;
  std::atomic<std::uint64_t> least_ns;
  std::atomic<std::uint64_t> lock;
  std::atomic<std::uint64_t> charged_before;
  std::atomic<std::uintptr_t> mutex;
};

class wait_table {
 public:
  static constexpr std::size_t first_level = 256;
  static constexpr unsigned levels = 7;

  void bind(table_memory& memory) noexcept { table_.bind(memory, first_level, levels); }

  // The calling thread waits from now on; its number, or no_slot when there is no room.
  std::size_t begin_sig(const wait_facts& facts, std::uintptr_t frame) PROF_DETAIL_SIG {
    const std::uint64_t key = thread_key_base + facts.thread;
    const std::size_t index = table_.claim_sig(key);
    if (index == no_slot) return no_slot;
    wait_slot& slot = table_.at(index);
    slot.frame.store(frame, std::memory_order_relaxed);
    slot.kind.store(static_cast<std::uint32_t>(facts.kind), std::memory_order_relaxed);
    slot.stack.store(facts.stack, std::memory_order_relaxed);
    slot.labels.store(facts.labels, std::memory_order_relaxed);
    slot.object.store(facts.object, std::memory_order_relaxed);
    slot.began_ns.store(facts.began_ns, std::memory_order_relaxed);
    slot.rate_ns.store(facts.rate_ns, std::memory_order_relaxed);
    slot.least_ns.store(facts.least_ns, std::memory_order_relaxed);
    slot.lock.store(facts.lock, std::memory_order_relaxed);
    slot.charged_before.store(facts.charged_before, std::memory_order_relaxed);
    slot.mutex.store(facts.mutex, std::memory_order_relaxed);
    table_.publish_sig(index, key);
    return index;
  }
  // It is about to be counted: for the profiles it is under way no longer.
  void leave_profiles_sig(std::size_t index) PROF_DETAIL_SIG {
    table_.at(index).rate_ns.store(0);
    table_.at(index).lock.store(0);
  }
  void end_sig(std::size_t index) PROF_DETAIL_SIG { table_.remove_sig(index); }
  // The same for one that its thread has left, which several may find at once; true for one of them.
  bool end_left_sig(std::size_t index, std::uint32_t thread) PROF_DETAIL_SIG {
    return table_.remove_key_sig(index, thread_key_base + thread);
  }

  // One of a thread's waits, or no_slot.
  std::size_t find_sig(std::uint32_t thread) const PROF_DETAIL_SIG { return table_.find_sig(thread_key_base + thread); }
  std::uintptr_t frame_of(std::size_t index) const PROF_DETAIL_SIG {
    return table_.at(index).frame.load(std::memory_order_relaxed);
  }

  // What is known of a wait; false when it has ended.
  bool read_sig(std::size_t index, wait_facts& facts) const PROF_DETAIL_SIG {
    const auto* const slot = static_cast<const wait_slot*>(table_.find_place_sig(index));
    if (slot == nullptr) return false;
    const std::uint64_t key = slot->key.load(std::memory_order_acquire);
    if (key < thread_key_base) return false;
    facts.thread = static_cast<std::uint32_t>(key - thread_key_base);
    facts.began_ns = slot->began_ns.load(std::memory_order_acquire);
    facts.kind = static_cast<wait_kind>(slot->kind.load(std::memory_order_relaxed));
    facts.stack = slot->stack.load(std::memory_order_relaxed);
    facts.labels = slot->labels.load(std::memory_order_relaxed);
    facts.object = slot->object.load(std::memory_order_relaxed);
    facts.rate_ns = slot->rate_ns.load(std::memory_order_relaxed);
    facts.least_ns = slot->least_ns.load(std::memory_order_relaxed);
    facts.lock = slot->lock.load(std::memory_order_relaxed);
    facts.charged_before = slot->charged_before.load(std::memory_order_relaxed);
    facts.mutex = slot->mutex.load(std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_acquire);
    return slot->began_ns.load(std::memory_order_relaxed) == facts.began_ns &&
           slot->key.load(std::memory_order_relaxed) == key;
  }
  bool is_same_sig(std::size_t index, const wait_facts& facts) const PROF_DETAIL_SIG {
    wait_facts now;
    return read_sig(index, now) && now.thread == facts.thread && now.began_ns == facts.began_ns &&
           now.rate_ns == facts.rate_ns && now.lock == facts.lock;
  }

  // Calls visit(index, facts) for every wait that goes on.
  template <class Visit>
  void for_each(Visit visit) const {
    const std::size_t span = table_.span();
    for (std::size_t i = 0; i < span; ++i) {
      wait_facts facts;
      if (read_sig(i, facts)) visit(i, facts);
    }
  }

  // In a forked child: nobody waits but the thread that forks, and that one does not.
  void forget_all() noexcept {
    table_.for_each_sig([&](std::size_t index, wait_slot& slot) {
      if (slot.key.load() > add_remove_keys::claimed) table_.remove_sig(index);
    });
  }

  std::size_t used() const noexcept { return table_.used(); }

 private:
  add_remove_table<wait_slot> table_;
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_WAIT_TABLE_HPP
