// The emulated CUDA runtime, as tests and the emulated device see it beside the CUDA calls themselves
// (include/cuda_runtime.h, include/cublas_v2.h): in which order queued work runs, what happens when a kernel
// fails, and a way back to the start. Memory has a header of its own (memory.h).
//
// Everything runs on the calling OS thread, inside of some CUDA call; the runtime has one device and serves
// one thread. The device calls itself "SIMT machine": compute capability 8.0, 108 multiprocessors.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/emu/work_queue.h"

namespace pagelab::emu {

/// In which order streams run. Pending work is completed first. Without a call of this the environment's
/// PAGELAB_EMU_STREAMS decides (eager, lazy, random:SEED; read at the first CUDA call), or eager.
void set_stream_order(StreamOrder order, std::uint64_t seed = 0);
StreamOrder stream_order();

/// What the CUDA call does in which a kernel failed.
enum class OnFailure : std::uint8_t {
  raise,  ///< throws the KernelError, once; later calls work. What release calls (cudaFree and the like, as
          ///< called by destructors) run into, the next other call throws.
  status  ///< returns cudaErrorIllegalAddress, cudaErrorLaunchTimeout (a hang) or cudaErrorLaunchFailure, as
          ///< do all calls after it until reset_runtime(): CUDA's sticky errors
};
/// raise, unless set. Either way a failure drops all queued work.
void set_on_failure(OnFailure on_failure);
/// The report of the last KernelError; empty if there was none.
const std::string& last_report();

/// What reports call this kernel: `kernel` as given to enqueue_launch().
void name_kernel(const void* kernel, const std::string& name);

/// As at the program's start: queued work is dropped, streams, events, graphs and memory are gone, errors
/// forgotten, the memory limit and the order of streams as they were at first. Names of kernels stay.
void reset_runtime();

}  // namespace pagelab::emu
