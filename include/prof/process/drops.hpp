// prof/process/drops.hpp - why something was not recorded: one row for each cause, with its text.
// Floor 7 (process). Counted by whoever loses something; shown in status() and in the profiles' comments.
// Safety: data only.
// Memory: none.
// Source: design invariant "nothing is lost silently".
#ifndef PROF_PROCESS_DROPS_HPP
#define PROF_PROCESS_DROPS_HPP

#include "prof/code/modules.hpp"

PROF_DETAIL_BEGIN

// X(cause, text), in the order of status().
#define PROF_DETAIL_DROPS(X)                                                                                        \
  X(stack_table_full, "stacks lost: the stack table is full or has no memory")                                      \
  X(count_table_full, "samples under [stack table full]: the count table is full or has no memory")                 \
  X(live_table_full, "objects not tracked until freed: the live table is full or has no memory")                    \
  X(no_frame_buffer, "stacks lost: more than 64 captures at once, or no memory for their frames")                   \
  X(no_memory, "pieces of tables that the system did not give: raise the memory or locked memory limit")            \
  X(thread_table_full, "threads not sampled: the thread table is full or has no memory")                            \
  X(thread_states_full, "labels and scopes of own code lost: the table of thread states is full")                   \
  X(waits_full, "waits not seen: more than 24,000 threads wait, or there is no memory")                               \
  X(contended_locks_full, "waits for locks charged to nobody: more than 12,000 locks are contended, or no memory")   \
  X(made_threads_full, "threads whose maker is not known: more than 24,000 are not joined, or there is no memory")    \
  X(timer_failed, "threads not sampled: no timer (RLIMIT_SIGPENDING)")                                              \
  X(threads_unlisted, "CPU profiles without the threads that existed before: /proc/self/task cannot be read")       \
  X(start_records_full, "threads started unwrapped: more than 256 starts at once")                                  \
  X(foreign_signal, "signals that were not from our timers")                                                        \
  X(late_signal, "ticks that arrived after the end")                                                                \
  X(code_map_busy, "refreshes of the code map put off: old maps are still in use")                                  \
  X(ranges_full, "profiles with nameless code: more than 3072 code segments, or 1024 of no ELF file, were loaded")  \
  X(tables_full, "modules walked without a table, which is slower: 12 MiB of tables are built")                     \
  X(code_map_unread,                                                                                                \
    "refreshes of the code map failed, new code has no names: /proc/self/maps cannot be read (is /proc mounted?)")

enum class drop : unsigned {
#define PROF_DETAIL_DROP(cause, text) cause,
  PROF_DETAIL_DROPS(PROF_DETAIL_DROP)
#undef PROF_DETAIL_DROP
      count_
};
inline constexpr unsigned drop_count = static_cast<unsigned>(drop::count_);

inline constexpr const char* drop_texts[drop_count] = {
#define PROF_DETAIL_DROP(cause, text) text,
    PROF_DETAIL_DROPS(PROF_DETAIL_DROP)
#undef PROF_DETAIL_DROP
};
static_assert(max_ranges == 3072 && max_other_ranges == 1024 && max_table_bytes >> 20 == 12,
              "the texts say how many");

PROF_DETAIL_END

#endif  // PROF_PROCESS_DROPS_HPP
