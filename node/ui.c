/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One JSON object:
 *
 *     {"process": {}, "states": {"current": 3}, "propagation": {}, "volumes": [], "omitted": 0}
 *
 * with the process and the volumes as in the status document, those that are not current first. A
 * document is kept for NODE_UI_INTERVAL: however many clients ask, the loop writes it twice a
 * second.
 */
#include "node/ui.h"

#include "encoding/json.h"
#include "monitor/http_server.h"

static_assert(HTTP_SERVER_CONNECTIONS_MAX * NODE_UI_VOLUMES_TEXT <= 32u << 20,
              "the responses of all connections");

struct node_ui {
    struct node_ui_context context;
    struct buf document; /* the last one; empty: none */
    mono_us written_at;
};

/* ---- members */

/* Append @before, and @json, which is freed. Return: also -ENOMEM for NULL. */
static int add_json(struct buf *text, const char *before, cJSON *json_consumed)
{
    _cleanup_(cJSON_Deletep) cJSON *json = json_consumed;
    int r = json != NULL ? buf_add_text(text, before) : -ENOMEM;

    return r < 0 ? r : json_print_without_tags(json, text);
}

static bool count_state(void *userdata, struct node_volume *volume)
{
    size_t *counts = userdata;

    if (volume->published.volume != NULL)
        counts[published_reader_state(&volume->published)]++;
    return true;
}

/* Return: NULL when memory is short. */
static cJSON *describe_states(struct node_volumes *volumes)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    size_t counts[READER_STATES] = {0};
    int r = 0;

    node_volumes_visit(volumes, count_state, counts);
    for (enum reader_state state = 0; state < READER_STATES; state++)
        r |= json_add_number(json, reader_state_name(state), (double)counts[state]);
    return r == 0 ? TAKE(json) : NULL;
}

static int add_bucket(cJSON *list, const struct metric_counts *counts, size_t i)
{
    cJSON *json = cJSON_CreateObject();
    int r = 0;

    if (i < counts->n_bounds)
        r |= json_add_number(json, "le", counts->bounds[i]);
    r |= json_add_number(json, "count",
                         counts->in_buckets != NULL ? (double)counts->in_buckets[i] : 0);
    if (cJSON_AddItemToArray(list, json))
        return r;
    cJSON_Delete(json);
    return -ENOMEM;
}

static cJSON *describe_propagation(const struct node_metrics *metrics)
{
    const struct metric_counts counts = node_metrics_updates(metrics);
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    cJSON *list = cJSON_AddArrayToObject(json, "buckets");
    int r = 0;

    for (size_t i = 0; i <= counts.n_bounds; i++)
        r |= add_bucket(list, &counts, i);
    r |= json_add_number(json, "count", (double)counts.n);
    r |= json_add_number(json, "sumSeconds", counts.sum);
    return r == 0 ? TAKE(json) : NULL;
}

/* ---- volumes */

struct volume_list {
    struct buf *text;
    bool is_current; /* add those that are, or those that are not */
    size_t n;
    size_t n_omitted;
    size_t max_len; /* of the text */
    int result;
};

static bool add_volume(void *userdata, struct node_volume *volume)
{
    struct volume_list *list = userdata;

    if (volume->published.volume == NULL ||
        (published_reader_state(&volume->published) == READER_CURRENT) != list->is_current)
        return true;
    if (list->n == NODE_UI_VOLUMES_MAX || list->text->len > list->max_len) {
        list->n_omitted++;
        return true;
    }
    list->result =
        add_json(list->text, list->n++ > 0 ? "," : "", node_status_volume(volume, false));
    return list->result == 0;
}

static int add_volumes(struct buf *text, struct node_volumes *volumes)
{
    struct volume_list list = {.text = text, .max_len = text->len + NODE_UI_VOLUMES_TEXT};

    list.result = buf_add_text(text, ",\"volumes\":[");
    if (list.result == 0)
        node_volumes_visit(volumes, add_volume, &list);
    list.is_current = true;
    if (list.result == 0)
        node_volumes_visit(volumes, add_volume, &list);
    return list.result < 0 ? list.result : buf_addf(text, "],\"omitted\":%zu", list.n_omitted);
}

/* ---- the document */

static int write_document(const struct node_ui_context *context, struct buf *text)
{
    int r = add_json(text, "{\"process\":", node_status_process(context->status, false));

    if (r == 0)
        r = add_json(text, ",\"states\":", describe_states(context->volumes));
    if (r == 0)
        r = add_json(text, ",\"propagation\":", describe_propagation(context->metrics));
    if (r == 0)
        r = add_volumes(text, context->volumes);
    return r < 0 ? r : buf_add_text(text, "}\n");
}

int node_ui_write(struct node_ui *ui, mono_us now, struct buf *text)
{
    int r = 0;

    if (ui->document.len == 0 || now - ui->written_at >= NODE_UI_INTERVAL) {
        buf_reset(&ui->document);
        ui->written_at = now;
        r = write_document(&ui->context, &ui->document);
    }
    if (r < 0)
        buf_reset(&ui->document); /* a part of it */
    return r < 0 ? r : buf_add(text, ui->document.data, ui->document.len);
}

/* ---- the object */

int node_ui_new(const struct node_ui_context *context, struct node_ui **ret_ui)
{
    struct node_ui *ui = calloc(1, sizeof(*ui));

    if (ui == NULL)
        return -ENOMEM;
    ui->context = *context;
    ui->document = BUF_INIT(HTTP_SERVER_BODY_MAX);
    *ret_ui = ui;
    return 0;
}

struct node_ui *node_ui_free(struct node_ui *ui)
{
    if (ui == NULL)
        return NULL;
    buf_deinit(&ui->document);
    free(ui);
    return NULL;
}
