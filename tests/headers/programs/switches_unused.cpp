// Has everything on and calls nothing.
#include <prof/prof.hpp>
