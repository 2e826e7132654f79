// prof/collect/api.hpp - the programmatic way: CPU sessions, profiles by name, rates, limits.
// Floor 11 (collect). Public.
// Safety: ordinary context, any thread; never from a signal handler. Nothing throws, prints or
//         aborts; a call that fails leaves what was running as it was.
// Memory: pages of prof's own; nothing here shows up in the heap profile.
// Source: Go's runtime/pprof (names and meanings; errors are values).
#ifndef PROF_COLLECT_API_HPP
#define PROF_COLLECT_API_HPP

#include "prof/collect/collect.hpp"
#include "prof/collect/deliver.hpp"

PROF_PUBLIC_BEGIN

// What a CPU profile samples by.
struct cpu_options {
  // Samples per CPU second and thread, 1 to 10000; 0: the process's rate, which is 100 unless
  // set_cpu_profile_rate changed it. Totals are right at any rate.
  unsigned hz = 0;
  // False: addresses and build ids only.
  bool symbolize = true;
};

PROF_PUBLIC_END

PROF_DETAIL_BEGIN

// A running CPU profile and where it will be written. Lives in pages, not in the host's heap.
struct cpu_recording {
  cpu_recording(process_state& process, const sink& target) noexcept
      : work(process), out(target), pid(os_process_id_sig()) {}
  collection work;
  delivery out;
  const std::uint32_t pid;  // a forked child must not write into its parent's file
};

inline result start_recording(const sink& target, const cpu_options& wanted,
                              cpu_recording*& recording) noexcept {
  process_state* const process = enter_process();
  void* const pages = process == nullptr ? nullptr : os_map_sig(sizeof(cpu_recording));
  if (pages == nullptr) return result(error::out_of_memory, "the CPU profile");
  process->used.store(true);
  auto* const made = new (pages) cpu_recording(*process, target);
  profile_request request;
  request.hz = wanted.hz;
  request.symbolize = wanted.symbolize;
  result started = check_profile(*process, "profile");
  if (started) started = check_versions();
  // The file is opened, and truncated, only when everything else has worked.
  if (started) started = made->work.begin("profile", request);
  if (started) started = made->out.open();
  if (started) {
    recording = made;
    return started;
  }
  made->~cpu_recording();
  os_unmap_sig(pages, sizeof(cpu_recording));
  return started;
}

inline result finish_recording(cpu_recording* recording) noexcept {
  if (recording->pid != os_process_id_sig()) return {};
  const result written = recording->work.finish(recording->out.out());
  const result closed = recording->out.close();
  recording->~cpu_recording();
  os_unmap_sig(recording, sizeof(cpu_recording));
  return closed ? written : closed;
}

// Waits for a duration while a profile is taken; false when the caller asked to stop. Where walks meet
// libraries that were loaded meanwhile, their tables are made once a second, so that not the whole of a long
// profile is walked by interpretation.
inline bool wait_unless_canceled(process_state& process, std::uint64_t ns,
                                 const std::atomic<bool>* cancel) noexcept {
  constexpr std::uint64_t second = 1000000000;
  const std::uint64_t step = cancel != nullptr ? 20000000 : second;
  const std::uint64_t begin = os_monotonic_ns_sig();
  const std::uint64_t end = begin + ns;
  std::uint64_t look = begin + second;
  for (std::uint64_t now = begin; now < end; now = os_monotonic_ns_sig()) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) return false;
    if (now >= look && process.code_map_outdated.load(std::memory_order_relaxed)) {
      refresh_code_map(process);
      look = now + second;
      continue;  // it took a while
    }
    os_sleep_ns(end - now < step ? end - now : step);
  }
  return true;
}

PROF_DETAIL_END

PROF_PUBLIC_BEGIN

// Sets this process's limits. Before the first profile is started or written (later:
// error::configured_late); out of range: error::bad_argument. Heap sampling that runs since the
// first allocation goes on with the new limits.
inline result configure(const options& wanted) {
  detail::process_state* const process = detail::process_sig();
  if (process == nullptr) return result(error::out_of_memory, "the profiler's tables");
  if (process->used.load()) return result(error::configured_late);
  if (wanted.max_depth < 1 || wanted.max_depth > detail::max_depth) {
    return result(error::bad_argument, "options::max_depth must be 1 to 1024");
  }
  if (wanted.signal < 0 || wanted.signal > 64) {
    return result(error::bad_argument, "options::signal must be 0 (choose) or a signal number");
  }
  process->depth.store(wanted.max_depth);
  process->wanted_signal.store(wanted.signal);
  return {};
}

// A CPU profile of its own, beside others (8 at most in the process). Not copyable; a session that
// is destroyed while it runs is stopped and written.
class cpu_session {
 public:
  cpu_session() noexcept = default;
  ~cpu_session() { (void)stop(); }
  cpu_session(const cpu_session&) = delete;
  cpu_session& operator=(const cpu_session&) = delete;

  // Begins sampling the CPU time of every thread. The sink's path is opened now; a borrowed sink
  // must live until stop(). Errors: error::session_in_use, open_failed, too_many_sessions,
  // signal_in_use, timer_failed, profile_off, bad_argument.
  result start(const sink& target, const cpu_options& wanted = {}) {
    if (recording_ != nullptr) return result(error::session_in_use);
    detail::cpu_recording* recording = nullptr;
    result started = detail::start_recording(target, wanted, recording);
    recording_ = recording;
    return started;
  }

  // Ends sampling, writes the profile and returns what went wrong on the way. Does nothing when
  // the session does not run.
  result stop() {
    if (recording_ == nullptr) return {};
    auto* const ending = static_cast<detail::cpu_recording*>(recording_);
    recording_ = nullptr;
    return detail::finish_recording(ending);
  }

  bool running() const noexcept { return recording_ != nullptr; }

 private:
  void* recording_ = nullptr;  // detail::cpu_recording, whose visibility is narrower
};

// Go's StartCPUProfile: the one unnamed session of the process. A second start is
// error::cpu_in_use and leaves the first one and its file alone. Other errors as cpu_session.
inline result start_cpu_profile(const sink& target, const cpu_options& wanted = {}) {
  detail::process_state* const process = detail::enter_process();
  if (process == nullptr) return result(error::out_of_memory, "the CPU profile");
  void* none = nullptr;
  if (!process->unnamed_session.compare_exchange_strong(none, process)) {
    return result(error::cpu_in_use);  // `process` itself marks a start under way
  }
  detail::cpu_recording* recording = nullptr;
  result started = detail::start_recording(target, wanted, recording);
  process->unnamed_session.store(recording);
  return started;
}

// Go's StopCPUProfile: returns when the profile is written. Does nothing when none runs.
inline result stop_cpu_profile() {
  if (detail::attached_process_sig() == nullptr) return {};
  detail::process_state* const process = detail::enter_process();
  void* running = process->unnamed_session.load();
  if (running == nullptr || running == process) return {};
  if (!process->unnamed_session.compare_exchange_strong(running, nullptr)) return {};
  return detail::finish_recording(static_cast<detail::cpu_recording*>(running));
}

// Writes the profile of that name: "heap", "allocs", or "profile" (CPU). With seconds it blocks
// for that long (CPU: 30 when 0); `cancel` ends the wait with error::canceled. Errors:
// error::unknown_profile, profile_off, not_in_version, open_failed, write_failed, out_of_memory.
inline result write_profile(const char* name, const sink& target,
                            const profile_request& request = {}) {
  detail::process_state* const process = detail::enter_process();
  if (process == nullptr) return result(error::out_of_memory, "the profile");
  if (name == nullptr) return result(error::unknown_profile, "(null)");
  if (result known = detail::check_profile(*process, name); !known) return known;
  if (result agreed = detail::check_versions(); !agreed) return agreed;
  process->used.store(true);
  detail::delivery out(target);
  detail::collection work(*process);
  if (result begun = work.begin(name, request); !begun) return begun;
  if (result opened = out.open(); !opened) return opened;
  if (!detail::wait_unless_canceled(*process, work.duration_ns(), request.cancel)) {
    return result(error::canceled);
  }
  const result written = work.finish(out.out());
  const result closed = out.close();
  return closed ? written : closed;
}

// Go's WriteHeapProfile: what is live now, and all allocations so far, by stack. Works without any
// start call: sampling runs from the process's first allocation. About 1 ms and up with the number
// of stacks; the host's threads go on meanwhile.
inline result write_heap_profile(const sink& target) { return write_profile("heap", target); }

// Calls visit(name, available) for every profile this version knows, sorted by name.
template <class Visit>
inline void for_each_profile(Visit visit) {
  detail::process_state* const process = detail::enter_process();
  for (const detail::known_profile& known : detail::known_profiles) {
    visit(known.name.data, process != nullptr && detail::check_profile(*process, known.name));
  }
}

// Sets the rate of later CPU profiles that do not say one (100 at start). Returns the previous
// rate; values outside 1 to 10000 change nothing.
inline unsigned set_cpu_profile_rate(unsigned hz) {
  detail::process_state* const process = detail::process_sig();
  if (process == nullptr) return 0;
  if (hz < 1 || hz > detail::max_hz) return process->hz.load();
  return process->hz.exchange(hz);
}

// One sample per `bytes` allocated on average (524288 at start); 1: every allocation; 0: none.
// Counts at once for the calling thread, after at most 4 MiB of allocations for the others. What
// was sampled before keeps its weight, so profiles stay right. Returns the previous rate.
inline std::size_t set_mem_profile_rate(std::size_t bytes) {
  detail::process_state* const process = detail::enter_process();
  if (process == nullptr) return 0;
  const auto* const heap = detail::find_part_sig<detail::heap_part>(*process, detail::part::heap);
  std::uint64_t before = 0;
  if (heap != nullptr) heap->set_rate(*process, bytes, before);
  return static_cast<std::size_t>(before);
}

PROF_PUBLIC_END

#endif  // PROF_COLLECT_API_HPP
