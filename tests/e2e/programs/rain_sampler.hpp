// tests/e2e/programs/rain_sampler.hpp - a sampler that lives in the tests only: counts drops by stack and labels.
#ifndef RAIN_SAMPLER_HPP
#define RAIN_SAMPLER_HPP

#include <prof/prof.hpp>

namespace rain {

using namespace prof::detail;

struct rain_state {
  count_table counts;  // drops, and their litres
};
inline rain_state state;

inline void bind_rain(process_state& process) { state.counts.bind(process.memory, 2); }

// A drop fell here. Ordinary context.
__attribute__((noinline)) inline void drop_here(std::uint64_t litres) {
  process_state& process = *process_sig();
  registers here{};
  here.pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  here.sp = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) + 16;
  here.fp = *static_cast<std::uintptr_t*>(__builtin_frame_address(0));
  const std::uint32_t thread = os_thread_id_sig();
  bool lost = false;
  const std::size_t index = state.counts.find_or_add_sig(
      {capture_stack_sig(process, thread, here, true), labels_of_sig(process, thread), 0}, lost);
  if (index == no_slot) return;
  state.counts.add_to_sig(index, 0, 1);
  state.counts.add_to_sig(index, 1, litres);
}

}  // namespace rain

#endif
