// tests/unit/sample/cpu_test.cpp - ticks become counts, threads get timers, readings subtract.

#include "prof/sample/cpu.hpp"

#include <doctest/doctest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// Tables of their own, so that nothing of the process is touched.
struct own_tables {
  process_state* process = make_process_sig();
  cpu_state* cpu = make_cpu();
  own_tables() {
    REQUIRE(process != nullptr);
    REQUIRE(cpu != nullptr);
    refresh_code_map(*process);
  }
  ~own_tables() {
    os_unmap_sig(cpu, cpu_bytes);
    os_unmap_sig(process, process_bytes);
  }
  own_tables(const own_tables&) = delete;
  own_tables& operator=(const own_tables&) = delete;

  std::uint64_t dropped(drop cause) const {
    return process->drops[static_cast<unsigned>(cause)].load();
  }
};

timer_event tick_at(std::uintptr_t pc, std::uint64_t expirations) {
  timer_event event;
  event.regs.pc = pc;
  event.expirations = expirations;
  return event;
}

struct totals {
  std::int64_t ticks = 0;
  std::int64_t nanoseconds = 0;
  std::size_t samples = 0;
};

totals totals_at(const own_tables& own, const cpu_reading& base, const cpu_reading& reading) {
  arena memory(os_pages);
  profile p(memory);
  fill_cpu_profile(p, *own.process, *own.cpu, base, reading, 100);
  totals sum;
  for (const profile_sample& sample : p.samples) {
    sum.ticks += p.values_of(sample)[0];
    sum.nanoseconds += p.values_of(sample)[1];
    ++sum.samples;
  }
  return sum;
}

totals totals_of(const own_tables& own, const cpu_reading& base) {
  arena memory(os_pages);
  cpu_reading now(memory);
  read_cpu(*own.cpu, now);
  return totals_at(own, base, now);
}

}  // namespace

TEST_CASE("a tick weighs its expirations times its period") {
  own_tables own;
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), 10000000);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 3), 10000000);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x2000, 1), 1000000);
  CHECK(own.cpu->ticks.load() == 3);
  arena memory(os_pages);
  const totals sum = totals_of(own, cpu_reading(memory));
  CHECK(sum.samples == 2);
  CHECK(sum.ticks == 5);
  CHECK(sum.nanoseconds == 41000000);
}

TEST_CASE("labels keep samples apart") {
  own_tables own;
  const label_pair pair{"k", "v"};
  annotate_part keeper{};
  keeper.labels_sig = []() noexcept { return current_labels; };
  own.process->annotations.store(&keeper);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), 10);
  current_labels = own.process->labels.intern(&pair, 1);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 1), 10);
  current_labels = no_labels;
  arena memory(os_pages);
  CHECK(totals_of(own, cpu_reading(memory)).samples == 2);
}

TEST_CASE("a profile is what was counted since its reading") {
  own_tables own;
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 5), 10);
  arena memory(os_pages);
  cpu_reading base(memory);
  read_cpu(*own.cpu, base);
  CHECK(totals_of(own, base).samples == 0);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 2), 10);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x3000, 1), 10);
  const totals sum = totals_of(own, base);
  CHECK(sum.samples == 2);
  CHECK(sum.ticks == 3);
  CHECK(sum.nanoseconds == 30);
}

TEST_CASE("a profile ends with its last reading, though another one goes on") {
  own_tables own;
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 5), 10);
  arena memory(os_pages);
  cpu_reading last(memory);
  read_cpu(*own.cpu, last);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x1000, 2), 10);
  count_tick_sig(*own.process, *own.cpu, tick_at(0x3000, 1), 10);
  const totals sum = totals_at(own, cpu_reading(memory), last);
  CHECK(sum.samples == 1);
  CHECK(sum.ticks == 5);
}

TEST_CASE("the profile has Go's columns and period") {
  own_tables own;
  arena memory(os_pages);
  profile p(memory);
  fill_cpu_profile(p, *own.process, *own.cpu, cpu_reading(memory), cpu_reading(memory), 250);
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
        count_tick_sig(*own.process, *own.cpu, tick_at(pc, 1), 7);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  arena memory(os_pages);
  const totals sum = totals_of(own, cpu_reading(memory));
  CHECK(sum.ticks == 4 * each);
  CHECK(sum.nanoseconds == 4 * each * 7);
  CHECK(sum.samples == 700);
}

TEST_CASE("a lost count is in the profile, under the overflow stack") {
  own_tables own;
  cpu_slot& slot = own.cpu->counts.at(own.cpu->overflow_counts);
  CHECK(slot.ready.load() == 1);
  CHECK(slot.stack.load() == overflow_stack);
  slot.ticks.fetch_add(4);
  arena memory(os_pages);
  CHECK(totals_of(own, cpu_reading(memory)).ticks == 4);
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
  for (void* slot : {static_cast<void*>(nullptr), static_cast<void*>(&local),
                     static_cast<void*>(cpu->last_thread)}) {
    event.slot = slot;
    tick_sig(event);
  }
  CHECK(foreign.load() == foreign_before + 3);
  event.slot = cpu->first_thread;
  tick_sig(event);
  CHECK(late.load() == late_before + 1);
  CHECK(cpu->ticks.load() == ticks_before);
  CHECK(cpu->in_handler.load() == 0);
}

TEST_CASE("no session, no timer") {
  own_tables own;
  const spin_guard lock(own.cpu->threads_lock);
  CHECK(arm_thread(*own.process, *own.cpu, os_thread_id_sig(), false) == 0);
  CHECK(own.cpu->threads.used() == 0);
}

TEST_CASE("a thread gets one timer; a new thread replaces a dead one of its id") {
  own_tables own;
  own.cpu->signal.store(SIGURG);  // ignored by default
  own.cpu->period_ns.store(3600u * 1000000000u);
  const std::uint32_t me = os_thread_id_sig();
  {
    const spin_guard lock(own.cpu->threads_lock);
    CHECK(arm_thread(*own.process, *own.cpu, me, false) == 0);
    CHECK(arm_thread(*own.process, *own.cpu, me, false) == 0);
    CHECK(own.cpu->threads.used() == 1);
    CHECK(arm_thread(*own.process, *own.cpu, me, true) == 0);
    CHECK(own.cpu->threads.used() == 1);
  }
  int armed = 0;
  for_each_armed(*own.cpu, [&](std::size_t) { ++armed; });
  CHECK(armed == 1);
  retime_all_threads(*own.cpu, 1800u * std::uint64_t{1000000000});
  const std::size_t index = own.cpu->threads.find_sig(thread_key_base + me);
  REQUIRE(index != no_slot);
  CHECK(own.cpu->threads.at(index).period_ns.load() == 1800u * std::uint64_t{1000000000});
  disarm_all_threads(*own.cpu);
  CHECK(own.cpu->threads.used() == 0);
}

TEST_CASE("a thread that is gone gets no timer, and that is counted") {
  own_tables own;
  own.cpu->signal.store(SIGURG);
  own.cpu->period_ns.store(1000000000);
  std::uint32_t gone = 0;
  std::thread([&] { gone = os_thread_id_sig(); }).join();
  // Joined is not gone: the kernel wakes the joiner first.
  const auto alive = [&] {
    return syscall(SYS_tgkill, getpid(), static_cast<pid_t>(gone), 0) == 0;
  };
  for (int i = 0; i < 1000 && alive(); ++i) os_sleep_ns(1000000);
  const spin_guard lock(own.cpu->threads_lock);
  CHECK(arm_thread(*own.process, *own.cpu, gone, false) != 0);
  CHECK(own.cpu->threads.used() == 0);
  CHECK(own.dropped(drop::timer_failed) == 1);
}

TEST_CASE("all threads are armed, those that block the signal are counted") {
  own_tables own;
  own.cpu->signal.store(SIGURG);
  own.cpu->period_ns.store(3600u * 1000000000u);
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
  CHECK(own.cpu->threads.used() >= 2);
  CHECK(own.cpu->unsampled_threads.load() == 1);
  disarm_all_threads(*own.cpu);
  stage.store(2);
  other.join();
  CHECK(own.cpu->threads.used() == 0);
}

#endif
