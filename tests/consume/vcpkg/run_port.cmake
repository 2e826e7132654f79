# Runs prof's portfile.cmake where there is no vcpkg: defines the functions of vcpkg that it calls, to
# do what vcpkg's own do for a release build. A port that calls another one ends with an error.
#
#   cmake -D PORT=prof -D PORT_DIR=... -D CURRENT_PACKAGES_DIR=... -D CURRENT_BUILDTREES_DIR=...
#     -P run_port.cmake
foreach(variable PORT PORT_DIR CURRENT_PACKAGES_DIR CURRENT_BUILDTREES_DIR)
  if(NOT DEFINED ${variable})
    message(FATAL_ERROR "run_port.cmake needs -D ${variable}=...")
  endif()
endforeach()

function(run_or_fail)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "ended with ${status}: ${ARGV}")
  endif()
endfunction()

function(require_release_only)
  if(NOT VCPKG_BUILD_TYPE STREQUAL "release")
    message(FATAL_ERROR "the port of a header-only library sets VCPKG_BUILD_TYPE to release; "
      "it is '${VCPKG_BUILD_TYPE}'")
  endif()
endfunction()

function(vcpkg_cmake_configure)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "SOURCE_PATH" "OPTIONS")
  require_release_only()
  run_or_fail("${CMAKE_COMMAND}" -G Ninja -S "${arg_SOURCE_PATH}"
    -B "${CURRENT_BUILDTREES_DIR}/release" -DCMAKE_BUILD_TYPE=Release
    "-DCMAKE_INSTALL_PREFIX=${CURRENT_PACKAGES_DIR}" ${arg_OPTIONS})
endfunction()

function(vcpkg_cmake_install)
  run_or_fail("${CMAKE_COMMAND}" --build "${CURRENT_BUILDTREES_DIR}/release" --target install)
endfunction()

# vcpkg keeps all packages' configs in share/<port>, so that the way up to the prefix is another one.
function(vcpkg_cmake_config_fixup)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "CONFIG_PATH" "")
  require_release_only()
  set(from "${CURRENT_PACKAGES_DIR}/${arg_CONFIG_PATH}")
  file(GLOB configs "${from}/*.cmake")
  if(NOT configs)
    message(FATAL_ERROR "no configs in ${from}: CONFIG_PATH must be where the install puts them")
  endif()
  foreach(config IN LISTS configs)
    file(READ "${config}" text)
    set(up [[get_filename_component(_IMPORT_PREFIX "${_IMPORT_PREFIX}" PATH)]])
    string(REPLACE "${up}\n${up}\n${up}\n" "${up}\n${up}\n" text "${text}")
    get_filename_component(name "${config}" NAME)
    file(WRITE "${CURRENT_PACKAGES_DIR}/share/${PORT}/${name}" "${text}")
  endforeach()
  file(REMOVE_RECURSE "${from}")
  get_filename_component(parent "${from}" DIRECTORY)
  get_filename_component(name "${parent}" NAME)
  if(name STREQUAL "cmake")
    file(REMOVE_RECURSE "${parent}")
  endif()
endfunction()

# Makes absolute prefixes relative; those of prof are relative.
function(vcpkg_fixup_pkgconfig)
  file(GLOB_RECURSE files "${CURRENT_PACKAGES_DIR}/*.pc")
  foreach(file IN LISTS files)
    file(READ "${file}" text)
    string(FIND "${text}" "${CURRENT_PACKAGES_DIR}" at)
    if(NOT at EQUAL -1)
      message(FATAL_ERROR "${file} has the absolute path of the package")
    endif()
  endforeach()
endfunction()

function(vcpkg_install_copyright)
  cmake_parse_arguments(PARSE_ARGV 0 arg "" "" "FILE_LIST")
  configure_file("${arg_FILE_LIST}" "${CURRENT_PACKAGES_DIR}/share/${PORT}/copyright" COPYONLY)
endfunction()

include("${PORT_DIR}/portfile.cmake")
