# cmake -DSOURCE=... -DOUT=build_commit.h -P write_commit.cmake: which commit is being built. The file
# is touched only when that changes.
set(LLM_COMMIT unknown)
set(LLM_COMMIT_DATE "")
find_package(Git QUIET)
if(Git_FOUND AND EXISTS ${SOURCE}/.git)
  execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE} log -1 --format=%h|%cs --abbrev=12
    OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed AND head MATCHES "^([0-9a-f]+)\\|([0-9-]+)$")
    set(LLM_COMMIT ${CMAKE_MATCH_1})
    set(LLM_COMMIT_DATE ${CMAKE_MATCH_2})
    execute_process(COMMAND ${GIT_EXECUTABLE} -C ${SOURCE} diff --quiet HEAD RESULT_VARIABLE changed ERROR_QUIET)
    if(changed)
      string(APPEND LLM_COMMIT ", with changes")
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT [[
#pragma once
#define LLM_COMMIT "@LLM_COMMIT@"
#define LLM_COMMIT_DATE "@LLM_COMMIT_DATE@"
]] @ONLY)
