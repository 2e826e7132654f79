/* C that is compiled without unwind tables. */
extern volatile long g_sink;
long plain_leaf(long x);
long plain_middle(long x);
long plain_entry(long x, long (*inside)(long));

__attribute__((noinline)) long plain_leaf(long x) {
  __asm__ volatile("int3" ::: "memory");
  return x + g_sink;
}
__attribute__((noinline)) long plain_middle(long x) {
  volatile long room[20];
  room[x & 7] = plain_leaf(x) + 1;
  return room[x & 7] + plain_leaf(x + 1);
}
long plain_entry(long x, long (*inside)(long)) {
  const long kept = plain_middle(x) + 1;
  return inside(kept) + kept;
}
