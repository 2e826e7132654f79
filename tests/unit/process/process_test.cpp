// tests/unit/process/process_test.cpp - what is one per process, and how files and objects find it.

#include "prof/process/process.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "own_process.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct seen_file {
  std::string name;
  file_record record;
};

std::vector<seen_file> files_with_prof() {
  std::vector<seen_file> files;
  for_each_file_record_sig({[](void* context, const file_record& record) {
                              static_cast<std::vector<seen_file>*>(context)->push_back(
                                  {record.file, record});
                            },
                            &files});
  return files;
}

}  // namespace

TEST_CASE("a fresh process state has its defaults and empty tables") {
  const own_process own;
  CHECK(own.state->magic == process_magic);
  CHECK(own.state->layout == layout_version);
  CHECK(own.state->version == PROF_VERSION);
  CHECK(own.state->pid.load() == os_process_id_sig());
  CHECK(own.state->depth.load() == default_depth);
  CHECK(own.state->hz.load() == 100);
  CHECK_FALSE(own.state->used.load());
  CHECK(own.state->code.load() == nullptr);
  CHECK(own.state->heap_hooks.load() == nullptr);
  CHECK(own.state->stacks.used() == 0);
  const label_pair label{"a", "b"};
  CHECK(own.state->labels.intern(&label, 1) > overflow_labels);
}

TEST_CASE("one state for all threads and files") {
  process_state* const mine = process_sig();
  REQUIRE(mine != nullptr);
  CHECK(mine->magic == process_magic);
  CHECK(attached_process_sig() == mine);
  CHECK(attach_slow_sig() == mine);
  std::vector<process_state*> others(4);
  std::vector<std::thread> threads;
  for (auto& other : others) threads.emplace_back([&other] { other = attach_slow_sig(); });
  for (auto& thread : threads) thread.join();
  for (process_state* const other : others) CHECK(other == mine);
}

TEST_CASE("this file's record is found, with its version and anchor") {
  const std::vector<seen_file> files = files_with_prof();
  int found = 0;
  int unnamed = 0;  // clang does not know the name in a header that -include brings
  for (const seen_file& file : files) {
    CAPTURE(file.name);
    CHECK(file.record.version == PROF_VERSION);
    CHECK(file.record.anchor == &this_object);
    CHECK_FALSE(file.name.empty());
    unnamed += file.name == "<built-in>" ? 1 : 0;
    found += file.name == __BASE_FILE__ ? 1 : 0;
  }
  CHECK((found == 1 || unnamed > 0));
}

TEST_CASE("only records of prof's own are parsed") {
  unsigned char data[12] = {1, 0, 0, 0, 0x10, 0, 0, 0, 'a', '.', 'c', 0};
  file_record record;
  CHECK(parse_file_record_sig(1, "prof", 0x1000, data, sizeof data, record));
  CHECK(record.version == 1);
  CHECK(reinterpret_cast<std::uintptr_t>(record.anchor) == 0x1000 + 4 + 0x10);
  CHECK(std::string(record.file) == "a.c");
  CHECK_FALSE(parse_file_record_sig(2, "prof", 0x1000, data, sizeof data, record));
  CHECK_FALSE(parse_file_record_sig(1, "proF", 0x1000, data, sizeof data, record));
  CHECK_FALSE(parse_file_record_sig(1, "pro", 0x1000, data, sizeof data, record));
  CHECK_FALSE(parse_file_record_sig(1, "prof", 0x1000, data, 8, record));
  data[4] = 0xf0;
  data[5] = data[6] = data[7] = 0xff;  // anchors may lie before the note
  CHECK(parse_file_record_sig(1, "prof", 0x1000, data, sizeof data, record));
  CHECK(reinterpret_cast<std::uintptr_t>(record.anchor) == 0x1000 + 4 - 0x10);
}

TEST_CASE("other versions and layouts are not joined") {
  const own_process own;
  object_anchor anchor{};
  anchor.process.store(own.state);
  file_record record;
  record.version = PROF_VERSION;
  record.anchor = &anchor;
  anchor_search search;
  see_anchor_sig(&search, record);
  CHECK(search.found == own.state);
  CHECK(search.first == &anchor);

  anchor_search none;
  record.version = PROF_VERSION + 1000;
  see_anchor_sig(&none, record);
  CHECK(none.found == nullptr);
  CHECK(none.first == nullptr);
  record.version = PROF_VERSION;
  own.state->layout = layout_version + 1;
  see_anchor_sig(&none, record);
  CHECK(none.found == nullptr);
  CHECK(none.first == &anchor);
}

TEST_CASE("the first object's hooks count") {
  std::atomic<const hook_part*> owner{nullptr};
  const hook_part first{};
  const hook_part second{};
  CHECK(claim_hooks_sig(owner, &first));
  CHECK(claim_hooks_sig(owner, &first));
  CHECK_FALSE(claim_hooks_sig(owner, &second));
  CHECK(owner.load() == &first);
}

TEST_CASE("drops are counted by cause") {
  const own_process own;
  count_drop_sig(*own.state, drop::late_signal);
  count_drop_sig(*own.state, drop::late_signal, 4);
  CHECK(own.state->drops[static_cast<unsigned>(drop::late_signal)].load() == 5);
  CHECK(own.state->drops[static_cast<unsigned>(drop::timer_failed)].load() == 0);
}

TEST_CASE("code of ours raises the depth of the objects whose hooks count") {
  const own_process own;
  const int before = own_code_depth;
  {
    const own_code_scope scope(*own.state);
    CHECK(own_code_depth == before + 2);  // once for malloc, once for threads
  }
  CHECK(own_code_depth == before);
  static int elsewhere = 0;
  const hook_part other{hook_part_magic, nullptr, 0, nullptr, nullptr,
                        []() noexcept { return &elsewhere; }};
  own.state->heap_hooks.store(&other);
  {
    const own_code_scope scope(*own.state);
    CHECK(elsewhere == 1);
    CHECK(own_code_depth == before + 1);
  }
  CHECK(elsewhere == 0);
  CHECK(own_code_depth == before);
}

#endif
