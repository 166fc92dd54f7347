#include "kernels/cuda/ops/block_moves.h"

#include "kernels/cuda/kv_blocks.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {

void BlockMoves::add(Direction direction, std::span<const BlockCopy> copies, StepUploads& uploads) {
  if (copies.empty()) {
    return;
  }
  moves_.push_back(
      {direction, mode_ == SwapMode::batched ? uploads.put(copies) : nullptr, copies_.size(), copies.size()});
  copies_.insert(copies_.end(), copies.begin(), copies.end());
}

void BlockMoves::start(cudaStream_t compute, const KvPools& pools) {
  ready_.record(compute);
  ready_.hold_back(stream_);
  timer_.enter(OpKind::copy);
  for (const Move& move : moves_) {
    if (mode_ == SwapMode::batched) {
      move_batch(move, pools);
    } else {
      move_each(move, pools);
    }
  }
  timer_.leave();
  done_.record(stream_);
  started_ = true;
  moves_.clear();
  copies_.clear();
}

void BlockMoves::join(cudaStream_t compute) {
  if (started_) {
    done_.hold_back(compute);
    started_ = false;
  }
}

void BlockMoves::move_batch(const Move& move, const KvPools& pools) {
  const bool out = move.direction == Direction::out;
  copy_blocks(stream_, out ? pools.device() : pools.mapped_host(), out ? pools.mapped_host() : pools.device(),
              static_cast<std::int64_t>(pools.block_bytes()), move.on_device,
              static_cast<std::int32_t>(move.count));
}

void BlockMoves::move_each(const Move& move, const KvPools& pools) {
  const bool out = move.direction == Direction::out;
  const std::byte* source = out ? pools.device() : pools.host();
  std::byte* target = out ? pools.host() : pools.device();
  for (const BlockCopy& copy : std::span(copies_).subspan(move.first, move.count)) {
    const std::size_t from = static_cast<std::size_t>(copy.source) * pools.block_bytes();
    const std::size_t to = static_cast<std::size_t>(copy.target) * pools.block_bytes();
    for (std::size_t part = 0; part < pools.block_bytes(); part += pools.part_bytes()) {
      check(cudaMemcpyAsync(target + to + part, source + from + part, pools.part_bytes(),
                            out ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice, stream_),
            "cudaMemcpyAsync");
    }
  }
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
