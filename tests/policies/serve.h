// serve(): a whole run in virtual time on a pool of blocks of 4 slots, as many on the host.
#pragma once

#include <utility>
#include <vector>

#include "tests/support/builders.h"
#include "tests/support/hash_device.h"

namespace pagelab::testing {

inline Run serve(std::vector<Request> requests, const PolicyNames& names, std::int64_t blocks = 256) {
  HashDevice device(blocks, blocks, 4);
  return run(device, std::move(requests), names);
}

}  // namespace pagelab::testing
