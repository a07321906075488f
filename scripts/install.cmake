# What an installation holds, and the Debian package of it (make install, make deb). The manual and the
# completions come from the program itself.
include(GNUInstallDirs)
set(shell_files llm.1.gz llm.bash _llm llm.fish changelog.gz)
list(TRANSFORM shell_files PREPEND ${CMAKE_BINARY_DIR}/shell/)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/shell)
add_custom_command(OUTPUT ${shell_files} DEPENDS llm WORKING_DIRECTORY ${CMAKE_BINARY_DIR}/shell VERBATIM
  COMMAND llm man > llm.1
  COMMAND gzip -9nf llm.1
  COMMAND llm completions bash > llm.bash
  COMMAND llm completions zsh > _llm
  COMMAND llm completions fish > llm.fish
  COMMAND sh -c "printf 'llm (%s) unstable; urgency=low\\n\\n  * See README.md.\\n\\n -- The llm authors <llm@localhost>  %s\\n' \
${PROJECT_VERSION} 'Thu, 01 Jan 2026 00:00:00 +0000' | gzip -9n > changelog.gz")
add_custom_target(llm_shell_files ALL DEPENDS ${shell_files})

install(TARGETS llm RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES ${CMAKE_BINARY_DIR}/shell/llm.1.gz DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${CMAKE_BINARY_DIR}/shell/llm.bash RENAME llm
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${CMAKE_BINARY_DIR}/shell/llm.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
# Debian's zsh looks for what packages bring in another folder than for what a person installs.
install(CODE [[
  set(llm_zsh_folder site-functions)
  if(CMAKE_INSTALL_PREFIX MATCHES "/usr$")
    set(llm_zsh_folder vendor-completions)
  endif()
]])
install(FILES ${CMAKE_BINARY_DIR}/shell/_llm DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/\${llm_zsh_folder})
install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME copyright)
install(FILES ${CMAKE_BINARY_DIR}/shell/changelog.gz DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME llm)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The llm authors <llm@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "run large language models on your own machine")
set(CPACK_PACKAGE_DESCRIPTION "One program that answers prompts from scripts and talks in a terminal,
with quantized weights from one GGUF file and the fastest code that the
processor has.")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # what the executable really links
include(CPack)
