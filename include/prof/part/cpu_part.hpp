// prof/part/cpu_part.hpp - the CPU part: sessions over the sampler, and its descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_CPU is on.
// Safety: ordinary context, any thread; start and stop are serialised by one lock.
// Memory: none of its own; the reading of a session lives in the session's arena.
// Source: Go's StartCPUProfile for one session; several sessions share the timers, which run at the
//         highest rate asked for.
#ifndef PROF_PART_CPU_PART_HPP
#define PROF_PART_CPU_PART_HPP

#include "prof/part/parts.hpp"

PROF_DETAIL_BEGIN

// The wanted signal if it is free or ours, else SIGPROF, else the first free real-time signal.
inline int choose_signal(const cpu_state& cpu, int wanted) noexcept {
  const auto usable = [&cpu](int number) {
    const void* const there = os_signal_handler(number);
    return there == nullptr || there == cpu.handler.load() || there == os_own_signal_handler();
  };
  if (wanted != 0) return usable(wanted) ? wanted : 0;
  if (usable(os_default_signal())) return os_default_signal();
  for (int n = 0; os_candidate_signal(n) != 0; ++n) {
    if (usable(os_candidate_signal(n))) return os_candidate_signal(n);
  }
  return 0;
}

// Installs the handler once; it stays for the life of the process, because a tick may be pending
// when a session ends and the default action of SIGPROF would kill the host.
inline result prepare_signal(process_state& process, cpu_state& cpu) noexcept {
  const int now = cpu.signal.load();
  if (now != 0 && os_signal_handler(now) == cpu.handler.load()) return {};
  const int chosen = choose_signal(cpu, process.wanted_signal.load());
  if (chosen == 0) {
    return result(error::signal_in_use, os_signal_name(process.wanted_signal.load() != 0
                                                           ? process.wanted_signal.load()
                                                           : os_default_signal()));
  }
  tick_receiver.store(&tick_sig, std::memory_order_release);
  if (!os_install_handler(chosen)) return result(error::unsupported, "CPU profiling");
  cpu.handler.store(os_own_signal_handler());
  cpu.signal.store(chosen);
  return {};
}

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

inline result begin_cpu(process_state& process, cpu_run& run) {
  cpu_state* const cpu = cpu_of(process);
  if (cpu == nullptr) return result(error::out_of_memory, "the CPU profile's tables");
  if (run.hz == 0 || run.hz > max_hz) {
    return result(error::bad_argument, "the sampling rate must be 1 to 10000 per second");
  }
  const spin_guard lock(cpu->sessions_lock);
  int slot = 0;
  while (slot < static_cast<int>(max_cpu_sessions) && cpu->session_hz[slot] != 0) ++slot;
  if (slot == static_cast<int>(max_cpu_sessions)) return result(error::too_many_sessions);
  if (result ready = prepare_signal(process, *cpu); !ready) return ready;
  refresh_code_map(process);
  read_cpu(*cpu, run.base);
  run.started_at = os_realtime_ns_sig();
  run.started = os_monotonic_ns_sig();
  cpu->session_hz[slot] = run.hz;
  run.slot = slot;
  result armed = apply_rate(process, *cpu);
  if (armed) return armed;
  cpu->session_hz[slot] = 0;
  run.slot = -1;
  (void)apply_rate(process, *cpu);
  return armed;
}

inline void end_cpu(process_state& process, cpu_run& run) {
  cpu_state* const cpu = cpu_of(process);
  if (cpu == nullptr || run.slot < 0) return;
  const spin_guard lock(cpu->sessions_lock);
  cpu->session_hz[run.slot] = 0;
  run.slot = -1;
  run.ended = os_monotonic_ns_sig();
  (void)apply_rate(process, *cpu);
  read_cpu(*cpu, run.last);
}

inline void fill_cpu(profile& p, const process_state& process, const cpu_run& run) {
  const auto* const cpu = static_cast<const cpu_state*>(
      process.part_states[static_cast<unsigned>(part::cpu)].load(std::memory_order_acquire));
  if (cpu != nullptr) fill_cpu_profile(p, process, *cpu, run.base, run.last, run.hz);
  p.time_ns = run.started_at;
  p.duration_ns = run.ended - run.started;
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const cpu_part
    prof_part_cpu_v1 = {
    &begin_cpu, &end_cpu, &fill_cpu};

PROF_DETAIL_END

#endif  // PROF_PART_CPU_PART_HPP
