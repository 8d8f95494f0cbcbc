// The filter and the impedance as plain C, for callers in other languages: the tests and the simulated arm run the
// very code of the controller through it. Arrays are [joints] or [rows, joints], row-major.
#include <cstdint>
#include <cstring>
#include <new>

#include "robolearn_controller/impedance.hpp"
#include "robolearn_controller/stream_filter.hpp"

using robolearn_controller::FilterConfig;
using robolearn_controller::FilterState;
using robolearn_controller::Impedance;
using robolearn_controller::ImpedanceConfig;
using robolearn_controller::kMaxJoints;
using robolearn_controller::Reason;
using robolearn_controller::Sample;
using robolearn_controller::StreamFilter;
using robolearn_controller::Vector;

namespace
{

Vector vector_of(const double * values, std::size_t n)
{
  Vector vector{};
  if (values != nullptr && n <= kMaxJoints) {
    std::memcpy(vector.data(), values, n * sizeof(double));
  }
  return vector;
}

Sample sample_of(std::int64_t stamp_ns, const double * position, const double * velocity, std::size_t n)
{
  Sample sample;
  sample.stamp_ns = stamp_ns;
  sample.position = vector_of(position, n);
  sample.velocity = vector_of(velocity, n);
  sample.with_velocity = velocity != nullptr;
  return sample;
}

}  // namespace

extern "C" {

// bounds: [5, joints]: position_min, position_max, velocity_max, acceleration_max, jerk_max. numbers: [13] in the order
// of FilterConfig. nullptr, and problem set, where they cannot be used.
StreamFilter * robolearn_filter_new(
  std::size_t joints, const double * bounds, const double * numbers, int restart_by_stream, const char ** problem)
{
  FilterConfig c;
  c.joints = joints;
  for (std::size_t j = 0; j < joints && j < kMaxJoints; ++j) {
    c.bounds[j] = {
      bounds[j], bounds[joints + j], bounds[2 * joints + j], bounds[3 * joints + j], bounds[4 * joints + j]};
  }
  double * const fields[] = {
    &c.step_s, &c.stream_period_s, &c.delay_s, &c.delay_max_s, &c.late_max_s, &c.lag_max_s, &c.follow_error_max,
    &c.start_tolerance, &c.restart_tolerance, &c.start_rest_s, &c.start_blend_s, &c.rest_velocity, &c.bandwidth_rad_s};
  for (double * field : fields) {
    *field = *numbers++;
  }
  c.restart_by_stream = restart_by_stream != 0;
  *problem = c.problem();
  if (*problem != nullptr) {
    return nullptr;
  }
  auto * filter = new (std::nothrow) StreamFilter;
  if (filter == nullptr || !filter->configure(c)) {
    *problem = "out of memory";
    delete filter;
    return nullptr;
  }
  return filter;
}

void robolearn_filter_delete(StreamFilter * filter) { delete filter; }

int robolearn_filter_reset(StreamFilter * filter, const double * position)
{
  return filter->reset(vector_of(position, filter->joints())) ? 1 : 0;
}

void robolearn_filter_push(
  StreamFilter * filter, std::int64_t stamp_ns, const double * position, const double * velocity, std::int64_t now_ns)
{
  filter->push(sample_of(stamp_ns, position, velocity, filter->joints()), now_ns);
}

void robolearn_filter_stop(StreamFilter * filter) { filter->stop(Reason::kRequested); }

// motion: [3, joints], position, velocity, acceleration. status: [3], state, reason, why a stream is not followed.
void robolearn_filter_update(StreamFilter * filter, std::int64_t now_ns, double * motion, std::uint8_t * status)
{
  filter->update(now_ns);
  const std::size_t n = filter->joints();
  for (std::size_t j = 0; j < n; ++j) {
    motion[j] = filter->joint(j).position;
    motion[n + j] = filter->joint(j).velocity;
    motion[2 * n + j] = filter->joint(j).acceleration;
  }
  status[0] = static_cast<std::uint8_t>(filter->state());
  status[1] = static_cast<std::uint8_t>(filter->reason());
  status[2] = static_cast<std::uint8_t>(filter->refused());
}

// Many steps at once. now_ns: [steps]; arrival: [samples], the step before whose update each sample comes, ascending.
// velocity may be nullptr. motion: [steps, 3, joints]; status: [steps, 3].
void robolearn_filter_run(
  StreamFilter * filter, std::size_t steps, const std::int64_t * now_ns, std::size_t samples,
  const std::int64_t * arrival, const std::int64_t * stamp_ns, const double * position, const double * velocity,
  double * motion, std::uint8_t * status)
{
  const std::size_t n = filter->joints();
  std::size_t next = 0;
  for (std::size_t step = 0; step < steps; ++step) {
    while (next < samples && arrival[next] <= static_cast<std::int64_t>(step)) {
      robolearn_filter_push(
        filter, stamp_ns[next], position + next * n, velocity == nullptr ? nullptr : velocity + next * n,
        now_ns[step]);
      ++next;
    }
    robolearn_filter_update(filter, now_ns[step], motion + step * 3 * n, status + step * 3);
  }
}

// received, ignored, late: [3].
void robolearn_filter_counts(const StreamFilter * filter, std::uint64_t * counts)
{
  counts[0] = filter->received();
  counts[1] = filter->ignored();
  counts[2] = filter->late();
}

const char * robolearn_filter_state_text(std::uint8_t state)
{
  return state <= static_cast<std::uint8_t>(FilterState::kStopped)
           ? robolearn_controller::text(static_cast<FilterState>(state)) : "";
}

const char * robolearn_filter_reason_text(std::uint8_t reason)
{
  return reason <= static_cast<std::uint8_t>(Reason::kMoving)
           ? robolearn_controller::text(static_cast<Reason>(reason)) : "";
}

// numbers: [4, joints]: stiffness, damping, torque_max, torque_rate_max.
Impedance * robolearn_impedance_new(std::size_t joints, const double * numbers, const char ** problem)
{
  ImpedanceConfig c;
  c.joints = joints;
  c.stiffness = vector_of(numbers, joints);
  c.damping = vector_of(numbers + joints, joints);
  c.torque_max = vector_of(numbers + 2 * joints, joints);
  c.torque_rate_max = vector_of(numbers + 3 * joints, joints);
  *problem = c.problem();
  if (*problem != nullptr) {
    return nullptr;
  }
  auto * impedance = new (std::nothrow) Impedance;
  if (impedance == nullptr || !impedance->configure(c)) {
    *problem = "out of memory";
    delete impedance;
    return nullptr;
  }
  return impedance;
}

void robolearn_impedance_delete(Impedance * impedance) { delete impedance; }

int robolearn_impedance_reset(Impedance * impedance, const double * torque, std::size_t joints)
{
  return impedance->reset(vector_of(torque, joints)) ? 1 : 0;
}

// state: [5, joints]: position, velocity, position_ref, velocity_ref, feed-forward. torque: [joints].
int robolearn_impedance_update(
  Impedance * impedance, const double * state, std::size_t joints, double step_s, double * torque)
{
  const bool good = impedance->update(
    vector_of(state, joints), vector_of(state + joints, joints), vector_of(state + 2 * joints, joints),
    vector_of(state + 3 * joints, joints), vector_of(state + 4 * joints, joints), step_s);
  for (std::size_t j = 0; j < joints; ++j) {
    torque[j] = impedance->torque(j);
  }
  return good ? 1 : 0;
}

}  // extern "C"
