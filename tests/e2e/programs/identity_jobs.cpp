// Two functions of one size; RELEASE 2 has them in another order. Made into the program or into a library.
char* kept[64];

#define JOB(name)                                               \
  __attribute__((noinline)) void name() {                       \
    for (char*& place : kept) place = new char[1 << 20];        \
    __asm__ volatile("" ::: "memory"); /* no tail call */       \
  }

#if RELEASE == 1
JOB(parse_orders)
JOB(send_invoices)
#else
JOB(send_invoices)
JOB(parse_orders)
#endif
