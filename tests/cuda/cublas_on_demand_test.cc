// cuBLAS is found when it is first needed, all functions of it, and answers; no GPU is needed for that.
#include <cublas_v2.h>
#include <gtest/gtest.h>

namespace pagelab {
namespace {

TEST(CublasOnDemand, AnswersOnceItIsCalled) {
  EXPECT_STREQ(cublasGetStatusName(CUBLAS_STATUS_NOT_SUPPORTED), "CUBLAS_STATUS_NOT_SUPPORTED");
  cublasHandle_t handle = nullptr;
  const cublasStatus_t made = cublasCreate(&handle);
  if (made == CUBLAS_STATUS_SUCCESS) {
    EXPECT_EQ(cublasSetStream(handle, nullptr), CUBLAS_STATUS_SUCCESS);
    EXPECT_EQ(cublasDestroy(handle), CUBLAS_STATUS_SUCCESS);
  } else {  // where there is no GPU
    EXPECT_NE(cublasDestroy(nullptr), CUBLAS_STATUS_SUCCESS);
  }
}

}  // namespace
}  // namespace pagelab
