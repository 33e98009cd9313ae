/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spec is recorded, and not the kubelet's request: the spec may need the pod (publish_spec.c),
 * which cannot be read while the API server is away. A static volume is made of its file; its
 * record says whether the file is the same as for the earlier process. The target's mount is not
 * recorded either: the next process finds it at the target by its file system and its directory
 * (target_find_mount()).
 */
#include "node/volume_record.h"

#include "volume/spec_json.h"

int volume_record_print(const struct volume_record *record, char **ret_text)
{
    _cleanup_(cJSON_Deletep) cJSON *json = cJSON_CreateObject();
    cJSON *spec = NULL;
    int r = volume_spec_to_json(record->spec, &spec);

    if (r == 0 && !cJSON_AddItemToObject(json, "spec", spec)) {
        cJSON_Delete(spec);
        r = -ENOMEM;
    }
    r |= json_add_text(json, "target", record->target);
    r |= json_add_text(json, "namespace", record->namespace);
    r |= json_add_text(json, "pod", record->pod);
    r |= json_add_text(json, "podUid", record->pod_uid);
    r |= json_add_text(json, "serviceAccount", record->service_account);
    r |= json_add_text(json, "source", record->source);
    if (r < 0)
        return r;
    *ret_text = cJSON_PrintUnformatted(json);
    return *ret_text != NULL ? 0 : -ENOMEM;
}

/* Return: as volume_record_parse(); *document may be half-built. */
static int parse(const char *text, struct volume_record_document *document, struct error *e)
{
    int r = json_parse(text, strlen(text), &document->json, e);

    if (r == 0)
        r = volume_spec_from_json(json_member(document->json, "spec"), &document->spec, e);
    if (r < 0)
        return r;
    document->record = (struct volume_record){
        .target = json_text(document->json, "target"),
        .namespace = json_text(document->json, "namespace"),
        .pod = json_text(document->json, "pod"),
        .pod_uid = json_text(document->json, "podUid"),
        .service_account = json_text(document->json, "serviceAccount"),
        .source = json_text(document->json, "source"),
        .spec = document->spec,
    };
    if (document->record.target == NULL || document->record.namespace == NULL)
        return error_set(e, -EINVAL, "invalid record of a volume: it has no target");
    return 0;
}

int volume_record_parse(const char *text, struct volume_record_document *ret_document,
                        struct error *e)
{
    int r;

    *ret_document = (struct volume_record_document){.json = NULL};
    r = parse(text, ret_document, e);
    if (r < 0)
        volume_record_deinit(ret_document);
    return r;
}

void volume_record_deinit(struct volume_record_document *document)
{
    volume_spec_free(document->spec);
    cJSON_Delete(document->json);
    *document = (struct volume_record_document){.json = NULL};
}
