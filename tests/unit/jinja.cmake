add_executable(render_cli ${CMAKE_CURRENT_SOURCE_DIR}/render_cli.c)
target_link_libraries(render_cli PRIVATE model)
target_compile_options(render_cli PRIVATE -Wall -Wextra -Werror)
td_unit_test(jinja model)
