#include "kernels/emu/runtime.h"

#include <cstdlib>
#include <stdexcept>
#include <string_view>

#include "kernels/emu/memory.h"
#include "kernels/emu/runtime_state.h"

namespace pagelab::emu {
namespace {

std::map<const void*, std::string>& kernel_names() {
  static std::map<const void*, std::string> names;
  return names;
}

void set_order_from_environment(WorkQueue& queue) {
  const char* variable = std::getenv("PAGELAB_EMU_STREAMS");
  const std::string_view value = variable == nullptr ? "eager" : variable;
  constexpr std::string_view kRandom = "random:";
  if (value == "eager") {
    queue.set_order(StreamOrder::eager, 0);
  } else if (value == "lazy") {
    queue.set_order(StreamOrder::lazy, 0);
  } else if (value.starts_with(kRandom) && value.size() > kRandom.size() &&
             value.find_first_not_of("0123456789", kRandom.size()) == std::string_view::npos) {
    queue.set_order(StreamOrder::random, std::strtoull(value.data() + kRandom.size(), nullptr, 10));
  } else {
    throw std::invalid_argument("PAGELAB_EMU_STREAMS is '" + std::string(value) +
                                "': it takes eager, lazy or random:SEED");
  }
}

std::unique_ptr<Runtime> new_runtime() {
  auto fresh = std::make_unique<Runtime>();
  set_order_from_environment(fresh->streams.queue());
  return fresh;
}

std::unique_ptr<Runtime>& instance() {
  // Never destroyed: destructors of static objects may still make CUDA calls.
  static auto& owner = *new std::unique_ptr<Runtime>(new_runtime());
  return owner;
}

cudaError_t status_of(KernelError::Kind kind) {
  switch (kind) {
    case KernelError::Kind::illegal_address:
      return cudaErrorIllegalAddress;
    case KernelError::Kind::hang:
      return cudaErrorLaunchTimeout;
    default:
      return cudaErrorLaunchFailure;
  }
}

}  // namespace

Runtime& runtime() {
  return *instance();
}

cudaError_t enter(Raises raises) {
  Runtime& state = runtime();
  if (state.streams.queue().running()) {
    return cudaErrorNotPermitted;
  }
  if (state.unraised != nullptr && raises == Raises::yes) {
    std::rethrow_exception(std::exchange(state.unraised, nullptr));
  }
  return state.sticky;
}

cudaError_t failed(const KernelError& error, Raises raises) {
  Runtime& state = runtime();
  state.report = error.what();
  const cudaError_t status = status_of(error.kind());
  if (state.on_failure == OnFailure::status) {
    state.sticky = status;
  } else if (raises == Raises::later) {
    state.unraised = std::current_exception();
  } else {
    throw;
  }
  return status;
}

cudaError_t leave(cudaError_t status) {
  if (status != cudaSuccess) {
    runtime().last = status;
  }
  return status;
}

void set_stream_order(StreamOrder order, std::uint64_t seed) {
  runtime().streams.queue().set_order(order, seed);
}
StreamOrder stream_order() {
  return runtime().streams.queue().order();
}

void set_on_failure(OnFailure on_failure) {
  runtime().on_failure = on_failure;
}
const std::string& last_report() {
  return runtime().report;
}

void name_kernel(const void* kernel, const std::string& name) {
  kernel_names().insert_or_assign(kernel, name);
}

const char* name_of_kernel(const void* kernel) {
  const auto found = kernel_names().find(kernel);
  return found == kernel_names().end() ? "kernel" : found->second.c_str();
}

void reset_runtime() {
  runtime().streams.queue().drop();
  instance() = new_runtime();
  release_all();
  set_memory_limit(kDefaultMemoryLimit);
}

}  // namespace pagelab::emu

namespace pagelab_emulated_cuda {

using namespace pagelab::emu;

cudaError_t cudaGetLastError() {
  Runtime& state = runtime();
  const cudaError_t status = state.sticky != cudaSuccess ? state.sticky : state.last;
  state.last = cudaSuccess;
  return status;
}

cudaError_t cudaPeekAtLastError() {
  return runtime().sticky != cudaSuccess ? runtime().sticky : runtime().last;
}

}  // namespace pagelab_emulated_cuda
