#include <prof/prof.hpp>
int other_file() { return prof::status().number("heap rate (bytes per sample)") == 0 ? 1 : 0; }
