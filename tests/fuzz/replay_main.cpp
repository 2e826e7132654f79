// tests/fuzz/replay_main.cpp - runs a fuzz target over files, without libFuzzer.
//
//     <target>_replay FILE...    ends at the first one that breaks the property; prints how many

#include "fuzz.hpp"

#include <fstream>
#include <iterator>
#include <memory>

namespace {

// From a block of exactly that size, so that a sanitizer sees one byte too far.
bool replay(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return false;
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  const auto exact = std::make_unique<std::uint8_t[]>(bytes.size());
  if (!bytes.empty()) std::memcpy(exact.get(), bytes.data(), bytes.size());
  LLVMFuzzerTestOneInput(exact.get(), bytes.size());
  return true;
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i < count; ++i) {
    // Said before, because an input that breaks the property does not come back.
    std::fprintf(stderr, "%s\n", arguments[i]);
    if (replay(arguments[i])) continue;
    std::fprintf(stderr, "%s cannot be read\n", arguments[i]);
    return 1;
  }
  std::printf("%d inputs\n", count - 1);
  return 0;
}
