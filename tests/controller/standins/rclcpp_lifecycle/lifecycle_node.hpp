// Stand-in: what a controller asks of its node. A test sets overrides before on_init, and finds what was created.
#pragma once

#include <any>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "rclcpp/rclcpp.hpp"

namespace rclcpp_lifecycle
{

class LifecycleNode
{
public:
  const char * get_name() const { return "controller"; }
  rclcpp::Logger get_logger() const { return {}; }
  rclcpp::Time now() const { return rclcpp::Time(0); }

  bool has_parameter(const std::string & name) const { return parameters.count(name) > 0; }

  template <class Value>
  void declare_parameter(const std::string & name, const Value & value)
  {
    const auto found = overrides.find(name);
    rclcpp::ParameterValue own;
    if constexpr (std::is_same_v<Value, int>) {
      own = static_cast<std::int64_t>(value);
    } else {
      own = value;
    }
    parameters.emplace(name, found == overrides.end() ? own : found->second);
  }

  rclcpp::Parameter get_parameter(const std::string & name) const
  {
    const auto found = parameters.find(name);
    if (found == parameters.end()) {
      throw std::runtime_error("parameter '" + name + "' is not declared");
    }
    return rclcpp::Parameter(found->second);
  }

  rclcpp::CallbackGroup::SharedPtr create_callback_group(rclcpp::CallbackGroupType, bool)
  {
    return std::make_shared<rclcpp::CallbackGroup>();
  }

  int get_node_base_interface() const { return 0; }

  template <class Message>
  std::shared_ptr<rclcpp::Publisher<Message>> create_publisher(const std::string & topic, const rclcpp::QoS &)
  {
    auto made = std::make_shared<rclcpp::Publisher<Message>>();
    created[topic] = made;
    return made;
  }

  template <class Message>
  std::shared_ptr<rclcpp::Subscription<Message>> create_subscription(
    const std::string & topic, const rclcpp::QoS &, std::function<void(const Message &)> callback,
    const rclcpp::SubscriptionOptions &)
  {
    auto made = std::make_shared<rclcpp::Subscription<Message>>();
    made->callback = std::move(callback);
    created[topic] = made;
    return made;
  }

  rclcpp::TimerBase::SharedPtr create_wall_timer(std::chrono::milliseconds, std::function<void()> callback)
  {
    timer = std::make_shared<rclcpp::TimerBase>();
    timer->callback = std::move(callback);
    return timer;
  }

  template <class Created>
  std::shared_ptr<Created> at(const std::string & topic) const
  {
    return std::any_cast<std::shared_ptr<Created>>(created.at(topic));
  }

  std::map<std::string, rclcpp::ParameterValue> overrides;
  std::map<std::string, rclcpp::ParameterValue> parameters;
  std::map<std::string, std::any> created;
  rclcpp::TimerBase::SharedPtr timer;
};

}  // namespace rclcpp_lifecycle
