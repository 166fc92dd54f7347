# Writes build_info.cc; run before each build, since a commit does not reconfigure. The file changes, and is compiled
# again, only when what it says has changed.
execute_process(COMMAND git -C ${PAGELAB_SOURCE} describe --always --dirty --abbrev=12
                OUTPUT_VARIABLE PAGELAB_COMMIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT PAGELAB_COMMIT)
  set(PAGELAB_COMMIT "unknown")
endif()
configure_file(${TEMPLATE} ${OUTPUT} @ONLY)
