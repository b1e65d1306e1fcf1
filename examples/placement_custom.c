/* SPDX-License-Identifier: BSD-3-Clause */
/* A placement engine of one's own: large blobs are striped over the targets they deserve, so that
 * several disks work at once; small ones, and what cannot be striped, go where max_bw says.
 *
 *   placement_custom     puts a large and a small blob and shows what each target got
 */
#include <stdio.h>
#include <stdlib.h>

#include <cte/blob.h>
#include <cte/config.h>
#include <cte/placement.h>

enum { MIB = 1 << 20, STRIPED_BYTES_MIN = 256 << 10, SMALL_BYTES = 64 << 10 };

/* A pure function: everything it knows is in its arguments, so any thread may call it. */
static size_t place_striped(const cte_placement_target *targets, size_t target_count,
                            const cte_placement_request *request, cte_placement_extent *extents)
{
    size_t deserving = 0, used = 0;
    uint64_t left = request->bytes;
    for (size_t i = 0; i < target_count; i++)
        deserving += targets[i].score <= request->score;
    if (deserving < 2 || request->bytes < STRIPED_BYTES_MIN)
        return cte_placement_find("max_bw")(targets, target_count, request, extents);

    /* Equal shares of whole pages; what the division leaves goes into the first ones. */
    uint64_t share = request->bytes / deserving + CTE_PLACEMENT_PAGE_BYTES - 1;
    share -= share % CTE_PLACEMENT_PAGE_BYTES;
    for (size_t i = 0; i < target_count && left > 0; i++) {
        uint64_t part = left < share ? left : share;
        if (targets[i].score > request->score)
            continue;
        if (targets[i].free_bytes < part) /* nearly full: leave it to the engine that can split */
            return cte_placement_find("max_bw")(targets, target_count, request, extents);
        extents[used++] = (cte_placement_extent){.target = (uint32_t)i, .bytes = part};
        left -= part;
    }
    return used;
}

static int fail(const char *what, cte_status status)
{
    fprintf(stderr, "placement_custom: %s: %s\n", what, cte_status_string(status));
    return EXIT_FAILURE;
}

static int show_targets(cte_client *client, const char *when)
{
    cte_target_info infos[8];
    uint32_t count;
    cte_status status = cte_client_targets(client, infos, 8, &count);
    if (status != CTE_OK)
        return fail("cannot list the targets", status);
    for (uint32_t i = 0; i < count && i < 8; i++)
        printf("%s: target of score %.1f holds %llu KiB\n", when, (double)infos[i].score,
               (unsigned long long)(infos[i].capacity_bytes - infos[i].free_bytes) / 1024);
    return EXIT_SUCCESS;
}

static int use(cte_client *client)
{
    static char bytes[3 * MIB];
    cte_tag *tag;
    cte_status status = cte_tag_open(client, "striped", true, &tag);
    if (status != CTE_OK)
        return fail("cannot open the tag", status);
    int result = EXIT_SUCCESS;
    /* Score 0.6 does not deserve the target of score 0.9. */
    status = cte_blob_put(tag, "large", 0, bytes, sizeof bytes, 0.6f, 0);
    if (status == CTE_OK)
        result = show_targets(client, "large blob");
    if (status == CTE_OK)
        /* Score 0.45 deserves the last one only: which one max_bw takes of several, their measured
         * speeds decide. */
        status = cte_blob_put(tag, "small", 0, bytes, SMALL_BYTES, 0.45f, 0);
    if (status == CTE_OK && result == EXIT_SUCCESS)
        result = show_targets(client, "both blobs");
    if (status != CTE_OK)
        result = fail("cannot put", status);
    cte_tag_close(tag);
    status = cte_tag_delete(client, "striped");
    return status == CTE_OK ? result : fail("cannot delete the tag", status);
}

int main(void)
{
    static const char text[] =
        "storage:\n"
        "  - {path: hot, bdev_type: ram, capacity_limit: 8MiB, score: 0.9}\n"
        "  - {path: warm, bdev_type: ram, capacity_limit: 8MiB, score: 0.5}\n"
        "  - {path: cool, bdev_type: ram, capacity_limit: 8MiB, score: 0.4}\n"
        "dpe:\n"
        "  dpe_type: striped\n";
    char error[1024];
    cte_config *config;
    cte_client *client;

    /* First the engine, then the configuration that names it. */
    cte_status status = cte_placement_register("striped", place_striped);
    if (status != CTE_OK)
        return fail("cannot register the engine", status);
    if (cte_config_parse(text, "built in", &config, error, sizeof error) != CTE_OK) {
        fprintf(stderr, "placement_custom: %s\n", error);
        return EXIT_FAILURE;
    }
    status = cte_client_open(config, &client);
    cte_config_free(config);
    if (status != CTE_OK)
        return fail("cannot open the store", status);
    int result = use(client);
    status = cte_client_close(client);
    return status == CTE_OK ? result : fail("cannot close the store", status);
}
