# Compiler flags shared by every target of the project.
add_library(cte_flags INTERFACE)
target_compile_definitions(cte_flags INTERFACE _GNU_SOURCE)
target_compile_options(cte_flags INTERFACE -Wall -Wextra -Wshadow -Wpointer-arith
  -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2)
if(CTE_WERROR)
  target_compile_options(cte_flags INTERFACE -Werror)
endif()
if(CTE_SANITIZE)
  list(JOIN CTE_SANITIZE "," cte_sanitize_list)
  target_compile_options(cte_flags INTERFACE -fsanitize=${cte_sanitize_list} -fno-omit-frame-pointer)
  target_link_options(cte_flags INTERFACE -fsanitize=${cte_sanitize_list})
endif()
