// Its prof comes from the precompiled header, which the compiler reads before this line.
#ifndef PROF_PROF_HPP
#error "this file must be compiled with the precompiled header"
#endif

void* volatile kept;  // or an optimizer that sees the whole program drops the allocation

__attribute__((noinline)) void main_allocates() {
  kept = std::malloc(1000);
  __asm__ volatile("" ::: "memory");
}

int main(int, char** argv) {
  prof::set_mem_profile_rate(1);
  main_allocates();
  return prof::write_heap_profile(argv[1]) ? 0 : 1;
}
