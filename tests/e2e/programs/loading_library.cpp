// A library that takes its time to be loaded, as its program says.
extern "C" void while_it_is_loaded();
__attribute__((constructor)) static void load() { while_it_is_loaded(); }
