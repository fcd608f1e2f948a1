// chart.c: scripts for gnuplot, and its SVG made fit to stand inside a page.
//
// Texts are given in single quotes, where gnuplot expands neither backquotes nor escapes; a text's own quotes
// are doubled and its control characters dropped. Data stand in the script as named blocks.
#include "chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/arena.h"
#include "gnuplot.h"
#include "markup.h"

enum { COLOURS = 7, SHAPES = 6, SHAPES_SHOWN = 8 };

// Okabe & Ito, the dark ones first: yellow is left out, it cannot be seen on white.
static const char *const colours[COLOURS] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A"};
static const int filled[SHAPES] = {7, 5, 9, 13, 11, 15}, hollow[SHAPES] = {6, 4, 8, 12, 10, 14};

// ---- script

static void put_text(FILE *f, const char *text) {
    fputc('\'', f);
    for (; *text; text++) {
        if ((unsigned char)*text < 32 || *text == 127) continue;
        if (*text == '\'') fputc('\'', f);
        fputc(*text, f);
    }
    fputc('\'', f);
}

static void put_range(FILE *f, const char *axis, double low, double high) {
    fprintf(f, "set %srange [", axis);
    if (isfinite(low)) fprintf(f, "%.10g", low);
    fputc(':', f);
    if (isfinite(high)) fprintf(f, "%.10g", high);
    fputs("]\n", f);
}

// Names in place of numbers along x.
static void put_words(FILE *f, const struct chart *c) {
    for (int i = 0; i < c->words; i++) {
        fputs(i ? "," : "set xtics (", f);
        put_text(f, c->word[i]);
        fprintf(f, " %d%s", i, i + 1 == c->words ? ")\n" : "");
    }
}

static void put_data(FILE *f, const struct chart *c) {
    for (int s = 0; s < c->count; s++) {
        fprintf(f, "$s%d << EOD\n", s);
        for (int i = 0; i < c->series[s].count; i++) {
            const struct chart_point *p = &c->series[s].point[i];
            bool y = isfinite(p->low) && isfinite(p->high), x = isfinite(p->x_low) && isfinite(p->x_high);
            fprintf(f, "%.10g %.10g %.10g %.10g %.10g %.10g\n", p->x + c->series[s].shift, p->y, y ? p->low : p->y,
                    y ? p->high : p->y, x ? p->x_low : p->x, x ? p->x_high : p->x);
        }
        fputs("EOD\n", f);
    }
}

static bool has_intervals(const struct chart_series *s) {
    for (int i = 0; i < s->count; i++)
        if (isfinite(s->point[i].low) && isfinite(s->point[i].high)) return true;
    return false;
}

// How much of the axes a letter and a line of text take, a little generously, in either picture.
#define LETTER .014
#define LINE .045

struct place {
    double left, right, y;  // in parts of the axes
};

// The number of lines that a label moves up so that it meets none of those placed before.
static int rise_of(struct place *placed, int count, struct place own) {
    int rise = 0;
    for (int i = 0; i < count; i++) {
        const struct place *p = &placed[i];
        if (p->left < own.right && own.left < p->right && fabs(p->y - own.y - rise * LINE) < .95 * LINE) {
            rise++;
            i = -1;  // the new place may meet an earlier one
        }
    }
    placed[count] = (struct place){own.left, own.right, own.y + rise * LINE};
    return rise;
}

// Points closer than a line of text share one label. Labels of several lines of points do not cover each other, and have the
// colour of their points, since one that moved up may stand nearer to others.
static int put_labels(FILE *f, const struct chart *c, const struct chart_series *s, struct place *placed, int count) {
    double height = c->y_high - c->y_low, width = c->x_high - c->x_low;
    for (int i = 0, next; i < s->count; i = next) {
        const struct chart_point *p = &s->point[i];
        char text[200] = "";
        size_t used = 0;
        for (next = i; next < s->count && (next == i || fabs(s->point[next].y - p->y) < .05 * height); next++)
            if (s->point[next].label && used < sizeof text)
                used +=
                    (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? ", " : "", s->point[next].label);
        if (!*text) continue;
        double left = (p->x - c->x_low) / width;
        double right = left + LETTER * (double)(strlen(text) + 1);
        int rise = rise_of(placed, count++, (struct place){left, right, (p->y - c->y_low) / height});
        fputs("set label ", f);
        put_text(f, text);
        fprintf(f, " at %.10g,%.10g left offset char .7,.6 textcolor rgb '%s' front\n", p->x,
                rise ? p->y + rise * LINE * height : p->y, colours[s->colour % COLOURS]);
    }
    return count;
}

static void put_plot(FILE *f, const struct chart *c, const char *grey) {
    const char *comma = "";
    fputs("plot ", f);
    for (int i = 0; i < c->count; i++) {
        const struct chart_series *s = &c->series[i];
        const char *colour = colours[s->colour % COLOURS];
        int shape = (s->style == CHART_DASHED ? hollow : filled)[s->colour % SHAPES];
        // Bars first, so that points lie on top of them.
        if (s->style == CHART_BAND)
            fprintf(f, "%s$s%d using 1:3:4 with filledcurves lc rgb '%s' fs transparent solid .2 noborder notitle",
                    comma, i, colour),
                comma = ", ";
        else if (s->style == CHART_STEPS)
            fprintf(f, "%s$s%d using 1:2 with fillsteps lc rgb '%s' fs transparent solid .25 noborder notitle", comma, i, colour),
                comma = ", ";
        else if (s->style == CHART_MARKS && has_intervals(s))
            fprintf(f, "%s$s%d using 1:2:5:6:3:4 with xyerrorbars pt -1 lw 1.2 lc rgb '%s' notitle", comma, i, colour),
                comma = ", ";
        else if (s->style != CHART_RULE && has_intervals(s))
            fprintf(f, "%s$s%d using 1:2:3:4 with yerrorbars pt -1 lw 1.2 lc rgb '%s' notitle", comma, i, colour),
                comma = ", ";
        fprintf(f, "%s$s%d using 1:2 ", comma, i);
        switch (s->style) {
        case CHART_LINE: fprintf(f, "with linespoints lw 2 pt %d ps .8 lc rgb '%s'", shape, colour); break;
        case CHART_DASHED: fprintf(f, "with linespoints lw 1.5 dt (8,5) pt %d ps .8 lc rgb '%s'", shape, colour); break;
        case CHART_MARKS: fprintf(f, "with points pt %d ps 1.2 lc rgb '%s'", shape, colour); break;
        case CHART_BAND: fprintf(f, "with lines lw 2 lc rgb '%s'", colour); break;
        case CHART_STEPS: fprintf(f, "with steps lw 2 lc rgb '%s'", colour); break;
        case CHART_CURVE:
            fprintf(f, "with linespoints lw 2 pt %d ps .8 pi %d lc rgb '%s'", shape, 1 + s->count / SHAPES_SHOWN, colour);
            break;
        case CHART_RULE: fprintf(f, "with lines lw 1.2 dt (2,4) lc rgb '%s'", grey); break;
        }
        fputs(" title ", f);
        put_text(f, s->name);
        comma = ", ";
    }
    fputc('\n', f);
}

// Colours that chart_svg finds again and hands to the page.
#define INK_SVG "rgb(1,2,3)"
#define GREY_SVG "rgb(  4,   5,   6)"
#define GRID_SVG "rgb(  7,   8,   9)"

char *chart_script(const struct chart *c, bool picture) {
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    BUG_IF(!f, "no memory stream");
    const char *ink = picture ? "#1A1A1A" : "#010203", *grey = picture ? "#666666" : "#040506",
               *grid = picture ? "#D9D9D9" : "#070809";
    fputs("set encoding utf8\n", f);
    fputs(picture ? "set terminal pngcairo noenhanced size 1280,800 font 'sans-serif,13' fontscale 1.35 linewidth 1.8 "
                    "pointscale 1.8 "
                    "background rgb '#FFFFFF'\n"
                  : "set terminal svg noenhanced size 860,470 font 'sans-serif,14'\n",
          f);
    fputs("set pointintervalbox 0\nset errorbars small\nset datafile missing 'nan'\n", f);
    fprintf(f, "set border 3 lc rgb '%s'\nset tics nomirror out scale .6 textcolor rgb '%s'\n", grey, ink);
    fprintf(f, "set grid back lt 1 lw .8 lc rgb '%s'\n", grid);
    fprintf(f, "set key outside right top vertical Left reverse noopaque samplen 2.5 spacing 1.3 textcolor rgb '%s'\n",
            ink);
    fputs("set title ", f);
    put_text(f, c->title);
    fprintf(f, " textcolor rgb '%s'\nset xlabel ", ink);
    put_text(f, c->x_label);
    fprintf(f, " textcolor rgb '%s'\nset ylabel ", ink);
    put_text(f, c->y_label);
    fprintf(f, " textcolor rgb '%s'\n", ink);
    put_range(f, "x", c->x_low, c->x_high);
    put_range(f, "y", c->y_low, c->y_high);
    if (c->whole_x && c->x_high - c->x_low <= 20) fputs("set xtics 1\n", f);
    if (c->log_x) fputs("set logscale x\nset format x '%g'\n", f);
    if (c->log_y) fputs("set logscale y\nset format y '%g'\n", f);
    put_words(f, c);
    int labels = 0;
    for (int i = 0; i < c->count; i++) labels += c->series[i].count;
    struct place *placed = memory_take((size_t)(labels + 1) * sizeof *placed);
    labels = 0;
    for (int i = 0; i < c->count; i++) labels = put_labels(f, c, &c->series[i], placed, labels);
    free(placed);
    put_data(f, c);
    put_plot(f, c, grey);
    BUG_IF(fclose(f) != 0, "no memory for a script");
    return text;
}

static bool draw(const struct chart *c, bool picture, struct chart_bytes *out, struct error *e) {
    char *script = chart_script(c, picture);
    bool fine = gnuplot_run(script, &out->data, &out->size, e);
    if (!fine) error_prefix(e, "chart %s: ", c->stem);
    free(script);
    return fine;
}

bool chart_png(const struct chart *c, struct chart_bytes *out, struct error *e) {
    return draw(c, true, out, e);
}

// ---- svg

static const char *starts(const char *at, const char *with) {
    size_t n = strlen(with);
    return strncmp(at, with, n) ? NULL : at + n;
}

// gnuplot's svg terminal writes the colour of a line as rgb(  0, 114, 178) and that of a text as rgb(0,114,178).
static const char *after_colour(const char *at, int colour) {
    unsigned part[3];
    char text[32];
    const char *after = NULL;
    if (*at != 'r' || sscanf(colours[colour], "#%2x%2x%2x", &part[0], &part[1], &part[2]) != 3) return NULL;
    for (int i = 0; i < 2 && !after; i++) {
        snprintf(text, sizeof text, i ? "rgb(%u,%u,%u)" : "rgb(%3u, %3u, %3u)", part[0], part[1], part[2]);
        after = starts(at, text);
    }
    return after;
}

// What gnuplot wrote -> what the page needs. Black and white come from the group's `color`, which goes, so
// that currentColor is the page's ink.
static const char *put_changed(FILE *f, const char *at, const char *stem) {
    const char *after;
    for (int i = 0; i < COLOURS; i++)
        if ((after = after_colour(at, i))) return fprintf(f, "var(--series-%d)", i), after;
    if ((after = starts(at, INK_SVG))) return fputs("currentColor", f), after;
    if ((after = starts(at, GREY_SVG))) return fputs("var(--axis)", f), after;
    if ((after = starts(at, GRID_SVG))) return fputs("var(--grid)", f), after;
    if ((after = starts(at, " color=\"black\"")) || (after = starts(at, " color=\"white\"")) ||
        (after = starts(at, " color=\"gray\"")))
        return after;
    if ((after = starts(at, " color='white'"))) return fputs(" color='var(--paper)'", f), after;  // halo of a point
    if ((after = starts(at, "xlink:href='#"))) return fprintf(f, "href='#%s-", stem), after;
    if ((after = starts(at, " id='"))) return fprintf(f, " id='%s-", stem), after;
    if ((after = starts(at, " id=\""))) return fprintf(f, " id=\"%s-", stem), after;
    // Groups that hold nothing make up a third of what it writes.
    if ((after = starts(at, "<g fill=\"none\" "))) {
        const char *end = strchr(after, '>');
        if (end && (after = starts(end, ">\n</g>\n"))) return after;
    }
    fputc(*at, f);
    return at + 1;
}

// Titles of plots ("gnuplot_plot_1") show when the pointer rests on them.
static const char *skip_titles(const char *at) {
    const char *end = starts(at, "<title>") ? strstr(at, "</title>") : NULL;
    return end ? end + 8 : at;
}

bool chart_svg(const struct chart *c, struct chart_bytes *out, struct error *e) {
    struct chart_bytes drawn;
    if (!draw(c, false, &drawn, e)) return false;
    const char *box = strstr(drawn.data, "viewBox=\""), *at = strstr(drawn.data, "<g id=\"gnuplot_canvas\"");
    if (!box || !at) {
        free(drawn.data);
        return error_set(e, EXIT_SYSTEM, "chart %s: gnuplot wrote no SVG that is known here", c->stem);
    }
    box += 9;
    FILE *f = open_memstream(&out->data, &out->size);
    BUG_IF(!f, "no memory stream");
    fprintf(f, "<svg viewBox=\"%.*s\" class=\"chart\" role=\"img\" ", (int)strcspn(box, "\""), box);
    markup(f, "aria-label=\"%s\"><title>%s</title>\n", c->alt, c->title);
    while (*at) {
        const char *next = skip_titles(at);
        at = next != at ? next : put_changed(f, at, c->stem);
    }
    BUG_IF(fclose(f) != 0, "no memory for a chart");
    free(drawn.data);
    return true;
}
