// The file that only annotates.
#include "several.hpp"

#include <prof/api.hpp>

void annotated(void (*work)()) {
  const prof::label_scope labels{{"where", "annotated"}};
  work();
}
