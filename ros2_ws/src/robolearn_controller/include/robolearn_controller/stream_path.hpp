// The path that a stream of samples describes: cubic between samples, averaged over the last `window`.
//
// The cubic (Hermite) has the samples' positions and velocities. A sender's velocities are often backward differences,
// half a period old, with which the cubic ripples at the sender's rate; the mean over one sender's period takes that
// ripple out and makes the acceleration continuous. A mean of positions, velocities or accelerations that lie within
// bounds lies within them, and its derivatives are exact: those of the mean are differences over the window.
// It costs half a window of delay.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "robolearn_controller/sample.hpp"

namespace robolearn_controller
{

struct PathPoint
{
  double position{0.0};
  double velocity{0.0};
  double acceleration{0.0};
};

class StreamPath
{
public:
  static constexpr std::size_t kCapacity = 512;  // power of two; half a second at 1 kHz

  void configure(std::size_t joints, double window_s)
  {
    joints_ = joints;
    window_s_ = window_s;
    clear();
  }

  void clear() { begin_ = end_ = 0; }

  bool empty() const { return begin_ == end_; }

  // The newest sample. Precondition: not empty.
  const Sample & newest() const { return at(end_ - 1); }

  // Time of the newest sample on the path's own axis, seconds.
  double newest_s() const { return time_[(end_ - 1) & kMask]; }

  // Times are seconds from this stamp, so that doubles resolve them.
  std::int64_t origin_ns() const { return origin_ns_; }

  // Add a sample. Precondition: its stamp is above the newest one's. A velocity that it lacks is the mean one since
  // the sample before.
  void push(const Sample & sample)
  {
    if (empty()) {
      origin_ns_ = sample.stamp_ns;
    }
    if (end_ - begin_ == kCapacity) {
      ++begin_;
    }
    const double time = static_cast<double>(sample.stamp_ns - origin_ns_) * 1e-9;
    Sample & kept = ring_[end_ & kMask];
    kept = sample;
    if (!sample.with_velocity) {
      for (std::size_t j = 0; j < joints_; ++j) {
        kept.velocity[j] =
          empty() ? 0.0 : (sample.position[j] - newest().position[j]) / (time - newest_s());
      }
    }
    time_[end_ & kMask] = time;
    ++end_;
  }

  // Every joint's point of the averaged path at time t; before the first sample the path rests there, and after the
  // newest it stays at it. Precondition: not empty.
  void sample(double t, std::array<PathPoint, kMaxJoints> & points) const
  {
    const std::size_t last = segment(t);
    const std::size_t first = segment(t - window_s_, last);
    for (std::size_t j = 0; j < joints_; ++j) {
      const PathPoint to = raw(last, t, j);
      const PathPoint from = raw(first, t - window_s_, j);
      // The integral is taken of the distance from `from`, so that nothing is lost to rounding.
      double area = 0.0;
      for (std::size_t k = first; k <= last; ++k) {
        const double low = k == first ? t - window_s_ : time_[k & kMask];
        const double high = k == last ? t : time_[(k + 1) & kMask];
        area += integral(k, high, j, from.position) - integral(k, low, j, from.position);
      }
      points[j].position = from.position + area / window_s_;
      points[j].velocity = (to.position - from.position) / window_s_;
      points[j].acceleration = (to.velocity - from.velocity) / window_s_;
    }
  }

private:
  static constexpr std::size_t kMask = kCapacity - 1;

  const Sample & at(std::size_t i) const { return ring_[i & kMask]; }

  // Segment k lies between samples k and k + 1. What is before the first sample belongs to the first segment, what is
  // after the newest to the one that begins there.
  std::size_t segment(double t) const { return segment(t, end_ - 1); }

  std::size_t segment(double t, std::size_t from) const
  {
    std::size_t k = from;
    while (k > begin_ && time_[k & kMask] > t) {
      --k;
    }
    return k;
  }

  bool constant(std::size_t k, double t) const { return k + 1 == end_ || t <= time_[k & kMask]; }

  PathPoint raw(std::size_t k, double t, std::size_t j) const
  {
    const Sample & a = at(k);
    if (constant(k, t)) {
      return {a.position[j], k + 1 == end_ && t > time_[k & kMask] ? 0.0 : velocity_at(k, j, t), 0.0};
    }
    const Cubic c = cubic(k, j);
    const double u = (t - time_[k & kMask]) / c.span;
    return {
      a.position[j] + ((c.c3 * u + c.c2) * u + c.c1) * u, ((3.0 * c.c3 * u + 2.0 * c.c2) * u + c.c1) / c.span,
      0.0};
  }

  double velocity_at(std::size_t k, std::size_t j, double t) const
  {
    return t < time_[k & kMask] ? 0.0 : at(k).velocity[j];
  }

  struct Cubic
  {
    double span, c1, c2, c3;
  };

  Cubic cubic(std::size_t k, std::size_t j) const
  {
    const Sample & a = at(k);
    const Sample & b = at(k + 1);
    const double span = time_[(k + 1) & kMask] - time_[k & kMask];
    const double travel = b.position[j] - a.position[j];
    const double va = a.velocity[j] * span;
    const double vb = b.velocity[j] * span;
    return {span, va, 3.0 * travel - 2.0 * va - vb, va + vb - 2.0 * travel};
  }

  // Integral of position minus `base` over segment k from its first sample to t.
  double integral(std::size_t k, double t, std::size_t j, double base) const
  {
    const double from = t - time_[k & kMask];
    const double area = (at(k).position[j] - base) * from;
    if (constant(k, t)) {
      return area;
    }
    const Cubic c = cubic(k, j);
    const double u = from / c.span;
    return area + ((c.c3 * u / 4.0 + c.c2 / 3.0) * u + c.c1 / 2.0) * u * u * c.span;
  }

  std::size_t joints_{0};
  double window_s_{0.002};
  std::int64_t origin_ns_{0};
  std::size_t begin_{0}, end_{0};
  std::array<Sample, kCapacity> ring_{};
  std::array<double, kCapacity> time_{};
};

}  // namespace robolearn_controller
