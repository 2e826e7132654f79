// prof/part/cpu_part.hpp - the CPU part: sessions over the sampler, and its descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_CPU is on.
// Safety: ordinary context, any thread; start and stop are serialised by one lock.
// Memory: none of its own; the snapshots of a session live in the session's arena.
// Source: Go's StartCPUProfile for one session; several sessions share the timers, which run at the
//         highest rate asked for.
#ifndef PROF_PART_CPU_PART_HPP
#define PROF_PART_CPU_PART_HPP

#include "prof/process/sampling_signal.hpp"
#include "prof/sample/cpu.hpp"

PROF_DETAIL_BEGIN

// What a running session remembers; in the memory that its collection gives.
struct cpu_run {
  cpu_run(cpu_state& state, arena& memory) noexcept : cpu(state), base(memory), last(memory) {}
  cpu_state& cpu;
  count_snapshot base;
  count_snapshot last;  // when it ended; others may go on
  int slot = -1;        // in cpu_state::session_hz
  std::uint32_t hz = 0;
};

inline std::uint32_t highest_hz(const cpu_state& cpu) noexcept {
  std::uint32_t highest = 0;
  for (const std::uint32_t hz : cpu.session_hz) highest = hz > highest ? hz : highest;
  return highest;
}

// Waits until no handler is running; bounded, since a stopped thread may sit in one for ever.
inline void wait_for_handlers(const cpu_state& cpu) noexcept {
  for (int i = 0; i < 100 && cpu.in_handler.load(std::memory_order_acquire) != 0; ++i) {
    os_sleep_ns(1000000);
  }
}

// Runs the timers as the sessions that there are now want them. Also where the rate stays: threads
// have come and gone since the last session began.
inline result apply_rate(process_state& process, cpu_state& cpu) noexcept {
  const std::uint32_t hz = highest_hz(cpu);
  const std::uint64_t period = hz == 0 ? 0 : 1000000000u / hz;
  cpu.period_ns.store(period, std::memory_order_release);
  if (period == 0) {
    disarm_all_threads(cpu);
    wait_for_handlers(cpu);
    return {};
  }
  retime_all_threads(cpu, period);
  const int failed = arm_all_threads(process, cpu);
  if (failed == 0) return {};
  return result(error::timer_failed, os_error_text(failed), failed);
}

inline result begin_cpu(profile_run& run) {
  process_state& process = run.process;
  cpu_state* const cpu = cpu_of(process);
  if (cpu == nullptr) return result(error::out_of_memory, "the CPU profile's tables");
  const std::uint32_t hz = run.request.hz != 0 ? run.request.hz : cpu->hz.load(std::memory_order_relaxed);
  if (hz > max_hz) return result(error::bad_argument, "the sampling rate must be 1 to 10000 per second");
  const spin_guard lock(cpu->sessions_lock);
  int slot = 0;
  while (slot < static_cast<int>(max_cpu_sessions) && cpu->session_hz[slot] != 0) ++slot;
  if (slot == static_cast<int>(max_cpu_sessions)) return result(error::too_many_sessions);
  if (result ready = prepare_signal(process, "CPU profiling"); !ready) return ready;
  process.signal.ticked.store(&tick_sig, std::memory_order_release);
  refresh_code_map(process);
  auto& session = *new (run.state) cpu_run(*cpu, run.memory);
  session.hz = hz;
  cpu->counts.read(session.base);
  cpu->session_hz[slot] = hz;
  session.slot = slot;
  result armed = apply_rate(process, *cpu);
  if (armed) return armed;
  cpu->session_hz[slot] = 0;
  (void)apply_rate(process, *cpu);
  return armed;
}

inline void leave_cpu(profile_run& run) {
  auto& session = *static_cast<cpu_run*>(run.state);
  session.cpu.session_hz[session.slot] = 0;
  (void)apply_rate(run.process, session.cpu);
}

inline result end_cpu(profile_run& run) {
  auto& session = *static_cast<cpu_run*>(run.state);
  const spin_guard lock(session.cpu.sessions_lock);
  leave_cpu(run);
  session.cpu.counts.read(session.last);
  return {};
}

inline void cancel_cpu(profile_run& run) {
  const spin_guard lock(static_cast<cpu_run*>(run.state)->cpu.sessions_lock);
  leave_cpu(run);
}

inline void fill_cpu(profile& p, profile_run& run) {
  const auto& session = *static_cast<const cpu_run*>(run.state);
  fill_cpu_profile(p, run.process, session.cpu, session.base, session.last, session.hz);
}

// Of sessions that do not say one.
inline std::uint64_t set_cpu_rate(process_state& process, std::uint64_t hz) {
  cpu_state* const cpu = cpu_of(process);
  if (cpu == nullptr) return 0;
  if (hz < 1 || hz > max_hz) return cpu->hz.load();
  return cpu->hz.exchange(static_cast<std::uint32_t>(hz));
}

inline void visit_cpu_rows(process_state&, visitor<profile_row> visit) {
  static constexpr profile_row row{
      {"profile", 7}, {"CPU profile. Collects for the number of seconds given by the seconds parameter", 78}, 30, {}, {}, nullptr,
      nullptr, nullptr, {"Could not enable CPU profiling: ", 32}};
  visit(row);
}

inline void report_cpu(const process_state& process, visitor<status_value> visit) {
  const cpu_state* const cpu = attached_cpu_sig(process);
  const std::uint64_t period = cpu != nullptr ? cpu->period_ns.load() : 0;
  visit({"cpu profile", 0, period != 0 ? "running" : "off"});
  visit({"cpu engine", 0, "timer_create: counts user and system time of every thread at any rate"});
  visit({"cpu rate (Hz)", period == 0 ? 0 : 1000000000u / period, nullptr});
  if (cpu == nullptr) return;  // no thread was started and no profile taken
  visit({"cpu signal", static_cast<std::uint64_t>(process.signal.number.load()), nullptr});
  visit({"cpu samples", cpu->ticks.load(), nullptr});
  visit({"threads with a timer", cpu->timers.used(), nullptr});
  visit({"threads with the signal blocked", cpu->unsampled_threads.load(), nullptr});
  visit({"threads started", cpu->threads_started.load(), nullptr});
  visit({"own CPU in handlers (ns)", cpu->handler_ns.load(), nullptr});
}

inline void forget_cpu_parent(process_state& process, bool) {
  cpu_state* const cpu = attached_cpu_sig(process);
  if (cpu != nullptr) forget_parent_cpu(*cpu);
}

// ---- threads that come and go ------------------------------------------------------------------------------------

inline bool are_timers_running(const cpu_state* cpu) noexcept {
  return cpu != nullptr && cpu->period_ns.load() != 0 && cpu->pid.load() == os_process_id_sig();
}
inline void arm_new_thread(process_state& process, const thread_start& start) {
  cpu_state* const cpu = cpu_of(process);
  if (cpu == nullptr) return;
  if (!start.is_own) cpu->threads_started.fetch_add(1, std::memory_order_relaxed);
  if (!are_timers_running(cpu)) return;
  {
    const spin_guard lock(cpu->timers_lock);
    (void)arm_thread(process, *cpu, os_thread_id_sig(), true);
  }
  // A host that blocks everything in its workers would otherwise not be sampled.
  os_unblock_signal_sig(process.signal.number.load());
  // Here and not in whoever made the thread, which may hold locks of its own.
  refresh_outdated_code_map(process);
}
inline bool has_timers_running(process_state& process) { return are_timers_running(attached_cpu_sig(process)); }
inline void disarm_ending_thread(process_state& process) {
  cpu_state* const cpu = attached_cpu_sig(process);
  if (cpu == nullptr || cpu->pid.load() != os_process_id_sig()) return;
  const spin_guard lock(cpu->timers_lock);
  const std::size_t index = cpu->timers.find_sig(thread_key_base + os_thread_id_sig());
  if (index != no_slot) disarm_slot(*cpu, index);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const profile_part prof_part_cpu_v2 = {
    {sizeof(profile_part), cpu_layout},
    sizeof(cpu_run),
    &visit_cpu_rows,
    &begin_cpu,
    &end_cpu,
    &cancel_cpu,
    &fill_cpu,
    &set_cpu_rate,
    nullptr,
    &report_cpu,
    &forget_cpu_parent,
    nullptr,
    nullptr,
    &arm_new_thread,
    &has_timers_running,
    &disarm_ending_thread};

PROF_DETAIL_END

#endif  // PROF_PART_CPU_PART_HPP
