// Where in a stream of stamps to play: a delay behind what the sender sends now. A stream that was late is played
// further behind from then on, up to a bound, and slowly nearer again.
//
// Sender and controller need no common clock: the offset between stamps and the controller's time is taken from the
// earliest arrivals. The time played advances with the steps of the control loop, whenever the loop really woke up.
// Its rate is that at which steps come (a loop that misses one of ten plays more in each), turned slowly and by little
// towards the right place, so that neither jitter of the messages nor of the loop reaches the motion.
#pragma once

#include <algorithm>
#include <cmath>

namespace robolearn_controller
{

class StreamClock
{
public:
  static constexpr double kRateMax = 0.05;        // how much faster or slower than time the stream is played
  static constexpr double kPullTime = 0.2;        // s, how quickly an error of the time played is removed
  static constexpr double kSmoothTime = 0.05;     // s, how quickly the rate changes; a quarter: critically damped
  static constexpr double kPaceTime = 0.25;       // s, over which the rate of steps is taken
  static constexpr double kPaceStepsMax = 10.0;   // steps that may have been missed in one, as far as that rate knows
  static constexpr double kDelayLeak = 2e-4;      // s/s, at which a delay that was raised falls again
  static constexpr double kOffsetLeak = 1e-3;     // s/s, more than two computers' clocks drift apart
  static constexpr double kOffsetCatchUp = 0.1;   // s/s, at which earlier arrivals are believed

  void configure(double delay_s, double delay_max_s, double step_s)
  {
    delay_min_s_ = delay_s_ = delay_s;
    delay_max_s_ = delay_max_s;
    step_s_ = step_s;
    heard_ = false;
    rate_ = 1.0;
    played_s_ = 0.0;
  }

  // A sample arrived: its stamp and the controller's time, each in seconds on an axis of its own.
  void arrived(double stamp_s, double now_s)
  {
    const double offset = stamp_s - now_s;
    if (!heard_) {
      heard_ = true;
      offset_s_ = offset;
    } else {
      const double since = std::max(now_s - arrived_s_, 0.0);
      const double change = offset - offset_s_;
      offset_s_ += change > 0.0 ? std::min(change, kOffsetCatchUp * std::max(since, step_s_))
                                : std::max(change, -kOffsetLeak * since);
    }
    arrived_s_ = now_s;
  }

  // The newest sample was overdue by this much.
  void was_late(double overdue_s) { delay_s_ = std::min(delay_s_ + overdue_s, delay_max_s_); }

  // Begin to play, at the right place at once.
  void start(double now_s)
  {
    rate_ = pace_ = 1.0;
    stepped_s_ = now_s;
    played_s_ = wanted_s(now_s);
  }

  // One step of the control loop.
  void step(double now_s)
  {
    const double passed = std::clamp((now_s - stepped_s_) / step_s_, 0.0, kPaceStepsMax);
    stepped_s_ = now_s;
    delay_s_ = std::max(delay_s_ - kDelayLeak * step_s_, delay_min_s_);
    pace_ += (passed - pace_) * std::min(step_s_ / kPaceTime, 1.0);
    const double wanted =
      pace_ + std::clamp((wanted_s(now_s) - played_s_ - step_s_) / kPullTime, -kRateMax, kRateMax);
    rate_ += (wanted - rate_) * std::min(step_s_ / kSmoothTime, 1.0);
    played_s_ += rate_ * step_s_;
  }

  double played_s() const { return played_s_; }
  double rate() const { return rate_; }
  double delay_s() const { return delay_s_; }
  double wanted_s(double now_s) const { return now_s + offset_s_ - delay_s_; }
  double behind_s(double now_s) const { return wanted_s(now_s) - played_s_; }

private:
  double delay_s_{0.0}, delay_min_s_{0.0}, delay_max_s_{0.0};
  double step_s_{0.001};
  double offset_s_{0.0};
  double arrived_s_{0.0};
  double played_s_{0.0};
  double stepped_s_{0.0};
  double rate_{1.0}, pace_{1.0};
  bool heard_{false};
};

}  // namespace robolearn_controller
