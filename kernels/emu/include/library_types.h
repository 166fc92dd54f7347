// Stand-in for CUDA's library_types.h: the types of numbers that pagelab gives to cuBLAS, with NVIDIA's
// values.
#pragma once

enum cudaDataType_t { CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16F = 2, CUDA_R_16BF = 14 };
typedef enum cudaDataType_t cudaDataType;
