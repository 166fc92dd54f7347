#include "kernels/cuda/ops/step_uploads.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

/// The room that an array gets: a power of two, so that arrays that grow slowly from step to step, as page
/// tables do, leave the addresses of the others as they were and a step can repeat an earlier one's launches.
std::size_t room_for(std::size_t bytes) {
  return std::bit_ceil(std::max<std::size_t>(bytes, 256));
}

}  // namespace

void StepUploads::add_chunk(std::size_t bytes) {
  chunks_.push_back({PinnedMemory(bytes, "the arrays of a step on the host"),
                     DeviceMemory(bytes, "the arrays of a step on the device")});
}

void StepUploads::begin() {
  uploaded_.wait();
  in_flight_ = false;
  if (chunks_.size() > 1) {
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");  // kernels may still read the device's side
    std::size_t total = 0;
    for (const Chunk& chunk : chunks_) {
      total += chunk.host.size();
    }
    chunks_.clear();
    add_chunk(total);
  }
  chunks_.front().used = 0;
}

const std::byte* StepUploads::put_bytes(std::span<const std::byte> bytes) {
  if (in_flight_) {
    begin();
  }
  for (const Entry& entry : entries_) {
    const Chunk& chunk = chunks_[entry.chunk];
    if (entry.bytes == bytes.size() &&
        (bytes.empty() || std::memcmp(chunk.host.data() + entry.offset, bytes.data(), bytes.size()) == 0)) {
      return chunk.device.data() + entry.offset;
    }
  }
  const std::size_t room = room_for(bytes.size());
  if (chunks_.back().host.size() - chunks_.back().used < room) {
    add_chunk(std::max(room, kFirstBytes));
  }
  Chunk& chunk = chunks_.back();
  const Entry entry{chunks_.size() - 1, chunk.used, bytes.size()};
  if (!bytes.empty()) {
    std::memcpy(chunk.host.data() + entry.offset, bytes.data(), bytes.size());
  }
  chunk.used += room;
  entries_.push_back(entry);
  return chunk.device.data() + entry.offset;
}

void StepUploads::upload(cudaStream_t stream) {
  if (entries_.empty()) {
    return;
  }
  for (const Chunk& chunk : chunks_) {
    check(cudaMemcpyAsync(chunk.device.data(), chunk.host.data(), chunk.used, cudaMemcpyHostToDevice, stream),
          "cudaMemcpyAsync");
  }
  uploaded_.record(stream);
  entries_.clear();
  in_flight_ = true;
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
