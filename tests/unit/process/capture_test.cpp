// tests/unit/process/capture_test.cpp - stacks are captured while the code map is replaced.

#include "prof/process/capture.hpp"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

// A file that is mapped as code while this lives: the address space changes.
class more_code {
 public:
  static constexpr const char* name = "true";
  static constexpr std::size_t bytes = 4096;

  more_code() {
    const int file = open("/bin/true", O_RDONLY | O_CLOEXEC);
    REQUIRE(file >= 0);
    at_ = mmap(nullptr, bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE, file, 0);
    close(file);
    REQUIRE(static_cast<bool>(at_ != MAP_FAILED));
  }
  ~more_code() { munmap(at_, bytes); }
  more_code(const more_code&) = delete;
  more_code& operator=(const more_code&) = delete;
  std::uintptr_t address() const { return reinterpret_cast<std::uintptr_t>(at_); }

 private:
  void* at_ = nullptr;
};

bool readable(const code_map* map) {
  char byte = 0;
  return os_copy_sig(&byte, reinterpret_cast<std::uintptr_t>(map), 1);
}

__attribute__((noinline)) stack_id captured_here(process_state& process) {
  registers start;
  start.pc = reinterpret_cast<std::uintptr_t>(&captured_here) + 4;
  start.fp = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  start.sp = start.fp;
  return capture_stack_sig(process, os_thread_id_sig(), start, false);
}

__attribute__((noinline)) registers my_caller() {
  return caller_registers_sig(PROF_DETAIL_CALL_FRAME());
}

// A hook that calls where an optimized one jumps: outer_own, inner_own, taking_own. What follows each call keeps it one.
std::atomic<int> calls{0};
stack_id (*volatile inner)(process_state&, const own_functions*) = nullptr;
__attribute__((noinline)) stack_id taking_own(process_state& process, const own_functions* through) {
  return capture_call_sig(process, os_thread_id_sig(), host_call_sig(PROF_DETAIL_CALL_FRAME(), through));
}
__attribute__((noinline)) stack_id inner_own(process_state& process, const own_functions* through) {
  const stack_id id = taking_own(process, through);
  ++calls;
  return id;
}
__attribute__((noinline)) stack_id outer_own(process_state& process, const own_functions* through) {
  const stack_id id = inner(process, through);
  ++calls;
  return id;
}
__attribute__((noinline)) stack_id host_code(process_state& process, const own_functions* through) {
  inner = &inner_own;
  const stack_id id = outer_own(process, through);
  ++calls;
  return id;
}
using own_function = stack_id (*)(process_state&, const own_functions*);
constexpr own_function inner_place = &inner_own;
constexpr own_function outer_place = &outer_own;
constexpr own_function no_place = nullptr;

struct own_fixture {
  own_process own;
  process_state& process = *own.state;
  own_fixture() { refresh_code_map(process); }
  // By the same code each time: all frames but ours are equal.
  stack_view taken(const own_functions& through, bool told) {
    return process.stacks.view(host_code(process, told ? &through : nullptr));
  }
};

}  // namespace

TEST_CASE("frames of ours that a hook was called through are dropped by their addresses") {
  own_fixture f;
  std::atomic<std::uint32_t> sizes[own_functions::most] = {};
  const own_functions both{{&outer_place, &no_place, &inner_place, nullptr}, sizes};
  stack_view found[2];
  for (const bool told : {false, true}) found[told] = f.taken(both, told);
  REQUIRE(found[0].depth > 4);
  REQUIRE(found[1].depth == found[0].depth - 2);
  CHECK(found[1].frames[0] == found[0].frames[2]);
  CHECK(std::memcmp(found[1].frames, found[0].frames + 2, found[1].depth * sizeof(std::uintptr_t)) == 0);
  CHECK(sizes[0].load() != 0);
  CHECK(sizes[2].load() != 0);
  CHECK(sizes[0].load() < 4096);
  CHECK(sizes[1].load() == 0);
}

TEST_CASE("what the host has between frames of ours stays, and so does what is behind it") {
  own_fixture f;
  std::atomic<std::uint32_t> sizes[own_functions::most] = {};
  const own_functions outer_only{{&outer_place, nullptr, nullptr, nullptr}, sizes};
  stack_view found[2];
  for (const bool told : {false, true}) found[told] = f.taken(outer_only, told);
  CHECK(found[1].depth == found[0].depth);
  CHECK(found[1].frames[0] == found[0].frames[0]);
}

TEST_CASE("code right behind a function of ours is not taken for it") {
  own_fixture f;
  std::atomic<std::uint32_t> sizes[own_functions::most] = {};
  const own_functions inner_only{{&inner_place, nullptr, nullptr, nullptr}, sizes};
  REQUIRE(f.taken(inner_only, true).depth > 3);
  const std::uint32_t size = sizes[0].load();
  REQUIRE(size != 0);
  const frame_lease lease(f.process, 1);
  auto& scratch = *new (static_cast<void*>(lease.buffer()->scratch)) walk_scratch(f.process, *lease.buffer());
  const auto begin = reinterpret_cast<std::uintptr_t>(&inner_own);
  CHECK(is_in_own_sig(scratch, begin, inner_only));
  CHECK(is_in_own_sig(scratch, begin + size - 1, inner_only));
  CHECK_FALSE(is_in_own_sig(scratch, begin + size, inner_only));
  CHECK_FALSE(is_in_own_sig(scratch, begin - 1, inner_only));
}

TEST_CASE("a stack of which nothing but frames of ours was kept keeps its last one") {
  own_fixture f;
  std::atomic<std::uint32_t> sizes[own_functions::most] = {};
  const own_functions both{{&outer_place, &inner_place, nullptr, nullptr}, sizes};
  f.process.depth.store(1);
  CHECK(f.taken(both, true).depth == 1);
}

TEST_CASE("a hook's caller is the code that called it") {
  const auto start = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  const registers caller = my_caller();
  const auto frame = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  CHECK(start != caller.pc);
  CHECK(caller.sp <= frame + 16);
  CHECK(caller.sp > frame - 65536);
  CHECK(caller.rbx_or_lr == 0);
}

TEST_CASE("a captured stack begins here and has callers") {
  const own_process own;
  first_code_map_sig(*own.state);
  REQUIRE(own.state->code.load() != nullptr);
  const stack_id id = captured_here(*own.state);
  REQUIRE(id != overflow_stack);
  const stack_view view = own.state->stacks.view(id);
  CHECK(view.depth >= 1);
  CHECK(frame_address_sig(view.frames[0]) == reinterpret_cast<std::uintptr_t>(&captured_here) + 4);
  CHECK(captured_here(*own.state) != overflow_stack);
}

TEST_CASE("a captured stack says whether it is approximate") {
  const own_process own;
  refresh_code_map(*own.state);
  const stack_view exact = own.state->stacks.view(captured_here(*own.state));
  REQUIRE(exact.depth >= 2);
  CHECK_FALSE(exact.approximate);
  // A JIT's code, which nothing describes, with the frame of this function.
  void* const code = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(static_cast<bool>(code != MAP_FAILED));
  registers start;
  start.pc = reinterpret_cast<std::uintptr_t>(code) + 16;
  start.fp = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
  start.sp = start.fp;
  const stack_view guessed = own.state->stacks.view(capture_stack_sig(*own.state, os_thread_id_sig(), start, false));
  REQUIRE(guessed.depth >= 2);
  CHECK(guessed.approximate);
  munmap(code, 4096);
}

TEST_CASE("the depth limit holds for captures") {
  const own_process own;
  own.state->depth.store(1);
  const stack_view view = own.state->stacks.view(captured_here(*own.state));
  CHECK(view.depth == 1);
  CHECK(view.truncated);
}

TEST_CASE("sixty-four captures at once; the next one is counted as lost") {
  const own_process own;
  std::vector<std::unique_ptr<frame_lease>> leases;
  for (std::size_t i = 0; i < frame_pool::pieces * frame_pool::per_piece; ++i) {
    leases.push_back(std::make_unique<frame_lease>(*own.state, 1));
    REQUIRE(leases.back()->buffer() != nullptr);
    for (std::size_t k = 0; k < i; ++k) CHECK(leases[k]->buffer() != leases[i]->buffer());
  }
  auto& lost = own.state->drops[static_cast<unsigned>(drop::no_frame_buffer)];
  CHECK(lost.load() == 0);
  {
    const frame_lease refused(*own.state, 1);
    CHECK(refused.buffer() == nullptr);
    CHECK(lost.load() == 1);
    CHECK(captured_here(*own.state) == overflow_stack);
    CHECK(lost.load() == 2);
  }
  leases.pop_back();
  const frame_lease again(*own.state, 1);
  CHECK(again.buffer() != nullptr);
}

TEST_CASE("a hook makes the first code map only") {
  const own_process own;
  first_code_map_sig(*own.state);
  const code_map* const map = own.state->code.load();
  REQUIRE(map != nullptr);
  CHECK(own.state->code_map_bytes.load() == map->bytes);
  const more_code more;
  first_code_map_sig(*own.state);
  CHECK(own.state->code.load() == map);
  CHECK(own.state->retired_count == 0);
  REQUIRE(own.state->refresh_lock.try_lock());  // was given back
  own.state->refresh_lock.unlock();
}

namespace {

__attribute__((noinline)) stack_id captured_deep(process_state& process, int depth) {
  const stack_id id = depth == 0 ? captured_here(process) : captured_deep(process, depth - 1);
  asm volatile("" : : "r"(&depth) : "memory");  // no tail call
  return id;
}

}  // namespace

namespace {

// Maps the first page of a file over what is there, at once.
void map_over(void* at, const char* path) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  const void* const there = mmap(at, more_code::bytes, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, 0);
  close(file);
  REQUIRE(static_cast<bool>(there == at));
}

std::string build_id_of(const code_range& range) {
  return std::string(reinterpret_cast<const char*>(range.build_id), range.build_id_length);
}

// Of the ranges registered at an address, those whose name is one file's and whose build id is the other's.
int wrong_pairs(const process_state& process, std::uintptr_t address, const char* const (&names)[2],
                const std::string (&ids)[2]) {
  int wrong = 0;
  for (range_number number = 1; number <= max_range_number; ++number) {
    const code_range* const range = process.registry.ranges.at(number);
    if (range == nullptr || range->start != address) continue;
    const int file = std::string(range->path).find(names[0]) != std::string::npos ? 0 : 1;
    wrong += build_id_of(*range) == ids[file] ? 0 : 1;
  }
  return wrong;
}

}  // namespace

TEST_CASE("what comes while a hook reads the first code map has its own name there") {
  const more_code place;
  void* const at = reinterpret_cast<void*>(place.address());
  const char* const names[2] = {"true", "false"};
  const char* const paths[2] = {"/bin/true", "/bin/false"};
  std::string ids[2];
  for (int i = 0; i < 2; ++i) {
    const own_process own;
    map_over(at, paths[i]);
    first_code_map_sig(*own.state);
    const code_range* const range = own.state->code.load()->find_current(place.address());
    REQUIRE(range != nullptr);
    REQUIRE(std::string(range->path).find(names[i]) != std::string::npos);
    ids[i] = build_id_of(*range);
  }
  REQUIRE(static_cast<bool>(ids[0].size() == 20 && ids[1].size() == 20 && ids[0] != ids[1]));
  std::uint64_t took = os_monotonic_ns_sig();
  (void)first_code_map_sig(*own_process().state);
  took = os_monotonic_ns_sig() - took;
  int wrong = 0;
  int known = 0;
  for (unsigned round = 0; round < 400; ++round) {
    const own_process own;
    std::atomic<bool> begun{false};
    // Every other time once and back, so that the line is what it was.
    std::thread other([&] {
      begun.store(true);
      for (unsigned change = 0; change <= round / 2 % 2; ++change) {
        const std::uint64_t until = os_monotonic_ns_sig() + took * (round % 50) / 50 / (change + 1);
        while (os_monotonic_ns_sig() < until) {
        }
        map_over(at, paths[(round + change) % 2]);
      }
    });
    while (!begun.load()) {
    }
    first_code_map_sig(*own.state);
    other.join();
    wrong += wrong_pairs(*own.state, place.address(), names, ids);
    known += own.state->code.load()->find_current(place.address()) != nullptr ? 1 : 0;
  }
  CHECK(wrong == 0);
  CHECK(known > 20);
}

TEST_CASE("a deep stack keeps the leaf's end and the root's, a mark between them") {
  const own_process own;
  refresh_code_map(*own.state);
  own.state->depth.store(64);
  const stack_view deep = own.state->stacks.view(captured_deep(*own.state, 100));
  const stack_view shallow = own.state->stacks.view(captured_here(*own.state));
  REQUIRE(deep.depth == 64);
  CHECK(deep.truncated);
  CHECK(deep.frames[48] == truncation_mark);
  CHECK(frame_address_sig(deep.frames[0]) ==
        reinterpret_cast<std::uintptr_t>(&captured_here) + 4);
  REQUIRE(shallow.depth > 4);
  CHECK_FALSE(shallow.truncated);
  CHECK(deep.frames[63] == shallow.frames[shallow.depth - 1]);  // the same root
}

TEST_CASE("walks make their modules' tables wanted, the next refresh builds them") {
  const own_process own;
  first_code_map_sig(*own.state);
  const auto here = reinterpret_cast<std::uintptr_t>(&captured_here);
  const code_range* const range = own.state->code.load()->find(here);
  REQUIRE(range != nullptr);
  REQUIRE(range->module != nullptr);
  module_cfi& module = *range->module;
  CHECK_FALSE(module.wanted.load());
  refresh_code_map(*own.state);
  CHECK(module.table.load() == nullptr);  // nobody wanted it
  const stack_id before = captured_here(*own.state);
  CHECK(module.wanted.load());
  const std::uint64_t epoch = own.state->rule_epoch.load();
  refresh_code_map(*own.state);
  CHECK(module.table.load() != nullptr);
  CHECK(own.state->rule_epoch.load() != epoch);
  const stack_id after = captured_here(*own.state);
  const stack_view one = own.state->stacks.view(before);
  const stack_view two = own.state->stacks.view(after);
  REQUIRE(one.depth == two.depth);  // the table says what was interpreted before
  for (std::size_t i = 2; i < one.depth; ++i) CHECK(one.frames[i] == two.frames[i]);
}

TEST_CASE("a process's first profile of what is known does not wait for tables, the next one makes them") {
  const own_process own;
  first_code_map_sig(*own.state);
  captured_here(*own.state);
  const module_cfi& module = *own.state->code.load()->find(reinterpret_cast<std::uintptr_t>(&captured_here))->module;
  REQUIRE(module.wanted.load());
  refresh_code_map(*own.state, tables_made::next_time);
  CHECK(module.table.load() == nullptr);
  refresh_code_map(*own.state, tables_made::next_time);
  CHECK(module.table.load() != nullptr);
}

TEST_CASE("code that the map does not know makes it stale") {
  const own_process own;
  refresh_code_map(*own.state);
  CHECK_FALSE(own.state->code_map_outdated.load());
  captured_here(*own.state);
  CHECK_FALSE(own.state->code_map_outdated.load());
  const code_map* const map = own.state->code.exchange(nullptr);
  own.state->rule_epoch.fetch_add(1);
  captured_here(*own.state);
  CHECK(own.state->code_map_outdated.load());
  own.state->code.store(map);
  refresh_code_map(*own.state);
  CHECK_FALSE(own.state->code_map_outdated.load());
}

// ---- replaced code maps -------------------------------------------------------------------------

TEST_CASE("the code map is refreshed by one thread at a time") {
  const own_process own;
  refresh_code_map(*own.state);
  const code_map* const map = own.state->code.load();
  REQUIRE(map != nullptr);
  CHECK(own.state->code_map_bytes.load() == map->bytes);
  refresh_code_map(*own.state);
  CHECK(own.state->code.load() == map);
  own.state->code.store(nullptr);
  REQUIRE(own.state->refresh_lock.try_lock());
  first_code_map_sig(*own.state);  // somebody else is at it
  CHECK(own.state->code.load() == nullptr);
  std::atomic<bool> done{false};
  std::thread waiting([&] {
    refresh_code_map(*own.state);  // waits its turn
    done.store(true);
  });
  os_sleep_ns(20000000);
  CHECK_FALSE(done.load());
  CHECK(own.state->code.load() == nullptr);
  own.state->refresh_lock.unlock();
  waiting.join();
  CHECK(own.state->code.load() != nullptr);
}

TEST_CASE("a replaced code map is given back when nobody reads it") {
  const own_process own;
  refresh_code_map(*own.state);
  const code_map* const first = own.state->code.load();
  const more_code more;
  refresh_code_map(*own.state);
  CHECK_FALSE(readable(first));
  const code_map* const second = own.state->code.load();
  CHECK(second != first);
  CHECK(second->find(more.address()) != nullptr);
  CHECK(own.state->retired_count == 0);
  CHECK(own.state->code_map_bytes.load() == second->bytes);
}

TEST_CASE("a replaced code map is kept while it may be read, and given back later") {
  const own_process own;
  refresh_code_map(*own.state);
  const code_map* const first = own.state->code.load();
  const std::size_t first_bytes = first->bytes;
  const more_code more;
  const auto check_kept = [&] {
    CHECK(readable(first));
    CHECK(first->bytes == first_bytes);
    CHECK(own.state->code.load() != first);
    CHECK(own.state->retired_count == 1);
    CHECK(own.state->code_map_bytes.load() == first_bytes + own.state->code.load()->bytes);
  };
  SUBCASE("by ordinary code") {
    const presence_guard reading(own.state->code_readers);
    refresh_code_map(*own.state);
    refresh_code_map(*own.state);
    check_kept();
  }
  SUBCASE("by a walk") {
    const frame_lease walk(*own.state, 1);
    refresh_code_map(*own.state);
    refresh_code_map(*own.state);
    check_kept();
  }
  const code_map* const second = own.state->code.load();
  refresh_code_map(*own.state);
  CHECK_FALSE(readable(first));
  CHECK(own.state->code.load() == second);
  CHECK(own.state->retired_count == 0);
  CHECK(own.state->code_map_bytes.load() == second->bytes);
}

TEST_CASE("that no more code can have a name is counted") {
  const own_process own;
  const auto& full = own.state->drops[static_cast<unsigned>(drop::ranges_full)];
  refresh_code_map(*own.state);
  CHECK(full.load() == 0);
  code_range other;
  for (std::size_t i = 0; i <= max_other_ranges; ++i) {
    other.start = 0x10000 * (i + 1);
    other.limit = other.start + 4096;
    (void)own.state->registry.ranges.find_or_add_sig(other);
  }
  const more_code changed;
  refresh_code_map(*own.state);
  CHECK(full.load() == 1);
  CHECK(own.state->registry.ranges.others_full());
  CHECK_FALSE(own.state->registry.ranges.full());
}

TEST_CASE("a first map that cannot be read is counted") {
  const own_process own;
  const auto& unread = own.state->drops[static_cast<unsigned>(drop::code_map_unread)];
  refresh_code_map(*own.state);
  CHECK(unread.load() == 0);
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none{0, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);  // as without /proc: nothing can be opened
  {
    const own_process other;
    refresh_code_map(*other.state);
    CHECK(other.state->drops[static_cast<unsigned>(drop::code_map_unread)].load() == 1);
    CHECK(other.state->code.load() == nullptr);
    first_code_map_sig(*other.state);  // a hook tries it with each sample
    CHECK(other.state->drops[static_cast<unsigned>(drop::code_map_unread)].load() == 1);
    refresh_code_map(*own.state);  // there is a map, which does not know what is new
    CHECK(unread.load() == 1);
    CHECK(captured_here(*other.state) != overflow_stack);
  }
  REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("sixteen old code maps are kept; then the map stays as it is, and that is counted") {
  const own_process own;
  refresh_code_map(*own.state);
  auto& stale = own.state->drops[static_cast<unsigned>(drop::code_map_busy)];
  std::vector<std::unique_ptr<more_code>> more;
  {
    const frame_lease walk(*own.state, 1);
    for (std::size_t i = 0; i < max_retired_maps; ++i) {
      more.push_back(std::make_unique<more_code>());
      refresh_code_map(*own.state);
      CHECK(own.state->retired_count == i + 1);
    }
    refresh_code_map(*own.state);
    CHECK(stale.load() == 0);  // there is no room, but nothing has changed either
    const code_map* const last = own.state->code.load();
    more.push_back(std::make_unique<more_code>());
    refresh_code_map(*own.state);
    CHECK(stale.load() == 1);
    CHECK(own.state->retired_count == max_retired_maps);
    CHECK(own.state->code.load() == last);
    CHECK(last->find(more[15]->address()) != nullptr);
    CHECK(last->find(more[16]->address()) == nullptr);
    CHECK(captured_here(*own.state) != overflow_stack);
  }
  refresh_code_map(*own.state);
  CHECK(own.state->retired_count == 0);
  refresh_code_map(*own.state);
  const code_map* const now = own.state->code.load();
  CHECK(now->find(more[16]->address()) != nullptr);
  CHECK(own.state->retired_count == 0);
  CHECK(own.state->code_map_bytes.load() == now->bytes);
}

#if defined(__GLIBC__)
TEST_CASE("while a thread keeps the loader's lock a refresh sees new code, and libraries stay what they are") {
  const own_process own;
  refresh_code_map(*own.state);
  const more_code added;
  std::atomic<bool> holds{false};
  std::atomic<bool> may_go{false};
  struct flags {
    std::atomic<bool>& holds;
    std::atomic<bool>& may_go;
  } both{holds, may_go};
  std::thread holder([&both] {
    os_with_objects_kept(
        [](void* context) {
          static_cast<flags*>(context)->holds.store(true);
          while (!static_cast<flags*>(context)->may_go.load()) os_yield();
        },
        &both);
  });
  while (!holds.load()) os_yield();
  CHECK(os_loader_is_busy());
  const auto libc = reinterpret_cast<std::uintptr_t>(&std::fopen);
  const auto stays = [&] {
    const code_range* const range = own.state->code.load()->find_current(libc);
    return range != nullptr && range->never_unloaded;
  };
  CHECK(stays());
  refresh_code_map(*own.state);
  CHECK(own.state->code.load()->find(added.address()) != nullptr);
  CHECK(stays());
  may_go.store(true);
  holder.join();
}
#endif

TEST_CASE("code that is gone keeps its path when the map that saw it is gone too") {
  const own_process own;
  refresh_code_map(*own.state);
  std::uintptr_t address = 0;
  std::string path;
  {
    const more_code more;
    address = more.address();
    refresh_code_map(*own.state);
    const code_range* const range = own.state->code.load()->find(address);
    REQUIRE(range != nullptr);
    CHECK(range->current);
    path = range->path;
  }
  CHECK(path.find(more_code::name) != std::string::npos);
  // So that no other code takes its place.
  void* const blocked = mmap(reinterpret_cast<void*>(address), more_code::bytes, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  for (int i = 0; i < 3; ++i) {
    const more_code change;
    refresh_code_map(*own.state);
    const code_map* const map = own.state->code.load();
    CHECK(own.state->retired_count == 0);
    CHECK(own.state->code_map_bytes.load() == map->bytes);
    const code_range* const range = map->find(address);
    REQUIRE(range != nullptr);
    CHECK_FALSE(range->current);
    CHECK(std::string(range->path) == path);
    CHECK(range->path_size == path.size());
  }
  munmap(blocked, more_code::bytes);
}

TEST_CASE("walks go on while code maps are replaced and given back") {
  const own_process own;
  refresh_code_map(*own.state);
  std::atomic<bool> stop{false};
  std::atomic<int> lost{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      while (!stop.load()) lost += captured_here(*own.state) == overflow_stack ? 1 : 0;
    });
  }
  for (int i = 0; i < 200; ++i) {
    const more_code more;
    refresh_code_map(*own.state);
  }
  stop.store(true);
  for (auto& thread : threads) thread.join();
  refresh_code_map(*own.state);
  CHECK(lost.load() == 0);
  CHECK(own.state->retired_count == 0);
  CHECK(own.state->code_map_bytes.load() == own.state->code.load()->bytes);
}

#endif
