// Compiled with NVIDIA's headers and linked with its runtime, which names errors without a device.

#include <cublas_v2.h>
#include <cuda_runtime.h>

#define ABI_FUNCTION nvidia_abi
#include "tests/emu/abi_values.h"
