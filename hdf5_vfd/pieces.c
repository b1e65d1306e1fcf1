/* SPDX-License-Identifier: BSD-3-Clause */
#include "pieces.h"

#include <string.h>

#include "driver.h"

void cte__batch_add(struct cte__batch *batch, const struct cte__piece *piece)
{
    cte_file_segment *last = &batch->segments[batch->count > 0 ? batch->count - 1 : 0];
    if (batch->count == 0 || piece->addr < batch->low)
        batch->low = piece->addr;
    if (batch->count == 0 || piece->addr + piece->size > batch->high)
        batch->high = piece->addr + piece->size;
    if (batch->count > 0 && last->offset + last->length == piece->addr &&
        (char *)last->base + last->length == piece->base)
        last->length += piece->size;
    else
        batch->segments[batch->count++] = (cte_file_segment){piece->addr, piece->size, piece->base};
}

cte_status cte__batch_write(struct cte__batch *batch, cte_file *handle)
{
    size_t count = batch->count;
    batch->count = 0;
    return count > 0 ? cte_file_write(handle, batch->segments, count) : CTE_OK;
}

static void clear_beyond(const struct cte__batch *batch, uint64_t size)
{
    for (size_t i = 0; i < batch->count; i++) {
        const cte_file_segment *segment = &batch->segments[i];
        uint64_t end = segment->offset + segment->length;
        uint64_t from = segment->offset > size ? segment->offset : size;
        if (end > from)
            memset((char *)segment->base + (from - segment->offset), 0, end - from);
    }
}

cte_status cte__batch_read(struct cte__batch *batch, cte_file *handle)
{
    uint64_t size = 0;
    size_t count = batch->count;
    if (count == 0)
        return CTE_OK;
    cte_status status = cte_file_size(handle, &size);
    if (status == CTE_OK && batch->high > size)
        clear_beyond(batch, size);
    batch->count = 0;
    return status == CTE_OK ? cte_file_read(handle, batch->segments, count, NULL) : status;
}

#if CTE__HDF5_PLUGINS

/* Pieces on their way to who takes them. */
struct queue {
    cte__take_pieces *take;
    void *context;
    H5FD_mem_t type;
    bool passed_on; /* some were */
    size_t count;
    struct cte__piece pieces[CTE__PIECES_MAX];
};

static void queue_init(struct queue *queue, H5FD_mem_t type, cte__take_pieces *take, void *context)
{
    queue->take = take;
    queue->context = context;
    queue->type = type;
    queue->passed_on = false;
    queue->count = 0;
}

static herr_t pass_on(struct queue *queue, bool last)
{
    size_t count = queue->count;
    bool whole = last && !queue->passed_on;
    queue->count = 0;
    queue->passed_on = !last;
    return count > 0 ? queue->take(queue->context, queue->type, queue->pieces, count, whole) : 0;
}

static inline herr_t enqueue(struct queue *queue, haddr_t addr, size_t size, void *base)
{
    if (queue->count == CTE__PIECES_MAX && pass_on(queue, false) < 0)
        return -1;
    queue->pieces[queue->count++] = (struct cte__piece){addr, size, base};
    return 0;
}

/* ---- vectors ---- */

/* All pieces of a type; true in `there` (may be NULL) for each type that there is. */
static herr_t enqueue_type(const struct cte__vector *vector, struct queue *queue,
                           bool there[H5FD_MEM_NTYPES])
{
    size_t size = 0;
    H5FD_mem_t type = H5FD_MEM_DEFAULT;
    bool same_size = false, same_type = false;
    for (uint32_t i = 0; i < vector->count; i++) {
        same_size = same_size || (i > 0 && vector->sizes[i] == 0);
        same_type = same_type || (i > 0 && vector->types[i] == H5FD_MEM_NOLIST);
        size = same_size ? size : vector->sizes[i];
        type = same_type ? type : vector->types[i];
        if (there)
            there[type] = true;
        else if (size > 0 && type == queue->type &&
                 enqueue(queue, vector->addrs[i], size, vector->buffers[i]) < 0)
            return -1;
    }
    return there ? 0 : pass_on(queue, true);
}

herr_t cte__vector_pieces(const struct cte__vector *vector, cte__take_pieces *take, void *context)
{
    bool there[H5FD_MEM_NTYPES] = {false};
    struct queue queue;
    queue_init(&queue, H5FD_MEM_DEFAULT, take, context);
    herr_t result = enqueue_type(vector, &queue, there);
    for (int type = 0; type < H5FD_MEM_NTYPES && result >= 0; type++) {
        queue.type = (H5FD_mem_t)type;
        if (there[type])
            result = enqueue_type(vector, &queue, NULL);
    }
    return result;
}

/* ---- selections ---- */

enum { SEQUENCES_MAX = 256 };

/* The bytes of a selection as sequences, some at a time. */
struct sequences {
    hid_t iterator;
    size_t next, count;
    hsize_t offsets[SEQUENCES_MAX];
    size_t lengths[SEQUENCES_MAX];
};

/* False at the end, or if HDF5 failed. */
static bool next_sequences(struct sequences *sequences, herr_t *result)
{
    size_t elements;
    sequences->next = sequences->count = 0;
    *result =
        H5Ssel_iter_get_seq_list(sequences->iterator, SEQUENCES_MAX, SIZE_MAX, &sequences->count,
                                 &elements, sequences->offsets, sequences->lengths);
    return *result >= 0 && sequences->count > 0;
}

static void take_from(struct sequences *sequences, size_t bytes)
{
    sequences->offsets[sequences->next] += bytes;
    sequences->lengths[sequences->next] -= bytes;
    if (sequences->lengths[sequences->next] == 0)
        sequences->next++;
}

/* Those of the file against those of memory. */
static herr_t match(struct sequences *file, struct sequences *memory, haddr_t offset, char *buffer,
                    struct queue *queue)
{
    herr_t result = 0;
    for (;;) {
        if (file->next == file->count && !next_sequences(file, &result))
            return result;
        if (memory->next == memory->count && !next_sequences(memory, &result))
            return result;
        size_t bytes = file->lengths[file->next];
        if (bytes > memory->lengths[memory->next])
            bytes = memory->lengths[memory->next];
        if (enqueue(queue, offset + file->offsets[file->next], bytes,
                    buffer + memory->offsets[memory->next]) < 0)
            return -1;
        take_from(file, bytes);
        take_from(memory, bytes);
    }
}

/* Where the elements lie if they are in a row, as those of most calls are: all of a space, or some
 * in one dimension.  Points may come in any order. */
static bool is_one_row(hid_t space, hsize_t elements, hsize_t *first)
{
    hsize_t last;
    H5S_sel_type type = H5Sget_select_type(space);
    *first = 0;
    if (type == H5S_SEL_ALL)
        return true;
    return type == H5S_SEL_HYPERSLABS && H5Sget_simple_extent_ndims(space) == 1 &&
           H5Sget_select_bounds(space, first, &last) >= 0 && last - *first + 1 == elements;
}

static herr_t enqueue_selection(hid_t in_memory, hid_t in_file, haddr_t offset, size_t element_size,
                                char *buffer, struct queue *queue)
{
    hsize_t file_first, memory_first;
    hssize_t elements = H5Sget_select_npoints(in_file);
    if (elements <= 0)
        return elements < 0 ? -1 : 0;
    if (is_one_row(in_file, (hsize_t)elements, &file_first) &&
        is_one_row(in_memory, (hsize_t)elements, &memory_first))
        return enqueue(queue, offset + file_first * element_size, (size_t)elements * element_size,
                       buffer + memory_first * element_size);
    struct sequences file = {
        .iterator = H5Ssel_iter_create(in_file, element_size, H5S_SEL_ITER_SHARE_WITH_DATASPACE)};
    struct sequences memory = {
        .iterator = H5Ssel_iter_create(in_memory, element_size, H5S_SEL_ITER_SHARE_WITH_DATASPACE)};
    herr_t result = -1;
    if (file.iterator >= 0 && memory.iterator >= 0)
        result = match(&file, &memory, offset, buffer, queue);
    if (file.iterator >= 0)
        H5Ssel_iter_close(file.iterator);
    if (memory.iterator >= 0)
        H5Ssel_iter_close(memory.iterator);
    return result;
}

herr_t cte__selection_pieces(const struct cte__selections *selections, cte__take_pieces *take,
                             void *context)
{
    struct queue queue;
    size_t element_size = 0;
    void *buffer = NULL;
    bool same_size = false, same_buffer = false;
    queue_init(&queue, selections->type, take, context);
    for (size_t i = 0; i < selections->count; i++) {
        same_size = same_size || (i > 0 && selections->element_sizes[i] == 0);
        same_buffer = same_buffer || (i > 0 && !selections->buffers[i]);
        element_size = same_size ? element_size : selections->element_sizes[i];
        buffer = same_buffer ? buffer : selections->buffers[i];
        if (enqueue_selection(selections->in_memory[i], selections->in_file[i],
                              selections->offsets[i], element_size, buffer, &queue) < 0)
            return -1;
    }
    return pass_on(&queue, true);
}

#endif
