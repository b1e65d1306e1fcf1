! SPDX-License-Identifier: BSD-3-Clause
! The binding of Fortran 2008: other entry points of the MPI library, some by their profiling names.
program fortran_f08
  use mpi_f08
  implicit none
  type(MPI_File) :: file
  type(MPI_Datatype) :: columns
  type(MPI_Request) :: request
  type(MPI_Status) :: status
#include "fortran_body.inc"
end program
