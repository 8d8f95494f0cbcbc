// A sample of a command stream, and the queue through which a subscription hands samples to the control loop.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace robolearn_controller
{

constexpr std::size_t kMaxJoints = 16;
using Vector = std::array<double, kMaxJoints>;

struct Sample
{
  std::int64_t stamp_ns{0};  // on the sender's clock
  Vector position{};
  Vector velocity{};
  bool with_velocity{false};  // otherwise the velocity is derived from the positions
};

// One thread pushes, one other takes; neither ever waits or allocates. kCapacity: a power of two.
template <std::size_t kCapacity>
class SampleQueue
{
  static_assert((kCapacity & (kCapacity - 1)) == 0, "the capacity must be a power of two");

public:
  // False, and nothing changed, where the other side has not kept up.
  bool push(const Sample & sample)
  {
    const std::size_t end = end_.load(std::memory_order_relaxed);
    if (end - begin_.load(std::memory_order_acquire) == kCapacity) {
      return false;
    }
    ring_[end & (kCapacity - 1)] = sample;
    end_.store(end + 1, std::memory_order_release);
    return true;
  }

  // False where there is none.
  bool take(Sample & sample)
  {
    const std::size_t begin = begin_.load(std::memory_order_relaxed);
    if (begin == end_.load(std::memory_order_acquire)) {
      return false;
    }
    sample = ring_[begin & (kCapacity - 1)];
    begin_.store(begin + 1, std::memory_order_release);
    return true;
  }

private:
  std::array<Sample, kCapacity> ring_{};
  std::atomic<std::size_t> begin_{0};
  std::atomic<std::size_t> end_{0};
};

}  // namespace robolearn_controller
