// tests/bench/heap_10000.hpp - a heap profile of 10,350 stacks of some 20 frames, the same every time.
//
// Shaped like the one the targets were measured on (612,093 bytes as protobuf, 275,012 after zlib's level
// 1, 244,525 after level 6; 645 locations, 538 functions): stacks are random walks over functions that
// call ten others each, from main to one of 64 allocating places.
#ifndef PROF_TESTS_BENCH_HEAP_10000_HPP
#define PROF_TESTS_BENCH_HEAP_10000_HPP

#include "prof/profile/model.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace heap_10000 {

constexpr std::uint32_t stacks = 10350;
constexpr std::uint32_t walked_functions = 512;
constexpr std::uint32_t callees = 10;

struct random_source {
  std::uint64_t state;
  std::uint32_t below(std::uint32_t limit) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return static_cast<std::uint32_t>(state >> 33) % limit;
  }
};

struct stack {
  std::vector<std::uint32_t> frames;  // leaf first; numbers of locations
  std::int64_t objects;
  std::int64_t live;
  std::int64_t size;
};

// Numbers of locations: 0 to 511 within walked functions, 512 to 575 allocate, the rest lead from main.
constexpr std::uint32_t first_allocating = walked_functions;
constexpr std::uint32_t first_root = first_allocating + 64;
constexpr std::uint32_t roots = 3;
constexpr std::uint32_t locations = first_root + roots;

inline std::vector<stack> make_stacks() {
  constexpr std::int64_t sizes[] = {16, 24, 32, 48, 64, 96, 128, 256, 512, 1024};
  random_source random{1};
  std::uint32_t called[walked_functions][callees];
  for (auto& row : called) {
    for (std::uint32_t& callee : row) callee = random.below(walked_functions);
  }
  std::vector<stack> made;
  for (std::uint32_t i = 0; i < stacks; ++i) {
    stack s;
    std::vector<std::uint32_t> walk;
    const std::uint32_t depth = 14 + random.below(4);
    for (std::uint32_t at = 0; walk.size() < depth;) walk.push_back(at = called[at][random.below(callees)]);
    s.frames.push_back(first_allocating + random.below(64));
    s.frames.insert(s.frames.end(), walk.rbegin(), walk.rend());
    for (std::uint32_t root = 0; root < roots; ++root) s.frames.push_back(first_root + root);
    s.objects = 1 + random.below(3);
    s.live = random.below(static_cast<std::uint32_t>(s.objects) + 1);
    s.size = sizes[random.below(10)];
    made.push_back(s);
  }
  return made;
}

inline std::string function_name(std::uint32_t location) {
  return "server::handlers::node<" + std::to_string(location) + ">(request const&, std::size_t)";
}
inline std::string system_name(std::uint32_t location) {
  return "_ZN6server8handlers4nodeILi" + std::to_string(location) + "EEEvRK7requestm";
}
inline std::string file_name(std::uint32_t location) {
  return "/src/server/handlers/file" + std::to_string(location % 40) + ".cpp";
}
inline std::uint64_t address_of(std::uint32_t location) { return 0x401000 + 397u * location; }
constexpr std::uint64_t map_start = 0x400000;
constexpr std::uint64_t map_limit = 0x900000;
constexpr const char* map_file = "/usr/local/bin/server";
constexpr const char* map_build_id = "0123456789abcdef0123456789abcdef01234567";

// The profile model as the heap sampler and the symbolizer leave it.
inline void fill(prof::detail::profile& p, const std::vector<stack>& all) {
  for (const char* column : {"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"}) {
    p.add_value_type(column, std::string(column).find("space") != std::string::npos ? "bytes" : "count");
  }
  p.period_type = {p.string("space"), p.string("bytes")};
  p.period = 524288;
  p.time_ns = 1700000000000000000u;
  prof::detail::profile_mapping map;
  map.start = map_start;
  map.limit = map_limit;
  map.file = p.string(map_file);
  map.build_id = p.string(map_build_id);
  map.has_functions = map.has_filenames = map.has_line_numbers = true;
  p.mappings.push(map);
  for (std::uint32_t i = 0; i < locations; ++i) {
    const std::uint32_t at = p.add_location(0, address_of(i));
    const std::string name = function_name(i);
    const std::string system = system_name(i);
    const std::string file = file_name(i);
    const std::uint32_t function = p.add_function({name.data(), name.size()},
                                                  {system.data(), system.size()},
                                                  {file.data(), file.size()});
    p.add_line(p.locations[at], {function, 10 + 7 * i, 0});
  }
  const std::uint32_t bytes = p.string("bytes");
  for (const stack& s : all) {
    const prof::detail::profile_label size{bytes, 0, s.size, 0};
    const std::int64_t values[4] = {s.objects, s.objects * s.size, s.live, s.live * s.size};
    p.add_sample(s.frames.data(), s.frames.size(), &size, 1, values);
  }
}

}  // namespace heap_10000

#endif  // PROF_TESTS_BENCH_HEAP_10000_HPP
