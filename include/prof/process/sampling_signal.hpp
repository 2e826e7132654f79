// prof/process/sampling_signal.hpp - the one signal that makes a thread look at itself: whose it is, and who gets it.
// Floor 7 (process). Chosen by the first part that needs it, for all of them.
// Safety: choosing is for ordinary context, any thread; receiving is a signal handler.
// Memory: a few words of the process state.
// Source: sigaction(2). A handler of the host's is never displaced: there are other signals. Ours stays for the life of
//         the process, because a signal may be pending when the last user ends, and SIGPROF's default action kills.
#ifndef PROF_PROCESS_SAMPLING_SIGNAL_HPP
#define PROF_PROCESS_SAMPLING_SIGNAL_HPP

#include "prof/process/attach.hpp"
#include "prof/process/own_code.hpp"

PROF_DETAIL_BEGIN

inline void receive_tick_sig(const timer_event& event) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  const auto receiver = process == nullptr ? nullptr : process->signal.ticked.load(std::memory_order_acquire);
  if (receiver != nullptr) receiver(*process, event);
}
inline void receive_question_sig(std::uint64_t token, const registers& regs) PROF_DETAIL_SIG {
  process_state* const process = attached_process_sig();
  const auto receiver = process == nullptr ? nullptr : process->signal.asked.load(std::memory_order_acquire);
  if (receiver != nullptr) receiver(*process, token, regs);
}

// The wanted signal if it is free or ours, else SIGPROF, else the first free real-time signal.
inline int choose_signal(const process_state& process) noexcept {
  const auto usable = [&process](int number) {
    const void* const there = os_signal_handler(number);
    return there == nullptr || there == process.signal.handler.load() || there == os_own_signal_handler();
  };
  const int wanted = process.wanted_signal.load();
  if (wanted != 0) return usable(wanted) ? wanted : 0;
  if (usable(os_default_signal())) return os_default_signal();
  for (int n = 0; os_candidate_signal(n) != 0; ++n) {
    if (usable(os_candidate_signal(n))) return os_candidate_signal(n);
  }
  return 0;
}

// Installs the handler once; `what` is what cannot be done without it.
inline result prepare_signal(process_state& process, const char* what) noexcept {
  const spin_guard lock(process.signal.lock);
  const int now = process.signal.number.load();
  if (now != 0 && os_signal_handler(now) == process.signal.handler.load()) return {};
  const int chosen = choose_signal(process);
  if (chosen == 0) {
    const int wanted = process.wanted_signal.load();
    return result(error::signal_in_use, os_signal_name(wanted != 0 ? wanted : os_default_signal()));
  }
  tick_receiver.store(&receive_tick_sig, std::memory_order_release);
  ask_receiver.store(&receive_question_sig, std::memory_order_release);
  if (!os_install_handler(chosen)) return result(error::unsupported, what);
  process.signal.handler.store(os_own_signal_handler());
  process.signal.number.store(chosen);
  return {};
}

PROF_DETAIL_END

#endif  // PROF_PROCESS_SAMPLING_SIGNAL_HPP
