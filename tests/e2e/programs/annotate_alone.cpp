// tests/e2e/programs/annotate_alone.cpp - annotations in a program that nowhere includes the whole.
#include <cstdio>

#include "annotate_work.hpp"

extern "C" void beside();

int main() {
  for (int i = 0; i < 2; ++i) work_at("alone");
  beside();
  std::puts("ok");
}
