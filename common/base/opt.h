// opt.h: one option table per tool drives parsing, --help, the manual's OPTIONS and shell completion.
//
// A tool declares `static struct NAME_options o = {defaults};` and a table whose entries point into it, so
// --help prints live defaults (none for an empty text or list and for NaN). Every tool also gets: -h/--help,
// --version, -q/--quiet, -v/--verbose, and the hidden `--completion`, which tests and the completion scripts read:
// one line per option, tab-separated, "-" where there is nothing: long name, short letter, argument, help as
// --help prints it, values ("file" or the choices with '|'), default.
//
// Long options take `--name value` or `--name=value`; short ones `-o value`; `--` ends options; `-` alone is an
// operand (standard input or output). Names may be abbreviated to a unique prefix. Numbers are parsed
// whole-string, independent of the locale, and refused outside [low, high] with both in the message. A repeated
// scalar option is an error, except flags.
#ifndef ASSAY_BASE_OPT_H
#define ASSAY_BASE_OPT_H

#include <stdint.h>
#include "error.h"

enum opt_kind {
    OPT_FLAG,    // bool at
    OPT_INT,     // int64_t at
    OPT_SEED,    // uint64_t at
    OPT_REAL,    // double at; also accepts a fraction such as 8/255
    OPT_REALS,   // struct reals at: a comma-separated list, each as OPT_REAL
    OPT_TEXT,    // const char * at, borrowed from argv
    OPT_FILE,    // const char * at; completed as a file name
    OPT_CHOICE,  // const char * at; one word of `choices`, which are separated by '|'
    OPT_WORDS,   // const char * at; a comma-separated list of words of `choices`
};

enum { OPT_REALS_MAX = 64 };
struct reals {
    int count;
    double value[OPT_REALS_MAX];
};

struct opt {
    const char *name;  // long name without dashes
    char letter;       // short name or 0
    enum opt_kind kind;
    void *at;
    const char *argument;  // what the manual calls the value: "N", "FILE", "LINE"; NULL for flags
    const char *help;      // one line, lower case, no full stop; the default is appended
    const char *choices;   // OPT_CHOICE and OPT_WORDS
    double low, high;      // numbers: the allowed range; both 0: any; INFINITY: no upper end
    bool given;            // set by opt_parse
};

struct program {
    const char *name;      // "trainclf"
    const char *summary;   // one line: what it does, as in the manual's NAME section
    const char *operands;  // "MODEL [FILE...]", "" when there are none
    int operands_min, operands_max;  // max -1: any number
    struct opt *opts;
    int count;
    const char *examples;  // lines shown under "Examples:", each one also in the manual
    const char *see_also;  // "attack(1), blob(5)"
};

struct operands {  // valid until the next opt_parse
    int count;
    char **value;
};

// Parses the command line and calls msg_open. --help prints to stdout and exits 0, a mistake goes to stderr
// and exits 2 (this file and msg.c are the only places below tools/ that end a program).
struct operands opt_parse(struct program *p, int argc, char **argv);

// Whether the user named the option himself. BUG if the table has no such name.
bool opt_given(const struct program *p, const char *name);

// Ends with a usage error where one regular file would be lost under another: two of the options named in `outputs` name it, or
// one of these and one of `inputs` or an operand. Names are long ones, separated by commas; operands may be NULL, and those that
// are not files must not be given.
void opt_keep_apart(const struct program *p, const char *outputs, const char *inputs, const struct operands *operands);

// Locale-independent, whole-string parsing for values inside operands and small languages.
bool parse_real(const char *text, double *value);    // "0.1", "1e-3", "8/255"
bool parse_int(const char *text, int64_t *value);
bool parse_seed(const char *text, uint64_t *value);
// Shortest decimal that reads back as the same float (single = true) or double. `out` holds 32 bytes.
void format_real(double value, bool single, char *out);

#endif
