/* SPDX-License-Identifier: BSD-3-Clause */
/* `cte check`: reads and verifies everything that is stored. */
#include <stdio.h>

#include <cte/store.h>

#include "command.h"
#include "json.h"
#include "terminal.h"

typedef unsigned long long ull;

static cte_status tell_damage(void *context, const char *text)
{
    const struct invocation *in = context;
    if (in->json) {
        json_text(NULL, text);
    } else {
        print_toned(TONE_BAD, "damaged: ");
        print_name(text);
        putchar('\n');
    }
    return CTE_OK;
}

static void print_report_json(const cte_store_report *r, bool sound)
{
    json_end();
    json_uint("blobs", r->blobs);
    json_uint("bytes_read", r->bytes_read);
    json_uint("blobs_damaged", r->blobs_damaged);
    json_uint("pages_used", r->pages_used);
    json_uint("pages_doubly", r->pages_doubly);
    json_uint("pages_unowned", r->pages_unowned);
    json_uint("pages_lost", r->pages_lost);
    json_uint("units_unowned", r->units_unowned);
    json_uint("units_lost", r->units_lost);
    json_uint("journal_records", r->journal_records);
    json_uint("journal_damaged", r->journal_damaged);
    json_uint("bytes_lost", r->bytes_lost);
    json_bool("exact", r->exact);
    json_bool("checksums", r->checksums);
    json_bool("ok", sound);
    json_end();
}

static void print_report(const cte_store_report *r, bool sound)
{
    printf("read %llu bytes of %llu blobs: %llu damaged%s\n", (ull)r->bytes_read, (ull)r->blobs,
           (ull)r->blobs_damaged, r->checksums ? "" : " (checksums are off: contents unverified)");
    printf("%llu pages in use; claimed twice: %llu, claimed but free: %llu, lost: %llu\n",
           (ull)r->pages_used, (ull)r->pages_doubly, (ull)r->pages_unowned, (ull)r->pages_lost);
    printf("metadata claimed but free: %llu, lost: %llu\n", (ull)r->units_unowned,
           (ull)r->units_lost);
    if (r->journal_records > 0)
        printf("the store is not in memory; its journal has %llu records, and %llu damaged places; "
               "%llu bytes were in memory only\n",
               (ull)r->journal_records, (ull)r->journal_damaged, (ull)r->bytes_lost);
    if (!r->exact)
        puts("processes are attached: the counts of pages and metadata may be off");
    fputs("the store is ", stdout);
    print_toned(sound ? TONE_GOOD : TONE_BAD, sound ? "sound" : "DAMAGED");
    putchar('\n');
}

static int end_check(const struct invocation *in, cte_status status, const cte_store_report *report)
{
    bool sound = !cte_store_report_is_damage(report);
    if (status != CTE_OK)
        return complain_status(status);
    if (in->json)
        print_report_json(report, sound);
    else
        print_report(report, sound);
    return sound ? EXIT_OK : EXIT_DAMAGE;
}

static int check_store(const struct invocation *in)
{
    cte_store_report report = {0};
    cte_client *client;
    int result = open_store(in, false, &client);
    if (result != EXIT_OK)
        return result;
    cte_status status = cte_store_check(client, &report, tell_damage, (void *)in);
    return close_store(client, end_check(in, status, &report));
}

/* First what is kept of a store that is not in memory: attaching would bring it back. */
static int run_check(const struct invocation *in)
{
    cte_store_report report = {0};
    cte_config *config = load_config(in);
    if (!config)
        return EXIT_FAILED;
    if (in->json) {
        json_object(NULL);
        json_array("findings");
    }
    cte_status status = cte_store_check_kept(config, &report, tell_damage, (void *)in);
    cte_config_free(config);
    return status == CTE_ERR_NOT_FOUND ? check_store(in) : end_check(in, status, &report);
}

const struct command command_check = {
    .name = "check",
    .synopsis = "[--json]",
    .summary = "read and verify everything that is stored",
    .description =
        "Reads everything that is stored, verifies the checksums, and accounts for every page and "
        "piece of metadata.  Of a store that is not in memory, as after a reboot, it reads the "
        "journal and all that it speaks of, and changes nothing.",
    .run = run_check,
};
