// prof/collect/profiles.hpp - the programmatic way: CPU sessions, profiles by name, rates, limits.
// Floor 11 (collect). Public; part of the thin header: forwards to the table of api_table.hpp.
// Safety: ordinary context, any thread; never from a signal handler. Nothing throws, prints or
//         aborts; a call that fails leaves what was running as it was.
// Memory: pages of prof's own; nothing here shows up in the heap profile.
// Source: Go's runtime/pprof (names and meanings; errors are values).
#ifndef PROF_COLLECT_PROFILES_HPP
#define PROF_COLLECT_PROFILES_HPP

#include "prof/collect/api_table.hpp"

PROF_PUBLIC_BEGIN

// Sets this process's limits. Before the first profile is started or written (later:
// error::configured_late); out of range: error::bad_argument. Heap sampling that runs since the
// first allocation goes on with the new limits.
PROF_DETAIL_LOCAL inline result configure(const options& wanted) {
  const detail::api_table* const table = detail::api();
  return table != nullptr ? table->configure(wanted, sizeof wanted) : result(error::not_included);
}

// A CPU profile of its own, beside others (8 at most in the process). Not copyable; a session that
// is destroyed while it runs is stopped and written.
class cpu_session {
 public:
  cpu_session() noexcept = default;
  PROF_DETAIL_LOCAL ~cpu_session() { (void)stop(); }
  cpu_session(const cpu_session&) = delete;
  cpu_session& operator=(const cpu_session&) = delete;

  // Begins sampling the CPU time of every thread. The sink's path is opened now; a borrowed sink
  // must live until stop(). Errors: error::session_in_use, open_failed, too_many_sessions,
  // signal_in_use, timer_failed, profile_off, not_included, bad_argument.
  PROF_DETAIL_LOCAL result start(const sink& target, const cpu_options& wanted = {}) {
    if (recording_ != nullptr) return result(error::session_in_use);
    const detail::api_table* const table = detail::api();
    if (table == nullptr) return result(error::not_included);
    return table->start_session(recording_, target, wanted, sizeof wanted);
  }

  // Ends sampling, writes the profile and returns what went wrong on the way. Does nothing when
  // the session does not run.
  PROF_DETAIL_LOCAL result stop() {
    const detail::api_table* const table = detail::api_sig();
    if (recording_ == nullptr || table == nullptr) return {};
    void* const ending = recording_;
    recording_ = nullptr;
    return table->stop_session(ending);
  }

  bool running() const noexcept { return recording_ != nullptr; }

 private:
  void* recording_ = nullptr;  // a detail::cpu_recording of the object that has the table
};

// Go's StartCPUProfile: the one unnamed session of the process. A second start is
// error::cpu_in_use and leaves the first one and its file alone. Other errors as cpu_session.
PROF_DETAIL_LOCAL inline result start_cpu_profile(const sink& target, const cpu_options& wanted = {}) {
  const detail::api_table* const table = detail::api();
  return table != nullptr ? table->start_cpu(target, wanted, sizeof wanted) : result(error::not_included);
}

// Go's StopCPUProfile: returns when the profile is written. Does nothing when none runs.
PROF_DETAIL_LOCAL inline result stop_cpu_profile() {
  const detail::api_table* const table = detail::api_sig();
  return table != nullptr ? table->stop_cpu() : result();
}

// Writes a profile by name with the parameters of an HTTP query; blocks while it collects. "profile" is a CPU profile,
// of 30 s when the request does not say. Errors: error::unknown_profile, profile_off, not_in_version, not_included,
// canceled, open_failed, write_failed, out_of_memory and those of cpu_session.
PROF_DETAIL_LOCAL PROF_DETAIL_INLINE result write_profile(const char* name, const sink& target, const profile_request& request = {}) {
  const detail::api_table* const table = detail::api();
  return table != nullptr ? table->write_profile(name, target, request, sizeof request) : result(error::not_included);
}

// Go's WriteHeapProfile: what is live now, and all allocations so far, by stack. Works without any
// start call: sampling runs from the process's first allocation. About 1 ms and up with the number
// of stacks; the host's threads go on meanwhile.
PROF_DETAIL_LOCAL PROF_DETAIL_INLINE result write_heap_profile(const sink& target) { return write_profile("heap", target); }

// Calls visit(name, available) for every profile this version knows, sorted by name; for none where no file of the
// process includes prof.hpp.
template <class Visit>
PROF_DETAIL_LOCAL inline void for_each_profile(Visit visit) {
  const detail::api_table* const table = detail::api();
  if (table == nullptr) return;
  table->visit_profiles([](void* context, const char* name, bool available) {
    (*static_cast<Visit*>(context))(name, available);
  }, &visit);
}

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

inline std::uint64_t set_rate(const char* profile, std::uint64_t rate) {
  const api_table* const table = api();
  return table != nullptr ? table->set_rate(profile, rate) : 0;
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// Sets the rate of later CPU profiles that do not say one (100 at start). Returns the previous
// rate; values outside 1 to 10000 change nothing.
PROF_DETAIL_LOCAL inline unsigned set_cpu_profile_rate(unsigned hz) {
  return static_cast<unsigned>(detail::set_rate("profile", hz));
}

// One sample per `bytes` allocated on average (524288 at start); 1: every allocation; 0: none.
// Counts at once for the calling thread, after at most 4 MiB of allocations for the others. What
// was sampled before keeps its weight, so profiles stay right. Returns the previous rate.
PROF_DETAIL_LOCAL inline std::size_t set_mem_profile_rate(std::size_t bytes) {
  detail::alloc_countdown = 0;  // of this object's record_alloc
  return static_cast<std::size_t>(detail::set_rate("heap", bytes));
}

// Go's SetMutexProfileFraction: one of `n` contended unlocks is counted, for n of them; 1: each; 0 (at start): none.
// Returns the previous value. Counts at once, for all threads.
PROF_DETAIL_LOCAL inline unsigned set_mutex_profile_fraction(unsigned n) {
  return static_cast<unsigned>(detail::set_rate("mutex", n));
}

// Go's SetBlockProfileRate: a wait of c ns is counted if c >= `ns`, else with probability c / ns, and then for ns / c
// waits; 1: each; 0 (at start): none. Returns the previous value. Counts for waits that begin from now on.
PROF_DETAIL_LOCAL inline std::uint64_t set_block_profile_rate(std::uint64_t ns) { return detail::set_rate("block", ns); }

PROF_PUBLIC_END

#endif  // PROF_COLLECT_PROFILES_HPP
