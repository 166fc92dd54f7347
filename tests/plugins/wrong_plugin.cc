// Registers policies wrongly, in the way that the environment variable PAGELAB_WRONG names.
#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "core/plugin.h"

namespace {

using namespace pagelab;

class Fcfs final : public SchedulingPolicy {
 public:
  double key(const GroupView& group, Seconds) override { return group.arrival().value(); }
};

class Unmakeable final : public SchedulingPolicy {
 public:
  Unmakeable() { throw std::runtime_error("no such day"); }
  double key(const GroupView&, Seconds) override { return 0; }
};

void add(PolicyRegistry& registry, const char* name, std::vector<ParameterSpec> parameters = {}) {
  registry.add<SchedulingPolicy, Fcfs>(
      {.name = name, .summary = "wrong", .parameters = std::move(parameters)});
}

}  // namespace

PAGELAB_PLUGIN(registry) {
  const char* variable = std::getenv("PAGELAB_WRONG");
  const std::string_view how = variable == nullptr ? "" : variable;
  if (how == "throws") {
    throw std::runtime_error("the moon is full");
  }
  if (how == "throws a number") {
    throw 42;
  }
  if (how == "built in") {
    add(registry, "fcfs");
  }
  if (how == "twice") {
    add(registry, "wrong");
    add(registry, "wrong");
  }
  if (how == "shuffled") {  // a name of good_plugin
    add(registry, "shuffled");
  }
  if (how == "no name") {
    add(registry, "has/slash");
  }
  if (how == "bad default") {
    add(registry, "wrong", {{.name = "share", .default_value = 2.0, .maximum = 1}});
  }
  if (how == "parameter twice") {
    add(registry, "wrong",
        {{.name = "share", .default_value = 0.5}, {.name = "share", .default_value = 0.5}});
  }
  if (how == "parameter called name") {
    add(registry, "wrong", {{.name = "name", .default_value = "x"}});
  }
  if (how == "unmakeable") {
    registry.add<SchedulingPolicy, Unmakeable>({.name = "unmakeable", .summary = "throws when made"});
  }
}
