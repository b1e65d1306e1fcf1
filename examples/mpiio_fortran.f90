! SPDX-License-Identifier: BSD-3-Clause
!
! MPI-IO from Fortran: a matrix written by columns of blocks, read back by rows, and checked.
!
!     mpiexec -n 4 mpiio_fortran /scratch/me/matrix.dat [rows columns]
!
! Each rank writes a band of columns through a subarray view, in one collective call; then every rank
! reads a band of rows, which holds bytes that all the others wrote.  A trailer follows the matrix,
! one record a rank by explicit offset.  Nothing here knows of cte: run it with
! LD_PRELOAD=libcte_mpiio.so to have it accelerated.
program mpiio_fortran
  use mpi
  implicit none
  integer, parameter :: dp = kind(1.0d0)
  integer :: rank, ranks, ierr, rows, columns, wrong, total
  character(len=1024) :: path
  double precision :: begin, written, finished

  call MPI_Init(ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  call MPI_Comm_size(MPI_COMM_WORLD, ranks, ierr)
  call get_arguments()

  begin = MPI_Wtime()
  call write_file()
  written = MPI_Wtime()
  wrong = count_wrong()
  finished = MPI_Wtime()

  call MPI_Allreduce(wrong, total, 1, MPI_INTEGER, MPI_SUM, MPI_COMM_WORLD, ierr)
  if (rank == 0) then
    print '(a,i0,a,i0,a,i0,a)', 'matrix ', rows, ' x ', columns, ', ', ranks, ' ranks'
    if (total == 0) then
      print '(a)', 'all values verified'
    else
      print '(i0,a)', total, ' values are WRONG'
    end if
    ! not on standard output, which is the same in every run
    write (0, '(a,f0.6,a,f0.6,a)') 'visible I/O: write ', written - begin, ' s, read ', &
      finished - written, ' s'
  end if
  call MPI_Finalize(ierr)
  if (total /= 0) stop 1

contains

  subroutine get_arguments()
    character(len=32) :: text
    integer :: status
    rows = 1000
    columns = 1024
    if (command_argument_count() /= 1 .and. command_argument_count() /= 3) then
      call fail('usage: mpiio_fortran FILE [ROWS COLUMNS]')
    end if
    call get_command_argument(1, path)
    if (command_argument_count() == 3) then
      call get_command_argument(2, text)
      read (text, *, iostat=status) rows
      if (status /= 0) call fail('ROWS is not a number')
      call get_command_argument(3, text)
      read (text, *, iostat=status) columns
      if (status /= 0) call fail('COLUMNS is not a number')
    end if
    if (rows < ranks .or. columns < ranks) call fail('the matrix is smaller than the job')
  end subroutine get_arguments

  subroutine fail(message)
    character(len=*), intent(in) :: message
    integer :: code
    write (0, '(2a)') 'mpiio_fortran: ', message
    call MPI_Abort(MPI_COMM_WORLD, 1, code)
  end subroutine fail

  subroutine check(code, what)
    integer, intent(in) :: code
    character(len=*), intent(in) :: what
    character(len=MPI_MAX_ERROR_STRING) :: text
    integer :: length, status
    if (code == MPI_SUCCESS) return
    call MPI_Error_string(code, text, length, status)
    call fail(what // ' failed on ' // trim(path) // ': ' // text(1:length))
  end subroutine check

  ! First index (from 1) of this rank's band of `extent`; that of rank + 1 ends it.
  pure integer function band_start(extent, of_rank)
    integer, intent(in) :: extent, of_rank
    band_start = int(int(extent, 8)*of_rank/ranks) + 1
  end function band_start

  pure real(dp) function value_at(row, column)
    integer, intent(in) :: row, column
    value_at = row*1.0e-5_dp + column
  end function value_at

  ! A view onto a band of the matrix, which lies in the file column after column.
  subroutine set_band_view(file, sizes, starts)
    integer, intent(in) :: file, sizes(2), starts(2)
    integer :: filetype, code
    call MPI_Type_create_subarray(2, [rows, columns], sizes, starts - 1, MPI_ORDER_FORTRAN, &
      MPI_DOUBLE_PRECISION, filetype, code)
    call check(code, 'MPI_Type_create_subarray')
    call MPI_Type_commit(filetype, code)
    call check(code, 'MPI_Type_commit')
    call MPI_File_set_view(file, 0_MPI_OFFSET_KIND, MPI_DOUBLE_PRECISION, filetype, 'native', &
      MPI_INFO_NULL, code)
    call check(code, 'MPI_File_set_view')
    call MPI_Type_free(filetype, code)
  end subroutine set_band_view

  ! Byte offset of a rank's record behind the matrix.
  integer(kind=MPI_OFFSET_KIND) function record_offset(of_rank)
    integer, intent(in) :: of_rank
    record_offset = int(rows, MPI_OFFSET_KIND)*columns*8 + of_rank*8
  end function record_offset

  subroutine write_file()
    integer :: file, code, first, width, row, column, done
    integer :: status(MPI_STATUS_SIZE)
    real(dp), allocatable :: band(:, :)
    first = band_start(columns, rank)
    width = band_start(columns, rank + 1) - first
    allocate (band(rows, width))
    do column = 1, width
      do row = 1, rows
        band(row, column) = value_at(row, first + column - 1)
      end do
    end do
    call MPI_File_open(MPI_COMM_WORLD, trim(path), ior(MPI_MODE_CREATE, MPI_MODE_WRONLY), &
      MPI_INFO_NULL, file, code)
    call check(code, 'MPI_File_open')
    call MPI_File_set_size(file, 0_MPI_OFFSET_KIND, code)
    call check(code, 'MPI_File_set_size')
    call MPI_File_write_at(file, record_offset(rank), [real(rank, dp)], 1, MPI_DOUBLE_PRECISION, &
      status, code)
    call check(code, 'MPI_File_write_at')
    call set_band_view(file, [rows, width], [1, first])
    call MPI_File_write_all(file, band, rows*width, MPI_DOUBLE_PRECISION, status, code)
    call check(code, 'MPI_File_write_all')
    call MPI_Get_count(status, MPI_DOUBLE_PRECISION, done, code)
    if (done /= rows*width) call fail('short write on ' // trim(path))
    call MPI_File_close(file, code)
    call check(code, 'MPI_File_close')
  end subroutine write_file

  integer function count_wrong() result(bad)
    integer :: file, code, first, height, row, column, done
    integer :: status(MPI_STATUS_SIZE)
    real(dp), allocatable :: band(:, :)
    real(dp) :: records(ranks)
    first = band_start(rows, rank)
    height = band_start(rows, rank + 1) - first
    allocate (band(height, columns), source=-1.0_dp)
    records = -1
    call MPI_File_open(MPI_COMM_WORLD, trim(path), MPI_MODE_RDONLY, MPI_INFO_NULL, file, code)
    call check(code, 'MPI_File_open')
    call MPI_File_read_at_all(file, record_offset(0), records, ranks, MPI_DOUBLE_PRECISION, &
      status, code)
    call check(code, 'MPI_File_read_at_all')
    call set_band_view(file, [height, columns], [first, 1])
    call MPI_File_read_all(file, band, height*columns, MPI_DOUBLE_PRECISION, status, code)
    call check(code, 'MPI_File_read_all')
    call MPI_Get_count(status, MPI_DOUBLE_PRECISION, done, code)
    call MPI_File_close(file, code)
    call check(code, 'MPI_File_close')
    bad = height*columns - done + count(records /= [(real(row, dp), row=0, ranks - 1)])
    do column = 1, columns
      do row = 1, height
        if (band(row, column) /= value_at(first + row - 1, column)) bad = bad + 1
      end do
    end do
  end function count_wrong
end program mpiio_fortran
