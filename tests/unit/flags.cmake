td_unit_test(base_flags base)
# House rules, and documents that are made from the flag table.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND TARGET tandem AND NOT TANDEM_SANITIZE AND NOT TANDEM_FUZZ)
  add_test(NAME tidy COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tools/tidy.py --binary $<TARGET_FILE:tandem>)
endif()
# Parts of the tools that are libraries in all but name.
if(TARGET tandem)
  td_unit_test(tools_batch base)
  target_sources(test_tools_batch PRIVATE ${CMAKE_SOURCE_DIR}/tools/lines.c ${CMAKE_SOURCE_DIR}/tools/batch_line.c
                 ${CMAKE_SOURCE_DIR}/tools/batch_out.c ${CMAKE_SOURCE_DIR}/tools/output.c)
  target_include_directories(test_tools_batch PRIVATE ${CMAKE_SOURCE_DIR})
  # The binary with the scripted engine in it, for end-to-end tests of what a real one does once in a year.
  pkg_check_modules(CURL REQUIRED IMPORTED_TARGET libcurl)
  pkg_check_modules(GNUTLS REQUIRED IMPORTED_TARGET gnutls)
  pkg_check_modules(LIBEDIT IMPORTED_TARGET libedit)
  add_executable(fake_tandem $<TARGET_OBJECTS:tandem>)
  target_link_libraries(fake_tandem PRIVATE server fake_engine model kernels base PkgConfig::CURL PkgConfig::GNUTLS)
  if(TARGET PkgConfig::LIBEDIT)
    target_link_libraries(fake_tandem PRIVATE PkgConfig::LIBEDIT)
  endif()
  set_target_properties(fake_tandem PROPERTIES LINKER_LANGUAGE CXX)
endif()
