// prof/process/thread_state.hpp - what prof knows of a thread, for all objects of the process: its labels, and whether
// it runs code of ours.
// Floor 7 (process). Set by ordinary code; read by samplers and hooks.
// Safety: find_sig is async-signal-safe; so is make_sig, for the calling thread only. A record belongs to its
//         thread; others only take away those of threads that have ended.
// Memory: 40 bytes per thread that has set a label or made a public call, in pieces; at most 32,512 threads.
// Source: a table and not thread-locals, because initial-exec thread-locals of every object come out of one small
//         budget of the process (glibc's static TLS surplus), and other models may allocate in a handler.
//         gettid(2), tgkill(2).
#ifndef PROF_PROCESS_THREAD_STATE_HPP
#define PROF_PROCESS_THREAD_STATE_HPP

#include "prof/base/table.hpp"
#include "prof/os/os.hpp"
#include "prof/process/annotation.hpp"

PROF_DETAIL_BEGIN

// Above the keys that tables reserve.
inline constexpr std::uint64_t thread_key_base = std::uint64_t{1} << 32;

struct thread_state {
  table_key key;                        // thread id + thread_key_base
  std::atomic<std::uintptr_t> pointer;  // the thread pointer: tells a thread from a later one with its id
  std::atomic<label_set_id> labels;     // of the code that runs now
  std::atomic<std::uint32_t> own_code;  // > 0: code of ours runs, whose allocations and threads are not the host's
  std::atomic<bool> forking;            // between the two handlers of pthread_atfork(3)
};

// Each new record of a thread pays for a look at some old ones of its table, so that those of threads that have ended
// do not pile up. ThreadOf: the thread id of a slot with a key above the reserved ones. `next` goes round.
template <class Slot, class ThreadOf>
inline void forget_ended_sig(add_remove_table<Slot>& table, std::atomic<std::size_t>& next,
                             ThreadOf thread_of) PROF_DETAIL_SIG {
  const std::uint32_t process_id = os_process_id_sig();  // asked here: a forked child may not have been noticed yet
  const std::size_t span = table.span();
  for (int looks = 0; looks < 4; ++looks) {
    const std::size_t index = next.fetch_add(1, std::memory_order_relaxed) % span;
    if (table.find_place_sig(index) == nullptr) continue;
    const Slot& slot = table.at(index);
    const std::uint64_t key = slot.key.load(std::memory_order_acquire);
    if (key <= add_remove_keys::claimed) continue;
    if (os_thread_has_ended_sig(process_id, thread_of(slot, key))) table.remove_key_sig(index, key);
  }
}

class thread_states {
 public:
  static constexpr std::size_t first_level = 256;
  static constexpr unsigned levels = 7;

  void bind(table_memory& memory) noexcept { table_.bind(memory, first_level, levels); }

  // The calling thread's record, or null.
  thread_state* find_sig(std::uint32_t thread) PROF_DETAIL_SIG {
    const std::size_t index = table_.find_sig(thread_key_base + thread);
    if (index == no_slot) return nullptr;
    thread_state& found = table_.at(index);
    return found.pointer.load(std::memory_order_relaxed) == os_thread_pointer_sig() ? &found : nullptr;
  }

  // The same, made when there is none; null when the table is full or has no memory.
  PROF_DETAIL_NOINLINE thread_state* make_sig(std::uint32_t thread) PROF_DETAIL_SIG {
    thread_state* const known = find_sig(thread);
    if (known != nullptr) return known;
    const std::uint64_t key = thread_key_base + thread;
    const std::size_t ended = table_.find_sig(key);  // an earlier thread with this id
    if (ended != no_slot) table_.remove_key_sig(ended, key);
    forget_ended_sig(table_, next_look_, [](const thread_state&, std::uint64_t old) PROF_DETAIL_SIG {
      return static_cast<std::uint32_t>(old - thread_key_base);
    });
    const std::size_t index = table_.claim_sig(key);
    if (index == no_slot) return nullptr;
    thread_state& made = table_.at(index);
    made.pointer.store(os_thread_pointer_sig(), std::memory_order_relaxed);
    made.labels.store(no_labels, std::memory_order_relaxed);
    made.own_code.store(0, std::memory_order_relaxed);
    made.forking.store(false, std::memory_order_relaxed);
    table_.publish_sig(index, key);
    return &made;
  }

  // In a forked child: the record of its one thread goes on under the thread's new id, all others go. Returns the
  // id that the thread had in the parent; 0 when it had no record.
  std::uint32_t keep_forking(std::uint32_t thread) noexcept {
    label_set_id labels = no_labels;
    std::uint32_t own_code = 0;
    std::uint32_t before = 0;
    table_.for_each_sig([&](std::size_t index, thread_state& state) {
      const std::uint64_t key = state.key.load();
      if (key < thread_key_base) return;
      if (state.forking.load() && state.pointer.load() == os_thread_pointer_sig()) {
        before = static_cast<std::uint32_t>(key - thread_key_base);
        labels = state.labels.load();
        own_code = state.own_code.load();
      }
      table_.remove_sig(index);
    });
    thread_state* const kept = before == 0 ? nullptr : make_sig(thread);
    if (kept == nullptr) return before;
    kept->labels.store(labels);
    kept->own_code.store(own_code);
    return before;
  }

  std::size_t used() const noexcept { return table_.used(); }

 private:
  add_remove_table<thread_state> table_;
  std::atomic<std::size_t> next_look_{0};
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_THREAD_STATE_HPP
