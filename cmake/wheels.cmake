# The ROS wheels on PyPI export targets with the Python include folder of the machine that they were built on
# (/opt/python/cp311-cp311/include/python3.11), and CMake stops on a folder that does not exist. When the
# directory has been read, every such folder is replaced by this machine's. Does nothing with a ROS 2 from apt.
find_package(Python3 REQUIRED COMPONENTS Interpreter Development.Module)

function(d4rt_mend_imported_includes)
  get_directory_property(targets IMPORTED_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(folders ${target} INTERFACE_INCLUDE_DIRECTORIES)
    if(folders MATCHES "/opt/python/")
      list(FILTER folders EXCLUDE REGEX "^/opt/python/")
      list(APPEND folders ${Python3_INCLUDE_DIRS})
      set_target_properties(${target} PROPERTIES INTERFACE_INCLUDE_DIRECTORIES "${folders}")
    endif()
  endforeach()
endfunction()

cmake_language(DEFER CALL d4rt_mend_imported_includes)
