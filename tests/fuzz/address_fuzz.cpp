// tests/fuzz/address_fuzz.cpp - an address that is taken is loopback or an absolute path, and its
// text is read back as the same; one that is refused is quoted on one line.

#include "prof/http/address.hpp"

#include "fuzz.hpp"

namespace {

using namespace prof::detail;

bool is_local(const address& where) {
  static const unsigned char ip6_loopback[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  switch (where.type) {
    case address::kind::ip4: return where.ip[0] == 127;
    case address::kind::ip6: return std::memcmp(where.ip, ip6_loopback, 16) == 0;
    default: return where.path[0] == '/';
  }
}

bool same(const address& a, const address& b) {
  if (a.type != b.type || a.port != b.port) return false;
  if (a.type == address::kind::path) return std::strcmp(a.path, b.path) == 0;
  return std::memcmp(a.ip, b.ip, a.type == address::kind::ip4 ? 4 : 16) == 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  address where;
  const prof::result read = parse_address({reinterpret_cast<const char*>(data), size}, where);
  for (const char* c = read.message(); *c != '\0'; ++c) FUZZ_REQUIRE(!fuzz::is_control(*c));
  if (!read) return 0;
  FUZZ_REQUIRE(is_local(where));

  const address_text text = format_address(where);
  address back;
  const prof::result again = parse_address(text.view(), back);
  FUZZ_REQUIRE(again);
  FUZZ_REQUIRE(same(where, back));
  return 0;
}
