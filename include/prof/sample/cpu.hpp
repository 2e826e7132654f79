// prof/sample/cpu.hpp - CPU time by stack: one CPU-time timer per thread, aggregated in its handler.
// Floor 8 (sample). Started by part/cpu_part.hpp, told of new threads by hook/thread.hpp.
// Safety: tick_sig is the signal handler's body: no lock, no allocation, no libc; its frame is
//         small because frames go to a pooled buffer. Everything else is for ordinary context.
// Memory: tables that are mapped as they grow, never freed.
// Source: timer_create(2) on each thread's CPU clock (user and system time); expirations beyond the
//         kernel tick are folded into si_overrun, so a sample weighs 1 + overrun periods. A random
//         first phase as in Go's runtime, so that short-lived threads are seen without bias.
//         A session is the difference of two snapshots of one table: nothing is drained.
#ifndef PROF_SAMPLE_CPU_HPP
#define PROF_SAMPLE_CPU_HPP

#include "prof/base/random.hpp"
#include "prof/process/attach.hpp"
#include "prof/process/capture.hpp"
#include "prof/process/profile_builder.hpp"

PROF_DETAIL_BEGIN

inline constexpr std::uint32_t default_hz = 100;
inline constexpr std::uint32_t max_hz = 10000;
inline constexpr std::size_t max_cpu_sessions = 8;

// A thread with a timer.
struct timer_slot {
  table_key key;  // thread id + thread_key_base
  std::atomic<int> timer;
  std::atomic<std::uint64_t> period_ns;
};

using timer_table = add_remove_table<timer_slot>;

struct cpu_state {
  static constexpr std::size_t timers_first = 256;
  static constexpr unsigned timers_levels = 7;  // 32,512 threads

  count_table counts;  // one counter: nanoseconds
  timer_table timers;
  spin_lock timers_lock;    // ordinary context: arming, disarming, retiming
  spin_lock sessions_lock;  // ordinary context: start and stop
  std::atomic<std::uint32_t> hz;         // of sessions that do not say
  std::atomic<std::uint64_t> period_ns;  // of the running timers; 0: no session runs
  std::atomic<std::uint32_t> in_handler;
  std::atomic<std::uint32_t> pid;  // of the process whose timers these are
  std::atomic<std::uint64_t> handler_ns;
  std::atomic<std::uint64_t> ticks;
  std::atomic<std::uint32_t> unsampled_threads;
  std::atomic<std::uint64_t> threads_started;  // seen by the thread hook
  std::uint64_t random;
  std::uint32_t session_hz[max_cpu_sessions];  // 0: free
};
inline constexpr std::uint32_t cpu_layout = layout_of(
    {sizeof(cpu_state), offsetof(cpu_state, timers), offsetof(cpu_state, period_ns), offsetof(cpu_state, handler_ns),
     sizeof(timer_slot), sizeof(count_table), sizeof(timer_event)});

PROF_DETAIL_COLD inline cpu_state* make_cpu(process_state& process) PROF_DETAIL_SIG {
  void* const pages = process.memory.take_sig(sizeof(cpu_state));
  if (pages == nullptr) return nullptr;
  auto* const cpu = new (pages) cpu_state{};
  cpu->counts.bind(process.memory, 1);
  cpu->timers.bind(process.memory, cpu_state::timers_first, cpu_state::timers_levels);
  cpu->hz.store(default_hz);
  cpu->random = os_monotonic_ns_sig() ^ os_thread_id_sig();
  cpu->pid.store(os_process_id_sig());
  return cpu;
}

inline cpu_state* attached_cpu_sig(const process_state& process) PROF_DETAIL_SIG {
  return state_of_sig<cpu_state>(process, part::cpu);
}
inline cpu_state* cpu_of(process_state& process) noexcept {
  return part_state_sig<cpu_state>(process, part::cpu, &make_cpu, [](process_state& to, cpu_state* spare) {
    to.memory.give_back_sig(spare, sizeof(cpu_state));
  });
}

// ---- the handler -----------------------------------------------------------------------------------

// Not inlined: what it needs of the signal's stack would lie below the walk, which needs the most.
PROF_DETAIL_NOINLINE inline void count_stack_sig(process_state& process, cpu_state& cpu, const count_key& key,
                                                 std::uint64_t cpu_ns) PROF_DETAIL_SIG {
  bool lost = false;
  const std::size_t index = cpu.counts.find_or_add_sig(key, lost);
  if (lost) count_drop_sig(process, drop::count_table_full);
  if (index != no_slot) cpu.counts.add_to_sig(index, 0, cpu_ns);
  cpu.ticks.fetch_add(1, std::memory_order_relaxed);
}

inline void count_tick_sig(process_state& process, cpu_state& cpu, const timer_event& event,
                           std::uint64_t period_ns) PROF_DETAIL_SIG {
  const std::uint32_t thread = os_thread_id_sig();
  const count_key key{capture_stack_sig(process, thread, event.regs, false, period_ns), labels_of_sig(process, thread)};
  count_stack_sig(process, cpu, key, event.expirations * period_ns);
}

// What the kernel hands back in every signal of a timer: the slot's index below a mark that no address has, so that a
// signal of somebody else's timer is told from ours whatever it brings.
inline constexpr std::uint64_t timer_mark = std::uint64_t{0x70726f66} << 32;  // "prof"
inline void* timer_token(std::size_t index) PROF_DETAIL_SIG {
  return reinterpret_cast<void*>(static_cast<std::uintptr_t>(timer_mark | index));
}
inline timer_slot* slot_of_sig(cpu_state& cpu, const void* token) PROF_DETAIL_SIG {
  const std::uint64_t index = std::uint64_t{reinterpret_cast<std::uintptr_t>(token)} ^ timer_mark;
  return index < cpu.timers.span() ? static_cast<timer_slot*>(cpu.timers.find_place_sig(index)) : nullptr;
}

inline void tick_sig(process_state& process, const timer_event& event) PROF_DETAIL_SIG {
  cpu_state* const cpu = attached_cpu_sig(process);
  if (cpu == nullptr) return;
  const std::uint64_t began = os_monotonic_ns_sig();
  const presence_guard inside(cpu->in_handler);
  const timer_slot* const slot = slot_of_sig(*cpu, event.slot);
  if (slot == nullptr) return count_drop_sig(process, drop::foreign_signal);
  if (cpu->period_ns.load(std::memory_order_acquire) == 0) {
    return count_drop_sig(process, drop::late_signal);  // was pending when the timer was deleted
  }
  count_tick_sig(process, *cpu, event, slot->period_ns.load(std::memory_order_relaxed));
  cpu->handler_ns.fetch_add(os_monotonic_ns_sig() - began, std::memory_order_relaxed);
}

// ---- threads and their timers --------------------------------------------------------------------------

// First expiry uniform in (0, period]; returns 0 or an errno. Caller holds timers_lock.
inline int set_timer(cpu_state& cpu, timer_slot& slot, std::uint64_t period_ns) noexcept {
  slot.period_ns.store(period_ns, std::memory_order_relaxed);
  const std::uint64_t first = 1 + random_sig(cpu.random) % period_ns;
  return os_timer_set_sig(slot.timer.load(std::memory_order_relaxed), first, period_ns);
}

inline void disarm_slot(cpu_state& cpu, std::size_t index) noexcept {
  os_timer_delete_sig(cpu.timers.at(index).timer.load(std::memory_order_relaxed));
  cpu.timers.remove_sig(index);
}

// Gives a thread its timer. `replace`: the thread is new, so an entry with its id is a dead
// thread's. Returns 0 or an errno; failures are counted. Caller holds timers_lock.
inline int arm_thread(process_state& process, cpu_state& cpu, std::uint32_t thread,
                      bool replace) noexcept {
  const std::uint64_t period_ns = cpu.period_ns.load(std::memory_order_relaxed);
  const std::uint64_t key = thread_key_base + thread;
  const std::size_t known = cpu.timers.find_sig(key);
  if (period_ns == 0) return 0;
  if (known != no_slot && !replace) return 0;
  if (known != no_slot) disarm_slot(cpu, known);
  const std::size_t index = cpu.timers.claim_sig(key);
  if (index == no_slot) {
    count_drop_sig(process, drop::thread_table_full);
    return -1;
  }
  timer_slot& slot = cpu.timers.at(index);
  int timer = -1;
  int failed = os_timer_create_sig(thread, process.signal.number.load(), timer_token(index), timer);
  slot.timer.store(timer, std::memory_order_relaxed);
  if (failed == 0) failed = set_timer(cpu, slot, period_ns);
  cpu.timers.publish_sig(index, key);
  if (failed != 0) {
    disarm_slot(cpu, index);
    count_drop_sig(process, drop::timer_failed);
  }
  return failed;
}

// Calls act(index) for every thread with a timer.
template <class Act>
inline void for_each_armed(cpu_state& cpu, Act act) {
  cpu.timers.for_each_sig([&](std::size_t index, const timer_slot& slot) {
    if (slot.key.load(std::memory_order_acquire) >= thread_key_base) act(index);
  });
}

struct arm_all_context {
  process_state& process;
  cpu_state& cpu;
  int armed = 0;
  int failed = 0;
  std::uint32_t blocked = 0;
};

// Arms every thread that exists. New ones arm themselves, since period_ns is set before. Returns 0
// if at least one thread has a timer, else the errno.
inline int arm_all_threads(process_state& process, cpu_state& cpu) noexcept {
  arm_all_context all{process, cpu};
  const bool listed = os_for_each_thread(
      [](void* context, std::uint32_t thread) {
        auto& here = *static_cast<arm_all_context*>(context);
        const spin_guard lock(here.cpu.timers_lock);
        const int failed = arm_thread(here.process, here.cpu, thread, false);
        if (failed == 0) ++here.armed;
        else here.failed = failed;
        if (os_signal_blocked(thread, here.process.signal.number.load())) ++here.blocked;
      },
      &all);
  cpu.unsampled_threads.store(all.blocked, std::memory_order_relaxed);
  if (!listed) {  // no /proc: this thread and the ones to come
    const spin_guard lock(cpu.timers_lock);
    count_drop_sig(process, drop::threads_unlisted);
    return arm_thread(process, cpu, os_thread_id_sig(), false);
  }
  return all.armed != 0 ? 0 : all.failed;
}

inline void disarm_all_threads(cpu_state& cpu) noexcept {
  const spin_guard lock(cpu.timers_lock);
  for_each_armed(cpu, [&](std::size_t index) { disarm_slot(cpu, index); });
}

// Sets all timers to a period and gives those of threads that are gone back: the kernel answers
// ESRCH for them (6.18, posix_cpu_timer_set), also when a new thread has got the same id.
inline void retime_all_threads(cpu_state& cpu, std::uint64_t period_ns) noexcept {
  const spin_guard lock(cpu.timers_lock);
  for_each_armed(cpu, [&](std::size_t index) {
    if (set_timer(cpu, cpu.timers.at(index), period_ns) != 0) disarm_slot(cpu, index);
  });
}

// In a forked child: no timer was inherited and no session is its own.
inline void forget_parent_cpu(cpu_state& cpu) noexcept {
  cpu.timers_lock.unlock();
  cpu.sessions_lock.unlock();
  cpu.pid.store(os_process_id_sig());
  cpu.period_ns.store(0);
  cpu.in_handler.store(0);
  for (std::uint32_t& hz : cpu.session_hz) hz = 0;
  for_each_armed(cpu, [&](std::size_t index) { cpu.timers.remove_sig(index); });
}

// ---- a profile ---------------------------------------------------------------------------------------------

// Go's CPU profile shape: what was counted from one snapshot to another, at the rate that the session asked for; the
// timers run at the highest rate of all sessions. What is left of a period goes on to the next entry, so that the sum
// is right to one sample.
inline void fill_cpu_profile(profile& p, const process_state& process, const cpu_state& cpu, const count_snapshot& base,
                             const count_snapshot& last, std::uint32_t hz) noexcept {
  const std::uint64_t period_ns = 1000000000u / hz;
  p.add_value_type("samples", "count");
  p.add_value_type("cpu", "nanoseconds");
  p.period_type = {p.string("cpu"), p.string("nanoseconds")};
  p.period = static_cast<std::int64_t>(period_ns);
  profile_builder build(p, process);
  std::uint64_t rest_ns = 0;
  cpu.counts.for_each_since(&base, last, [&](const count_key& key, const std::uint64_t* counted) {
    rest_ns += counted[0];
    const std::int64_t values[2] = {static_cast<std::int64_t>(rest_ns / period_ns),
                                    static_cast<std::int64_t>(counted[0])};
    rest_ns %= period_ns;
    build.add(key.stack, key.labels, values);
  });
  build.add_stack_comments();
}

PROF_DETAIL_END

#endif  // PROF_SAMPLE_CPU_HPP
