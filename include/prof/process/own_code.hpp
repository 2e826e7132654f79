// prof/process/own_code.hpp - code of ours that runs in the host's threads: its allocations and threads are not the
// host's.
// Floor 7 (process). Entered by every public call that works; asked by hooks before they record.
// Safety: scopes are for ordinary context; runs_own_code_sig is async-signal-safe.
// Memory: none.
// Source: design invariant "own memory is invisible".
#ifndef PROF_PROCESS_OWN_CODE_HPP
#define PROF_PROCESS_OWN_CODE_HPP

#include "prof/process/process.hpp"

PROF_DETAIL_BEGIN

// The calling thread's record, made when there is none; null, counted, when there is no room.
inline thread_state* this_thread_sig(process_state& process) PROF_DETAIL_SIG {
  thread_state* const made = process.threads.make_sig(os_thread_id_sig());
  if (made == nullptr) count_drop_sig(process, drop::thread_states_full);
  return made;
}

inline void own_code_begins(process_state& process) noexcept {
  thread_state* const thread = this_thread_sig(process);
  if (thread != nullptr) thread->own_code.fetch_add(1, std::memory_order_relaxed);
}
// Looked up again: the record of a thread that forked meanwhile is another one in the child.
inline void own_code_ends(process_state& process) noexcept {
  thread_state* const thread = process.threads.find_sig(os_thread_id_sig());
  if (thread == nullptr || thread->own_code.load(std::memory_order_relaxed) == 0) return;
  thread->own_code.fetch_sub(1, std::memory_order_relaxed);
}

class own_code_scope {
 public:
  explicit own_code_scope(process_state& process) noexcept : process_(process) { own_code_begins(process_); }
  ~own_code_scope() { own_code_ends(process_); }
  own_code_scope(const own_code_scope&) = delete;
  own_code_scope& operator=(const own_code_scope&) = delete;

 private:
  process_state& process_;
};

inline bool runs_own_code_sig(process_state& process, std::uint32_t thread) PROF_DETAIL_SIG {
  const thread_state* const known = process.threads.find_sig(thread);
  return known != nullptr && known->own_code.load(std::memory_order_relaxed) != 0;
}

// The labels of a thread's code, for the calling thread only.
inline label_set_id labels_of_sig(process_state& process, std::uint32_t thread) PROF_DETAIL_SIG {
  const thread_state* const known = process.threads.find_sig(thread);
  return known == nullptr ? no_labels : known->labels.load(std::memory_order_relaxed);
}

// Waits its turn; for ordinary context. Whoever holds the lock may need this CPU, and a thread with a real-time
// policy leaves it to others only when it sleeps (sched(7)).
class spin_guard {
 public:
  explicit spin_guard(spin_lock& lock) noexcept : lock_(lock) {
    for (unsigned tries = 0; !lock_.try_lock(); ++tries) {
      if (tries < 100) os_yield();
      else os_sleep_ns(1000000);
    }
  }
  ~spin_guard() { lock_.unlock(); }
  spin_guard(const spin_guard&) = delete;
  spin_guard& operator=(const spin_guard&) = delete;

 private:
  spin_lock& lock_;
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_OWN_CODE_HPP
