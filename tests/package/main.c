/* SPDX-License-Identifier: BSD-3-Clause */
/* A program of somebody who installed cte. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <cte/blob.h>
#include <cte/client.h>
#include <cte/config.h>
#include <cte/file.h>
#include <cte/version.h>

int main(int argc, char **argv)
{
    char back[5] = "";
    cte_file *file;
    cte_file_segment put = {3, 5, "hello"}, get = {3, 5, back};
    if (argc != 2 || cte_file_open(NULL, argv[1], O_RDWR | O_CREAT, 0644, NULL, &file) != CTE_OK)
        return 1;
    if (!cte_file_is_tracked(file) || cte_file_write(file, &put, 1) != CTE_OK ||
        cte_file_read(file, &get, 1, NULL) != CTE_OK || cte_file_close(file) != CTE_OK)
        return 1;
    printf("%s\n", cte_version());
    return memcmp(back, "hello", 5) != 0;
}
