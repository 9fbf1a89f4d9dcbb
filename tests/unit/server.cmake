add_library(fake_engine STATIC ${CMAKE_CURRENT_SOURCE_DIR}/fake_engine.c ${CMAKE_CURRENT_SOURCE_DIR}/fake_text.c)
target_link_libraries(fake_engine PUBLIC server)
target_include_directories(fake_engine PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_compile_options(fake_engine PRIVATE -Wall -Wextra -Werror)

add_executable(fake_server ${CMAKE_CURRENT_SOURCE_DIR}/fake_server.c)
target_link_libraries(fake_server PRIVATE server fake_engine)
target_compile_options(fake_server PRIVATE -Wall -Wextra -Werror)

add_executable(bench_sse ${CMAKE_CURRENT_SOURCE_DIR}/bench_sse.c)
target_link_libraries(bench_sse PRIVATE server fake_engine)
target_compile_options(bench_sse PRIVATE -Wall -Wextra -Werror)

td_unit_test(server_admit server fake_engine)
td_unit_test(server_guard server)
td_unit_test(server_params server fake_engine)
td_unit_test(server_text server fake_engine)
td_unit_test(server_torture server fake_engine)
td_unit_test(server_watchdog server)
