#include "lock_types.hpp"

namespace {

struct place_to_wait {
  pthread_mutex_t mutex;
  pthread_cond_t cond;
};
void say_state(const place_to_wait& place) { say_state(place.mutex); }

int wait_at(place_to_wait& place) {
  return ask([&] { return pthread_cond_wait(&place.cond, &place.mutex); });
}
int wait_at_until(place_to_wait& place, const timespec& until) {
  return ask([&] { return pthread_cond_timedwait(&place.cond, &place.mutex, &until); });
}
int wait_at_by(place_to_wait& place, clockid_t clock, const timespec& until) {
  return ask([&] { return pthread_cond_clockwait(&place.cond, &place.mutex, clock, &until); });
}
int lock(place_to_wait& place) {
  return ask([&] { return pthread_mutex_lock(&place.mutex); });
}
int signal(place_to_wait& place) {
  return ask([&] { return pthread_cond_signal(&place.cond); });
}
int unlock(place_to_wait& place) {
  return is_mine(place.mutex) ? ask([&] { return pthread_mutex_unlock(&place.mutex); }) : skipped;
}
// Whoever does not hold the mutex may not wait.
template <class Call>
int if_mine(place_to_wait& place, Call call) {
  return is_mine(place.mutex) ? call() : skipped;
}

const operation<place_to_wait> operations[] = {
    {"lock", lock},
    {"unlock", unlock},
    {"signal", signal},
    {"broadcast", [](place_to_wait& place) { return ask([&] { return pthread_cond_broadcast(&place.cond); }); }},
    {"lock_signal", [](place_to_wait& place) { return lock(place) + signal(place); }},
    {"lock_signal_unlock", [](place_to_wait& place) { return lock(place) + signal(place) + unlock(place); }},
    {"wait", [](place_to_wait& place) { return if_mine(place, [&] { return wait_at(place); }); }},
    {"late",
     [](place_to_wait& place) {
       return if_mine(place, [&] { return wait_at_until(place, in_ms(CLOCK_REALTIME, 60000)); });
     }},
    {"clock_late",
     [](place_to_wait& place) {
       return if_mine(place, [&] { return wait_at_by(place, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 60000)); });
     }},
    {"timed", [](place_to_wait& place) { return if_mine(place, [&] { return wait_at_until(place, long_ago); }); }},
    {"soon",
     [](place_to_wait& place) {
       return if_mine(place, [&] { return wait_at_until(place, in_ms(CLOCK_REALTIME, 1)); });
     }},
    {"clock_soon",
     [](place_to_wait& place) {
       return if_mine(place, [&] { return wait_at_by(place, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 1)); });
     }},
    {"no_time", [](place_to_wait& place) { return if_mine(place, [&] { return wait_at_until(place, no_time); }); }},
    {"clock_no_time",
     [](place_to_wait& place) { return if_mine(place, [&] { return wait_at_by(place, CLOCK_REALTIME, no_time); }); }},
    {"no_clock",
     [](place_to_wait& place) { return if_mine(place, [&] { return wait_at_by(place, no_clock, long_ago); }); }},
    {"miswait", wait_at},
    {"mistimed", [](place_to_wait& place) { return wait_at_until(place, in_ms(CLOCK_REALTIME, 1)); }},
    {"misclock", [](place_to_wait& place) { return wait_at_by(place, CLOCK_MONOTONIC, in_ms(CLOCK_MONOTONIC, 1)); }},
    {"consistent", [](place_to_wait& place) { return ask([&] { return pthread_mutex_consistent(&place.mutex); }); }},
    {"destroy", [](place_to_wait& place) { return ask([&] { return pthread_cond_destroy(&place.cond); }); }},
};

const case_of_types cases[] = {
    {needs::nothing, "signal broadcast destroy"},
    {needs::nothing, "lock signal broadcast unlock"},
    {needs::nothing, "lock timed soon clock_soon unlock"},
    {needs::nothing, "lock no_time clock_no_time no_clock unlock destroy"},
    {needs::nothing, "other.lock begin.wait lock signal unlock end other.unlock"},
    {needs::nothing, "other.lock begin.wait lock broadcast unlock end other.unlock"},
    {needs::nothing, "other.lock begin.late lock signal unlock end other.unlock"},
    {needs::nothing, "other.lock begin.clock_late lock broadcast unlock end other.unlock"},
    {needs::recursive, "lock lock timed clock_soon unlock unlock"},
    {needs::owner, "miswait mistimed misclock lock unlock"},
    {needs::owner, "other.lock miswait mistimed misclock other.unlock"},
    {needs::shared, "other.lock begin.wait child.lock_signal_unlock end other.unlock"},
    {needs::robust, "other.lock begin.wait dying.lock_signal end other.consistent other.unlock lock unlock"},
    {needs::robust, "other.lock begin.late dying.lock_signal end other.consistent other.unlock lock timed unlock"},
    {needs::robust, "other.lock begin.clock_late dying.lock_signal end other.unlock lock"},
    {needs::robust, "other.lock begin.wait dying.lock_signal end other.timed"},
    {needs::robust_shared, "other.lock begin.wait child.lock_signal end other.consistent other.unlock lock unlock"},
};

void init_cond(pthread_cond_t& cond, int sharing, clockid_t clock) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setpshared(&attributes, sharing);
  pthread_condattr_setclock(&attributes, clock);
  if (pthread_cond_init(&cond, &attributes) != 0) std::abort();
  pthread_condattr_destroy(&attributes);
}
place_to_wait& make_place(const mutex_type& type, clockid_t clock = CLOCK_REALTIME) {
  auto& place = *new (shared_bytes(sizeof(place_to_wait))) place_to_wait;
  (void)init_mutex(place.mutex, type);
  init_cond(place.cond, type.sharing, clock);
  return place;
}

// ---- cancellation ----------------------------------------------------------------------------------------------------

struct cancelled_wait {
  place_to_wait& place;
  std::atomic<bool> waits{false};
  bool was_mine = false;
  int unlocked = skipped;
};
void clean_up(void* context) {
  auto& seen = *static_cast<cancelled_wait*>(context);
  seen.was_mine = is_mine(seen.place.mutex);
  seen.unlocked = unlock(seen.place);
}
int wait_for_ever(cancelled_wait& seen) {
  int answer = lock(seen.place);
  if (answer % errno_changed != 0) return answer;  // a ceiling
  pthread_cleanup_push(clean_up, &seen);
  seen.waits = true;
  answer = wait_at(seen.place);
  pthread_cleanup_pop(0);
  return answer;
}
void cancel_a_wait(const mutex_type& type) {
  cancelled_wait seen{make_place(type)};
  auto waiting = [&] { return wait_for_ever(seen); };
  const pthread_t thread = start(waiting);
  sleep_us(1000);
  say_type(type);
  say_answer("cancel", ask([&] { return pthread_cancel(thread); }));
  void* answer = nullptr;
  say_answer("join", ask([&] { return pthread_join(thread, &answer); }));
  say("cancelled", answer == PTHREAD_CANCELED);
  say("mine", seen.was_mine);
  say_answer("unlock", seen.unlocked);
  say_answer("lock", lock(seen.place));
  say_answer("unlock", unlock(seen.place));
  std::printf("\n");
}

// ---- clocks ------------------------------------------------------------------------------------------------------------

constexpr mutex_type plain{PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE};

// Waits for 20 ms by the clock of its attributes: by the other one the time would be over, or far away.
void wait_by_attribute(clockid_t clock) {
  place_to_wait& place = make_place(plain, clock);
  const timespec until = in_ms(clock, 20);
  lock(place);
  std::printf("cond of clock %d:", static_cast<int>(clock));
  say_answer("timedwait", wait_at_until(place, until));
  unlock(place);
  timespec now{};
  clock_gettime(clock, &now);
  say("waited", now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
  say_answer("destroy", pthread_cond_destroy(&place.cond));
  std::printf("\n");
}

// A signal wakes one of two, a broadcast both.
void wake_two() {
  place_to_wait& place = make_place(plain);
  std::atomic<int> waiting{0};
  std::atomic<int> woken{0};
  auto waiter = [&] {
    lock(place);
    ++waiting;
    const int answer = wait_at(place);
    ++woken;
    return answer + unlock(place);
  };
  const pthread_t threads[] = {start(waiter), start(waiter)};
  const auto wake = [&](int (*call)(pthread_cond_t*), int expected) {
    lock(place);
    call(&place.cond);
    unlock(place);
    wait_until([&] { return woken.load() >= expected; });
    sleep_us(1000);
    say("woken", woken);
  };
  wait_until([&] { return waiting.load() == 2; });
  std::printf("cond of two:");
  wake(pthread_cond_signal, 1);
  wake(pthread_cond_broadcast, 2);
  for (const pthread_t thread : threads) say_answer("wait", end_of(thread));
  std::printf("\n");
}

}  // namespace

void try_conditions() {
  for_each_mutex_type([](const mutex_type& type) {
    for (const case_of_types& one : cases) {
      if (!fits(one.for_types, type)) continue;
      place_to_wait& place = make_place(type);
      say_type(type);
      play script(operations, place);
      script.run(one.script);
    }
    cancel_a_wait(type);
  });
  for (const clockid_t clock : {CLOCK_REALTIME, CLOCK_MONOTONIC}) wait_by_attribute(clock);
  wake_two();
}
