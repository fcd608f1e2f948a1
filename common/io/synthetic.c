// synthetic.c: every class is a sign of a few curved strokes (quadratic Bezier curves with fixed control points). A
// drawing of it is bent, turned, scaled, moved, drawn with a pen of its own width and darkness on an uneven
// ground, sometimes crossed by a stray stroke, and noisy: easy for a convolution, less so for a linear rule.
#include "synthetic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "../base/rng.h"

enum { STROKES = 3, POINTS = 3, PIECES = 8 };
enum { DRAWS = 32, RESTART_DRAWING = 0, RESTART_NOISE = 1, RESTART_COLOUR = 2 };  // of the counter

struct point {
    float x, y;
};

struct sign {
    struct point control[STROKES][POINTS];
};

static float between(float u, float low, float high) {
    return low + u * (high - low);
}

static struct sign sign_of_class(int c) {
    float u[2 * STROKES * POINTS];
    struct sign s;
    rng_uniform(rng_stream(0, "synthetic/class"), (uint32_t)c, 0, 0, u, 2 * STROKES * POINTS);
    for (int i = 0; i < STROKES * POINTS; i++)
        s.control[i / POINTS][i % POINTS] =
            (struct point){between(u[2 * i], .12f, .88f), between(u[2 * i + 1], .12f, .88f)};
    return s;
}

struct canvas {
    int height, width;
    float unit;  // pixels across the shorter side
    float *ink;  // [height, width] in [0, 1]
};

// Ink falls off over one pixel at the pen's edge; strokes do not add up.
static void draw_piece(struct canvas *v, struct point a, struct point b, float pen) {
    float reach = pen + 1, dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy + 1e-9f;
    int top = (int)floorf(fminf(a.y, b.y) - reach), bottom = (int)ceilf(fmaxf(a.y, b.y) + reach);
    int left = (int)floorf(fminf(a.x, b.x) - reach), right = (int)ceilf(fmaxf(a.x, b.x) + reach);
    for (int h = top > 0 ? top : 0; h <= bottom && h < v->height; h++)
        for (int w = left > 0 ? left : 0; w <= right && w < v->width; w++) {
            float px = (float)w - a.x, py = (float)h - a.y;
            float t = fminf(fmaxf((px * dx + py * dy) / length, 0), 1);
            float ex = px - t * dx, ey = py - t * dy;
            float ink = fminf(fmaxf(pen + .5f - sqrtf(ex * ex + ey * ey), 0), 1);
            float *at = &v->ink[h * v->width + w];
            *at = fmaxf(*at, ink);
        }
}

static void draw_stroke(struct canvas *v, const struct point control[POINTS], float pen) {
    struct point last = control[0];
    for (int i = 1; i <= PIECES; i++) {
        float t = (float)i / PIECES, r = 1 - t;
        struct point p = {r * r * control[0].x + 2 * r * t * control[1].x + t * t * control[2].x,
                          r * r * control[0].y + 2 * r * t * control[1].y + t * t * control[2].y};
        draw_piece(v, last, p, pen);
        last = p;
    }
}

// From the unit square of the sign to pixels: turned, scaled, sheared and moved about the centre.
struct pose {
    float a, b, c, d, x, y;
};

static struct pose pose_of(const float *u) {
    float angle = between(u[0], -.3f, .3f), scale = between(u[1], .7f, 1.05f), shear = between(u[2], -.2f, .2f);
    float cosine = cosf(angle) * scale, sine = sinf(angle) * scale;
    return (struct pose){
        cosine, shear * cosine - sine, sine, shear * sine + cosine, between(u[3], -.1f, .1f), between(u[4], -.1f, .1f)};
}

static struct point place(const struct canvas *v, struct pose p, struct point q) {
    float x = q.x - .5f, y = q.y - .5f;
    return (struct point){(float)(v->width - 1) / 2 + v->unit * (p.a * x + p.b * y + p.x),
                          (float)(v->height - 1) / 2 + v->unit * (p.c * x + p.d * y + p.y)};
}

static void draw(struct canvas *v, const struct sign *s, const float u[DRAWS]) {
    struct pose pose = pose_of(u);
    float pen = v->unit * between(u[5], .02f, .055f);
    memset(v->ink, 0, (size_t)v->height * (size_t)v->width * sizeof *v->ink);
    for (int k = 0; k < STROKES; k++) {
        struct point control[POINTS];
        for (int i = 0; i < POINTS; i++) {
            const float *bend = u + 6 + 2 * (k * POINTS + i);
            struct point p = {s->control[k][i].x + between(bend[0], -.07f, .07f),
                              s->control[k][i].y + between(bend[1], -.07f, .07f)};
            control[i] = place(v, pose, p);
        }
        draw_stroke(v, control, pen);
    }
    if (u[24] < .4f) {  // a stray stroke
        struct point p = {between(u[25], 0, (float)v->width), between(u[26], 0, (float)v->height)};
        float reach = .4f * v->unit;
        struct point stray[POINTS] = {
            p, {p.x + between(u[27], -reach, reach), p.y}, {p.x, p.y + between(u[28], -reach, reach)}};
        draw_stroke(v, stray, pen);
    }
}

// Paper and pen of one channel, then noise of triangular density.
static void colour(const struct canvas *v, const float u[6], const float *noise, uint8_t *out) {
    float paper = between(u[0], 0, .25f), pen = between(u[1], .45f, 1), slope_x = between(u[2], -.2f, .2f),
          slope_y = between(u[3], -.2f, .2f), grain = between(u[4], .02f, .2f);
    for (int h = 0; h < v->height; h++)
        for (int w = 0; w < v->width; w++) {
            int i = h * v->width + w;
            float ground = paper + slope_x * (float)w / (float)v->width + slope_y * (float)h / (float)v->height;
            float value = ground + v->ink[i] * (pen - ground) + grain * (noise[2 * i] + noise[2 * i + 1] - 1);
            out[i] = (uint8_t)(fminf(fmaxf(value, 0), 1) * 255 + .5f);
        }
}

static bool draw_all(const struct synthetic *s, struct intake *in, struct canvas *v, struct error *e) {
    struct stream stream = rng_stream(s->seed, "synthetic/drawing");
    long plane = (long)s->height * s->width;
    struct sign *sign = memory_take((size_t)s->classes * sizeof *sign);
    float *noise = memory_take(2 * (size_t)(plane * s->channels) * sizeof *noise);
    float *tint = memory_take(6 * (size_t)s->channels * sizeof *tint);
    uint8_t *image = memory_take((size_t)(plane * s->channels));
    bool good = true;
    for (int c = 0; c < s->classes; c++) sign[c] = sign_of_class(c);
    for (int64_t i = 0; good && i < s->count; i++) {
        float u[DRAWS];
        rng_uniform(stream, (uint32_t)i, s->test, RESTART_DRAWING, u, DRAWS);
        rng_uniform(stream, (uint32_t)i, s->test, RESTART_NOISE, noise, 2 * plane * s->channels);
        rng_uniform(stream, (uint32_t)i, s->test, RESTART_COLOUR, tint, 6L * s->channels);
        draw(v, &sign[i % s->classes], u);
        for (int c = 0; c < s->channels; c++) colour(v, tint + 6 * c, noise + 2 * plane * c, image + plane * c);
        good = intake_image(in, image, e);
    }
    free(image);
    free(tint);
    free(noise);
    free(sign);
    return good;
}

bool synthetic_read(const struct synthetic *s, struct intake *in, struct error *e) {
    int shorter = s->height < s->width ? s->height : s->width;
    in->dtype = U8;
    in->channels = s->channels;
    in->height = s->height;
    in->width = s->width;
    in->classes = s->classes;
    int64_t *label = memory_take((size_t)s->count * sizeof *label + 1);
    for (int64_t i = 0; i < s->count; i++) label[i] = i % s->classes;
    bool good = intake_begin(in, s->count, label, e);
    free(label);
    if (!good) return false;
    struct canvas v = {s->height, s->width, (float)shorter,
                       memory_take((size_t)s->height * (size_t)s->width * sizeof(float))};
    good = draw_all(s, in, &v, e) && intake_end(in, e);
    free(v.ink);
    return good;
}
