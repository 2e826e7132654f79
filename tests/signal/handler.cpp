// Nothing but the way of a tick: what this object imports is what the signal handler may call.
#include "prof/sample/cpu.hpp"

extern const void* const signal_path[];  // extern: a const array would be local, and dropped
const void* const signal_path[] = {
    reinterpret_cast<const void*>(&prof::detail::os_signal_handler_sig),
    reinterpret_cast<const void*>(&prof::detail::tick_sig),
    reinterpret_cast<const void*>(&prof::detail::labels_of_sig),
};
