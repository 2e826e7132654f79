#include "lock_types.hpp"

static int clock_lock(pthread_mutex_t& mutex, clockid_t clock, const timespec& until) {
  return ask([&] { return pthread_mutex_clocklock(&mutex, clock, &until); });
}
static int timed_lock(pthread_mutex_t& mutex, const timespec& until) {
  return ask([&] { return pthread_mutex_timedlock(&mutex, &until); });
}

static const operation<pthread_mutex_t> operations[] = {
    {"lock", [](pthread_mutex_t& mutex) { return ask([&] { return pthread_mutex_lock(&mutex); }); }},
    {"try", [](pthread_mutex_t& mutex) { return ask([&] { return pthread_mutex_trylock(&mutex); }); }},
    {"timed", [](pthread_mutex_t& mutex) { return timed_lock(mutex, long_ago); }},
    {"soon", [](pthread_mutex_t& mutex) { return timed_lock(mutex, in_ms(CLOCK_REALTIME, 1)); }},
    {"late", [](pthread_mutex_t& mutex) { return timed_lock(mutex, in_ms(CLOCK_REALTIME, 60000)); }},
    {"no_time", [](pthread_mutex_t& mutex) { return timed_lock(mutex, no_time); }},
    {"clock", [](pthread_mutex_t& mutex) { return clock_lock(mutex, CLOCK_REALTIME, long_ago); }},
    {"clock_soon", [](pthread_mutex_t& mutex) { return clock_lock(mutex, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 1)); }},
    {"clock_late", [](pthread_mutex_t& mutex) { return clock_lock(mutex, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 60000)); }},
    {"clock_no_time", [](pthread_mutex_t& mutex) { return clock_lock(mutex, CLOCK_MONOTONIC, no_time); }},
    {"no_clock", [](pthread_mutex_t& mutex) { return clock_lock(mutex, no_clock, long_ago); }},
    {"unlock",
     [](pthread_mutex_t& mutex) { return is_mine(mutex) ? ask([&] { return pthread_mutex_unlock(&mutex); }) : skipped; }},
    {"misunlock", [](pthread_mutex_t& mutex) { return ask([&] { return pthread_mutex_unlock(&mutex); }); }},
    {"consistent", [](pthread_mutex_t& mutex) { return ask([&] { return pthread_mutex_consistent(&mutex); }); }},
    {"destroy", [](pthread_mutex_t& mutex) { return ask([&] { return pthread_mutex_destroy(&mutex); }); }},
    {"ceiling",
     [](pthread_mutex_t& mutex) {
       int ceiling = 0;
       return ask([&] { return pthread_mutex_getprioceiling(&mutex, &ceiling); });
     }},
    {"set_ceiling",
     [](pthread_mutex_t& mutex) {
       int before = 0;
       return ask([&] { return pthread_mutex_setprioceiling(&mutex, 2, &before); });
     }},
};

// After a trylock that answers ENOTRECOVERABLE glibc 2.36 leaves the mutex locked: nothing may wait for it without end.
static const case_of_types cases[] = {
    {needs::nothing, "lock unlock lock unlock destroy"},
    {needs::nothing, "try unlock"},
    {needs::nothing, "timed unlock"},
    {needs::nothing, "clock unlock"},
    {needs::nothing, "clock_soon unlock"},
    {needs::nothing, "no_time unlock"},
    {needs::nothing, "clock_no_time unlock"},
    {needs::nothing, "no_clock unlock"},
    {needs::nothing, "ceiling set_ceiling ceiling lock unlock"},
    {needs::nothing, "lock try unlock unlock"},
    {needs::nothing, "lock timed unlock unlock"},
    {needs::nothing, "lock soon unlock unlock"},
    {needs::nothing, "lock clock unlock unlock"},
    {needs::nothing, "lock no_time no_clock unlock unlock"},
    {needs::relocks, "lock lock lock unlock unlock unlock"},
    {needs::nothing, "other.lock try timed soon other.unlock try unlock"},
    {needs::nothing, "other.lock other.try try timed soon other.unlock other.unlock"},
    {needs::nothing, "other.lock clock clock_soon no_clock no_time clock_no_time other.unlock"},
    {needs::nothing, "lock begin.lock unlock end other.unlock"},
    {needs::nothing, "lock begin.late unlock end other.unlock"},
    {needs::nothing, "lock begin.clock_late unlock end other.unlock"},
    {needs::relocks, "lock try begin.lock unlock unlock end other.unlock"},
    {needs::owner, "misunlock lock unlock"},
    {needs::owner, "other.lock misunlock dying.misunlock other.unlock"},
    {needs::nothing, "other.lock destroy other.unlock"},
    {needs::nothing, "destroy lock try timed clock misunlock consistent destroy"},
    {needs::nothing, "dying.lock try timed soon clock clock_soon destroy"},
    {needs::nothing, "consistent lock consistent unlock"},
    {needs::robust, "dying.lock lock consistent unlock lock unlock destroy"},
    {needs::robust, "dying.lock try consistent unlock try unlock"},
    {needs::robust, "dying.lock timed consistent unlock timed unlock"},
    {needs::robust, "dying.lock clock consistent unlock clock unlock"},
    {needs::robust, "dying.lock lock unlock lock timed soon clock clock_soon lock consistent destroy"},
    {needs::robust, "dying.lock try unlock other.lock try timed"},
    {needs::robust, "dying.lock lock timed try consistent unlock unlock unlock"},
    {needs::robust, "dying.lock dying.lock lock consistent unlock"},
    {needs::robust, "dying.lock other.lock begin.unlock lock end"},
    {needs::robust, "brief.lock lock consistent unlock"},
    {needs::robust, "brief.lock late consistent unlock"},
    {needs::robust, "brief.lock clock_late consistent unlock"},
    {needs::shared, "lock child.try child.timed child.soon child.clock child.clock_soon unlock child.try timed"},
    {needs::shared, "child.destroy lock"},
    {needs::robust_shared, "child.lock lock consistent unlock child.lock try unlock child.lock try child.timed"},
    {needs::robust_shared, "child.lock soon consistent unlock child.lock clock_soon unlock timed child.timed child.lock"},
    {needs::robust_shared, "lock child.misunlock unlock child.misunlock"},
};

void try_mutexes() {
  for_each_mutex_type([](const mutex_type& type) {
    for (const case_of_types& one : cases) {
      if (!fits(one.for_types, type)) continue;
      auto& mutex = *new (shared_bytes(sizeof(pthread_mutex_t))) pthread_mutex_t;
      (void)init_mutex(mutex, type);
      say_type(type);
      play script(operations, mutex);
      script.run(one.script);
    }
  });
}
