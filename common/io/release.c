// release.c: an allow-list, so that whatever training learns to write into its files later stays inside too.
#include "release.h"

#include <string.h>

#include "record.h"

static bool is_public(const char *tensor) {
    return strncmp(tensor, "assay.", 6) != 0 || strcmp(tensor, "assay.mean") == 0 || strcmp(tensor, "assay.std") == 0;
}

struct blob *release_of(const struct blob *model, bool *mean_image, struct error *e) {
    static const char *const settings[] = {"arch",    "classes",    "input",   "normalise",
                                           "outputs", "parameters", "positive"};
    if (!blob_expect_kind(model, "model", e)) return NULL;
    struct blob *b = blob_new("model");
    for (int i = 0; i < model->count; i++) {
        const struct tensor *t = &model->tensor[i];
        if (is_public(t->name)) blob_add(b, t->name, t->dtype, t->rank, t->dim, t->data);
    }
    json_t *record = record_new(), *config = json_object_get(record, "config");
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        json_t *value = json_object_get(json_object_get(model->record, "config"), settings[i]);
        if (value) json_object_set(config, settings[i], value);
    }
    blob_set_record(b, record);
    json_decref(record);
    const struct tensor *mean = blob_find(b, "assay.mean");
    *mean_image = mean && tensor_count(mean) > 1;
    return b;
}
