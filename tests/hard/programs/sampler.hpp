// What the programs of the hard cases share: samples of their own stack, taken at an exact place or at
// every instruction of a stretch, printed as addresses that test_hard.py names.
#ifndef PROF_TESTS_HARD_SAMPLER_HPP
#define PROF_TESTS_HARD_SAMPLER_HPP

#if defined(__x86_64__)
#define TAKE_SAMPLE() __asm__ volatile("int3" ::: "memory")
#else
#define TAKE_SAMPLE() __asm__ volatile("brk #0" ::: "memory")
#endif

#ifdef __cplusplus
#define FN extern "C" __attribute__((noinline, visibility("default")))
extern "C" {
#endif

struct sample_kind {
  unsigned long depth;
  int truncated;
  int approximate;
};

// Reads the code map, with tables of all modules when the program's arguments end with "table", and
// makes TAKE_SAMPLE and stepping work.
void begin_sampling(int argc, char** argv);
void build_all_tables(void);
void refresh_modules(void);
int modules_are_stale(void);
// How many frames are kept of a sample; 128 unless told.
void keep_frames(unsigned long count);
// Of stepped code, only samples whose leaf is in a module with this in its path are kept.
void keep_only(const char* path);
void sample_context(const void* context);
// Walks from any registers, keeps nothing. `context` may be null.
struct sample_kind walk_from(unsigned long pc, unsigned long sp, unsigned long fp, unsigned long rbx_or_lr,
                             const void* context);
// The same and keeps the sample.
void sample_from(unsigned long pc, unsigned long sp, unsigned long fp);
void start_stepping(void);
void stop_stepping(void);
// The modules as they are now, then all samples since the last time.
void print_samples(void);

#ifdef __cplusplus
}
#endif
#endif  // PROF_TESTS_HARD_SAMPLER_HPP
