"""Mutants of what all parts share: each takes one remedy out of a header, and a unit test must fail then."""

from typing import List

from mutation.unwinder import Mutant

ATTACH = "process/attach.hpp"
ATTACHED = "process/attach_test.cpp"
ANCHORS = "process/anchor_test.cpp"

MUTANTS: List[Mutant] = [
    # ---- many objects, one process state
    Mutant("a state of another layout is adopted", ATTACH,
           "if (copy.magic != process_magic || copy.layout != layout_version) return nullptr;",
           "if (copy.magic != process_magic) return nullptr;", ATTACHED),
    Mutant("an anchor of another layout is an arbiter", ATTACH,
           "if (!os_copy_sig(&copy, note.symbol, sizeof copy) || copy.layout != layout_version) return;",
           "if (!os_copy_sig(&copy, note.symbol, sizeof copy)) return;", ATTACHED),
    Mutant("parts of another layout are shared", ATTACH, "return parts_fit_sig(*process) ? process : nullptr;",
           "return process;", ATTACHED),
    # ---- the public API beside another object's
    Mutant("a table that is too short is called", "collect/api_table.hpp",
           "  if (table->size < sizeof(api_table)) return true;\n", "", "collect/api_table_test.cpp"),
    # ---- sessions
    Mutant("a session counts the running timers' periods", "sample/cpu.hpp",
           "const std::uint64_t period_ns = 1000000000u / hz;\n",
           "const std::uint64_t period_ns = 1000000u + 0 * hz;\n", "sample/cpu_test.cpp"),
    Mutant("what is left of a period is lost", "sample/cpu.hpp", "    rest_ns %= period_ns;\n", "    rest_ns = 0;\n",
           "sample/cpu_test.cpp"),
    Mutant("a profile is not named by a map from behind its counts", "collect/collection.hpp",
           "    refresh_code_map(process_, request_.seconds == 0 ? tables_made::next_time : tables_made::now);\n", "",
           "collect/collection_test.cpp"),
    # ---- threads of the server, and of the program
    Mutant("a worker is free when its work is known to be done", "http/workers.hpp",
           "      state_.fetch_and(~has_work, std::memory_order_release);\n      work.done(work.of);\n      os_raise_event(event_);\n",
           "      work.done(work.of);\n      os_raise_event(event_);\n      os_sleep_ns(100000);\n"
           "      state_.fetch_and(~has_work, std::memory_order_release);\n", "http/workers_test.cpp"),
    Mutant("work that is done wakes nobody", "http/workers.hpp", "      work.done(work.of);\n      os_raise_event(event_);\n",
           "      work.done(work.of);\n", "http/workers_test.cpp"),
    Mutant("steps of jobs run on the server's loop", "http/server.hpp",
           "if (connection.is_due() && hand_over(connection)) connection.set_working();",
           "if (connection.is_due()) { connection.set_working(); connection.work(); connection.set_worked(); os_raise_event(event_); }",
           "http/server_test.cpp"),
    Mutant("what a worker left for later is not canceled", "http/connection.hpp",
           "    if (has_worked() && job_.deadline_ns != 0) phase_ = phase::waiting;\n", "", "http/connection_test.cpp"),
    Mutant("who is in a handler is not asked again", "sample/threads.hpp", "      ask_who_blocked(now - began < handler_ns);\n",
           "      ask_who_blocked(false);\n", "sample/threads_test.cpp"),
    # ---- code that is loaded while a profile runs
    Mutant("the server looks for new code never", "http/server.hpp",
           "    if (has_jobs() && setting_.routes.meanwhile != nullptr) setting_.routes.meanwhile(setting_.routes.context);\n",
           "", "http/server_test.cpp"),
    Mutant("a public call looks for new code never", "collect/enter.hpp", "  refresh_outdated_code_map(*process);\n", "",
           "collect/enter_test.cpp"),
    Mutant("a new thread looks for new code never", "part/cpu_part.hpp", "  refresh_outdated_code_map(process);\n", "",
           "hook/thread_test.cpp"),
    # ---- memory
    Mutant("what the system refuses is not counted", "process/process.hpp",
           "  const bool is_memory = cause == static_cast<unsigned>(drop::no_memory);\n",
           "  const bool is_memory = false;\n", "process/process_test.cpp"),
    Mutant("who is refused by the system uses room up", "base/table_memory.hpp",
           "      if (last < capacity && piece_at_sig(pieces_[last / PieceBytes], *memory_, PieceBytes) == nullptr) return false;\n",
           "", "base/table_memory_test.cpp"),
    Mutant("what fits no piece uses room up", "base/table_memory.hpp", "    if (size > PieceBytes) return false;\n", "",
           "base/table_memory_test.cpp"),
    Mutant("a registry that was refused memory is full for ever", "code/code_range.hpp",
           "    if (added == nullptr) return nullptr;\n    if (!list_sig(*added)) {", "    if (added == nullptr || !list_sig(*added)) {",
           "code/code_range_test.cpp"),
]
