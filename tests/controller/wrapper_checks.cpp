// Checks of the controller around the filter, on stand-ins of ros2_control: `wrapper_checks NAME` runs one, without a
// name all are listed. A check that fails says where and ends with 1.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "robolearn_controller/stream_controller.hpp"

using controller_interface::CallbackReturn;
using controller_interface::return_type;
using diagnostic_msgs::msg::DiagnosticStatus;
using sensor_msgs::msg::JointState;

extern "C" controller_interface::ControllerInterface * robolearn_make_plugin();

namespace
{

int failures = 0;

#define EXPECT(what) \
  do { \
    if (!(what)) { \
      std::printf("line %d: not true: %s\n", __LINE__, #what); \
      ++failures; \
    } \
  } while (false)

// A controller of three joints in a loop at 1 kHz that a sender feeds at 500 Hz.
struct Rig
{
  std::unique_ptr<controller_interface::ControllerInterface> controller{robolearn_make_plugin()};
  std::vector<double> command{0.0, 0.0, 0.0}, position{0.1, 0.2, 0.3}, velocity{0.0, 0.0, 0.0}, weight{1.0, 2.0, 3.0};
  std::vector<std::string> names{"a", "b", "c"};
  std::int64_t now_ns{1000000000};
  std::int64_t sent{0};

  std::map<std::string, rclcpp::ParameterValue> & given() { return controller->get_node()->overrides; }

  explicit Rig(const std::string & interface = "position")
  {
    given()["joints"] = names;
    given()["interface_name"] = interface;
    given()["profile"] = std::string("cell");
    given()["profile_digest"] = std::string("0123abcd");
    for (const auto & [name, value] : std::map<std::string, double>{
           {"position_min_rad", -2.0}, {"position_max_rad", 2.0}, {"velocity_max_rad_s", 2.0},
           {"acceleration_max_rad_s2", 10.0}, {"jerk_max_rad_s3", 5000.0}, {"stiffness_nm_rad", 500.0},
           {"damping_nm_s_rad", 40.0}, {"torque_max_nm", 50.0}, {"torque_rate_max_nm_s", 1000.0}}) {
      given()[name] = std::vector<double>(3, value);
    }
    command.assign(3, std::nan(""));
  }

  CallbackReturn configure()
  {
    controller->on_init();
    return controller->on_configure({});
  }

  CallbackReturn activate()
  {
    controller->command_interfaces_.clear();
    controller->state_interfaces_.clear();
    for (double & value : command) {
      controller->command_interfaces_.emplace_back(value);
    }
    for (std::vector<double> * values : {&position, &velocity, &weight}) {
      for (const double & value : *values) {
        controller->state_interfaces_.emplace_back(value);
      }
    }
    return controller->on_activate({});
  }

  void send(const JointState & message)
  {
    controller->get_node()->at<rclcpp::Subscription<JointState>>("/robolearn/sent_command")->callback(message);
  }

  JointState message(std::vector<std::string> order, const std::vector<double> & at, const std::vector<double> & speed)
  {
    JointState made;
    const std::int64_t stamp = 5000000000 + sent++ * 2000000;
    made.header.stamp.sec = static_cast<std::int32_t>(stamp / 1000000000);
    made.header.stamp.nanosec = static_cast<std::uint32_t>(stamp % 1000000000);
    made.name = std::move(order);
    made.position = at;
    made.velocity = speed;
    return made;
  }

  return_type step()
  {
    now_ns += 1000000;
    const return_type answer = controller->update(rclcpp::Time(now_ns), rclcpp::Duration(1000000));
    if (now_ns % 50000000 == 0) {
      controller->get_node()->timer->callback();
    }
    return answer;
  }

  // The stream rests for half a second, then joint a moves by `travel` in two seconds, smoothly, for `seconds`.
  void stream(double travel, double seconds, const std::function<void()> & each = [] {})
  {
    const std::vector<double> from = position;
    double before = from[0];
    for (int k = 0; k < static_cast<int>(seconds * 1000.0); ++k) {
      if (k % 2 == 0) {
        const double u = std::min(std::max((k * 0.001 - 0.5) / 2.0, 0.0), 1.0);
        const double at = from[0] + travel * u * u * u * (10.0 - 15.0 * u + 6.0 * u * u);
        send(message({"c", "other", "a", "b"}, {from[2], 9.0, at, from[1]}, {0.0, 9.0, (at - before) / 0.002, 0.0}));
        before = at;
      }
      step();
      each();
    }
  }

  DiagnosticStatus status() const
  {
    return controller->get_node()->at<rclcpp::Publisher<DiagnosticStatus>>("~/status")->published.back();
  }

  std::string value(const std::string & key) const
  {
    for (const auto & pair : status().values) {
      if (pair.key == key) {
        return pair.value;
      }
    }
    return "";
  }
};

void follows_by_name_and_brakes_at_the_end()
{
  Rig rig;
  EXPECT(rig.configure() == CallbackReturn::SUCCESS);
  EXPECT(rig.controller->command_interface_configuration().names[2] == "c/position");
  EXPECT(rig.controller->state_interface_configuration().names.size() == 3);
  EXPECT(rig.activate() == CallbackReturn::SUCCESS);
  std::vector<double> path;
  rig.stream(1.0, 1.5, [&] { path.push_back(rig.command[0]); });
  EXPECT(std::fabs(rig.command[0] - 0.6) < 0.03);  // halfway, 7 ms behind
  EXPECT(std::fabs(rig.command[1] - 0.2) < 1e-9);
  EXPECT(std::fabs(rig.command[2] - 0.3) < 1e-9);
  EXPECT(rig.value("state") == "following");
  EXPECT(rig.value("profile_digest") == "0123abcd");
  for (int k = 0; k < 300; ++k) {
    rig.step();
    path.push_back(rig.command[0]);
  }
  EXPECT(path.back() == path[path.size() - 50]);
  EXPECT(rig.status().level == DiagnosticStatus::ERROR);
  EXPECT(rig.status().message == "stopped: the stream ended");
  for (std::size_t k = 2; k < path.size(); ++k) {
    EXPECT(std::fabs(path[k] - 2.0 * path[k - 1] + path[k - 2]) <= 10.0 * 1e-6);
  }
}

void holds_what_is_commanded_already()
{
  Rig rig;
  rig.configure();
  rig.command = {0.105, 0.2, 1.0};  // a sag, none, and a command from elsewhere
  EXPECT(rig.activate() == CallbackReturn::SUCCESS);
  rig.step();
  EXPECT(rig.command == (std::vector<double>{0.105, 0.2, 0.3}));
}

void says_what_it_does_not_take()
{
  Rig rig;
  rig.configure();
  rig.activate();
  for (const JointState & bad : {rig.message({"a", "b"}, {0.1, 0.2}, {}), rig.message(rig.names, {0.1, 0.2}, {}),
                                 rig.message(rig.names, {0.1, 0.2, 0.3}, {0.0})}) {
    rig.send(bad);
  }
  for (int k = 0; k < 100; ++k) {
    rig.step();
  }
  EXPECT(rig.value("messages_malformed") == "3");
  EXPECT(rig.value("malformed") == "3 names, 3 positions, 1 velocities");
  EXPECT(rig.value("samples") == "0");
  rig.send(rig.message(rig.names, {0.1, 0.2, 0.3}, {}));  // velocities may be left out
  for (int k = 0; k < 1000; ++k) {
    rig.step();
  }
  EXPECT(rig.status().message == "waiting" || rig.status().level == DiagnosticStatus::WARN);
  rig.controller->on_deactivate({});
  rig.controller->get_node()->timer->callback();
  EXPECT(rig.status().message == "inactive");
  EXPECT(rig.controller->on_cleanup({}) == CallbackReturn::SUCCESS);
  EXPECT(rig.controller->on_configure({}) == CallbackReturn::SUCCESS);
}

void refuses_numbers_that_cannot_be()
{
  const std::vector<std::pair<std::string, rclcpp::ParameterValue>> cases{
    {"joints", std::vector<std::string>{}},
    {"joints", std::vector<std::string>(17, "a")},
    {"interface_name", std::string("velocity")},
    {"position_min_rad", std::vector<double>{-1.0, -1.0}},
    {"position_min_rad", std::vector<double>{3.0, -1.0, -1.0}},
    {"jerk_max_rad_s3", std::vector<double>{0.0, 1.0, 1.0}},
    {"acceleration_max_rad_s2", std::vector<double>{std::nan(""), 1.0, 1.0}},
    {"stream_rate_hz", 0.0},
    {"delay_s", 0.001},
    {"delay_max_s", 0.001},
    {"late_max_s", 10.0},
    {"bandwidth_rad_s", 1000.0}};
  for (const auto & [name, value] : cases) {
    Rig rig;
    rig.given()[name] = value;
    std::printf("%s\n", name.c_str());
    EXPECT(rig.configure() == CallbackReturn::ERROR);
  }
  for (const std::string name : {"stiffness_nm_rad", "torque_rate_max_nm_s"}) {
    Rig rig("effort");
    rig.given()[name] = std::vector<double>{0.0, 1.0, 1.0};
    EXPECT(rig.configure() == CallbackReturn::ERROR);
  }
  Rig rig;
  rig.controller->update_rate = 0;
  EXPECT(rig.configure() == CallbackReturn::ERROR);
}

void refuses_to_start_outside_the_limits()
{
  Rig rig;
  rig.configure();
  rig.position[1] = 2.1;
  EXPECT(rig.activate() == CallbackReturn::ERROR);
  rig.position[1] = std::nan("");
  EXPECT(rig.activate() == CallbackReturn::ERROR);
  rig.position[1] = 0.2;
  EXPECT(rig.activate() == CallbackReturn::SUCCESS);
}

void commands_efforts_within_their_limits()
{
  Rig rig("effort");
  rig.given()["feed_forward_interface"] = std::string("gravity");
  EXPECT(rig.configure() == CallbackReturn::SUCCESS);
  EXPECT(rig.controller->state_interface_configuration().names[8] == "c/gravity");
  EXPECT(rig.activate() == CallbackReturn::SUCCESS);
  EXPECT(rig.step() == return_type::OK);
  EXPECT(rig.command == (std::vector<double>{1.0, 2.0, 3.0}));  // its weight, and nothing else
  rig.position[0] += 0.01;
  rig.step();
  EXPECT(std::fabs(rig.command[0] - 0.0) < 1e-6);  // 1 Nm in one step, not 5
  for (int k = 0; k < 50; ++k) {
    rig.step();
  }
  EXPECT(std::fabs(rig.command[0] - (1.0 - 5.0)) < 1e-6);
  rig.position[0] += 10.0;
  for (int k = 0; k < 200; ++k) {
    rig.step();
  }
  EXPECT(std::fabs(rig.command[0] + 50.0) < 1e-6);
  rig.position[0] = std::nan("");
  for (int k = 0; k < 10; ++k) {
    EXPECT(rig.step() == return_type::OK);
  }
  EXPECT(std::fabs(rig.command[0] + 50.0) < 1e-6);  // the torque of before
  EXPECT(rig.step() == return_type::ERROR);
  rig.controller->get_node()->timer->callback();
  EXPECT(rig.status().message == "stopped: a measured value is not finite");
  rig.controller->on_deactivate({});
  EXPECT(rig.command == (std::vector<double>{0.0, 0.0, 0.0}));
}

void a_flood_stops_it()
{
  Rig rig;
  rig.configure();
  rig.activate();
  rig.stream(1.0, 1.5);
  for (int k = 0; k < 300; ++k) {
    rig.send(rig.message(rig.names, {0.6, 0.2, 0.3}, {}));
  }
  for (int k = 0; k < 300; ++k) {
    rig.step();
  }
  EXPECT(rig.status().message.rfind("stopped: ", 0) == 0);
}

const std::map<std::string, void (*)()> kChecks{
  {"follows_by_name_and_brakes_at_the_end", follows_by_name_and_brakes_at_the_end},
  {"holds_what_is_commanded_already", holds_what_is_commanded_already},
  {"says_what_it_does_not_take", says_what_it_does_not_take},
  {"refuses_numbers_that_cannot_be", refuses_numbers_that_cannot_be},
  {"refuses_to_start_outside_the_limits", refuses_to_start_outside_the_limits},
  {"commands_efforts_within_their_limits", commands_efforts_within_their_limits},
  {"a_flood_stops_it", a_flood_stops_it},
};

}  // namespace

int main(int count, char ** arguments)
{
  if (count < 2) {
    for (const auto & [name, check] : kChecks) {
      std::printf("%s\n", name.c_str());
    }
    return 0;
  }
  kChecks.at(arguments[1])();
  return failures == 0 ? 0 : 1;
}
