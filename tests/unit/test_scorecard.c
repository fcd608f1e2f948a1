// The controlled comparison: copies of members score 1, images of neither set score .5 within the interval, blocks are what
// they should be, and what would spoil a comparison is refused or named.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/marks.h"
#include "base/arena.h"
#include "base/rng.h"
#include "chart/wall.h"
#include "io/record.h"

enum { SIDE = 8, PIXELS = SIDE * SIDE, CLASSES = 4, BLOCKS = 20 };

// Images that are alike within their class, as real ones are: a pattern of the class, five directions of its own, noise.
static void draw_image(uint32_t number, int64_t class, float *out) {
    static const char *const purposes[] = {"test/pattern", "test/direction", "test/weights", "test/pixels"};
    struct stream s[4];
    float pattern[PIXELS], direction[5 * PIXELS], weight[5], noise[PIXELS];
    for (int i = 0; i < 4; i++) s[i] = rng_stream(12, purposes[i]);
    rng_uniform(s[0], (uint32_t)class, 0, 0, pattern, PIXELS);
    rng_normal(s[1], (uint32_t)class, 0, 0, direction, 5 * PIXELS);
    rng_normal(s[2], number, 0, 0, weight, 5);
    rng_normal(s[3], number, 0, 0, noise, PIXELS);
    for (int j = 0; j < PIXELS; j++) {
        float v = .25f + .5f * pattern[j] + .05f * noise[j];
        for (int k = 0; k < 5; k++) v += .06f * weight[k] * direction[k * PIXELS + j];
        out[j] = v < 0 ? 0 : v > 1 ? 1 : v;
    }
}

// `count` images with numbers from `first` on, classes in turn; with positions where `index` says so.
struct set {
    float *x;
    int64_t *y, *index;
    unsigned char *certified;
    struct images *images;
};

static struct set set_of(const char *name, uint32_t first, int64_t count) {
    struct set s = {memory_take((size_t)(count * PIXELS) * sizeof *s.x), memory_take((size_t)count * sizeof *s.y),
                    memory_take((size_t)count * sizeof *s.index), memory_zero((size_t)count), NULL};
    for (int64_t i = 0; i < count; i++) {
        s.y[i] = i % CLASSES;
        s.index[i] = first + i;
        draw_image(first + (uint32_t)i, s.y[i], s.x + i * PIXELS);
    }
    struct error e = {0};
    struct blob *b = blob_new("");
    blob_add(b, "x", F32, 4, (int64_t[]){count, 1, SIDE, SIDE}, s.x);
    blob_add(b, "y", I64, 1, &count, s.y);
    blob_add(b, "index", I64, 1, &count, s.index);
    blob_add(b, "certified", U8, 1, &count, s.certified);
    blob_set_meta(b, "assay.source", "the source");
    s.images = images_of(b, &e);
    if (!s.images) fail_msg("%s", e.text);
    s.images->name = name;
    return s;
}

static void free_set(struct set *s) {
    images_free(s->images);
    free(s->x);
    free(s->y);
    free(s->index);
    free(s->certified);
}

static struct pool *pool;
static const enum similarity_window window = SIMILARITY_UNIFORM;

static struct control *open_card(const struct set *truth, const struct set *control, struct control_options o) {
    struct error e = {0};
    struct control *s = control_open(truth->images, control->images, &o, pool, &e);
    if (!s) fail_msg("%s", e.text);
    return s;
}

static struct scorecard_match *match(const struct control *s, const struct images *candidates, int64_t limit) {
    struct error e = {0};
    struct scorecard_match *m = scorecard_match(s, candidates, limit, &window, &e);
    if (!m) fail_msg("%s", e.text);
    return m;
}

static double number(const json_t *record, const char *path) {
    double value;
    if (!record_get_real(record, path, &value)) fail_msg("no %s", path);
    return value;
}

static json_t *numbers(const struct control *s, const struct scorecard_match *m) {
    json_t *record = record_new();
    struct scorecard_run run = scorecard_run(s, m);
    scorecard_save(&run, 1, 3, record, "metrics.ncc");
    return record;
}

static void test_copies(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 24), control = set_of("control", 1000, 600);
    struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS});
    struct scorecard_match *m = match(s, truth.images, 0);
    json_t *record = numbers(s, m);
    assert_true(number(record, "metrics.ncc.auc") == 1);
    assert_true(number(record, "metrics.ncc.tpr_at_fpr_1e-2") == 1);
    // Of 480 control images none lies above the true threshold with a chance of .008; .025^(1/24), .857, is too much.
    double alone = pow(.99, 480), low = number(record, "metrics.ncc.tpr_at_fpr_1e-2_interval.0");
    assert_true(fabs(low - pow((.025 - alone) / (1 - alone), 1. / 24)) < 1e-5);
    assert_true(number(record, "metrics.ncc.matched_at_0p95.truth") == 24);
    assert_true(number(record, "metrics.ncc.matched_at_0p999.truth") == 24);
    assert_true(number(record, "metrics.ncc.matched_at_0p95.control") < 5);
    assert_true(number(record, "metrics.ncc.median.truth") > .99999);
    struct scorecard_found found = scorecard_identify(s, m);
    assert_true(found.count == 24 && found.of == 24 && fabs(found.chance - 1. / 21) < 1e-12);
    for (int64_t i = 0; i < 24; i++) {
        assert_true(m->candidate[i] == i && m->member[i] == i);
        assert_true(fabs(m->ssim[i] - 1) < 1e-9 && m->mse[i] == 0);
    }
    // The control's scores are those of the images they stand for.
    int64_t at = 5 * 24 + 7;
    float a[PIXELS], b[PIXELS];
    images_row(control.images, s->image[at], a);
    images_row(truth.images, m->candidate[24 + at], b);
    struct similarity pair = similarity_of(a, b, 1, SIDE, SIDE, SIMILARITY_UNIFORM);
    assert_true(fabs(pair.ncc - m->ncc[24 + at]) < 1e-5 && pair.ssim == m->ssim[24 + at]);
    json_decref(record);
    scorecard_match_free(m);
    control_free(s);
    free_set(&truth);
    free_set(&control);
}

// Candidates of neither set. Of sixty intervals at 95 % at least 50 hold .5: the percentile bootstrap of so few members may
// be as low as 92 %, and would fall short of 50 once in a hundred times. So does the interval of ten runs together. Those of
// the rate at 1 % hold .01 in 95 % of cases or more, and at least 53.
static void test_neither(void **state) {
    (void)state;
    enum { RUNS = 60, POOLED = 10, N = 20 };
    struct set control = set_of("control", 1000, 600);
    int held = 0, rates = 0;
    double sum = 0;
    struct control *card[POOLED];
    struct scorecard_match *kept[POOLED];
    struct scorecard_run run[POOLED];
    struct set truths[POOLED];
    for (uint32_t t = 0; t < RUNS; t++) {
        struct set truth = set_of("truth", 10000 + 100 * t, N), candidates = set_of("candidates", 50000 + 100 * t, 3 * N);
        struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS, .seed = t});
        struct scorecard_match *m = match(s, candidates.images, 0);
        json_t *record = numbers(s, m);
        sum += number(record, "metrics.ncc.auc");
        held += number(record, "metrics.ncc.auc_interval.0") <= .5 && number(record, "metrics.ncc.auc_interval.1") >= .5;
        double low = number(record, "metrics.ncc.tpr_at_fpr_1e-2_interval.0");
        double high = number(record, "metrics.ncc.tpr_at_fpr_1e-2_interval.1");
        rates += low <= .01 && .01 <= high;
        json_decref(record);
        free_set(&candidates);
        if (t < POOLED) {
            card[t] = s;
            kept[t] = m;
            truths[t] = truth;
            run[t] = scorecard_run(s, m);
            continue;
        }
        scorecard_match_free(m);
        control_free(s);
        free_set(&truth);
    }
    print_message("# %d of %d intervals hold .5; mean %.4f; %d of the rate hold .01\n", held, RUNS, sum / RUNS, rates);
    assert_in_range(held, 50, RUNS);
    assert_in_range(rates, 53, RUNS);
    // An area has a standard error of .065 with 20 members, their mean one of .0084.
    assert_true(fabs(sum / RUNS - .5) < 3 * .0084);
    json_t *record = record_new();
    scorecard_save(run, POOLED, 0, record, "metrics.ncc");
    double low = number(record, "metrics.ncc.auc_interval.0"), high = number(record, "metrics.ncc.auc_interval.1");
    assert_true(low <= .5 && .5 <= high && high - low < .12);  // 3.9 of the standard error .0206 wide, and half as much again
    low = number(record, "metrics.ncc.tpr_at_fpr_1e-2_interval.0");
    high = number(record, "metrics.ncc.tpr_at_fpr_1e-2_interval.1");
    assert_true(low <= .01 && .01 <= high && high < .08);
    json_decref(record);
    for (int t = 0; t < POOLED; t++) {
        scorecard_match_free(kept[t]);
        control_free(card[t]);
        free_set(&truths[t]);
    }
    free_set(&control);
}

static void test_blocks(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 22), control = set_of("control", 1000, 500);
    struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS, .seed = 4});
    int times[500] = {0};
    for (int b = 0; b < BLOCKS; b++)
        for (int64_t k = 0; k < s->n; k++) {
            int64_t row = s->image[b * s->n + k];
            assert_true(control.y[row] == truth.y[k]);
            assert_int_equal(s->position[b * s->n + k], 1000 + row);
            times[row]++;
        }
    for (int64_t i = 0; i < s->spares; i++) times[s->spare[i]]++;
    // Each in one block or spare: 125 of a class do for 20 blocks of 6.
    for (int i = 0; i < 500; i++) assert_int_equal(times[i], 1);
    assert_int_equal(s->used, 440);
    assert_int_equal(s->spares, 60);
    struct control *other = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS, .seed = 5});
    assert_memory_not_equal(s->image, other->image, (size_t)(BLOCKS * s->n) * sizeof *s->image);
    control_free(other);
    control_free(s);
    // Too few for all blocks: shared, but never within a block.
    struct set few = set_of("few", 3000, 32);
    s = open_card(&truth, &few, (struct control_options){.blocks = BLOCKS});
    assert_true(s->used == 32 && s->spares == 0);
    for (int b = 0; b < BLOCKS; b++)
        for (int64_t k = 0; k < s->n; k++)
            for (int64_t i = 0; i < k; i++) assert_true(s->image[b * s->n + k] != s->image[b * s->n + i]);
    assert_null(scorecard_baseline(s, "heldout", 5));
    control_free(s);
    free_set(&few);
    // Too few for one.
    struct error e = {0};
    few = set_of("few", 3000, 22);
    few.y[4] = 1;
    struct control_options o = {.blocks = BLOCKS};
    assert_null(control_open(truth.images, few.images, &o, pool, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "few: 6 images of class 0 expected"));
    free_set(&few);
    free_set(&truth);
    free_set(&control);
}

static void test_shared_images(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 12), control = set_of("control", 1000, 400);
    control.index[17] = 5;  // of the same source
    memcpy(control.x + 31 * PIXELS, truth.x + 3 * PIXELS, PIXELS * sizeof(float));
    struct control_options o = {.blocks = BLOCKS};
    struct error e = {0};
    assert_null(control_open(truth.images, control.images, &o, pool, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "control: image 17 is image 5 of truth, by its position in their source; 2 of 400"));
    o.exclude = true;
    struct control *s = open_card(&truth, &control, o);
    assert_int_equal(s->excluded, 2);
    for (int64_t i = 0; i < BLOCKS * s->n; i++) assert_true(s->image[i] != 17 && s->image[i] != 31);
    for (int64_t i = 0; i < s->spares; i++) assert_true(s->spare[i] != 17 && s->spare[i] != 31);
    control_free(s);
    // A near-duplicate is named, not left out.
    for (int64_t i = 0; i < 400; i++)
        if (control.y[i] == 3) memcpy(control.x + i * PIXELS, truth.x + 7 * PIXELS, PIXELS * sizeof(float));
    for (int64_t i = 0; i < 400; i++)
        if (control.y[i] == 3) control.x[i * PIXELS + 4] = .5f * control.x[i * PIXELS + 4];
    s = open_card(&truth, &control, o);
    assert_int_equal(s->twins, BLOCKS * 3);
    assert_true(s->twin[0].member == 7 && s->twin[0].ncc > CONTROL_TWIN && s->twin_index[0] == 7 &&
                s->twin_index[1] == 1000 + s->twin[0].control);
    control_free(s);
    // Another source: positions say nothing.
    free_set(&control);
    control = set_of("control", 0, 400);
    for (int64_t i = 0; i < 400; i++) draw_image(1000 + (uint32_t)i, control.y[i], control.x + i * PIXELS);
    control.images->source = "another";
    o.exclude = false;
    control_free(open_card(&truth, &control, o));
    free_set(&truth);
    free_set(&control);
}

// Sets of copies: more pairs than are kept, and no memory for all of them.
static void test_many_twins(void **state) {
    (void)state;
    enum { N = 240, EACH = CONTROL_TWINS / BLOCKS };
    struct set truth = set_of("truth", 0, N), control = set_of("control", 1000, BLOCKS * N);
    assert_true((int64_t)N * N > EACH);
    for (int64_t i = 0; i < N; i++) memcpy(truth.x + i * PIXELS, truth.x, PIXELS * sizeof(float));
    for (int64_t i = 0; i < BLOCKS * N; i++) {
        memcpy(control.x + i * PIXELS, truth.x, PIXELS * sizeof(float));
        control.x[i * PIXELS + 4] *= .99f;
    }
    struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS});
    assert_true(s->more_twins);
    assert_int_equal(s->twins, BLOCKS * EACH);
    control_free(s);
    free_set(&truth);
    free_set(&control);
}

static void test_marks(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 12), control = set_of("control", 1000, 400);
    struct set candidates = set_of("candidates", 5000, 20);
    struct set all = set_of("all", 0, 300);  // members first, as a whole training set has them
    struct error e = {0};
    for (int64_t i = 0; i < 20; i++)
        for (int64_t j = 0; j < PIXELS; j++) {
            float near = truth.x[i % 12 * PIXELS + j], other = control.x[5 * PIXELS + j];
            if (i < 4) candidates.x[i * PIXELS + j] = .98f * near;            // right: 0 to 3
            if (i == 4 || i == 12) candidates.x[i * PIXELS + j] = truth.x[j];  // right, member 0 again
            if (i == 5) candidates.x[i * PIXELS + j] = other;                  // a held-out image
        }
    for (int64_t i = 0; i < 8; i++) candidates.certified[i] = 1;
    candidates.certified[12] = 0;
    struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS});
    struct scorecard_match *m = match(s, candidates.images, 0);
    for (int k = 0; k < 2; k++) {
        struct marks marks;
        assert_true(marks_judge(s, m, candidates.images, k ? all.images : NULL, &marks, &e));
        assert_true(marks.count == 8 && marks.right == 5 && marks.members == 4);
        for (int i = 0; i < 20; i++) assert_int_equal(marks.verdict[i], i < 5);
        free(marks.verdict);
    }
    // An image that comes nearer than the member takes the mark away, however high the member's own correlation.
    struct marks marks;
    memcpy(all.x + 250 * PIXELS, candidates.x + 2 * PIXELS, PIXELS * sizeof(float));
    all.x[250 * PIXELS] += all.x[250 * PIXELS] > .5f ? -.004f : .004f;
    candidates.x[2 * PIXELS + 9] += candidates.x[2 * PIXELS + 9] > .5f ? -.2f : .2f;
    memcpy(all.x + 250 * PIXELS + 9, candidates.x + 2 * PIXELS + 9, sizeof(float));
    scorecard_match_free(m);
    m = match(s, candidates.images, 0);
    assert_true(m->member[2] == 2 && m->member_ncc[2] > .95f);
    assert_true(marks_judge(s, m, candidates.images, all.images, &marks, &e));
    assert_true(marks.right == 4 && !marks.verdict[2]);
    // The wall shows whom a candidate is nearest to, and its mark.
    struct scorecard_wall w = scorecard_wall(s, m, candidates.images, marks.verdict, 6);
    assert_true(w.count == 6 && w.mark[0] == 2 && w.mark[2] == 1);
    assert_memory_equal(w.x + PIXELS, candidates.x, PIXELS * sizeof(float));
    assert_memory_equal(w.x, truth.x, PIXELS * sizeof(float));
    struct blob *b = blob_new("score");
    scorecard_save_wall(s, &w, b);
    struct picture *p = wall_of(b);
    assert_true(p && p->channels == 3);
    picture_free(p);
    blob_free(b);
    scorecard_wall_free(&w);
    free(marks.verdict);
    scorecard_match_free(m);
    control_free(s);
    free_set(&truth);
    free_set(&control);
    free_set(&candidates);
    free_set(&all);
}

static void test_few_candidates(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 12), control = set_of("control", 1000, 400), candidates = set_of("candidates", 0, 12);
    struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS});
    struct scorecard_match *m = match(s, candidates.images, 3);
    int64_t matched = 0;
    for (int64_t i = 0; i < 12; i++) {
        matched += m->candidate[i] >= 0;
        assert_true(m->candidate[i] < 0 ? m->ncc[i] == -1 && isnan(m->ssim[i]) : m->candidate[i] == i);
    }
    assert_int_equal(matched, 3);
    // Three of twelve found for certain, nine no better than the nine unmatched of each block: (3 + 9 * (.75 / 2)) / 12.
    json_t *record = numbers(s, m);
    assert_true(fabs(number(record, "metrics.ncc.auc") - (3 + 9 * .375) / 12) < 1e-12);
    assert_true(number(record, "metrics.ncc.tpr_at_fpr_1e-2") == .25);
    json_decref(record);
    scorecard_match_free(m);
    control_free(s);
    free_set(&truth);
    free_set(&control);
    free_set(&candidates);
}

static void test_baselines(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 12), control = set_of("control", 1000, 400);
    struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS});
    static const char *const names[] = {"noise", "mean", "heldout", "classes"};
    float row[PIXELS], again[PIXELS];
    for (int k = 0; k < 4; k++) {
        struct images *made = scorecard_baseline(s, names[k], 30);
        assert_int_equal(made->count, 30);
        struct scorecard_match *m = match(s, made, 0);
        json_t *record = numbers(s, m);
        double low = number(record, "metrics.ncc.auc_interval.0"), high = number(record, "metrics.ncc.auc_interval.1");
        // The class means are the members' own, of three each, and know a little of them.
        if (k < 3) assert_true(low <= .5 && .5 <= high);
        if (k == 3) assert_true(number(record, "metrics.ncc.auc") > .5);
        json_decref(record);
        scorecard_match_free(m);
        if (k == 3) {
            images_row(made, 6, row);  // class 2, the second time round
            for (int j = 0; j < PIXELS; j++)
                assert_true(fabs(3 * row[j] - truth.x[2 * PIXELS + j] - truth.x[6 * PIXELS + j] - truth.x[10 * PIXELS + j]) < 3e-6);
        }
        if (k == 2)
            for (int i = 0; i < 30; i++) {
                images_row(made, i, row);
                for (int64_t b = 0; b < BLOCKS * s->n; b++) {
                    images_row(control.images, s->image[b], again);
                    assert_memory_not_equal(row, again, sizeof row);
                }
            }
        images_free(made);
    }
    control_free(s);
    free_set(&truth);
    free_set(&control);
}

static void test_threads(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 12), control = set_of("control", 1000, 400);
    struct set candidates = set_of("candidates", 7000, 50);
    struct control_options o = {.blocks = BLOCKS, .seed = 9};
    struct error e = {0};
    struct control *s[2];
    struct scorecard_match *m[2];
    for (int k = 0; k < 2; k++) {
        struct pool *p = pool_new(k ? 3 : 1);
        s[k] = control_open(truth.images, control.images, &o, p, &e);
        m[k] = scorecard_match(s[k], candidates.images, 0, &window, &e);
        assert_non_null(m[k]);
        pool_free(p);
    }
    size_t scores = (BLOCKS + 1) * 12;
    assert_memory_equal(m[0]->ncc, m[1]->ncc, scores * sizeof(float));
    assert_memory_equal(m[0]->candidate, m[1]->candidate, scores * sizeof(int64_t));
    assert_memory_equal(m[0]->ssim, m[1]->ssim, scores * sizeof(double));
    assert_memory_equal(m[0]->held_out, m[1]->held_out, 50 * sizeof(int64_t));
    for (int k = 0; k < 2; k++) {
        scorecard_match_free(m[k]);
        control_free(s[k]);
    }
    free_set(&truth);
    free_set(&control);
    free_set(&candidates);
}

// Sets are matched a few at a time where the tables would not hold all; more candidates than one set has room for are refused.
static void test_room(void **state) {
    (void)state;
    struct set truth = set_of("truth", 0, 12), control = set_of("control", 1000, 400);
    struct set candidates = set_of("candidates", 7000, 50);
    struct control *s = open_card(&truth, &control, (struct control_options){.blocks = BLOCKS});
    assert_true(s->room == CONTROL_ROOM);
    struct scorecard_match *all = match(s, candidates.images, 0);
    for (int64_t sets = 1; sets < 5; sets += 3) {
        s->room = sets * (12 + 3) * 50;
        struct scorecard_match *few = match(s, candidates.images, 0);
        size_t scores = (BLOCKS + 1) * 12;
        assert_memory_equal(few->ncc, all->ncc, scores * sizeof(float));
        assert_memory_equal(few->candidate, all->candidate, scores * sizeof(int64_t));
        assert_memory_equal(few->ssim, all->ssim, scores * sizeof(double));
        assert_memory_equal(few->member, all->member, 50 * sizeof(int64_t));
        assert_memory_equal(few->held_out, all->held_out, 50 * sizeof(int64_t));
        assert_memory_equal(few->held_out_ncc, all->held_out_ncc, 50 * sizeof(float));
        scorecard_match_free(few);
    }
    s->room = CONTROL_ROOM;
    struct images many = *candidates.images;
    struct error e = {0};
    many.count = CONTROL_ROOM / (12 + 3) + 1;
    assert_null(scorecard_match(s, &many, 0, NULL, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "candidates: at most 17895697 candidates expected beside 12 training images, 17895698 found"));
    scorecard_match_free(match(s, &many, 50));  // the first of them
    scorecard_match_free(all);
    control_free(s);
    free_set(&truth);
    free_set(&control);
    free_set(&candidates);
}

static int open_pool(void **state) {
    (void)state;
    pool = pool_new(2);
    return 0;
}

static int close_pool(void **state) {
    (void)state;
    pool_free(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies),         cmocka_unit_test(test_neither),   cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_shared_images), cmocka_unit_test(test_many_twins),  cmocka_unit_test(test_marks),     cmocka_unit_test(test_few_candidates),
        cmocka_unit_test(test_baselines),      cmocka_unit_test(test_threads),   cmocka_unit_test(test_room),
    };
    return cmocka_run_group_tests(tests, open_pool, close_pool);
}
