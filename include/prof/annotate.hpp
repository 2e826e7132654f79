// prof/annotate.hpp - the former name of api.hpp.
// Floor 14 (facade). For sources that include it; new ones include <prof/api.hpp>.
// Safety: see api.hpp.
// Memory: see api.hpp.
// Source: see api.hpp.
#ifndef PROF_ANNOTATE_HPP
#define PROF_ANNOTATE_HPP

#include "prof/api.hpp"

#endif  // PROF_ANNOTATE_HPP
