// Stand-in: one value of the hardware, lent to a controller.
#pragma once

#include <optional>

namespace hardware_interface
{

class LoanedCommandInterface
{
public:
  explicit LoanedCommandInterface(double & value) : value_(&value) {}
  [[nodiscard]] bool set_value(double value, unsigned int = 10)
  {
    *value_ = value;
    return true;
  }
  [[nodiscard]] std::optional<double> get_optional(unsigned int = 10) const { return *value_; }

private:
  double * value_;
};

class LoanedStateInterface
{
public:
  explicit LoanedStateInterface(const double & value) : value_(&value) {}
  [[nodiscard]] std::optional<double> get_optional(unsigned int = 10) const { return *value_; }

private:
  const double * value_;
};

}  // namespace hardware_interface
