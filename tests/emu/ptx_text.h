// Runs PTX written as text on the PTX machine: whole kernels, or one instruction over many operands.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "kernels/emu/ptx/machine.h"
#include "tests/cuda/device_array.h"

namespace pagelab::testing {

inline const std::string kPtxHeader = ".version 9.0\n.target sm_80\n.address_size 64\n";

template <class T>
constexpr const char* ptx_type() {
  if constexpr (std::is_same_v<T, float>) {
    return "f32";
  } else if constexpr (std::is_same_v<T, double>) {
    return "f64";
  } else {
    constexpr const char* kNames[2][9] = {{"", "u8", "u16", "", "u32", "", "", "", "u64"},
                                          {"", "s8", "s16", "", "s32", "", "", "", "s64"}};
    return kNames[std::is_signed_v<T>][sizeof(T)];
  }
}

/// A kernel of one module, launched with `arguments` (pointers to values); waits for it.
inline void run_ptx(const std::string& text, const std::string& kernel, dim3 grid, dim3 block,
                    std::size_t shared_bytes, std::vector<void*> arguments) {
  emu::ptx::Module module("text", text);
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  cuda::check(emu::ptx::launch(module, kernel, text.data(), config, arguments.data()), "launch");
  cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
}

/// One block of `threads` runs `body`, which finds the addresses of `in` and `out` in %in and %out, and
/// registers %r<64> (32 bits), %rd<64>, %rs<64> (16), %f<64>, %fd<64>, %p<16>.
template <class Out, class In>
std::vector<Out> run_body(const std::string& body, unsigned threads, const std::vector<In>& in,
                          std::size_t out_count, std::size_t shared_bytes = 0,
                          const std::string& declarations = "") {
  const std::string text = kPtxHeader + declarations +
                           ".visible .entry body(.param .u64 in, .param .u64 out)\n{\n"
                           ".reg .pred %p<16>; .reg .b16 %rs<64>; .reg .b32 %r<64>; .reg .b64 %rd<64>;\n"
                           ".reg .f32 %f<64>; .reg .f64 %fd<64>; .reg .b64 %in, %out;\n"
                           "ld.param.u64 %in, [in];\nld.param.u64 %out, [out];\n" +
                           body + "\nret;\n}\n";
  const DeviceArray<In> input(in);
  const DeviceArray<Out> output(out_count);
  const In* in_address = input.data();
  Out* out_address = output.data();
  run_ptx(text, "body", dim3(1), dim3(threads), shared_bytes, {&in_address, &out_address});
  return output.download();
}

/// d of `code` for every case: code reads registers a, b, c (of the cases' types, as many as there are) and
/// predicate registers p and q, and writes d of type D.
template <class D, class... S>
std::vector<D> evaluate(const std::string& code, const std::vector<std::tuple<S...>>& cases) {
  const char* const names[] = {"a", "b", "c", "e"};
  const std::string stride = std::to_string(8 * sizeof...(S));
  std::string body = ".reg ." + std::string(ptx_type<D>()) + " d; .reg .pred p, q;\n";
  int index = 0;
  const auto load = [&](const char* type) {
    const std::string name = names[index];
    body += ".reg ." + std::string(type) + " " + name + "; ld.global." + type + " " + name + ", [%rd1+" +
            std::to_string(8 * index) + "];\n";
    ++index;
  };
  body +=
      "mov.u32 %r1, %tid.x; mad.wide.u32 %rd1, %r1, " + stride + ", %in; mad.wide.u32 %rd2, %r1, 8, %out;\n";
  (load(ptx_type<S>()), ...);
  body += code + "\nst.global." + ptx_type<D>() + " [%rd2], d;";

  std::vector<D> results;
  constexpr std::size_t kAtOnce = 1024;
  for (std::size_t begin = 0; begin < cases.size(); begin += kAtOnce) {
    const std::size_t count = std::min(kAtOnce, cases.size() - begin);
    std::vector<std::uint64_t> words;
    for (const auto& operands : std::span(cases).subspan(begin, count)) {
      const auto add = [&](auto value) {
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof value);
        words.push_back(bits);
      };
      std::apply([&](auto... values) { (add(values), ...); }, operands);
    }
    for (const std::uint64_t word :
         run_body<std::uint64_t>(body, static_cast<unsigned>(count), words, count)) {
      D value;
      std::memcpy(&value, &word, sizeof value);
      results.push_back(value);
    }
  }
  return results;
}

/// The instruction's result for one set of operands.
template <class D, class... S>
D evaluate_one(const std::string& code, S... operands) {
  return evaluate<D>(code, std::vector<std::tuple<S...>>{{operands...}})[0];
}

}  // namespace pagelab::testing
