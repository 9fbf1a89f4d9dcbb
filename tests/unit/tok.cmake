# The oracle tests talk to this program.
add_executable(tok_cli ${CMAKE_CURRENT_SOURCE_DIR}/tok_cli.c)
target_link_libraries(tok_cli PRIVATE model)
target_compile_options(tok_cli PRIVATE -Wall -Wextra -Werror)
td_unit_test(tok_parts model)
td_unit_test(tok_files model)
td_unit_test(tok_detok model)
td_unit_test(tok_threads model Threads::Threads)
