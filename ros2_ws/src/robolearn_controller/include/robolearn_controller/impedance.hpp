// Joint impedance: torques that pull the arm to a reference, within torque and torque-rate limits.
//
//   torque = stiffness (q_ref - q) + damping (qd_ref - qd) + feed-forward
//
// The feed-forward is what the arm's own weight and motion need (gravity, Coriolis), from the caller, who has its model. An
// arm whose driver compensates gravity itself gets zeros. No allocation, no locks, no exceptions.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

#include "robolearn_controller/sample.hpp"

namespace robolearn_controller
{

struct ImpedanceConfig
{
  std::size_t joints{0};
  Vector stiffness{};        // Nm/rad
  Vector damping{};          // Nm s/rad
  Vector torque_max{};       // Nm
  Vector torque_rate_max{};  // Nm/s

  const char * problem() const
  {
    if (joints < 1 || joints > kMaxJoints) {
      return "joints: there must be 1 to 16";
    }
    for (std::size_t j = 0; j < joints; ++j) {
      if (!(std::isfinite(stiffness[j]) && stiffness[j] > 0.0 && std::isfinite(damping[j]) && damping[j] > 0.0)) {
        return "stiffness and damping must be finite and above zero for every joint";
      }
      if (!(std::isfinite(torque_max[j]) && torque_max[j] > 0.0 && std::isfinite(torque_rate_max[j]) &&
            torque_rate_max[j] > 0.0)) {
        return "torque_max and torque_rate_max must be finite and above zero for every joint";
      }
    }
    return nullptr;
  }
};

class Impedance
{
public:
  bool configure(const ImpedanceConfig & config)
  {
    if (config.problem() != nullptr) {
      return false;
    }
    c_ = config;
    torque_ = {};
    return true;
  }

  // Begin from this torque [joints]: what holds the arm now. False, and zeros, where one is not finite.
  bool reset(const Vector & torque)
  {
    torque_ = {};
    for (std::size_t j = 0; j < c_.joints; ++j) {
      if (!std::isfinite(torque[j])) {
        torque_ = {};
        return false;
      }
      torque_[j] = std::clamp(torque[j], -c_.torque_max[j], c_.torque_max[j]);
    }
    return true;
  }

  // One step. False where a value is not finite: the torques then stay as they were.
  bool update(
    const Vector & position, const Vector & velocity, const Vector & position_ref, const Vector & velocity_ref,
    const Vector & feed_forward, double step_s)
  {
    Vector wanted{};
    for (std::size_t j = 0; j < c_.joints; ++j) {
      wanted[j] = c_.stiffness[j] * (position_ref[j] - position[j]) +
                  c_.damping[j] * (velocity_ref[j] - velocity[j]) + feed_forward[j];
      if (!std::isfinite(wanted[j])) {
        return false;
      }
    }
    for (std::size_t j = 0; j < c_.joints; ++j) {
      const double change = c_.torque_rate_max[j] * kShareOfRate * step_s;
      const double torque = std::clamp(wanted[j], -c_.torque_max[j], c_.torque_max[j]);
      torque_[j] = std::clamp(torque, torque_[j] - change, torque_[j] + change);
    }
    return true;
  }

  double torque(std::size_t j) const { return torque_[j]; }

private:
  static constexpr double kShareOfRate = 1.0 - 1e-9;  // room for rounding

  ImpedanceConfig c_{};
  Vector torque_{};
};

}  // namespace robolearn_controller
