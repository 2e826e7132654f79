// prof/part/threads_part.hpp - the threads part: the profiles threads (alias goroutine) and threadcreate; its descriptor.
// Floor 10 (part). Included by prof.hpp where PROF_ENABLE_THREADS is on.
// Safety: ordinary context, any thread; thread_* functions run in the host's threads, which begin or end.
// Memory: none of its own; surveys live in the collection's arena.
// Source: Go's runtime/pprof: goroutine with its three texts, threadcreate.
#ifndef PROF_PART_THREADS_PART_HPP
#define PROF_PART_THREADS_PART_HPP

#include "prof/process/sampling_signal.hpp"
#include "prof/process/thread_waits.hpp"
#include "prof/sample/threads.hpp"
#include "prof/write/text.hpp"
#include "prof/write/threads_text.hpp"

PROF_DETAIL_BEGIN

// The threads, and who made them, at one moment.
struct threads_snapshot {
  threads_snapshot(process_state& process, threads_state& state, arena& memory) noexcept
      : survey(process, state, memory), makers(memory) {}
  thread_survey survey;
  known_makers makers;
};
struct threads_run {
  threads_run(process_state& process, threads_state& state, arena& memory) noexcept
      : threads(state), base(process, state, memory), now(process, state, memory), waits(memory) {}
  threads_state& threads;
  threads_snapshot base;  // of a difference over some seconds
  threads_snapshot now;
  thread_waits waits;
};

inline bool is_threadcreate(const profile_run& run) noexcept { return run.row.name.equals("threadcreate"); }

// The stack of the thread that asks begins at the host's call; where code of ours asks, here.
PROF_DETAIL_NOINLINE inline void look_at_threads(const profile_run& run, threads_state& threads,
                                                 threads_snapshot& snapshot) noexcept {
  (void)snapshot.survey.run(run.asker != nullptr ? *run.asker : caller_registers_sig(PROF_DETAIL_CALL_FRAME()));
  snapshot.makers.read(threads);
}

inline result begin_threads(profile_run& run) {
  threads_state* const threads = threads_of(run.process);
  if (threads == nullptr) return result(error::out_of_memory, "the threads profile's tables");
  if (run.request.min_wait != 0 && run.request.seconds != 0) {
    return result(error::bad_argument, "min_wait and seconds do not go together");
  }
  if (result ready = prepare_signal(run.process, "asking threads for their stacks"); !ready) return ready;
  run.process.signal.asked.store(&answer_sig, std::memory_order_release);
  auto& made = *new (run.state) threads_run(run.process, *threads, run.memory);
  if (run.request.seconds != 0) look_at_threads(run, *threads, made.base);
  return {};
}
inline result end_threads(profile_run& run) {
  auto& found = *static_cast<threads_run*>(run.state);
  look_at_threads(run, found.threads, found.now);
  const arena_vector<asked_thread>& all = found.now.survey.threads();
  if (run.request.debug >= 2 || run.request.min_wait != 0) {
    found.waits.look(run.process, all.size(), [&all](std::size_t i) { return all[i].thread; });
  }
  return {};
}

// ---- what each profile says of a thread ----------------------------------------------------------------------------

// The text of debug=2 needs more of each thread than the model has: it comes as labels, whose keys begin with a dot.
inline std::size_t describe_thread(profile& p, const asked_thread& asked, const thread_wait* wait,
                                   profile_label* labels) noexcept {
  std::size_t count = 0;
  os_thread_facts facts;
  os_describe_thread(asked.thread, facts);
  const auto text = [&](text_view key, text_view value) {
    if (value.size != 0) labels[count++] = {p.string(key), p.string(value), 0, 0};
  };
  const auto number = [&](text_view key, std::uint64_t value) {
    if (value != 0) labels[count++] = {p.string(key), 0, static_cast<std::int64_t>(value), 0};
  };
  number(".thread", asked.thread);
  text(".name", facts.name);
  const char state[2] = {facts.state, '\0'};
  text(".state", state);
  text(".channel", facts.wait_channel);
  number(".cpu", facts.cpu_ns);
  text(".why", silence_text(asked.why));
  if (wait == nullptr || !wait->waits) return count;
  text(".wait", wait_word(static_cast<std::uint64_t>(wait->kind)));
  number(is_at_descriptor(wait->kind) ? text_view(".descriptor") : text_view(".object"), wait->object);
  const std::uint64_t now = os_monotonic_ns_sig();
  if (wait->began_ns != 0 && now > wait->began_ns) number(".waited", now - wait->began_ns);
  number(".owner", wait->owner);
  number(".circle", wait->circle);
  return count;
}

// What is asked for beside the stacks: everything of each thread, or only those that have waited so long.
struct survey_view {
  const thread_waits* waits = nullptr;
  bool is_full = false;
  std::uint64_t least_wait_ns = 0;
  bool is_difference = false;  // where the calling thread, which is at prof's own work both times, does not count
};
inline void add_survey(profile& p, profile_builder& build, const thread_survey& survey, std::int64_t sign,
                       const survey_view& view) noexcept {
  const std::uint64_t now = os_monotonic_ns_sig();
  for (const asked_thread& asked : survey.threads()) {
    if (asked.why == silence::ended || (view.is_difference && asked.thread == os_thread_id_sig())) continue;
    const thread_wait* const wait = view.waits != nullptr ? view.waits->find(asked.thread) : nullptr;
    const std::uint64_t began = wait != nullptr && wait->began_ns != 0 && wait->began_ns < now ? wait->began_ns : now;
    if (now - began < view.least_wait_ns) continue;
    profile_label labels[profile_builder::max_extra_labels];
    const std::size_t count = view.is_full ? describe_thread(p, asked, wait, labels) : 0;
    build.add_or_say(asked.stack, asked.labels, sign, asked.why == silence::none ? "" : "[no answer]", labels, count);
  }
}

// The stacks that made the threads, for debug=2: of no count.
inline void add_makers(profile& p, profile_builder& build, const threads_snapshot& found) noexcept {
  for (const asked_thread& asked : found.survey.threads()) {
    const known_maker* const known = found.makers.find(asked.thread);
    if (known == nullptr) continue;
    const profile_label labels[2] = {{p.string(".made"), 0, static_cast<std::int64_t>(asked.thread), 0},
                                     {p.string(".creator"), 0, static_cast<std::int64_t>(known->start.creator), 0}};
    build.add_or_say(known->start.stack, no_labels, 0, "", labels, 2);
  }
}

inline void add_created(profile_builder& build, const threads_snapshot& found, std::int64_t sign) noexcept {
  for (const asked_thread& asked : found.survey.threads()) {
    const known_maker* const known = found.makers.find(asked.thread);
    if (asked.why == silence::ended) continue;
    const bool is_main = asked.thread == os_process_id_sig();
    const text_view unknown = is_main ? "[main thread]" : "[not seen when made]";
    if (known != nullptr) build.add_or_say(known->start.stack, known->start.labels, sign, "", nullptr, 0);
    else build.add_or_say(overflow_stack, no_labels, sign, unknown, nullptr, 0);
  }
}
inline void fill_threadcreate(profile_builder& build, const profile_run& run, const threads_run& found) noexcept {
  if (run.request.leak) {
    found.now.makers.for_each_leaked([&](const known_maker& known) {
      build.add_or_say(known.start.stack, known.start.labels, 1, "", nullptr, 0);
    });
    return;
  }
  add_created(build, found.now, 1);
  if (run.request.seconds != 0) add_created(build, found.base, -1);
}

inline void fill_threads(profile& p, profile_run& run) {
  auto& found = *static_cast<threads_run*>(run.state);
  p.add_value_type(run.row.name, "count");
  p.period_type = {p.string(run.row.name), p.string("count")};
  p.period = 1;
  profile_builder build(p, run.process);
  if (is_threadcreate(run)) {
    fill_threadcreate(build, run, found);
  } else {
    survey_view view;
    view.waits = &found.waits;
    view.is_full = run.request.debug >= 2;
    view.least_wait_ns = std::uint64_t{run.request.min_wait} * 1000000000u;
    view.is_difference = run.request.seconds != 0;
    add_survey(p, build, found.now.survey, 1, view);
    if (run.request.seconds != 0) add_survey(p, build, found.base.survey, -1, {nullptr, false, 0, true});
    if (view.is_full) add_makers(p, build, found.now);
  }
  build.add_stack_comments();
  bounded_text<160> line;
  p.add_comment(line.decimal(found.threads.created.load()).put(" threads were created in all").view());
  if (run.request.min_wait != 0) p.add_comment("waits that began while no profile of waits was on are not known, and not here");
}

inline void visit_threads_rows(process_state&, visitor<profile_row> visit) {
  static constexpr profile_row rows[] = {
      {{"goroutine", 9}, {"Stack traces of all current threads, under the name that tools for Go ask for", 77}, 0, {},
       {"goroutine-delta", 15}, &write_count_text, nullptr, nullptr, {}, &write_goroutine_dump},
      {{"threadcreate", 12}, {"Stack traces that led to the creation of the threads there are", 62}, 0, {},
       {"threadcreate-delta", 18}, &write_count_text},
      {{"threads", 7}, {"Stack traces of all current threads", 35}, 0, {}, {"threads-delta", 13}, &write_count_text,
       nullptr, nullptr, {}, &write_thread_dump}};
  for (const profile_row& row : rows) visit(row);
}

inline std::uint64_t count_threads(const process_state&) {
  return os_thread_count();
}
// Of circles one: "thread 12 waits for the mutex 0x... of thread 13, thread 13 for ..."; the stacks are in debug=2. The text
// is valid until the next report.
inline void report_deadlocks(const process_state& process, threads_state& threads, visitor<status_value> visit) {
  arena memory(os_pages);
  thread_waits waits(memory);
  arena_vector<std::uint32_t> ids(memory);
  (void)os_for_each_thread(
      [](void* to, std::uint32_t thread) { static_cast<arena_vector<std::uint32_t>*>(to)->push(thread); }, &ids);
  waits.look(process, ids.size(), [&ids](std::size_t i) { return ids[i]; });
  visit({"deadlocks now", waits.circles(), nullptr});
  if (waits.circles() == 0) return;
  bounded_text<sizeof threads.deadlock> text;
  for (const std::uint32_t id : ids) {
    const thread_wait* const wait = waits.find(id);
    if (wait == nullptr || wait->circle != 1) continue;
    text.put(text.view().size != 0 ? ", " : "").put("thread ").decimal(id).put(" waits for the ");
    text.put(wait_word(static_cast<std::uint64_t>(wait->kind))).put(" ").hex(wait->object);
    text.put(" of thread ").decimal(wait->owner);
  }
  std::memcpy(threads.deadlock, text.c_str(), text.view().size + 1);
  visit({"first deadlock (stacks: threads?debug=2)", 0, threads.deadlock});
}
inline void report_threads(const process_state& process, visitor<status_value> visit) {
  threads_state* const threads = attached_threads_sig(process);
  visit({"threads created", threads != nullptr ? threads->created.load() : 0, nullptr});
  visit({"threads asked for their stack", threads != nullptr ? threads->asked.load() : 0, nullptr});
  visit({"threads that answered", threads != nullptr ? threads->answered.load() : 0, nullptr});
  if (threads != nullptr) report_deadlocks(process, *threads, visit);
}
inline void forget_threads_parent(process_state& process, bool) {
  threads_state* const threads = attached_threads_sig(process);
  if (threads != nullptr) forget_parent_threads(*threads);
}

// ---- threads that come and go ------------------------------------------------------------------------------------

inline void note_thread_start(process_state& process, thread_start& start, const host_call& caller) {
  threads_state* const threads = threads_of(process);
  if (threads == nullptr) return;
  first_code_map_sig(process);
  start.number = threads->created.fetch_add(1, std::memory_order_relaxed) + 1;
  start.stack = capture_call_sig(process, start.creator, caller);
  start.labels = labels_of_sig(process, start.creator);
}
inline void note_thread_runs(process_state& process, const thread_start& start) {
  threads_state* const threads = attached_threads_sig(process);
  if (threads != nullptr && start.number != 0) note_running(process, *threads, start);
}
inline std::uint64_t note_join_begins(process_state& process, std::uintptr_t handle) {
  threads_state* const threads = attached_threads_sig(process);
  return threads == nullptr ? 0 : begin_join(*threads, handle);
}
inline void note_join_ends(process_state& process, std::uintptr_t handle, std::uint64_t known, bool is_joined) {
  threads_state* const threads = attached_threads_sig(process);
  if (threads != nullptr) end_join(*threads, handle, known, is_joined);
}
inline void note_thread_detached(process_state& process, std::uintptr_t handle) {
  threads_state* const threads = attached_threads_sig(process);
  if (threads != nullptr) note_detached(process, *threads, handle);
}

extern "C" __attribute__((__weak__, __used__, __visibility__("hidden"))) const profile_part prof_part_threads_v2 = {
    {sizeof(profile_part), threads_layout},
    sizeof(threads_run),
    &visit_threads_rows,
    &begin_threads,
    &end_threads,
    [](profile_run&) {},
    &fill_threads,
    nullptr,
    &count_threads,
    &report_threads,
    &forget_threads_parent,
    nullptr,
    &note_thread_start,
    &note_thread_runs,
    nullptr,
    nullptr,
    &note_join_begins,
    &note_join_ends,
    &note_thread_detached};

PROF_DETAIL_END

#endif  // PROF_PART_THREADS_PART_HPP
