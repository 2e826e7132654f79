// prof/sample/threads.hpp - which threads there are, where each of them is now, who made them.
// Floor 8 (sample). Asked by part/threads_part.hpp; told of threads by the hooks of hook/thread.hpp and hook/join.hpp.
// Safety: answer_sig is the signal handler's body: no lock, no allocation, no libc. What asks is for ordinary context, any
//         thread, any number at once; it waits for nobody longer than a deadline.
// Memory: 32 bytes per question under way, 48 per thread that was made and is not joined; tables that grow by pieces.
// Source: Go's goroutine profile stops the world for it; here each thread is asked by a signal (rt_tgsigqueueinfo(2)) and
//         answers by itself. signal(7): who blocks the signal, sleeps uninterruptibly or is stopped does not answer.
#ifndef PROF_SAMPLE_THREADS_HPP
#define PROF_SAMPLE_THREADS_HPP

#include "prof/process/attach.hpp"
#include "prof/process/capture.hpp"
#include "prof/process/profile_builder.hpp"

PROF_DETAIL_BEGIN

// A thread's stack that somebody asks for. A late answer finds another generation here, and is dropped.
struct question {
  table_key key;  // thread id + thread_key_base
  std::atomic<std::uint32_t> state;  // generation << 2 | question_step
  std::atomic<stack_id> stack;
  std::atomic<label_set_id> labels;
};
enum question_step : std::uint32_t { nobody_asks, is_asked, is_answering, is_answered };

// A thread that was made through the hook, by its pthread_t, until it is joined or has ended detached.
struct made_thread {
  table_key key;
  std::atomic<std::uint64_t> number;  // of thread_start: tells threads with one pthread_t apart
  std::atomic<std::uint32_t> thread;  // 0: it does not run yet
  std::atomic<std::uint32_t> creator;
  std::atomic<stack_id> stack;
  std::atomic<label_set_id> labels;
  std::atomic<bool> is_joinable;
  std::atomic<bool> is_joining;  // somebody is in a join of it
  std::atomic<bool> is_own;
};

struct threads_state {
  static constexpr std::size_t first_level = 64;
  static constexpr unsigned levels = 9;  // 32,704 of each

  add_remove_table<question> questions;
  add_remove_table<made_thread> made;
  spin_lock made_lock;  // ordinary context: threads that begin, are joined or detached; a pthread_t is used again at once
  std::atomic<std::uint32_t> generation;
  std::atomic<std::uint64_t> created;  // threads in all
  std::atomic<std::size_t> next_look;
  std::atomic<std::uint64_t> asked;
  std::atomic<std::uint64_t> answered;
  char deadlock[256];  // what was reported last
};
inline constexpr std::uint32_t threads_layout =
    layout_of({sizeof(threads_state), offsetof(threads_state, made), sizeof(question), sizeof(made_thread)});

PROF_DETAIL_COLD inline threads_state* make_threads(process_state& process) PROF_DETAIL_SIG {
  void* const pages = process.memory.take_sig(sizeof(threads_state));
  if (pages == nullptr) return nullptr;
  auto* const threads = new (pages) threads_state{};
  threads->questions.bind(process.memory, threads_state::first_level, threads_state::levels);
  threads->made.bind(process.memory, threads_state::first_level, threads_state::levels);
  return threads;
}
inline threads_state* attached_threads_sig(const process_state& process) PROF_DETAIL_SIG {
  return state_of_sig<threads_state>(process, part::threads);
}
inline threads_state* threads_of(process_state& process) noexcept {
  return part_state_sig<threads_state>(process, part::threads, &make_threads, [](process_state& to, threads_state* spare) {
    to.memory.give_back_sig(spare, sizeof(threads_state));
  });
}

// ---- the handler -----------------------------------------------------------------------------------------------------

inline constexpr std::uint64_t question_mark = std::uint64_t{0x7072} << 48;  // "pr"
inline std::uint64_t token_of(std::size_t index, std::uint32_t generation) PROF_DETAIL_SIG {
  return question_mark | std::uint64_t{generation & 0xffffffu} << 24 | index;
}
inline std::uint32_t state_of_question(std::uint32_t generation, question_step step) PROF_DETAIL_SIG {
  return (generation & 0xffffffu) << 2 | step;
}

inline void answer_sig(process_state& process, std::uint64_t token, const registers& regs) PROF_DETAIL_SIG {
  threads_state* const threads = attached_threads_sig(process);
  if (threads == nullptr || token >> 48 != question_mark >> 48) return;
  const std::size_t index = token & 0xffffffu;
  const auto generation = static_cast<std::uint32_t>(token >> 24 & 0xffffffu);
  auto* const there =
      index < threads->questions.span() ? static_cast<question*>(threads->questions.find_place_sig(index)) : nullptr;
  std::uint32_t expected = state_of_question(generation, is_asked);
  if (there == nullptr ||
      !there->state.compare_exchange_strong(expected, state_of_question(generation, is_answering))) {
    return;  // too late, or a second signal of one question
  }
  const std::uint32_t thread = os_thread_id_sig();
  there->stack.store(capture_stack_sig(process, thread, regs, false), std::memory_order_relaxed);
  there->labels.store(labels_of_sig(process, thread), std::memory_order_relaxed);
  expected = state_of_question(generation, is_answering);
  if (there->state.compare_exchange_strong(expected, state_of_question(generation, is_answered))) return;
  threads->questions.remove_sig(index);  // whoever asked has gone meanwhile
}

// ---- threads that come and go -----------------------------------------------------------------------------------------

inline void fill_made_sig(made_thread& slot, const thread_start& start) PROF_DETAIL_SIG {
  slot.thread.store(0, std::memory_order_relaxed);
  slot.number.store(start.number, std::memory_order_relaxed);
  slot.creator.store(start.creator, std::memory_order_relaxed);
  slot.stack.store(start.stack, std::memory_order_relaxed);
  slot.labels.store(start.labels, std::memory_order_relaxed);
  slot.is_joinable.store(start.is_joinable, std::memory_order_relaxed);
  slot.is_joining.store(false, std::memory_order_relaxed);
  slot.is_own.store(start.is_own, std::memory_order_relaxed);
}

// Of some old ones those that have ended detached go; one that has ended and was not joined stays.
inline void forget_ended_detached_sig(threads_state& threads) PROF_DETAIL_SIG {
  const std::uint32_t process_id = os_process_id_sig();
  const std::size_t span = threads.made.span();
  for (int looks = 0; looks < 4; ++looks) {
    const std::size_t index = threads.next_look.fetch_add(1, std::memory_order_relaxed) % span;
    if (threads.made.find_place_sig(index) == nullptr) continue;
    const made_thread& slot = threads.made.at(index);
    const std::uint64_t key = slot.key.load(std::memory_order_acquire);
    const std::uint32_t thread = slot.thread.load(std::memory_order_relaxed);
    if (key <= add_remove_keys::claimed || thread == 0 || slot.is_joinable.load(std::memory_order_relaxed)) continue;
    if (os_thread_has_ended_sig(process_id, thread)) threads.made.remove_key_sig(index, key);
  }
}

// The record of a pthread_t, made where there is none. Caller holds made_lock.
inline made_thread* record_of_handle(process_state& process, threads_state& threads,
                                     const thread_start& start) noexcept {
  std::size_t index = threads.made.find_sig(start.handle);
  if (index != no_slot) return &threads.made.at(index);
  forget_ended_detached_sig(threads);
  index = threads.made.claim_sig(start.handle);
  if (index == no_slot) {
    count_drop_sig(process, drop::made_threads_full);
    return nullptr;
  }
  fill_made_sig(threads.made.at(index), start);
  threads.made.publish_sig(index, start.handle);
  return &threads.made.at(index);
}
// By the thread itself. Whoever made it may have detached it before it runs.
inline void note_running(process_state& process, threads_state& threads, const thread_start& start) noexcept {
  const spin_guard lock(threads.made_lock);
  made_thread* const record = record_of_handle(process, threads, start);
  if (record == nullptr) return;
  const bool was_detached = record->number.load() == 0 && !record->is_joinable.load();
  if (record->number.load() != start.number) fill_made_sig(*record, start);
  if (was_detached) record->is_joinable.store(false);
  record->thread.store(os_thread_id_sig());
}
// What tells a thread that is to be joined from later ones with its pthread_t: its number. Where it does not run yet there
// is no record of it, or an earlier one's, which was detached or is being joined: then that it is none behind the last
// that was made by now.
inline constexpr std::uint64_t number_at_most = std::uint64_t{1} << 63;
inline std::uint64_t begin_join(threads_state& threads, std::uintptr_t handle) noexcept {
  const spin_guard lock(threads.made_lock);
  const std::size_t index = threads.made.find_sig(handle);
  const bool has_own_record = index != no_slot && threads.made.at(index).is_joinable.load() &&
                              !threads.made.at(index).is_joining.exchange(true);
  return has_own_record ? threads.made.at(index).number.load() : number_at_most | threads.created.load();
}
// A join that has failed leaves the thread as it was.
inline void end_join(threads_state& threads, std::uintptr_t handle, std::uint64_t known, bool is_joined) noexcept {
  const spin_guard lock(threads.made_lock);
  const std::size_t index = threads.made.find_sig(handle);
  if (index == no_slot) return;
  const std::uint64_t number = threads.made.at(index).number.load();
  const bool is_exact = (known & number_at_most) == 0;
  if (!is_joined) {
    if (is_exact && number == known) threads.made.at(index).is_joining.store(false);
    return;
  }
  if (is_exact ? number == known : number <= (known & ~number_at_most)) threads.made.remove_key_sig(index, handle);
}
// A thread that is not known does not run yet: its record waits for it.
inline void note_detached(process_state& process, threads_state& threads, std::uintptr_t handle) noexcept {
  const spin_guard lock(threads.made_lock);
  thread_start unknown;
  unknown.handle = handle;
  unknown.is_joinable = false;
  made_thread* const record = record_of_handle(process, threads, unknown);
  if (record == nullptr) return;
  const bool was_joinable = record->is_joinable.exchange(false);
  const std::uint32_t thread = record->thread.load();
  if (thread == 0 || !os_thread_has_ended_sig(os_process_id_sig(), thread)) return;
  // The pthread_t was a detached thread's that has ended since; a later one has it that does not run yet.
  if (!was_joinable) return fill_made_sig(*record, unknown);
  const std::size_t index = threads.made.find_sig(handle);
  if (index != no_slot) threads.made.remove_key_sig(index, handle);
}

// ---- asking -----------------------------------------------------------------------------------------------------------

// Why a thread has no stack in an answer.
enum class silence : std::uint32_t { none, ended, blocks_signal, awaits_signal, uninterruptible, stopped, late, no_room };
inline text_view silence_text(silence why) noexcept {
  switch (why) {
    case silence::ended: return "it has just ended";
    case silence::blocks_signal: return "it blocks the signal";
    case silence::awaits_signal: return "it waits for signals itself";
    case silence::uninterruptible: return "it sleeps uninterruptibly";
    case silence::stopped: return "it is stopped";
    case silence::late: return "it did not answer in time";
    case silence::no_room: return "too many threads are asked";
    default: return "";
  }
}

struct asked_thread {
  std::uint32_t thread = 0;
  std::uint32_t generation = 0;
  std::size_t index = no_slot;  // of its question while that is open
  silence why = silence::none;
  bool may_unblock = false;  // it blocks the signal, perhaps for the time of a handler only
  stack_id stack = overflow_stack;
  label_set_id labels = no_labels;
};

inline constexpr std::uint64_t answers_deadline_ns = 1000000000;
inline constexpr std::uint64_t ask_again_ns = 20000000;
inline constexpr std::uint64_t handler_ns = 20000000;  // what a handler may take on a busy machine
inline constexpr std::uint64_t patience_ns = 100000000;  // with threads of which it is known why they are silent

// One dump: lists the threads, asks all at once, gathers what they answer.
class thread_survey {
 public:
  thread_survey(process_state& process, threads_state& threads, arena& memory) noexcept
      : process_(process), state_(threads), threads_(memory) {}

  // `self`: the calling thread's registers, of whoever called prof. False: the threads cannot be listed.
  bool run(const registers& self) noexcept {
    first_code_map_sig(process_);
    const bool listed = os_for_each_thread(
        [](void* context, std::uint32_t thread) {
          asked_thread known;
          known.thread = thread;
          static_cast<thread_survey*>(context)->threads_.push(known);
        },
        this);
    const std::uint32_t this_thread = os_thread_id_sig();
    for (asked_thread& asked : threads_) {
      if (asked.thread == this_thread) look_at_self(asked, self);
      else ask_first(asked);
    }
    gather();
    return listed;
  }

  const arena_vector<asked_thread>& threads() const noexcept { return threads_; }

 private:
  void look_at_self(asked_thread& asked, const registers& self) noexcept {
    asked.stack = capture_stack_sig(process_, asked.thread, self, true);
    asked.labels = labels_of_sig(process_, asked.thread);
  }

  // A signal that its thread blocks would stay there for it: for its own sigwait or signalfd, and for the program that it
  // executes next, which has no handler.
  silence why_not_to_ask(std::uint32_t thread) const noexcept {
    const int number = process_.signal.number.load();
    if (os_signal_awaited(thread, number)) return silence::awaits_signal;
    return os_signal_blocked(thread, number) ? silence::blocks_signal : silence::none;
  }
  void ask_first(asked_thread& asked) noexcept {
    asked.why = why_not_to_ask(asked.thread);
    asked.may_unblock = asked.why == silence::blocks_signal;
    if (asked.why != silence::none) return;
    asked.generation = state_.generation.fetch_add(1, std::memory_order_relaxed);
    asked.index = state_.questions.claim_sig(thread_key_base + asked.thread);
    if (asked.index == no_slot) {
      asked.why = silence::no_room;
      return;
    }
    state_.asked.fetch_add(1, std::memory_order_relaxed);
    state_.questions.at(asked.index).state.store(state_of_question(asked.generation, is_asked), std::memory_order_release);
    state_.questions.publish_sig(asked.index, thread_key_base + asked.thread);
    send(asked);
  }
  // Handlers, of other surveys and of CPU profiles, run with all signals blocked. They do not sleep, so who does blocks the
  // signal for reasons of its own; the second look is for one that was in a handler at the first and sleeps since.
  void ask_who_blocked(asked_thread& asked) noexcept {
    for (int looks = 0; looks < 2; ++looks) {
      ask_first(asked);
      if (!asked.may_unblock) return;
      const char state = os_thread_state(asked.thread);
      if (state == 'R' || state == 'D') return;
    }
    asked.may_unblock = false;
  }
  void send(asked_thread& asked) noexcept {
    const int failed =
        os_ask_thread_sig(asked.thread, process_.signal.number.load(), token_of(asked.index, asked.generation));
    asked.why = failed == os_no_such_thread ? silence::ended : silence::late;
  }

  // Takes an answer, if it is there.
  void take(asked_thread& asked) noexcept {
    question& there = state_.questions.at(asked.index);
    if ((there.state.load(std::memory_order_acquire) & 3) != is_answered) return;
    asked.stack = there.stack.load(std::memory_order_relaxed);
    asked.labels = there.labels.load(std::memory_order_relaxed);
    asked.why = silence::none;
    state_.answered.fetch_add(1, std::memory_order_relaxed);
    close(asked);
  }
  void close(asked_thread& asked) noexcept {
    state_.questions.remove_sig(asked.index);
    asked.index = no_slot;
  }

  // Whether it is known why a thread does not answer.
  bool is_explained(asked_thread& asked) noexcept {
    const char state = os_thread_state(asked.thread);
    if (state == '\0' || state == 'Z' || state == 'X') asked.why = silence::ended;
    else if (state == 'D') asked.why = silence::uninterruptible;
    else if (state == 'T' || state == 't') asked.why = silence::stopped;
    else if (os_signal_blocked(asked.thread, process_.signal.number.load())) asked.why = silence::blocks_signal;
    else asked.why = silence::late;
    return asked.why != silence::late;
  }

  // How many are still open after a look at all.
  std::size_t take_all() noexcept {
    std::size_t open = 0;
    for (asked_thread& asked : threads_) {
      if (asked.index != no_slot) take(asked);
      if (asked.index != no_slot && asked.why == silence::ended) give_up(asked);
      open += asked.index != no_slot || asked.may_unblock;
    }
    return open;
  }
  void ask_who_blocked(bool is_early) noexcept {
    for (asked_thread& asked : threads_) {
      if (asked.may_unblock && is_early) ask_who_blocked(asked);
      asked.may_unblock &= is_early;
    }
  }
  std::size_t unexplained() noexcept {
    std::size_t count = 0;
    for (asked_thread& asked : threads_) count += asked.index != no_slot && !is_explained(asked);
    return count;
  }

  void gather() noexcept {
    const std::uint64_t began = os_monotonic_ns_sig();
    std::uint64_t again = began + ask_again_ns;
    std::uint64_t now = began;
    while (take_all() != 0 && now - began < answers_deadline_ns) {
      os_sleep_ns(500000);
      now = os_monotonic_ns_sig();
      ask_who_blocked(now - began < handler_ns);
      if (now < again) continue;
      again = now + ask_again_ns;
      if (unexplained() == 0 && now - began >= patience_ns) break;
      for (asked_thread& asked : threads_) {
        if (asked.index != no_slot && asked.why == silence::late) send(asked);
      }
    }
    for (asked_thread& asked : threads_) {
      if (asked.index == no_slot) continue;
      take(asked);
      if (asked.index == no_slot) continue;
      (void)is_explained(asked);
      give_up(asked);
    }
  }

  // The question is taken back; one that is being answered now is left to the answering thread.
  void give_up(asked_thread& asked) noexcept {
    std::atomic<std::uint32_t>& state = state_.questions.at(asked.index).state;
    std::uint32_t expected = state_of_question(asked.generation, is_asked);
    const std::uint32_t closed = state_of_question(asked.generation, nobody_asks);
    if (state.compare_exchange_strong(expected, closed)) return close(asked);
    if (expected == state_of_question(asked.generation, is_answering) && state.compare_exchange_strong(expected, closed)) {
      asked.index = no_slot;
      return;
    }
    take(asked);
  }

  process_state& process_;
  threads_state& state_;
  arena_vector<asked_thread> threads_;
};

inline void forget_parent_threads(threads_state& threads) noexcept {
  threads.made_lock.unlock();
  threads.questions.for_each_sig([&](std::size_t index, question& slot) {
    if (slot.key.load() <= add_remove_keys::claimed) return;
    slot.state.store(nobody_asks);
    threads.questions.remove_sig(index);
  });
  // The one thread that is left has another id now.
  const std::uintptr_t self = os_thread_pointer_sig();
  threads.made.for_each_sig([&](std::size_t index, made_thread& slot) {
    const std::uint64_t key = slot.key.load();
    if (key <= add_remove_keys::claimed) return;
    if (key == self) slot.thread.store(os_thread_id_sig());
    else threads.made.remove_sig(index);
  });
}

// ---- who made whom ------------------------------------------------------------------------------------------------

// The threads that were made, as they are known at one moment.
struct known_maker {
  std::uint32_t thread = 0;
  thread_start start;
};
class known_makers {
 public:
  explicit known_makers(arena& memory) noexcept : all_(memory) {}
  void read(threads_state& threads) noexcept {
    threads.made.for_each_sig([&](std::size_t, made_thread& slot) {
      known_maker known;
      known.start.handle = slot.key.load(std::memory_order_acquire);
      if (known.start.handle <= add_remove_keys::claimed) return;
      known.thread = slot.thread.load();
      known.start.number = slot.number.load();
      known.start.stack = slot.stack.load();
      known.start.labels = slot.labels.load();
      known.start.creator = slot.creator.load();
      known.start.is_joinable = slot.is_joinable.load();
      known.start.is_own = slot.is_own.load();
      all_.push(known);
    });
    heap_sort(all_.data(), all_.size(), [](const known_maker& a, const known_maker& b) {
      return a.thread != b.thread ? a.thread < b.thread : a.start.number < b.start.number;
    });
  }
  // Of several threads with one id the last, which is the one that lives; null: it was not seen.
  const known_maker* find(std::uint32_t thread) const noexcept {
    std::size_t from = 0;
    for (std::size_t end = all_.size(); from < end;) {
      const std::size_t middle = from + (end - from) / 2;
      if (all_[middle].thread <= thread) from = middle + 1;
      else end = middle;
    }
    return from != 0 && all_[from - 1].thread == thread ? &all_[from - 1] : nullptr;
  }
  // Calls visit(known) for those that have ended and nobody has joined.
  template <class Visit>
  void for_each_leaked(Visit visit) const noexcept {
    const std::uint32_t process_id = os_process_id_sig();
    for (const known_maker& known : all_) {
      if (!known.start.is_joinable || known.thread == 0) continue;
      if (find(known.thread) != &known || os_thread_has_ended_sig(process_id, known.thread)) visit(known);
    }
  }

 private:
  arena_vector<known_maker> all_;
};

PROF_DETAIL_END

#endif  // PROF_SAMPLE_THREADS_HPP
