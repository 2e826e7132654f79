// tests/unit/profile/model_test.cpp - interning, merging, and what is left when memory runs out.

#include "prof/profile/model.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <vector>

namespace {

using prof::detail::arena;
using prof::detail::no_index;
using prof::detail::page_source;
using prof::detail::profile;
using prof::detail::profile_label;
using prof::detail::profile_line;
using prof::detail::profile_location;
using prof::detail::profile_mapping;
using prof::detail::profile_sample;
using prof::detail::text_view;

std::size_t g_maps_left = 0;

void* map_pages(std::size_t size) noexcept {
  if (g_maps_left == 0) return nullptr;
  --g_maps_left;
  return std::calloc(1, size);
}
void unmap_pages(void* pages, std::size_t) noexcept {
  std::free(pages);
}

page_source pages(std::size_t maps) {
  g_maps_left = maps;
  return {map_pages, unmap_pages};
}

std::string text_of(const profile& p, std::uint32_t index) {
  REQUIRE(index < p.strings.size());
  return std::string(p.strings[index].data, p.strings[index].size);
}

std::string numbered(const char* prefix, unsigned number) {
  return prefix + std::to_string(number);
}

// Every index names an entry. `count` of the profile's own lists is all a reader may rely on.
bool is_consistent(const profile& p) {
  bool good = true;
  const auto holds = [&](bool fact) { good = good && fact; };
  const auto string = [&](std::uint32_t index) { holds(index == 0 || index < p.strings.size()); };
  for (const auto& type : p.value_types) string(type.type), string(type.unit);
  for (const std::uint32_t comment : p.comments) string(comment);
  for (const auto& function : p.functions) {
    string(function.name), string(function.system_name), string(function.file);
  }
  for (const auto& location : p.locations) {
    holds(location.mapping == no_index || location.mapping < p.mappings.size());
    holds(std::size_t{location.first_line} + location.line_count <= p.lines.size() ||
          location.line_count == 0);
  }
  for (const auto& line : p.lines) holds(line.function < p.functions.size());
  for (const auto& sample : p.samples) {
    holds(std::size_t{sample.first_frame} + sample.depth <= p.frames.size());
    holds(std::size_t{sample.first_label} + sample.label_count <= p.labels.size());
    holds(std::size_t{sample.first_value} + p.value_types.size() <= p.values.size());
  }
  for (const std::uint32_t frame : p.frames) holds(frame == no_index || frame < p.locations.size());
  for (const auto& label : p.labels) string(label.key), string(label.text), string(label.unit);
  return good;
}

// The same calls a sampler and the symbolizer make; everything twice, so that what was lost in the
// first round is looked for in the second.
void fill(profile& p) {
  p.add_value_type("samples", "count");
  p.add_value_type("cpu", "nanoseconds");
  p.add_comment("a comment");
  profile_mapping mapping;
  mapping.start = 0x1000;
  mapping.limit = 0x9000;
  mapping.file = p.string("/bin/program");
  const bool is_mapped = p.mappings.push(mapping);
  for (unsigned round = 0; round < 2; ++round) {
    for (unsigned i = 0; i < 24; ++i) {
      const std::uint32_t stack[] = {p.add_location(is_mapped ? 0 : no_index, 0x1000 + 16 * i),
                                     p.add_named_location(numbered("[name ", i / 3).c_str())};
      const profile_label marks[] = {{p.string("thread"), p.string(numbered("t", i).c_str()), 0, 0},
                                     {p.string("bytes"), 0, 16, p.string("bytes")}};
      const std::int64_t values[] = {1, -5};
      p.add_sample(stack, 2, marks, 2, values);
    }
  }
  for (profile_location& location : p.locations) {
    if (location.address == 0) continue;
    const std::string name = numbered("function", static_cast<unsigned>(location.address % 7));
    const std::uint32_t function = p.add_function(name.c_str(), name.c_str(), "file.cpp");
    if (function < p.functions.size()) p.add_line(location, {function, 3, 0});
  }
}

}  // namespace

TEST_CASE("equal strings are one, and string 0 is empty") {
  arena memory(pages(100));
  profile p(memory);
  CHECK(p.string("") == 0);
  CHECK(p.strings.size() == 1);
  const auto a = p.string("a");
  const auto b = p.string("b");
  CHECK(a != b);
  CHECK(p.string("a") == a);
  CHECK(p.string({"abc", 1}) == a);
  CHECK(text_of(p, a) == "a");
  CHECK(text_of(p, 0).empty());
  CHECK(p.string({"a\0b", 3}) != p.string({"a\0c", 3}));
  CHECK(p.complete());
}

TEST_CASE("strings are copied and survive the growth of their table") {
  arena memory(pages(100), 1024);
  profile p(memory);
  std::vector<std::uint32_t> indices;
  for (unsigned i = 0; i < 5000; ++i) {
    const std::string text = numbered("string ", i);
    indices.push_back(p.string({text.data(), text.size()}));
  }
  CHECK(p.strings.size() == 5001);
  for (unsigned i = 0; i < 5000; ++i) {
    CHECK(text_of(p, indices[i]) == numbered("string ", i));
    CHECK(p.string(numbered("string ", i).c_str()) == indices[i]);
  }
  CHECK(p.complete());
}

TEST_CASE("functions are one when name, mangled name and file are") {
  arena memory(pages(100));
  profile p(memory);
  const auto f = p.add_function("f()", "_Z1fv", "a.cpp");
  CHECK(p.add_function("f()", "_Z1fv", "a.cpp") == f);
  CHECK(p.add_function("f()", "_Z1fv", "b.cpp") != f);
  CHECK(p.add_function("f()", "_Z1fi", "a.cpp") != f);
  CHECK(p.add_function("g()", "_Z1fv", "a.cpp") != f);
  CHECK(p.functions.size() == 4);
  CHECK(text_of(p, p.functions[f].name) == "f()");
  CHECK(text_of(p, p.functions[f].system_name) == "_Z1fv");
  CHECK(text_of(p, p.functions[f].file) == "a.cpp");
}

TEST_CASE("locations are one when mapping and address are") {
  arena memory(pages(100));
  profile p(memory);
  p.mappings.resize(2);
  const auto a = p.add_location(0, 0x1000);
  CHECK(p.add_location(0, 0x1000) == a);
  CHECK(p.add_location(1, 0x1000) != a);
  CHECK(p.add_location(0, 0x1001) != a);
  CHECK(p.add_location(no_index, 0x1000) != a);
  CHECK(p.locations.size() == 4);
  CHECK(p.locations[a].mapping == 0);
  CHECK(p.locations[a].address == 0x1000);
  CHECK(p.locations[a].line_count == 0);
}

TEST_CASE("a name without an address is a location with one line") {
  arena memory(pages(100));
  profile p(memory);
  const auto nowhere = p.add_location(no_index, 0);
  const auto full = p.add_named_location("[stack table full]");
  const auto cut = p.add_named_location("[truncated]");
  CHECK(nowhere != full);
  CHECK(full != cut);
  CHECK(p.add_named_location("[stack table full]") == full);
  CHECK(p.add_named_location("[truncated]") == cut);
  CHECK(p.add_location(no_index, 0) == nowhere);
  const profile_location& there = p.locations[cut];
  CHECK(there.mapping == no_index);
  CHECK(there.address == 0);
  REQUIRE(there.line_count == 1);
  CHECK(text_of(p, p.functions[p.lines[there.first_line].function].name) == "[truncated]");
}

TEST_CASE("a location takes several lines, innermost first") {
  arena memory(pages(100));
  profile p(memory);
  const auto a = p.add_location(no_index, 1);
  const auto b = p.add_location(no_index, 2);
  for (unsigned i = 0; i < 3; ++i) {
    p.add_line(p.locations[a], {p.add_function(numbered("a", i).c_str(), "", ""), 10 + i, 0});
  }
  p.add_line(p.locations[b], {p.add_function("b", "", ""), 20, 7});
  CHECK(p.locations[a].first_line == 0);
  CHECK(p.locations[a].line_count == 3);
  CHECK(p.lines[p.locations[a].first_line].line == 10);
  CHECK(p.lines[p.locations[a].first_line + 2].line == 12);
  CHECK(p.locations[b].first_line == 3);
  CHECK(p.lines[p.locations[b].first_line].column == 7);
}

TEST_CASE("samples with equal stack and labels are summed, all others kept apart") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  p.add_value_type("cpu", "nanoseconds");
  const std::uint32_t x = p.add_location(no_index, 1);
  const std::uint32_t y = p.add_location(no_index, 2);
  const std::uint32_t xy[] = {x, y};
  const std::uint32_t yx[] = {y, x};
  const auto key = p.string("key");
  const profile_label text[] = {{key, p.string("value"), 0, 0}};
  const profile_label number[] = {{key, 0, 5, 0}};
  const profile_label with_unit[] = {{key, 0, 5, p.string("bytes")}};
  const profile_label two[] = {text[0], number[0]};
  const std::int64_t values[] = {1, 10};
  for (int round = 0; round < 3; ++round) {
    p.add_sample(xy, 2, nullptr, 0, values);
    p.add_sample(yx, 2, nullptr, 0, values);
    p.add_sample(xy, 1, nullptr, 0, values);
    p.add_sample(xy, 0, nullptr, 0, values);
    p.add_sample(xy, 2, text, 1, values);
    p.add_sample(xy, 2, number, 1, values);
    p.add_sample(xy, 2, with_unit, 1, values);
    p.add_sample(xy, 2, two, 2, values);
  }
  REQUIRE(p.samples.size() == 8);
  for (const profile_sample& sample : p.samples) {
    CHECK(p.values_of(sample)[0] == 3);
    CHECK(p.values_of(sample)[1] == 30);
  }
  CHECK(p.samples[1].depth == 2);
  CHECK(p.frames_of(p.samples[1])[0] == y);
  CHECK(p.samples[7].label_count == 2);
  CHECK(p.labels[p.samples[7].first_label].text == text[0].text);
  CHECK(is_consistent(p));
}

TEST_CASE("sums may be negative, and flags belong to the sample returned") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("inuse_space", "bytes");
  const std::uint32_t stack[] = {p.add_location(no_index, 1)};
  const std::int64_t more = 5;
  const std::int64_t less = -12;
  p.add_sample(stack, 1, nullptr, 0, &more)->approximate = true;
  profile_sample* const sample = p.add_sample(stack, 1, nullptr, 0, &less);
  REQUIRE(p.samples.size() == 1);
  CHECK(sample == &p.samples[0]);
  CHECK(sample->approximate);
  CHECK_FALSE(sample->truncated);
  CHECK(p.values_of(*sample)[0] == -7);
}

TEST_CASE("merge_samples joins what became equal in place") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  const std::uint32_t same = p.add_location(no_index, 1);
  const profile_label mark = {p.string("key"), p.string("value"), 0, 0};
  for (unsigned i = 0; i < 100; ++i) {
    const std::uint32_t stack[] = {p.add_location(no_index, i + 1)};
    const std::int64_t value = i;
    p.add_sample(stack, 1, &mark, i % 2, &value)->truncated = i == 50;
  }
  REQUIRE(p.samples.size() == 100);
  for (std::uint32_t& frame : p.frames) frame = same;
  p.merge_samples();
  REQUIRE(p.samples.size() == 2);
  CHECK(p.samples[0].label_count == 0);
  CHECK(p.values_of(p.samples[0])[0] == 2450);
  CHECK(p.samples[0].truncated);
  CHECK(p.values_of(p.samples[1])[0] == 2500);
  CHECK_FALSE(p.samples[1].truncated);
  const std::int64_t one = 1;
  CHECK(p.add_sample(&same, 1, nullptr, 0, &one) == &p.samples[0]);
  CHECK(p.values_of(p.samples[0])[0] == 2451);
}

TEST_CASE("many samples stay findable") {
  arena memory(pages(100));
  profile p(memory);
  p.add_value_type("samples", "count");
  std::vector<profile_label> marks(100);
  for (unsigned i = 0; i < 100; ++i) {
    marks[i] = {p.string(numbered("key", i).c_str()), p.string(numbered("value", i).c_str()), 0, 0};
  }
  const std::int64_t one = 1;
  for (unsigned round = 0; round < 2; ++round) {
    for (unsigned i = 0; i < 3000; ++i) {
      const std::uint32_t stack[] = {p.add_location(no_index, i + 1), p.add_location(no_index, 1)};
      REQUIRE(p.add_sample(stack, 2, marks.data(), i % 101, &one) != nullptr);
    }
  }
  REQUIRE(p.samples.size() == 3000);
  for (unsigned i = 0; i < 3000; ++i) {
    CHECK(p.values_of(p.samples[i])[0] == 2);
    CHECK(p.samples[i].label_count == i % 101);
  }
  CHECK(is_consistent(p));
}

TEST_CASE("without memory entries are lost, never consistency") {
  std::size_t lost = 0;
  for (std::size_t chunk = 64; chunk < 4096; chunk += 48) {
    for (std::size_t maps = 0; maps < 9; ++maps) {
      INFO("chunk ", chunk, ", maps ", maps);
      arena memory(pages(maps), chunk);
      profile p(memory);
      fill(p);
      CHECK(is_consistent(p));
      CHECK(p.complete() == !memory.exhausted());
      if (p.complete()) CHECK(p.samples.size() == 24);
      if (!p.complete()) ++lost;
    }
  }
  CHECK(lost > 100);
}

// ---- frames that are to be hidden ----

namespace {

bool is_allocator(text_view function) { return function.equals("malloc") || function.starts_with("operator new("); }

struct small_profile {
  arena memory{pages(1000)};
  profile p{memory};
  std::uint32_t main = p.add_named_location("main");
  std::uint32_t work = p.add_named_location("work()");
  std::uint32_t malloc = p.add_named_location("malloc");
  std::uint32_t operator_new = p.add_named_location("operator new(unsigned long)");

  small_profile() {
    p.add_value_type("alloc_objects", "count");
    p.add_value_type("alloc_space", "bytes");
  }
  profile_sample* add(const std::vector<std::uint32_t>& stack, std::int64_t bytes,
            const std::vector<profile_label>& labels = {}) {
    const std::int64_t sums[] = {1, bytes};
    return p.add_sample(stack.data(), stack.size(), labels.data(), labels.size(), sums);
  }
  std::vector<std::uint32_t> stack(std::size_t i) const {
    const std::uint32_t* const frames = p.frames_of(p.samples[i]);
    return {frames, frames + p.samples[i].depth};
  }
  std::int64_t bytes(std::size_t i) const { return p.values_of(p.samples[i])[1]; }
};

}  // namespace

TEST_CASE("leading frames that are to be hidden go and equal samples merge") {
  small_profile h;
  using stack = std::vector<std::uint32_t>;
  h.add({h.malloc, h.work, h.main}, 10);
  h.add({h.malloc, h.operator_new, h.work, h.main}, 20)->truncated = true;
  h.add({h.work, h.malloc, h.main}, 40);
  h.add({h.work, h.main}, 80);
  h.add({h.malloc, h.operator_new}, 160);
  hide_leading_frames(h.p, &is_allocator);
  REQUIRE(h.p.samples.size() == 3);
  CHECK(h.stack(0) == stack{h.work, h.main});
  CHECK(h.bytes(0) == 110);
  CHECK(h.p.values_of(h.p.samples[0])[0] == 3);
  CHECK(h.p.samples[0].truncated);
  CHECK_FALSE(h.p.samples[0].approximate);
  CHECK(h.stack(1) == stack{h.work, h.malloc, h.main});
  CHECK(h.bytes(1) == 40);
  CHECK(h.stack(2) == stack{h.malloc, h.operator_new});
  // The profile still knows its samples.
  h.add({h.work, h.main}, 1000);
  CHECK(h.p.samples.size() == 3);
  CHECK(h.bytes(0) == 1110);
  hide_leading_frames(h.p, &is_allocator);
  CHECK(h.p.samples.size() == 3);
  CHECK(h.bytes(0) == 1110);
}

TEST_CASE("functions of ours that were inlined into the caller are left out of a leaf, and of nothing else") {
  small_profile h;
  const auto inlined = [&h](std::initializer_list<const char*> functions) {
    const std::uint32_t made = h.p.add_location(no_index, 0x1000 + 16 * h.p.locations.size());
    for (const char* const name : functions) h.p.add_line(h.p.locations[made], {h.p.add_function(name, name), 0, 0});
    return made;
  };
  const std::uint32_t call = inlined({"prof::v1::detail::api()", "prof::v1::write_profile(char const*)", "work()", "main"});
  const std::uint32_t inner = inlined({"prof::v1::with_labels<int>(int)", "work()"});
  const std::uint32_t ours = inlined({"void prof::v1::detail::serve<int>(int)", "prof::v1::detail::run()"});
  const std::uint32_t host = inlined({"prof::v1::result ask<int>(prof::v1::sink)", "main"});
  h.add({call, inner}, 1);
  h.add({call, h.main}, 2);
  h.add({ours, h.main}, 4);
  h.add({host, h.main}, 8);
  hide_inlined_calls(h.p);
  hide_inlined_calls(h.p);
  const auto first = [&h](std::uint32_t location) { return function_of_line(h.p, h.p.locations[location].first_line); };
  CHECK(h.p.locations[call].line_count == 2);
  CHECK(first(call).equals("work()"));
  CHECK(h.p.locations[inner].line_count == 2);
  CHECK(h.p.locations[ours].line_count == 2);
  CHECK(h.p.locations[host].line_count == 2);
  CHECK(h.p.samples.size() == 4);
  // What has one of them inlined is no allocator itself.
  h.add({inlined({"malloc", "work()"}), h.main}, 16);
  const std::vector<std::uint32_t> before = h.stack(4);
  hide_leading_frames(h.p, &is_allocator);
  CHECK(h.stack(4) == before);
}

TEST_CASE("samples with other labels stay apart") {
  small_profile h;
  profile_label tenant;
  tenant.key = h.p.string("tenant");
  tenant.text = h.p.string("a");
  h.add({h.malloc, h.main}, 1, {tenant});
  h.add({h.malloc, h.main}, 2);
  h.add({h.operator_new, h.main}, 4, {tenant});
  hide_leading_frames(h.p, &is_allocator);
  REQUIRE(h.p.samples.size() == 2);
  CHECK(h.p.samples[0].label_count == 1);
  CHECK(h.bytes(0) == 5);
  CHECK(h.bytes(1) == 2);
}

TEST_CASE("a profile of thousands of equal samples keeps its sum") {
  small_profile h;
  std::int64_t sum = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto caller = h.p.add_named_location(("caller" + std::to_string(i % 500)).c_str());
    h.add({i % 2 != 0 ? h.malloc : h.operator_new, caller, h.main}, i);
    h.add({h.malloc, h.operator_new, caller, h.main}, i);
    sum += 2 * i;
  }
  hide_leading_frames(h.p, &is_allocator);
  CHECK(h.p.samples.size() == 500);
  for (std::size_t i = 0; i < h.p.samples.size(); ++i) sum -= h.bytes(i);
  CHECK(sum == 0);
}
