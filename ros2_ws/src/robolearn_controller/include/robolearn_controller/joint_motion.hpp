// One joint's jerk-limited motion: the quickest stop, which states leave room for it, and one step that tracks a
// reference without ever leaving them.
//
// A step is taken only to a state from which the quickest stop stays inside every bound; otherwise the stop itself
// goes on, which was found good one step earlier. So the bounds hold for every reference, whatever it asks for.
// Position, velocity and acceleration differences on a grid of steps are means of the continuous ones, so that they
// obey the same bounds. No allocation, no locks, no exceptions. Units: rad, s (or m, s for a linear joint).
#pragma once

#include <algorithm>
#include <cmath>

namespace robolearn_controller
{

// Room for rounding, so that what is commanded never exceeds a bound.
constexpr double kShare = 1.0 - 1e-6;
// Of the velocity bound: how much faster than the reference a joint may be while it catches up with it.
constexpr double kCatchUpShare = 0.1;

struct JointBounds
{
  double position_min{0.0};
  double position_max{0.0};
  double velocity_max{0.0};
  double acceleration_max{0.0};
  double jerk_max{0.0};

  bool valid() const
  {
    return std::isfinite(position_min) && std::isfinite(position_max) && position_min < position_max &&
           std::isfinite(velocity_max) && velocity_max > 0.0 && std::isfinite(acceleration_max) &&
           acceleration_max > 0.0 && std::isfinite(jerk_max) && jerk_max > 0.0;
  }
};

struct JointState
{
  double position{0.0};
  double velocity{0.0};
  double acceleration{0.0};

  bool at_rest() const { return velocity == 0.0 && acceleration == 0.0; }
};

// Where to be now (position, velocity, acceleration), and the acceleration one step later.
struct JointReference
{
  double position{0.0};
  double velocity{0.0};
  double acceleration{0.0};
  double acceleration_next{0.0};
};

// Feedback gains of the tracking law: all three poles of small errors at `bandwidth`.
struct TrackingGains
{
  double position{0.0};      // 1/s
  double velocity{0.0};      // 1/s
  double acceleration{0.0};  // 1/s

  static TrackingGains for_bandwidth(double bandwidth_rad_s)
  {
    return {bandwidth_rad_s / 3.0, bandwidth_rad_s, 3.0 * bandwidth_rad_s};
  }
};

inline JointState advance(const JointState & s, double jerk, double t)
{
  return {
    s.position + (s.velocity + (0.5 * s.acceleration + jerk * t / 6.0) * t) * t,
    s.velocity + (s.acceleration + 0.5 * jerk * t) * t, s.acceleration + jerk * t};
}

// The quickest stop: jerk against the motion for t1, constant acceleration for t2, jerk back to zero for t3.
struct Stop
{
  double jerk{0.0};  // signed, of the first phase
  double t1{0.0}, t2{0.0}, t3{0.0};
};

inline Stop plan_stop(const JointState & s, const JointBounds & b)
{
  const double jerk = b.jerk_max * kShare;
  // the sign of what would be left of the velocity if only the acceleration were taken away
  const double left = s.velocity + 0.5 * s.acceleration * std::fabs(s.acceleration) / jerk;
  const double sign = left < 0.0 ? -1.0 : 1.0;
  const double speed = sign * s.velocity;
  const double ramp = sign * s.acceleration;
  const double wanted = std::sqrt(std::max(jerk * speed + 0.5 * ramp * ramp, 0.0));
  const double peak = std::min(wanted, std::max(b.acceleration_max * kShare, -ramp));
  Stop stop;
  stop.jerk = -sign * jerk;
  stop.t1 = std::max(ramp + peak, 0.0) / jerk;
  stop.t3 = peak / jerk;
  if (peak < wanted) {
    const double middle = speed + (ramp - 0.5 * jerk * stop.t1) * stop.t1;
    stop.t2 = std::max(middle - 0.5 * jerk * stop.t3 * stop.t3, 0.0) / peak;
  }
  return stop;
}

// The state after time t of the quickest stop; exactly at rest once the stop is over.
inline JointState follow_stop(JointState s, const JointBounds & b, double t)
{
  if (s.at_rest()) {
    return s;
  }
  const Stop stop = plan_stop(s, b);
  if (t < stop.t1) {
    return advance(s, stop.jerk, t);
  }
  s = advance(s, stop.jerk, stop.t1);
  t -= stop.t1;
  if (t < stop.t2) {
    return advance(s, 0.0, t);
  }
  s = advance(s, 0.0, stop.t2);
  t -= stop.t2;
  s = advance(s, -stop.jerk, std::min(t, stop.t3));
  return t < stop.t3 ? s : JointState{s.position, 0.0, 0.0};
}

// Lowest and highest position of the quickest stop, its beginning included.
inline void stop_extent(const JointState & s, const JointBounds & b, double & low, double & high)
{
  low = high = s.position;
  if (s.at_rest()) {
    return;
  }
  const Stop stop = plan_stop(s, b);
  JointState end = advance(s, stop.jerk, stop.t1);
  end = advance(end, 0.0, stop.t2);
  end = advance(end, -stop.jerk, stop.t3);
  low = std::min(low, end.position);
  high = std::max(high, end.position);
  const double sign = stop.jerk > 0.0 ? -1.0 : 1.0;
  const double speed = sign * s.velocity;
  if (speed < 0.0) {  // turns around on its way to rest, within the first phase
    const double jerk = std::fabs(stop.jerk);
    const double ramp = sign * s.acceleration;
    const double turn = (ramp - std::sqrt(std::max(ramp * ramp + 2.0 * jerk * speed, 0.0))) / jerk;
    const double there = advance(s, stop.jerk, std::max(turn, 0.0)).position;
    low = std::min(low, there);
    high = std::max(high, there);
  }
}

// Whether the quickest stop from s stays inside every bound. False for anything that is not finite.
inline bool can_stop(const JointState & s, const JointBounds & b)
{
  const double jerk = b.jerk_max * kShare;
  const double v_max = b.velocity_max * kShare;
  const double peak = s.velocity + 0.5 * s.acceleration * std::fabs(s.acceleration) / jerk;
  if (!(std::fabs(s.acceleration) <= b.acceleration_max * kShare) || !(std::fabs(s.velocity) <= v_max) ||
      !(std::fabs(peak) <= v_max)) {
    return false;
  }
  double low, high;
  stop_extent(s, b, low, high);
  return low >= b.position_min && high <= b.position_max;
}

namespace detail
{

// Linear with slope `gain` near zero, then the square root along which the error is removed at `rate` (Zanasi and
// others call this the switching curve): value and slope are continuous.
inline double braking_curve(double error, double gain, double rate)
{
  const double size = std::fabs(error);
  const double linear = rate / (gain * gain);
  const double value = size <= linear ? gain * size : std::sqrt(rate * (2.0 * size - linear));
  return error < 0.0 ? -value : value;
}

inline JointState blend(const JointState & a, const JointState & b, double share)
{
  return {
    a.position + share * (b.position - a.position), a.velocity + share * (b.velocity - a.velocity),
    a.acceleration + share * (b.acceleration - a.acceleration)};
}

}  // namespace detail

// The jerk that tracks the reference within the bounds of jerk and acceleration, regardless of the others.
inline double tracking_jerk(
  const JointState & s, const JointReference & r, const JointBounds & b, const TrackingGains & gains, double dt)
{
  const double faster = kCatchUpShare * b.velocity_max;
  const double catch_up = std::clamp(
    detail::braking_curve(r.position - s.position, gains.position, 0.5 * b.acceleration_max), -faster, faster);
  const double change =
    detail::braking_curve(r.velocity - s.velocity + catch_up, gains.velocity, 0.5 * b.jerk_max);
  const double jerk_max = b.jerk_max * kShare;
  const double jerk =
    (r.acceleration_next - r.acceleration) / dt + gains.acceleration * (r.acceleration - s.acceleration + change);
  const double a_max = b.acceleration_max * kShare;
  const double low = std::max(-jerk_max, std::min((-a_max - s.acceleration) / dt, jerk_max));
  const double high = std::min(jerk_max, std::max((a_max - s.acceleration) / dt, -jerk_max));
  return std::clamp(jerk, low, high);
}

// One step of dt towards the reference. Precondition: can_stop(s, b). Its result can stop as well.
inline JointState track(
  const JointState & s, const JointReference & r, const JointBounds & b, const TrackingGains & gains, double dt)
{
  const JointState stopping = follow_stop(s, b, dt);
  const double jerk = tracking_jerk(s, r, b, gains, dt);
  if (!std::isfinite(jerk)) {
    return stopping;
  }
  const auto allowed = [&](const JointState & next) {
    return std::fabs(next.position - s.position) <= b.velocity_max * kShare * dt && can_stop(next, b);
  };
  const JointState wanted = advance(s, jerk, dt);
  if (allowed(wanted)) {
    return wanted;
  }
  // As much of it as leaves room to stop. Accelerations and jerks of both are within bounds, so those of a mean are.
  double good = 0.0, bad = 1.0;
  JointState best = stopping;
  for (int i = 0; i < 10; ++i) {
    const double share = 0.5 * (good + bad);
    const JointState next = detail::blend(stopping, wanted, share);
    if (allowed(next)) {
      good = share;
      best = next;
    } else {
      bad = share;
    }
  }
  return best;
}

}  // namespace robolearn_controller
