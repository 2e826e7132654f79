// tests/unit/whole.cpp - all of prof, for the tests that include api.hpp only: each file that includes the whole
// takes as long to compile as four that do not.
#include "prof/prof.hpp"
