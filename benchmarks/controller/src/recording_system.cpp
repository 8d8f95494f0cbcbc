// An arm whose joints are where they were commanded to be, and that records what it gets in every cycle: rows of int64
// nanoseconds (steady clock) and one double for each joint, written to the file of the parameter `record` at the end.
#include <chrono>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "hardware_interface/system_interface.hpp"
#include "pluginlib/class_list_macros.hpp"

namespace robolearn_controller_acceptance
{

using hardware_interface::CallbackReturn;
using hardware_interface::return_type;

class RecordingSystem : public hardware_interface::SystemInterface
{
public:
  ~RecordingSystem() override
  {
    std::ofstream out(path_, std::ios::binary);
    const std::size_t n = names_.size();
    for (std::size_t row = 0; row < times_.size(); ++row) {
      out.write(reinterpret_cast<const char *>(&times_[row]), sizeof(std::int64_t));
      out.write(reinterpret_cast<const char *>(&commands_[row * n]), static_cast<std::streamsize>(n * sizeof(double)));
    }
  }

  CallbackReturn on_init(const hardware_interface::HardwareComponentInterfaceParams & params) override
  {
    if (hardware_interface::SystemInterface::on_init(params) != CallbackReturn::SUCCESS) {
      return CallbackReturn::ERROR;
    }
    path_ = get_hardware_info().hardware_parameters.at("record");
    for (const auto & joint : get_hardware_info().joints) {
      names_.push_back(joint.name + "/position");
      speeds_.push_back(joint.name + "/velocity");
      position_.push_back(std::stod(joint.state_interfaces.front().initial_value));
    }
    times_.reserve(kRows);
    commands_.reserve(kRows * names_.size());
    return CallbackReturn::SUCCESS;
  }

  CallbackReturn on_activate(const rclcpp_lifecycle::State &) override
  {
    for (std::size_t j = 0; j < names_.size(); ++j) {
      set_state(names_[j], position_[j]);
      set_state(speeds_[j], 0.0);
      set_command(names_[j], position_[j]);
    }
    return CallbackReturn::SUCCESS;
  }

  return_type read(const rclcpp::Time &, const rclcpp::Duration &) override
  {
    for (std::size_t j = 0; j < names_.size(); ++j) {
      set_state(names_[j], position_[j]);
      set_state(speeds_[j], velocity_.empty() ? 0.0 : velocity_[j]);
    }
    return return_type::OK;
  }

  return_type write(const rclcpp::Time &, const rclcpp::Duration & period) override
  {
    velocity_.resize(names_.size(), 0.0);
    if (times_.size() < kRows) {
      times_.push_back(std::chrono::steady_clock::now().time_since_epoch().count());
    }
    for (std::size_t j = 0; j < names_.size(); ++j) {
      const double command = get_command(names_[j]);
      if (std::isfinite(command)) {
        velocity_[j] = period.seconds() > 0.0 ? (command - position_[j]) / period.seconds() : 0.0;
        position_[j] = command;
      }
      if (commands_.size() < kRows * names_.size()) {
        commands_.push_back(position_[j]);
      }
    }
    return return_type::OK;
  }

private:
  static constexpr std::size_t kRows = 600000;

  std::string path_;
  std::vector<std::string> names_, speeds_;
  std::vector<double> position_, velocity_, commands_;
  std::vector<std::int64_t> times_;
};

}  // namespace robolearn_controller_acceptance

PLUGINLIB_EXPORT_CLASS(robolearn_controller_acceptance::RecordingSystem, hardware_interface::SystemInterface)
