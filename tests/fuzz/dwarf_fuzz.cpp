// tests/fuzz/dwarf_fuzz.cpp - of any bytes taken for the sections of debug information: every chain of frames ends, its
// texts lie in the sections or in the arena, and neither work nor memory is more than the size of the sections allows.
//
// The input is 16 bytes of choices and addresses, the sizes of fourteen parts (16 bits each), and the parts: nine sections,
// five of the file that dwz made.

#include "prof/symbol/debug_info.hpp"

#include "fuzz.hpp"

#include <algorithm>
#include <memory>

namespace {

using namespace prof::detail;

// A section in memory of its own, whose end a sanitizer sees.
class section {
 public:
  explicit section(text_view bytes) : copy_(new char[bytes.size]), size_(bytes.size) {
    std::memcpy(copy_.get(), bytes.data, bytes.size);
  }
  text_view view() const { return {copy_.get(), size_}; }

 private:
  std::unique_ptr<char[]> copy_;
  std::size_t size_;
};

class checker {
 public:
  static constexpr std::size_t parts = 14;
  static constexpr std::size_t most_memory = std::size_t{16} << 20;  // for inputs of some KiB

  explicit checker(fuzz::source input) {
    choices_ = input.byte();
    const bool is_refused = input.byte() < 32;
    const auto refused = input.number<std::uint16_t>();
    pages_.book.refused = is_refused ? refused : 0;
    for (int i = 0; i < 6; ++i) add_address(0x1000 + input.number<std::uint16_t>());
    std::size_t sizes[parts];
    for (std::size_t& size : sizes) size = input.number<std::uint16_t>();
    for (const std::size_t size : sizes) sections_.emplace_back(input.text(size));
  }

  void check() {
    const dwarf_sections main = from({0, 1, 2, 3, 4, 5, 6, 7, 8});
    dwarf_sections shared;
    shared.info = sections_[9].view();
    shared.abbrev = sections_[10].view();
    shared.str = sections_[11].view();
    shared.line_str = sections_[12].view();
    shared.str_offsets = sections_[13].view();
    const bool has_shared = (choices_ & 1) != 0;
    arena memory(fuzz::pages::from(), fuzz::pages::first_chunk);
    debug_info info(memory);
    const auto goes_on = [](void* asked) { return ++*static_cast<std::size_t*>(asked) != 0; };
    info.open(main, has_shared ? &shared : nullptr, (choices_ & 2) != 0 ? 0 : 0x1000, goes_on, &asked_);
    info.find(wanted_.data(), wanted_.size(), (choices_ & 4) == 0);
    check_work(main.bytes() + (has_shared ? shared.bytes() : 0), info.units());
    FUZZ_REQUIRE(memory.bytes() <= most_memory);
    for (const wanted_code& code : wanted_) check_code(code, info);
  }

 private:
  void add_address(std::uint64_t address) {
    wanted_code code;
    code.address = address;
    wanted_.push_back(code);
    std::sort(wanted_.begin(), wanted_.end(), [](const wanted_code& a, const wanted_code& b) { return a.address < b.address; });
  }
  dwarf_sections from(const std::vector<std::size_t>& of) const {
    dwarf_sections made;
    text_view* const places[] = {&made.info, &made.abbrev, &made.line,   &made.str,     &made.line_str,
                                 &made.str_offsets, &made.addr, &made.ranges, &made.rnglists};
    for (std::size_t i = 0; i < of.size(); ++i) *places[i] = sections_[of[i]].view();
    return made;
  }
  void check_work(std::size_t bytes, std::size_t units) const {
    const std::uint64_t steps = bytes * debug_info::steps_per_byte + debug_info::least_steps;
    FUZZ_REQUIRE(asked_ <= 2 * (steps / read_effort::steps_between) + units + 4);
  }
  void check_text(text_view text) const {
    bool is_there = text.size == 0 || pages_.book.holds(text);
    for (const section& one : sections_) is_there = is_there || fuzz::lies_in(text, one.view().data, one.view().size);
    FUZZ_REQUIRE(is_there);
  }
  void check_code(const wanted_code& code, const debug_info& info) const {
    check_text(code.file);
    FUZZ_REQUIRE(code.line_unit == no_index || code.line_unit < info.units());
    const function_walk& functions = info.functions();
    std::size_t frames = 0;
    for (std::uint32_t s = code.scope; s != no_index; s = functions.scope(s).parent) {
      FUZZ_REQUIRE(s < functions.scopes());
      const code_scope& scope = functions.scope(s);
      FUZZ_REQUIRE(scope.parent == no_index || scope.parent < s);
      FUZZ_REQUIRE(++frames <= function_walk::max_open + 1);
      check_text(scope.call_file);
      if (scope.function == no_index) continue;
      check_text(functions.function(scope).name);
      check_text(functions.function(scope).linkage_name);
    }
  }

  fuzz::pages pages_;
  std::vector<section> sections_{};
  std::vector<wanted_code> wanted_{};
  std::size_t asked_ = 0;
  unsigned choices_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  checker(fuzz::source(data, size)).check();
  return 0;
}
