// prof/annotate.hpp - labels and explicit records for code that is to be profiled: the cheap header.
// Floor 14 (facade). Include it anywhere; prof.hpp, included by at least one file of the process,
//           makes it count. Where none does, every call here does nothing.
// Safety: labels for ordinary context, record_alloc and record_free also inside an allocator; nothing
//         throws, prints or aborts.
// Memory: one pointer per object, 32 bytes per thread.
// Source: DESIGN in short: the whole in one file, this in all the others.
#ifndef PROF_ANNOTATE_HPP
#define PROF_ANNOTATE_HPP

#include "prof/config.hpp"
#include "prof/collect/annotations.hpp"

#endif  // PROF_ANNOTATE_HPP
