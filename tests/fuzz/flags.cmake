td_fuzz(flags_config base)
td_fuzz(batch_line base)
target_sources(fuzz_batch_line PRIVATE ${CMAKE_SOURCE_DIR}/tools/batch_line.c)
target_include_directories(fuzz_batch_line PRIVATE ${CMAKE_SOURCE_DIR})
