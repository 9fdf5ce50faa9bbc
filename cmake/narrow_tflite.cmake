# SPDX-License-Identifier: Apache-2.0
# narrow_tflite(TARGET MODEL file BITS k | GRID grid [CORE core] [CC_ARRAY] [FLAGS flag...] [DEPENDS file...])
#
# Narrows a .tflite model while building. TARGET is a static library of it:
#   - as C with the kernels it needs: #include "TARGET.h", call TARGET_invoke; or
#   - with CC_ARRAY, as C++ array for TensorFlow Lite Micro: #include "TARGET_model_data.h".
# Its property NARROW_TFLITE is the narrowed file. In names of C, what is no letter, digit or underscore is an underscore.
#
#   MODEL    the stock model; like BITS, GRID, CORE and FLAGS as `python -m tflm_export --help` has it
#   FLAGS    further flags, such as --calibration=${CMAKE_CURRENT_SOURCE_DIR}/rows.npz
#   DEPENDS  files that the flags name
#
# The Python that has tflm_export is that of find_package(Python3), or Python3_EXECUTABLE if it is set.
find_package(Python3 COMPONENTS Interpreter REQUIRED)

function(_narrow_kernels)
  # All kernels, of which a linker takes what the models call; one library, however many models there are.
  if(TARGET narrow_kernels)
    return()
  endif()
  execute_process(
    COMMAND ${Python3_EXECUTABLE} -c "import tflm_export.kernels as k; print(k.FOLDER)"
    OUTPUT_VARIABLE folder OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "${Python3_EXECUTABLE} has no tflm_export: install keras-rat there, or set Python3_EXECUTABLE")
  endif()
  file(GLOB sources CONFIGURE_DEPENDS ${folder}/*.c)
  add_library(narrow_kernels STATIC ${sources})
  target_include_directories(narrow_kernels PUBLIC ${folder})
  set_target_properties(narrow_kernels PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF)
endfunction()

function(narrow_tflite target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "CC_ARRAY" "MODEL;BITS;GRID;CORE" "FLAGS;DEPENDS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_MODEL OR (arg_CC_ARRAY AND arg_CORE)
     OR (NOT arg_BITS AND NOT arg_GRID) OR (arg_BITS AND arg_GRID))
    message(FATAL_ERROR
      "narrow_tflite(TARGET MODEL file BITS k | GRID grid [CORE core | CC_ARRAY] [FLAGS ...] [DEPENDS ...]), "
      "got ${target} ${ARGN}")
  endif()
  if(arg_GRID)
    set(grid --grid=${arg_GRID})
    set(shown ${arg_GRID})
  else()
    set(grid --bits=${arg_BITS})
    set(shown "k = ${arg_BITS}")
  endif()
  get_filename_component(stock ${arg_MODEL} ABSOLUTE)
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/${target}.narrow)
  file(MAKE_DIRECTORY ${folder})
  set(narrowed ${folder}/${target}.tflite)
  string(REGEX REPLACE "[^A-Za-z0-9_]" "_" name ${target})
  if(arg_CC_ARRAY)
    set(sources ${folder}/${name}_model_data.cc ${folder}/${name}_model_data.h)
    set(kind --cc_array=${folder})
  else()
    if(NOT arg_CORE)
      set(arg_CORE portable)
    endif()
    set(sources ${folder}/${name}.c ${folder}/${name}_layers.c ${folder}/${name}.h)
    set(kind --c_source=${folder} --core=${arg_CORE})
  endif()
  add_custom_command(
    OUTPUT ${narrowed} ${sources}
    COMMAND ${Python3_EXECUTABLE} -m tflm_export --quiet --overwrite ${grid} ${kind} --output=${narrowed}
            ${arg_FLAGS} -- ${stock}
    DEPENDS ${stock} ${arg_DEPENDS}
    COMMENT "Narrowing ${arg_MODEL}, ${shown}"
    VERBATIM)
  add_library(${target} STATIC ${sources} ${narrowed})
  target_include_directories(${target} PUBLIC ${folder})
  set_target_properties(${target} PROPERTIES NARROW_TFLITE ${narrowed})
  if(NOT arg_CC_ARRAY)
    _narrow_kernels()
    target_link_libraries(${target} PUBLIC narrow_kernels)
    set_target_properties(${target} PROPERTIES C_STANDARD 99 C_EXTENSIONS OFF)
  endif()
endfunction()
