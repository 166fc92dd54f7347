// From measurements (calibration_measure.h) to a device description: efficiency curves are read off the
// medians point by point, fixed costs are least squares of a few unknowns. No curve is assumed beyond the
// cost model's own formulas (models/cost_model.h). Pure functions of their arguments.
#pragma once

#include <string>
#include <vector>

#include "experiments/calibrate/calibration_measure.h"
#include "models/device_description.h"

namespace pagelab {

/// What of a description is not measured.
struct DeviceIdentity {
  std::string name;
  std::string source;
  double memory_gib = 0;
};

/// The description under which the cost model gives back the measured times. Requires at least one model with
/// steps of prompts alone and of decodes alone.
DeviceDescription describe(const Measurements& measured, const DeviceIdentity& identity);

/// How far the cost model with a description is from measured steps.
struct StepError {
  std::string model;
  StepTimes measured;
  double predicted_s = 0;
  double relative() const { return predicted_s / measured.seconds - 1; }
};
std::vector<StepError> step_errors(const Measurements& measured, const DeviceDescription& description);

}  // namespace pagelab
