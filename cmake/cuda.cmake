# td_cuda_objects(OUT FILES): compiles .cu files with nvcc ahead of time, for sm_80 and sm_90a, files named *_sm90.cu
# and those after HOPPER for sm_90a alone. What ptxas says of each kernel, and the PTX, stay beside the objects for
# tools/ptxas_gate.py. Nothing is compiled at run time, and no code is left that a driver would compile.
set(TD_CUDA_DIR ${CMAKE_BINARY_DIR}/cuda)
if(TANDEM_CUDA)
  find_program(TANDEM_NVCC nvcc HINTS /usr/local/cuda/bin REQUIRED)
  get_filename_component(TD_CUDA_HOME ${TANDEM_NVCC} DIRECTORY)
  get_filename_component(TD_CUDA_HOME ${TD_CUDA_HOME} DIRECTORY)
  find_library(TD_CUDART cudart_static HINTS ${TD_CUDA_HOME}/lib64 REQUIRED)
endif()

function(td_cuda_objects OUT)
  cmake_parse_arguments(C "" "" "HOPPER;FILES;INCLUDES" ${ARGN})
  set(objects "")
  foreach(file ${C_FILES} ${C_HOPPER})
    get_filename_component(name ${file} NAME_WE)
    set(dir ${TD_CUDA_DIR}/${name})
    file(MAKE_DIRECTORY ${dir})
    set(targets -gencode arch=compute_90a,code=sm_90a)
    if(NOT file IN_LIST C_HOPPER AND NOT name MATCHES "_sm90$")
      list(APPEND targets -gencode arch=compute_80,code=sm_80)
    endif()
    set(includes -I${CMAKE_SOURCE_DIR})
    foreach(include ${C_INCLUDES})
      list(APPEND includes -I${include})
    endforeach()
    string(JOIN " " command ${TANDEM_NVCC} -std=c++17 -O3 --fmad=false -ftz=true ${targets}
           -Xptxas -v --keep --keep-dir ${dir}
           -Xcompiler -fPIC,-fvisibility=hidden -MD -MF ${dir}.d -MT ${dir}.o ${includes} -c ${file} -o ${dir}.o)
    add_custom_command(OUTPUT ${dir}.o DEPENDS ${file} DEPFILE ${dir}.d COMMENT "nvcc ${name}.cu"
      COMMAND sh -c "${command} 2>${dir}.log || { cat ${dir}.log >&2; exit 1; }" VERBATIM)
    list(APPEND objects ${dir}.o)
  endforeach()
  set(${OUT} ${objects} PARENT_SCOPE)
endfunction()
