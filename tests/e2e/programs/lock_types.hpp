// What the files of the program lock_types share. A case is a script of words, "ACTOR.OPERATION" or "OPERATION":
//   other.  a second thread that lives as long as the script      begin.  the same, which is not waited for until `end`
//   dying.  a thread that ends after it, whatever it holds        brief.  the same, 3 ms later, while the script goes on
//   child.  a forked process that ends after it
// Each is printed with its answer, an errno's name, `+errno` where a call changed errno beside, and what the object says
// of itself then, unless another thread is at it.
#pragma once
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>

// Each prints its lines.
void try_mutexes();
void try_conditions();
void try_rwlocks();
void try_waits();
void try_signals();
void try_cancellation();

// ---- answers -------------------------------------------------------------------------------------------------------

constexpr int skipped = 10000;       // the operation would be undefined: the actor does not hold what it is to give up
constexpr int errno_changed = 1000;  // is added
constexpr int errno_before = 77;

inline void say_answer(const char* what, int answer) {
  std::printf(" %s=", what);
  if (answer == skipped) return void(std::printf("-"));
  const int code = answer >= errno_changed ? answer - errno_changed : answer;
  const char* const name = strerrorname_np(code);
  if (name != nullptr) std::printf("%s", name);
  else std::printf("%d", code);
  if (code != answer) std::printf("+errno");
}

// What a call answers that returns an errno.
template <class Call>
int ask(Call call) {
  errno = errno_before;
  const int answer = call();
  return errno == errno_before || answer == skipped ? answer : answer + errno_changed;
}
// The same of a call that returns -1 and sets errno.
template <class Call>
int ask_errno(Call call) {
  errno = errno_before;
  const auto answer = call();
  if (answer == -1) return errno;
  return static_cast<int>(answer) + (errno == errno_before ? 0 : errno_changed);
}

// ---- times and threads -----------------------------------------------------------------------------------------------

// Says in one word what came of it.
inline void say(const char* what, int number) { std::printf(" %s=%d", what, number); }

constexpr timespec long_ago{1, 0};
constexpr timespec no_time{1, 1000000000};
constexpr clockid_t no_clock = CLOCK_PROCESS_CPUTIME_ID;

inline timespec in_ms(clockid_t clock, long milliseconds) {
  timespec time{};
  clock_gettime(clock, &time);
  time.tv_nsec += milliseconds * 1000000;
  time.tv_sec += time.tv_nsec / 1000000000;
  time.tv_nsec %= 1000000000;
  return time;
}
inline void sleep_us(long microseconds) {
  const timespec time{0, microseconds * 1000};
  nanosleep(&time, nullptr);
}
template <class Condition>
void wait_until(Condition condition) {
  while (!condition()) sleep_us(50);
}

// A thread that runs `act`, which must live as long, and returns an int.
template <class Act>
pthread_t start(Act& act) {
  pthread_t thread{};
  const int failed = pthread_create(
      &thread, nullptr,
      [](void* context) -> void* {
        return reinterpret_cast<void*>(static_cast<std::intptr_t>((*static_cast<Act*>(context))()));
      },
      &act);
  if (failed != 0) std::abort();
  return thread;
}
inline int end_of(pthread_t thread) {
  void* answer = nullptr;
  if (pthread_join(thread, &answer) != 0) std::abort();
  return static_cast<int>(reinterpret_cast<std::intptr_t>(answer));
}
template <class Act>
int in_another_thread(Act act) {
  return end_of(start(act));
}

// Memory that children share, zeroed, each piece given out once.
inline void* shared_bytes(std::size_t size) {
  constexpr std::size_t all = std::size_t{16} << 20;
  constexpr int kind = MAP_SHARED | MAP_ANONYMOUS;
  static char* const pool = static_cast<char*>(mmap(nullptr, all, PROT_READ | PROT_WRITE, kind, -1, 0));
  static std::size_t used = 0;
  char* const piece = pool + used;
  used += (size + 63) / 64 * 64;
  if (pool == MAP_FAILED || used > all) std::abort();
  return piece;
}
template <class Act>
int in_a_child(Act act) {
  static auto* const answer = static_cast<volatile int*>(shared_bytes(sizeof(int)));
  *answer = -1;
  const pid_t child = fork();
  if (child == 0) {
    *answer = act();
    _exit(0);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || status != 0) std::abort();
  return *answer;
}

// ---- scripts -----------------------------------------------------------------------------------------------------------

template <class Object>
struct operation {
  const char* name;
  int (*call)(Object&);
};

// Does one operation after the other, in a thread of its own.
template <class Object>
class worker {
 public:
  explicit worker(Object& object) : object_(object), thread_(start(*this)) {}
  ~worker() {
    is_over_ = true;
    end_of(thread_);
  }
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  void begin(const operation<Object>& what) {
    is_done_ = false;
    job_ = &what;
  }
  int end() {
    wait_until([this] { return is_done_.load(); });
    return answer_;
  }
  int operator()() {
    while (!is_over_) {
      const operation<Object>* const job = job_.exchange(nullptr);
      if (job == nullptr) {
        sleep_us(20);
        continue;
      }
      answer_ = job->call(object_);
      is_done_ = true;
    }
    return 0;
  }

 private:
  Object& object_;
  std::atomic<const operation<Object>*> job_{nullptr};
  std::atomic<bool> is_done_{true};
  std::atomic<bool> is_over_{false};
  std::atomic<int> answer_{0};
  pthread_t thread_;  // last, for it uses the others
};

// Does one operation, and ends a moment later.
template <class Object>
class brief_thread {
 public:
  brief_thread(Object& object, const operation<Object>& what)
      : object_(object), what_(what), thread_(start(*this)) {
    wait_until([this] { return is_done_.load(); });
  }
  ~brief_thread() { end_of(thread_); }
  brief_thread(const brief_thread&) = delete;
  brief_thread& operator=(const brief_thread&) = delete;

  int answer() const { return answer_; }
  int operator()() {
    answer_ = what_.call(object_);
    is_done_ = true;
    sleep_us(3000);
    return 0;
  }

 private:
  Object& object_;
  const operation<Object>& what_;
  std::atomic<bool> is_done_{false};
  std::atomic<int> answer_{0};
  pthread_t thread_;
};

// Needs of Object: say_state(object).
template <class Object, std::size_t Count>
class play {
 public:
  play(const operation<Object> (&all)[Count], Object& object) : all_(all), object_(object), other_(object) {}
  ~play() { delete brief_; }
  play(const play&) = delete;
  play& operator=(const play&) = delete;

  void run(const char* script) {
    char word[64];
    int length = 0;
    for (; std::sscanf(script, "%63s%n", word, &length) == 1; script += length) {
      say_answer(word, answer_of(word));
      if (!is_moving_) say_state(object_);
    }
    std::printf("\n");
  }

 private:
  const operation<Object>& find(const char* name) const {
    for (const operation<Object>& one : all_) {
      if (std::strcmp(one.name, name) == 0) return one;
    }
    std::fprintf(stderr, "no operation %s\n", name);
    std::exit(3);
  }
  int answer_of(const char* word) {
    if (std::strcmp(word, "end") == 0) return end();
    if (is_brief_) is_moving_ = is_brief_ = false;
    const char* const dot = std::strchr(word, '.');
    const operation<Object>& what = find(dot == nullptr ? word : dot + 1);
    switch (dot == nullptr ? ' ' : word[0]) {
      case ' ': return what.call(object_);
      case 'o': other_.begin(what); return other_.end();
      case 'b': return word[1] == 'e' ? begin(what) : begin_brief(what);
      case 'd': return in_another_thread([&] { return what.call(object_); });
      default: return in_a_child([&] { return what.call(object_); });
    }
  }
  int end() {
    is_moving_ = false;
    return other_.end();
  }
  int begin(const operation<Object>& what) {
    is_moving_ = true;
    other_.begin(what);
    sleep_us(1000);  // by then it waits most probably; no answer depends on that
    return 0;
  }
  int begin_brief(const operation<Object>& what) {
    is_moving_ = is_brief_ = true;
    brief_ = new brief_thread<Object>(object_, what);
    return brief_->answer();
  }

  const operation<Object> (&all_)[Count];
  Object& object_;
  worker<Object> other_;
  brief_thread<Object>* brief_ = nullptr;
  bool is_moving_ = false;  // another thread changes the state: nothing can be said of it
  bool is_brief_ = false;   // until the next word
};

// ---- mutexes of every type -------------------------------------------------------------------------------------------

struct mutex_type {
  int type;
  int protocol;
  int robustness;
  int sharing;
  bool is_robust() const { return robustness == PTHREAD_MUTEX_ROBUST; }
  bool is_shared() const { return sharing == PTHREAD_PROCESS_SHARED; }
  bool is_recursive() const { return type == PTHREAD_MUTEX_RECURSIVE; }
  bool relocks() const { return is_recursive() || type == PTHREAD_MUTEX_ERRORCHECK; }
  // Whoever unlocks it without holding it is told so.
  bool knows_owner() const { return relocks() || is_robust() || protocol == PTHREAD_PRIO_INHERIT; }
};

// Which types a script is for.
enum class needs { nothing, recursive, relocks, owner, robust, shared, robust_shared };
inline bool fits(needs what, const mutex_type& type) {
  switch (what) {
    case needs::nothing: return true;
    case needs::recursive: return type.is_recursive();
    case needs::relocks: return type.relocks();
    case needs::owner: return type.knows_owner();
    case needs::robust: return type.is_robust();
    case needs::shared: return type.is_shared();
    case needs::robust_shared: return type.is_robust() && type.is_shared();
  }
  return false;
}
struct case_of_types {
  needs for_types;
  const char* script;
};

inline void say_type(const mutex_type& type) {
  static const char* const types[] = {"normal", "recursive", "errorcheck", "adaptive"};
  static const char* const protocols[] = {"none", "inherit", "protect"};
  std::printf("%s %s %s %s:", types[type.type], protocols[type.protocol], type.is_robust() ? "robust" : "stalled",
              type.is_shared() ? "shared" : "private");
}
inline int init_mutex(pthread_mutex_t& mutex, const mutex_type& type) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, type.type);
  pthread_mutexattr_setprotocol(&attributes, type.protocol);
  pthread_mutexattr_setrobust(&attributes, type.robustness);
  pthread_mutexattr_setpshared(&attributes, type.sharing);
  const int answer = ask([&] { return pthread_mutex_init(&mutex, &attributes); });
  pthread_mutexattr_destroy(&attributes);
  return answer;
}
// Tells whether there can be mutexes of this type, and says when not.
inline bool is_possible(const mutex_type& type) {
  pthread_mutex_t mutex;
  const int answer = init_mutex(mutex, type);
  if (answer == 0) return pthread_mutex_destroy(&mutex) == 0;
  say_type(type);
  say_answer("init", answer);
  std::printf("\n");
  return false;
}

template <class Visit>
void for_each_mutex_type(Visit visit) {
  for (int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK, PTHREAD_MUTEX_ADAPTIVE_NP}) {
    for (int protocol : {PTHREAD_PRIO_NONE, PTHREAD_PRIO_INHERIT, PTHREAD_PRIO_PROTECT}) {
      for (int robustness : {PTHREAD_MUTEX_STALLED, PTHREAD_MUTEX_ROBUST}) {
        for (int sharing : {PTHREAD_PROCESS_PRIVATE, PTHREAD_PROCESS_SHARED}) {
          const mutex_type one{type, protocol, robustness, sharing};
          if (is_possible(one)) visit(one);
        }
      }
    }
  }
}

// What glibc's mutex says: whose it is, how often, and how many use it. An owner's death makes its owner INT_MAX, until
// it is consistent, or what cannot be recovered INT_MAX - 1.
inline bool is_mine(const pthread_mutex_t& mutex) {
  constexpr int thread_bits = 0x3fffffff;
  const int owner = mutex.__data.__owner;
  return owner == gettid() || (owner == INT32_MAX && (mutex.__data.__lock & thread_bits) == gettid());
}
inline void say_state(const pthread_mutex_t& mutex) {
  const int owner = mutex.__data.__owner;
  std::printf("[%s", is_mine(mutex) ? "mine" : owner == 0 ? "free" : owner < INT32_MAX - 1 ? "others" : "dead");
  std::printf(" %u %d]", mutex.__data.__count, static_cast<int>(mutex.__data.__nusers));
}
