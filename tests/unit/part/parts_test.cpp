// tests/unit/part/parts_test.cpp - optional parts are found where some file brings them.

#include "prof/part/parts.hpp"

#include <doctest/doctest.h>
#include <sys/mman.h>

#include <thread>

#include "../process/own_process.hpp"
#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

using namespace prof::detail;

TEST_CASE("a part is absent until it is registered, and the first one stays") {
  const own_process own;
  const cpu_part first{};
  const cpu_part second{};
  CHECK(find_part_sig<cpu_part>(*own.state, part::cpu) == nullptr);
  register_part(*own.state, part::cpu, nullptr);
  CHECK(find_part_sig<cpu_part>(*own.state, part::cpu) == nullptr);
  register_part(*own.state, part::cpu, &first);
  register_part(*own.state, part::cpu, &second);
  CHECK(find_part_sig<cpu_part>(*own.state, part::cpu) == &first);
  CHECK(find_part_sig<heap_part>(*own.state, part::heap) == nullptr);
}

TEST_CASE("entering brings this program's parts") {
  process_state* const process = enter_process();
  REQUIRE(process != nullptr);
  CHECK(process == process_sig());
  CHECK(find_part_sig<cpu_part>(*process, part::cpu) == &prof_part_cpu_v1);
  CHECK(find_part_sig<heap_part>(*process, part::heap) == &prof_part_heap_v1);
  CHECK(find_part_sig<symbolize_part>(*process, part::symbolize) == &prof_part_symbolize_v1);
  CHECK(enter_process() == process);
}

TEST_CASE("every descriptor is complete") {
  CHECK(static_cast<bool>(prof_part_cpu_v1.begin != nullptr && prof_part_cpu_v1.end != nullptr &&
                          prof_part_cpu_v1.fill != nullptr));
  CHECK(static_cast<bool>(prof_part_heap_v1.set_rate != nullptr &&
                          prof_part_heap_v1.read != nullptr && prof_part_heap_v1.fill != nullptr));
  CHECK(static_cast<bool>(prof_part_symbolize_v1.symbolize != nullptr &&
                          prof_part_symbolize_v1.name_all != nullptr));
  CHECK(prof_part_heap_hooks_v1.count == 30);
  CHECK(prof_part_thread_hooks_v1.count == 1);
}

TEST_CASE("a child opens the locks and gives back the buffers that its parent's threads held") {
  process_state& process = *enter_process();
  REQUIRE(process.refresh_lock.try_lock());
  frame_lease* const held = new frame_lease(process);
  process.unnamed_session.store(&process);
  process.pid.store(1);  // as if this were the child of process 1
  enter_process();
  CHECK(process.pid.load() == os_process_id_sig());
  CHECK(process.refresh_lock.try_lock());
  process.refresh_lock.unlock();
  CHECK(process.unnamed_session.load() == nullptr);
  for (const frame_buffer& buffer : process.buffers) CHECK(buffer.taken.load() == 0);
  delete held;
}

namespace {

// A process state as a child finds it, with a CPU part.
struct inherited {
  own_process own;
  process_state& process = *own.state;
  cpu_state& cpu = *cpu_of(process);

  ~inherited() { os_unmap_sig(&cpu, cpu_bytes); }
  void fork() {
    process.code_readers.store(3);
    process.unnamed_session.store(this);
    for (frame_buffer& buffer : process.buffers) buffer.taken.store(1);
    cpu.pid.store(1);
    cpu.period_ns.store(1);
    cpu.session_hz[0] = 100;
    process.pid.store(1);  // as if this were the child of process 1
  }
  bool forgotten() const {
    bool all = process.pid.load() == os_process_id_sig() && process.code_readers.load() == 0 &&
               process.unnamed_session.load() == nullptr &&
               cpu.pid.load() == os_process_id_sig() && cpu.period_ns.load() == 0 &&
               cpu.session_hz[0] == 0;
    for (const frame_buffer& buffer : process.buffers) all = all && buffer.taken.load() == 0;
    return all;
  }
};

}  // namespace

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

TEST_CASE("the object whose hooks count is kept") {
  static const hook_part hooks{hook_part_magic, nullptr, 0, nullptr, nullptr, nullptr};
  const own_process own;
  std::atomic<const hook_part*> owner{nullptr};
  std::atomic<const hook_part*> kept{nullptr};
  keep_owner(*own.state, owner, kept);  // nobody counts
  CHECK(owner.load() == nullptr);
  CHECK(kept.load() == nullptr);
  owner.store(&hooks);
  CHECK(is_hook_part_sig(&hooks));
  for (int i = 0; i < 2; ++i) {
    keep_owner(*own.state, owner, kept);
    CHECK(owner.load() == &hooks);
    CHECK(kept.load() == &hooks);
  }
  // Both of this program are valid, and kept since the first public call.
  process_state& process = *enter_process();
  CHECK(process.kept_heap_hooks.load() == process.heap_hooks.load());
  CHECK(process.kept_thread_hooks.load() == process.thread_hooks.load());
  CHECK(is_hook_part_sig(process.heap_hooks.load()));
}

TEST_CASE("hooks whose object was unloaded are forgotten, so that others may count") {
  void* const pages =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(static_cast<bool>(pages != MAP_FAILED));
  auto* const hooks = new (pages)
      hook_part{hook_part_magic, nullptr, 0, nullptr, nullptr, nullptr};
  const own_process own;
  std::atomic<const hook_part*>& owner = own.state->heap_hooks;
  std::atomic<const hook_part*>& kept = own.state->kept_heap_hooks;
  owner.store(hooks);
  live_table& live = heap_sig(*own.state)->live;
  std::atomic<char*> fast{nullptr};  // stands for the free_filter of the object that is gone
  live.publish_filter_to_sig(fast);
  char* const word = fast.load();
  SUBCASE("nothing is mapped there now") {
    REQUIRE(munmap(pages, 4096) == 0);
    CHECK_FALSE(is_hook_part_sig(hooks));
    keep_owner(*own.state, owner, kept);
  }
  SUBCASE("something else is mapped there now") {
    ++hooks->magic;
    CHECK_FALSE(is_hook_part_sig(hooks));
    keep_owner(*own.state, owner, kept);
    munmap(pages, 4096);
  }
  CHECK(owner.load() == nullptr);
  CHECK(kept.load() == nullptr);
  const hook_part other{hook_part_magic, nullptr, 0, nullptr, nullptr, nullptr};
  CHECK(claim_hooks_sig(owner, &other));
  live.grow_filter_sig();
  CHECK(live.filter() != reinterpret_cast<std::uintptr_t>(word));
  CHECK(fast.load() == word);  // nothing is written into memory that is gone
  os_unmap_sig(heap_sig(*own.state), heap_bytes);
}

TEST_CASE("a fresh run belongs to no slot") {
  arena memory(os_pages);
  const cpu_run run(memory);
  CHECK(run.slot == -1);
  CHECK(run.hz == 0);
}

#endif
