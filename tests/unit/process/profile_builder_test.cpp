// tests/unit/process/profile_builder_test.cpp - interned stacks and a code map become a profile.

#include "prof/process/profile_builder.hpp"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "../base/own_memory.hpp"

namespace {

using namespace prof::detail;

// Three ranges, one of them gone, and tables of their own.
struct fixture {
  arena memory{os_pages};
  profile p{memory};
  stack_table stacks;
  label_table labels;
  code_map map;
  code_range ranges[3];
  own_memory pieces;

  fixture() {
    stacks.bind(pieces);
    labels.bind(pieces);
    set(0, 0x1000, 0x2000, "/bin/app", true);
    set(1, 0x5000, 0x6000, "/lib/gone.so", false);
    set(2, 0x7000, 0x8000, "[vdso]", true);
    ranges[0].build_id_length = 3;
    ranges[0].build_id[0] = 0xab;
    ranges[0].build_id[1] = 0x00;
    ranges[0].build_id[2] = 0x7f;
    ranges[0].offset = 0x400;
    map.ranges = ranges;
    map.count = 3;
    p.add_value_type("samples", "count");
    p.add_value_type("cpu", "nanoseconds");
  }
  fixture(const fixture&) = delete;
  fixture& operator=(const fixture&) = delete;

  void set(int i, std::uintptr_t start, std::uintptr_t limit, const char* path, bool current) {
    ranges[i].start = start;
    ranges[i].limit = limit;
    ranges[i].path = path;
    ranges[i].path_size = static_cast<std::uint32_t>(std::string(path).size());
    ranges[i].current = current;
    ranges[i].number = static_cast<range_number>(i + 1);
  }
  stack_id stack(const std::vector<std::uintptr_t>& frames, bool approximate = false,
                 bool truncated = false) {
    return stacks.intern_sig({frames.data(), frames.size(), approximate, truncated});
  }
  std::string string(string_index i) const {
    return std::string(p.strings[i].data, p.strings[i].size);
  }
  std::string named(std::uint32_t location) const {
    const profile_location& there = p.locations[location];
    return there.line_count == 0 ? ""
                                 : string(p.functions[p.lines[there.first_line].function].name);
  }
  std::uint32_t frame(std::size_t sample, std::uint32_t i) const {
    return p.frames_of(p.samples[sample])[i];
  }
};

constexpr std::int64_t one[2] = {1, 10};
constexpr std::int64_t three[2] = {3, 30};
constexpr std::int64_t two[2] = {2, 20};

}  // namespace

TEST_CASE("every range becomes a mapping, unloaded ones too") {
  fixture f;
  const profile_builder build(f.p, &f.map, f.stacks, f.labels);
  REQUIRE(f.p.mappings.size() == 3);
  CHECK(f.p.mappings[0].start == 0x1000);
  CHECK(f.p.mappings[0].limit == 0x2000);
  CHECK(f.p.mappings[0].offset == 0x400);
  CHECK(f.string(f.p.mappings[0].file) == "/bin/app");
  CHECK(f.string(f.p.mappings[0].build_id) == "ab007f");
  CHECK(f.p.mappings[0].current);
  CHECK_FALSE(f.p.mappings[1].current);
  CHECK(f.string(f.p.mappings[1].build_id).empty());
  CHECK_FALSE(f.p.mappings[0].has_functions);
}

TEST_CASE("frames become locations in their mappings, leaf first") {
  fixture f;
  profile_builder build(f.p, &f.map, f.stacks, f.labels);
  // Of the last one it is not known which library was there when it was walked.
  build.add(f.stack({make_frame_sig(0x1500, 1), make_frame_sig(0x5fff, 2), make_frame_sig(0x7000, 3), 0x9999, 0x5ffe}),
            no_labels, one);
  REQUIRE(f.p.samples.size() == 1);
  CHECK(f.p.samples[0].depth == 5);
  const std::uint32_t mapping[5] = {0, 1, 2, no_index, no_index};
  const std::uint64_t address[5] = {0x1500, 0x5fff, 0x7000, 0x9999, 0x5ffe};
  for (std::uint32_t i = 0; i < 5; ++i) {
    CHECK(f.p.locations[f.frame(0, i)].mapping == mapping[i]);
    CHECK(f.p.locations[f.frame(0, i)].address == address[i]);
  }
  CHECK(f.p.values_of(f.p.samples[0])[0] == 1);
  CHECK(f.p.values_of(f.p.samples[0])[1] == 10);
}

TEST_CASE("a frame belongs to the range that it was walked in, whatever is at its address now") {
  fixture f;
  f.set(0, 0x5000, 0x6000, "/lib/now.so", true);
  f.ranges[0].number = 3;
  f.ranges[1].number = 9;
  f.map.current = 1;  // ranges[1], gone.so, was at the same place; so was ranges[2]
  f.set(2, 0x5000, 0x6000, "/lib/before.so", false);
  f.ranges[2].number = 4;
  profile_builder build(f.p, &f.map, f.stacks, f.labels);
  build.add(f.stack({make_frame_sig(0x5100, 9), make_frame_sig(0x5100, 3), 0x5100,
                     make_frame_sig(0x5100, 4), make_frame_sig(0x5100, 77)}),
            no_labels, one);
  // Without a number nobody knows which of them it was.
  const std::uint32_t mapping[5] = {1, 0, no_index, 2, no_index};
  for (std::uint32_t i = 0; i < 5; ++i) {
    CHECK(f.p.locations[f.frame(0, i)].mapping == mapping[i]);
    CHECK(f.p.locations[f.frame(0, i)].address == 0x5100);
  }
}

TEST_CASE("a frame without a number belongs to what was never unloaded") {
  fixture f;
  f.map.current = 1;
  f.ranges[0].never_unloaded = true;
  profile_builder build(f.p, &f.map, f.stacks, f.labels);
  build.add(f.stack({0x1500}), no_labels, one);
  CHECK(f.p.locations[f.frame(0, 0)].mapping == 0);
}

TEST_CASE("entries with the same stack and labels are summed, others are not") {
  fixture f;
  profile_builder build(f.p, &f.map, f.stacks, f.labels);
  const stack_id a = f.stack({0x1500});
  const label_pair pair{"k", "v"};
  const label_set_id set = f.labels.intern(&pair, 1);
  const profile_label size{f.p.string("bytes"), 0, 64, 0};
  build.add(a, no_labels, one);
  build.add(a, no_labels, two);
  build.add(a, set, one);
  build.add(a, set, one, &size, 1);
  build.add(f.stack({0x1501}), no_labels, one);
  REQUIRE(f.p.samples.size() == 4);
  CHECK(f.p.values_of(f.p.samples[0])[0] == 3);
  CHECK(f.p.values_of(f.p.samples[0])[1] == 30);
  REQUIRE(f.p.samples[2].label_count == 2);
  const profile_label* const marks = f.p.labels.data() + f.p.samples[2].first_label;
  CHECK(f.string(marks[0].key) == "k");
  CHECK(f.string(marks[0].text) == "v");
  CHECK(marks[1].number == 64);
}

TEST_CASE("a stack that was lost, and one that was cut, say so in a frame") {
  fixture f;
  profile_builder build(f.p, &f.map, f.stacks, f.labels);
  build.add(overflow_stack, no_labels, one);
  build.add(f.stack({0x1500, truncation_mark, 0x1600}, false, true), no_labels, one);
  REQUIRE(f.p.samples.size() == 2);
  CHECK(f.p.samples[0].depth == 1);
  CHECK(f.named(f.frame(0, 0)) == "[stack table full]");
  CHECK(f.p.samples[1].depth == 3);
  CHECK(f.named(f.frame(1, 0)).empty());
  CHECK(f.named(f.frame(1, 1)) == "[truncated]");
  CHECK(f.p.locations[f.frame(1, 1)].mapping == no_index);
  CHECK(f.p.locations[f.frame(1, 2)].address == 0x1600);
  CHECK(f.p.samples[1].truncated);
  CHECK_FALSE(f.p.samples[0].truncated);
}

TEST_CASE("comments count the stacks that are not whole") {
  fixture f;
  profile_builder build(f.p, &f.map, f.stacks, f.labels);
  build.add_stack_comments();
  CHECK(f.p.comments.empty());  // of no stacks there is nothing to say
  build.add(f.stack({0x1500}), no_labels, one);
  build.add_stack_comments();
  REQUIRE(f.p.comments.size() == 2);
  CHECK(f.string(f.p.comments[1]) ==
        "0 of 1 stacks (0 of 1 samples) are truncated (too deep, or no way to the root)");
  f.p.comments.clear();
  build.add(f.stack({0x1501}, true, false), no_labels, one);
  build.add(f.stack({0x1502}, true, true), no_labels, three);
  build.add_stack_comments();
  REQUIRE(f.p.comments.size() == 2);
  CHECK(f.string(f.p.comments[0]).compare(0, 31, "2 of 3 stacks (4 of 5 samples) ") == 0);
  CHECK(f.string(f.p.comments[0]).find("scanning") != std::string::npos);
  CHECK(f.string(f.p.comments[1]) ==
        "1 of 3 stacks (3 of 5 samples) are truncated (too deep, or no way to the root)");
  CHECK(f.p.samples[1].approximate);
}

TEST_CASE("without a code map addresses stay addresses") {
  fixture f;
  profile_builder build(f.p, nullptr, f.stacks, f.labels);
  build.add(f.stack({0x1500}), no_labels, one);
  CHECK(f.p.mappings.empty());
  CHECK(f.p.locations[f.frame(0, 0)].mapping == no_index);
  CHECK(f.p.locations[f.frame(0, 0)].address == 0x1500);
}

TEST_CASE("a full set of labels and all extra ones fit; more extras are dropped") {
  fixture f;
  profile_builder build(f.p, &f.map, f.stacks, f.labels);
  std::vector<std::string> keys;
  std::vector<label_pair> pairs;
  for (char c = 'a'; keys.size() < label_table::max_labels; ++c) keys.push_back(std::string(1, c));
  for (const std::string& key : keys) pairs.push_back({key.c_str(), "v"});
  const label_set_id set = f.labels.intern(pairs.data(), pairs.size());
  const std::vector<profile_label> extra(profile_builder::max_extra_labels + 6, profile_label{f.p.string("n"), 0, 1, 0});
  build.add(f.stack({0x1500}), set, one, extra.data(), extra.size());
  CHECK(f.p.samples[0].label_count == label_table::max_labels + profile_builder::max_extra_labels);
}
