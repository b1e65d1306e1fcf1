! SPDX-License-Identifier: BSD-3-Clause
! The binding of MPI-1 days.
program fortran_mpif
  implicit none
  include 'mpif.h'
  integer :: file, columns, request, requests(4), info, handler, status(MPI_STATUS_SIZE)
#include "fortran_body.inc"
end program

subroutine on_error(file, code)
  implicit none
  integer :: file, code, times
  common /handler_calls/ times
  if (code /= 0 .and. file /= 0) times = times + 1
end subroutine
