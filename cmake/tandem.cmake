# td_library(NAME DEPS ...): the static library of one folder. Its headers are included as "folder/x.h" through a
# private link farm that holds only this folder, and what it may see is exactly what it links.
set(TD_WARNINGS -Wall -Wextra -Wconversion -Wno-sign-conversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wpointer-arith -Wno-missing-field-initializers # fields not named are zero
    -Wno-format-truncation -Wno-maybe-uninitialized) # false at -O3; the sanitizers have the last word
if(NOT TANDEM_SANITIZE) # what the sanitizers' instrumentation adds to expressions is not ours to warn of
  list(APPEND TD_WARNINGS -Werror)
endif()
if(CMAKE_C_COMPILER_ID MATCHES Clang) # builds the fuzzers only; gcc has the last word on warnings
  set(TD_WARNINGS -Wall -Wno-unknown-warning-option)
endif()

function(td_include_farm NAME)
  set(farm ${CMAKE_BINARY_DIR}/include/${NAME})
  file(MAKE_DIRECTORY ${farm})
  if(NOT EXISTS ${farm}/${NAME})
    file(CREATE_LINK ${CMAKE_SOURCE_DIR}/${NAME} ${farm}/${NAME} SYMBOLIC)
  endif()
  set(TD_FARM ${farm} PARENT_SCOPE)
endfunction()

function(td_library NAME)
  cmake_parse_arguments(L "" "INCLUDES" "DEPS;SOURCES" ${ARGN})
  if(NOT L_SOURCES)
    file(GLOB L_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  endif()
  add_library(${NAME} STATIC ${L_SOURCES})
  if(NOT L_INCLUDES) # the folder, where the library has another name
    set(L_INCLUDES ${NAME})
  endif()
  td_include_farm(${L_INCLUDES})
  target_include_directories(${NAME} PUBLIC ${TD_FARM})
  target_link_libraries(${NAME} PUBLIC ${L_DEPS})
  target_compile_options(${NAME} PRIVATE $<$<COMPILE_LANGUAGE:C>:${TD_WARNINGS}>)
endfunction()

# td_emu_kernels(TARGET FILES): .cu files as C++ for the emulator. Their memory accesses are reported to its hooks, but
# for builds with a sanitizer: ASan and UBSan then look themselves, and under TSan the emulator is not instrumented,
# since fibers are nothing that TSan knows.
function(td_emu_kernels TARGET)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX)
  target_sources(${TARGET} PRIVATE ${ARGN})
  target_compile_definitions(${TARGET} PRIVATE TD_EMU=1)
  target_compile_options(${TARGET} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-x;c++;-Wall;-Wextra;-Wno-unused-function;
    -Wno-unknown-pragmas;-Wno-comment;-Wno-psabi;-g;-O1;-mavx2;-mfma;-fno-exceptions;-fno-rtti>)
  if(TANDEM_SANITIZE MATCHES "thread")
    target_compile_options(${TARGET} PRIVATE -fno-sanitize=all)
  elseif(NOT TANDEM_SANITIZE AND NOT TANDEM_FUZZ)
    target_compile_options(${TARGET} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror;
      -fsanitize=thread,alignment;--param=tsan-instrument-func-entry-exit=0>)
    target_compile_definitions(${TARGET} PRIVATE TD_EMU_HOOKS=1)
  endif()
endfunction()

# td_unit_test(NAME LIBS): tests/unit/NAME.c, a cmocka program and a ctest of its own.
function(td_unit_test NAME)
  add_executable(test_${NAME} ${CMAKE_CURRENT_SOURCE_DIR}/${NAME}.c)
  target_link_libraries(test_${NAME} PRIVATE ${ARGN} PkgConfig::CMOCKA)
  target_compile_options(test_${NAME} PRIVATE -Wall -Wextra -Werror)
  target_compile_definitions(test_${NAME} PRIVATE TD_TESTS_DIR="${CMAKE_SOURCE_DIR}/tests")
  add_test(NAME unit_${NAME} COMMAND test_${NAME})
endfunction()
