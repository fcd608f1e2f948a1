// space.h: named ranges that a search draws from, and a command line with their values in it.
//
//     lr=1e-4..1e-1:log    a real number, searched by its logarithm
//     width=64..512:int    a whole number; :int:log by its logarithm
//     opt=sgd,adam         one of these words, which have no order
//
// A point is a vector u in [0, 1]^D, a coordinate for each range in the order they were added. Of a point that is snapped
// every coordinate stands for a value exactly as it is printed: whole numbers and words have a cell of equal width each,
// real numbers are rounded to what text holds (six digits on a logarithmic range, else a digit below 1e-5 of its width).
//
// Real numbers that are not logarithmic reach up to SPACE_MOST, and their range is as wide as 1 / SPACE_MOST at least.
//
// Values are numbers, or words of letters, digits and . _ + - : /, so whatever is put into a command is one word to the
// shell, and nothing in it means anything to it.
#ifndef ASSAY_AUDIT_SPACE_H
#define ASSAY_AUDIT_SPACE_H

#include <stdbool.h>
#include <stdint.h>
#include "../base/arena.h"
#include "../base/error.h"

enum { SPACE_AXES = 32, SPACE_WORDS = 64, SPACE_TEXT = 64 };
#define SPACE_MOST 1e30
enum space_kind { SPACE_REAL, SPACE_INT, SPACE_CHOICE };

struct space_axis {
    const char *name;   // a letter or _, then letters, digits and _
    const char *range;  // as given, behind the =
    enum space_kind kind;
    bool log;
    double low, high;  // of numbers, both possible; of a choice 0 and words - 1
    int words;
    const char *word[SPACE_WORDS];
};

struct space {  // owns all it points to
    int count;
    struct space_axis axis[SPACE_AXES];
    struct arena arena;
};

// Takes NAME=RANGE. EXIT_USAGE says what is wrong with it.
bool space_add(struct space *s, const char *text, struct error *e);
void space_free(struct space *s);

// u in [0, 1] -> the value there, of a choice its word's number; and back.
double space_value(const struct space_axis *a, double u);
double space_unit(const struct space_axis *a, double value);
void space_snap(const struct space *s, double *u);
// How many different points there are once snapped; infinite with a range of real numbers.
double space_points(const struct space *s);
// The i-th of them, i < space_points, all numbers whole or words.
void space_point(const struct space *s, int64_t i, double *u);

// A value as it stands in a command.
char *space_text(const struct space_axis *a, double value, char out[SPACE_TEXT]);
// Whether every {NAME} of a range stands in the command. EXIT_USAGE names the one that does not.
bool space_fits(const struct space *s, const char *command, struct error *e);
// The command with each {NAME} of a range, and {trial}, replaced; other braces stay. free() it.
char *space_command(const struct space *s, const char *command, const double *value, int64_t trial);

#endif
