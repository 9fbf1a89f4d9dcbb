td_unit_test(emu_basic kernels_emu)
td_emu_kernels(test_emu_basic ${CMAKE_CURRENT_SOURCE_DIR}/emu/basic.cu)
target_include_directories(test_emu_basic PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/emu)

file(GLOB EMU_PLANTED CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/emu_planted/*.cu)
td_unit_test(emu_planted kernels_emu)
td_emu_kernels(test_emu_planted ${EMU_PLANTED})
target_include_directories(test_emu_planted PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/emu_planted)

td_unit_test(emu_dot kernels_emu)
td_unit_test(emu_tensor kernels_emu)
td_emu_kernels(test_emu_tensor ${CMAKE_CURRENT_SOURCE_DIR}/emu/tensor.cu)
target_include_directories(test_emu_tensor PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/emu)
