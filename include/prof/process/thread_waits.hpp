// prof/process/thread_waits.hpp - what each thread waits for, who has it, and who waits in a circle.
// Floor 7 (process). Used by the threads profile and by status.
// Safety: ordinary context. Locks of the host are read by system calls that fail where memory is gone.
// Memory: an arena.
// Source: the waits that hooks see (process/wait_table.hpp); where no profile of waits is on, /proc/self/task/TID/syscall,
//         which names the futex (proc(5)); a mutex that knows its owner says who that is (os/linux_locks.hpp). Threads and
//         owners are a graph with one edge from each thread, whose circles are found by following it. The edges are not read
//         at one moment, and threads that only pass a lock on look like a circle now and then: one counts if all of its
//         edges are there on another look, and none of its threads has used CPU time from before that look to behind it: so
//         they were there together, for only these threads could have changed them.
#ifndef PROF_PROCESS_THREAD_WAITS_HPP
#define PROF_PROCESS_THREAD_WAITS_HPP

#include "prof/process/process.hpp"

PROF_DETAIL_BEGIN

struct thread_wait {
  std::uint32_t thread = 0;
  bool waits = false;
  wait_kind kind = wait_kind::futex;
  std::uintptr_t object = 0;
  std::uint64_t began_ns = 0;  // 0: not known
  std::uint32_t owner = 0;     // the thread that has the object; 0: nobody, or not known
  std::uint32_t circle = 0;    // threads with one number wait for each other
};

#if PROF_DETAIL_OS_LOCKS
// Who holds a lock that a thread waits for.
inline std::uint32_t owner_of_lock(const thread_wait& wait) noexcept {
  if (wait.kind == wait_kind::mutex) {
    os_mutex copy;
    return os_copy_sig(&copy, wait.object, sizeof copy) ? os_mutex_owner_sig(copy) : 0;
  }
  os_rwlock copy;
  if (wait.kind != wait_kind::rdlock && wait.kind != wait_kind::wrlock) return 0;
  return os_copy_sig(&copy, wait.object, sizeof copy) ? os_rwlock_writer_sig(copy) : 0;
}
inline bool looks_like_mutex(std::uintptr_t address, std::uint32_t& owner) noexcept {
  os_mutex copy;
  if (address % alignof(os_mutex) != 0 || !os_copy_sig(&copy, address, sizeof copy)) return false;
  owner = os_mutex_owner_sig(copy);
  return owner != 0 && os_is_waited_mutex_sig(copy);
}
#else
inline std::uint32_t owner_of_lock(const thread_wait&) noexcept { return 0; }
inline bool looks_like_mutex(std::uintptr_t, std::uint32_t&) noexcept { return false; }
#endif

class thread_waits {
 public:
  explicit thread_waits(arena& memory) noexcept : all_(memory), seen_(memory), members_(memory) {}

  // Notes what `count` threads wait for now; thread(i) is the id of one.
  template <class Thread>
  void look(const process_state& process, std::size_t count, Thread thread) noexcept {
    process.waits.for_each([&](std::size_t, const wait_facts& facts) { seen_.push(facts); });
    heap_sort(seen_.data(), seen_.size(), [](const wait_facts& a, const wait_facts& b) { return before(a, b); });
    for (std::size_t i = 0; i < count; ++i) all_.push(look_at(thread(i)));
    look_again();
    heap_sort(all_.data(), all_.size(), [](const thread_wait& a, const thread_wait& b) { return a.thread < b.thread; });
    for (thread_wait& wait : all_) drop_unknown_owner(wait);
    find_circles(process);
  }

  // Null: that thread was not looked at.
  const thread_wait* find(std::uint32_t thread) const noexcept {
    std::size_t from = 0;
    for (std::size_t end = all_.size(); from < end;) {
      const std::size_t middle = from + (end - from) / 2;
      if (all_[middle].thread < thread) from = middle + 1;
      else end = middle;
    }
    return from < all_.size() && all_[from].thread == thread ? &all_[from] : nullptr;
  }
  std::uint32_t circles() const noexcept { return circles_; }

 private:
  // By thread; of several waits of one, a handler's last.
  static bool before(const wait_facts& a, const wait_facts& b) noexcept {
    return a.thread != b.thread ? a.thread < b.thread : a.began_ns < b.began_ns;
  }
  const wait_facts* seen_wait(std::uint32_t thread) const noexcept {
    std::size_t from = 0;
    for (std::size_t end = seen_.size(); from < end;) {
      const std::size_t middle = from + (end - from) / 2;
      if (seen_[middle].thread <= thread) from = middle + 1;
      else end = middle;
    }
    return from != 0 && seen_[from - 1].thread == thread ? &seen_[from - 1] : nullptr;
  }
  thread_wait look_at(std::uint32_t thread) const noexcept {
    thread_wait wait;
    wait.thread = thread;
    const wait_facts* const seen = seen_wait(thread);
    if (seen != nullptr) {
      wait.waits = true;
      wait.kind = seen->kind;
      wait.object = seen->object;
      wait.began_ns = seen->began_ns;
      wait.owner = owner_of_lock(wait);
      return wait;
    }
    wait.object = os_futex_of_thread(thread);
    wait.waits = wait.object != 0;
    if (looks_like_mutex(wait.object, wait.owner)) wait.kind = wait_kind::mutex;
    return wait;
  }
  // Who has just answered a question is on its way back to what it waits for: a moment later it is there.
  void look_again() noexcept {
    const std::uint32_t self = os_thread_id_sig();
    bool some_run = true;
    for (int tries = 0; some_run && tries < 5; ++tries) {
      if (tries != 0) os_sleep_ns(1000000);
      some_run = false;
      for (thread_wait& wait : all_) {
        if (wait.waits || wait.thread == self) continue;
        wait = look_at(wait.thread);
        some_run |= !wait.waits && os_thread_state(wait.thread) == 'R';
      }
    }
  }
  // A futex that is no mutex, or a mutex of other processes.
  void drop_unknown_owner(thread_wait& wait) const noexcept {
    if (wait.owner == 0 || find(wait.owner) != nullptr) return;
    wait.owner = 0;
    if (wait.began_ns == 0) wait.kind = wait_kind::futex;  // no hook said that it is a mutex
  }
  thread_wait* next_of(const thread_wait& wait) noexcept {
    return wait.owner == 0 ? nullptr : const_cast<thread_wait*>(find(wait.owner));
  }
  // Two steps for one (Floyd's tortoise and hare): where they meet is on the circle.
  thread_wait* circle_from(thread_wait& start) noexcept {
    thread_wait* slow = &start;
    thread_wait* fast = &start;
    do {
      slow = next_of(*slow);
      fast = next_of(*fast);
      if (fast != nullptr) fast = next_of(*fast);
    } while (fast != nullptr && slow != fast);
    return fast;
  }
  void find_circles(const process_state& process) noexcept {
    for (thread_wait& start : all_) {
      thread_wait* const first = circle_from(start);
      if (first == nullptr || first->circle != 0) continue;
      const std::uint32_t number = stands(process, *first) ? ++circles_ : passing;
      for (thread_wait* on = first; on->circle == 0; on = next_of(*on)) on->circle = number;
    }
    for (thread_wait& wait : all_) {
      if (wait.circle == passing) wait.circle = 0;
    }
  }

  // Whether the circle's edges are there together. A signal, as another dump sends it, lets a thread run: then once more.
  bool stands(const process_state& process, thread_wait& first) noexcept {
    for (int tries = 0; tries < 3; ++tries) {
      if (tries != 0) os_sleep_ns(1000000);
      (void)members_.resize(0);
      for (thread_wait* on = &first; members_.size() == 0 || on != &first; on = next_of(*on)) {
        if (!members_.push({on, os_cpu_ns_of_thread_sig(on->thread)})) return false;
      }
      for (const member& one : members_) {
        if (!is_there_still(process, *one.wait)) return false;
      }
      if (none_has_run()) return true;
    }
    return false;
  }
  bool none_has_run() const noexcept {
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (os_cpu_ns_of_thread_sig(members_[i].wait->thread) != members_[i].cpu_ns) return false;
    }
    return true;
  }
  static bool is_there_still(const process_state& process, const thread_wait& wait) noexcept {
    if (owner_of_lock(wait) != wait.owner) return false;
    if (wait.began_ns == 0) return os_futex_of_thread(wait.thread) == wait.object;
    wait_facts now;
    const std::size_t index = process.waits.find_sig(wait.thread);
    return index != no_slot && process.waits.read_sig(index, now) && now.object == wait.object &&
           now.began_ns == wait.began_ns;
  }

  static constexpr std::uint32_t passing = ~std::uint32_t{0};  // a circle that does not stand
  struct member {
    thread_wait* wait;
    std::uint64_t cpu_ns;
  };

  arena_vector<thread_wait> all_;
  arena_vector<wait_facts> seen_;
  arena_vector<member> members_;  // of the circle that is looked at
  std::uint32_t circles_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_THREAD_WAITS_HPP
