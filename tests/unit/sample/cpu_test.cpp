// tests/unit/sample/cpu_test.cpp - ticks become counts, threads get timers, snapshots subtract.

#include "prof/sample/cpu.hpp"

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "../process/own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// Tables of their own, so that nothing of the process is touched.
struct own_tables {
  own_process own;
  process_state* process = own.state;
  cpu_state* cpu = cpu_of(*process);
  own_tables() {
    REQUIRE(cpu != nullptr);
    refresh_code_map(*process);
  }
  own_tables(const own_tables&) = delete;
  own_tables& operator=(const own_tables&) = delete;

  std::uint64_t dropped(drop cause) const { return drops_of(*process, static_cast<unsigned>(cause)); }
  // From now on the system gives the tables nothing.
  void run_out() const {
    process->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  }
  void recover() const { process->memory.map_sig = &os_map_in_steps_sig; }
};

timer_event tick_at(std::uintptr_t pc, std::uint64_t expirations) {
  timer_event event;
  event.regs.pc = pc;
  event.expirations = expirations;
  return event;
}

constexpr std::uint64_t period_100 = 10000000;  // of 100 Hz

struct totals {
  std::int64_t ticks = 0;
  std::int64_t nanoseconds = 0;
  std::size_t samples = 0;
  std::string leaf;  // of the last one, where it has a name
};

totals totals_at(const own_tables& own, const count_snapshot& base, const count_snapshot& last,
                 std::uint32_t hz = 100) {
  arena memory(os_pages);
  profile p(memory);
  fill_cpu_profile(p, *own.process, *own.cpu, base, last, hz);
  totals sum;
  for (const profile_sample& sample : p.samples) {
    sum.ticks += p.values_of(sample)[0];
    sum.nanoseconds += p.values_of(sample)[1];
    ++sum.samples;
    const profile_location& leaf = p.locations[p.frames_of(sample)[0]];
    if (leaf.line_count == 0) continue;
    const text_view name = p.strings[p.functions[p.lines[leaf.first_line].function].name];
    sum.leaf = std::string(name.data, name.size);
  }
  return sum;
}

totals totals_of(const own_tables& own, const count_snapshot& base, std::uint32_t hz = 100) {
  arena memory(os_pages);
  count_snapshot now(memory);
  own.cpu->counts.read(now);
  return totals_at(own, base, now, hz);
}

}  // namespace

TEST_CASE("a tick weighs its expirations times its period") {
  own_tables own;
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), period_100);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 3), period_100);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x2000, 1), period_100 / 10);
  CHECK(own.cpu->ticks.load() == 3);
  arena memory(os_pages);
  const totals sum = totals_of(own, count_snapshot(memory));
  CHECK(sum.samples == 2);
  CHECK(sum.ticks == 4);  // and a tenth
  CHECK(sum.nanoseconds == 41000000);
}

TEST_CASE("samples are counted at the rate asked for, whatever the timers ran at") {
  own_tables own;
  for (int i = 0; i < 50; ++i) count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), period_100 / 10);
  arena memory(os_pages);
  const count_snapshot base(memory);
  for (const std::uint32_t hz : {100u, 1000u, 250u}) {
    CAPTURE(hz);
    const totals sum = totals_of(own, base, hz);
    CHECK(sum.ticks == hz / 20);
    CHECK(sum.nanoseconds == 50000000);
  }
}

TEST_CASE("what is left of a period goes on to the next stack") {
  own_tables own;
  for (std::uintptr_t i = 0; i < 999; ++i) {
    count_tick_sig(*own.process, *own.cpu, tick_at(0x1000 + 16 * i, 1 + i % 3), period_100 / 10);
  }
  arena memory(os_pages);
  const totals sum = totals_of(own, count_snapshot(memory));
  CHECK(sum.samples == 999);
  CHECK(sum.nanoseconds == 1998 * 1000000);
  CHECK(sum.ticks == 199);  // of 199.8, although no stack has a whole one
}

TEST_CASE("labels keep samples apart") {
  own_tables own;
  const label_pair pair{"k", "v"};
  thread_state* const thread = this_thread_sig(*own.process);
  REQUIRE(thread != nullptr);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), period_100);
  thread->labels.store(own.process->labels.intern(&pair, 1));
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), period_100);
  arena memory(os_pages);
  CHECK(totals_of(own, count_snapshot(memory)).samples == 2);
}

TEST_CASE("a profile is what was counted since its snapshot") {
  own_tables own;
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 5), period_100);
  arena memory(os_pages);
  count_snapshot base(memory);
  own.cpu->counts.read(base);
  CHECK(totals_of(own, base).samples == 0);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 2), period_100);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x3000, 1), period_100);
  const totals sum = totals_of(own, base);
  CHECK(sum.samples == 2);
  CHECK(sum.ticks == 3);
  CHECK(sum.nanoseconds == 30000000);
}

TEST_CASE("a profile ends with its last snapshot, though another one goes on") {
  own_tables own;
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 5), period_100);
  arena memory(os_pages);
  count_snapshot last(memory);
  own.cpu->counts.read(last);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 2), period_100);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x3000, 1), period_100);
  const totals sum = totals_at(own, count_snapshot(memory), last);
  CHECK(sum.samples == 1);
  CHECK(sum.ticks == 5);
}

TEST_CASE("the profile has Go's columns and period") {
  own_tables own;
  arena memory(os_pages);
  profile p(memory);
  fill_cpu_profile(p, *own.process, *own.cpu, count_snapshot(memory), count_snapshot(memory), 250);
  const auto text = [&](string_index i) {
    return std::string(p.strings[i].data, p.strings[i].size);
  };
  REQUIRE(p.value_types.size() == 2);
  CHECK(text(p.value_types[0].type) == "samples");
  CHECK(text(p.value_types[0].unit) == "count");
  CHECK(text(p.value_types[1].type) == "cpu");
  CHECK(text(p.value_types[1].unit) == "nanoseconds");
  CHECK(text(p.period_type.type) == "cpu");
  CHECK(p.period == 4000000);
}

TEST_CASE("four threads counting at once lose nothing") {
  own_tables own;
  constexpr int each = 20000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < each; ++i) {
        const auto pc = static_cast<std::uintptr_t>(0x1000 + i % 700);
        count_tick_sig(*own.process, *own.cpu, tick_at(pc, 1), period_100);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  arena memory(os_pages);
  const totals sum = totals_of(own, count_snapshot(memory));
  CHECK(sum.ticks == 4 * each);
  CHECK(sum.nanoseconds == 4 * each * std::int64_t{period_100});
  CHECK(sum.samples == 700);
}

TEST_CASE("a lost count is in the profile, under the overflow stack") {
  own_tables own;
  bool lost = false;
  int refused = 0;  // in a row
  for (std::uint64_t extra = 1; refused < 1000; ++extra) {
    (void)own.cpu->counts.find_or_add_sig({overflow_stack, no_labels, extra}, lost);
    refused = lost ? refused + 1 : 0;
  }
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 3), period_100);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x2000, 1), period_100);
  CHECK(own.dropped(drop::count_table_full) == 2);
  CHECK(own.dropped(drop::no_memory) == 0);
  arena memory(os_pages);
  const totals sum = totals_of(own, count_snapshot(memory));
  CHECK(sum.samples == 1);
  CHECK(sum.ticks == 4);
  CHECK(sum.leaf == "[stack table full]");
}

// ---- no memory ------------------------------------------------------------------------------------------------

TEST_CASE("a tick for which the system gives no memory is counted as lost, and the next one is not") {
  own_tables own;
  own.run_out();
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), period_100);
  CHECK(own.cpu->ticks.load() == 1);
  CHECK(own.dropped(drop::no_frame_buffer) == 1);
  CHECK(own.dropped(drop::count_table_full) == 1);
  const std::uint64_t refused = own.dropped(drop::no_memory);
  CHECK(refused >= 2);
  arena memory(os_pages);
  const count_snapshot base(memory);
  CHECK(totals_of(own, base).samples == 0);

  own.recover();
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), period_100);
  CHECK(own.dropped(drop::no_memory) == refused);
  CHECK(totals_of(own, base).ticks == 1);
}

TEST_CASE("a stack for which the system gives no memory is counted under the overflow stack") {
  own_tables own;
  bool lost = false;
  REQUIRE(own.cpu->counts.find_or_add_sig({}, lost) != no_slot);  // so that there is room for counts
  own.run_out();
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 2), period_100);
  CHECK(own.dropped(drop::no_memory) != 0);
  CHECK(own.dropped(drop::count_table_full) == 0);
  arena memory(os_pages);
  const totals sum = totals_of(own, count_snapshot(memory));
  CHECK(sum.samples == 1);
  CHECK(sum.ticks == 2);
  CHECK(sum.leaf == "[stack table full]");
}

TEST_CASE("a thread for which the system gives no memory has no timer, and that is counted") {
  own_tables own;
  own.process->signal.number.store(SIGURG);
  own.cpu->period_ns.store(3600u * std::uint64_t{1000000000});
  own.run_out();
  const spin_guard lock(own.cpu->timers_lock);
  CHECK(arm_thread(*own.process, *own.cpu, os_thread_id_sig(), false) != 0);
  CHECK(own.dropped(drop::thread_table_full) == 1);
  CHECK(own.dropped(drop::no_memory) != 0);
  CHECK(own.cpu->timers.used() == 0);
  for_each_armed(*own.cpu, [](std::size_t) { FAIL("armed"); });
}

TEST_CASE("without memory there is no CPU state, until there is some") {
  const own_process own;
  own.state->memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  CHECK(cpu_of(*own.state) == nullptr);
  CHECK(attached_cpu_sig(*own.state) == nullptr);
  CHECK(drops_of(*own.state, static_cast<unsigned>(drop::no_memory)) == 1);
  own.state->memory.map_sig = &os_map_in_steps_sig;
  cpu_state* const cpu = cpu_of(*own.state);
  CHECK(cpu != nullptr);
  CHECK(cpu_of(*own.state) == cpu);
}

// ---- signals --------------------------------------------------------------------------------------------------

namespace {

// A slot that had a timer.
std::size_t used_slot(cpu_state& cpu) {
  const spin_guard lock(cpu.timers_lock);
  const std::size_t index = cpu.timers.claim_sig(thread_key_base + 1);
  REQUIRE(index != no_slot);
  cpu.timers.publish_sig(index, thread_key_base + 1);
  cpu.timers.remove_sig(index);
  return index;
}

}  // namespace

TEST_CASE("a token leads to its slot, and no other pointer to any") {
  own_tables own;
  cpu_state& cpu = *own.cpu;
  CHECK(slot_of_sig(cpu, timer_token(0)) == nullptr);  // no thread was ever near
  const std::size_t index = used_slot(cpu);
  CHECK(slot_of_sig(cpu, timer_token(index)) == &cpu.timers.at(index));
  CHECK(slot_of_sig(cpu, timer_token(cpu.timers.span())) == nullptr);
  CHECK(slot_of_sig(cpu, reinterpret_cast<const void*>(index)) == nullptr);
  CHECK(slot_of_sig(cpu, &cpu.timers.at(index)) == nullptr);
  CHECK(slot_of_sig(cpu, nullptr) == nullptr);
}

TEST_CASE("signals that are not ours, or too late, are counted and nothing else") {
  process_state* const process = process_sig();
  REQUIRE(process != nullptr);
  cpu_state* const cpu = cpu_of(*process);
  REQUIRE(cpu != nullptr);
  CHECK(attached_cpu_sig(*process) == cpu);
  REQUIRE(cpu->period_ns.load() == 0);
  const auto& foreign = process->drops[static_cast<unsigned>(drop::foreign_signal)];
  const auto& late = process->drops[static_cast<unsigned>(drop::late_signal)];
  const std::uint64_t foreign_before = foreign.load();
  const std::uint64_t late_before = late.load();
  const std::uint64_t ticks_before = cpu->ticks.load();
  timer_event event = tick_at(0x1000, 1);
  int local = 0;
  for (void* slot : {static_cast<void*>(nullptr), static_cast<void*>(&local), timer_token(cpu->timers.span())}) {
    event.slot = slot;
    tick_sig(*process, event);
  }
  CHECK(foreign.load() == foreign_before + 3);
  event.slot = timer_token(used_slot(*cpu));
  tick_sig(*process, event);
  CHECK(late.load() == late_before + 1);
  CHECK(cpu->ticks.load() == ticks_before);
  CHECK(cpu->in_handler.load() == 0);
}

// ---- threads and their timers ---------------------------------------------------------------------------------

TEST_CASE("no session, no timer") {
  own_tables own;
  const spin_guard lock(own.cpu->timers_lock);
  CHECK(arm_thread(*own.process, *own.cpu, os_thread_id_sig(), false) == 0);
  CHECK(own.cpu->timers.used() == 0);
}

TEST_CASE("a thread gets one timer; a new thread replaces a dead one of its id") {
  own_tables own;
  own.process->signal.number.store(SIGURG);  // ignored by default
  own.cpu->period_ns.store(3600u * std::uint64_t{1000000000});
  const std::uint32_t me = os_thread_id_sig();
  {
    const spin_guard lock(own.cpu->timers_lock);
    CHECK(arm_thread(*own.process, *own.cpu, me, false) == 0);
    CHECK(arm_thread(*own.process, *own.cpu, me, false) == 0);
    CHECK(own.cpu->timers.used() == 1);
    CHECK(arm_thread(*own.process, *own.cpu, me, true) == 0);
    CHECK(own.cpu->timers.used() == 1);
  }
  int armed = 0;
  for_each_armed(*own.cpu, [&](std::size_t) { ++armed; });
  CHECK(armed == 1);
  retime_all_threads(*own.cpu, 1800u * std::uint64_t{1000000000});
  const std::size_t index = own.cpu->timers.find_sig(thread_key_base + me);
  REQUIRE(index != no_slot);
  CHECK(own.cpu->timers.at(index).period_ns.load() == 1800u * std::uint64_t{1000000000});
  disarm_all_threads(*own.cpu);
  CHECK(own.cpu->timers.used() == 0);
}

TEST_CASE("a thread that is gone gets no timer, and that is counted") {
  own_tables own;
  own.process->signal.number.store(SIGURG);
  own.cpu->period_ns.store(1000000000);
  std::uint32_t gone = 0;
  std::thread([&] { gone = os_thread_id_sig(); }).join();
  // Joined is not gone: the kernel wakes the joiner first.
  const auto alive = [&] {
    return syscall(SYS_tgkill, getpid(), static_cast<pid_t>(gone), 0) == 0;
  };
  for (int i = 0; i < 1000 && alive(); ++i) os_sleep_ns(1000000);
  const spin_guard lock(own.cpu->timers_lock);
  CHECK(arm_thread(*own.process, *own.cpu, gone, false) != 0);
  CHECK(own.cpu->timers.used() == 0);
  CHECK(own.dropped(drop::timer_failed) == 1);
}

TEST_CASE("all threads are armed, those that block the signal are counted") {
  own_tables own;
  own.process->signal.number.store(SIGURG);
  own.cpu->period_ns.store(3600u * std::uint64_t{1000000000});
  std::atomic<int> stage{0};
  std::thread other([&] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGURG);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    stage.store(1);
    while (stage.load() != 2) std::this_thread::yield();
  });
  while (stage.load() != 1) std::this_thread::yield();
  CHECK(arm_all_threads(*own.process, *own.cpu) == 0);
  CHECK(own.cpu->timers.used() >= 2);
  CHECK(own.cpu->unsampled_threads.load() == 1);
  disarm_all_threads(*own.cpu);
  stage.store(2);
  other.join();
  CHECK(own.cpu->timers.used() == 0);
}

#endif
