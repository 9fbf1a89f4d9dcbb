td_unit_test(emu_basic kernels_emu)
td_emu_kernels(test_emu_basic ${CMAKE_CURRENT_SOURCE_DIR}/emu/basic.cu)
target_include_directories(test_emu_basic PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/emu)

file(GLOB EMU_PLANTED CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/emu_planted/*.cu)
td_unit_test(emu_planted kernels_emu)
td_emu_kernels(test_emu_planted ${EMU_PLANTED})
target_include_directories(test_emu_planted PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/emu_planted)

td_unit_test(emu_dot kernels_emu)
target_sources(test_emu_dot PRIVATE ${CMAKE_SOURCE_DIR}/kernels/emu/dot.c) # not the one of the library
td_unit_test(emu_tensor kernels_emu)
td_emu_kernels(test_emu_tensor ${CMAKE_CURRENT_SOURCE_DIR}/emu/tensor.cu
               ${CMAKE_CURRENT_SOURCE_DIR}/emu/instructions.cu)
target_include_directories(test_emu_tensor PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/emu)

# With nvcc: the tests' kernels are compiled too, for what ptxas and the PTX say of every td_ function; the products of
# the tensor cores run on a card where there is one.
if(TANDEM_CUDA)
  td_cuda_objects(EMU_TENSOR_CUDA HOPPER ${CMAKE_CURRENT_SOURCE_DIR}/emu/tensor.cu INCLUDES
                  ${CMAKE_CURRENT_SOURCE_DIR}/emu)
  add_executable(test_cuda_tensor ${CMAKE_CURRENT_SOURCE_DIR}/emu_tensor.c ${EMU_TENSOR_CUDA})
  set_target_properties(test_cuda_tensor PROPERTIES LINKER_LANGUAGE CXX)
  target_link_libraries(test_cuda_tensor PRIVATE kernels_cuda kernels_emu PkgConfig::CMOCKA)
  add_test(NAME cuda_tensor COMMAND test_cuda_tensor)
  set_tests_properties(cuda_tensor PROPERTIES SKIP_RETURN_CODE 77)
  td_unit_test(cuda_start kernels_cuda)
  td_cuda_objects(EMU_PLANTED_CUDA HOPPER ${CMAKE_CURRENT_SOURCE_DIR}/emu/instructions.cu INCLUDES
                  ${CMAKE_CURRENT_SOURCE_DIR}/emu)
  add_custom_target(cuda_tests DEPENDS ${EMU_PLANTED_CUDA})
  add_dependencies(cuda_tests test_cuda_tensor test_cuda_start kernels_cuda)
  add_test(NAME cuda_gate COMMAND ${CMAKE_SOURCE_DIR}/tools/ptxas_gate.py ${TD_CUDA_DIR})
endif()
