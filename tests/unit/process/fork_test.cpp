// tests/unit/process/fork_test.cpp - a child forgets what its parent's other threads were at, once, and keeps the rest.

#include "prof/process/fork.hpp"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "own_process.hpp"
#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

bool all_free(process_state& process) {
  return process.buffers.for_each([](frame_buffer& buffer) { return buffer.taken.load() == 0; });
}

// A process state as a child finds it, with a CPU part.
struct inherited {
  own_process own;
  process_state& process = *own.state;
  cpu_state& cpu = *cpu_of(process);

  inherited() { register_part(process, static_cast<unsigned>(part::cpu), &prof_part_cpu_v2.head); }
  void fork() {
    process.code_readers.store(3);
    process.unnamed_session.store(this);
    while (process.buffers.take_sig(0) != nullptr) continue;
    cpu.pid.store(1);
    cpu.period_ns.store(1);
    cpu.session_hz[0] = 100;
    process.pid.store(1);  // as if this were the child of process 1
  }
  bool forgotten() const {
    return process.pid.load() == os_process_id_sig() && process.code_readers.load() == 0 &&
           process.unnamed_session.load() == nullptr && cpu.pid.load() == os_process_id_sig() &&
           cpu.period_ns.load() == 0 && cpu.session_hz[0] == 0 && all_free(process);
  }
};

}  // namespace

TEST_CASE("a child opens the locks, gives back the buffers and forgets the waits of its parent's threads") {
  process_state& process = *enter_process();
  REQUIRE(process.refresh_lock.try_lock());
  registration_scratch* const scratch = process.registry.take_scratch_sig();
  REQUIRE(scratch != nullptr);
  frame_lease* const held = new frame_lease(process, os_thread_id_sig());
  CHECK_FALSE(all_free(process));
  process.unnamed_session.store(&process);
  REQUIRE(process.signal.lock.try_lock());
  wait_facts wait;
  wait.thread = 1;
  REQUIRE(process.waits.begin_sig(wait, 0) != no_slot);
  process.pid.store(1);  // as if this were the child of process 1
  enter_process();
  CHECK(process.pid.load() == os_process_id_sig());
  CHECK(process.refresh_lock.try_lock());
  process.refresh_lock.unlock();
  CHECK_FALSE(scratch->lock.held());
  CHECK_FALSE(process.signal.lock.held());
  CHECK(process.waits.used() == 0);
  CHECK(process.unnamed_session.load() == nullptr);
  CHECK(all_free(process));
  delete held;
}

TEST_CASE("of two threads of a child, none goes on before the parent is forgotten") {
  inherited child;
  std::atomic<int> round{0};
  std::atomic<int> returned{0};
  std::atomic<int> early{0};
  constexpr int rounds = 2000;
  const auto run = [&] {
    for (int mine = 1; mine <= rounds; ++mine) {
      while (round.load() != mine) std::this_thread::yield();
      forget_parent(child.process, true);
      if (!child.forgotten()) ++early;
      ++returned;
    }
  };
  std::thread first(run);
  std::thread second(run);
  for (int i = 1; i <= rounds; ++i) {
    child.fork();
    round.store(i);
    while (returned.load() != 2 * i) std::this_thread::yield();
  }
  first.join();
  second.join();
  CHECK(early.load() == 0);
}

TEST_CASE("a call waits while another thread of the child forgets the parent") {
  const own_process own;
  const std::uint32_t me = os_process_id_sig();
  own.state->pid.store(me | std::uint32_t{1} << 31);  // somebody is at it
  own.state->unnamed_session.store(own.state);
  std::atomic<bool> returned{false};
  std::thread waiting([&] {
    forget_parent(*own.state);
    returned.store(true);
  });
  os_sleep_ns(20000000);
  CHECK_FALSE(returned.load());
  own.state->pid.store(me);
  waiting.join();
  CHECK(own.state->unnamed_session.load() == own.state);  // not reset a second time
}

TEST_CASE("a child that was forked while its parent forgot starts over") {
  const own_process own;
  own.state->pid.store(1 | std::uint32_t{1} << 31);
  own.state->unnamed_session.store(own.state);
  forget_parent(*own.state);
  CHECK(own.state->pid.load() == os_process_id_sig());
  CHECK(own.state->unnamed_session.load() == nullptr);
}

TEST_CASE("parts of every kind forget the parent, if they have anything to forget") {
  static process_state* told;
  static bool told_alone;
  const own_process own;
  profile_part plugin = idle_part();
  register_part(*own.state, static_cast<unsigned>(part::heap), &plugin.head);  // null: nothing
  profile_part other = idle_part();
  other.forget_parent = [](process_state& process, bool alone) {
    told = &process;
    told_alone = alone;
  };
  REQUIRE(register_profile_part(*own.state, other));
  for (const bool alone : {true, false}) {
    own.state->pid.store(1);
    told = nullptr;
    forget_parent(*own.state, alone);
    CHECK(told == own.state);
    CHECK(told_alone == alone);
  }
  told = nullptr;
  forget_parent(*own.state);  // it is no child any more
  CHECK(told == nullptr);
}

TEST_CASE("only parts that bring profiles are taken for such") {
  const own_process own;
  for (unsigned i = 0; i < part_count; ++i) register_part(*own.state, i, own_part_sig(i));
  CHECK(profile_part_at(*own.state, static_cast<unsigned>(part::cpu)) == &prof_part_cpu_v2);
  CHECK(profile_part_at(*own.state, static_cast<unsigned>(part::heap)) == &prof_part_heap_v2);
  CHECK(profile_part_at(*own.state, static_cast<unsigned>(part::records)) == nullptr);
  CHECK(profile_part_at(*own.state, static_cast<unsigned>(part::symbolize)) == nullptr);
  CHECK(profile_part_at(*own.state, part_count) == nullptr);  // nothing is registered there
}

// ---- the handlers ---------------------------------------------------------------------------------------------

TEST_CASE("a fork waits for a refresh, and refreshes wait for the fork") {
  process_state& process = *enter_process();
  std::atomic<bool> released{false};
  REQUIRE(process.refresh_lock.try_lock());
  std::thread refreshing([&] {
    os_sleep_ns(20000000);
    released.store(true);
    process.refresh_lock.unlock();
  });
  wait_for_refresh_before_fork();
  CHECK(released.load());
  refreshing.join();
  wait_for_refresh_before_fork();  // of another object
  CHECK(process.forks.load() == 2);
  CHECK(process.refresh_lock.held());
  allow_refresh_after_fork();
  CHECK(process.refresh_lock.held());
  allow_refresh_after_fork();
  CHECK(process.forks.load() == 0);
  CHECK_FALSE(process.refresh_lock.held());
  CHECK_FALSE(process.forks_hold_refresh.load());
}

namespace {

// What a child finds, as the bits of its exit status.
enum finding : int {
  own_pid = 1, own_labels = 2, one_thread = 4, refresh_open = 8, own_gap = 16, fewer_gaps = 32, everything = 63
};

struct before_fork {
  label_set_id labels;
  std::size_t gaps;
  std::int64_t& countdown;
};
int found_in_child(process_state& process, const before_fork& before) {
  int found = process.pid.load() == os_process_id_sig() ? own_pid : 0;
  if (labels_of_sig(process, os_thread_id_sig()) == before.labels) found |= own_labels;
  if (process.threads.used() == 1) found |= one_thread;
  if (process.forks.load() == 0 && process.refresh_lock.try_lock()) found |= refresh_open;
  if (process.gaps.used() < before.gaps) found |= fewer_gaps;
  // The gap under way still ends in a sample point of the rate that it was drawn at.
  constexpr std::uint64_t far = 8u << 20;
  (void)count_down_sig(before.countdown, far);
  if (process.gaps.sample_sig(before.countdown, far, 1) == 4096) found |= own_gap;
  return found;
}

}  // namespace

TEST_CASE("in a child the thread that forked goes on, with its labels and gaps, and no other one") {
  process_state& process = *enter_process();
  thread_state* const thread = this_thread_sig(process);
  REQUIRE(thread != nullptr);
  const label_pair pair{"k", "v"};
  const label_set_id labels = process.labels.intern(&pair, 1);
  thread->labels.store(labels);
  std::int64_t countdown = 0;
  CHECK(process.gaps.sample_sig(countdown, 0, 4096) == 0);
  CHECK(countdown > 0);
  std::atomic<int> stage{0};
  std::thread other([&] {
    std::int64_t gap = 0;
    (void)this_thread_sig(process);
    (void)process.gaps.sample_sig(gap, 0, 4096);
    stage.store(1);
    while (stage.load() != 2) std::this_thread::yield();
  });
  while (stage.load() != 1) std::this_thread::yield();
  const before_fork before{labels, process.gaps.used(), countdown};
  const pid_t child = fork();
  if (child == 0) _exit(found_in_child(process, before));
  stage.store(2);
  other.join();
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == finding::everything);
  CHECK(labels_of_sig(process, os_thread_id_sig()) == labels);
  CHECK_FALSE(thread->forking.load());
  CHECK(process.forks.load() == 0);
  CHECK_FALSE(process.refresh_lock.held());
  thread->labels.store(no_labels);
}

#endif
