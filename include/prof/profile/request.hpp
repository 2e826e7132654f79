// prof/profile/request.hpp - what callers ask for: a profile, a CPU session, limits.
// Floor 6 (profile). Public; read by collect/ and handed to the samplers.
// Safety: plain data.
// Memory: none.
// Source: Go's net/http/pprof query parameters. Members are only ever appended: each call hands over the size of what
//         it was compiled with, so that two versions of prof in one process understand each other.
#ifndef PROF_PROFILE_REQUEST_HPP
#define PROF_PROFILE_REQUEST_HPP

#include "prof/base/platform.hpp"

PROF_PUBLIC_BEGIN

// How a profile is written. pprof: gzipped profile.proto. text: what Go writes for debug=1. top: the
// hottest functions as a table for a terminal.
enum class format { pprof, text, top };

// What a profile says of each address. none: itself and the build id of its file. functions: a name. lines: file and line,
// too. inlines: all of it for each call that was inlined there, as several lines of one location, innermost first. The more,
// the longer the first profile takes; what was found once is kept. standard: what configure() says.
enum class symbols : unsigned char { none, standard, functions, lines, inlines };

// What to collect. New members are only ever appended.
struct profile_request {
  // As in Go: not 0 = text.
  int debug = 0;
  // 0: what is known now ("profile": 30 s). Otherwise how long to collect; for heap and allocs the
  // difference between the two ends.
  unsigned seconds = 0;
  symbols symbolize = symbols::standard;
  prof::format format = prof::format::pprof;
  // Samples per second of "profile", 1 to 10000; 0: the process's rate (100).
  unsigned hz = 0;
  // Set from another thread to end the wait early with an error; may be null.
  const std::atomic<bool>* cancel = nullptr;
  // Rows of format::top; 0: all.
  unsigned top_rows = 10;
  // Value type that format::top sorts by ("inuse_space"); null: the profile's default.
  const char* top_type = nullptr;
  // Of "mutex" and "block" over some seconds: the rate while they are collected, in their own unit (one of so many
  // contended unlocks; nanoseconds). 0: 1 and 10000. What the program has set stays in effect where it is more detailed.
  std::uint64_t rate = 0;
  // Of "mutex": "waiter" has the same delays at the stacks of those who waited; null or "": of those who made them wait.
  const char* view = nullptr;
  // Of "threads" and "goroutine": only threads that have been in one wait for so many seconds, the longest first. Known
  // of waits that began while the block or the mutex profile was on.
  unsigned min_wait = 0;
  // Of "threadcreate": threads that have ended and that nobody has joined, instead of those there are.
  bool leak = false;
  // Of what people read, format::text and top: names with all their template arguments, which are <...> otherwise. Files
  // have names whole.
  bool whole_names = false;
};

// What a CPU profile samples by. New members are only ever appended.
struct cpu_options {
  // Samples per CPU second and thread, 1 to 10000; 0: the process's rate, which is 100 unless
  // set_cpu_profile_rate changed it. Totals are right at any rate.
  unsigned hz = 0;
  symbols symbolize = symbols::standard;
};

// Limits of this process; see configure(). New members are only ever appended.
struct options {
  // Frames kept per stack, leaf end first; 1 to 1024.
  std::size_t max_depth = 128;
  // The signal for CPU sampling; 0 = SIGPROF if nobody uses it, else a free real-time signal.
  int signal = 0;
  // What symbols::standard stands for.
  symbols symbolize = symbols::inlines;
  // How long names of one profile may take, in milliseconds, and how much memory beside the files' own pages, in bytes. What is
  // not named by then keeps the name of its function, or of its file and place, and a comment says how many do.
  unsigned symbolize_ms = 2000;
  std::size_t symbolize_memory = std::size_t{64} << 20;
};

PROF_PUBLIC_END

#endif  // PROF_PROFILE_REQUEST_HPP
