// The workload that takes longer to compile than all others: a file of its own.
#include <regex>
#include <string>

#include "workloads.hpp"

namespace {
volatile long g_found;
}

void regexes() {
  const std::regex pattern("(a+)(b|c)*d");
  std::smatch found;
  const std::string text = "xxaabcbdyy";
  g_found = g_found + (std::regex_search(text, found, pattern) ? 1 : 0);
}
