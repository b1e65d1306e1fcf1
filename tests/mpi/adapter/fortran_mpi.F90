! SPDX-License-Identifier: BSD-3-Clause
! The binding by module.
program fortran_mpi
  use mpi
  implicit none
  integer :: file, columns, request, status(MPI_STATUS_SIZE)
#define INIT_THREAD
#include "fortran_body.inc"
end program
