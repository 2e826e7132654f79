# Asks for a version that prof does not have yet:
#
#   cmake -D PREFIX=... -D VERSION=1.0 -P refused.cmake
cmake_minimum_required(VERSION 3.14)
find_package(prof "${VERSION}" CONFIG QUIET PATHS "${PREFIX}" NO_DEFAULT_PATH)
message(STATUS "found: ${prof_FOUND}, considered: ${prof_CONSIDERED_VERSIONS}")
