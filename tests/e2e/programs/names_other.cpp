// names_other.cpp - another program of the same files, for debug information that two share; see names_work.hpp.
#include <cstdio>

#include "names_work.hpp"

namespace {
struct other_shape final : work::painted {
  other_shape() : named("other"), painted(9) {}
  work::number area() const override { return work::fourth_step(color); }
};
}  // namespace

int main() {
  const other_shape one;
  const auto made = work::make_shapes(5);
  const work::number sum = work::each(made, [&one](const auto& shape) { return shape->area() + one.area(); });
  std::printf("%llu\n", work::tables(1) + sum + 0ULL);
  return work::texts(2) == 0 ? 1 : 0;
}
