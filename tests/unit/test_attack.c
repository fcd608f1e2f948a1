// Attacks: known answers on linear models, order of strength, bounds of what is stored, the same bytes on any number
// of threads and in any batch, and the checks that tell a masked model.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/pgd.h"
#include "audit/triptych.h"
#include "audit/trust.h"
#include "base/stats.h"
#include "io/record.h"

enum { SIDE = 6, PIXELS = SIDE * SIDE, IMAGES = 90 };

// ---- data and models

static float *noise_images(int count, float low, float high) {
    float *x = memory_take((size_t)(count * PIXELS) * sizeof *x);
    for (int i = 0; i < count; i++) {
        rng_uniform(rng_stream(3, "test/images"), (uint32_t)i, 0, 0, x + i * PIXELS, PIXELS);
        for (int j = 0; j < PIXELS; j++) x[i * PIXELS + j] = low + (high - low) * x[i * PIXELS + j];
    }
    return x;
}

static struct dataset *dataset(const float *x, const int64_t *y, const int64_t *index, int64_t count) {
    struct error e = {0};
    struct blob *b = blob_new("dataset");
    blob_add(b, "x", F32, 4, (int64_t[]){count, 1, SIDE, SIDE}, x);
    blob_add(b, "y", I64, 1, &count, y);
    if (index) blob_add(b, "index", I64, 1, &count, index);
    struct dataset *d = dataset_of(b, &e);
    if (!d) fail_msg("%s", e.text);
    return d;
}

// `line` holds a %d for the number of outputs.
static struct model *model(const char *format, int outputs) {
    struct error e = {0};
    char line[128];
    const char *hole = strstr(format, "%d");
    assert_non_null(hole);
    snprintf(line, sizeof line, "%.*s%d%s", (int)(hole - format), format, outputs, hole + 2);
    struct arch *a = arch_parse(line, shape_of(3, 1, SIDE, SIDE), outputs, &e);
    if (!a) fail_msg("%s", e.text);
    struct model *m = model_new(a, 11);
    for (int i = 0; i < a->count; i++)  // larger than at the start of training, so that classes differ
        for (int64_t j = 0; j < a->param[i].count; j++) m->theta[a->param[i].offset + j] *= 4;
    return m;
}

static struct attack *open_attack(const struct model *m, const struct dataset *d, struct attack_options o, struct pool *pool) {
    struct error e = {0};
    if (!o.device) o.device = "cpu";
    struct attack *a = attack_open(m, d, &o, pool, &e);
    if (!a) fail_msg("%s", e.text);
    return a;
}

static struct attack_result *attacked(struct attack *a, struct pgd p, enum ball_norm norm, double eps) {
    struct error e = {0};
    struct attack_result *r = attack_result_new(a, p.name, (struct ball){norm, eps, a->size});
    if (!pgd_run(a, &p, r, &e)) fail_msg("%s", e.text);
    return r;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Labels as the model itself gives them: every example is right.
static int64_t *own_labels(const struct model *m, const float *x, int count) {
    int64_t *y = memory_zero((size_t)count * sizeof *y);
    struct pool *pool = pool_new(1);
    struct error e = {0};
    float *z = memory_take((size_t)(count * m->classes) * sizeof *z);
    struct evaluator *v = evaluator_open(m, "ref", pool, &e);
    assert_non_null(v);
    assert_true(evaluator_rows(v, x, count, z, &e));
    for (int i = 0; i < count; i++) y[i] = evaluation_class(z + i * m->classes, m->classes);
    evaluator_free(v);
    pool_free(pool);
    free(z);
    return y;
}

// ---- a linear model of two classes: the worst case is known

// margin(x) = s <w, x> + c; the least in the ball is margin - eps |w|_1 or eps |w|_2, as long as [0, 1] is far.
struct linear {
    struct model *m;
    double gain[2];  // |w|_1, |w|_2
    double w[PIXELS], c;
};

static struct linear linear(bool binary) {
    struct linear l = {.m = model("flatten | linear %d", binary ? 1 : 2)};
    const struct arch *a = l.m->arch;
    const float *w = l.m->theta + a->param[0].offset, *b = l.m->theta + a->param[1].offset;
    if (binary) l.m->positive = 1 << 1;
    for (int j = 0; j < PIXELS; j++) {
        l.w[j] = binary ? w[j] : (double)w[PIXELS + j] - w[j];
        l.gain[0] += fabs(l.w[j]);
        l.gain[1] += l.w[j] * l.w[j];
    }
    l.gain[1] = sqrt(l.gain[1]);
    l.c = binary ? b[0] : (double)b[1] - b[0];
    return l;
}

static void check_linear(const struct linear *l, const struct attack *a, const struct attack_result *r, bool exact) {
    int64_t stands = 0;
    double gain = l->gain[r->ball.norm];
    float image[PIXELS];
    for (int64_t i = 0; i < a->o.count; i++) {
        double z = l->c;
        dataset_image(a->d, i, image);
        for (int j = 0; j < PIXELS; j++) z += l->w[j] * image[j];
        double margin = a->y[i] ? z : -z, worst = margin - r->ball.eps * gain;
        assert_true(fabs(margin) > 1e-4 && fabs(worst) > 1e-4);  // nothing within rounding of the boundary
        if (margin < 0) {
            assert_int_equal(r->step[i], -1);
            assert_int_equal(r->broken[i], 0);
            continue;
        }
        stands += worst > 0;
        if (r->broken[i] != (worst < 0)) fail_msg("%s: image %d: worst margin %g", r->method, (int)i, worst);
        if (exact) assert_true(fabs(r->margin[i] - worst) < 1e-4 && fabs(r->norm[i] - r->ball.eps) < 1e-5);
        assert_true(r->margin[i] > worst - 1e-4);
    }
    assert_int_equal(stands, r->stands);
    assert_true(stands > 5 && stands < a->right - 5);
}

static void test_linear(void **state) {
    (void)state;
    struct pool *pool = pool_new(2);
    float *x = noise_images(IMAGES, .35f, .65f);
    for (int binary = 0; binary < 2; binary++) {
        struct linear l = linear(binary);
        int64_t *y = own_labels(l.m, x, IMAGES);
        for (int i = 0; i < IMAGES; i += 9) y[i] = !y[i];  // a few it gets wrong
        struct dataset *d = dataset(x, y, NULL, IMAGES);
        struct attack *a = open_attack(l.m, d, (struct attack_options){.keep = -1}, pool);
        assert_int_equal(a->right, IMAGES - IMAGES / 9);
        for (enum ball_norm norm = BALL_LINF; norm <= BALL_L2; norm++) {
            // A radius that parts the examples in two.
            double margin[IMAGES], eps;
            for (int i = 0; i < IMAGES; i++) margin[i] = fabs((double)a->margin[i]);
            qsort(margin, IMAGES, sizeof *margin, ascending);
            eps = (margin[IMAGES / 2 - 1] + margin[IMAGES / 2]) / 2 / l.gain[norm];
            assert_true(norm == BALL_L2 || eps < .3);  // [0, 1] is not reached
            struct attack_result *fast = attacked(a, pgd_fgsm(eps), norm, eps);
            check_linear(&l, a, fast, true);
            struct attack_result *slow = attacked(a, pgd_of(eps / 6, 40, 1), norm, eps);
            check_linear(&l, a, slow, false);
            struct attack_result *blind = attacked(a, pgd_noise(30), norm, eps);
            assert_true(blind->stands > fast->stands);
            for (int i = 0; i < IMAGES; i++) assert_true(blind->broken[i] <= fast->broken[i]);
            struct attack_result *none = attacked(a, pgd_of(1e-3, 5, 2), norm, 0);
            assert_int_equal(none->stands, a->right);
            assert_memory_equal(none->x, x, sizeof(float) * IMAGES * PIXELS);
            struct attack_result *all[] = {fast, slow, blind, none};
            for (int i = 0; i < 4; i++) attack_result_free(all[i]);
        }
        attack_free(a);
        dataset_free(d);
        model_free(l.m);
        free(y);
    }
    free(x);
    pool_free(pool);
}

// ---- a small convolutional network

#define NETWORK "conv 4 3 | relu | maxpool 2 | flatten | linear 12 | tanh | linear %d"

struct scene {
    struct model *m;
    float *x;
    int64_t *y;
    struct dataset *d;
};
static struct scene scene(void) {
    struct scene s = {.m = model(NETWORK, 4), .x = noise_images(IMAGES, 0, 1)};
    for (int i = 0; i < IMAGES * PIXELS; i += 3) s.x[i] = (float)(i / 3 % 2);  // many at the ends of [0, 1]
    s.y = own_labels(s.m, s.x, IMAGES);
    for (int i = 4; i < IMAGES; i += 10) s.y[i] = (s.y[i] + 1) % 4;
    s.d = dataset(s.x, s.y, NULL, IMAGES);
    return s;
}
static void scene_free(struct scene *s) {
    dataset_free(s->d);
    model_free(s->m);
    free(s->x);
    free(s->y);
}

static struct pgd small_pgd(double eps) { return pgd_of(eps / 4, 6, 3); }

static void test_stored_images(void **state) {
    (void)state;
    struct scene s = scene();
    struct pool *pool = pool_new(2);
    struct attack *a = open_attack(s.m, s.d, (struct attack_options){.keep = -1, .seed = 1}, pool);
    for (enum ball_norm norm = BALL_LINF; norm <= BALL_L2; norm++) {
        double eps = norm == BALL_LINF ? .08 : .3;
        struct attack_result *r[] = {attacked(a, pgd_noise(4), norm, eps), attacked(a, pgd_fgsm(eps), norm, eps), attacked(a, small_pgd(eps), norm, eps)};
        assert_true(r[0]->stands > r[1]->stands);
        assert_true(r[1]->stands > r[2]->stands);
        for (int k = 0; k < 3; k++) {
            int64_t *again = own_labels(s.m, r[k]->x, IMAGES), broken = 0, unlike = 0;
            for (int i = 0; i < IMAGES; i++) {
                double far = 0, length = 0;
                for (int j = 0; j < PIXELS; j++) {
                    double v = r[k]->x[i * PIXELS + j], dv = v - (double)s.x[i * PIXELS + j];
                    assert_true(v >= 0 && v <= 1);
                    far = fmax(far, fabs(dv));
                    length += dv * dv;
                }
                double norm_here = norm == BALL_LINF ? far : sqrt(length);
                assert_true(norm_here <= eps + 1e-6);
                assert_true(fabs(norm_here - r[k]->norm[i]) < 1e-6);
                bool right = a->prediction[i] == s.y[i];
                // By the oracle in double; the margin's sign may differ within rounding.
                if (right && (again[i] != s.y[i]) != r[k]->broken[i]) unlike += fabsf(r[k]->margin[i]) > 1e-4f;
                if (!right) assert_true(!r[k]->broken[i] && r[k]->step[i] == -1 && far == 0);
                assert_true((r[k]->step[i] >= 0) == r[k]->broken[i]);
                assert_int_equal(r[k]->broken[i], right && r[k]->prediction[i] != s.y[i]);
                broken += r[k]->broken[i];
            }
            assert_int_equal(unlike, 0);
            assert_int_equal(r[k]->stands, a->right - broken);
            assert_int_equal(r[k]->rejected, 0);
            free(again);
            attack_result_free(r[k]);
        }
    }
    attack_free(a);
    pool_free(pool);
    scene_free(&s);
}

static void expect_rows(const struct attack_result *a, int64_t from_a, const struct attack_result *b, int64_t from_b) {
    assert_int_equal(a->broken[from_a], b->broken[from_b]);
    assert_int_equal(a->step[from_a], b->step[from_b]);
    assert_int_equal(a->prediction[from_a], b->prediction[from_b]);
    assert_memory_equal(a->margin + from_a, b->margin + from_b, sizeof(float));
    assert_memory_equal(a->norm + from_a, b->norm + from_b, sizeof(float));
    assert_memory_equal(a->x + from_a * PIXELS, b->x + from_b * PIXELS, PIXELS * sizeof(float));
}

// Threads and batches change nothing; and an example's row is its own, wherever the example stands in the set.
static void test_same_bytes(void **state) {
    (void)state;
    struct scene s = scene();
    static const struct {
        int threads, batch;
    } way[] = {{1, 512}, {2, 512}, {3, 7}, {8, 13}, {2, 1}, {8, 512}};
    enum { WAYS = sizeof way / sizeof *way };
    struct pool *one = pool_new(1);
    for (enum ball_norm norm = BALL_LINF; norm <= BALL_L2; norm++) {
        double eps = norm == BALL_LINF ? .05 : .2;
        struct attack *a = open_attack(s.m, s.d, (struct attack_options){.keep = -1, .seed = 1}, one);
        struct attack_result *first = attacked(a, small_pgd(eps), norm, eps), *noise = attacked(a, pgd_noise(5), norm, 3 * eps);
        for (int k = 1; k < WAYS; k++) {
            struct pool *pool = pool_new(way[k].threads);
            struct attack *other = open_attack(s.m, s.d, (struct attack_options){.keep = -1, .seed = 1, .batch = way[k].batch}, pool);
            struct attack_result *r = attacked(other, small_pgd(eps), norm, eps), *rn = attacked(other, pgd_noise(5), norm, 3 * eps);
            for (int i = 0; i < IMAGES; i++) {
                expect_rows(first, i, r, i);
                expect_rows(noise, i, rn, i);
            }
            assert_true(first->late_loss == r->late_loss && first->last_loss == r->last_loss && first->flat == r->flat);
            attack_result_free(r);
            attack_result_free(rn);
            attack_free(other);
            pool_free(pool);
        }
        // Every third example, last first, under its position in the whole.
        float part[IMAGES / 3 * PIXELS];
        int64_t y[IMAGES / 3], index[IMAGES / 3];
        for (int i = 0; i < IMAGES / 3; i++) {
            index[i] = IMAGES - 1 - 3 * i;
            y[i] = s.y[index[i]];
            memcpy(part + i * PIXELS, s.x + index[i] * PIXELS, PIXELS * sizeof *part);
        }
        struct dataset *d = dataset(part, y, index, IMAGES / 3);
        struct attack *some = open_attack(s.m, d, (struct attack_options){.keep = -1, .seed = 1}, one);
        struct attack_result *r = attacked(some, small_pgd(eps), norm, eps);
        for (int i = 0; i < IMAGES / 3; i++) expect_rows(first, index[i], r, i);
        // Another seed is another start.
        struct attack *reseeded = open_attack(s.m, s.d, (struct attack_options){.keep = -1, .seed = 2}, one);
        struct attack_result *rs = attacked(reseeded, small_pgd(eps), norm, eps);
        assert_memory_not_equal(first->x, rs->x, IMAGES * PIXELS * sizeof(float));
        struct attack_result *results[] = {first, noise, r, rs};
        for (int i = 0; i < 4; i++) attack_result_free(results[i]);
        struct attack *attacks[] = {a, some, reseeded};
        for (int i = 0; i < 3; i++) attack_free(attacks[i]);
        dataset_free(d);
    }
    pool_free(one);
    scene_free(&s);
}

// More restarts and steps never help the model; the limit and the number kept do what they say.
static void test_strength(void **state) {
    (void)state;
    struct scene s = scene();
    struct pool *pool = pool_new(2);
    struct attack *a = open_attack(s.m, s.d, (struct attack_options){.keep = 3, .count = 40}, pool);
    assert_int_equal(a->o.count, 40);
    assert_int_equal(a->o.keep, 3);
    double eps = .05;
    struct attack_result *one = attacked(a, pgd_of(eps / 4, 6, 1), BALL_LINF, eps), *many = attacked(a, pgd_of(eps / 4, 6, 8), BALL_LINF, eps);
    for (int i = 0; i < 40; i++) {
        assert_true(many->broken[i] >= one->broken[i]);
        assert_true(many->broken[i] || many->margin[i] <= one->margin[i]);
        if (one->broken[i]) assert_int_equal(many->step[i], one->step[i]);  // left alone since
        assert_true(many->step[i] < 8 * 7);
    }
    assert_true(many->stands <= one->stands);
    attack_result_free(one);
    attack_result_free(many);
    attack_free(a);
    pool_free(pool);
    scene_free(&s);
}

// The oracle's doubles and the fast executor make the same attack on all but examples within rounding.
static void test_devices(void **state) {
    (void)state;
    struct scene s = scene();
    struct pool *pool = pool_new(2);
    struct attack_result *r[2];
    struct attack *a[2];
    for (int k = 0; k < 2; k++) {
        a[k] = open_attack(s.m, s.d, (struct attack_options){.keep = -1, .count = 30, .device = k ? "cpu" : "ref"}, pool);
        r[k] = attacked(a[k], pgd_fgsm(.05), BALL_LINF, .05);
    }
    for (int i = 0; i < 30; i++) assert_true(fabsf(r[0]->margin[i] - r[1]->margin[i]) < 1e-3f);
    for (int k = 0; k < 2; k++) {
        attack_result_free(r[k]);
        attack_free(a[k]);
    }
    pool_free(pool);
    scene_free(&s);
}

// ---- refusals and checks

static void test_refusals(void **state) {
    (void)state;
    struct scene s = scene();
    struct pool *pool = pool_new(1);
    struct attack_options o = {.device = "cpu"};
    struct error e = {0};
    struct model *other = model(NETWORK, 3);  // knows no class 3
    assert_null(attack_open(other, s.d, &o, pool, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    s.m->theta[s.m->arch->param[0].offset] = NAN;
    e = (struct error){0};
    assert_null(attack_open(s.m, s.d, &o, pool, &e));
    assert_int_equal(e.status, EXIT_INPUT);
    assert_non_null(strstr(e.text, "of image 0 is"));
    model_free(other);
    pool_free(pool);
    scene_free(&s);
}

static bool noted(const json_t *record, const char *word) {
    size_t i;
    json_t *note;
    json_array_foreach(json_object_get(record, "notes"), i, note) if (strstr(json_string_value(note), word)) return true;
    return false;
}

struct verdict {
    json_t *record;
    int64_t stands, flat;
};
static struct verdict trust(const struct model *m, const float *x, const int64_t *y, enum slope_loss loss) {
    struct error e = {0};
    struct pool *pool = pool_new(2);
    struct dataset *d = dataset(x, y, NULL, IMAGES);
    struct attack *a = open_attack(m, d, (struct attack_options){.loss = loss}, pool);
    struct verdict v = {.record = record_new()};
    struct pgd p = pgd_of(pgd_default_step(1), 10, 1);
    assert_true(trust_model(a, v.record, &e));
    assert_true(trust_reach(a, &p, BALL_LINF, v.record, &e));
    struct attack_result *r = attacked(a, pgd_fgsm(.2), BALL_LINF, .2);
    trust_result(a, r, v.record);
    v.stands = r->stands;
    v.flat = r->flat;
    attack_result_free(r);
    attack_free(a);
    dataset_free(d);
    pool_free(pool);
    return v;
}

static void test_trust(void **state) {
    (void)state;
    msg_verbosity(-1);
    float *x = noise_images(IMAGES, .3f, .7f);
    struct linear l = linear(false);
    int64_t *y = own_labels(l.m, x, IMAGES);
    struct verdict good = trust(l.m, x, y, SLOPE_CE);
    double value = -1;
    assert_true(record_get_real(good.record, "metrics.checks.full_ball.accuracy", &value) && value == 0);
    assert_true(record_get_real(good.record, "metrics.checks.repeat_difference", &value) && value == 0);
    assert_true(json_is_true(record_get(good.record, "metrics.checks.outputs_are_logits")));
    assert_int_equal(json_array_size(json_object_get(good.record, "notes")), 0);

    // The same decisions with logits so large that the cross-entropy's gradient is 0 in float32: masked, and noticed.
    for (int64_t i = 0; i < l.m->arch->size; i++) l.m->theta[i] *= 1e4f;
    struct verdict masked = trust(l.m, x, y, SLOPE_CE), seen = trust(l.m, x, y, SLOPE_MARGIN);
    assert_true(masked.flat > IMAGES / 2 && masked.stands > good.stands);
    assert_true(noted(masked.record, "is zero") && noted(masked.record, "withstand"));
    assert_int_equal(seen.flat, 0);
    assert_int_equal(seen.stands, good.stands);
    assert_int_equal(json_array_size(json_object_get(seen.record, "notes")), 0);

    struct model *squashed = model("flatten | linear %d | sigmoid", 4);
    int64_t *y4 = own_labels(squashed, x, IMAGES);
    struct verdict outputs = trust(squashed, x, y4, SLOPE_CE);
    assert_true(noted(outputs.record, "look like probabilities"));
    assert_true(json_is_false(record_get(outputs.record, "metrics.checks.outputs_are_logits")));
    json_t *records[] = {good.record, masked.record, seen.record, outputs.record};
    for (int i = 0; i < 4; i++) json_decref(records[i]);
    model_free(squashed);
    model_free(l.m);
    free(y4);
    free(y);
    free(x);
    msg_verbosity(0);
}

// A loss that still rose by a tenth at the end: said and recorded where images stand, and not where none is left.
static void test_stopped_early(void **state) {
    (void)state;
    msg_verbosity(-1);
    struct scene s = scene();
    struct pool *pool = pool_new(1);
    struct attack *a = open_attack(s.m, s.d, (struct attack_options){0}, pool);
    struct attack_result *r = attacked(a, pgd_fgsm(.1), BALL_LINF, .1);
    static const struct {
        double late_loss;
        int64_t stands;
        bool early;
    } cases[] = {{.9, IMAGES, true}, {.96, IMAGES, false}, {.9, 0, false}};
    r->lasted = 1;
    r->last_loss = 1;
    for (int i = 0; i < 3; i++) {
        json_t *record = record_new();
        r->late_loss = cases[i].late_loss;
        r->stands = cases[i].stands;
        trust_result(a, r, record);
        const json_t *told = record_get(record, "metrics.checks.fgsm.eps_0p1.stopped_early");
        assert_true(json_is_boolean(told) && json_is_true(told) == cases[i].early);
        assert_true(noted(record, "stopped too early") == cases[i].early);
        json_decref(record);
    }
    attack_result_free(r);
    attack_free(a);
    pool_free(pool);
    scene_free(&s);
    msg_verbosity(0);
}

// ---- what is written

static void test_record(void **state) {
    (void)state;
    struct scene s = scene();
    struct pool *pool = pool_new(1);
    struct attack *a = open_attack(s.m, s.d, (struct attack_options){.keep = 2}, pool);
    struct attack_result *r = attacked(a, pgd_fgsm(8. / 255), BALL_LINF, 8. / 255);
    struct blob *b = blob_new("attack");
    json_t *record = record_new();
    attack_save_clean(a, b, record);
    attack_save(a, r, b, record);
    double accuracy, low, high;
    assert_true(record_get_real(record, "metrics.clean.accuracy", &accuracy));
    assert_true(fabs(accuracy - (double)a->right / IMAGES) < 1e-12 && a->right == IMAGES - 9);
    struct interval want = stats_clopper_pearson((long)r->stands, IMAGES, .95);
    assert_true(record_get_real(record, "metrics.robust.fgsm.eps_0p0313725.accuracy", &accuracy) && fabs(accuracy - (double)r->stands / IMAGES) < 1e-12);
    assert_true(record_get_real(record, "metrics.robust.fgsm.eps_0p0313725.accuracy_interval.0", &low) && low == want.low);
    assert_true(record_get_real(record, "metrics.robust.fgsm.eps_0p0313725.accuracy_interval.1", &high) && high == want.high);
    // The confusion matrix's diagonal is what is right, its rows what there is.
    const struct tensor *c = blob_find(b, "confusion");
    assert_non_null(c);
    const int64_t *cell = c->data;
    int64_t right = 0, count = 0;
    for (int i = 0; i < 16; i++) {
        count += cell[i];
        right += i % 5 == 0 ? cell[i] : 0;
    }
    assert_int_equal(right, a->right);
    assert_int_equal(count, IMAGES);
    static const char *const names[] = {"clean.logits", "clean.prediction", "y", "index", "clean.x", "fgsm.eps_0p0313725.broken", "fgsm.eps_0p0313725.x",
                                        "fgsm.eps_0p0313725.step", "fgsm.eps_0p0313725.margin", "fgsm.eps_0p0313725.norm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!blob_find(b, names[i])) fail_msg("no %s", names[i]);
    assert_int_equal(blob_find(b, "fgsm.eps_0p0313725.x")->dim[0], 2);
    json_decref(record);
    blob_free(b);
    attack_result_free(r);
    attack_free(a);
    pool_free(pool);
    scene_free(&s);
}

// ---- random points

// In d dimensions (radius / eps)^d of a uniform point is uniform in [0, 1], and all directions are alike; at the edge the
// radius is eps.
static void test_random_points(void **state) {
    (void)state;
    enum { D = 5, DRAWS = 4000 };
    struct stream s = rng_stream(9, "test/ball");
    float x0[D] = {.5f, .5f, .5f, .5f, .5f}, x[D];
    struct ball two = {BALL_L2, .2, D}, box = {BALL_LINF, .2, D};
    double far, volume = 0, mean[D] = {0}, spread = 0, up = 0;
    for (uint32_t i = 0; i < DRAWS; i++) {
        ball_inside(&two, s, i, 0, x0, x);
        double r = ball_distance(&two, x0, x);
        assert_true(r <= .2 + 1e-6 && ball_holds(&two, x0, x, &far));
        volume += pow(r / .2, D);
        for (int j = 0; j < D; j++) mean[j] += (double)x[j] - .5;
        ball_edge(&two, s, i, 1, x0, x);
        assert_true(fabs(ball_distance(&two, x0, x) - .2) < 1e-6);
        ball_inside(&box, s, i, 2, x0, x);
        for (int j = 0; j < D; j++) {
            assert_true(fabs((double)x[j] - .5) <= .2 + 1e-7);
            spread += fabs((double)x[j] - .5) / .2;
        }
        ball_edge(&box, s, i, 3, x0, x);
        for (int j = 0; j < D; j++) {
            assert_true(fabs(fabs((double)x[j] - .5) - .2) < 1e-7);
            up += x[j] > .5f;
        }
    }
    // Five standard errors each: a correct draw fails once in a million seeds, and the seed is fixed.
    assert_true(fabs(volume / DRAWS - .5) < 5 * sqrt(1. / 12 / DRAWS));
    for (int j = 0; j < D; j++) assert_true(fabs(mean[j] / DRAWS) < 5 * .2 / sqrt((double)DRAWS * (D + 2)));
    assert_true(fabs(spread / (DRAWS * D) - .5) < 5 * sqrt(1. / 12 / (DRAWS * D)));
    assert_true(fabs(up / (DRAWS * D) - .5) < 5 * .5 / sqrt(DRAWS * D));
    // Off the ball, out of range, NaN.
    float off[D] = {.5f, .5f, .71f, .5f, .5f}, out[D] = {.5f, .5f, 1.01f, .5f, .5f}, nothing[D] = {.5f, NAN, .5f, .5f, .5f};
    struct ball wide = {BALL_LINF, 1, D};
    assert_false(ball_holds(&box, x0, off, &far));
    assert_true(ball_holds(&wide, x0, off, &far));
    assert_false(ball_holds(&wide, x0, out, &far));
    assert_false(ball_holds(&wide, x0, nothing, &far));
}

// A step of every instruction set against the formula, one number at a time.
static void test_step(void **state) {
    (void)state;
    enum { N = 77 };
    float x0[N], x[N], g[N], want[N], start[N];
    rng_uniform(rng_stream(1, "test/x0"), 0, 0, 0, x0, N);
    rng_normal(rng_stream(1, "test/g"), 0, 0, 0, g, N);
    g[5] = 0;
    struct ball box = {BALL_LINF, .1, N}, two = {BALL_L2, .5, N};
    ball_inside(&box, rng_stream(1, "test/start"), 0, 0, x0, start);
    memcpy(x, start, sizeof x);
    struct ball_slope slope = ball_step(&box, x0, g, .03, x);
    assert_true(slope.finite && !slope.zero);
    for (int i = 0; i < N; i++) {
        double v = (double)start[i] + .03 * ((g[i] > 0) - (g[i] < 0));
        v = fmin(fmax(v, (double)x0[i] - .1), (double)x0[i] + .1);
        assert_true(fabs(fmin(fmax(v, 0), 1) - (double)x[i]) < 2e-7);
    }
    ball_inside(&two, rng_stream(1, "test/start"), 0, 0, x0, start);
    memcpy(x, start, sizeof x);
    ball_step(&two, x0, g, .3, x);
    double length = 0, away = 0;
    for (int i = 0; i < N; i++) length += (double)g[i] * g[i];
    for (int i = 0; i < N; i++) {
        want[i] = (float)(start[i] + .3 * g[i] / (sqrt(length) + 1e-12));
        away += ((double)want[i] - x0[i]) * ((double)want[i] - x0[i]);
    }
    for (int i = 0; i < N; i++) {
        double v = x0[i] + ((double)want[i] - x0[i]) * fmin(1, .5 / sqrt(away));
        assert_true(fabs(fmin(fmax(v, 0), 1) - (double)x[i]) < 1e-6);
    }
    float before[N];
    memcpy(before, x, sizeof x);
    g[76] = INFINITY;
    assert_false(ball_step(&box, x0, g, .03, x).finite);
    assert_memory_equal(before, x, sizeof x);
    memset(g, 0, sizeof g);
    assert_true(ball_step(&box, x0, g, .03, x).zero && ball_step(&two, x0, g, .03, x).zero);
}

static void test_picture(void **state) {
    (void)state;
    struct scene s = scene();
    struct pool *pool = pool_new(1);
    struct attack *a = open_attack(s.m, s.d, (struct attack_options){.keep = 6}, pool), *none = open_attack(s.m, s.d, (struct attack_options){.keep = 0}, pool);
    struct attack_result *r = attacked(a, pgd_fgsm(.1), BALL_LINF, .1);
    struct picture *p = triptych(a, &r, 1, 3), *q = triptych(a, &r, 1, 8);
    assert_true(p && q && p->channels == 3);
    assert_int_equal(p->width, q->width);
    assert_true(q->height > p->height);  // five of six are right
    assert_null(triptych(none, &r, 1, 3));
    picture_free(p);
    picture_free(q);
    attack_result_free(r);
    attack_free(a);
    attack_free(none);
    pool_free(pool);
    scene_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear), cmocka_unit_test(test_stored_images), cmocka_unit_test(test_same_bytes), cmocka_unit_test(test_strength),
        cmocka_unit_test(test_devices), cmocka_unit_test(test_refusals), cmocka_unit_test(test_trust), cmocka_unit_test(test_record),
        cmocka_unit_test(test_stopped_early),
        cmocka_unit_test(test_random_points), cmocka_unit_test(test_step), cmocka_unit_test(test_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
