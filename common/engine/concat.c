// concat.c: sums of PADs along one axis whose places do not overlap.
#include "concat.h"

#include <stdlib.h>

enum { MOST_PARTS = 16 };

// A part's PAD: its own, or one that is the same for every example.
static const struct node *pad_of(const struct node *part) { return part->op == OP_EACH ? part->in[0] : part; }
static int64_t width(const struct node *pad) { return pad->in[0]->shape.dim[pad->axis]; }

// Whether n is a sum that belongs to `root`: itself, or one within that nobody else wants.
static bool belongs(const struct planner *s, const struct node *n, const struct node *root) {
    return n->op == OP_ADD && (n == root || (s->users[n->id] == 1 && !s->output[n->id]));
}

// The terms of the sum n, or n itself if it is no sum; 0 where they are too many.
static int terms(const struct planner *s, const struct node *n, const struct node *term[MOST_PARTS]) {
    int count = 1;
    term[0] = n;
    for (int i = 0; i < count; i++)
        while (belongs(s, term[i], n)) {
            if (count == MOST_PARTS) return 0;
            term[count++] = term[i]->in[1];
            term[i] = term[i]->in[0];
        }
    return count;
}

// The parts in the order of their places; 0 where n is no concatenation.
static int parts(const struct planner *s, const struct node *n, const struct node *part[MOST_PARTS]) {
    int count = terms(s, n, part);
    for (int i = 0; i < count; i++) {
        const struct node *p = pad_of(part[i]);
        if (p->op != OP_PAD || p->axis != pad_of(part[0])->axis || !shape_count(&p->in[0]->shape)) return 0;
        for (int j = i; j > 0 && pad_of(part[j - 1])->from > pad_of(part[j])->from; j--) {
            const struct node *t = part[j];
            part[j] = part[j - 1];
            part[j - 1] = t;
        }
    }
    for (int i = 0; i + 1 < count; i++)
        if (pad_of(part[i])->from + width(pad_of(part[i])) > pad_of(part[i + 1])->from) return 0;
    return count;
}

// The sums within a concatenation have no values of their own.
static void skip_sums(struct planner *s, const struct node *n, const struct node *root) {
    for (; belongs(s, n, root); n = n->in[0]) {
        if (n != root) s->done[n->id] = true;
        skip_sums(s, n->in[1], root);
    }
}

void concat_find(struct planner *s) {
    const struct node *part[MOST_PARTS];
    for (int id = s->n - 1; id >= 0; id--) {
        const struct node *n = graph_node(s->g, id);
        if (!s->live[id] || n->op != OP_ADD || s->done[id]) continue;
        int count = parts(s, n, part);
        if (!count) continue;
        skip_sums(s, n, n);
        s->concat[id] = id;
        for (int i = 0; i < count; i++) s->concat[pad_of(part[i])->id] = id;
    }
}

int concat_open(struct planner *s, const struct node *n) {
    if (s->room[n->id] < 0) s->room[n->id] = planner_room(s, n, s->last[n->id], -1);
    return s->room[n->id];
}

// Zeros at [from, to) of the axis.
static void clear(struct planner *s, const struct node *n, int axis, int64_t from, int64_t to, struct planner_view out) {
    struct shape gap = n->shape;
    gap.dim[axis] = to - from;
    out.lies.start += from * out.lies.stride[axis];
    if (shape_count(&gap)) planner_copy(s, n, &gap, (struct planner_view){.value = -1}, out);
}

void concat_close(struct planner *s, const struct node *n) {
    const struct node *part[MOST_PARTS];
    int count = parts(s, n, part);
    struct planner_view out = {.value = concat_open(s, n)};
    layout_strides(&n->shape, s->last[n->id], out.lies.stride);
    int axis = pad_of(part[0])->axis;
    int64_t covered = 0;
    for (int i = 0; i < count; i++) {
        const struct node *pad = pad_of(part[i]), *x = pad->in[0];
        clear(s, n, axis, covered, pad->from, out);
        covered = pad->from + width(pad);
        if (s->done[pad->id]) continue;
        struct planner_view from = planner_view(s, x), to = out;
        layout_view_under(pad, &to.lies);
        planner_copy(s, n, &x->shape, from, to);
    }
    clear(s, n, axis, covered, n->shape.dim[axis], out);
    planner_hand_out(s, out.value);
}
