// Does this compiler export inline functions that use an inline thread-local variable?
module;

#include "tls_module.hpp"

export module counting;

export inline int count_inline() { return ++counter; }
export int count() { return ++counter; }
