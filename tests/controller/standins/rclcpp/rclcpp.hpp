// Stand-in: nodes with parameters, publishers and subscriptions within one process; timers that a test fires.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "builtin_interfaces/msg/time.hpp"

namespace rclcpp
{

using ParameterValue =
  std::variant<bool, std::int64_t, double, std::string, std::vector<std::string>, std::vector<double>>;

class Parameter
{
public:
  explicit Parameter(ParameterValue value) : value_(std::move(value)) {}
  bool as_bool() const { return std::get<bool>(value_); }
  std::int64_t as_int() const { return std::get<std::int64_t>(value_); }
  double as_double() const { return std::get<double>(value_); }
  std::string as_string() const { return std::get<std::string>(value_); }
  std::vector<std::string> as_string_array() const { return std::get<std::vector<std::string>>(value_); }
  std::vector<double> as_double_array() const { return std::get<std::vector<double>>(value_); }

private:
  ParameterValue value_;
};

class Time
{
public:
  explicit Time(std::int64_t nanoseconds = 0) : nanoseconds_(nanoseconds) {}
  std::int64_t nanoseconds() const { return nanoseconds_; }
  operator builtin_interfaces::msg::Time() const { return {}; }

private:
  std::int64_t nanoseconds_;
};

class Duration
{
public:
  explicit Duration(std::int64_t nanoseconds = 0) : nanoseconds_(nanoseconds) {}
  double seconds() const { return static_cast<double>(nanoseconds_) * 1e-9; }

private:
  std::int64_t nanoseconds_;
};

class QoS
{
public:
  explicit QoS(std::size_t) {}
  QoS & reliable() { return *this; }
  QoS & transient_local() { return *this; }
};

class Logger
{
};

inline bool ok() { return true; }

enum class CallbackGroupType { MutuallyExclusive, Reentrant };

class CallbackGroup
{
public:
  using SharedPtr = std::shared_ptr<CallbackGroup>;
};

struct SubscriptionOptions
{
  CallbackGroup::SharedPtr callback_group;
};

namespace executors
{

// Delivers nothing: a test calls the callbacks itself.
class SingleThreadedExecutor
{
public:
  template <class Node>
  void add_callback_group(const CallbackGroup::SharedPtr &, const Node &)
  {
  }
  void spin_once(std::chrono::milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(1)); }
};

}  // namespace executors

template <class Message>
class Publisher
{
public:
  using SharedPtr = std::shared_ptr<Publisher>;
  void publish(const Message & message) { published.push_back(message); }
  std::vector<Message> published;
};

template <class Message>
class Subscription
{
public:
  using SharedPtr = std::shared_ptr<Subscription>;
  std::function<void(const Message &)> callback;
};

class TimerBase
{
public:
  using SharedPtr = std::shared_ptr<TimerBase>;
  std::function<void()> callback;
};

}  // namespace rclcpp

#define RCLCPP_ERROR(logger, ...) (static_cast<void>(logger), std::fprintf(stderr, __VA_ARGS__), std::fputc('\n', stderr))
#define RCLCPP_WARN(logger, ...) RCLCPP_ERROR(logger, __VA_ARGS__)
#define RCLCPP_INFO(logger, ...) RCLCPP_ERROR(logger, __VA_ARGS__)
