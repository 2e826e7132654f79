// tests/bench/encode_prof.cpp - prof's encoder and gzip on the profile of heap_10000.hpp. Prints one line
// of figures; see tests/bench/run.py.
#include "heap_10000.hpp"
#include "prof/os/os.hpp"
#include "prof/write/pprof.hpp"

#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

using prof::detail::arena;

double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

bool append(void* context, const void* data, std::size_t size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  return true;
}

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// Snapshot to bytes: the profile model filled from what a sampler holds, then encoded.
double encode(const std::vector<heap_10000::stack>& stacks, bool gzip, std::string& bytes) {
  bytes.clear();
  const double begin = now_ms();
  arena memory(prof::detail::os_pages);
  arena scratch(prof::detail::os_pages);
  prof::detail::profile p(memory);
  heap_10000::fill(p, stacks);
  if (!prof::detail::write_pprof(p, scratch, {append, &bytes}, gzip)) std::exit(1);
  return now_ms() - begin;
}

double zlib_level_1(const std::string& plain, std::size_t& size) {
  const double begin = now_ms();
  std::vector<unsigned char> out(plain.size() + 1000);
  uLongf used = out.size();
  compress2(out.data(), &used, reinterpret_cast<const unsigned char*>(plain.data()), plain.size(), 1);
  size = used;
  return now_ms() - begin;
}

double prof_gzip(const std::string& plain, std::string& bytes) {
  bytes.clear();
  const double begin = now_ms();
  void* const place = prof::detail::os_map_sig(sizeof(prof::detail::gzip_writer));
  auto* const gzip = new (place) prof::detail::gzip_writer(append, &bytes);
  if (!gzip->write(plain.data(), plain.size()) || !gzip->finish()) std::exit(1);
  prof::detail::os_unmap_sig(place, sizeof(prof::detail::gzip_writer));
  return now_ms() - begin;
}

}  // namespace

int main(int, char** arguments) {
  const int rounds = std::atoi(arguments[1]);
  const std::vector<heap_10000::stack> stacks = heap_10000::make_stacks();
  std::vector<double> encode_times;
  std::vector<double> gzip_times;
  std::vector<double> zlib_times;
  std::string plain;
  std::string packed;
  std::size_t zlib_size = 0;
  for (int i = 0; i < rounds; ++i) {
    encode_times.push_back(encode(stacks, false, plain));
    gzip_times.push_back(prof_gzip(plain, packed));
    zlib_times.push_back(zlib_level_1(plain, zlib_size));
  }
  std::printf("encode_ms=%.3f gzip_ms=%.3f raw_bytes=%zu gz_bytes=%zu zlib1_ms=%.3f zlib1_bytes=%zu\n",
              median(encode_times), median(gzip_times), plain.size(), packed.size(),
              median(zlib_times), zlib_size);
}
