#include "robolearn_controller/stream_controller.hpp"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "pluginlib/class_list_macros.hpp"

namespace robolearn_controller
{

using controller_interface::CallbackReturn;
using controller_interface::InterfaceConfiguration;
using controller_interface::interface_configuration_type;
using controller_interface::return_type;

namespace
{

constexpr const char * kPosition = "position";
constexpr const char * kVelocity = "velocity";
constexpr const char * kEffort = "effort";
constexpr int kWatchHz = 20;

// ros2_control changed these two calls within one distribution: both forms are taken.
template <class Interface>
auto read_value(const Interface & interface, int) -> decltype(interface.get_optional().value_or(0.0))
{
  return interface.get_optional().value_or(std::nan(""));
}

template <class Interface>
double read_value(const Interface & interface, long)
{
  return interface.get_value();
}

template <class Interface>
bool write_value(Interface & interface, double value)
{
  if constexpr (std::is_void_v<decltype(interface.set_value(value))>) {
    interface.set_value(value);
    return true;
  } else {
    return interface.set_value(value);
  }
}

// SCHED_FIFO for the calling thread and for those of this process with which Fast DDS receives, where permitted.
bool promote_delivery(int priority)
{
  sched_param parameters{};
  parameters.sched_priority = priority;
  if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters) != 0) {
    return false;
  }
  DIR * const tasks = opendir("/proc/self/task");
  if (tasks == nullptr) {
    return true;
  }
  for (const dirent * entry = readdir(tasks); entry != nullptr; entry = readdir(tasks)) {
    std::ifstream file(std::string("/proc/self/task/") + entry->d_name + "/comm");
    std::string name;
    if (std::getline(file, name) && name.rfind("dds.", 0) == 0) {
      (void)sched_setscheduler(std::atoi(entry->d_name), SCHED_FIFO, &parameters);
    }
  }
  closedir(tasks);
  return true;
}

template <class Value>
diagnostic_msgs::msg::KeyValue pair_of(const std::string & key, const Value & value)
{
  diagnostic_msgs::msg::KeyValue pair;
  pair.key = key;
  if constexpr (std::is_arithmetic_v<Value>) {
    pair.value = std::to_string(value);
  } else {
    pair.value = value;
  }
  return pair;
}

}  // namespace

StreamController::~StreamController() { stop_listening(); }

CallbackReturn StreamController::on_init()
{
  const std::vector<double> none;
  auto_declare<std::vector<std::string>>("joints", {});
  auto_declare<std::string>("interface_name", kPosition);
  auto_declare<std::string>("topic", "/robolearn/sent_command");
  auto_declare<std::string>("profile", "");
  auto_declare<std::string>("profile_digest", "");
  for (const char * name : {"position_min_rad", "position_max_rad", "velocity_max_rad_s", "acceleration_max_rad_s2",
                            "jerk_max_rad_s3", "stiffness_nm_rad", "damping_nm_s_rad", "torque_max_nm",
                            "torque_rate_max_nm_s"}) {
    auto_declare<std::vector<double>>(name, none);
  }
  const FilterConfig standard;
  auto_declare<double>("stream_rate_hz", 1.0 / standard.stream_period_s);
  auto_declare<double>("delay_s", standard.delay_s);
  auto_declare<double>("delay_max_s", standard.delay_max_s);
  auto_declare<double>("late_max_s", standard.late_max_s);
  auto_declare<double>("lag_max_s", standard.lag_max_s);
  auto_declare<double>("follow_error_max_rad", standard.follow_error_max);
  auto_declare<double>("start_tolerance_rad", standard.start_tolerance);
  auto_declare<double>("restart_tolerance_rad", standard.restart_tolerance);
  auto_declare<double>("start_rest_s", standard.start_rest_s);
  auto_declare<double>("start_blend_s", standard.start_blend_s);
  auto_declare<double>("rest_velocity_rad_s", standard.rest_velocity);
  auto_declare<double>("bandwidth_rad_s", 0.0);
  auto_declare<bool>("restart_by_stream", standard.restart_by_stream);
  auto_declare<std::string>("feed_forward_interface", "");
  auto_declare<int>("delivery_priority", 40);
  return CallbackReturn::SUCCESS;
}

InterfaceConfiguration StreamController::command_interface_configuration() const
{
  InterfaceConfiguration wanted{interface_configuration_type::INDIVIDUAL, {}};
  for (const std::string & joint : joints_) {
    wanted.names.push_back(joint + "/" + interface_name_);
  }
  return wanted;
}

// Positions of every joint, then for efforts velocities, then the feed-forward's.
InterfaceConfiguration StreamController::state_interface_configuration() const
{
  InterfaceConfiguration wanted{interface_configuration_type::INDIVIDUAL, {}};
  std::vector<std::string> kinds{kPosition};
  if (interface_name_ == kEffort) {
    kinds.push_back(kVelocity);
    if (!feed_forward_interface_.empty()) {
      kinds.push_back(feed_forward_interface_);
    }
  }
  for (const std::string & kind : kinds) {
    for (const std::string & joint : joints_) {
      wanted.names.push_back(joint + "/" + kind);
    }
  }
  return wanted;
}

CallbackReturn StreamController::on_configure(const rclcpp_lifecycle::State &)
{
  std::string problem;
  if (!read_config(problem)) {
    RCLCPP_ERROR(get_node()->get_logger(), "Not configured: %s", problem.c_str());
    return CallbackReturn::ERROR;
  }
  stop_listening();
  filter_.configure(filter_config_);
  order_names_.clear();
  malformed_ = 0;
  malformed_text_.clear();
  const rclcpp::QoS latched = rclcpp::QoS(1).reliable().transient_local();
  status_ = get_node()->create_publisher<diagnostic_msgs::msg::DiagnosticStatus>("~/status", latched);
  diagnostics_ =
    get_node()->create_publisher<diagnostic_msgs::msg::DiagnosticArray>("/diagnostics", rclcpp::QoS(10));
  listen();
  timer_ = get_node()->create_wall_timer(std::chrono::milliseconds(1000 / kWatchHz), [this]() { watch(); });
  RCLCPP_INFO(
    get_node()->get_logger(), "%zu joints by %s at %u Hz, profile %s, sha256 %s", joints_.size(),
    interface_name_.c_str(), get_update_rate(), profile_.c_str(), profile_digest_.c_str());
  return CallbackReturn::SUCCESS;
}

CallbackReturn StreamController::on_activate(const rclcpp_lifecycle::State &)
{
  Vector held{};
  if (!read_state(0, held)) {
    RCLCPP_ERROR(get_node()->get_logger(), "Not activated: a measured position is not finite.");
    return CallbackReturn::ERROR;
  }
  if (interface_name_ == kPosition) {
    // What is commanded already stays commanded, where that is where the arm is: it sags less than a step back.
    for (std::size_t j = 0; j < joints_.size(); ++j) {
      const double commanded = read_value(command_interfaces_[j], 0);
      if (std::isfinite(commanded) && std::fabs(commanded - held[j]) <= filter_config_.restart_tolerance) {
        held[j] = commanded;
      }
    }
  }
  for (std::size_t j = 0; j < joints_.size(); ++j) {
    const JointBounds & b = filter_config_.bounds[j];
    if (held[j] < b.position_min || held[j] > b.position_max) {
      RCLCPP_ERROR(
        get_node()->get_logger(), "Not activated: joint %s is at %.4f rad, its limits are %.4f to %.4f. Move the arm.",
        joints_[j].c_str(), held[j], b.position_min, b.position_max);
      return CallbackReturn::ERROR;
    }
  }
  filter_.reset(held);
  if (interface_name_ == kEffort) {
    Vector velocity{}, torque{};
    if (!read_state(1, velocity) || !feed_forward(held, velocity, torque) || !impedance_.reset(torque)) {
      RCLCPP_ERROR(get_node()->get_logger(), "Not activated: a velocity or a feed-forward torque is not finite.");
      return CallbackReturn::ERROR;
    }
  }
  for (Sample old; queue_.take(old);) {
  }
  bad_steps_ = 0;
  overflowed_ = false;
  active_ = true;
  return CallbackReturn::SUCCESS;
}

CallbackReturn StreamController::on_deactivate(const rclcpp_lifecycle::State &)
{
  active_ = false;
  for (std::size_t j = 0; j < joints_.size(); ++j) {
    if (!filter_.joint(j).at_rest()) {
      RCLCPP_WARN(
        get_node()->get_logger(), "Deactivated in motion: the commands ended at %.3f rad/s. Stop the arm first.",
        filter_.joint(j).velocity);
      break;
    }
  }
  if (interface_name_ == kEffort) {
    for (auto & interface : command_interfaces_) {
      (void)write_value(interface, 0.0);
    }
  }
  return CallbackReturn::SUCCESS;
}

CallbackReturn StreamController::on_cleanup(const rclcpp_lifecycle::State &)
{
  stop_listening();
  return CallbackReturn::SUCCESS;
}

return_type StreamController::update(const rclcpp::Time & time, const rclcpp::Duration &)
{
  const std::int64_t now_ns = time.nanoseconds();
  Sample sample;
  for (std::size_t taken = 0; taken < kQueue && queue_.take(sample); ++taken) {
    filter_.push(sample, now_ns);
  }
  if (overflowed_.exchange(false, std::memory_order_relaxed)) {
    filter_.stop(Reason::kQueueFull);
  }
  filter_.update(now_ns);
  const bool good = interface_name_ == kPosition ? write_positions() : write_efforts();
  state_.store(static_cast<std::uint8_t>(filter_.state()), std::memory_order_relaxed);
  reason_.store(static_cast<std::uint8_t>(filter_.reason()), std::memory_order_relaxed);
  refused_.store(static_cast<std::uint8_t>(filter_.refused()), std::memory_order_relaxed);
  received_.store(filter_.received(), std::memory_order_relaxed);
  ignored_.store(filter_.ignored(), std::memory_order_relaxed);
  late_.store(filter_.late(), std::memory_order_relaxed);
  delay_us_.store(static_cast<std::uint64_t>(filter_.delay_s() * 1e6), std::memory_order_relaxed);
  return good ? return_type::OK : return_type::ERROR;
}

bool StreamController::write_positions()
{
  for (std::size_t j = 0; j < filter_.joints(); ++j) {
    if (!write_value(command_interfaces_[j], filter_.joint(j).position)) {
      not_written_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  return true;
}

// False once measurements have not been finite for kBadStepsMax steps in a row: the manager then deactivates this
// controller, and the arm's own driver takes over.
bool StreamController::write_efforts()
{
  Vector position{}, velocity{}, position_ref{}, velocity_ref{}, torque{};
  for (std::size_t j = 0; j < filter_.joints(); ++j) {
    position_ref[j] = filter_.joint(j).position;
    velocity_ref[j] = filter_.joint(j).velocity;
  }
  const bool good =
    read_state(0, position) && read_state(1, velocity) && feed_forward(position, velocity, torque) &&
    impedance_.update(position, velocity, position_ref, velocity_ref, torque, filter_config_.step_s);
  if (!good) {
    filter_.stop(Reason::kStateNotFinite);
  }
  bad_steps_ = good ? 0 : bad_steps_ + 1;
  for (std::size_t j = 0; j < filter_.joints(); ++j) {
    if (!write_value(command_interfaces_[j], impedance_.torque(j))) {
      not_written_.fetch_add(1, std::memory_order_relaxed);
    }
  }
  return bad_steps_ <= kBadStepsMax;
}

bool StreamController::feed_forward(const Vector &, const Vector &, Vector & torque)
{
  torque = {};
  return feed_forward_interface_.empty() || read_state(2, torque);
}

// kind: 0 positions, 1 velocities, 2 feed-forward torques.
bool StreamController::read_state(std::size_t kind, Vector & values) const
{
  const std::size_t n = joints_.size();
  for (std::size_t j = 0; j < n; ++j) {
    values[j] = read_value(state_interfaces_[kind * n + j], 0);
    if (!std::isfinite(values[j])) {
      return false;
    }
  }
  return true;
}

bool StreamController::read_config(std::string & problem)
{
  const auto node = get_node();
  joints_ = node->get_parameter("joints").as_string_array();
  interface_name_ = node->get_parameter("interface_name").as_string();
  feed_forward_interface_ = node->get_parameter("feed_forward_interface").as_string();
  topic_ = node->get_parameter("topic").as_string();
  profile_ = node->get_parameter("profile").as_string();
  profile_digest_ = node->get_parameter("profile_digest").as_string();
  if (joints_.empty() || joints_.size() > kMaxJoints) {
    problem = "joints must name 1 to 16 joints. `robolearn controller` writes the parameters.";
    return false;
  }
  if (interface_name_ != kPosition && interface_name_ != kEffort) {
    problem = "interface_name is '" + interface_name_ + "', expected position or effort.";
    return false;
  }
  if (get_update_rate() == 0) {
    problem = "update_rate is not known: set it in the controller manager's parameters.";
    return false;
  }
  FilterConfig & c = filter_config_;
  c.joints = joints_.size();
  c.step_s = 1.0 / get_update_rate();
  Vector low{}, high{}, velocity{}, acceleration{}, jerk{};
  if (!read_numbers("position_min_rad", low, problem) || !read_numbers("position_max_rad", high, problem) ||
      !read_numbers("velocity_max_rad_s", velocity, problem) ||
      !read_numbers("acceleration_max_rad_s2", acceleration, problem) ||
      !read_numbers("jerk_max_rad_s3", jerk, problem)) {
    return false;
  }
  for (std::size_t j = 0; j < c.joints; ++j) {
    c.bounds[j] = {low[j], high[j], velocity[j], acceleration[j], jerk[j]};
  }
  c.stream_period_s = 1.0 / node->get_parameter("stream_rate_hz").as_double();
  c.restart_by_stream = node->get_parameter("restart_by_stream").as_bool();
  for (const auto & [name, value] : {
         std::pair<const char *, double &>{"delay_s", c.delay_s}, {"delay_max_s", c.delay_max_s},
         {"late_max_s", c.late_max_s},
         {"lag_max_s", c.lag_max_s}, {"follow_error_max_rad", c.follow_error_max},
         {"start_tolerance_rad", c.start_tolerance}, {"restart_tolerance_rad", c.restart_tolerance},
         {"start_rest_s", c.start_rest_s},
         {"start_blend_s", c.start_blend_s}, {"rest_velocity_rad_s", c.rest_velocity},
         {"bandwidth_rad_s", c.bandwidth_rad_s}}) {
    value = node->get_parameter(name).as_double();
  }
  if (c.bandwidth_rad_s == 0.0) {
    c.bandwidth_rad_s = standard_bandwidth_rad_s(c.step_s);
  }
  if (c.problem() != nullptr) {
    problem = c.problem();
    return false;
  }
  if (interface_name_ == kPosition) {
    return true;
  }
  ImpedanceConfig & e = impedance_config_;
  e.joints = c.joints;
  if (!read_numbers("stiffness_nm_rad", e.stiffness, problem) ||
      !read_numbers("damping_nm_s_rad", e.damping, problem) ||
      !read_numbers("torque_max_nm", e.torque_max, problem) ||
      !read_numbers("torque_rate_max_nm_s", e.torque_rate_max, problem)) {
    return false;
  }
  if (!impedance_.configure(e)) {
    problem = e.problem();
    return false;
  }
  return true;
}

bool StreamController::read_numbers(const std::string & name, Vector & values, std::string & problem)
{
  const std::vector<double> given = get_node()->get_parameter(name).as_double_array();
  if (given.size() != joints_.size()) {
    problem = name + " has " + std::to_string(given.size()) + " numbers, joints has " +
              std::to_string(joints_.size()) + " names. `robolearn controller` writes the parameters.";
    return false;
  }
  std::copy(given.begin(), given.end(), values.begin());
  return true;
}

// -- outside the control loop --

void StreamController::listen()
{
  group_ = get_node()->create_callback_group(rclcpp::CallbackGroupType::MutuallyExclusive, false);
  rclcpp::SubscriptionOptions options;
  options.callback_group = group_;
  subscription_ = get_node()->create_subscription<sensor_msgs::msg::JointState>(
    topic_, rclcpp::QoS(100), [this](const sensor_msgs::msg::JointState & message) { receive(message); }, options);
  executor_ = std::make_unique<rclcpp::executors::SingleThreadedExecutor>();
  executor_->add_callback_group(group_, get_node()->get_node_base_interface());
  const int priority = static_cast<int>(get_node()->get_parameter("delivery_priority").as_int());
  listening_ = true;
  listener_ = std::thread([this, priority]() {
    if (priority > 0 && !promote_delivery(priority)) {
      RCLCPP_WARN(
        get_node()->get_logger(), "No real-time priority for the thread that receives commands: on a busy machine they "
        "come late. Allow rtprio in /etc/security/limits.d.");
    }
    while (listening_ && rclcpp::ok()) {
      executor_->spin_once(std::chrono::milliseconds(50));
    }
  });
}

void StreamController::stop_listening()
{
  if (!listener_.joinable()) {
    return;
  }
  listening_ = false;
  listener_.join();
  executor_.reset();
  subscription_.reset();
}

void StreamController::receive(const sensor_msgs::msg::JointState & message)
{
  if (!active_) {
    return;
  }
  Sample sample;
  std::string problem;
  if (!sample_from(message, sample, problem)) {
    ++malformed_;
    const std::lock_guard<std::mutex> guard(text_mutex_);
    if (problem != malformed_text_) {
      malformed_text_ = problem;
      RCLCPP_WARN(get_node()->get_logger(), "A message on %s is not taken: %s", topic_.c_str(), problem.c_str());
    }
    return;
  }
  if (!queue_.push(sample)) {
    overflowed_ = true;
  }
}

// By name, whatever else the message holds and in whatever order.
bool StreamController::sample_from(
  const sensor_msgs::msg::JointState & message, Sample & sample, std::string & problem)
{
  if (message.name != order_names_) {
    order_.clear();
    order_names_.clear();
    for (const std::string & joint : joints_) {
      const auto found = std::find(message.name.begin(), message.name.end(), joint);
      if (found == message.name.end()) {
        problem = "joint " + joint + " is missing";
        return false;
      }
      order_.push_back(static_cast<std::size_t>(found - message.name.begin()));
    }
    order_names_ = message.name;
  }
  const std::size_t n = message.name.size();
  if (message.position.size() != n || (!message.velocity.empty() && message.velocity.size() != n)) {
    problem = std::to_string(n) + " names, " + std::to_string(message.position.size()) + " positions, " +
              std::to_string(message.velocity.size()) + " velocities";
    return false;
  }
  sample.stamp_ns = static_cast<std::int64_t>(message.header.stamp.sec) * 1000000000 +
                    static_cast<std::int64_t>(message.header.stamp.nanosec);
  sample.with_velocity = !message.velocity.empty();
  for (std::size_t j = 0; j < order_.size(); ++j) {
    sample.position[j] = message.position[order_[j]];
    sample.velocity[j] = sample.with_velocity ? message.velocity[order_[j]] : 0.0;
  }
  return true;
}

// The status on change, and diagnostics at 1 Hz.
void StreamController::watch()
{
  const int now = active_ ? state_ * 256 + reason_ : -1;
  const bool changed = now != published_;
  if (changed) {
    published_ = now;
    const diagnostic_msgs::msg::DiagnosticStatus message = status();
    status_->publish(message);
    if (active_ && message.level != diagnostic_msgs::msg::DiagnosticStatus::OK) {
      RCLCPP_WARN(get_node()->get_logger(), "%s", message.message.c_str());
    }
  }
  if (++watched_ % kWatchHz == 0) {
    diagnostic_msgs::msg::DiagnosticArray array;
    array.header.stamp = get_node()->now();
    array.status.push_back(status());
    diagnostics_->publish(array);
  }
}

diagnostic_msgs::msg::DiagnosticStatus StreamController::status() const
{
  using Status = diagnostic_msgs::msg::DiagnosticStatus;
  const auto state = static_cast<FilterState>(state_.load());
  const auto reason = static_cast<Reason>(reason_.load());
  const auto refused = static_cast<Reason>(refused_.load());
  const bool stopped = state == FilterState::kBraking || state == FilterState::kStopped;
  const std::lock_guard<std::mutex> guard(text_mutex_);
  Status message;
  message.name = "robolearn_controller: " + std::string(get_node()->get_name());
  message.hardware_id = joints_.empty() ? "" : joints_.front();
  message.level = stopped ? Status::ERROR : state == FilterState::kLate || malformed_ > 0 ? Status::WARN : Status::OK;
  message.message = active_ ? text(state) : "inactive";
  if (active_ && stopped) {
    message.message += std::string(": ") + text(reason);
  } else if (active_ && state == FilterState::kWaiting && refused != Reason::kNone) {
    message.message += std::string(": ") + text(refused);
  }
  message.values = {
    pair_of("state", std::string(active_ ? text(state) : "inactive")),
    pair_of("reason", std::string(text(reason))),
    pair_of("not_followed_because", std::string(text(refused))),
    pair_of("profile", profile_),
    pair_of("profile_digest", profile_digest_),
    pair_of("interface_name", interface_name_),
    pair_of("samples", received_.load()),
    pair_of("samples_ignored", ignored_.load()),
    pair_of("times_late", late_.load()),
    pair_of("values_not_written", not_written_.load()),
    pair_of("delay_us", delay_us_.load()),
    pair_of("messages_malformed", malformed_.load()),
    pair_of("malformed", malformed_text_),
  };
  return message;
}

}  // namespace robolearn_controller

PLUGINLIB_EXPORT_CLASS(robolearn_controller::StreamController, controller_interface::ControllerInterface)
