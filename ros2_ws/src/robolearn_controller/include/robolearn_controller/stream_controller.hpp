// ros2_control controller around the stream filter: takes what the safety node sends, commands positions or efforts.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "controller_interface/controller_interface.hpp"
#include "diagnostic_msgs/msg/diagnostic_array.hpp"
#include "diagnostic_msgs/msg/diagnostic_status.hpp"
#include "rclcpp/rclcpp.hpp"
#include "rclcpp_lifecycle/state.hpp"
#include "robolearn_controller/impedance.hpp"
#include "robolearn_controller/stream_filter.hpp"
#include "sensor_msgs/msg/joint_state.hpp"

namespace robolearn_controller
{

class StreamController : public controller_interface::ControllerInterface
{
public:
  ~StreamController() override;
  controller_interface::CallbackReturn on_init() override;
  controller_interface::InterfaceConfiguration command_interface_configuration() const override;
  controller_interface::InterfaceConfiguration state_interface_configuration() const override;
  controller_interface::CallbackReturn on_configure(const rclcpp_lifecycle::State & previous) override;
  controller_interface::CallbackReturn on_activate(const rclcpp_lifecycle::State & previous) override;
  controller_interface::CallbackReturn on_deactivate(const rclcpp_lifecycle::State & previous) override;
  controller_interface::CallbackReturn on_cleanup(const rclcpp_lifecycle::State & previous) override;
  controller_interface::return_type update(const rclcpp::Time & time, const rclcpp::Duration & period) override;

protected:
  // Torques [joints] that the arm's own weight and motion need, in Nm; false where one is not known. By default those
  // of the state interfaces JOINT/`feed_forward_interface`, or zeros where that parameter is empty. Override it for an
  // arm whose model you have; it runs in the control loop.
  virtual bool feed_forward(const Vector & position, const Vector & velocity, Vector & torque);

private:
  bool read_config(std::string & problem);
  bool read_numbers(const std::string & name, Vector & values, std::string & problem);
  void receive(const sensor_msgs::msg::JointState & message);
  bool sample_from(const sensor_msgs::msg::JointState & message, Sample & sample, std::string & problem);
  bool read_state(std::size_t kind, Vector & values) const;
  bool write_positions();
  bool write_efforts();
  void listen();
  void stop_listening();
  void watch();
  diagnostic_msgs::msg::DiagnosticStatus status() const;

  static constexpr std::size_t kQueue = 256;
  static constexpr int kBadStepsMax = 10;  // with values that are not finite, before the controller gives up

  std::vector<std::string> joints_;
  std::string interface_name_, feed_forward_interface_, profile_digest_, profile_, topic_;
  FilterConfig filter_config_{};
  ImpedanceConfig impedance_config_{};
  StreamFilter filter_{};
  Impedance impedance_{};
  int bad_steps_{0};

  // Between the thread of subscriptions and timers and that of the control loop: this queue and these numbers.
  SampleQueue<kQueue> queue_{};
  std::atomic<bool> active_{false};
  std::atomic<bool> overflowed_{false};
  std::atomic<std::uint8_t> state_{0}, reason_{0}, refused_{0};
  std::atomic<std::uint64_t> received_{0}, ignored_{0}, late_{0}, not_written_{0};

  std::atomic<std::uint64_t> malformed_{0}, delay_us_{0};
  mutable std::mutex text_mutex_;
  std::string malformed_text_;  // under text_mutex_
  int published_{-1};
  int watched_{0};
  std::vector<std::size_t> order_;
  std::vector<std::string> order_names_;
  rclcpp::Subscription<sensor_msgs::msg::JointState>::SharedPtr subscription_;
  rclcpp::Publisher<diagnostic_msgs::msg::DiagnosticStatus>::SharedPtr status_;
  rclcpp::Publisher<diagnostic_msgs::msg::DiagnosticArray>::SharedPtr diagnostics_;
  rclcpp::TimerBase::SharedPtr timer_;

  // Messages are delivered by a thread of this controller: the manager's own thread has no real-time priority, and on a
  // busy machine it comes too late.
  rclcpp::CallbackGroup::SharedPtr group_;
  std::unique_ptr<rclcpp::executors::SingleThreadedExecutor> executor_;
  std::thread listener_;
  std::atomic<bool> listening_{false};
};

}  // namespace robolearn_controller
