// prof/base/guard.hpp - scope guards that restore what they found.
// Floor 2 (base). Used by samplers and hooks.
// Safety: async-signal-safe; a guard touches only what it is given.
// Memory: none.
// Source: a nested entry must see the outer value survive (C++ RAII; POSIX signal-safety(7) asks
//         handlers to leave errno alone, which os/ does with errno_guard).
#ifndef PROF_BASE_GUARD_HPP
#define PROF_BASE_GUARD_HPP

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// Raises a depth counter for a scope. Nested scopes see first() == false; the counter may be a
// thread-local plain int because only this thread and its own signal handlers touch it.
class depth_guard {
 public:
  explicit depth_guard(int& depth) PROF_DETAIL_SIG : depth_(depth), before_(depth) {
    depth_ = before_ + 1;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~depth_guard() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    depth_ = before_;
  }
  depth_guard(const depth_guard&) = delete;
  depth_guard& operator=(const depth_guard&) = delete;
  bool first() const PROF_DETAIL_SIG { return before_ == 0; }

 private:
  int& depth_;
  const int before_;
};

// Counts the threads inside a region; the one who closes the region waits (bounded) for zero.
class presence_guard {
 public:
  explicit presence_guard(std::atomic<std::uint32_t>& inside) PROF_DETAIL_SIG : inside_(inside) {
    inside_.fetch_add(1);  // in the single order: who closes stores first and looks here then
  }
  ~presence_guard() { inside_.fetch_sub(1, std::memory_order_release); }
  presence_guard(const presence_guard&) = delete;
  presence_guard& operator=(const presence_guard&) = delete;

 private:
  std::atomic<std::uint32_t>& inside_;
};

// Waited for in ordinary context only, with a pause that the caller gives because base/ knows no OS;
// handlers and hooks may try it.
class spin_lock {
 public:
  bool try_lock() noexcept { return !held_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }
  bool held() const noexcept { return held_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> held_{false};
};

PROF_DETAIL_END

#endif  // PROF_BASE_GUARD_HPP
