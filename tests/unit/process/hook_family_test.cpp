// tests/unit/process/hook_family_test.cpp - who counts what hooks see.

#include "prof/process/hook_family.hpp"

#include <doctest/doctest.h>

#include <cstring>

using namespace prof::detail;

TEST_CASE("the first object's hooks count") {
  hook_owner family{};
  const hook_family_part first{};
  const hook_family_part second{};
  CHECK(claim_hooks_sig(family, &first));
  CHECK(claim_hooks_sig(family, &first));
  CHECK_FALSE(claim_hooks_sig(family, &second));
  CHECK(family.owner.load() == &first);
}

TEST_CASE("hooks are known by their magic, also where their object has gone") {
  hook_family_part hooks{};
  CHECK_FALSE(is_hook_family_sig(&hooks));
  hooks.magic = hook_family_magic;
#if PROF_DETAIL_OS_LINUX
  CHECK(is_hook_family_sig(&hooks));
#endif
  CHECK_FALSE(is_hook_family_sig(nullptr));
}

TEST_CASE("every family has a row that names it and the part it feeds") {
  for (unsigned i = 0; i < hook_family_count; ++i) {
    const hook_family_row row = family_row(i);
    CHECK(std::strlen(row.counted_by) > 0);
    CHECK(static_cast<unsigned>(row.counts) < part_count);
  }
  CHECK(family_row(hook_family_count).own == nullptr);
}
