// tests/fuzz/pprof_fuzz.cpp - a profile of any content, complete or short of memory, is written as
// a file that the strictest reader takes, with every entry there; or the writer says that it ran
// out of memory.

#include "prof/write/pprof.hpp"

#include "fuzz.hpp"
#include "pprof_reader.hpp"
#include "profile_maker.hpp"

namespace {

using namespace prof::detail;

bool receive(void* context, const void* data, std::size_t size) {
  static_cast<std::string*>(context)->append(static_cast<const char*>(data), size);
  return true;
}

std::size_t samples_with_values(const profile& p) {
  std::size_t found = 0;
  for (const profile_sample& sample : p.samples) {
    bool has_value = false;
    for (std::size_t i = 0; i < p.value_types.size(); ++i) {
      has_value = has_value || p.values_of(sample)[i] != 0;
    }
    if (has_value) ++found;
  }
  return found;
}

void check_file(const std::string& file, const profile& p) {
  const fuzz::pprof_reader reader({file.data(), file.size()});
  reader.check();
  FUZZ_REQUIRE(reader.count(1) == p.value_types.size());
  FUZZ_REQUIRE(reader.count(2) == samples_with_values(p));
  FUZZ_REQUIRE(reader.count(3) == p.mappings.size());
  FUZZ_REQUIRE(reader.count(4) == p.locations.size());
  FUZZ_REQUIRE(reader.count(5) == p.functions.size());
  FUZZ_REQUIRE(reader.count(6) == (p.strings.empty() ? 1 : p.strings.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::source in(data, size);
  fuzz::pages first(in.number<std::uint16_t>());
  arena store(fuzz::pages::from(), fuzz::pages::first_chunk);
  const std::uint8_t refused = in.byte();
  profile p(store);
  fuzz::profile_maker(in, p).make();

  fuzz::pages second(refused);
  arena scratch(fuzz::pages::from(), fuzz::pages::first_chunk);
  std::string file;
  const bool written = write_pprof(p, scratch, {receive, &file}, false);
  FUZZ_REQUIRE(written == !scratch.exhausted());
  if (written) check_file(file, p);
  return 0;
}
