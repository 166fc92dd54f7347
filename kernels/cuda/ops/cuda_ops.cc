#include "kernels/cuda/ops/cuda_ops.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/kv_blocks.h"
#include "kernels/cuda/ops/weights.h"
#include "kernels/cuda/prefill_attention.h"
#include "kernels/cuda/sampling.h"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr std::size_t kResultBytes = std::size_t{1} << 14;

const CudaWeight& cuda_weight(const Weight& weight) {
  return static_cast<const CudaWeight&>(weight);
}

std::int32_t multiprocessors() {
  int device = 0;
  int count = 0;
  check(cudaGetDevice(&device), "cudaGetDevice");
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  return count;
}

std::size_t elements(Tensor x) {
  return static_cast<std::size_t>(x.rows) * static_cast<std::size_t>(x.cols);
}

/// The operations that read or write the device pool, and so wait for the step's swap traffic.
bool touches_blocks(OpKind kind) {
  return kind == OpKind::kv_write || kind == OpKind::attention || kind == OpKind::copy;
}

bool same(std::span<const std::int32_t> a, std::span<const std::int32_t> b) {
  return a.data() == b.data() && a.size() == b.size();
}

/// Whether two batches are one, by their arrays' addresses: comparing the arrays in every layer would cost
/// more than uploading them.
bool same(const AttentionBatch& a, const AttentionBatch& b) {
  return same(a.query_indptr, b.query_indptr) && same(a.kv_indptr, b.kv_indptr) &&
         same(a.kv_indices, b.kv_indices) && same(a.last_block_len, b.last_block_len) &&
         same(a.positions, b.positions) && same(a.slot_mapping, b.slot_mapping);
}

// --- Launchers of what is not a kernel of ours.

void multiply(cudaStream_t, const Gemm* gemm, const void* x, const void* w, std::int64_t inner, Tensor out,
              DType dtype, bool accumulate) {
  gemm->run({x, w, inner, out, dtype, accumulate});
}

void download(cudaStream_t stream, const Candidate* device, Candidate* host, std::size_t count) {
  check(cudaMemcpyAsync(host, device, count * sizeof(Candidate), cudaMemcpyDeviceToHost, stream),
        "cudaMemcpyAsync");
}

}  // namespace

CudaOps::CudaOps(const CudaOptions& options)
    : options_(options),
      multiprocessors_(multiprocessors()),
      gemm_(compute_),
      arena_("the activations of a step", static_cast<std::size_t>(options.arena_bytes)),
      results_memory_("the sampled tokens of a step on the host", kResultBytes),
      moves_(options.swap),
      timer_(compute_) {}

CudaOps::~CudaOps() {
  cudaDeviceSynchronize();
}

std::unique_ptr<Weight> CudaOps::matrix(std::span<const HostTensor> parts) {
  return CudaWeight::matrix(parts, options_.weight_dtype);
}

std::unique_ptr<Weight> CudaOps::vector(std::span<const HostTensor> parts) {
  return CudaWeight::vector(parts);
}

void CudaOps::allocate_kv(const KvShape& shape) {
  kv_ = std::make_unique<KvPools>(shape);
}

void CudaOps::begin_step() {
  if (arena_.outgrown()) {
    submit();
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    arena_.settle();
  }
  arena_.reset();
}

Tensor CudaOps::scratch(std::int32_t rows, std::int32_t cols) {
  Tensor out{nullptr, rows, cols};
  out.data = arena_.take<float>(elements(out));
  return out;
}

void CudaOps::embedding(const Weight& table, std::span<const std::int32_t> ids, Tensor out, bool accumulate) {
  const CudaWeight& w = cuda_weight(table);
  commands_.add(OpKind::embedding, PAGELAB_CUDA_VARIANT::embedding, w.data(), w.dtype(), uploads_.put(ids),
                out, accumulate);
}

void CudaOps::layer_norm(Tensor x, const Weight& gamma, const Weight& beta, float epsilon, Tensor out) {
  commands_.add(OpKind::norm, PAGELAB_CUDA_VARIANT::layer_norm, x, cuda_weight(gamma).floats(),
                cuda_weight(beta).floats(), epsilon, out);
}

void CudaOps::rms_norm(Tensor x, const Weight& gamma, float epsilon, Tensor out) {
  commands_.add(OpKind::norm, PAGELAB_CUDA_VARIANT::rms_norm, x, cuda_weight(gamma).floats(), epsilon, out);
}

void CudaOps::linear(Tensor x, const Weight& w, const Weight* bias, Activation act, bool accumulate,
                     Tensor out) {
  const CudaWeight& weight = cuda_weight(w);
  const void* input = x.data;
  if (weight.dtype() != DType::f32) {
    void* narrow = arena_.peek<std::uint16_t>(elements(x));
    commands_.add(OpKind::linear, convert, x, weight.dtype(), narrow);
    input = narrow;
  }
  commands_.add(OpKind::linear, multiply, &gemm_, input, weight.data(), weight.cols(), out, weight.dtype(),
                accumulate);
  if (bias != nullptr || act != Activation::none) {
    commands_.add(OpKind::linear, bias_activation, out,
                  bias == nullptr ? nullptr : cuda_weight(*bias).floats(), act);
  }
}

void CudaOps::silu_mul(Tensor x, Tensor out) {
  commands_.add(OpKind::activation, PAGELAB_CUDA_VARIANT::silu_mul, x, out);
}

void CudaOps::rotary(Tensor x, std::int32_t heads, std::int32_t head_size,
                     std::span<const std::int32_t> positions, const Rotary& rotary) {
  commands_.add(OpKind::rotary, PAGELAB_CUDA_VARIANT::rotary, x, heads, head_size, uploads_.put(positions),
                uploads_.put(rotary.inv_freq));
}

CudaOps::StagedBatch& CudaOps::stage(const AttentionBatch& batch) {
  if (staged_ && same(batch_.host, batch)) {
    return batch_;
  }
  staged_ = true;
  batch_ = {.host = batch,
            .device = {.query_indptr = uploads_.put(batch.query_indptr),
                       .kv_indptr = uploads_.put(batch.kv_indptr),
                       .kv_indices = uploads_.put(batch.kv_indices),
                       .last_block_len = uploads_.put(batch.last_block_len),
                       .positions = uploads_.put(batch.positions),
                       .slot_mapping = uploads_.put(batch.slot_mapping),
                       .sequences = static_cast<std::int32_t>(batch.last_block_len.size()),
                       .tokens = static_cast<std::int32_t>(batch.positions.size())}};
  return batch_;
}

CudaOps::StagedBatch& CudaOps::plan(const AttentionBatch& batch) {
  StagedBatch& staged = stage(batch);
  if (!staged.planned) {
    const KvShape& shape = kv_->shape();
    attention_plan_.build(batch, shape.block_size, shape.kv_heads, multiprocessors_);
    const auto decodes = attention_plan_.decodes();
    const auto merges = attention_plan_.merges();
    staged.decode = {.items = uploads_.put(decodes),
                     .merges = uploads_.put(merges),
                     .item_count = static_cast<std::int32_t>(decodes.size()),
                     .merge_count = static_cast<std::int32_t>(merges.size())};
    staged.prefills = uploads_.put(attention_plan_.prefills());
    staged.planned = true;
  }
  return staged;
}

void CudaOps::write_kv(std::int32_t layer, Tensor qkv, std::int32_t heads, const AttentionBatch& batch) {
  const DeviceBatch& device = stage(batch).device;
  commands_.add(OpKind::kv_write, PAGELAB_CUDA_VARIANT::write_kv, qkv.data, heads, kv_->layer(layer),
                device.slot_mapping, device.tokens);
}

void CudaOps::attention(std::int32_t layer, Tensor qkv, std::int32_t heads, float scale,
                        const AttentionBatch& batch, Tensor out) {
  const StagedBatch& staged = plan(batch);
  const PagedKv kv = kv_->layer(layer);
  const AttentionQueries queries{
      .qkv = qkv.data, .qkv_stride = qkv.cols, .out = out.data, .heads = heads, .scale = scale};
  if (staged.decode.item_count > 0) {
    DecodeWork work = staged.decode;
    if (work.merge_count > 0) {
      work.workspace = arena_.peek<float>(
          static_cast<std::size_t>(decode_workspace(attention_plan_.partials(), heads, kv.head_size)));
    }
    commands_.add(OpKind::attention, decode_attention, queries, kv, staged.device, work);
  }
  if (const std::size_t items = attention_plan_.prefills().size(); items > 0) {
    commands_.add(OpKind::attention, prefill_attention, queries, kv, staged.device, staged.prefills,
                  static_cast<std::int32_t>(items));
  }
}

void CudaOps::gather_rows(Tensor x, std::span<const std::int32_t> rows, Tensor out) {
  commands_.add(OpKind::embedding, PAGELAB_CUDA_VARIANT::gather_rows, x, uploads_.put(rows), out);
}

void CudaOps::sample(Tensor logits, std::span<const SampleSpec> specs, std::span<const std::int32_t> indptr,
                     std::span<const float> uniforms, std::span<Candidate> out) {
  if (out.empty()) {
    return;
  }
  for (const SampleSpec& spec : specs) {
    if (spec.kind == SampleSpec::Kind::top && spec.count > logits.cols) {
      throw std::invalid_argument("sampling: " + std::to_string(spec.count) +
                                  " candidates of a vocabulary of " + std::to_string(logits.cols));
    }
  }
  auto* drawn = arena_.take<Candidate>(out.size());
  auto* host = results_memory_.take<Candidate>(out.size());
  commands_.add(OpKind::sampling, PAGELAB_CUDA_VARIANT::sample, logits, uploads_.put(specs),
                uploads_.put(indptr), uploads_.put(uniforms), drawn);
  commands_.add(OpKind::sampling, download, drawn, host, out.size());
  results_.push_back({host, out, result_ends_.size(), specs.size()});
  result_ends_.insert(result_ends_.end(), indptr.begin() + 1, indptr.end());
}

void CudaOps::copy_blocks(std::span<const BlockCopy> copies) {
  if (!copies.empty()) {
    commands_.add(OpKind::copy, PAGELAB_CUDA_VARIANT::copy_blocks, kv_->device(), kv_->device(),
                  kv_->shape().block_bytes(), uploads_.put(copies), static_cast<std::int32_t>(copies.size()));
  }
}

void CudaOps::swap(BlockMoves::Direction direction, std::span<const BlockCopy> copies) {
  if (!commands_.empty()) {
    submit();  // moves run before the commands that they are submitted with
  }
  moves_.add(direction, copies, uploads_);
}

void CudaOps::swap_out(std::span<const BlockCopy> copies) {
  swap(BlockMoves::Direction::out, copies);
}

void CudaOps::swap_in(std::span<const BlockCopy> copies) {
  swap(BlockMoves::Direction::in, copies);
}

void CudaOps::submit() {
  uploads_.upload(compute_);
  const bool moved = !moves_.empty();
  if (moved) {
    moves_.start(compute_, *kv_);
  }
  if (!options_.graphs || moved || commands_.empty() || !graphs_.run(commands_, compute_)) {
    run_commands();
  }
  moves_.join(compute_);
  commands_.clear();
  staged_ = false;
}

void CudaOps::run_commands() {
  for (const CommandList::Command& command : commands_.commands()) {
    if (touches_blocks(command.kind)) {
      moves_.join(compute_);
    }
    timer_.enter(command.kind);
    command.run(command.call, compute_);
  }
  timer_.leave();
}

void CudaOps::synchronize() {
  submit();
  check(cudaStreamSynchronize(compute_), "cudaStreamSynchronize");
  timer_.collect(seconds_);
  moves_.collect(seconds_);
  deliver_results();
}

void CudaOps::deliver_results() {
  std::ptrdiff_t bad_row = -1;
  for (const Result& result : results_) {
    std::copy_n(result.arrived, result.out.size(), result.out.begin());
    const auto bad = std::ranges::find(result.out, kNoToken, &Candidate::token);
    if (bad != result.out.end()) {
      const auto ends = std::span(result_ends_).subspan(result.first_row, result.rows);
      bad_row = std::ranges::upper_bound(ends, bad - result.out.begin()) - ends.begin();
    }
  }
  results_.clear();
  result_ends_.clear();
  if (results_memory_.outgrown()) {
    results_memory_.settle();
  }
  results_memory_.reset();
  if (bad_row >= 0) {
    throw std::runtime_error("logits of row " + std::to_string(bad_row) + " hold NaN or infinity");
  }
}

double CudaOps::seconds_in(OpKind kind) const {
  return seconds_[static_cast<std::size_t>(kind)];
}

std::unique_ptr<Ops> make_ops(const CudaOptions& options) {
  return std::make_unique<CudaOps>(options);
}

CudaDevice find_device() {
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0) {
    throw CudaError(std::string("no CUDA device can be used: ") +
                    (status == cudaSuccess ? "there is none" : cudaGetErrorString(status)));
  }
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return {properties.name, static_cast<std::int64_t>(free), static_cast<std::int64_t>(total)};
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
