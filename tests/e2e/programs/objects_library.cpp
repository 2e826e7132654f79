#include "objects_work.hpp"
OBJECT_WORK(library_work, 5005, 5006)
