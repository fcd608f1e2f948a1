// place.c: liveness. A run of instructions that go shard by shard is a *segment*: a value born and used up in one
// needs memory for one shard; one that lives longer has rows for a whole job.
#include "place.h"

#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"

static int align(int64_t floats) { return (int)((floats + 1) / 2 * 2); }

struct span {
    int value, born, dies;
    int64_t floats;
};

// First fit over the spans in order of birth; returns the arena's size per example.
static int64_t pack(struct plan *p, struct span *span, int count) {
    int64_t top = 0;
    for (int i = 0; i < count; i++) {
        int64_t at = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (int j = 0; j < i; j++) {
                const struct value *w = &p->value[span[j].value];
                bool together = span[j].born <= span[i].dies && span[i].born <= span[j].dies;
                if (together && w->offset < at + span[i].floats && at < w->offset + span[j].floats) {
                    at = w->offset + span[j].floats;
                    moved = true;
                }
            }
        }
        p->value[span[i].value].offset = at;
        if (at + span[i].floats > top) top = at + span[i].floats;
    }
    return top;
}

static void touch(struct plan *p, int v, int at, int segment, int *first, int *final, bool *wide, bool job) {
    if (v < 0) return;
    int r = p->value[v].root;
    if (p->value[r].born < 0) p->value[r].born = at;
    p->value[r].dies = at;
    if (first[r] < 0) first[r] = segment;
    final[r] = segment;
    if (job) wide[r] = true;
}

void place_values(struct plan *p) {
    int *first = memory_take((size_t)(p->values + 1) * sizeof(int)),
        *final = memory_zero((size_t)(p->values + 1) * sizeof(int));
    int *in_pass = memory_take((size_t)(p->values + 1) * sizeof(int));
    bool *wide = memory_zero((size_t)(p->values + 1)), *crosses = memory_zero((size_t)(p->values + 1));
    for (int v = 0; v < p->values; v++) first[v] = -1, in_pass[v] = -1;
    int segment = 0;
    for (int t = 0; t < p->instrs; t++) {
        const struct instr *i = &p->instr[t];
        if (i->whole) continue;
        if (i->by_job || (t && (p->instr[t - 1].by_job || p->instr[t - 1].pass != i->pass))) segment++;
        int all[5], count = 0;
        for (int j = 0; j < 2; j++) all[count++] = i->in[j];
        all[count++] = i->out;
        all[count++] = i->bias;
        all[count++] = i->top;
        for (int j = 0; j < count + i->program.loads + i->program.stores; j++) {
            int v = j < count                      ? all[j]
                    : j < count + i->program.loads ? i->load[j - count]
                                                   : i->store[j - count - i->program.loads];
            touch(p, v, t, segment, first, final, wide, i->by_job);
            if (v < 0) continue;
            int r = p->value[v].root;
            if (in_pass[r] >= 0 && in_pass[r] != i->pass) crosses[r] = true;
            in_pass[r] = i->pass;
        }
        if (i->code == I_GEMM_SUM)
            for (int j = 0; j < 2; j++) crosses[p->value[i->in[j]].root] = true;
    }
    for (int i = 0; i < p->outputs; i++) crosses[p->value[p->output_value[i]].root] = true;
    struct span *span = memory_take((size_t)(p->values + 1) * sizeof *span);
    for (int kind = 0; kind < 2; kind++) {
        int count = 0;
        for (int t = 0; t < p->instrs; t++)  // in order of birth
            for (int v = 0; v < p->values; v++) {
                struct value *w = &p->value[v];
                if (w->root != v || w->born != t || w->place == AT_INPUT || w->place == AT_WHOLE) continue;
                if (crosses[v]) {
                    w->place = AT_BATCH;
                    continue;
                }
                w->place = wide[v] || first[v] != final[v] ? AT_JOB : AT_SHARD;
                if ((w->place == AT_JOB) != kind) continue;
                span[count++] =
                    (struct span){v, kind ? first[v] : w->born, kind ? final[v] : w->dies, align(w->floats)};
            }
        *(kind ? &p->job_floats : &p->shard_floats) = pack(p, span, count);
    }
    for (int v = 0; v < p->values; v++) {
        struct value *w = &p->value[v], *r = &p->value[w->root];
        w->place = r->place;
        w->offset = r->offset;
    }
    free(first);
    free(final);
    free(in_pass);
    free(wide);
    free(crosses);
    free(span);
}
