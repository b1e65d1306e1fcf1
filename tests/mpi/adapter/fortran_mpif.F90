! SPDX-License-Identifier: BSD-3-Clause
! The binding of MPI-1 days.
program fortran_mpif
  implicit none
  include 'mpif.h'
  integer :: file, columns, request, status(MPI_STATUS_SIZE)
#include "fortran_body.inc"
end program
