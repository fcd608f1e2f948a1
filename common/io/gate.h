// gate.h: conditions on a record that make a program end with status 1: --fail-if 'clean.accuracy<.8'.
//
// A condition is a record path, one of < <= > >= == !=, and a number; several are separated by commas, and
// one that holds is enough. A path may leave out its leading "metrics.".
#ifndef ASSAY_IO_GATE_H
#define ASSAY_IO_GATE_H

#include <jansson.h>
#include "../base/error.h"

enum gate_relation { GATE_LESS, GATE_LESS_EQUAL, GATE_MORE, GATE_MORE_EQUAL, GATE_EQUAL, GATE_UNEQUAL };
enum { GATE_MAX = 32, GATE_PATH = 200, GATE_TEXT = 320 };

struct gate {
    int count;
    struct {
        char path[GATE_PATH];
        enum gate_relation relation;
        double bound;
    } condition[GATE_MAX];
};

// EXIT_USAGE names the condition that does not parse.
bool gate_parse(const char *text, struct gate *g, struct error *e);
// Whether a condition holds: `why` then says which, and the value found. False with e->status set
// where a path is missing (EXIT_USAGE, naming what there is beside it) or holds no number (EXIT_INPUT): a gate
// on nothing must not pass for a gate that was not reached.
bool gate_holds(const struct gate *g, const json_t *record, char why[GATE_TEXT], struct error *e);
// The beginning of a program that has a gate: NULL is none, which never holds; a mistake in the condition ends it here.
struct gate gate_open(const char *condition);
// The end, once its outputs are there: judges the record (NULL: nothing to judge), says
// which condition holds, prints the closing line and returns the exit status. An error of gate_holds ends it here.
int gate_close(const struct gate *g, const json_t *record);

#endif
