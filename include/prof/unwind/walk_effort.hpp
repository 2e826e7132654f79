// prof/unwind/walk_effort.hpp - how much a walk may do before it gives up finding the root.
// Floor 4 (unwind). Kept by unwind.hpp; sample/cpu.hpp says how often a thread is walked.
// Safety: async-signal-safe.
// Memory: a few words of the walk.
// Source: measured (a Xeon of Rocket Lake, Linux 6.18): a frame 9 ns by its cached rule; the first word on another
//         page of the stack 0.5 to 1 us, for its probe and what no cache holds; without a rule, by its frame record,
//         0.1 us in code that stays, 1.2 us in a JIT's, 4 to 9 us in a library's that may go, which is copied; a rule
//         that is interpreted each time 3 us. A thread sampled more often than its walks take never runs again.
#ifndef PROF_UNWIND_WALK_EFFORT_HPP
#define PROF_UNWIND_WALK_EFFORT_HPP

#include "prof/base/platform.hpp"

PROF_DETAIL_BEGIN

// Each is bounded by how often the thread is walked. A rule is missing from the cache once, mostly, and less strictly bounded: two
// addresses that share a place of the cache find each other's gone.
struct walk_limits {
  std::size_t frames = std::size_t{32} * 1024;
  std::size_t pages = 2304;      // of the stack: 9 MiB, so that the root of a whole stack of 8 is found
  std::size_t effort = 12288;    // tenths of a microsecond
  std::size_t new_rules = 2048;  // up to 3 us each
};

inline constexpr std::uint64_t whole_period_ns = 10000000;  // 100 Hz; who is walked that often is walked to the end

// Of a thread that is interrupted that often. CPU timers expire on the kernel's ticks, of which there are 1000 a second
// at most (CONFIG_HZ), so for a shorter period no less is needed.
inline walk_limits walk_limits_sig(std::uint64_t period_ns) PROF_DETAIL_SIG {
  constexpr std::size_t parts = 8;
  std::size_t share = parts;
  if (period_ns < whole_period_ns) share = static_cast<std::size_t>(period_ns * parts / whole_period_ns);
  if (share < 1) share = 1;
  walk_limits limits;
  limits.frames = limits.frames / parts * share;
  limits.pages = limits.pages / parts * share;
  const std::size_t larger = share < 2 ? 2 : share;  // 256 frames of a JIT, 512 new rules
  limits.effort = limits.effort / parts * larger;
  limits.new_rules = limits.new_rules / parts * larger;
  return limits;
}

class walk_effort {
 public:
  explicit walk_effort(const walk_limits& most) PROF_DETAIL_SIG : most_(most) {}

  std::size_t frames() const PROF_DETAIL_SIG { return most_.frames; }
  bool allows_sig(std::size_t frames) const PROF_DETAIL_SIG {
    return frames < most_.frames && pages_ < most_.pages && spent_ < most_.effort && new_rules_ < most_.new_rules;
  }
  // So many frames, of which only the last may reach beyond end_sig(from): each has a page of its own at most.
  void climb_sig(std::uintptr_t from, std::uintptr_t to, std::size_t frames) PROF_DETAIL_SIG {
    const std::uintptr_t pages = (to >> 12) - (from >> 12);
    const std::size_t most = frames < at_once ? frames : at_once + 1;
    pages_ += pages < most ? static_cast<std::size_t>(pages) : most;
  }
  // Up to here there are no more pages than may be seen, nor so many that a huge frame would count for many.
  std::uintptr_t end_sig(std::uintptr_t from) const PROF_DETAIL_SIG {
    const std::size_t left = most_.pages - pages_;
    return from + (left < at_once ? left : at_once) * 4096;
  }
  // A rule was looked up: not in the cache, or the system was asked whether that is its code still.
  void look_up_sig(std::size_t missed, std::size_t lookups) PROF_DETAIL_SIG {
    new_rules_ += missed;
    spent_ += 7 * lookups;
  }
  void interpret_sig() PROF_DETAIL_SIG { spent_ += 32; }
  // `is_file`: of an ELF file, not a JIT's.
  void go_without_rule_sig(bool is_lasting, bool is_file) PROF_DETAIL_SIG {
    spent_ += is_lasting ? 2 : is_file ? 64 : 12;
  }

 private:
  static constexpr std::size_t at_once = 64;  // pages
  const walk_limits most_;
  std::size_t pages_ = 0;
  std::size_t spent_ = 0;
  std::size_t new_rules_ = 0;
};

PROF_DETAIL_END

#endif  // PROF_UNWIND_WALK_EFFORT_HPP
