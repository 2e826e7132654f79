// prof/process/rate_windows.hpp - the rate of a profile that is off until somebody asks: the program's own, and those of
// the profiles over some seconds that run now.
// Floor 7 (process). Used by the block and the mutex profile.
// Safety: in_effect_sig may be asked anywhere; the rest is for ordinary context.
// Memory: 8 bytes for each of max_windows.
// Source: Go users ask for a profile of the next seconds without code (golang/go#23401). Weights are fixed when something
//         is sampled, so that any rate is right for everybody: the most detailed one wins.
#ifndef PROF_PROCESS_RATE_WINDOWS_HPP
#define PROF_PROCESS_RATE_WINDOWS_HPP

#include "prof/process/own_code.hpp"

PROF_DETAIL_BEGIN

class rate_windows {
 public:
  static constexpr int max_windows = 64;
  static constexpr int none = -1;

  // The smallest that is not 0; 0: off.
  std::uint64_t in_effect_sig() const PROF_DETAIL_SIG { return in_effect_.load(); }
  std::uint64_t own() const noexcept { return own_.load(std::memory_order_relaxed); }

  // The program's own rate; returns the one before.
  std::uint64_t set_own(std::uint64_t rate) noexcept {
    const spin_guard lock(lock_);
    const std::uint64_t before = own_.exchange(rate);
    settle();
    return before;
  }
  // `rate` is not 0. `none`: there are max_windows already.
  int open(std::uint64_t rate) noexcept {
    const spin_guard lock(lock_);
    for (int i = 0; i < max_windows; ++i) {
      if (windows_[i] != 0) continue;
      windows_[i] = rate;
      settle();
      return i;
    }
    return none;
  }
  void close(int window) noexcept {
    if (window == none) return;
    const spin_guard lock(lock_);
    windows_[window] = 0;
    settle();
  }
  // In a forked child: no window is its own.
  void forget_windows() noexcept {
    lock_.unlock();
    for (std::uint64_t& rate : windows_) rate = 0;
    settle();
  }

 private:
  void settle() noexcept {
    std::uint64_t smallest = own_.load(std::memory_order_relaxed);
    for (const std::uint64_t rate : windows_) {
      if (rate != 0 && (smallest == 0 || rate < smallest)) smallest = rate;
    }
    in_effect_.store(smallest);
  }

  std::atomic<std::uint64_t> in_effect_{0};
  std::atomic<std::uint64_t> own_{0};
  std::uint64_t windows_[max_windows] = {};
  spin_lock lock_;
};

PROF_DETAIL_END

#endif  // PROF_PROCESS_RATE_WINDOWS_HPP
