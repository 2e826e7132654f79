// tests/e2e/programs/annotate_place.cpp - a file that annotates and does not include the whole. PLACE
// names its function and itself.
#include "annotate_work.hpp"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

extern "C" __attribute__((visibility("default"))) void PLACE() { work_at(TEXT(PLACE)); }
