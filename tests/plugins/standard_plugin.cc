// The standard policies as a plugin: the files of policies/ are compiled into it as they are.
#include "core/plugin.h"

namespace pagelab {

void register_scheduling_fcfs(PolicyRegistry& registry);
void register_batching_mixed(PolicyRegistry& registry);
void register_allocation_paged(PolicyRegistry& registry);
void register_preemption_latest(PolicyRegistry& registry);
void register_sharing_group(PolicyRegistry& registry);
void register_eviction_lru(PolicyRegistry& registry);
void register_retention_all(PolicyRegistry& registry);

}  // namespace pagelab

PAGELAB_PLUGIN(registry) {
  pagelab::register_scheduling_fcfs(registry);
  pagelab::register_batching_mixed(registry);
  pagelab::register_allocation_paged(registry);
  pagelab::register_preemption_latest(registry);
  pagelab::register_sharing_group(registry);
  pagelab::register_eviction_lru(registry);
  pagelab::register_retention_all(registry);
}
