#include "lock_types.hpp"

using rwlock = pthread_rwlock_t;

// What glibc's lock says: whether the caller writes, somebody else does, and how many read.
static unsigned readers_of(const rwlock& lock) { return lock.__data.__readers >> 3; }
static bool has_writer(const rwlock& lock) { return lock.__data.__cur_writer != 0; }
static void say_state(const rwlock& lock) {
  const int writer = lock.__data.__cur_writer;
  std::printf("[%s %u]", writer == 0 ? "none" : writer == gettid() ? "mine" : "others", readers_of(lock));
}

namespace {

using timed_lock = int (*)(rwlock*, const timespec*);
template <timed_lock Call>
int until(rwlock& lock, const timespec& time) {
  return ask([&] { return Call(&lock, &time); });
}
using clock_lock = int (*)(rwlock*, clockid_t, const timespec*);
template <clock_lock Call>
int by(rwlock& lock, clockid_t clock, const timespec& time) {
  return ask([&] { return Call(&lock, clock, &time); });
}
int unlock(rwlock& lock) { return ask([&] { return pthread_rwlock_unlock(&lock); }); }

template <timed_lock Call>
int long_since(rwlock& lock) {
  return until<Call>(lock, long_ago);
}
template <timed_lock Call>
int soon(rwlock& lock) {
  return until<Call>(lock, in_ms(CLOCK_REALTIME, 1));
}
template <timed_lock Call>
int late(rwlock& lock) {
  return until<Call>(lock, in_ms(CLOCK_REALTIME, 60000));
}
template <timed_lock Call>
int at_no_time(rwlock& lock) {
  return until<Call>(lock, no_time);
}
template <clock_lock Call>
int soon_by(rwlock& lock) {
  return by<Call>(lock, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 1));
}
template <clock_lock Call>
int late_by(rwlock& lock) {
  return by<Call>(lock, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 60000));
}
template <clock_lock Call>
int at_no_time_by(rwlock& lock) {
  return by<Call>(lock, CLOCK_REALTIME, no_time);
}
template <clock_lock Call>
int by_no_clock(rwlock& lock) {
  return by<Call>(lock, no_clock, long_ago);
}

const operation<rwlock> operations[] = {
    {"rd", [](rwlock& lock) { return ask([&] { return pthread_rwlock_rdlock(&lock); }); }},
    {"wr", [](rwlock& lock) { return ask([&] { return pthread_rwlock_wrlock(&lock); }); }},
    {"try_rd", [](rwlock& lock) { return ask([&] { return pthread_rwlock_tryrdlock(&lock); }); }},
    {"try_wr", [](rwlock& lock) { return ask([&] { return pthread_rwlock_trywrlock(&lock); }); }},
    {"timed_rd", long_since<pthread_rwlock_timedrdlock>},
    {"timed_wr", long_since<pthread_rwlock_timedwrlock>},
    {"soon_rd", soon<pthread_rwlock_timedrdlock>},
    {"soon_wr", soon<pthread_rwlock_timedwrlock>},
    {"late_rd", late<pthread_rwlock_timedrdlock>},
    {"late_wr", late<pthread_rwlock_timedwrlock>},
    {"no_time_rd", at_no_time<pthread_rwlock_timedrdlock>},
    {"no_time_wr", at_no_time<pthread_rwlock_timedwrlock>},
    {"clock_soon_rd", soon_by<pthread_rwlock_clockrdlock>},
    {"clock_soon_wr", soon_by<pthread_rwlock_clockwrlock>},
    {"clock_late_rd", late_by<pthread_rwlock_clockrdlock>},
    {"clock_late_wr", late_by<pthread_rwlock_clockwrlock>},
    {"clock_no_time_rd", at_no_time_by<pthread_rwlock_clockrdlock>},
    {"clock_no_time_wr", at_no_time_by<pthread_rwlock_clockwrlock>},
    {"no_clock_rd", by_no_clock<pthread_rwlock_clockrdlock>},
    {"no_clock_wr", by_no_clock<pthread_rwlock_clockwrlock>},
    {"writer_waits",
     [](rwlock& lock) {
       constexpr unsigned next_is_a_writer = 2;
       wait_until([&] { return (__atomic_load_n(&lock.__data.__readers, __ATOMIC_RELAXED) & next_is_a_writer) != 0; });
       return 0;
     }},
    {"try_rd_unlock",
     [](rwlock& lock) {
       const int answer = ask([&] { return pthread_rwlock_tryrdlock(&lock); });
       return answer == 0 ? unlock(lock) : answer;
     }},
    {"unlock", [](rwlock& lock) { return has_writer(lock) || readers_of(lock) != 0 ? unlock(lock) : skipped; }},
    {"destroy", [](rwlock& lock) { return ask([&] { return pthread_rwlock_destroy(&lock); }); }},
};

const char* const cases[] = {
    "rd unlock wr unlock rd rd unlock unlock destroy",
    "try_rd unlock try_wr unlock",
    "timed_rd unlock timed_wr unlock",
    "soon_rd unlock soon_wr unlock",
    "clock_soon_rd unlock clock_soon_wr unlock",
    "no_time_rd no_time_wr clock_no_time_rd clock_no_time_wr no_clock_rd no_clock_wr rd unlock",
    "wr rd wr try_rd try_wr timed_rd timed_wr soon_rd soon_wr clock_soon_rd clock_soon_wr unlock",
    "wr no_time_rd no_time_wr clock_no_time_rd clock_no_time_wr no_clock_rd no_clock_wr unlock",
    "rd try_wr timed_wr soon_wr clock_soon_wr try_rd timed_rd unlock unlock unlock",
    "rd no_time_rd no_time_wr clock_no_time_rd clock_no_time_wr no_clock_rd no_clock_wr unlock",
    "wr other.try_rd other.try_wr other.timed_rd other.timed_wr other.soon_rd other.soon_wr unlock",
    "wr other.clock_soon_rd other.clock_soon_wr other.no_time_rd other.no_time_wr other.no_clock_rd unlock",
    "rd other.rd other.try_wr try_wr other.unlock soon_wr unlock wr unlock",
    "rd begin.wr unlock end other.unlock",
    "rd begin.late_wr unlock end other.unlock",
    "rd begin.clock_late_wr unlock end other.unlock",
    "wr begin.rd unlock end other.unlock",
    "wr begin.late_rd unlock end other.unlock",
    "wr begin.clock_late_rd unlock end other.unlock",
    "wr begin.wr unlock end other.unlock",
    "rd begin.wr writer_waits dying.try_rd_unlock dying.try_wr unlock end other.unlock",
    "rd destroy",
    "wr destroy",
    "dying.rd try_wr soon_wr try_rd unlock",
    "dying.wr try_rd try_wr soon_rd soon_wr clock_soon_rd destroy",
};
const char* const shared_cases[] = {
    "wr child.try_rd child.try_wr child.timed_rd child.soon_wr child.clock_soon_rd unlock child.rd try_wr",
    "rd child.try_rd_unlock child.try_wr child.timed_wr unlock child.wr try_rd timed_wr",
    "rd begin.wr writer_waits child.try_wr unlock end other.unlock",
};

struct rwlock_type {
  int preference;
  int sharing;
};
void try_rwlock(const rwlock_type& type, const char* words) {
  static const char* const preferences[] = {"readers", "writers", "nonrecursive_writers"};
  auto& lock = *new (shared_bytes(sizeof(rwlock))) rwlock;
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  pthread_rwlockattr_setkind_np(&attributes, type.preference);
  pthread_rwlockattr_setpshared(&attributes, type.sharing);
  if (pthread_rwlock_init(&lock, &attributes) != 0) std::abort();
  pthread_rwlockattr_destroy(&attributes);
  std::printf("rwlock %s %s:", preferences[type.preference], type.sharing == PTHREAD_PROCESS_SHARED ? "shared" : "private");
  play script(operations, lock);
  script.run(words);
}

}  // namespace

void try_rwlocks() {
  for (int preference : {PTHREAD_RWLOCK_PREFER_READER_NP, PTHREAD_RWLOCK_PREFER_WRITER_NP,
                         PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP}) {
    for (int sharing : {PTHREAD_PROCESS_PRIVATE, PTHREAD_PROCESS_SHARED}) {
      for (const char* words : cases) try_rwlock({preference, sharing}, words);
      if (sharing == PTHREAD_PROCESS_PRIVATE) continue;
      for (const char* words : shared_cases) try_rwlock({preference, sharing}, words);
    }
  }
}
