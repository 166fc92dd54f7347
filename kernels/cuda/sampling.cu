// One block of threads per row. Probabilities are integers, in units of 2^-40 of the likeliest token's: sums
// of integers do not depend on their order, so that results repeat bit for bit although histograms are filled
// by atomics. Nothing is sorted to find what top-k and top-p keep: a radix search over the bits of the logits
// finds the last kept token, and every later pass tests against it.
#include "kernels/cuda/sampling.h"

#include "kernels/cuda/launch.h"
#include "kernels/cuda/reduce.cuh"

namespace pagelab::kernels::PAGELAB_CUDA_VARIANT {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / kWarpSize;
static_assert(kWarps == kWarpSize, "a warp holds one number of every warp");
constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;
constexpr float kOne = 0x1p40f;  ///< the likeliest token's weight: sums of 2^23 tokens stay below 2^63
constexpr float kLog2E = 1.44269504f;

/// A sum of weights, or a number of tokens.
using Mass = unsigned long long;
/// A token by its place in the order of falling logit, then rising id: earlier tokens are larger.
using Place = unsigned long long;

constexpr unsigned kInfinityKey = 0xff800000u;
constexpr unsigned kMinusInfinityKey = 0x007fffffu;
constexpr unsigned kNanKey = 0xffffffffu;

/// Unsigned integers in the order of the floats; both zeros are equal, NaN is above all.
__device__ unsigned key_of(float logit) {
  if (logit != logit) {
    return kNanKey;
  }
  const unsigned bits = __builtin_bit_cast(unsigned, logit + 0.0f);
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ Place place_of(float logit, int id) {
  return Place{key_of(logit)} << 32 | ~static_cast<unsigned>(id);
}

struct SampleMemory {
  ReduceMemory<Mass> reduce;
  Mass sums[kWarps];
  unsigned low[kBins];  ///< a histogram of masses, in two halves since they are added to by 32-bit atomics
  unsigned high[kBins];
  int collected;
};

/// Adds to a bin; the sum of both halves is exact whatever the order: every carry out of the low half is seen
/// by the thread that caused it.
__device__ void add_to_bin(SampleMemory& memory, unsigned bin, Mass mass) {
  const auto low = static_cast<unsigned>(mass);
  auto high = static_cast<unsigned>(mass >> 32);
  const unsigned before = atomicAdd(&memory.low[bin], low);
  high += before + low < before ? 1 : 0;
  if (high != 0) {
    atomicAdd(&memory.high[bin], high);
  }
}

/// The sum over this lane and those before it.
__device__ Mass warp_scan(Mass value) {
  const int lane = threadIdx.x % kWarpSize;
#pragma unroll
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const Mass before = __shfl_up_sync(kAllLanes, value, distance);
    value += lane >= distance ? before : 0;
  }
  return value;
}

struct Found {
  int index;
  Mass before;  ///< the sum of measures of smaller indices
  Mass mass;    ///< the measure of `index`

  /// The first lane up to which the sums of the lanes, after `before`, reach `target`; moves on to it.
  __device__ int advance(Mass sum, Mass target) {
    const Mass upto = before + warp_scan(sum);
    const int lane = __ffs(__ballot_sync(kAllLanes, upto >= target)) - 1;
    before = __shfl_sync(kAllLanes, upto - sum, lane);
    mass = __shfl_sync(kAllLanes, sum, lane);
    return lane;
  }
};

/// The first of [0, count) at which the sum of measure(i) reaches `target`. Requires 1 <= target <= the whole
/// sum. The range is cut into one piece per warp until the piece that holds the target has no more than one
/// index per lane.
template <class Measure>
__device__ Found find(SampleMemory& memory, int count, Mass target, Measure measure) {
  const int warp = threadIdx.x / kWarpSize;
  const int lane = threadIdx.x % kWarpSize;
  Found found{0, 0, 0};
  while (count > kWarpSize) {
    const int piece = (count + kWarps - 1) / kWarps;
    const int begin = min(warp * piece, count);
    const int end = min(begin + piece, count);
    Mass sum = 0;
#pragma unroll 4
    for (int i = begin + lane; i < end; i += kWarpSize) {
      sum += measure(found.index + i);
    }
    sum = warp_reduce(sum, Sum{});
    __syncthreads();  // an earlier round may still be reading
    if (lane == 0) {
      memory.sums[warp] = sum;
    }
    __syncthreads();
    const int holder = found.advance(memory.sums[lane], target);
    found.index += holder * piece;
    count = min(piece, count - holder * piece);
  }
  found.index += found.advance(lane < count ? measure(found.index + lane) : 0, target);
  return found;
}

/// One row of logits and what is known of it. All threads of the block call its methods together.
class Row {
 public:
  __device__ Row(SampleMemory& memory, const float* logits, int count)
      : memory_(memory), logits_(logits), count_(count) {
    Place first = 0;
#pragma unroll 4
    for (int id = threadIdx.x; id < count; id += kThreads) {
      first = Max{}(first, place_of(logits[id], id));
    }
    first = block_reduce(first, Place{0}, Max{}, memory.reduce);
    const auto key = static_cast<unsigned>(first >> 32);
    valid_ = key > kMinusInfinityKey && key < kInfinityKey;
    if (valid_) {
      best_ = static_cast<int>(~static_cast<unsigned>(first));
      max_ = logits[best_];
      log_sum_ = logf(static_cast<float>(total(1.0f, Place{0})) * (1 / kOne));
    }
  }

  __device__ bool valid() const {
    return valid_;
  }
  __device__ Candidate best() const {
    return candidate(best_);
  }
  __device__ Candidate candidate(int id) const {
    return {id, logits_[id] - max_ - log_sum_};
  }

  /// The last place of the first `k`.
  __device__ Place rank(Mass k) const {
    return select(k, [](int, float) { return Mass{1}; });
  }

  /// The place at which the tokens up to `last` reach `top_p` of their probability.
  __device__ Place nucleus(float top_p, float inverse_temperature, Place last) const {
    const auto whole = static_cast<double>(total(inverse_temperature, last));
    const auto target = static_cast<Mass>(ceil(static_cast<double>(top_p) * whole));
    return select(target > 0 ? target : 1,
                  [&](int id, float logit) { return weight(id, logit, inverse_temperature, last); });
  }

  /// The sum of weights of the tokens up to `last`.
  __device__ Mass total(float inverse_temperature, Place last) const {
    Mass sum = 0;
#pragma unroll 4
    for (int id = threadIdx.x; id < count_; id += kThreads) {
      sum += weight(id, logits_[id], inverse_temperature, last);
    }
    return block_reduce(sum, Mass{0}, Sum{}, memory_.reduce);
  }

  /// The token that `uniform` draws: the first in order of ids at which the sum of weights passes
  /// uniform * whole, `whole` being total() of the same arguments.
  __device__ int draw(float uniform, Mass whole, float inverse_temperature, Place last) const {
    const auto passed = static_cast<Mass>(static_cast<double>(uniform) * static_cast<double>(whole));
    return find(memory_, count_, passed + 1,
                [&](int id) { return weight(id, logits_[id], inverse_temperature, last); })
        .index;
  }

 private:
  /// exp((logit - max) / temperature), 0 after `last`.
  __device__ Mass weight(int id, float logit, float inverse_temperature, Place last) const {
    if (place_of(logit, id) < last) {
      return 0;
    }
    const float depth = logit - max_;
    return depth < 0 ? static_cast<Mass>(exp2_fast(depth * (inverse_temperature * kLog2E)) * kOne)
                     : static_cast<Mass>(kOne);
  }

  /// The first place in order at which the sum of measure(id, logit) reaches `target`, found digit by digit
  /// of the logit's key from the top; then, if tokens of equal logits are not all needed, by id. Where they
  /// are, the place is past the last of them.
  template <class Measure>
  __device__ Place select(Mass target, Measure measure) const {
    unsigned key = 0;
    unsigned known = 0;
    Mass left = target;
    Found found{};
    // The last digit shares a bit with the one before.
    for (int shift = 32 - kDigitBits; known != ~0u; shift = shift > kDigitBits ? shift - kDigitBits : 0) {
      fill_bins(key, known, shift, measure);
      found = find(memory_, kBins, left,
                   [&](int bin) { return Mass{memory_.high[bin]} << 32 | memory_.low[bin]; });
      left -= found.before;
      key |= static_cast<unsigned>(kBins - 1 - found.index) << shift;
      known = ~0u << shift;
    }
    if (left == found.mass) {
      return Place{key} << 32;
    }
    const int id = find(memory_, count_, left, [&](int i) {
                     const float logit = logits_[i];
                     return key_of(logit) == key ? measure(i, logit) : Mass{0};
                   }).index;
    return Place{key} << 32 | ~static_cast<unsigned>(id);
  }

  /// The histogram of the digit at `shift` of the keys that have the `known` bits of `key`, larger digits
  /// first.
  template <class Measure>
  __device__ void fill_bins(unsigned key, unsigned known, int shift, Measure measure) const {
    __syncthreads();  // the search of the bins before may still be reading
    for (int bin = threadIdx.x; bin < kBins; bin += kThreads) {
      memory_.low[bin] = 0;
      memory_.high[bin] = 0;
    }
    __syncthreads();
    constexpr int kBatch = 4;  // loads in flight: the compiler does not move them across atomics
    for (int first = threadIdx.x; first < count_; first += kBatch * kThreads) {
      float batch[kBatch];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        batch[i] = logits_[min(first + i * kThreads, count_ - 1)];
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int id = first + i * kThreads;
        const unsigned found = key_of(batch[i]);
        const Mass mass = id < count_ && (found & known) == key ? measure(id, batch[i]) : Mass{0};
        if (mass != 0) {
          add_to_bin(memory_, kBins - 1 - (found >> shift & (kBins - 1)), mass);
        }
      }
    }
    __syncthreads();
  }

  SampleMemory& memory_;
  const float* logits_;
  int count_;
  int best_ = 0;
  bool valid_ = false;
  float max_ = 0;
  float log_sum_ = 0;
};

/// Whether a comes before b in the order of falling logit, then rising id; logprob holds the logit.
__device__ bool before(const Candidate& a, const Candidate& b) {
  return place_of(a.logprob, a.token) > place_of(b.logprob, b.token);
}

/// Sorts in place: a bitonic network (Batcher) whose comparators all point the same way, so that partners
/// past the end count as last and are left out.
__device__ void sort(Candidate* values, int count) {
  for (int size = 2; size < 2 * count; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      __syncthreads();
      const int flip =
          stride == size / 2 ? size - 1 : stride;  // the first stage of a merge mirrors the second half
      for (int i = threadIdx.x; i < count; i += kThreads) {
        const int partner = i ^ flip;
        if (partner > i && partner < count) {
          const Candidate mine = values[i];
          const Candidate other = values[partner];
          if (before(other, mine)) {
            values[i] = other;
            values[partner] = mine;
          }
        }
      }
    }
  }
  __syncthreads();
}

/// The `count` first tokens of a row in order.
__device__ void take_top(SampleMemory& memory, const Row& row, const float* logits, int vocabulary,
                         Candidate* out, int count) {
  const Place last = row.rank(static_cast<Mass>(count));
  if (threadIdx.x == 0) {
    memory.collected = 0;
  }
  __syncthreads();
  for (int id = threadIdx.x; id < vocabulary; id += kThreads) {
    if (place_of(logits[id], id) >= last) {
      out[atomicAdd(&memory.collected, 1)] = {id, logits[id]};
    }
  }
  sort(out, count);
  for (int i = threadIdx.x; i < count; i += kThreads) {
    out[i] = row.candidate(out[i].token);
  }
}

__device__ void draw_random(const Row& row, const SampleSpec& spec, int vocabulary, const float* uniforms,
                            Candidate* out, int count) {
  const float inverse_temperature = 1.0f / spec.temperature;
  Place last = 0;
  if (spec.top_k > 0 && spec.top_k < vocabulary) {
    last = row.rank(static_cast<Mass>(spec.top_k));
  }
  if (spec.top_p < 1.0f) {
    last = row.nucleus(spec.top_p, inverse_temperature, last);
  }
  const Mass whole = row.total(inverse_temperature, last);
  for (int i = 0; i < count; ++i) {
    const int token = row.draw(uniforms[i], whole, inverse_temperature, last);
    if (threadIdx.x == 0) {
      out[i] = row.candidate(token);
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(const float* __restrict__ logits, int vocabulary, const SampleSpec* __restrict__ specs,
                  const std::int32_t* __restrict__ indptr, const float* __restrict__ uniforms,
                  Candidate* out) {
  auto& memory = shared_memory<SampleMemory>();
  const float* row_logits = logits + static_cast<std::int64_t>(blockIdx.x) * vocabulary;
  const SampleSpec spec = specs[blockIdx.x];
  const int begin = indptr[blockIdx.x];
  const int count = indptr[blockIdx.x + 1] - begin;
  const Row row(memory, row_logits, vocabulary);
  if (!row.valid() || spec.kind == SampleSpec::Kind::greedy) {
    for (int i = threadIdx.x; i < count; i += kThreads) {
      out[begin + i] = row.valid() ? row.best() : Candidate{kNoToken, 0};
    }
  } else if (spec.kind == SampleSpec::Kind::top) {
    take_top(memory, row, row_logits, vocabulary, out + begin, count);
  } else {
    draw_random(row, spec, vocabulary, uniforms + begin, out + begin, count);
  }
}

}  // namespace

void sample(cudaStream_t stream, Tensor logits, const SampleSpec* specs, const std::int32_t* indptr,
            const float* uniforms, Candidate* out) {
  launch(stream, dim3(static_cast<unsigned>(logits.rows)), dim3(kThreads), sizeof(SampleMemory),
         sample_kernel, logits.data, logits.cols, specs, indptr, uniforms, out);
}

}  // namespace pagelab::kernels::PAGELAB_CUDA_VARIANT
