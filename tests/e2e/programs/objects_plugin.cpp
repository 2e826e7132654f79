#include "objects_work.hpp"
OBJECT_WORK(plugin_work, 5007, 5008)
