// The control loop's calls neither allocate nor throw: built with -fno-exceptions, and any allocation between `begin`
// and `end` ends with 1. Prints the longest and the mean time of an update.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>

#include "robolearn_controller/impedance.hpp"
#include "robolearn_controller/sample.hpp"
#include "robolearn_controller/stream_filter.hpp"

namespace
{
bool counting = false;
long allocations = 0;
}  // namespace

void * operator new(std::size_t size)
{
  allocations += counting ? 1 : 0;
  return std::malloc(size);
}
void operator delete(void * memory) noexcept { std::free(memory); }
void operator delete(void * memory, std::size_t) noexcept { std::free(memory); }

using namespace robolearn_controller;

int main()
{
  auto filter = std::make_unique<StreamFilter>();
  auto queue = std::make_unique<SampleQueue<256>>();
  Impedance impedance;
  FilterConfig c;
  c.joints = 7;
  ImpedanceConfig e;
  e.joints = 7;
  for (std::size_t j = 0; j < 7; ++j) {
    c.bounds[j] = {-2.0, 2.0, 2.0, 10.0, 5000.0};
    e.stiffness[j] = 600.0;
    e.damping[j] = 30.0;
    e.torque_max[j] = 80.0;
    e.torque_rate_max[j] = 1000.0;
  }
  if (!filter->configure(c) || !filter->reset({}) || !impedance.configure(e) || !impedance.reset({})) {
    return 2;
  }
  counting = true;
  double longest = 0.0, total = 0.0;
  int followed = 0;
  const int steps = 20000;
  for (int k = 0; k < steps; ++k) {
    if (k % 2 == 0 && k % 5000 < 4500) {
      Sample s;
      s.stamp_ns = k * 1000000LL;
      s.with_velocity = true;
      const double t = (k % 5000) * 1e-3 - 0.3;
      for (std::size_t j = 0; j < 7; ++j) {
        // reaches past the position limit and, now and then, is not a number
        s.position[j] = t > 0.0 ? 1.0 - std::cos(1.2 * t) : 0.0;
        s.velocity[j] = t > 0.0 ? 1.2 * std::sin(1.2 * t) : 0.0;
      }
      if (k == 12000) {
        s.position[3] = std::nan("");
      }
      queue->push(s);
    }
    const auto begin = std::chrono::steady_clock::now();
    Sample s;
    while (queue->take(s)) {
      filter->push(s, k * 1000000LL);
    }
    filter->update(k * 1000000LL);
    followed += filter->state() == FilterState::kFollowing ? 1 : 0;
    Vector q{}, zero{};
    for (std::size_t j = 0; j < 7; ++j) {
      q[j] = filter->joint(j).position;
    }
    impedance.update(q, zero, q, zero, zero, 1e-3);
    const double took = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
    longest = took > longest ? took : longest;
    total += took;
    if (k % 5000 == 4999) {
      filter->reset({});
    }
  }
  counting = false;
  std::printf("%d steps, %d followed, mean %.2f us, longest %.1f us, %ld allocations\n", steps, followed, total / steps,
              longest, allocations);
  return allocations == 0 && followed > 5000 ? 0 : 1;
}
