# Steps round two faults of include folders, when a directory has been read. Neither changes what is compiled.
#
# - The ROS wheels on PyPI export targets with the Python include folder of the machine that they were built
#   on (/opt/python/cp311-cp311/include/python3.11), and CMake stops on a folder that does not exist: this
#   machine's takes its place. (A ROS 2 from apt has no such targets.)
# - The generated Python library exports NumPy's include folder by its full path. CMake refuses that where a
#   virtual environment lies in the source tree, and for pip it would name a temporary folder: only the build
#   needs it.
find_package(Python3 REQUIRED COMPONENTS Interpreter Development.Module)

function(d4rt_mend_include_folders)
  get_directory_property(targets IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders MATCHES "/opt/python/")
      list(FILTER folders EXCLUDE REGEX "^/opt/python/")
      list(APPEND folders ${Python3_INCLUDE_DIRS})
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endforeach()

  set(target ${PROJECT_NAME}__rosidl_generator_py)
  if(TARGET ${target})
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders)
      list(TRANSFORM folders REPLACE "^(/.+)$" "$<BUILD_INTERFACE:\\1>")
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endif()
endfunction()

cmake_language(DEFER CALL d4rt_mend_include_folders)
