# pagelab_plugin(NAME SOURCES...): a plugin, NAME.so. It exports the two names of core/plugin.h and nothing else, and all
# that it needs is linked into it: what is missing is an error of the linker, not of the program that loads it.
function(pagelab_plugin name)
  set(map ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/plugin.map)
  add_library(${name} MODULE ${ARGN})
  target_compile_features(${name} PRIVATE cxx_std_20)
  target_compile_options(${name} PRIVATE -Wall -Wextra)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    target_compile_options(${name} PRIVATE -O2 -DNDEBUG)
  endif()
  target_link_libraries(${name} PRIVATE pagelab::policy_api)
  target_link_options(${name} PRIVATE -Wl,--version-script=${map})
  if(NOT PAGELAB_SANITIZE) # a sanitizer's functions are in the program
    target_link_options(${name} PRIVATE -Wl,-z,defs)
  endif()
  set_target_properties(${name} PROPERTIES PREFIX "" CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden
    VISIBILITY_INLINES_HIDDEN ON LINK_DEPENDS ${map})
endfunction()
