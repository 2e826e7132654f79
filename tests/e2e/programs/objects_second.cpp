#include "objects_work.hpp"
OBJECT_WORK(second_work, 5003, 5004)
