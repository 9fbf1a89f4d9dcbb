td_unit_test(base_flags base)
# House rules, and documents that are made from the flag table.
find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND AND TARGET tandem AND NOT TANDEM_SANITIZE AND NOT TANDEM_FUZZ)
  add_test(NAME tidy COMMAND ${Python3_EXECUTABLE} ${CMAKE_SOURCE_DIR}/tools/tidy.py --binary $<TARGET_FILE:tandem>)
endif()
