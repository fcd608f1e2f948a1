// knowledge.c: the words and what they mean.
#include "knowledge.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *word, *meaning;
} items[] = {
    {"weights", "every parameter and running statistic in the model file"},
    {"architecture", "the network's layers and the shape of its input"},
    {"classes", "how many there are, and no training image's label"},
    {"pixel-range", "pixels lie in [0, 1]"},
    {"mean-image", "the mean of the training images, which the model file subtracts"},
    {"scalar-normalisation", "the mean and the deviation of pixels by which the model file normalises"},
    {"equal-classes", "assumed: as many training images in each class"},
    {"number-of-images", "told: how many training images there are"},
    {"margin", "told: the margin of a training image, for the scale of the multipliers"},
};
enum { ITEMS = sizeof items / sizeof *items };

static int place_of(const char *word) {
    int i = 0;
    while (i < ITEMS && strcmp(items[i].word, word)) i++;
    return i;
}

static void add_once(json_t *list, const char *word) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!strcmp(json_string_value(json_array_get(list, i)), word)) return;
    json_array_append_new(list, json_string(word));
}

json_t *knowledge_of(const struct model *m) {
    json_t *list = json_pack("[s, s, s, s]", "weights", "architecture", "classes", "pixel-range");
    if (m->mean_count) knowledge_add(list, m->mean_count > 1 ? "mean-image" : "scalar-normalisation");
    return list;
}

void knowledge_add(json_t *list, const char *word) {
    BUG_IF(place_of(word) == ITEMS, "knowledge of %s", word);
    add_once(list, word);
}

// What comes out of a file must not speak to the terminal.
static bool is_word(const char *text) {
    size_t length = strlen(text);
    return length && length <= 40 && strspn(text, "abcdefghijklmnopqrstuvwxyz-") == length;
}

void knowledge_join(json_t *list, const json_t *other) {
    for (size_t i = 0; i < json_array_size(other); i++) {
        const char *word = json_string_value(json_array_get(other, i));
        if (word && is_word(word)) add_once(list, word);
    }
}

void knowledge_print(const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *word = json_string_value(json_array_get(list, i));
        int at = place_of(word);
        printf("%-20s  %s\n", word, at < ITEMS ? items[at].meaning : "as the attack whose images are used notes it");
    }
}
