// tests/unit/process/attach_test.cpp - how files and objects find what is one per process.

#include "prof/process/attach.hpp"

#include <doctest/doctest.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "own_process.hpp"
#include "prof/api.hpp"

#if PROF_DETAIL_OS_LINUX

namespace {

using namespace prof::detail;

struct seen_note {
  prof_note note;
  std::string text;
};

std::vector<seen_note> notes_of(std::uint32_t type) {
  struct search {
    std::uint32_t type;
    std::vector<seen_note> found;
  } all{type, {}};
  for_each_note_sig({[](void* context, const prof_note& note) {
                       search& to = *static_cast<search*>(context);
                       if (note.type == to.type) to.found.push_back({note, note.text});
                     },
                     &all});
  return all.found;
}

prof_note note_of(object_anchor& anchor) {
  prof_note note;
  note.type = anchor_note_type;
  note.version = PROF_VERSION;
  note.symbol = reinterpret_cast<std::uintptr_t>(&anchor);
  return note;
}

anchor_search search_of(const prof_note& note) {
  anchor_search search;
  see_anchor_sig(&search, note);
  return search;
}

}  // namespace

TEST_CASE("a fresh process state has its defaults and empty tables") {
  const own_process own;
  CHECK(own.state->head.magic == process_magic);
  CHECK(own.state->head.layout == layout_version);
  CHECK(own.state->head.version == PROF_VERSION);
  CHECK(own.state->pid.load() == os_process_id_sig());
  CHECK(own.state->depth.load() == default_depth);
  CHECK_FALSE(own.state->used.load());
  CHECK(own.state->code.load() == nullptr);
  for (const hook_owner& family : own.state->hooks) CHECK(family.owner.load() == nullptr);
  for (const part_slot& slot : own.state->parts) CHECK(slot.state.load() == nullptr);
  CHECK(own.state->stacks.used() == 0);
  const label_pair label{"a", "b"};
  CHECK(own.state->labels.intern(&label, 1) > overflow_labels);
}

TEST_CASE("a process state takes half a megabyte before anything is recorded") {
  const own_process own;
  CHECK(own.state->memory.bytes.load() <= std::uint64_t{400} << 10);
}

TEST_CASE("one state for all threads and files") {
  process_state* const mine = process_sig();
  REQUIRE(mine != nullptr);
  CHECK(mine->head.magic == process_magic);
  CHECK(attached_process_sig() == mine);
  CHECK(attach_slow_sig() == mine);
  std::vector<process_state*> others(4);
  std::vector<std::thread> threads;
  for (auto& other : others) threads.emplace_back([&other] { other = attach_slow_sig(); });
  for (auto& thread : threads) thread.join();
  for (process_state* const other : others) CHECK(other == mine);
}

TEST_CASE("this file's note is found, with its version") {
  int found = 0;
  int unnamed = 0;  // clang does not know the name in a header that -include brings
  for (const seen_note& file : notes_of(file_note_type)) {
    CAPTURE(file.text);
    CHECK(file.note.version == PROF_VERSION);
    CHECK(file.note.symbol == reinterpret_cast<std::uintptr_t>(&api_in_use));
    CHECK_FALSE(file.text.empty());
    unnamed += file.text == "<built-in>" ? 1 : 0;
    found += file.text == __BASE_FILE__ ? 1 : 0;
  }
  CHECK((found == 1 || unnamed > 0));
}

TEST_CASE("this object's anchor is found, and says which layout it has") {
  const std::vector<seen_note> anchors = notes_of(anchor_note_type);
  REQUIRE_FALSE(anchors.empty());
  for (const seen_note& one : anchors) CHECK(one.note.symbol == reinterpret_cast<std::uintptr_t>(&this_object));
  CHECK(this_object.layout == layout_version);
  CHECK(this_object.version == PROF_VERSION);
}

TEST_CASE("only notes of prof's own are parsed") {
  unsigned char data[12] = {1, 0, 0, 0, 0x10, 0, 0, 0, 'a', '.', 'c', 0};
  prof_note note;
  CHECK(parse_note_sig(file_note_type, "prof", 0x1000, data, sizeof data, note));
  CHECK(note.version == 1);
  CHECK(note.symbol == 0x1000 + 4 + 0x10);
  CHECK(std::string(note.text) == "a.c");
  CHECK(parse_note_sig(anchor_note_type, "prof", 0x1000, data, 8, note));
  CHECK(std::string(note.text).empty());
  CHECK_FALSE(parse_note_sig(1, "prof", 0x1000, data, sizeof data, note));  // version 0.1's first layout
  CHECK_FALSE(parse_note_sig(file_note_type, "proF", 0x1000, data, sizeof data, note));
  CHECK_FALSE(parse_note_sig(file_note_type, "pro", 0x1000, data, sizeof data, note));
  CHECK_FALSE(parse_note_sig(file_note_type, "prof", 0x1000, data, 8, note));
  CHECK_FALSE(parse_note_sig(anchor_note_type, "prof", 0x1000, data, 7, note));
  data[4] = 0xf0;
  data[5] = data[6] = data[7] = 0xff;  // symbols may lie before the note
  CHECK(parse_note_sig(file_note_type, "prof", 0x1000, data, sizeof data, note));
  CHECK(note.symbol == 0x1000 + 4 - 0x10);
  data[11] = 'x';  // a name without an end
  CHECK_FALSE(parse_note_sig(file_note_type, "prof", 0x1000, data, sizeof data, note));
}

TEST_CASE("what an anchor uses or is offered is joined, if version and layout are equal") {
  const own_process own;
  object_anchor anchor{{nullptr}, {nullptr}, PROF_VERSION, layout_version};
  prof_note note = note_of(anchor);
  CHECK(search_of(note).found == nullptr);
  CHECK(search_of(note).first == &anchor);
  anchor.process.store(&own.state->head);
  CHECK(search_of(note).found == own.state);
  anchor.process.store(nullptr);
  anchor.offered.store(&own.state->head);
  CHECK(search_of(note).found == own.state);
  CHECK(search_of(note).first == nullptr);  // nothing more can be offered there

  note.version = PROF_VERSION + 1000;
  CHECK(search_of(note).found == nullptr);
  CHECK(search_of(note).first == nullptr);
  note.version = PROF_VERSION;
  note.type = file_note_type;
  CHECK(search_of(note).found == nullptr);
  note.type = anchor_note_type;
  own.state->head.layout = layout_version + 1;
  CHECK(search_of(note).found == nullptr);
  own.state->head.layout = layout_version;
  own.state->head.magic = 1;
  CHECK(search_of(note).found == nullptr);
}

TEST_CASE("an anchor of another layout is no arbiter, wherever it lies") {
  object_anchor other{{nullptr}, {nullptr}, PROF_VERSION, layout_version + 1};
  CHECK(search_of(note_of(other)).first == nullptr);
}

TEST_CASE("a process state whose parts have other states is not joined") {
  const own_process own;
  object_anchor anchor{{nullptr}, {nullptr}, PROF_VERSION, layout_version};
  anchor.process.store(&own.state->head);
  int with_states = 0;
  for (unsigned i = 0; i < part_count; ++i) {
    const part_head* const mine = own_part_sig(i);
    if (mine == nullptr || mine->layout == 0) continue;
    CAPTURE(i);
    own.state->parts[i].layout.store(mine->layout);
    CHECK(search_of(note_of(anchor)).found == own.state);
    own.state->parts[i].layout.store(mine->layout ^ 2);
    CHECK(search_of(note_of(anchor)).found == nullptr);
    CHECK(search_of(note_of(anchor)).first == &anchor);  // what this object makes may be offered there
    CHECK_FALSE(join_parts_sig(*own.state));
    own.state->parts[i].layout.store(0);
    ++with_states;
  }
  CHECK(with_states >= 2);  // CPU and heap profiles
  CHECK(join_parts_sig(*own.state));
}

TEST_CASE("the first object that joins says which states the parts have") {
  const own_process own;
  REQUIRE(join_parts_sig(*own.state));
  for (unsigned i = 0; i < part_count; ++i) {
    const part_head* const mine = own_part_sig(i);
    CHECK(own.state->parts[i].layout.load() == (mine == nullptr ? 0 : mine->layout));
  }
}

TEST_CASE("a part's state is made once, whoever asks first") {
  const own_process own;
  static std::atomic<int> made{0};
  static std::atomic<int> dropped{0};
  const auto make = [](process_state&) noexcept {
    made.fetch_add(1);
    os_sleep_ns(1000000);  // so that several are at it
    return new int{7};
  };
  const auto drop = [](process_state&, int* unused) noexcept {
    dropped.fetch_add(1);
    delete unused;
  };
  std::vector<int*> got(4);
  std::vector<std::thread> threads;
  for (int*& mine : got) {
    threads.emplace_back([&] { mine = part_state_sig<int>(*own.state, part::cpu, make, drop); });
  }
  for (auto& thread : threads) thread.join();
  for (int* const mine : got) CHECK(mine == state_of_sig<int>(*own.state, part::cpu));
  CHECK(made.load() - dropped.load() == 1);
  delete state_of_sig<int>(*own.state, part::cpu);
}

#endif
