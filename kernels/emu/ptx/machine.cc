#include "kernels/emu/ptx/machine.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>

#include "kernels/emu/machine.h"
#include "kernels/emu/runtime.h"

namespace pagelab::emu::ptx {
namespace {

std::map<std::string, KernelCount>& all_counts() {
  static std::map<std::string, KernelCount> counts;
  return counts;
}

std::string demangled(const std::string& name) {
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, nullptr), &std::free);
  return text == nullptr ? name : text.get();
}

/// A launch with the copy of its arguments.
struct OwnedLaunch {
  Launch launch;
  std::vector<std::uint64_t> parameters;  // 16-byte aligned by the allocator
  KernelCount* count = nullptr;
};

/// Slots and local memory of all threads of a block, kept from block to block and from launch to launch.
class ThreadStorage {
 public:
  /// Sizes are the same for all threads of a launch, so that only its first thread finds too little.
  void attach(Frame& frame, const Program& program, std::uint64_t threads, std::uint32_t linear) {
    const std::size_t local_words = program.all_local_bytes / sizeof(Word);
    if (slots_.size() < threads * program.all_slots) {
      slots_.resize(threads * program.all_slots);
    }
    if (local_.size() < threads * local_words) {
      local_.resize(threads * local_words);
    }
    frame.slots = slots_.data() + std::size_t{linear} * program.all_slots;
    frame.local = reinterpret_cast<std::byte*>(local_.data() + std::size_t{linear} * local_words);
    std::fill_n(frame.local, program.all_local_bytes, std::byte{0xff});
  }

 private:
  struct alignas(16) Word {
    std::uint64_t halves[2];
  };
  std::vector<std::uint64_t> slots_;
  std::vector<Word> local_;
};

ThreadStorage& storage() {
  static ThreadStorage threads;
  return threads;
}

std::uint64_t special_register(const Frame& frame, SpecialRegister which) {
  using enum SpecialRegister;
  const Thread& thread = *this_thread();
  const Launch& launch = *frame.launch;
  const std::uint32_t own = 1u << thread.lane;
  switch (which) {
    case tid_x:
      return thread.index.x;
    case tid_y:
      return thread.index.y;
    case tid_z:
      return thread.index.z;
    case ntid_x:
      return launch.block.x;
    case ntid_y:
      return launch.block.y;
    case ntid_z:
      return launch.block.z;
    case ctaid_x:
      return thread.block.x;
    case ctaid_y:
      return thread.block.y;
    case ctaid_z:
      return thread.block.z;
    case nctaid_x:
      return launch.grid.x;
    case nctaid_y:
      return launch.grid.y;
    case nctaid_z:
      return launch.grid.z;
    case laneid:
      return thread.lane;
    case warpid:
      return thread.warp;
    case lanemask_eq:
      return own;
    case lanemask_lt:
      return own - 1;
    case lanemask_le:
      return (own - 1) | own;
    case lanemask_gt:
      return ~((own - 1) | own);
    case lanemask_ge:
      return ~(own - 1);
    case dynamic_shared_bytes:
      return launch.dynamic_shared_bytes;
  }
  return 0;
}

void fill_slots(Frame& frame, const Program& program) {
  std::memset(frame.slots, 0xff, program.slots * sizeof(std::uint64_t));
  for (const InitialSlot& initial : program.initial) {
    std::uint64_t& slot = frame.slots[initial.slot];
    switch (initial.kind) {
      case InitialSlot::Kind::constant:
        slot = initial.value;
        break;
      case InitialSlot::Kind::parameter:
        slot = reinterpret_cast<std::uintptr_t>(frame.launch->parameters) + initial.value;
        break;
      case InitialSlot::Kind::local:
        slot = reinterpret_cast<std::uintptr_t>(frame.local) + initial.value;
        break;
      case InitialSlot::Kind::special:
        slot = special_register(frame, static_cast<SpecialRegister>(initial.value));
        break;
    }
  }
}

void run_thread(const OwnedLaunch& owned) {
  const Program& program = *owned.launch.kernel;
  Frame frame;
  frame.launch = &owned.launch;
  frame.shared = shared_memory();
  frame.shared_bytes = shared_bytes();
  frame.observer = observer();
  storage().attach(frame, program, owned.launch.block.count(), this_thread()->linear);
  execute(frame, program);
  owned.count->thread_instructions += frame.executed;
}

std::shared_ptr<const OwnedLaunch> own(const Program& program, const cudaLaunchConfig_t& config,
                                       void** arguments) {
  auto owned = std::make_shared<OwnedLaunch>();
  owned->parameters.resize((program.parameter_bytes + 7) / 8);
  auto* begin = reinterpret_cast<std::byte*>(owned->parameters.data());
  for (std::size_t i = 0; i < program.parameters.size(); ++i) {
    std::memcpy(begin + program.parameters[i].offset, arguments[i], program.parameters[i].bytes);
  }
  KernelCount& count = all_counts()[program.name];
  count.kernel = demangled(program.name);
  ++count.launches;
  owned->count = &count;
  owned->launch.kernel = &program;
  owned->launch.grid = {config.gridDim.x, config.gridDim.y, config.gridDim.z};
  owned->launch.block = {config.blockDim.x, config.blockDim.y, config.blockDim.z};
  owned->launch.parameters = begin;
  owned->launch.dynamic_shared_bytes = config.dynamicSmemBytes;
  return owned;
}

bool exceeds(const dim3& block, const Extent& limit) {
  return limit.x != 0 && std::uint64_t{block.x} * block.y * block.z > limit.count();
}

}  // namespace

void fail(const Frame& frame, const Instruction* i, KernelError::Kind kind, const std::string& what) {
  detail::fail(kind, frame.site(i), what);
}

void execute(Frame& frame, const Program& program) {
  frame.program = &program;
  fill_slots(frame, program);
  const Instruction* instruction = program.code.data();
  std::uint64_t executed = 0;
  do {
    ++executed;
    instruction = instruction->execute(frame, instruction);
  } while (instruction != nullptr);
  frame.executed += executed;
}

std::vector<KernelCount> counts() {
  std::vector<KernelCount> list;
  for (const auto& [name, count] : all_counts()) {
    if (count.launches > 0) {
      list.push_back(count);
    }
  }
  return list;
}

void reset_counts() {
  for (auto& [name, count] : all_counts()) {
    count.launches = count.thread_instructions = 0;
  }
}

cudaError_t launch(Module& module, std::string_view kernel, const void* identity,
                   const cudaLaunchConfig_t& config, void** arguments) {
  const Program* program = nullptr;
  try {
    program = module.kernel(kernel);
  } catch (const std::runtime_error& error) {
    throw KernelError(KernelError::Kind::unsupported, error.what());
  }
  if (program == nullptr) {
    return cudaErrorInvalidDeviceFunction;
  }
  if (exceeds(config.blockDim, program->block_limit)) {
    return cudaErrorInvalidValue;
  }
  name_kernel(identity, demangled(program->name));
  cudaLaunchConfig_t whole = config;
  whole.dynamicSmemBytes += program->shared_bytes;
  return pagelab_emulated_cuda::enqueue_launch(
      whole, identity, [launch = own(*program, config, arguments)] { run_thread(*launch); });
}

}  // namespace pagelab::emu::ptx
