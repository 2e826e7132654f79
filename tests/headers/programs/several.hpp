// What the three files of the program call of each other.
#pragma once

extern void* volatile kept[2];  // the last 1000 bytes allocated by each file

void second_allocates();
bool second_writes(const char* path);
void annotated(void (*work)());
