// The smallest inline thread-local variable.
#pragma once
inline thread_local int counter = 0;
