// Stand-in: that the class can be made is all that is checked.
#pragma once

#include <memory>

#define PLUGINLIB_EXPORT_CLASS(type, base) \
  extern "C" base * robolearn_make_plugin() { return new type; }
