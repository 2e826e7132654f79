#include <prof/prof.hpp>
int other_file() { return prof::status().heap_rate == 0 ? 1 : 0; }
