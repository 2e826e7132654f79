// tests/bench/encode_protobuf.cpp - the peer of encode_prof.cpp: the same stacks by Google's protobuf and
// zlib at level 1.
#include "heap_10000.hpp"
#include "profile.pb.h"

#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <unordered_map>

namespace {

namespace pb = perftools::profiles;

double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

struct builder {
  pb::Profile profile;
  std::unordered_map<std::string, std::int64_t> known;

  std::int64_t string(const std::string& text) {
    const auto [at, fresh] = known.emplace(text, profile.string_table_size());
    if (fresh) profile.add_string_table(text);
    return at->second;
  }
  void value_type(pb::ValueType& made, const char* type, const char* unit) {
    made.set_type(string(type));
    made.set_unit(string(unit));
  }

  void heads() {
    string("");
    for (const char* column : {"alloc_objects", "alloc_space", "inuse_objects", "inuse_space"}) {
      const bool bytes = std::string(column).find("space") != std::string::npos;
      value_type(*profile.add_sample_type(), column, bytes ? "bytes" : "count");
    }
    value_type(*profile.mutable_period_type(), "space", "bytes");
    profile.set_period(524288);
    profile.set_time_nanos(1700000000000000000);
    pb::Mapping& map = *profile.add_mapping();
    map.set_id(1);
    map.set_memory_start(heap_10000::map_start);
    map.set_memory_limit(heap_10000::map_limit);
    map.set_filename(string(heap_10000::map_file));
    map.set_build_id(string(heap_10000::map_build_id));
    map.set_has_functions(true);
    map.set_has_filenames(true);
    map.set_has_line_numbers(true);
  }

  void code() {
    for (std::uint32_t i = 0; i < heap_10000::locations; ++i) {
      pb::Location& location = *profile.add_location();
      location.set_id(i + 1);
      location.set_mapping_id(1);
      location.set_address(heap_10000::address_of(i));
      pb::Line& line = *location.add_line();
      line.set_function_id(i + 1);
      line.set_line(10 + 7 * i);
      pb::Function& function = *profile.add_function();
      function.set_id(i + 1);
      function.set_name(string(heap_10000::function_name(i)));
      function.set_system_name(string(heap_10000::system_name(i)));
      function.set_filename(string(heap_10000::file_name(i)));
    }
  }

  void samples(const std::vector<heap_10000::stack>& stacks) {
    const std::int64_t bytes = string("bytes");
    for (const heap_10000::stack& s : stacks) {
      pb::Sample& sample = *profile.add_sample();
      for (const std::uint32_t frame : s.frames) sample.add_location_id(frame + 1);
      for (const std::int64_t value : {s.objects, s.objects * s.size, s.live, s.live * s.size}) {
        sample.add_value(value);
      }
      pb::Label& size = *sample.add_label();
      size.set_key(bytes);
      size.set_num(s.size);
    }
  }
};

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace

int main(int, char** arguments) {
  const int rounds = std::atoi(arguments[1]);
  const std::vector<heap_10000::stack> stacks = heap_10000::make_stacks();
  std::vector<double> encode_times;
  std::vector<double> gzip_times;
  std::string plain;
  uLongf packed = 0;
  for (int i = 0; i < rounds; ++i) {
    const double begin = now_ms();
    builder build;
    build.heads();
    build.code();
    build.samples(stacks);
    plain = build.profile.SerializeAsString();
    const double encoded = now_ms();
    std::vector<unsigned char> out(plain.size() + 1000);
    packed = out.size();
    compress2(out.data(), &packed, reinterpret_cast<const unsigned char*>(plain.data()), plain.size(),
              1);
    encode_times.push_back(encoded - begin);
    gzip_times.push_back(now_ms() - encoded);
  }
  std::printf("encode_ms=%.3f gzip_ms=%.3f raw_bytes=%zu gz_bytes=%zu\n", median(encode_times),
              median(gzip_times), plain.size(), static_cast<std::size_t>(packed));
}
