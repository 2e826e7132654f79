// tests/unit/process/process_test.cpp - the state of the process: layouts and losses.

#include "prof/process/process.hpp"

#include <doctest/doctest.h>

#include <type_traits>

#include "own_process.hpp"

namespace {

using namespace prof::detail;

static_assert(std::is_standard_layout_v<process_state>, "its head is at its begin, and offsets mean something");
static_assert(layout_of({1, 2}) != layout_of({2, 1}), "order matters");
static_assert(layout_of({1, 2}) != layout_of({1, 2, 0}), "so does their number");
static_assert(layout_of({}) != 0, "0 is no layout");

}  // namespace

TEST_CASE("drops are counted by cause") {
  const own_process own;
  count_drop_sig(*own.state, drop::late_signal);
  count_drop_sig(*own.state, drop::late_signal, 4);
  CHECK(drops_of(*own.state, static_cast<unsigned>(drop::late_signal)) == 5);
  CHECK(drops_of(*own.state, static_cast<unsigned>(drop::timer_failed)) == 0);
}

TEST_CASE("pieces that the system refuses to any table are among the drops") {
  const own_process own;
  table_memory& memory = own.state->memory;
  const auto map = memory.map_sig;
  memory.map_sig = [](std::size_t) noexcept -> void* { return nullptr; };
  const std::uintptr_t frames[] = {1, 2};
  CHECK(own.state->stacks.intern_sig({frames, 2, false, false}) == overflow_stack);
  memory.map_sig = map;
  CHECK(drops_of(*own.state, static_cast<unsigned>(drop::no_memory)) > 0);
}

TEST_CASE("a part that nobody brought has no state and no descriptor") {
  const own_process own;
  CHECK(state_of_sig<int>(*own.state, part::cpu) == nullptr);
  CHECK(find_part_sig<profile_part>(*own.state, part::cpu) == nullptr);
}
