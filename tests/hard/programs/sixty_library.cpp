// Frames 21 to 30 of sixty.cpp's chain.
#include "sampler.hpp"

static volatile long g_sum;
#define STEP(here, next) \
  FN long here(long (*inside)(long), long n) { return next(inside, n + 1) + (g_sum += 1); }
FN long step_30(long (*inside)(long), long n) { return inside(n) + (g_sum += 1); }
STEP(step_29, step_30)
STEP(step_28, step_29)
STEP(step_27, step_28)
STEP(step_26, step_27)
STEP(step_25, step_26)
STEP(step_24, step_25)
STEP(step_23, step_24)
STEP(step_22, step_23)
STEP(step_21, step_22)
