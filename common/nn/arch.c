// arch.c: reads the architecture line, keeps the network's tensors, and turns both into nodes of a graph.
//
// The language is read left to right, an element at a time, while the shape of one example flows along:
// [C, H, W] for an image, [T, D] for tokens, [n] for a vector. Modules and their starting values are
// PyTorch's, so that files go both ways.
#include "arch.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "../base/opt.h"

enum kind {
    CONV, DECONV, LINEAR, MAXPOOL, AVGPOOL, DROPOUT, DROPOUT2D, RELU, LEAKY, SOFTRELU, TANH, GELU, SIGMOID, TEMPERED,
    BATCH_NORM, LAYER_NORM, GROUP_NORM, FLATTEN, PATCH, CLS, POS, ENCODER, HEAD, INIT
};

static const struct keyword {
    const char *name;
    enum kind kind;
    bool homogeneous;  // f(a x) = a f(x) but for a bias
    const char *usage;
} keywords[] = {
    {"conv", CONV, true, "conv OUT K [s N] [p N|same] [nobias]"},
    {"deconv", DECONV, true, "deconv OUT K [s N] [p N] [nobias]"},
    {"linear", LINEAR, true, "linear OUT [nobias] [fixed]"},
    {"maxpool", MAXPOOL, true, "maxpool K"},
    {"avgpool", AVGPOOL, true, "avgpool K"},
    {"dropout", DROPOUT, true, "dropout P"},
    {"dropout2d", DROPOUT2D, true, "dropout2d P"},
    {"relu", RELU, true, "relu"},
    {"leaky", LEAKY, true, "leaky A"},
    {"softrelu", SOFTRELU, true, "softrelu A"},
    {"tanh", TANH, false, "tanh"},
    {"gelu", GELU, false, "gelu"},
    {"sigmoid", SIGMOID, false, "sigmoid"},
    {"tempered", TEMPERED, false, "tempered S T O"},
    {"norm", BATCH_NORM, false, "norm batch|layer|group G"},
    {"flatten", FLATTEN, true, "flatten"},
    {"patch", PATCH, true, "patch K D"},
    {"cls", CLS, false, "cls"},
    {"pos", POS, false, "pos"},
    {"encoder", ENCODER, false, "encoder HEADS FF [post] [dropout P]"},
    {"head", HEAD, true, "head"},
    {"init", INIT, true, "init torch|he|normal:STD[,first:STD]"},
};
enum { KEYWORDS = sizeof keywords / sizeof *keywords };

// What a tensor is decides how it starts.
enum role { WEIGHT, BIAS, IN_PROJECTION, TOKEN, ZERO, ONE };
enum draw { DRAW_FILL, DRAW_UNIFORM, DRAW_NORMAL };

struct arch_element {
    enum kind kind;
    struct shape in, out;
    int param, state;    // its first tensor
    bool bias;
    int64_t k, stride, padding;
    int64_t groups;      // GROUP_NORM; ENCODER: heads
    int64_t hidden;      // ENCODER
    bool post;           // ENCODER
    double p;            // dropout's probability, LEAKY's and SOFTRELU's number
    double scale, temperature, offset;  // TEMPERED
};

enum {
    ELEMENTS_MAX = 256,
    TENSORS_MAX = 12,           // of one element
    TEXT_MAX_BYTES = 16384,
    WIDTH_MAX = 1 << 20,
    KERNEL_MAX = 256,
    POOL_MAX = 16,              // the engine keeps a window's maximum in one byte
    SIDE_MAX = 1 << 15,         // of an image
    NUMBERS_MAX = 1 << 30,        // values of one activation, numbers of all parameters
};

// ---- presets

const char *const arch_presets = "cnn, mlp, vit, ee691-mlp, ee691-cnn, ee691-vit, homogeneous WIDTHS";

#define ENCODER_691 "encoder 4 256 post dropout .1"
#define BLOCK_691(c) "conv " #c " 3 | norm batch | leaky .2 | maxpool 2 | dropout2d .25 | "

// $P is the patch size.
static const struct {
    const char *name, *line;
} presets[] = {
    {"cnn", "conv 32 3 | relu | conv 64 3 | relu | maxpool 2 | dropout .1 | conv 128 3 | relu | maxpool 2 | dropout .1 | "
            "flatten | linear 256 | relu | dropout .2 | linear classes"},
    {"mlp", "flatten | linear 512 | relu | linear 256 | relu | linear classes"},
    {"vit", "patch $P 64 | cls | pos | encoder 4 256 | encoder 4 256 | norm layer | head | linear 64 | linear classes"},
    {"ee691-mlp", "flatten | linear 512 | norm batch | leaky .2 | dropout .4 | linear 256 | norm batch | leaky .2 | "
                  "dropout .4 | linear classes"},
    {"ee691-cnn", BLOCK_691(32) BLOCK_691(64) BLOCK_691(128)
                  "flatten | linear 256 | norm batch | leaky .2 | dropout .4 | linear classes"},
    {"ee691-vit", "patch $P 64 | cls | pos | " ENCODER_691 " | " ENCODER_691 " | norm layer | head | norm layer | "
                  "linear 64 | dropout .1 | linear classes"},
};

// NULL without a width.
static char *print_homogeneous(struct arena *arena, const char *widths, size_t length) {
    char *line = arena_text(arena, "flatten");
    const char *bias = "";
    const char *end = widths + length;
    for (int layers = 0; layers <= ELEMENTS_MAX && widths < end; layers++) {  // more will be refused
        widths += strspn(widths, " \t\n");
        size_t n = strcspn(widths, " \t\n|");
        if (widths >= end || !n) break;
        line = arena_print(arena, "%s | linear %.*s%s | relu", line, (int)n, widths, bias);
        bias = " nobias";
        widths += n;
    }
    return *bias ? arena_print(arena, "%s | linear classes%s", line, bias) : NULL;
}

// The line a preset stands for, with what follows it; NULL where the first word is no preset.
static char *expand(struct arena *arena, const char *text, const struct shape *input) {
    const char *word = text + strspn(text, " \t\n");
    size_t length = strcspn(word, " \t\n|"), element = strcspn(word, "|");
    const char *rest = word + element;
    char *line = NULL;
    if (length == strlen("homogeneous") && !strncmp(word, "homogeneous", length))
        line = print_homogeneous(arena, word + length, element - length);
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        const char *from = presets[i].line;
        if (strlen(presets[i].name) != length || strncmp(presets[i].name, word, length)) continue;
        if (strspn(word + length, " \t\n") != element - length) continue;  // a preset takes no values
        int patch = 8;
        while (input->dim[1] % patch || input->dim[2] % patch) patch--;
        size_t n = strcspn(from, "$");
        line = from[n] ? arena_print(arena, "%.*s%d%s", (int)n, from, patch, from + n + 2) : arena_text(arena, from);
    }
    return line ? arena_print(arena, "%s %s", line, rest) : NULL;
}

// ---- reading

struct reader {
    struct arch *a;
    struct arch_element *now;
    const char *usage;        // of the element being read
    struct {
        char *text;
        int column;           // from 1
    } *word;                  // "|" is a word of its own
    int words, at, first;     // first: the element's name
    struct error *e;
    struct shape shape;       // flows along
    bool tokens_have_class;
    enum { INIT_TORCH, INIT_HE, INIT_NORMAL } init;
    bool init_given, first_given;
    double init_spread, first_spread;
    double *fan_in;           // per parameter
    enum role *role;
};

static bool refuse(struct reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(struct reader *r, const char *format, ...) {
    char element[160] = "", sentence[240];
    for (int i = r->first; i < r->words && strcmp(r->word[i].text, "|"); i++) {
        size_t n = strlen(element);
        snprintf(element + n, sizeof element - n, "%s%s", n ? " " : "", r->word[i].text);
    }
    va_list list;
    va_start(list, format);
    vsnprintf(sentence, sizeof sentence, format, list);
    va_end(list);
    int at = r->at > r->first && r->at < r->words && strcmp(r->word[r->at].text, "|") ? r->at : r->first;
    if (at == r->words) at--;  // the line ends with a bar
    return error_set(r->e, EXIT_USAGE, "architecture, column %d (\"%s\"): %s", r->word[at].column, element, sentence);
}

static bool more(const struct reader *r) { return r->at < r->words && strcmp(r->word[r->at].text, "|"); }
static bool accept(struct reader *r, const char *word) {
    if (!more(r) || strcmp(r->word[r->at].text, word)) return false;
    r->at++;
    return true;
}
static bool take_int(struct reader *r, const char *what, int64_t low, int64_t high, int64_t *value) {
    if (!more(r)) {
        r->at--;
        return refuse(r, "%s is missing: %s", what, r->usage);
    }
    if (!parse_int(r->word[r->at].text, value)) return refuse(r, "%s: a whole number expected: %s", what, r->usage);
    if (*value < low || *value > high)
        return refuse(r, "%s: %lld to %lld expected", what, (long long)low, (long long)high);
    r->at++;
    return true;
}
static bool take_real(struct reader *r, const char *what, double low, double high, double *value) {
    if (!more(r)) {
        r->at--;
        return refuse(r, "%s is missing: %s", what, r->usage);
    }
    if (!parse_real(r->word[r->at].text, value)) return refuse(r, "%s: a number expected: %s", what, r->usage);
    if (!(*value >= low && *value <= high)) return refuse(r, "%s: %g to %g expected", what, low, high);
    r->at++;
    return true;
}

// The element takes an image, tokens or a vector.
static bool wants_rank(struct reader *r, int rank, int or_rank, const char *what) {
    char text[96];
    if (r->shape.rank == rank || r->shape.rank == or_rank) return true;
    r->at = r->first;
    return refuse(r, "takes %s, but %s arrives here", what, shape_text(&r->shape, text));
}

static void add_tensor(struct reader *r, bool state, const char *suffix, enum role role, double fan_in, struct shape s) {
    struct arch *a = r->a;
    int element = (int)(r->now - a->element);
    struct arch_tensor *t = state ? &a->state[a->states++] : &a->param[a->count];
    int64_t *size = state ? &a->state_size : &a->size;
    *t = (struct arch_tensor){.name = arena_print(&a->arena, "%d.%s", element, suffix), .shape = s, .offset = *size,
                              .count = shape_count(&s), .element = element};
    *size = (*size + t->count + ARCH_ALIGN - 1) / ARCH_ALIGN * ARCH_ALIGN;
    if (state) {
        t->draw = DRAW_FILL;
        t->spread = role == ONE;
        return;
    }
    r->role[a->count] = role;
    r->fan_in[a->count] = fan_in;
    a->parameters += t->count;
    a->count++;
}
static void add_param(struct reader *r, const char *suffix, enum role role, double fan_in, struct shape s) {
    add_tensor(r, false, suffix, role, fan_in, s);
}
static void add_linear(struct reader *r, const char *prefix, int64_t in, int64_t out, bool bias) {
    char name[64];
    snprintf(name, sizeof name, "%sweight", prefix);
    add_param(r, name, WEIGHT, (double)in, shape_of(2, (int)out, (int)in));
    snprintf(name, sizeof name, "%sbias", prefix);
    if (bias) add_param(r, name, BIAS, (double)in, shape_of(1, (int)out));
}
static void add_norm(struct reader *r, const char *prefix, struct shape s) {
    char name[64];
    snprintf(name, sizeof name, "%sweight", prefix);
    add_param(r, name, ONE, 1, s);
    snprintf(name, sizeof name, "%sbias", prefix);
    add_param(r, name, ZERO, 1, s);
}

// conv, deconv: words after the two values.
static bool read_window(struct reader *r) {
    struct arch_element *l = r->now;
    bool strided = false, padded = false;
    l->stride = 1;
    l->bias = true;
    while (more(r)) {
        if (!strided && accept(r, "s")) {
            strided = true;
            if (!take_int(r, "stride", 1, KERNEL_MAX, &l->stride)) return false;
        } else if (!padded && accept(r, "p")) {
            padded = true;
            if (l->kind == CONV && accept(r, "same")) {
                if (l->k % 2 == 0) return refuse(r, "p same needs an odd K");
                l->padding = l->k / 2;
            } else if (!take_int(r, "padding", 0, KERNEL_MAX, &l->padding)) return false;
        } else if (l->bias && accept(r, "nobias")) {
            l->bias = false;
        } else return refuse(r, "unexpected \"%s\": %s", r->word[r->at].text, r->usage);
    }
    if (!padded && l->kind == CONV && l->k == 3) l->padding = 1;
    return true;
}

static bool read_conv(struct reader *r) {
    struct arch_element *l = r->now;
    int64_t out;
    if (!wants_rank(r, 3, 3, "an image [C, H, W]") || !take_int(r, "OUT", 1, WIDTH_MAX, &out) ||
        !take_int(r, "K", 1, KERNEL_MAX, &l->k) || !read_window(r))
        return false;
    int64_t c = r->shape.dim[0], k = l->k, side[2];
    for (int i = 0; i < 2; i++) {
        int64_t have = r->shape.dim[1 + i];
        side[i] = l->kind == CONV ? have + 2 * l->padding - k : (have - 1) * l->stride - 2 * l->padding + k;
        if (l->kind == CONV) side[i] = side[i] < 0 ? 0 : side[i] / l->stride + 1;
        if (side[i] > SIDE_MAX) return refuse(r, "images of more than %d x %d", SIDE_MAX, SIDE_MAX);
        if (side[i] < 1)
            return refuse(r, "a window of %lld does not fit an image of %lld x %lld", (long long)k, (long long)r->shape.dim[1],
                          (long long)r->shape.dim[2]);
    }
    // PyTorch counts a transposed convolution's fan-in along its second dimension, the outputs.
    double fan = (double)(l->kind == CONV ? c : out) * (double)(k * k);
    struct shape w = l->kind == CONV ? shape_of(4, (int)out, (int)c, (int)k, (int)k) : shape_of(4, (int)c, (int)out, (int)k, (int)k);
    add_param(r, "weight", WEIGHT, fan, w);
    if (l->bias) add_param(r, "bias", BIAS, fan, shape_of(1, (int)out));
    r->shape = (struct shape){3, {out, side[0], side[1]}};
    return true;
}

static bool read_linear(struct reader *r) {
    struct arch_element *l = r->now;
    int64_t out, in = r->shape.dim[r->shape.rank - 1];
    if (!wants_rank(r, 1, 2, "a vector or tokens (write flatten before it)") || !take_int(r, "OUT", 1, WIDTH_MAX, &out)) return false;
    l->bias = !accept(r, "nobias");
    add_linear(r, "", in, out, l->bias);
    if (accept(r, "fixed")) {
        r->a->fixed = true;
        for (int i = l->param; i < r->a->count; i++) r->a->param[i].fixed = true;
    }
    r->shape.dim[r->shape.rank - 1] = out;
    return true;
}

static bool read_pool(struct reader *r) {
    struct arch_element *l = r->now;
    if (!wants_rank(r, 3, 3, "an image [C, H, W]") || !take_int(r, "K", 1, l->kind == MAXPOOL ? POOL_MAX : KERNEL_MAX, &l->k))
        return false;
    for (int i = 1; i < 3; i++) {
        if (r->shape.dim[i] < l->k)
            return refuse(r, "a window of %lld does not fit an image of %lld x %lld", (long long)l->k,
                          (long long)r->shape.dim[1], (long long)r->shape.dim[2]);
        l->out.dim[i] = r->shape.dim[i] / l->k;
    }
    r->shape = (struct shape){3, {r->shape.dim[0], l->out.dim[1], l->out.dim[2]}};
    return true;
}

static bool read_norm(struct reader *r) {
    struct arch_element *l = r->now;
    int channels = (int)r->shape.dim[0];
    if (accept(r, "batch")) {
        l->kind = BATCH_NORM;
        if (!wants_rank(r, 3, 1, "an image or a vector")) return false;
        add_norm(r, "", shape_of(1, channels));
        add_tensor(r, true, "running_mean", ZERO, 1, shape_of(1, channels));
        add_tensor(r, true, "running_var", ONE, 1, shape_of(1, channels));
        r->a->batch_norm = true;
    } else if (accept(r, "layer")) {
        // As torch.nn.LayerNorm over the last dimension, of an image over all of it.
        l->kind = LAYER_NORM;
        add_norm(r, "", r->shape.rank == 3 ? r->shape : shape_of(1, (int)r->shape.dim[r->shape.rank - 1]));
    } else if (accept(r, "group")) {
        l->kind = GROUP_NORM;
        if (!wants_rank(r, 3, 1, "an image or a vector") || !take_int(r, "G", 1, WIDTH_MAX, &l->groups)) return false;
        if (channels % l->groups) {
            r->at--;
            return refuse(r, "%d channels do not make %lld groups", channels, (long long)l->groups);
        }
        add_norm(r, "", shape_of(1, channels));
    } else return refuse(r, "batch, layer or group expected");
    return true;
}

static bool read_patch(struct reader *r) {
    struct arch_element *l = r->now;
    int64_t width;
    if (!wants_rank(r, 3, 3, "an image [C, H, W]") || !take_int(r, "K", 1, KERNEL_MAX, &l->k) ||
        !take_int(r, "D", 1, WIDTH_MAX, &width))
        return false;
    int64_t c = r->shape.dim[0], h = r->shape.dim[1], w = r->shape.dim[2], k = l->k;
    if (h % k || w % k) {
        r->at = r->first + 1;
        return refuse(r, "patches of %lld x %lld do not tile an image of %lld x %lld", (long long)k, (long long)k, (long long)h,
                      (long long)w);
    }
    l->stride = k;
    l->bias = true;
    add_param(r, "weight", WEIGHT, (double)(c * k * k), shape_of(4, (int)width, (int)c, (int)k, (int)k));
    add_param(r, "bias", BIAS, (double)(c * k * k), shape_of(1, (int)width));
    r->shape = (struct shape){2, {h / k * (w / k), width}};
    return true;
}

static bool read_encoder(struct reader *r) {
    struct arch_element *l = r->now;
    if (!wants_rank(r, 2, 2, "tokens [T, D]") || !take_int(r, "HEADS", 1, WIDTH_MAX, &l->groups) ||
        !take_int(r, "FF", 1, WIDTH_MAX, &l->hidden))
        return false;
    int width = (int)r->shape.dim[1];
    if (width % l->groups) {
        r->at = r->first + 1;
        return refuse(r, "a width of %d does not make %lld heads", width, (long long)l->groups);
    }
    bool dropout = false;
    while (more(r)) {
        if (!l->post && accept(r, "post")) l->post = true;
        else if (!dropout && accept(r, "dropout")) {
            dropout = true;
            if (!take_real(r, "P", 0, .999, &l->p)) return false;
        } else return refuse(r, "unexpected \"%s\": %s", r->word[r->at].text, r->usage);
    }
    r->a->drops |= l->p > 0;
    add_param(r, "self_attn.in_proj_weight", IN_PROJECTION, width, shape_of(2, 3 * width, width));
    add_param(r, "self_attn.in_proj_bias", ZERO, width, shape_of(1, 3 * width));
    add_param(r, "self_attn.out_proj.weight", WEIGHT, width, shape_of(2, width, width));
    add_param(r, "self_attn.out_proj.bias", ZERO, width, shape_of(1, width));
    add_linear(r, "linear1.", width, l->hidden, true);
    add_linear(r, "linear2.", l->hidden, width, true);
    add_norm(r, "norm1.", shape_of(1, width));
    add_norm(r, "norm2.", shape_of(1, width));
    return true;
}

static bool read_init(struct reader *r) {
    if (r->init_given) return refuse(r, "init is given twice");
    r->init_given = true;
    if (!more(r)) return refuse(r, "torch, he or normal:STD expected");
    char *rest, *word = arena_text(&r->a->arena, r->word[r->at].text);
    for (word = strtok_r(word, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (!strcmp(word, "torch")) r->init = INIT_TORCH;
        else if (!strcmp(word, "he")) r->init = INIT_HE;
        else if (!strncmp(word, "normal:", 7) && parse_real(word + 7, &r->init_spread) && r->init_spread >= 0) r->init = INIT_NORMAL;
        else if (!strncmp(word, "first:", 6) && parse_real(word + 6, &r->first_spread) && r->first_spread >= 0) r->first_given = true;
        else return refuse(r, "\"%s\": %s", word, r->usage);
    }
    r->at++;
    return true;
}

static bool read_element(struct reader *r) {
    struct arch_element *l = r->now;
    switch (l->kind) {
    case CONV: case DECONV: return read_conv(r);
    case LINEAR: return read_linear(r);
    case MAXPOOL: case AVGPOOL: return read_pool(r);
    case DROPOUT: case DROPOUT2D:
        if (l->kind == DROPOUT2D && !wants_rank(r, 3, 3, "an image [C, H, W]")) return false;
        if (!take_real(r, "P", 0, .999, &l->p)) return false;
        r->a->drops |= l->p > 0;
        return true;
    case LEAKY: return take_real(r, "A", 0, 1, &l->p);
    case SOFTRELU: return take_real(r, "A", 1e-6, 1e6, &l->p);
    case TEMPERED:
        return take_real(r, "S", -1e6, 1e6, &l->scale) && take_real(r, "T", -1e6, 1e6, &l->temperature) &&
               take_real(r, "O", -1e6, 1e6, &l->offset);
    case BATCH_NORM: case LAYER_NORM: case GROUP_NORM: return read_norm(r);
    case FLATTEN: r->shape = (struct shape){1, {shape_count(&r->shape)}}; return true;
    case PATCH: return read_patch(r);
    case CLS:
        if (!wants_rank(r, 2, 2, "tokens [T, D]")) return false;
        add_param(r, "weight", TOKEN, 1, (struct shape){2, {1, r->shape.dim[1]}});
        r->shape.dim[0]++;
        r->tokens_have_class = true;
        return true;
    case POS:
        if (!wants_rank(r, 2, 2, "tokens [T, D]")) return false;
        add_param(r, "weight", TOKEN, 1, r->shape);
        return true;
    case ENCODER: return read_encoder(r);
    case HEAD:
        if (!wants_rank(r, 2, 2, "tokens [T, D]")) return false;
        if (!r->tokens_have_class) return refuse(r, "takes the class token, and no cls came before it");
        r->shape = (struct shape){1, {r->shape.dim[1]}};
        return true;
    case INIT: return read_init(r);
    case RELU: case TANH: case GELU: case SIGMOID: return true;
    }
    BUG("kind %d", l->kind);
}

// Cuts the text into words and writes the canonical line.
// "classes" is read as the number of outputs, where one is asked for.
static void split(struct reader *r, const char *text) {
    r->word = arena_take(&r->a->arena, (strlen(text) + 1) * sizeof *r->word);
    char *line = r->a->line = arena_take(&r->a->arena, 2 * strlen(text) + 16), outputs[16];
    snprintf(outputs, sizeof outputs, "%d", r->a->outputs);
    for (const char *c = text; *(c += strspn(c, " \t\n"));) {
        size_t n = *c == '|' ? 1 : strcspn(c, " \t\n|");
        bool classes = r->a->outputs && n == strlen("classes") && !strncmp(c, "classes", n);
        r->word[r->words].text = classes ? arena_text(&r->a->arena, outputs) : arena_print(&r->a->arena, "%.*s", (int)n, c);
        r->word[r->words].column = (int)(c - text) + 1;
        line += sprintf(line, "%s%s", r->words ? " " : "", r->word[r->words].text);
        r->words++;
        c += n;
    }
}

static bool read_line(struct reader *r) {
    struct arch *a = r->a;
    if (!r->words) return error_set(r->e, EXIT_USAGE, "architecture: a line expected, or one of %s", arch_presets);
    int bars = 0;
    for (int i = 0; i < r->words; i++) bars += !strcmp(r->word[i].text, "|");
    if (bars >= ELEMENTS_MAX) return error_set(r->e, EXIT_USAGE, "architecture: more than %d elements", ELEMENTS_MAX);
    size_t tensors = (size_t)(bars + 1) * TENSORS_MAX;
    a->element = arena_take(&a->arena, (size_t)(bars + 1) * sizeof *a->element);
    a->param = arena_take(&a->arena, tensors * sizeof *a->param);
    a->state = arena_take(&a->arena, tensors * sizeof *a->state);
    r->role = arena_take(&a->arena, tensors * sizeof *r->role);
    r->fan_in = arena_take(&a->arena, tensors * sizeof *r->fan_in);
    a->homogeneous = true;
    bool weighted = false;
    for (;;) {
        r->first = r->at;
        const char *name = more(r) ? r->word[r->at].text : "";
        int k = 0;
        while (k < KEYWORDS && strcmp(keywords[k].name, name)) k++;
        if (k == KEYWORDS && !*name) return refuse(r, "an element is missing");
        if (k == KEYWORDS && !r->at && !strcmp(name, "homogeneous")) return refuse(r, "WIDTHS is missing: homogeneous WIDTHS");
        if (k == KEYWORDS) return refuse(r, "no such element, and no preset of that name (%s)", arch_presets);
        r->at++;
        r->usage = keywords[k].usage;
        r->now = &a->element[a->elements];
        *r->now = (struct arch_element){.kind = keywords[k].kind, .in = r->shape, .param = a->count, .state = a->states};
        if (!read_element(r)) return false;
        if (more(r)) return refuse(r, "unexpected \"%s\": %s", r->word[r->at].text, r->usage);
        if (shape_count(&r->shape) > NUMBERS_MAX || a->size > NUMBERS_MAX) {
            r->at = r->first;
            return refuse(r, "too large: the limit is %d numbers", NUMBERS_MAX);
        }
        r->now->out = r->shape;
        if (!keywords[k].homogeneous || (weighted && r->now->bias)) a->homogeneous = false;
        weighted |= a->count > r->now->param;
        if (r->now->kind != INIT) a->elements++;
        if (r->at == r->words) return true;
        r->at++;  // the bar
    }
}

// How each parameter starts, now that `init` is known.
static void choose_start(struct reader *r) {
    bool first = true;
    for (int i = 0; i < r->a->count; i++) {
        struct arch_tensor *t = &r->a->param[i];
        bool weight = r->role[i] == WEIGHT || r->role[i] == IN_PROJECTION;
        t->draw = DRAW_FILL;
        t->spread = r->role[i] == ONE;
        if (r->role[i] == TOKEN) t->draw = DRAW_NORMAL, t->spread = .02;
        if (weight && r->init == INIT_HE) t->draw = DRAW_NORMAL, t->spread = sqrt(2 / r->fan_in[i]);
        if (weight && r->init == INIT_NORMAL) t->draw = DRAW_NORMAL, t->spread = r->init_spread;
        // torch.nn: kaiming_uniform with a = sqrt 5, that is U(+-1 / sqrt fan_in), for biases too; the
        // attention's projection is xavier_uniform over all three at once.
        if (r->init == INIT_TORCH && (r->role[i] == WEIGHT || r->role[i] == BIAS))
            t->draw = DRAW_UNIFORM, t->spread = 1 / sqrt(r->fan_in[i]);
        if (r->init == INIT_TORCH && r->role[i] == IN_PROJECTION)
            t->draw = DRAW_UNIFORM, t->spread = sqrt(6 / (4 * r->fan_in[i]));
        if (weight && first && r->first_given) t->draw = DRAW_NORMAL, t->spread = r->first_spread;
        // A first layer that starts small starts without a bias.
        if (r->role[i] == BIAS && r->first_given && t->element == r->a->param[0].element) t->draw = DRAW_FILL, t->spread = 0;
        if (weight) first = false;
    }
}

struct arch *arch_parse(const char *text, struct shape input, int outputs, struct error *e) {
    struct arch *a = memory_zero(sizeof *a);
    a->input = input;
    a->outputs = outputs;
    BUG_IF(input.rank != 3, "an image has three dimensions");
    BUG_IF(outputs < 0, "%d outputs", outputs);
    struct reader r = {.a = a, .e = e, .shape = input};
    bool image = true;
    for (int i = 0; i < 3; i++) image = image && input.dim[i] >= 1 && input.dim[i] <= SIDE_MAX;
    char shape[96];
    bool fine = (image && shape_count(&input) <= NUMBERS_MAX) ||
                error_set(e, EXIT_USAGE, "architecture: images of %s", shape_text(&input, shape));
    if (fine && strlen(text) > TEXT_MAX_BYTES) fine = error_set(e, EXIT_USAGE, "architecture: a line of more than %d bytes", TEXT_MAX_BYTES);
    if (fine) {
        char *preset = expand(&a->arena, text, &input);
        split(&r, preset ? preset : text);
        fine = read_line(&r);
    }
    a->output = r.shape;
    if (fine && outputs && !(r.shape.rank == 1 && r.shape.dim[0] == outputs)) {
        r.at = r.first;
        fine = refuse(&r, "the network ends with %s where [%d] is needed, one number for each class", shape_text(&r.shape, shape), outputs);
    }
    if (!fine) {
        arch_free(a);
        return NULL;
    }
    choose_start(&r);
    return a;
}

void arch_free(struct arch *a) {
    if (!a) return;
    arena_free(&a->arena);
    free(a);
}

void arch_init(const struct arch *a, uint64_t seed, float *theta, float *state) {
    memset(theta, 0, (size_t)a->size * sizeof *theta);
    if (a->states) memset(state, 0, (size_t)a->state_size * sizeof *state);
    for (int i = 0; i < a->count; i++) {
        const struct arch_tensor *t = &a->param[i];
        float *p = theta + t->offset;
        char purpose[128];
        snprintf(purpose, sizeof purpose, "init/%s", t->name);
        struct stream s = rng_stream(seed, purpose);
        if (t->draw == DRAW_NORMAL) rng_normal(s, 0, 0, 0, p, (long)t->count);
        for (int64_t j = 0; j < t->count; j++) {
            if (t->draw == DRAW_FILL) p[j] = (float)t->spread;
            if (t->draw == DRAW_NORMAL) p[j] = (float)(p[j] * t->spread);
            if (t->draw == DRAW_UNIFORM) p[j] = (float)((2 * rng_one(s, (uint32_t)j, 0, 0) - 1) * t->spread);
        }
    }
    for (int i = 0; i < a->states; i++)
        for (int64_t j = 0; j < a->state[i].count; j++) state[a->state[i].offset + j] = (float)a->state[i].spread;
}

const struct arch_tensor *arch_first_linear(const struct arch *a, const struct arch_tensor **bias) {
    int i = 0;
    while (i < a->elements && a->element[i].kind == FLATTEN) i++;
    *bias = NULL;
    if (!i || i == a->elements || a->element[i].kind != LINEAR) return NULL;
    const struct arch_tensor *weight = a->param + a->element[i].param;
    if (a->element[i].bias) *bias = weight + 1;
    return weight;
}

const struct arch_tensor *arch_param_at(const struct arch *a, int64_t i) {
    int at = 0;
    while (at + 1 < a->count && a->param[at + 1].offset <= i) at++;
    return &a->param[at];
}

// ---- the graph

struct builder {
    const struct arch *a;
    struct graph *g;
    struct arch_build *b;
    const struct arch_element *now;
};

// The element's tensors, in the order read_* added them.
static struct node *param(const struct builder *c, int i) { return c->b->each[c->now->param + i]; }

static struct node *dropout(const struct builder *c, struct node *x, double p, struct shape mask, const char *suffix) {
    if (!c->b->training || !(p > 0)) return x;
    BUG_IF(!c->b->key, "a training graph with dropout needs the key");
    char purpose[64];
    snprintf(purpose, sizeof purpose, "train/dropout%d%s", (int)(c->now - c->a->element), suffix);
    struct node *u = graph_uniform(c->g, rng_stream(c->b->seed, purpose), c->b->key, mask);
    struct node *kept = graph_scale(c->g, graph_step(c->g, graph_shift(c->g, u, -p)), 1 / (1 - p));
    return graph_mul(c->g, x, graph_broadcast(c->g, kept, x->shape));
}

// x: [in] or [T, in]; w: [out, in]; bias: [out] or NULL.
static struct node *linear(struct graph *g, struct node *x, struct node *w, struct node *bias) {
    bool vector = x->shape.rank == 1;
    if (vector) x = graph_reshape(g, x, (struct shape){2, {1, x->shape.dim[0]}});
    struct node *y = graph_matmul(g, x, w, false, true);
    int64_t out = y->shape.dim[1];
    if (bias) y = graph_add(g, y, graph_broadcast(g, graph_reshape(g, bias, (struct shape){2, {1, out}}), y->shape));
    return vector ? graph_reshape(g, y, (struct shape){1, {out}}) : y;
}

// y: [C, H, W], v: [C] -> v at every position.
static struct node *per_channel(struct graph *g, struct node *v, struct shape s) {
    return graph_broadcast(g, graph_reshape(g, v, (struct shape){3, {s.dim[0], 1, 1}}), s);
}

static struct node *inverse_deviation(struct graph *g, struct node *variance) {
    struct node *s = graph_sqrt(g, graph_shift(g, variance, 1e-5));
    return graph_div(g, graph_fill_like(g, 1, s), s);
}

// Normalises every row of [T, D] (a vector is one row); w, b: [D].
static struct node *layer_norm(struct graph *g, struct node *x, struct node *w, struct node *b) {
    struct shape s = x->shape, rows = s.rank == 2 ? s : (struct shape){2, {1, shape_count(&s)}};
    struct shape row = {2, {1, rows.dim[1]}};
    x = graph_reshape(g, x, rows);
    double n = (double)rows.dim[1];
    struct node *mean = graph_scale(g, graph_sum_last(g, x), 1 / n);
    struct node *d = graph_sub(g, x, graph_broadcast(g, mean, rows));
    struct node *variance = graph_scale(g, graph_sum_last(g, graph_square(g, d)), 1 / n);
    struct node *y = graph_mul(g, d, graph_broadcast(g, inverse_deviation(g, variance), rows));
    y = graph_mul(g, y, graph_broadcast(g, graph_reshape(g, w, row), rows));
    y = graph_add(g, y, graph_broadcast(g, graph_reshape(g, b, row), rows));
    return graph_reshape(g, y, s);
}

// Batch and group norm work on [C, H, W] with statistics per channel, [C, 1, 1].
static struct node *normalise(struct graph *g, struct node *x, struct node *mean, struct node *inverse, struct node *w,
                              struct node *b) {
    struct node *d = graph_sub(g, x, graph_broadcast(g, mean, x->shape));
    struct node *gain = graph_mul(g, inverse, graph_reshape(g, w, inverse->shape));
    return graph_add(g, graph_mul(g, d, graph_broadcast(g, gain, x->shape)), per_channel(g, b, x->shape));
}

static struct node *batch_norm(struct builder *c, struct node *x) {
    struct graph *g = c->g;
    struct shape s = x->shape, image = s.rank == 3 ? s : (struct shape){3, {s.dim[0], 1, 1}};
    struct shape channels = {3, {s.dim[0], 1, 1}};
    x = graph_reshape(g, x, image);
    struct node *const *state = &c->b->state[c->now->state];
    struct node *mean, *variance;
    if (!c->b->training) {
        mean = graph_reshape(g, state[0], channels);
        variance = graph_reshape(g, state[1], channels);
    } else {
        BUG_IF(!c->b->count, "a training graph with batch norm needs the number of examples");
        // n = examples x positions: a whole value, since only the run knows the number of examples.
        struct node *one = graph_scale(g, graph_reshape(g, c->b->count, shape_of(3, 1, 1, 1)), (double)(image.dim[1] * image.dim[2]));
        struct node *n = graph_broadcast(g, one, channels), *before = graph_broadcast(g, graph_shift(g, one, -1), channels);
        mean = graph_div(g, graph_sum_examples(g, graph_sum(g, x, channels)), n);
        struct node *d = graph_sub(g, x, graph_broadcast(g, graph_each(g, mean), image));
        struct node *squares = graph_sum_examples(g, graph_sum(g, graph_square(g, d), channels));
        variance = graph_div(g, squares, n);
        // PyTorch: momentum .1, and the running variance is the unbiased one.
        struct node *fresh[2] = {mean, graph_div(g, squares, before)};
        for (int i = 0; i < 2; i++)
            c->b->new_state[c->now->state + i] = graph_add(g, graph_scale(g, state[i], .9),
                graph_scale(g, graph_reshape(g, fresh[i], state[i]->shape), .1));
    }
    struct node *y = normalise(g, x, graph_each(g, mean), graph_each(g, inverse_deviation(g, variance)), param(c, 0), param(c, 1));
    return graph_reshape(g, y, s);
}

static struct node *group_norm(struct builder *c, struct node *x) {
    struct graph *g = c->g;
    struct shape s = x->shape, image = s.rank == 3 ? s : (struct shape){3, {s.dim[0], 1, 1}};
    int64_t groups = c->now->groups, members = s.dim[0] / groups;
    struct shape channels = {3, {s.dim[0], 1, 1}}, split = {3, {groups, members, 1}}, one = {3, {groups, 1, 1}};
    double n = (double)(members * image.dim[1] * image.dim[2]);
    x = graph_reshape(g, x, image);
    // Sums by channel first, then over each group's channels: no large value is regrouped.
#define GROUP_MEAN(v) graph_scale(g, graph_sum(g, graph_reshape(g, graph_sum(g, v, channels), split), one), 1 / n)
#define TO_CHANNELS(v) graph_reshape(g, graph_broadcast(g, v, split), channels)
    struct node *mean = TO_CHANNELS(GROUP_MEAN(x));
    struct node *d = graph_sub(g, x, graph_broadcast(g, mean, image));
    struct node *inverse = TO_CHANNELS(inverse_deviation(g, GROUP_MEAN(graph_square(g, d))));
    return graph_reshape(g, normalise(g, x, mean, inverse, param(c, 0), param(c, 1)), s);
#undef GROUP_MEAN
#undef TO_CHANNELS
}

static struct node *average_pool(struct graph *g, struct node *x, int64_t k, struct shape out) {
    int64_t c = out.dim[0], h = out.dim[1], w = out.dim[2];
    x = graph_slice(g, graph_slice(g, x, 1, 0, h * k), 2, 0, w * k);
    if (h == 1 && w == 1) x = graph_sum(g, x, out);
    else {
        x = graph_reshape(g, x, (struct shape){5, {c, h, k, w, k}});
        x = graph_reshape(g, graph_sum(g, x, (struct shape){5, {c, h, 1, w, 1}}), out);
    }
    return graph_scale(g, x, 1 / (double)(k * k));
}

static struct node *gelu(struct graph *g, struct node *x) {
    struct node *cdf = graph_shift(g, graph_scale(g, graph_erf(g, graph_scale(g, x, M_SQRT1_2)), .5), .5);
    return graph_mul(g, x, cdf);
}

// [T, D] -> [heads, T, d]
static struct node *split_heads(struct graph *g, struct node *x, int64_t heads) {
    int64_t tokens = x->shape.dim[0], d = x->shape.dim[1] / heads;
    return graph_transpose(g, graph_reshape(g, x, (struct shape){3, {tokens, heads, d}}), (int[]){1, 0, 2});
}

static struct node *first_rows(struct graph *g, struct node *x, int64_t count) {
    return x->shape.dim[0] == count ? x : graph_slice(g, x, 0, 0, count);
}

// Multi-head self-attention (Vaswani et al. 2017): softmax(q k' / sqrt d) v in every head, for the first `wanted` tokens.
static struct node *attention(struct builder *c, struct node *x, int64_t wanted) {
    struct graph *g = c->g;
    int64_t tokens = x->shape.dim[0], width = x->shape.dim[1], heads = c->now->groups;
    struct node *w = param(c, 0), *b = param(c, 1), *part[3];  // q, k, v: [heads, tokens, d]
    struct node *all = wanted == tokens ? linear(g, x, w, b) : NULL;  // [T, 3 D]
    for (int i = 0; i < 3; i++) {
        struct node *p = all ? graph_slice(g, all, 1, i * width, width)
                             : linear(g, i ? x : first_rows(g, x, wanted), graph_slice(g, w, 0, i * width, width),
                                      graph_slice(g, b, 0, i * width, width));
        part[i] = split_heads(g, p, heads);
    }
    struct node *score = graph_scale(g, graph_matmul(g, part[0], part[1], false, true), 1 / sqrt((double)(width / heads)));
    struct node *weight = graph_softmax(g, score);  // [heads, wanted, T]
    weight = dropout(c, weight, c->now->p, weight->shape, ".attention");
    struct node *y = graph_transpose(g, graph_matmul(g, weight, part[2], false, false), (int[]){1, 0, 2});
    return linear(g, graph_reshape(g, y, (struct shape){2, {wanted, width}}), param(c, 2), param(c, 3));
}

// Whether the head, which takes the class token, is all that reads what the element gives: the other tokens then
// count only as keys and values.
static bool only_class_token(const struct builder *c) {
    const struct arch_element *l = c->now + 1, *end = c->a->element + c->a->elements;
    while (l < end && (l->kind == LAYER_NORM || l->kind == DROPOUT)) l++;
    return l < end && l->kind == HEAD;
}

static struct node *encoder(struct builder *c, struct node *x) {
    struct graph *g = c->g;
    double p = c->now->p;
    int64_t wanted = only_class_token(c) ? 1 : x->shape.dim[0];
    for (int half = 0; half < 2; half++) {
        struct node *w = param(c, 8 + 2 * half), *b = param(c, 9 + 2 * half);
        struct node *y = c->now->post ? x : layer_norm(g, x, w, b);
        if (half == 0) y = attention(c, y, wanted);
        else {
            y = gelu(g, linear(g, y, param(c, 4), param(c, 5)));
            y = linear(g, dropout(c, y, p, y->shape, ".hidden"), param(c, 6), param(c, 7));
        }
        x = graph_add(g, first_rows(g, x, wanted), dropout(c, y, p, y->shape, half ? ".after_hidden" : ".after_attention"));
        if (c->now->post) x = layer_norm(g, x, w, b);
    }
    return x;
}

static struct node *convolution(struct builder *c, struct node *x) {
    const struct arch_element *l = c->now;
    struct node *y = l->kind == DECONV ? graph_conv_dx(c->g, x, param(c, 0), l->out, (int)l->stride, (int)l->padding)
                                       : graph_conv(c->g, x, param(c, 0), (int)l->stride, (int)l->padding);
    return l->bias ? graph_add(c->g, y, per_channel(c->g, param(c, 1), y->shape)) : y;
}

// A whole number as x has it at every position.
static struct node *spread(struct graph *g, struct node *number, const struct node *x) {
    struct shape ones = {.rank = x->shape.rank};
    for (int i = 0; i < ones.rank; i++) ones.dim[i] = 1;
    return graph_broadcast(g, graph_reshape(g, graph_each(g, number), ones), x->shape);
}

static struct node *relu(const struct builder *c, struct node *x) {
    struct graph *g = c->g;
    const struct arch_build *b = c->b;
    BUG_IF(b->smooth && b->sharpness, "relu is smooth, or has a smooth derivative");
    if (b->smooth) {  // relu(x) + log(1 + exp(-k |x|)) / k: no exponential overflows
        struct node *plain = graph_relu(g, x), *k = spread(g, b->smooth, x);
        struct node *size = graph_add(g, plain, graph_relu(g, graph_neg(g, x)));
        return graph_add(g, plain, graph_div(g, graph_log(g, graph_shift(g, graph_exp(g, graph_neg(g, graph_mul(g, k, size))), 1)), k));
    }
    if (!b->sharpness) return graph_relu(g, x);
    // soft_relu(s x) / s is relu(x), and its declared derivative is sigmoid(s x).
    struct node *s = spread(g, b->sharpness, x);
    return graph_div(g, graph_soft_relu(g, graph_mul(g, x, s), 1), s);
}

static struct node *build_element(struct builder *c, struct node *x) {
    struct graph *g = c->g;
    const struct arch_element *l = c->now;
    switch (l->kind) {
    case CONV: case DECONV: return convolution(c, x);
    case LINEAR: return linear(g, x, param(c, 0), l->bias ? param(c, 1) : NULL);
    case MAXPOOL: return graph_max_pool(g, x, (int)l->k);
    case AVGPOOL: return average_pool(g, x, l->k, l->out);
    case DROPOUT: return dropout(c, x, l->p, x->shape, "");
    case DROPOUT2D: return dropout(c, x, l->p, (struct shape){3, {x->shape.dim[0], 1, 1}}, "");
    case RELU: return relu(c, x);
    // a x + (1 - a) relu(x): the slope at 0 is a, as in PyTorch.
    case LEAKY: return graph_add(g, graph_scale(g, x, l->p), graph_scale(g, relu(c, x), 1 - l->p));
    case SOFTRELU: return graph_soft_relu(g, x, l->p);
    case TANH: return graph_tanh(g, x);
    case GELU: return gelu(g, x);
    case SIGMOID: return graph_sigmoid(g, x);
    // Tempered sigmoid (Papernot et al. 2021): s / (1 + exp(-T x)) - o.
    case TEMPERED: return graph_shift(g, graph_scale(g, graph_sigmoid(g, graph_scale(g, x, l->temperature)), l->scale), -l->offset);
    case BATCH_NORM: return batch_norm(c, x);
    case LAYER_NORM: return layer_norm(g, x, param(c, 0), param(c, 1));
    case GROUP_NORM: return group_norm(c, x);
    case FLATTEN: return graph_reshape(g, x, l->out);
    case PATCH: {
        struct node *y = convolution(c, x);  // [D, H / K, W / K]
        return graph_transpose(g, graph_reshape(g, y, (struct shape){2, {l->out.dim[1], l->out.dim[0]}}), (int[]){1, 0});
    }
    case CLS: {
        int64_t tokens = l->out.dim[0];
        return graph_add(g, graph_pad(g, param(c, 0), 0, 0, tokens), graph_pad(g, x, 0, 1, tokens));
    }
    case POS: return graph_add(g, x, param(c, 0));
    case ENCODER: return encoder(c, x);
    case HEAD: return graph_reshape(g, first_rows(g, x, 1), l->out);
    case INIT: break;
    }
    BUG("kind %d", l->kind);
}

void arch_inputs(const struct arch *a, struct graph *g, struct arena *arena, const char *prefix, struct arch_build *b) {
    b->param = arena_take(arena, (size_t)a->count * sizeof *b->param);
    b->each = arena_take(arena, (size_t)a->count * sizeof *b->each);
    b->state = arena_take(arena, (size_t)a->states * sizeof *b->state);
    b->new_state = arena_take(arena, (size_t)a->states * sizeof *b->new_state);
    for (int i = 0; i < a->count; i++)
        b->param[i] = graph_input(g, arena_print(arena, "%s%s", prefix ? prefix : "", a->param[i].name), false, a->param[i].shape);
    for (int i = 0; i < a->states; i++)
        b->state[i] = graph_input(g, arena_print(arena, "%s%s", prefix ? prefix : "", a->state[i].name), false, a->state[i].shape);
}

void arch_build(const struct arch *a, struct graph *g, struct arch_build *b, struct node *x) {
    BUG_IF(!x->batch || !shape_equal(&x->shape, &a->input), "an image [C, H, W] for each example expected");
    for (int i = 0; i < a->count; i++) b->each[i] = graph_each(g, b->param[i]);
    struct builder c = {a, g, b, NULL};
    const struct arch_tensor *bias, *first = arch_first_linear(a, &bias);
    b->features = b->first_in = b->first_out = NULL;
    for (int i = 0; i < a->elements; i++) {
        c.now = &a->element[i];
        if (c.now->kind == LINEAR && x->shape.rank == 1) b->features = x;
        struct node *in = x;
        x = build_element(&c, x);
        if (c.now->kind == RELU && i && a->element[i - 1].kind == LINEAR && &a->param[a->element[i - 1].param] == first) b->first_in = in, b->first_out = x;
    }
    b->logits = x;
    if (!b->features) b->features = x;
}
