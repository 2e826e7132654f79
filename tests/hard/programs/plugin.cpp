// A library to load and unload; ROOM makes its frames another size.
#include "sampler.hpp"

static volatile long g_sink;

FN void plugin_leaf(void (*callback)()) {
  TAKE_SAMPLE();
  callback();
  g_sink = g_sink + 1;
}
FN long plugin_entry(void (*callback)()) {
  volatile char room[ROOM];
  room[ROOM / 2] = 1;
  plugin_leaf(callback);
  return room[ROOM / 2];
}
FN __attribute__((constructor)) void plugin_constructor() { g_sink = g_sink + 1; }
FN __attribute__((destructor)) void plugin_destructor() { g_sink = g_sink + 1; }
