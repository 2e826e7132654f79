// inflate_filter.cpp - reads zlib streams as prof does. Input: for each, how many bytes it has and how many should
// come out, as two 32-bit numbers, then the stream. Output: for each a byte, 1 if it is read, then what came out.

#include <prof/base/inflate.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

bool get(void* to, std::size_t size) { return size == 0 || std::fread(to, size, 1, stdin) == 1; }

}  // namespace

int main() {
  static prof::detail::inflate_tables tables;
  for (std::uint32_t sizes[2]; get(sizes, sizeof sizes);) {
    std::vector<char> in(sizes[0]);
    std::vector<char> out(sizes[1]);
    if (!get(in.data(), in.size())) return 1;
    const bool ok = prof::detail::inflate_zlib({in.data(), in.size()}, out.data(), out.size(), tables, [] { return true; });
    std::putchar(ok ? 1 : 0);
    if (ok && !out.empty()) std::fwrite(out.data(), 1, out.size(), stdout);
  }
}
