// Warp collectives: shuffles, votes, tensor cores (PTX ISA, "shfl.sync", "vote.sync", "activemask",
// "ldmatrix", "mma.sync").
#include <algorithm>
#include <bit>

#include "kernels/emu/ptx/opcodes.h"
#include "kernels/emu/tensor_core.h"

namespace pagelab::emu::ptx {
namespace {

enum class Mode : std::uint8_t { up, down, bfly, idx };

struct ShuffleOperand {
  std::uint32_t value;
  std::uint32_t from;  ///< lane to read
  std::uint32_t result;
};

// The lane to read, and whether it is in range (PTX ISA, shfl.sync).
template <Mode kMode>
std::pair<std::uint32_t, bool> source_lane(std::uint32_t lane, std::uint32_t b, std::uint32_t c) {
  const std::uint32_t segment = c >> 8 & 31;
  const std::uint32_t clamp = c & 31;
  const std::uint32_t highest = (lane & segment) | (clamp & ~segment);
  b &= 31;
  std::uint32_t from = lane;
  bool in_range = false;
  if constexpr (kMode == Mode::up) {
    from = lane - b;
    in_range = static_cast<std::int32_t>(from) >= static_cast<std::int32_t>(highest);
  } else {
    from = kMode == Mode::down   ? lane + b
           : kMode == Mode::bfly ? lane ^ b
                                 : (lane & segment) | (b & ~segment);
    in_range = from <= highest;
  }
  return {in_range ? from & 31 : lane, in_range};
}

constexpr const char* kShuffleNames[] = {"shfl.sync.up", "shfl.sync.down", "shfl.sync.bfly", "shfl.sync.idx"};

// d|list[0] = a of the lane that b and c name; list[1]: member mask. A lane that takes no part gives all
// ones, a NaN.
template <Mode kMode>
const Instruction* shuffle(Frame& f, const Instruction* i) {
  const auto [from, in_range] =
      source_lane<kMode>(this_thread()->lane, get<std::uint32_t>(f, i->b), get<std::uint32_t>(f, i->c));
  ShuffleOperand own{get<std::uint32_t>(f, i->a), from, 0};
  warp_collective(get<std::uint32_t>(f, i->list[1]), kShuffleNames[static_cast<int>(kMode)], f.site(i), own,
                  [](ShuffleOperand* const(&lanes)[32], std::uint32_t present) {
                    for (; present != 0; present &= present - 1) {
                      ShuffleOperand& reader = *lanes[std::countr_zero(present)];
                      const ShuffleOperand* source = lanes[reader.from];
                      reader.result = source != nullptr ? source->value : ~0u;
                    }
                  });
  set<std::uint32_t>(f, i->d, own.result);
  set<std::uint8_t>(f, i->list[0], in_range);
  return i + 1;
}

Instruction make_shuffle(Assembler& a, const Statement& s) {
  if (!s.has("sync") || s.operands.size() != 5) {
    return {};
  }
  Statement front = s;
  front.operands.pop_back();
  Instruction made = with_operands(a, front,
                                   s.has("up")     ? &shuffle<Mode::up>
                                   : s.has("down") ? &shuffle<Mode::down>
                                   : s.has("bfly") ? &shuffle<Mode::bfly>
                                   : s.has("idx")  ? &shuffle<Mode::idx>
                                                   : nullptr);
  Operand in_range;
  in_range.name = s.operands[0].second.empty() ? "_" : s.operands[0].second;
  made.list = a.list({a.destination(in_range), a.source(s.operands[4])});
  return made;
}

enum class Vote : std::uint8_t { all, any, uniform, ballot };
constexpr const char* kVoteNames[] = {"vote.sync.all", "vote.sync.any", "vote.sync.uni", "vote.sync.ballot"};

template <Vote kVote>
const Instruction* vote(Frame& f, const Instruction* i) {
  const auto mask = get<std::uint32_t>(f, i->b);
  std::uint32_t votes = get<std::uint8_t>(f, i->a) != 0;
  std::uint32_t voters = 0;
  struct Ballot {
    std::uint32_t& votes;
    std::uint32_t& voters;
  } own{votes, voters};
  warp_collective(mask, kVoteNames[static_cast<int>(kVote)], f.site(i), own,
                  [](Ballot* const(&lanes)[32], std::uint32_t present) {
                    std::uint32_t result = 0;
                    for (std::uint32_t rest = present; rest != 0; rest &= rest - 1) {
                      result |= lanes[std::countr_zero(rest)]->votes << std::countr_zero(rest);
                    }
                    for (std::uint32_t rest = present; rest != 0; rest &= rest - 1) {
                      lanes[std::countr_zero(rest)]->votes = result;
                      lanes[std::countr_zero(rest)]->voters = present;
                    }
                  });
  if constexpr (kVote == Vote::ballot) {
    set<std::uint32_t>(f, i->d, votes);
  } else {
    const bool all = votes == voters;
    set<std::uint8_t>(f, i->d,
                      kVote == Vote::all   ? all
                      : kVote == Vote::any ? votes != 0
                                           : all || votes == 0);
  }
  return i + 1;
}

Instruction make_vote(Assembler& a, const Statement& s) {
  return with_operands(a, s,
                       !s.has("sync")    ? nullptr
                       : s.has("all")    ? &vote<Vote::all>
                       : s.has("any")    ? &vote<Vote::any>
                       : s.has("uni")    ? &vote<Vote::uniform>
                       : s.has("ballot") ? &vote<Vote::ballot>
                                         : nullptr);
}

// Lanes are never known to be together but at a collective: the least that CUDA promises is the calling lane
// itself.
const Instruction* active_mask(Frame& f, const Instruction* i) {
  set<std::uint32_t>(f, i->d, 1u << this_thread()->lane);
  return i + 1;
}
Instruction make_active_mask(Assembler& a, const Statement& s) {
  return with_operands(a, s, &active_mask);
}

// list = rows at [a + immediate]; c: bit 0 transposed, the rest how many matrices.
const Instruction* load_fragments(Frame& f, const Instruction* i) {
  std::uint32_t fragment[4];
  const int count = static_cast<int>(i->c >> 1);
  const auto offset = static_cast<std::uint32_t>(f.slots[i->a] + static_cast<std::uint64_t>(i->immediate));
  load_matrices(fragment, count, (i->c & 1) != 0, f.shared + offset, reinterpret_cast<std::uintptr_t>(i),
                f.site(i));
  for (int n = 0; n < count; ++n) {
    set<std::uint32_t>(f, i->list[n], fragment[n]);
  }
  return i + 1;
}
Instruction make_load_matrix(Assembler& a, const Statement& s) {
  const std::uint32_t count = s.has("x4") ? 4 : s.has("x2") ? 2 : s.has("x1") ? 1 : 0;
  const bool is_shared =
      std::ranges::any_of(s.parts, [](std::string_view part) { return part.starts_with("shared"); });
  if (count == 0 || !s.has("m8n8") || !is_shared || s.type() != Type::b16) {
    return {};
  }
  Instruction made;
  made.execute = &load_fragments;
  made.c = count << 1 | (s.has("trans") ? 1 : 0);
  made.list = a.destinations(s.operands[0]);
  a.address(s.operands[1], made);
  return made;
}

// list: d[4], a[4], b[2], c[4].
template <MatrixElement kElement>
const Instruction* multiply_fragments(Frame& f, const Instruction* i) {
  float accumulator[4];
  std::uint32_t a[4], b[2];
  for (int n = 0; n < 4; ++n) {
    a[n] = get<std::uint32_t>(f, i->list[4 + n]);
    accumulator[n] = get<float>(f, i->list[10 + n]);
  }
  b[0] = get<std::uint32_t>(f, i->list[8]);
  b[1] = get<std::uint32_t>(f, i->list[9]);
  multiply_add(accumulator, a, b, kElement, f.site(i));
  for (int n = 0; n < 4; ++n) {
    set<float>(f, i->list[n], accumulator[n]);
  }
  return i + 1;
}
Instruction make_multiply(Assembler& a, const Statement& s) {
  const std::string_view shape = "mma.sync.aligned.m16n8k16.row.col.f32.";
  if (!s.opcode.starts_with(shape) || s.operands.size() != 4) {
    return {};
  }
  const std::string_view types = s.opcode.substr(shape.size());
  Instruction made;
  made.execute = types == "f16.f16.f32"     ? &multiply_fragments<MatrixElement::f16>
                 : types == "bf16.bf16.f32" ? &multiply_fragments<MatrixElement::bf16>
                                            : nullptr;
  constexpr std::size_t kRegisters[] = {4, 4, 2, 4};
  std::vector<std::uint32_t> slots;
  for (std::size_t operand = 0; operand < 4; ++operand) {
    const Operand& fragment = s.operands[operand];
    if (fragment.elements.size() != kRegisters[operand]) {
      return {};
    }
    for (const Operand& element : fragment.elements) {
      slots.push_back(operand == 0 ? a.destination(element) : a.source(element));
    }
  }
  made.list = a.list(std::move(slots));
  return made;
}

constexpr NamedOpcode kOpcodes[] = {{"shfl", make_shuffle},
                                    {"vote", make_vote},
                                    {"activemask", make_active_mask},
                                    {"ldmatrix", make_load_matrix},
                                    {"mma", make_multiply}};

}  // namespace

std::span<const NamedOpcode> warp_opcodes() {
  return kOpcodes;
}

}  // namespace pagelab::emu::ptx
