# Installation: headers, CMake package `cte` and pkg-config file.
include(CMakePackageConfigHelpers)

set(cte_installed cte)
if(CTE_BUILD_MPIIO)
  list(APPEND cte_installed cte_mpiio)
endif()
if(CTE_BUILD_HDF5)
  list(APPEND cte_installed cte_hdf5)
  if(TARGET cte_hdf5_mpich)
    list(APPEND cte_installed cte_hdf5_mpich)
  endif()
endif()

install(TARGETS ${cte_installed} EXPORT cte-targets
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY include/cte DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT cte-targets NAMESPACE cte:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cte)

configure_package_config_file(cmake/cte-config.cmake.in ${CMAKE_BINARY_DIR}/cte-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cte)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cte-config-version.cmake
  COMPATIBILITY SameMajorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cte-config.cmake ${CMAKE_BINARY_DIR}/cte-config-version.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/cte)

configure_file(cmake/cte.pc.in ${CMAKE_BINARY_DIR}/cte.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/cte.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(PROGRAMS examples/batch/cte-epilogue examples/batch/job.slurm examples/batch/job.pbs
        examples/batch/job.lsf examples/batch/job.flux DESTINATION ${CMAKE_INSTALL_DATADIR}/cte/batch)
install(FILES examples/batch/cte-job.sh DESTINATION ${CMAKE_INSTALL_DATADIR}/cte/batch)
