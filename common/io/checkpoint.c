// checkpoint.c: a run's arrays to a blob and back.
#include "checkpoint.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../base/msg.h"
#include "../base/out.h"
#include "record.h"

struct checkpoint checkpoint_begin(const json_t *identity, const struct checkpoint_part *part, int count) {
    struct checkpoint c = {blob_new("checkpoint"), record_new()};
    if (identity) json_object_update(json_object_get(c.record, "config"), (json_t *)identity);
    for (int i = 0; i < count; i++) blob_add(c.blob, part[i].name, part[i].dtype, part[i].rank, part[i].dim, part[i].at);
    return c;
}

bool checkpoint_end(struct checkpoint *c, const char *path, struct error *e) {
    blob_set_record(c->blob, c->record);
    bool fine = blob_write(c->blob, path, e);
    json_decref(c->record);
    blob_free(c->blob);
    return fine;
}

struct blob *checkpoint_open(const char *path, const json_t *identity, struct error *e) {
    struct blob *b = blob_open(path, e);
    bool fine = b && blob_expect_kind(b, "checkpoint", e) && (!identity || record_continues(b->record, identity, b->source, e));
    if (fine) return b;
    blob_free(b);
    return NULL;
}

bool checkpoint_take(const struct blob *b, const struct checkpoint_part *part, int count, struct error *e) {
    for (int i = 0; i < count; i++) {
        const struct tensor *found = blob_need(b, part[i].name, e);
        if (!found) return false;
        if (!tensor_expect(found, part[i].dtype, part[i].rank, part[i].dim, e)) return error_prefix(e, "%s", b->source);
    }
    for (int i = 0; i < count; i++) {
        const struct tensor *found = blob_find(b, part[i].name);
        if (tensor_bytes(found)) memcpy(part[i].at, found->data, tensor_bytes(found));
    }
    return true;
}

const char *checkpoint_beside(const char *output, char room[CHECKPOINT_ROOM]) {
    struct stat there;
    if (!output || path_is_dash(output) || (!stat(output, &there) && !S_ISREG(there.st_mode))) return NULL;
    return (size_t)snprintf(room, CHECKPOINT_ROOM, "%s.checkpoint", output) < CHECKPOINT_ROOM ? room : NULL;
}

void checkpoint_warn(const char *beside, const char *resume) {
    if (beside && !access(beside, F_OK) && !(resume && out_same_file(beside, resume)))
        msg_warn("%s holds an earlier run: --resume goes on with it, and an interruption of this one replaces it", beside);
}
