// prof/part/mutex_part.hpp - the mutex part: who makes others wait; its descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_MUTEX is on.
// Safety: ordinary context, any thread.
// Memory: none of its own; snapshots live in the collection's arena.
// Source: Go's runtime/pprof mutex profile and SetMutexProfileFraction.
#ifndef PROF_PART_MUTEX_PART_HPP
#define PROF_PART_MUTEX_PART_HPP

#include "prof/hook/followed_wait.hpp"
#include "prof/process/enter.hpp"
#include "prof/sample/mutex.hpp"
#include "prof/write/text.hpp"

PROF_DETAIL_BEGIN

struct mutex_run {
  mutex_run(mutex_state& state, arena& memory) noexcept : mutex(state), base(memory), now(memory) {}
  mutex_state& mutex;
  bool of_waiters = false;
  int window = rate_windows::none;
  mutex_snapshot base;  // of a difference over some seconds
  mutex_snapshot now;
};

// Rates take effect where the hooks are.
inline void tell_lock_hooks(process_state& process) noexcept { tell_hooks(process, hook_family::lock); }

inline void change_fraction(process_state& process, mutex_state& mutex, bool was_off) noexcept {
  if (was_off) restart_locks(mutex);
  tell_lock_hooks(process);
}

inline void read_mutex(const mutex_run& run, process_state& process, mutex_snapshot& snapshot) noexcept {
  forget_waits_of_ended_threads(process);
  if (run.of_waiters) read_waiters(process, run.mutex, snapshot);
  else run.mutex.holders.read(snapshot.counts);
}

inline result begin_mutex(profile_run& run) {
  mutex_state* const mutex = mutex_of(run.process);
  if (mutex == nullptr) return result(error::out_of_memory, "the mutex profile's tables");
  const text_view view = run.request.view != nullptr ? text_view(run.request.view) : text_view();
  if (view.size != 0 && !view.equals("waiter") && !view.equals("holder")) {
    return result(error::bad_argument, "view must be holder or waiter");
  }
  auto& made = *new (run.state) mutex_run(*mutex, run.memory);
  made.of_waiters = view.equals("waiter");
  if (run.request.seconds == 0) return {};
  const bool was_off = mutex->fraction.in_effect_sig() == 0;
  if (was_off) prepare_walks(run.process);
  made.window = mutex->fraction.open(run.request.rate != 0 ? run.request.rate : 1);
  if (made.window == rate_windows::none) return result(error::too_many_sessions);
  change_fraction(run.process, *mutex, was_off);
  read_mutex(made, run.process, made.base);
  return {};
}
inline void close_mutex_window(profile_run& run) {
  auto& counted = *static_cast<mutex_run*>(run.state);
  counted.mutex.fraction.close(counted.window);
  if (counted.window != rate_windows::none) tell_lock_hooks(run.process);
}
inline result end_mutex(profile_run& run) {
  auto& counted = *static_cast<mutex_run*>(run.state);
  read_mutex(counted, run.process, counted.now);
  close_mutex_window(run);
  return {};
}
inline void fill_mutex(profile& p, profile_run& run) {
  const auto& counted = *static_cast<const mutex_run*>(run.state);
  const mutex_snapshot* const base = run.request.seconds != 0 ? &counted.base : nullptr;
  fill_mutex_profile(p, run.process, counted.of_waiters ? counted.mutex.waiters : counted.mutex.holders, counted.now,
                     base);
}

inline std::uint64_t set_mutex_fraction(process_state& process, std::uint64_t fraction) {
  mutex_state* const mutex = mutex_of(process);
  if (mutex == nullptr) return 0;
  const bool was_off = mutex->fraction.in_effect_sig() == 0;
  if (was_off && fraction != 0) prepare_walks(process);
  const std::uint64_t before = mutex->fraction.set_own(fraction);
  change_fraction(process, *mutex, was_off);
  return before;
}

inline void visit_mutex_rows(process_state&, visitor<profile_row> visit) {
  static constexpr profile_row row{{"mutex", 5}, {"Stack traces of holders of contended mutexes", 44}, 0, {},
                                   {"mutex-delta", 11}, &write_mutex_text};
  visit(row);
}
inline std::uint64_t count_mutex(const process_state& process) {
  const mutex_state* const mutex = attached_mutex_sig(process);
  return mutex != nullptr ? mutex->holders.used() : 0;
}
inline void report_mutex(const process_state& process, visitor<status_value> visit) {
  const mutex_state* const mutex = attached_mutex_sig(process);
  visit({"mutex fraction (1 of so many)", mutex != nullptr ? mutex->fraction.in_effect_sig() : 0, nullptr});
  visit({"mutex samples", mutex != nullptr ? mutex->samples.load() : 0, nullptr});
  visit({"contended locks now", mutex != nullptr ? mutex->locks.used() : 0, nullptr});
}
inline void forget_mutex_parent(process_state& process, bool) {
  mutex_state* const mutex = attached_mutex_sig(process);
  if (mutex == nullptr) return;
  forget_parent_locks(*mutex);
  tell_lock_hooks(process);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const profile_part prof_part_mutex_v2 = {
    {sizeof(profile_part), mutex_layout},
    sizeof(mutex_run),
    &visit_mutex_rows,
    &begin_mutex,
    &end_mutex,
    &close_mutex_window,
    &fill_mutex,
    &set_mutex_fraction,
    &count_mutex,
    &report_mutex,
    &forget_mutex_parent,
    nullptr};

PROF_DETAIL_END

#endif  // PROF_PART_MUTEX_PART_HPP
