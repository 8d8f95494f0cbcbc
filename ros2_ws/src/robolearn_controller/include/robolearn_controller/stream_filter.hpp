// Follows a stream of joint samples with bounded velocity, acceleration and jerk, and brakes to rest when the stream
// is late, ends, or cannot be right.
//
//   waiting    at rest after a reset. A stream that rests within `start_tolerance` of the held position for
//              `start_rest_s` begins to be followed.
//   following  the stream, `delay_s` behind its sender.
//   late       the newest sample is overdue: braking. Goes on following if the stream comes back within `late_max_s`.
//   braking    latched, with a reason: to rest, whatever comes.
//   stopped    at rest after that. Followed again is only a stream that rests within `restart_tolerance` of the held
//              position (where `restart_by_stream`); otherwise a reset is needed.
//
// One thread calls push and update. Neither allocates, locks nor throws, and their time is bounded.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "robolearn_controller/joint_motion.hpp"
#include "robolearn_controller/sample.hpp"
#include "robolearn_controller/stream_clock.hpp"
#include "robolearn_controller/stream_path.hpp"

namespace robolearn_controller
{

enum class FilterState : std::uint8_t { kWaiting, kFollowing, kLate, kBraking, kStopped };

enum class Reason : std::uint8_t
{
  kNone,
  kEnded,             // no sample for longer than late_max_s
  kGap,               // two samples in a row are further apart in time than late_max_s
  kJump,              // two samples are further apart in space than the velocity bound allows
  kTooFast,           // a sample's velocity is above the bound
  kNotFinite,         // a position or velocity is not a finite number
  kBackwards,         // a stamp well before one that came earlier
  kConflict,          // two samples with one stamp differ: two senders
  kOutsideLimits,     // a position outside the position bounds
  kCannotFollow,      // the bounds keep the motion too far from the stream
  kHeldUp,            // the control loop was held up for longer than lag_max_s
  kClockBackwards,    // the controller's own clock went backwards
  kStateNotFinite,    // a measured value, or a feed-forward torque, is not a finite number
  kQueueFull,         // samples came faster than the control loop takes them
  kRequested,         // somebody asked for it
  kAway,              // a stream away from the held position is not begun to be followed
  kMoving,            // nor one that moves
};

constexpr const char * text(FilterState state)
{
  constexpr const char * kTexts[] = {"waiting", "following", "late", "braking", "stopped"};
  return kTexts[static_cast<std::size_t>(state)];
}

constexpr const char * text(Reason reason)
{
  constexpr const char * kTexts[] = {
    "none", "the stream ended", "a gap in the stream", "the stream jumped", "a velocity above its limit",
    "a value that is not finite", "stamps went backwards", "two samples with one stamp differ",
    "a position outside its limits", "the stream cannot be followed within the limits",
    "the control loop was held up", "the controller's clock went backwards",
    "a measured value is not finite", "samples came faster than they could be taken", "a stop was requested",
    "the stream is away from the held position", "the stream does not rest yet"};
  return kTexts[static_cast<std::size_t>(reason)];
}

// 80 rad/s, or a fifth of the update rate where that is lower.
inline double standard_bandwidth_rad_s(double step_s) { return std::min(80.0, 0.2 / step_s); }

struct FilterConfig
{
  std::size_t joints{0};
  std::array<JointBounds, kMaxJoints> bounds{};
  double step_s{0.001};           // of the control loop
  double stream_period_s{0.002};  // of the sender
  double delay_s{0.006};          // behind the sender's newest sample
  double delay_max_s{0.03};       // to which lateness may raise that
  double late_max_s{0.03};        // overdue by more is an end
  double lag_max_s{0.1};          // a control loop that was away for longer stops
  double follow_error_max{0.1};  // between the stream and what is commanded
  double start_tolerance{0.1};     // after a reset: between the held position and a stream that may be followed
  double restart_tolerance{0.02};  // the same after a stop
  double start_rest_s{0.1};       // for how long that stream must rest there first
  double start_blend_s{1.0};      // over which the motion goes from the held position onto the stream
  double rest_velocity{0.01};     // a stream below this is at rest
  double bandwidth_rad_s{80.0};   // with which small deviations from the stream are removed
  bool restart_by_stream{true};

  // Why the numbers cannot be used; nullptr where they can.
  const char * problem() const
  {
    if (joints < 1 || joints > kMaxJoints) {
      return "joints: there must be 1 to 16";
    }
    for (std::size_t j = 0; j < joints; ++j) {
      if (!bounds[j].valid()) {
        return "limits: each must be finite and above zero, and position_min below position_max";
      }
    }
    for (const double value :
         {step_s, stream_period_s, delay_s, delay_max_s, late_max_s, lag_max_s, follow_error_max, start_tolerance,
          restart_tolerance, start_rest_s, start_blend_s, rest_velocity, bandwidth_rad_s}) {
      if (!(std::isfinite(value) && value > 0.0)) {
        return "times, tolerances and bandwidth must be finite and above zero";
      }
    }
    if (step_s > 0.02) {
      return "update_rate: must be at least 50 Hz";
    }
    if (bandwidth_rad_s * step_s > 0.25) {
      return "bandwidth_rad_s: at most a quarter of the update rate";
    }
    if (delay_s < stream_period_s || delay_max_s < delay_s) {
      return "delay_s: must be at least one period of the stream, and at most delay_max_s";
    }
    const double kept_s = static_cast<double>(StreamPath::kCapacity / 2) * stream_period_s;
    if (delay_max_s + lag_max_s + late_max_s + stream_period_s > kept_s) {
      return "delay_max_s, late_max_s and lag_max_s are longer than the samples that are kept";
    }
    return nullptr;
  }
};

class StreamFilter
{
public:
  // Take the numbers over; false where config.problem() names one. A reset must follow.
  bool configure(const FilterConfig & config)
  {
    if (config.problem() != nullptr) {
      return false;
    }
    c_ = config;
    gains_ = TrackingGains::for_bandwidth(c_.bandwidth_rad_s);
    forget_stream();
    return true;
  }

  // At rest at these positions [joints], waiting for a stream. False, and nothing changed, where one is not finite or
  // outside its bounds.
  bool reset(const Vector & position)
  {
    for (std::size_t j = 0; j < c_.joints; ++j) {
      if (!(position[j] >= c_.bounds[j].position_min && position[j] <= c_.bounds[j].position_max)) {
        return false;
      }
    }
    for (std::size_t j = 0; j < c_.joints; ++j) {
      joints_[j] = {position[j], 0.0, 0.0};
    }
    state_ = FilterState::kWaiting;
    reason_ = Reason::kNone;
    timed_ = false;
    forget_stream();
    return true;
  }

  // A sample that came. now_ns: the controller's time, on whatever clock update uses.
  void push(const Sample & sample, std::int64_t now_ns)
  {
    ++received_;
    const Reason problem = check(sample);
    if (problem != Reason::kNone) {
      refuse(problem);
      if (problem != Reason::kNotFinite && problem != Reason::kTooFast && problem != Reason::kOutsideLimits) {
        add(sample, now_ns);
      }
      return;
    }
    if (!path_.empty() && sample.stamp_ns <= path_.newest().stamp_ns) {
      ++ignored_;
      return;
    }
    add(sample, now_ns);
  }

  // One step of the control loop. now_ns: the controller's time; the motion advances by one step whatever it says.
  void update(std::int64_t now_ns)
  {
    if (timed_ && now_ns < now_ns_) {
      stop(Reason::kClockBackwards);
      forget_stream();
    }
    now_ns_ = now_ns;
    timed_ = true;
    const double now = seconds(now_ns);
    if (resting()) {
      begin_if_ready(now);
    }
    if (state_ == FilterState::kFollowing || state_ == FilterState::kLate) {
      clock_.step(now);
      if (clock_.behind_s(now) > c_.lag_max_s) {
        stop(Reason::kHeldUp);
      } else {
        follow();
      }
    }
    if (state_ == FilterState::kLate || state_ == FilterState::kBraking) {
      brake();
    }
  }

  // Brake to rest, latched. From rest nothing moves, and the reason stands all the same.
  void stop(Reason reason)
  {
    if (state_ == FilterState::kBraking || state_ == FilterState::kStopped) {
      return;
    }
    reason_ = reason;
    state_ = FilterState::kBraking;
    rest_from_s_ = kNever;
  }

  std::size_t joints() const { return c_.joints; }
  const JointState & joint(std::size_t j) const { return joints_[j]; }
  const FilterConfig & config() const { return c_; }
  FilterState state() const { return state_; }
  // Why it brakes, or braked last; kept until a stream is followed again.
  Reason reason() const { return reason_; }
  // Why the newest stream was not followed, while at rest.
  Reason refused() const { return refused_; }
  std::uint64_t received() const { return received_; }
  std::uint64_t ignored() const { return ignored_; }  // repeated, or overtaken on their way
  std::uint64_t late() const { return late_; }        // how often the stream was late
  double delay_s() const { return clock_.delay_s(); }

private:
  static constexpr double kNever = -1.0;
  static constexpr double kSlack = 1.05;        // senders round their stamps
  static constexpr double kSlackRad = 1e-5;
  static constexpr double kReorderPeriods = 4;  // samples overtaken by at most this much are no clock that was set

  double seconds(std::int64_t now_ns)
  {
    if (!anchored_) {
      anchor_ns_ = now_ns;
      anchored_ = true;
    }
    return static_cast<double>(now_ns - anchor_ns_) * 1e-9;
  }

  bool resting() const { return state_ == FilterState::kWaiting || state_ == FilterState::kStopped; }

  // Why a sample cannot be the next one of a stream that is to be followed.
  Reason check(const Sample & s) const
  {
    for (std::size_t j = 0; j < c_.joints; ++j) {
      if (!std::isfinite(s.position[j]) || (s.with_velocity && !std::isfinite(s.velocity[j]))) {
        return Reason::kNotFinite;
      }
    }
    for (std::size_t j = 0; j < c_.joints; ++j) {
      const JointBounds & b = c_.bounds[j];
      if (s.position[j] < b.position_min - kSlackRad || s.position[j] > b.position_max + kSlackRad) {
        return Reason::kOutsideLimits;
      }
      if (s.with_velocity && std::fabs(s.velocity[j]) > b.velocity_max * kSlack) {
        return Reason::kTooFast;
      }
    }
    return path_.empty() ? Reason::kNone : check_step(path_.newest(), s);
  }

  Reason check_step(const Sample & before, const Sample & s) const
  {
    const double since = static_cast<double>(s.stamp_ns - before.stamp_ns) * 1e-9;
    if (since < -kReorderPeriods * c_.stream_period_s) {
      return Reason::kBackwards;
    }
    if (since > c_.late_max_s + c_.stream_period_s) {
      return Reason::kGap;
    }
    for (std::size_t j = 0; j < c_.joints; ++j) {
      const double travel = std::fabs(s.position[j] - before.position[j]);
      if (since == 0.0 ? travel > 0.0 : travel > c_.bounds[j].velocity_max * kSlack * std::fabs(since) + kSlackRad) {
        return since == 0.0 ? Reason::kConflict : Reason::kJump;
      }
    }
    return Reason::kNone;
  }

  void refuse(Reason problem)
  {
    if (!resting()) {
      stop(problem);
    }
    refused_ = problem;
    forget_stream();
  }

  void forget_stream()
  {
    path_.configure(c_.joints, c_.stream_period_s);
    clock_.configure(c_.delay_s, c_.delay_max_s, c_.step_s);
    overdue_s_ = 0.0;
    rest_from_s_ = kNever;
  }

  void add(const Sample & sample, std::int64_t now_ns)
  {
    const double before = path_.empty() ? 0.0 : path_.newest_s();
    const bool first = path_.empty();
    Vector old{};
    if (!first) {
      old = path_.newest().position;
    }
    path_.push(sample);
    clock_.arrived(path_.newest_s(), seconds(now_ns));
    if (!resting()) {
      return;
    }
    const double tolerance = state_ == FilterState::kWaiting ? c_.start_tolerance : c_.restart_tolerance;
    bool near = true, still = true;
    for (std::size_t j = 0; j < c_.joints; ++j) {
      near = near && std::fabs(sample.position[j] - joints_[j].position) <= tolerance;
      still = still && (!sample.with_velocity || std::fabs(sample.velocity[j]) <= c_.rest_velocity) &&
              (first || std::fabs(sample.position[j] - old[j]) <= c_.rest_velocity * (path_.newest_s() - before));
    }
    if (!near || !still) {
      rest_from_s_ = kNever;
      refused_ = near ? Reason::kMoving : Reason::kAway;
    } else if (rest_from_s_ == kNever) {
      rest_from_s_ = path_.newest_s();
    }
  }

  // From rest: begin to follow a stream that has rested near the held position.
  void begin_if_ready(double now)
  {
    if (rest_from_s_ == kNever || path_.newest_s() - rest_from_s_ < c_.start_rest_s) {
      return;
    }
    if (state_ == FilterState::kStopped && !c_.restart_by_stream) {
      return;
    }
    clock_.start(now);
    if (clock_.played_s() > path_.newest_s()) {
      return;  // it has ended meanwhile
    }
    path_.sample(clock_.played_s(), now_);
    for (std::size_t j = 0; j < c_.joints; ++j) {
      offset_[j] = joints_[j].position - now_[j].position;
    }
    blended_s_ = 0.0;
    state_ = FilterState::kFollowing;
    reason_ = refused_ = Reason::kNone;
  }

  void follow()
  {
    const double t = clock_.played_s();
    const double overdue = t - path_.newest_s();
    if (overdue > c_.late_max_s) {
      stop(Reason::kEnded);
      return;
    }
    if (overdue > 0.0) {
      late_ += state_ == FilterState::kFollowing ? 1 : 0;
      state_ = FilterState::kLate;
      overdue_s_ = overdue;
      return;
    }
    if (overdue_s_ > 0.0) {
      clock_.was_late(overdue_s_ + c_.stream_period_s);
      overdue_s_ = 0.0;
    }
    const double rate = clock_.rate();
    path_.sample(t, now_);
    const double next = t + rate * c_.step_s;
    const bool known = next <= path_.newest_s();
    if (known) {
      path_.sample(next, next_);
    }
    double b, db, ddb, ddb_next;
    blend(b, db, ddb, ddb_next);
    bool near = true;
    std::array<JointReference, kMaxJoints> references;
    for (std::size_t j = 0; j < c_.joints; ++j) {
      JointReference & r = references[j];
      r.position = now_[j].position + b * offset_[j];
      r.velocity = rate * now_[j].velocity + db * offset_[j];
      r.acceleration = rate * rate * now_[j].acceleration + ddb * offset_[j];
      r.acceleration_next = rate * rate * (known ? next_ : now_)[j].acceleration + ddb_next * offset_[j];
      near = near && std::fabs(r.position - joints_[j].position) <= c_.follow_error_max;
    }
    if (!near) {
      stop(Reason::kCannotFollow);
      return;
    }
    state_ = FilterState::kFollowing;
    for (std::size_t j = 0; j < c_.joints; ++j) {
      joints_[j] = track(joints_[j], references[j], c_.bounds[j], gains_, c_.step_s);
    }
    blended_s_ += c_.step_s;
  }

  // The share of the first offset that is left, from 1 to 0 with velocity and acceleration zero at both ends.
  void blend(double & b, double & db, double & ddb, double & ddb_next) const
  {
    const double T = c_.start_blend_s;
    const double u = std::min(blended_s_ / T, 1.0);
    const double v = std::min((blended_s_ + c_.step_s) / T, 1.0);
    b = 1.0 - u * u * u * (10.0 + u * (-15.0 + 6.0 * u));
    db = -30.0 * u * u * (1.0 - u) * (1.0 - u) / T;
    ddb = -60.0 * u * (1.0 - u) * (1.0 - 2.0 * u) / (T * T);
    ddb_next = -60.0 * v * (1.0 - v) * (1.0 - 2.0 * v) / (T * T);
  }

  void brake()
  {
    bool at_rest = true;
    for (std::size_t j = 0; j < c_.joints; ++j) {
      joints_[j] = follow_stop(joints_[j], c_.bounds[j], c_.step_s);
      at_rest = at_rest && joints_[j].at_rest();
    }
    if (at_rest && state_ == FilterState::kBraking) {
      state_ = FilterState::kStopped;
      forget_stream();  // what came while braking says nothing of a fresh stream
    }
  }

  FilterConfig c_{};
  TrackingGains gains_{};
  StreamPath path_{};
  StreamClock clock_{};
  std::array<JointState, kMaxJoints> joints_{};
  std::array<PathPoint, kMaxJoints> now_{}, next_{};
  Vector offset_{};
  FilterState state_{FilterState::kWaiting};
  Reason reason_{Reason::kNone};
  Reason refused_{Reason::kNone};
  double blended_s_{0.0};
  double overdue_s_{0.0};
  double rest_from_s_{kNever};
  std::int64_t now_ns_{0}, anchor_ns_{0};
  bool timed_{false}, anchored_{false};
  std::uint64_t received_{0}, ignored_{0}, late_{0};
};

}  // namespace robolearn_controller
