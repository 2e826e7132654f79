// Becomes a precompiled header.
#include <cstdlib>

#include <prof/prof.hpp>
