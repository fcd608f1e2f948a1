// own.c: folders of PNG files and pairs of numpy arrays.
#include "own.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "npy.h"
#include "png.h"

// ---- pictures

struct listing {
    int64_t count, room;
    char **path;  // owned by the arena
    int64_t *label;
};

static int no_dot(const struct dirent *d) {
    return d->d_name[0] != '.';
}

static int png_only(const struct dirent *d) {
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 4 && strcasecmp(d->d_name + n - 4, ".png") == 0;
}

static bool list(const char *directory, int (*wanted)(const struct dirent *), struct dirent ***entry, int *count,
                 struct error *e) {
    *count = scandir(directory, entry, wanted, versionsort);
    return *count >= 0 || error_set(e, EXIT_SYSTEM, "%s: cannot read this directory: %s", directory, strerror(errno));
}

static void free_entries(struct dirent **entry, int count) {
    for (int i = 0; i < count; i++) free(entry[i]);
    free(entry);
}

static void append(struct listing *l, char *path, int64_t label) {
    if (l->count == l->room) {
        l->room = l->room ? 2 * l->room : 256;
        l->path = memory_grow(l->path, (size_t)l->room * sizeof *l->path);
        l->label = memory_grow(l->label, (size_t)l->room * sizeof *l->label);
    }
    l->path[l->count] = path;
    l->label[l->count++] = label;
}

static bool list_class(const char *path, int label, struct listing *l, struct arena *a, struct error *e) {
    struct dirent **file;
    int files;
    if (!list(path, png_only, &file, &files, e)) return false;
    for (int i = 0; i < files; i++) append(l, arena_print(a, "%s/%s", path, file[i]->d_name), label);
    free_entries(file, files);
    return true;
}

static bool list_classes(const char *directory, struct intake *in, struct listing *l, struct arena *a, struct error *e) {
    struct dirent **folder;
    struct stat st;
    int folders;
    bool good = true;
    if (!list(directory, no_dot, &folder, &folders, e)) return false;
    for (int i = 0; good && i < folders; i++) {
        char *path = arena_print(a, "%s/%s", directory, folder[i]->d_name);
        if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) continue;
        if (in->classes == INTAKE_CLASSES_MAX)
            good = error_set(e, EXIT_INPUT, "%s: more than %d classes", directory, INTAKE_CLASSES_MAX);
        if (good) good = list_class(path, in->classes, l, a, e);
        if (good) in->class_name[in->classes++] = arena_text(a, folder[i]->d_name);
    }
    free_entries(folder, folders);
    if (good && !l->count) good = error_set(e, EXIT_INPUT, "%s: no sub-directory holds PNG files", directory);
    return good;
}

// A picture's pixels stand side by side, an image's channels apart.
static bool take_picture(const char *path, struct intake *in, const struct listing *l, uint8_t **planes,
                         struct error *e) {
    struct picture *p = png_picture_read(path, e);
    if (!p) return false;
    bool good = true;
    if (!*planes) {  // the first one sets the shape
        in->channels = p->channels;
        in->height = p->height;
        in->width = p->width;
        *planes = memory_take(intake_image_bytes(in));
        good = intake_begin(in, l->count, l->label, e);
    }
    if (good && (p->channels != in->channels || p->height != in->height || p->width != in->width))
        good = error_set(e, EXIT_INPUT, "%s: %dx%dx%d expected as in the first picture, %dx%dx%d found", path,
                         in->channels, in->height, in->width, p->channels, p->height, p->width);
    if (good) {
        size_t plane = (size_t)p->height * (size_t)p->width, channels = (size_t)p->channels;
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < plane; i++) (*planes)[c * plane + i] = p->pixel[i * channels + c];
        good = intake_image(in, *planes, e);
    }
    picture_free(p);
    return good;
}

bool own_pictures(const char *directory, struct intake *in, struct arena *names, struct error *e) {
    struct listing l = {0};
    uint8_t *planes = NULL;
    in->dtype = U8;
    bool good = list_classes(directory, in, &l, names, e);
    for (int64_t i = 0; good && i < l.count; i++) good = take_picture(l.path[i], in, &l, &planes, e);
    if (good) good = intake_end(in, e);
    free(planes);
    free(l.path);
    free(l.label);
    return good;
}

// ---- arrays

static bool small(int64_t channels) {
    return channels == 1 || channels == 3;
}

// Shape of an image, and whether the channels come last.
static bool set_shape(const struct tensor *x, struct intake *in, bool *last, const char *path, struct error *e) {
    char shape[128];
    if (x->rank != 3 && x->rank != 4)
        return error_set(e, EXIT_INPUT, "%s: [N, H, W] or [N, C, H, W] expected, %s found", path,
                         tensor_shape_text(x, shape));
    *last = x->rank == 4 && !small(x->dim[1]) && small(x->dim[3]);
    int64_t channels = x->rank == 3 ? 1 : *last ? x->dim[3] : x->dim[1];
    int64_t height = x->dim[x->rank == 3 || *last ? 1 : 2], width = x->dim[x->rank == 3 || *last ? 2 : 3], size;
    if (channels < 1 || height < 1 || width < 1 || __builtin_mul_overflow(channels, height, &size) ||
        __builtin_mul_overflow(size, width, &size) || size > INT_MAX)
        return error_set(e, EXIT_INPUT, "%s: %s is no shape for images", path, tensor_shape_text(x, shape));
    in->channels = (int)channels;
    in->height = (int)height;
    in->width = (int)width;
    in->dtype = x->dtype == U8 ? U8 : F32;
    if (x->dtype != U8 && x->dtype != F32 && x->dtype != F64)
        return error_set(e, EXIT_INPUT, "%s: U8, F32 or F64 expected, %s found", path, dtype_name(x->dtype));
    return true;
}

static bool read_labels(const struct tensor *y, int64_t count, struct intake *in, int64_t *label, const char *path,
                        struct error *e) {
    char shape[128];
    if (y->rank < 1 || y->dim[0] != count || tensor_count(y) != count)
        return error_set(e, EXIT_INPUT, "%s: %lld labels expected, %s found", path, (long long)count,
                         tensor_shape_text(y, shape));
    for (int64_t i = 0; i < count; i++) {
        double value = tensor_value(y, i);
        if (!(value >= 0 && value < INTAKE_CLASSES_MAX) || value != floor(value))
            return error_set(e, EXIT_INPUT, "%s: labels in [0, %d] expected, %g found", path, INTAKE_CLASSES_MAX - 1,
                             value);
        label[i] = (int64_t)value;
        if (label[i] >= in->classes) in->classes = (int)label[i] + 1;
    }
    return true;
}

static bool take_array(const struct tensor *x, struct intake *in, bool last, const char *path, struct error *e) {
    size_t channels = (size_t)in->channels, plane = (size_t)in->height * (size_t)in->width, size = channels * plane;
    uint8_t *byte = memory_take(size * sizeof(float));
    float *real = (float *)byte;
    bool good = true;
    for (int64_t n = 0; good && n < x->dim[0]; n++) {
        for (size_t i = 0; good && i < size; i++) {
            size_t from = (size_t)n * size + (last ? i % plane * channels + i / plane : i);
            if (x->dtype == U8) {
                byte[i] = ((const uint8_t *)x->data)[from];
                continue;
            }
            real[i] = (float)tensor_value(x, (int64_t)from);
            if (!(real[i] >= 0 && real[i] <= 1))
                good = error_set(e, EXIT_INPUT, "%s: values in [0, 1] expected, %g found in image %lld", path,
                                 (double)real[i], (long long)n);
        }
        if (good) good = intake_image(in, byte, e);
    }
    free(byte);
    return good;
}

bool own_arrays(const char *x_path, const char *y_path, struct intake *in, struct error *e) {
    bool last = false;
    struct tensor *x = npy_read(x_path, e), *y = x ? npy_read(y_path, e) : NULL;
    int64_t *label = NULL;
    bool good = y && set_shape(x, in, &last, x_path, e);
    if (good) {
        label = memory_take((size_t)x->dim[0] * sizeof *label + 1);
        good = read_labels(y, x->dim[0], in, label, y_path, e);
        if (!in->classes) in->classes = 1;  // no image at all: intake_begin says so
    }
    good = good && intake_begin(in, x->dim[0], label, e) && take_array(x, in, last, x_path, e) && intake_end(in, e);
    free(label);
    if (y) npy_free(y);
    if (x) npy_free(x);
    return good;
}
