// prof/api.hpp - the whole public API, without the profiler: declarations, and forwards through one table.
// Floor 14 (facade). Include it anywhere. A file that includes prof.hpp, in this object or another of the process, fills
//           the table; where none does, labels and records do nothing and all other calls return an error that says so.
// Safety: see each header; nothing throws, prints or aborts, and no constructor runs before main.
// Memory: 8 bytes of thread-local storage and a pointer per object.
// Source: README.md for users. The whole in one file, this in all the others.
#ifndef PROF_API_HPP
#define PROF_API_HPP

#include "prof/config.hpp"
#include "prof/collect/annotations.hpp"
#include "prof/collect/http_calls.hpp"
#include "prof/collect/locks.hpp"
#include "prof/collect/profiles.hpp"
#include "prof/collect/status.hpp"

#endif  // PROF_API_HPP
