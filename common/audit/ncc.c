// ncc.c: products of centred images.
#include "ncc.h"

#include <stdlib.h>

#include "../base/arena.h"
#include "../engine/gemm.h"
#include "similarity.h"

float *ncc_centred(const struct images *s, const int64_t *rows, int64_t count) {
    float *x = memory_take((size_t)(count * s->size + 1) * sizeof *x);
    for (int64_t i = 0; i < count; i++) {
        images_row(s, rows ? rows[i] : i, x + i * s->size);
        similarity_centre(x + i * s->size, s->size);
    }
    return x;
}

struct ncc_side ncc_side_of(const struct images *s, int64_t count) {
    float *x = ncc_centred(s, NULL, count);
    struct ncc_side side = {count, s->size, memory_take(gemm_packed_floats(s->size, count) * sizeof(float))};
    gemm_pack(side.packed, (struct gemm_matrix){x, 1, s->size}, s->size, count, 0, count);
    free(x);
    return side;
}

void ncc_products(const float *x, int64_t rows, const struct ncc_side *side, float *ncc) {
    void *scratch = memory_take(gemm_scratch());
    gemm_packed(rows, side->count, side->size, (struct gemm_matrix){x, side->size, 1}, side->packed, ncc, side->count, 0, side->count, NULL, scratch);
    for (int64_t i = 0; i < rows * side->count; i++) ncc[i] = ncc[i] < -1 ? -1 : ncc[i] > 1 ? 1 : ncc[i];
    free(scratch);
}

void ncc_side_free(struct ncc_side *side) {
    free(side->packed);
    side->packed = NULL;
}
