// tests/unit/quiet.hpp - figures that need a machine which does nothing else, as tests/support/quiet.py has it for the
// other suites: a failure counts only where it was quiet; else the test waits, runs again, or is not judged, and says so.
// Such tests are in the suite "needs quiet", which tools/test runs by itself.
#pragma once

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

namespace quiet_test {

constexpr double quiet = 0.1;  // of all processors' time, what others may use
constexpr int looks = 60;      // of half a second

// What all processors did since the start of the machine, stolen time with it; see proc(5).
inline double busy_seconds() {
  std::ifstream file("/proc/stat");
  std::string name;
  double user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, softirq = 0, steal = 0;
  file >> name >> user >> nice >> system >> idle >> waiting >> irq >> softirq >> steal;
  return (user + nice + system + irq + softirq + steal) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

inline double own_seconds() {
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec); };
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

class watch {
 public:
  double share_of_others() const {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - began_;
    const double others = busy_seconds() - busy_ - (own_seconds() - own_);
    return others / (elapsed.count() * static_cast<double>(sysconf(_SC_NPROCESSORS_ONLN)));
  }

 private:
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  double busy_ = busy_seconds();
  double own_ = own_seconds();
};

inline bool becomes_quiet() {
  for (int look = 0; look < looks; ++look) {
    const watch others;
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    if (others.share_of_others() < quiet) return true;
  }
  return false;
}

// `figures()` says what is off, as text; nothing where all is right.
template <class Figures>
void check_when_quiet(const char* name, Figures figures) {
  std::string off;
  for (int attempt = 1; attempt <= 2; ++attempt) {
    const watch others;
    off = figures();
    if (off.empty()) return;
    if (others.share_of_others() < quiet) {
      FAIL_CHECK(off);
      return;
    }
    if (attempt == 2 || !becomes_quiet()) break;
  }
  std::printf("not judged: %s: the machine was not quiet, and %s\n", name, off.c_str());
}

// The text for a figure that is not within its bounds, both excluded.
inline std::string outside(const char* what, double figure, double least, double most) {
  if (figure > least && figure < most) return {};
  return std::string(what) + " is " + std::to_string(figure) + ", not within " + std::to_string(least) + " and " +
         std::to_string(most) + "; ";
}

}  // namespace quiet_test
