! SPDX-License-Identifier: BSD-3-Clause
! The binding of Fortran 2008: other entry points of the MPI library, some by their profiling names.
program fortran_f08
  use mpi_f08
  implicit none
  type(MPI_File) :: file
  type(MPI_Datatype) :: columns
  type(MPI_Request) :: request, requests(4)
  type(MPI_Info) :: info
  type(MPI_Errhandler) :: handler
  type(MPI_Status) :: status
#include "fortran_body.inc"
end program

subroutine on_error(file, code)
  use mpi_f08
  implicit none
  type(MPI_File) :: file
  integer :: code, times
  common /handler_calls/ times
  if (code /= 0 .and. file /= MPI_FILE_NULL) times = times + 1
end subroutine
