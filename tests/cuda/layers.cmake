# The ways in which kernels are compiled for tests alone, in a release build only: they bring their own compilers, and a
# sanitizer would watch the emulator rather than the kernels. Where a compiler is missing, the layer is one test that says
# that it was skipped.
function(pagelab_missing_layer label why)
  add_test(NAME ${label}.not_run COMMAND ${CMAKE_COMMAND} -E echo "skipped: ${why}")
  set_tests_properties(${label}.not_run PROPERTIES LABELS ${label} SKIP_REGULAR_EXPRESSION "^skipped: ")
endfunction()

set(PAGELAB_CHECKED OFF)
set(PAGELAB_PTX OFF)
if(NOT PAGELAB_SANITIZE)
  find_program(PAGELAB_CLANG NAMES clang++)
  if(PAGELAB_CLANG)
    set(PAGELAB_CHECKED ON)
  else()
    pagelab_missing_layer(kernel-checked "no clang++")
  endif()
  if(CUDAToolkit_FOUND)
    set(PAGELAB_PTX ON)
  else()
    pagelab_missing_layer(kernel-ptx "no nvcc")
  endif()
endif()

# A library of kernels in which clang reports every memory access to the checks; they name files from the project's root.
function(pagelab_checked_kernels library)
  file(RELATIVE_PATH root ${CMAKE_CURRENT_BINARY_DIR} ${PROJECT_SOURCE_DIR})
  pagelab_kernel_objects(objects ${library} "${ARGN}" ${PAGELAB_CLANG} -xc++ -O1 -g -fsanitize=thread
    -fno-strict-aliasing -include ${root}/kernels/emu/instrumented.h
    -fdebug-compilation-dir=. -ffile-prefix-map=${root}/=
    -DPAGELAB_CUDA_VARIANT=cuda_emulated -I${root}/kernels/emu/include)
  add_library(${library} STATIC ${objects})
  set_target_properties(${library} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${library} PUBLIC pagelab_emu_check pagelab_emulated_cuda)
endfunction()

# A library of kernels as nvcc makes them, for the PTX machine.
function(pagelab_ptx_kernels library)
  pagelab_kernel_objects(objects ${library} "${ARGN}" ${CUDAToolkit_NVCC_EXECUTABLE} -O3 -lineinfo -no-compress
    -gencode arch=compute_80,code=compute_80 -DPAGELAB_CUDA_VARIANT=cuda_emulated)
  add_library(${library} STATIC ${objects})
  set_target_properties(${library} PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(${library} PUBLIC pagelab_emu_ptx pagelab_emu_check pagelab_emulated_cuda)
endfunction()
