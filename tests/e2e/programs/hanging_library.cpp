// A library whose constructor does not return.
#include <unistd.h>

extern "C" __attribute__((noinline)) void hang_in_constructor() {
  for (;;) pause();
}
__attribute__((constructor)) static void begin() {
  hang_in_constructor();
  __asm__ volatile("");  // no jump, so that this frame is there
}
