! SPDX-License-Identifier: BSD-3-Clause
! The binding by module.
program fortran_mpi
  use mpi
  implicit none
  integer :: file, columns, request, requests(4), info, handler, status(MPI_STATUS_SIZE)
#define INIT_THREAD
#include "fortran_body.inc"
end program

subroutine on_error(file, code)
  implicit none
  integer :: file, code, times
  common /handler_calls/ times
  if (code /= 0 .and. file /= 0) times = times + 1
end subroutine
