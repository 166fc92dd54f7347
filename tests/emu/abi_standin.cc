// Compiled with the stand-in headers of kernels/emu/include.

#include <cublas_v2.h>
#include <cuda_runtime.h>

#define ABI_FUNCTION standin_abi
#include "tests/emu/abi_values.h"
