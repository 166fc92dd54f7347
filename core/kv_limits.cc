// The part of the KV manager that tells, before a request is accepted, whether it could ever finish: what it
// may come to need against all that there is.
#include <algorithm>

#include <fmt/format.h>

#include "core/kv_manager.h"

namespace pagelab {

Blocks KvManager::blocks_at_most(const SequenceGroup& group, Blocks reserved) const {
  const Tokens prompt(static_cast<std::int64_t>(group.request.prompt.size()));
  const Tokens most = drops_ ? slots_at_most(group) : std::max(prompt, group.final_length());
  const Blocks each = std::max(reserved, blocks_for(most, block_size_));
  const Blocks shared = within_group_ ? Blocks(prompt / block_size_) : Blocks(0);
  return shared + (each - shared) * group.width();
}

Blocks KvManager::blocks_at_most(const SequenceGroup& group) const {
  return blocks_at_most(group,
                        reserved(group, Tokens(static_cast<std::int64_t>(group.request.prompt.size()))));
}

std::string KvManager::why_never(const SequenceGroup& group) const {
  const Request& request = group.request;
  if (drops_ && group.width() > 1) {
    return fmt::format("a retention policy that drops tokens serves one sequence a request, not {}",
                       group.width());
  }
  const Blocks kept = pinned();
  const Blocks need = blocks_at_most(group);
  if (need + kept > device_.capacity()) {
    return fmt::format(
        "{} prompt and {} output tokens in {} sequences need {} blocks of {} slots, the device has {}{}",
        request.prompt.size(), request.max_output.value(), group.width(), need.value(), block_size_.value(),
        device_.capacity().value(), kept > Blocks(0) ? fmt::format(", {} of them pinned", kept.value()) : "");
  }
  if (!runs_) {
    return {};
  }
  const Blocks run = reserved(group, Tokens(static_cast<std::int64_t>(request.prompt.size())));
  if (run < blocks_for(group.final_length(), block_size_)) {
    return fmt::format("{} prompt and {} output tokens need {} slots, the allocation policy sets {} aside",
                       request.prompt.size(), request.max_output.value(), group.final_length().value(),
                       run.value() * block_size_.value());
  }
  std::vector<Blocks> runs;
  append_runs(group, runs);
  if (!fit(*empty_, runs)) {
    return fmt::format("{} runs of {} adjacent blocks do not fit into the {} blocks of the device",
                       runs.size(), run.value(), device_.capacity().value());
  }
  return {};
}

}  // namespace pagelab
