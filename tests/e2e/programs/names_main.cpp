// names_main.cpp - a program of several files whose code test_names.py asks names of; see names_work.hpp.
#include <cstdio>
#include <cstdlib>

#include "names_work.hpp"

int main(int count, char** arguments) {
  const work::number rounds = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 1;
  const auto shown = [](const char* what, work::number sum) { std::printf("%s %llu\n", what, sum + 0ULL); };
  shown("shapes", work::shapes(rounds));
  shown("texts", work::texts(rounds));
  shown("tables", work::tables(rounds));
}
