# The policy API: the headers that a policy includes, whoever builds it, and the library behind them. Included by
# core/CMakeLists.txt. What is installed for plugins is here, too; experiments/ installs the program.
include(CMakePackageConfigHelpers)
include(${CMAKE_CURRENT_LIST_DIR}/pagelab_plugin.cmake)

# The headers that a policy may include directly; what they include follows.
set(PAGELAB_POLICY_HEADERS keyed_eviction.h plugin.h random.h)

# Appends the header and all of core/ that it includes to `headers`, in the caller.
function(pagelab_reachable header)
  if(header IN_LIST headers OR NOT EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/${header})
    return()
  endif()
  list(APPEND headers ${header})
  file(STRINGS ${CMAKE_CURRENT_SOURCE_DIR}/${header} lines REGEX "^#include \"core/")
  foreach(line IN LISTS lines)
    string(REGEX REPLACE "^#include \"core/([^\"]*)\".*" "\\1" included "${line}")
    pagelab_reachable(${included})
  endforeach()
  set(headers ${headers} PARENT_SCOPE)
endfunction()

set(headers "")
foreach(header IN LISTS PAGELAB_POLICY_HEADERS)
  pagelab_reachable(${header})
endforeach()
list(SORT headers)

# The interface hash: of each header's name and content.
set(contents "")
foreach(header IN LISTS headers)
  file(SHA256 ${CMAKE_CURRENT_SOURCE_DIR}/${header} hash)
  string(APPEND contents "${header} ${hash}\n")
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
string(SHA256 PAGELAB_INTERFACE_HASH "${contents}")
set(PAGELAB_GENERATED ${PROJECT_BINARY_DIR}/generated)
configure_file(package/plugin_build.h.in ${PAGELAB_GENERATED}/core/plugin_build.h @ONLY)

# What a plugin links: a library that needs no other, with hidden symbols.
add_library(pagelab_policy_api STATIC error.cc keyed_eviction.cc parameters.cc policy_registry.cc prefix_index.cc random.cc)
add_library(pagelab::policy_api ALIAS pagelab_policy_api)
target_link_libraries(pagelab_policy_api PRIVATE $<BUILD_INTERFACE:pagelab_options> $<BUILD_INTERFACE:fmt::fmt-header-only>)
target_include_directories(pagelab_policy_api INTERFACE
  $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<BUILD_INTERFACE:${PAGELAB_GENERATED}>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/pagelab>)
if(PAGELAB_SANITIZE)
  list(JOIN PAGELAB_SANITIZE "," sanitizers)
  target_compile_options(pagelab_policy_api INTERFACE $<INSTALL_INTERFACE:-fsanitize=${sanitizers}>)
  target_link_options(pagelab_policy_api INTERFACE $<INSTALL_INTERFACE:-fsanitize=${sanitizers}>)
endif()
set_target_properties(pagelab_policy_api PROPERTIES EXPORT_NAME policy_api POSITION_INDEPENDENT_CODE ON
  CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/pagelab)
configure_package_config_file(package/pagelab-config.cmake.in pagelab-config.cmake INSTALL_DESTINATION ${package})
write_basic_package_version_file(pagelab-config-version.cmake COMPATIBILITY ExactVersion)
install(FILES ${headers} ${PAGELAB_GENERATED}/core/plugin_build.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/pagelab/core)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/pagelab-config.cmake ${CMAKE_CURRENT_BINARY_DIR}/pagelab-config-version.cmake
  package/pagelab_plugin.cmake package/plugin.map DESTINATION ${package})
install(TARGETS pagelab_policy_api EXPORT pagelab ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT pagelab NAMESPACE pagelab:: FILE pagelab-targets.cmake DESTINATION ${package})
