# Asks an installed profConfigVersion.cmake as find_package does, for any size of pointer:
#
#   cmake -D FILE=.../profConfigVersion.cmake -D PACKAGE_FIND_VERSION=0.1 -D CMAKE_SIZEOF_VOID_P=4
#     -P version_answer.cmake
cmake_minimum_required(VERSION 3.14)
# As find_package sets them.
string(REPLACE "." ";" parts "${PACKAGE_FIND_VERSION}")
list(GET parts 0 PACKAGE_FIND_VERSION_MAJOR)
list(GET parts 1 PACKAGE_FIND_VERSION_MINOR)
include("${FILE}")
if(PACKAGE_VERSION_COMPATIBLE AND NOT PACKAGE_VERSION_UNSUITABLE)
  message(STATUS "accepted: ${PACKAGE_VERSION}")
else()
  message(STATUS "refused: ${PACKAGE_VERSION}")
endif()
