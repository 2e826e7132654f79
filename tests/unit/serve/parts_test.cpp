// tests/unit/serve/parts_test.cpp - optional parts are found where some file brings them.

#include "prof/serve/parts.hpp"

#include <doctest/doctest.h>

#include "prof/prof.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct own_process {
  process_state* state = make_process_sig();
  own_process() { REQUIRE(state != nullptr); }
  ~own_process() { os_unmap_sig(state, process_bytes); }
  own_process(const own_process&) = delete;
  own_process& operator=(const own_process&) = delete;
};

}  // namespace

TEST_CASE("a part is absent until it is registered, and the first one stays") {
  const own_process own;
  const cpu_part first{};
  const cpu_part second{};
  CHECK(find_part<cpu_part>(*own.state, part::cpu) == nullptr);
  register_part(*own.state, part::cpu, nullptr);
  CHECK(find_part<cpu_part>(*own.state, part::cpu) == nullptr);
  register_part(*own.state, part::cpu, &first);
  register_part(*own.state, part::cpu, &second);
  CHECK(find_part<cpu_part>(*own.state, part::cpu) == &first);
  CHECK(find_part<heap_part>(*own.state, part::heap) == nullptr);
}

TEST_CASE("entering brings this program's parts and marks the process as used") {
  process_state* const process = enter_process();
  REQUIRE(process != nullptr);
  CHECK(process == process_sig());
  CHECK(process->used.load());
  CHECK(find_part<cpu_part>(*process, part::cpu) == &prof_part_cpu_v1);
  CHECK(find_part<heap_part>(*process, part::heap) == &prof_part_heap_v1);
  CHECK(find_part<symbolize_part>(*process, part::symbolize) == &prof_part_symbolize_v1);
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

TEST_CASE("a fresh run belongs to no slot") {
  arena memory(os_pages);
  const cpu_run run(memory);
  CHECK(run.slot == -1);
  CHECK(run.hz == 0);
}

#endif
