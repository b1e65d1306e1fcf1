/* SPDX-License-Identifier: BSD-3-Clause */
/* YAML into the configuration.  Strict: what is not understood is an error at its line and column.
 * Nesting is fixed by the key table, so aliases (even to themselves) cannot make the walk long. */
#include "config/keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

#include "base/util.h"

/* A document being read. */
struct reading {
    struct cte__config_load *load;
    yaml_document_t *document;
};

static struct cte__config_where mark_where(const struct cte__config_load *load, yaml_mark_t mark)
{
    return (struct cte__config_where){.source = load->source,
                                      .line = (uint32_t)mark.line + 1,
                                      .column = (uint32_t)mark.column + 1};
}

static struct cte__config_where where_of(const struct reading *reading, const yaml_node_t *node)
{
    return mark_where(reading->load, node->start_mark);
}

static yaml_node_t *node_at(const struct reading *reading, int index)
{
    return yaml_document_get_node(reading->document, index);
}

/* The text of a scalar, NULL if the node is something else or holds a zero byte. */
static const char *scalar_text(const yaml_node_t *node)
{
    if (node->type != YAML_SCALAR_NODE)
        return NULL;
    const char *text = (const char *)node->data.scalar.value;
    return strlen(text) == node->data.scalar.length ? text : NULL;
}

static bool is_null(const yaml_node_t *node)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp((const char *)node->data.scalar.value, words[i]) == 0)
            return true;
    return false;
}

static const char *what_is(const yaml_node_t *node)
{
    if (is_null(node))
        return "nothing";
    return node->type == YAML_MAPPING_NODE    ? "a mapping"
           : node->type == YAML_SEQUENCE_NODE ? "a list"
                                              : "a single value";
}

static cte_status fail_type(const struct reading *reading, const yaml_node_t *node,
                            const char *name, const char *wanted)
{
    struct cte__config_where where = where_of(reading, node);
    return cte__config_fail(reading->load, &where, "%s must be %s, not %s; correct or remove it",
                            name, wanted, what_is(node));
}

/* Checks the key of a pair: a text not used before in this mapping. */
static cte_status pair_name(const struct reading *reading, const yaml_node_t *mapping,
                            const yaml_node_pair_t *pair, const char **name)
{
    const yaml_node_t *node = node_at(reading, pair->key);
    struct cte__config_where where = where_of(reading, node);
    *name = scalar_text(node);
    if (!*name)
        return cte__config_fail(reading->load, &where, "a key must be a name; write 'name: value'");
    for (const yaml_node_pair_t *earlier = mapping->data.mapping.pairs.start; earlier < pair;
         earlier++) {
        const yaml_node_t *other = node_at(reading, earlier->key);
        if (strcmp(scalar_text(other), *name) == 0) /* checked when it was its turn */
            return cte__config_fail(reading->load, &where,
                                    "key '%s' is given twice (first in line %zu); remove one",
                                    *name, other->start_mark.line + 1);
    }
    return CTE_OK;
}

static cte_status read_globs(const struct reading *reading, const struct cte__config_key *key,
                             const yaml_node_t *node)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return fail_type(reading, node, key->name, "a list such as [\"/scratch/*\"]");
    struct cte__config_where where = where_of(reading, node);
    cte__config_note_origin(reading->load->config, key, &where);
    cte_status status = CTE_OK;
    for (const yaml_node_item_t *item = node->data.sequence.items.start;
         item < node->data.sequence.items.top && status == CTE_OK; item++) {
        const yaml_node_t *element = node_at(reading, *item);
        const char *text = scalar_text(element);
        where = where_of(reading, element);
        status = text ? cte__config_add_glob(reading->load, &where, key, text)
                      : fail_type(reading, element, "a pattern", "a text");
    }
    return status;
}

static cte_status read_value(const struct reading *reading, const struct cte__config_key *key,
                             const yaml_node_t *node, void *base)
{
    if (key->type == CTE__CONFIG_GLOBS)
        return read_globs(reading, key, node);
    const char *text = scalar_text(node);
    if (!text || is_null(node))
        return fail_type(reading, node, key->name, "a single value without zero bytes");
    struct cte__config_where where = where_of(reading, node);
    return cte__config_set(reading->load, &where, key, base, text);
}

static cte_status read_section(const struct reading *reading, const char *section,
                               const yaml_node_t *node, void *base);

/* What `name` within a section says: a key, or a section of its own. */
static cte_status read_pair(const struct reading *reading, const char *section,
                            const yaml_node_t *key_node, const char *name, const yaml_node_t *node,
                            void *base)
{
    char path[CTE__CONFIG_SECTION_BYTES];
    const struct cte__config_key *key = cte__config_find(section, name);
    bool subsection = cte__config_subsection(section, name, path);
    /* A section may have a short form, one value. */
    if (key && (!subsection || (node->type == YAML_SCALAR_NODE && !is_null(node))))
        return read_value(reading, key, node, base);
    if (subsection)
        return read_section(reading, path, node, base);
    struct cte__config_where where = where_of(reading, key_node);
    return cte__config_fail_unknown(reading->load, &where, section, name);
}

/* A mapping of keys of one section into `base`. */
static cte_status read_section(const struct reading *reading, const char *section,
                               const yaml_node_t *node, void *base)
{
    if (node->type != YAML_MAPPING_NODE)
        return fail_type(reading, node, section, "a mapping, lines of 'key: value'");
    cte_status status = CTE_OK;
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top && status == CTE_OK; pair++) {
        const char *name;
        status = pair_name(reading, node, pair, &name);
        if (status == CTE_OK)
            status = read_pair(reading, section, node_at(reading, pair->key), name,
                               node_at(reading, pair->value), base);
    }
    return status;
}

static cte_status read_target(const struct reading *reading, const yaml_node_t *node)
{
    cte_config *config = reading->load->config;
    struct cte__config_where where = where_of(reading, node);
    if (config->target_count == CTE__CONFIG_TARGETS_MAX)
        return cte__config_fail(reading->load, &where, "more than %d storage targets; remove some",
                                CTE__CONFIG_TARGETS_MAX);
    struct cte__config_target *target = &config->targets[config->target_count];
    target->score = -1.0f;
    target->origin = (struct cte__config_origin){.line = where.line};
    cte_status status = read_section(reading, "storage", node, target);
    if (status == CTE_OK)
        status = cte__config_check_target(reading->load, &where, target);
    if (status == CTE_OK)
        config->target_count++;
    return status;
}

static cte_status read_storage(const struct reading *reading, const yaml_node_t *node)
{
    if (node->type != YAML_SEQUENCE_NODE)
        return fail_type(reading, node, "storage", "a list of targets, each beginning with '- '");
    const yaml_node_item_t *item = node->data.sequence.items.start;
    if (item == node->data.sequence.items.top) {
        struct cte__config_where where = where_of(reading, node);
        return cte__config_fail(
            reading->load, &where,
            "storage lists no target; add one, or remove the key for the default "
            "targets");
    }
    cte_status status = CTE_OK;
    for (; item < node->data.sequence.items.top && status == CTE_OK; item++)
        status = read_target(reading, node_at(reading, *item));
    return status;
}

static cte_status read_top(const struct reading *reading, const yaml_node_t *key_node,
                           const char *name, const yaml_node_t *node)
{
    if (strcmp(name, "storage") == 0)
        return read_storage(reading, node);
    return read_pair(reading, "", key_node, name, node, reading->load->config);
}

static cte_status read_document(struct cte__config_load *load, yaml_document_t *document)
{
    struct reading reading = {load, document};
    const yaml_node_t *root = yaml_document_get_root_node(document);
    if (!root || is_null(root))
        return CTE_OK; /* nothing said: defaults */
    if (root->type != YAML_MAPPING_NODE)
        return fail_type(&reading, root, "the configuration", "a mapping, lines of 'key: value'");
    cte_status status = CTE_OK;
    for (const yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top && status == CTE_OK; pair++) {
        const char *name;
        status = pair_name(&reading, root, pair, &name);
        if (status == CTE_OK)
            status = read_top(&reading, node_at(&reading, pair->key), name,
                              node_at(&reading, pair->value));
    }
    return status;
}

static cte_status fail_syntax(struct cte__config_load *load, const yaml_parser_t *parser,
                              const char *text, size_t length)
{
    if (parser->error == YAML_MEMORY_ERROR)
        return -ENOMEM;
    yaml_mark_t mark = parser->problem_mark;
    if (parser->error == YAML_READER_ERROR) {
        /* The reader gives the offset of a bad byte only. */
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < cte__min(parser->problem_offset, length); i++) {
            mark.column = text[i] == '\n' ? 0 : mark.column + 1;
            mark.line += text[i] == '\n';
        }
    }
    struct cte__config_where where = mark_where(load, mark);
    return cte__config_fail(load, &where,
                            "not valid YAML: %s%s%s; indent by spaces, and quote values that begin "
                            "with a special character such as * or %%",
                            parser->context ? parser->context : "", parser->context ? ", " : "",
                            parser->problem ? parser->problem : "unreadable");
}

/* Reads the only document of a stream. */
static cte_status read_stream(struct cte__config_load *load, yaml_parser_t *parser,
                              const char *text, size_t length)
{
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document))
        return fail_syntax(load, parser, text, length);
    bool empty = !yaml_document_get_root_node(&document);
    cte_status status = read_document(load, &document);
    yaml_document_delete(&document);
    if (status != CTE_OK || empty)
        return status;
    if (!yaml_parser_load(parser, &document))
        return fail_syntax(load, parser, text, length);
    if (yaml_document_get_root_node(&document)) {
        struct cte__config_where where = mark_where(load, document.start_mark);
        status = cte__config_fail(load, &where,
                                  "a second YAML document begins; a configuration is one document, "
                                  "remove the rest");
    }
    yaml_document_delete(&document);
    return status;
}

cte_status cte__config_parse_yaml(struct cte__config_load *load, const char *text, size_t length)
{
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    cte_status status = read_stream(load, &parser, text, length);
    yaml_parser_delete(&parser);
    return status;
}
