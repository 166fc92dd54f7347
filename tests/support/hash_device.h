// HashDevice: the name that tests use for the device that stores tokens and checks every read of them.
#pragma once

#include "models/check_device.h"

namespace pagelab::testing {

using HashDevice = CheckDevice;

}  // namespace pagelab::testing
