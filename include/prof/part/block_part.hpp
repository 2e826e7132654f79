// prof/part/block_part.hpp - the block part: where threads wait; its descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_BLOCK is on.
// Safety: ordinary context, any thread.
// Memory: none of its own; snapshots live in the collection's arena.
// Source: Go's runtime/pprof block profile and SetBlockProfileRate.
#ifndef PROF_PART_BLOCK_PART_HPP
#define PROF_PART_BLOCK_PART_HPP

#include "prof/hook/followed_wait.hpp"
#include "prof/process/enter.hpp"
#include "prof/sample/block.hpp"
#include "prof/write/text.hpp"

PROF_DETAIL_BEGIN

struct block_run {
  block_run(block_state& state, arena& memory) noexcept : block(state), base(memory), now(memory) {}
  block_state& block;
  int window = rate_windows::none;
  block_snapshot base;  // of a difference over some seconds
  block_snapshot now;
};

// Rates take effect where the hooks are.
inline void tell_block_hooks(process_state& process) noexcept {
  tell_hooks(process, hook_family::lock);
  tell_hooks(process, hook_family::wait);
  tell_hooks(process, hook_family::join);
  tell_hooks(process, hook_family::blocking);
}

inline result begin_block(profile_run& run) {
  block_state* const block = block_of(run.process);
  if (block == nullptr) return result(error::out_of_memory, "the block profile's tables");
  auto& made = *new (run.state) block_run(*block, run.memory);
  if (run.request.seconds == 0) return {};
  if (block->rate.in_effect_sig() == 0) prepare_walks(run.process);
  made.window = block->rate.open(run.request.rate != 0 ? run.request.rate : default_block_window_ns);
  if (made.window == rate_windows::none) return result(error::too_many_sessions);
  tell_block_hooks(run.process);
  forget_waits_of_ended_threads(run.process);
  read_block(run.process, *block, made.base);
  return {};
}
inline void close_block_window(profile_run& run) {
  auto& counted = *static_cast<block_run*>(run.state);
  counted.block.rate.close(counted.window);
  if (counted.window != rate_windows::none) tell_block_hooks(run.process);
}
inline result end_block(profile_run& run) {
  auto& counted = *static_cast<block_run*>(run.state);
  forget_waits_of_ended_threads(run.process);
  read_block(run.process, counted.block, counted.now);
  close_block_window(run);
  return {};
}
inline void fill_block(profile& p, profile_run& run) {
  const auto& counted = *static_cast<const block_run*>(run.state);
  fill_block_profile(p, run.process, counted.block, counted.now, run.request.seconds != 0 ? &counted.base : nullptr);
}

inline std::uint64_t set_block_rate(process_state& process, std::uint64_t ns) {
  block_state* const block = block_of(process);
  if (block == nullptr) return 0;
  if (ns != 0 && block->rate.in_effect_sig() == 0) prepare_walks(process);
  const std::uint64_t before = block->rate.set_own(ns);
  tell_block_hooks(process);
  return before;
}

inline void visit_block_rows(process_state&, visitor<profile_row> visit) {
  static constexpr profile_row row{{"block", 5}, {"Stack traces that led to blocking on synchronization primitives", 63}, 0,
                                   {}, {"block-delta", 11}, &write_block_text};
  visit(row);
}
inline std::uint64_t count_block(const process_state& process) {
  const block_state* const block = attached_block_sig(process);
  return block != nullptr ? block->counts.used() : 0;
}
inline void report_block(const process_state& process, visitor<status_value> visit) {
  const block_state* const block = attached_block_sig(process);
  visit({"block rate (ns)", block != nullptr ? block->rate.in_effect_sig() : 0, nullptr});
  visit({"block samples", block != nullptr ? block->samples.load() : 0, nullptr});
  visit({"waits seen now", process.waits.used(), nullptr});
}
inline void forget_block_parent(process_state& process, bool) {
  block_state* const block = attached_block_sig(process);
  if (block == nullptr) return;
  block->rate.forget_windows();
  tell_block_hooks(process);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const profile_part prof_part_block_v2 = {
    {sizeof(profile_part), block_layout},
    sizeof(block_run),
    &visit_block_rows,
    &begin_block,
    &end_block,
    &close_block_window,
    &fill_block,
    &set_block_rate,
    &count_block,
    &report_block,
    &forget_block_parent,
    nullptr};

PROF_DETAIL_END

#endif  // PROF_PART_BLOCK_PART_HPP
