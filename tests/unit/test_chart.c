// Reports: what a summary makes of known records, what stands in charts, pictures, rows and the page.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chart/figures.h"
#include "chart/gnuplot.h"
#include "chart/markup.h"
#include "chart/montage.h"
#include "chart/page.h"
#include "chart/rows.h"
#include "chart/summary.h"
#include "io/png.h"
#include "io/record.h"

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/test_chart.XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int drop_folder(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

// ---- records

static json_t *json_of(const char *text) {
    struct error e = {0};
    json_t *value = record_parse(text, strlen(text), "test", &e);
    if (!value) fail_msg("%s", e.text);
    return value;
}

// A blob as a program would find it in FOLDER/NAME. `x` makes contents, and so digests, differ.
static struct blob *blob_of(const char *name, const char *kind, const char *record, float x) {
    struct error e = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct blob *b = blob_new(kind);
    json_t *r = json_of(record);
    blob_set_record(b, r);
    json_decref(r);
    blob_add(b, "0.weight", F32, 0, NULL, &x);
    if (!blob_write(b, path, &e)) fail_msg("%s", e.text);
    blob_free(b);
    b = blob_open(path, &e);
    if (!b) fail_msg("%s", e.text);
    return b;
}

#define MODEL                                                                                                                       \
    "{\"config\":{\"arch\":\"flatten | linear 10\",\"classes\":10,\"regime\":\"erm\",\"parameters\":7850,\"examples\":60},"          \
    "\"metrics\":{\"history\":{\"test_accuracy\":[0.5,0.7],\"test_loss\":[1.5,0.9],\"train_loss\":[2,1]},"                           \
    "\"test\":{\"accuracy\":0.7,\"accuracy_interval\":[0.6,0.78],\"loss\":0.9}},\"notes\":[]}"

static const char attack_of_model[] =
    "{\"config\":{\"model\":\"%s\",\"data\":\"%s\",\"norm\":\"linf\",\"steps\":10},\"metrics\":{"
    "\"clean\":{\"accuracy\":0.7,\"accuracy_interval\":[0.6,0.78],\"count\":100,\"per_class\":{\"count\":[60,40],\"accuracy\":[0.8,0.55],"
    "\"accuracy_interval\":[[0.67,0.89],[0.38,0.71]]}},\"robust\":{"
    "\"noise\":{\"eps_0p1\":{\"accuracy\":0.65,\"accuracy_interval\":[0.55,0.74]},\"eps_0p05\":{\"accuracy\":0.68,\"accuracy_interval\":[0.58,"
    "0.77]}},"
    "\"fgsm\":{\"eps_0p1\":{\"accuracy\":0.3,\"accuracy_interval\":[0.21,0.4]},\"eps_0p05\":{\"accuracy\":0.6,\"accuracy_interval\":[0.5,0.7]}},"
    "\"pgd\":{\"eps_0p1\":{\"accuracy\":0.1,\"accuracy_interval\":[0.05,0.18]}}}},\"notes\":[\"pgd: too few steps\"]}";

static struct blob *attack_blob(const char *name, const struct blob *model, const char *data, float x) {
    char record[4096];
    snprintf(record, sizeof record, attack_of_model, model ? model->digest : "feed", data);
    return blob_of(name, "attack", record, x);
}

static double real(const json_t *at, const char *path) {
    double value;
    if (!record_get_real(at, path, &value)) fail_msg("no number at %s", path);
    return value;
}

static const char *text(const json_t *at, const char *path) {
    const char *value = json_string_value(record_get(at, path));
    if (!value) fail_msg("no text at %s", path);
    return value;
}

// The usual summary: a model and its attack, in this order or the other.
static struct summary *usual(bool model_first, const json_t **root) {
    struct summary *s = summary_new("A title");
    struct blob *m = blob_of("mlp.st", "model", MODEL, 1), *a = attack_blob("mlp.attack.st", m, "d1", 2);
    summary_add(s, model_first ? m : a);
    summary_add(s, model_first ? a : m);
    *root = summary_end(s);
    assert_string_equal(summary_entry_of(s, a->digest), "mlp");
    assert_null(summary_entry_of(s, m->digest));
    blob_free(a);
    blob_free(m);
    return s;
}

// ---- summary

static void numbers_and_intervals_are_carried(void **state) {
    (void)state;
    const json_t *root;
    struct summary *s = usual(true, &root);
    assert_string_equal(text(root, "schema"), "assay.report/1");
    assert_int_equal(json_array_size(json_object_get(root, "entries")), 1);
    assert_string_equal(text(root, "entries.0.id"), "mlp");
    assert_int_equal((int)real(root, "entries.0.count"), 100);
    assert_true(real(root, "metrics.mlp.test.accuracy") == .7);
    assert_true(real(root, "metrics.mlp.history.test_loss.1") == .9);
    assert_true(real(root, "metrics.mlp.clean.accuracy_interval.0") == .6);
    assert_true(real(root, "metrics.mlp.robust.pgd.eps_0p1.accuracy") == .1);
    assert_true(real(root, "metrics.mlp.robust.pgd.eps_0p1.accuracy_interval.1") == .18);
    assert_true(real(root, "metrics.mlp.per_class.1.accuracy_interval.0") == .38);
    assert_string_equal(text(root, "entries.0.notes.0"), "pgd: too few steps");
    summary_free(s);
}

static void verdict_tells_what_intervals_tell(void **state) {
    (void)state;
    const json_t *root;
    struct summary *s = usual(true, &root);
    // Chance is the larger class, not one of ten.
    assert_true(real(root, "metrics.mlp.chance") == .6);
    assert_true(json_is_false(record_get(root, "verdict.0.utility.differs_from_chance")));  // .6 to .78 holds .6
    // The strongest attack at each epsilon, with noise of that size beside it.
    assert_string_equal(text(root, "metrics.mlp.strongest.eps_0p1.method"), "pgd");
    assert_string_equal(text(root, "metrics.mlp.strongest.eps_0p05.method"), "fgsm");
    assert_true(real(root, "metrics.mlp.strongest.eps_0p05.noise") == .68);
    assert_true(json_is_false(record_get(root, "metrics.mlp.robust.fgsm.eps_0p05.differs_from_noise")));  // .5-.7, .58-.77
    assert_true(json_is_true(record_get(root, "metrics.mlp.robust.fgsm.eps_0p1.differs_from_noise")));    // .21-.4, .55-.74
    assert_true(json_is_true(record_get(root, "metrics.mlp.robust.pgd.eps_0p1.differs_from_chance")));
    assert_null(record_get(root, "metrics.mlp.robust.noise.eps_0p1.differs_from_noise"));
    // The verdict is on the smallest epsilon, and what nobody measured is called so.
    assert_true(real(root, "verdict.0.robustness.eps") == .05);
    assert_true(json_is_false(record_get(root, "verdict.0.membership.measured")));
    assert_true(json_is_false(record_get(root, "verdict.0.reconstruction.measured")));
    summary_free(s);
}

static void order_of_inputs_does_not_matter_to_numbers(void **state) {
    (void)state;
    const json_t *one, *other;
    struct summary *s = usual(true, &one), *t = usual(false, &other);
    assert_true(json_equal(json_object_get(one, "metrics"), json_object_get(other, "metrics")));
    assert_true(json_equal(json_object_get(one, "verdict"), json_object_get(other, "verdict")));
    summary_free(s);
    summary_free(t);
}

static void models_alone_attacks_alone_and_neither(void **state) {
    (void)state;
    struct blob *m = blob_of("a.b.st", "model", MODEL, 1), *a = attack_blob("x.st", NULL, "d1", 2);
    struct blob *other = blob_of("odd.st", "signals", "{}", 3);
    struct summary *s = summary_new("");
    summary_add(s, m);
    const json_t *root = summary_end(s);
    assert_string_equal(text(root, "entries.0.id"), "a");  // the endings go
    assert_string_equal(text(root, "verdict.0.utility.set"), "test");
    assert_true(json_is_true(record_get(root, "verdict.0.utility.differs_from_chance")));  // of ten classes now
    assert_true(json_is_false(record_get(root, "verdict.0.robustness.measured")));
    summary_free(s);

    s = summary_new("");
    summary_add(s, a);
    root = summary_end(s);
    assert_string_equal(text(root, "entries.0.id"), "model_feed");
    assert_true(real(root, "metrics.model_feed.robust.fgsm.eps_0p1.accuracy") == .3);
    assert_true(strstr(text(root, "notes.0"), "not among the inputs") != NULL);
    summary_free(s);

    s = summary_new("");
    summary_add(s, other);
    root = summary_end(s);
    assert_int_equal(json_array_size(json_object_get(root, "entries")), 0);
    assert_string_equal(text(root, "blobs.0.kind"), "signals");
    assert_true(strstr(text(root, "notes.0"), "neither a model nor an attack") != NULL);
    summary_free(s);
    blob_free(m);
    blob_free(a);
    blob_free(other);
}

static void results_are_merged_or_kept_apart(void **state) {
    (void)state;
    struct blob *m = blob_of("m.st", "model", MODEL, 1), *a = attack_blob("a.st", m, "d1", 2), *b = attack_blob("b.st", m, "d2", 3);
    char record[600];
    // The same model, data and norm again: the lower accuracy counts.
    snprintf(record, sizeof record, "{\"config\":{\"model\":\"%s\",\"data\":\"d1\",\"norm\":\"linf\"},\"metrics\":{\"robust\":{\"pgd\":{"
             "\"eps_0p1\":{\"accuracy\":0.04,\"accuracy_interval\":[0.01,0.1]},\"eps_0p2\":{\"accuracy\":0.5}}}}}", m->digest);
    struct blob *again = blob_of("again.st", "attack", record, 4);
    struct summary *s = summary_new("");
    struct blob *all[] = {m, a, again, b, a};
    for (int i = 0; i < 5; i++) summary_add(s, all[i]);
    const json_t *root = summary_end(s);
    assert_int_equal(json_array_size(json_object_get(root, "entries")), 2);
    assert_string_equal(text(root, "entries.1.id"), "m_2");  // other data
    assert_true(real(root, "metrics.m.robust.pgd.eps_0p1.accuracy") == .04);
    assert_true(real(root, "metrics.m.robust.pgd.eps_0p1.accuracy_interval.1") == .1);
    assert_true(real(root, "metrics.m.robust.pgd.eps_0p2.accuracy") == .5);
    assert_true(real(root, "metrics.m_2.robust.pgd.eps_0p1.accuracy") == .1);
    assert_true(real(root, "metrics.m.clean.accuracy") == .7);
    assert_int_equal(json_array_size(json_object_get(root, "blobs")), 4);  // the fifth was there before
    assert_true(strstr(text(root, "notes.0"), "counted once") != NULL);
    assert_true(strstr(text(root, "notes.1"), "more than once") != NULL);
    // An interval that is not there leaves the question open.
    assert_null(record_get(root, "metrics.m.robust.pgd.eps_0p2.differs_from_chance"));
    summary_free(s);
    for (int i = 0; i < 4; i++) blob_free(all[i]);
}

static void lineage_leads_from_data_to_report(void **state) {
    (void)state;
    struct error e = {0};
    char path[128];
    float x[3] = {1, 2, 3};
    json_t *none = json_object();
    struct blob *data = blob_new("dataset"), *test = blob_new("dataset"), *model = blob_new("model"), *attack = blob_new("attack");
    struct blob *all[] = {data, test, model, attack};
    blob_add(data, "x", F32, 0, NULL, x);
    blob_add(test, "x", F32, 0, NULL, x + 1);
    json_t *seeds[] = {json_pack("{s:i}", "seed", 1), json_pack("{s:i}", "seed", 2)};
    blob_set_lineage(data, "fetch", seeds[0], NULL, 0);
    blob_set_lineage(test, "fetch", seeds[1], NULL, 0);
    blob_compute_digest(data);
    blob_compute_digest(test);
    blob_add(model, "w", F32, 0, NULL, x + 2);
    blob_set_lineage(model, "trainclf", none, (const struct blob *[]){data}, 1);
    blob_compute_digest(model);
    blob_set_lineage(attack, "attack", none, (const struct blob *[]){model, test}, 2);
    snprintf(path, sizeof path, "%s/lineage.st", folder);
    assert_true(blob_write(attack, path, &e));
    struct blob *read = blob_open(path, &e);
    struct summary *s = summary_new("");
    summary_add(s, read);
    const json_t *root = summary_end(s);
    assert_int_equal(json_array_size(json_object_get(root, "lineage")), 5);
    assert_string_equal(text(root, "lineage.0.output"), data->digest);
    assert_string_equal(text(root, "lineage.1.output"), model->digest);
    assert_string_equal(text(root, "lineage.2.output"), test->digest);
    assert_string_equal(text(root, "lineage.3.output"), read->digest);
    assert_string_equal(text(root, "lineage.4.program"), "report");
    assert_string_equal(text(root, "lineage.4.inputs.0"), read->digest);
    summary_free(s);
    blob_free(read);
    for (int i = 0; i < 4; i++) blob_free(all[i]);
    json_decref(seeds[0]);
    json_decref(seeds[1]);
    json_decref(none);
}

static void hostile_records_do_no_harm(void **state) {
    (void)state;
    static const char *const records[] = {
        "{}", "{\"config\":7,\"metrics\":[1,2],\"notes\":\"x\"}",
        "{\"config\":{\"arch\":[],\"classes\":-3,\"model\":{},\"norm\":\"l7\"},\"metrics\":{\"clean\":{\"accuracy\":\"high\"},\"history\":{"
        "\"test_accuracy\":[\"a\",null,0.5],\"test_loss\":[null,\"x\"]}}}",
        "{\"metrics\":{\"robust\":{\"../../up `id` '\":{\"eps_0p1\":{\"accuracy\":0.5,\"accuracy_interval\":[1,\"x\"]}},\"pgd\":{\"eps_\":{},"
        "\"eps_-1\":{\"accuracy\":1},\"eps_1e999\":{\"accuracy\":1},\"eps_0p2\":7,\"x\":{\"accuracy\":1},"
        "\"eps_0000000000000000000000000000000000001\":{\"accuracy\":1}},\"noise\":[]}}}",
        "{\"metrics\":{\"clean\":{\"accuracy\":1e300,\"accuracy_interval\":[-1e300,1e300],\"per_class\":{\"accuracy\":[[],{},1],\"count\":5}}}}",
    };
    for (int kind = 0; kind < 2; kind++) {
        struct summary *s = summary_new("<title> & \"'");
        for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
            struct blob *b = blob_of("na`me '<b>.st", kind ? "attack" : "model", records[i], (float)i);
            summary_add(s, b);
            struct montage m[MONTAGE_METHODS];
            assert_int_equal(montages_of(b, m), 0);
            blob_free(b);
        }
        const json_t *root = summary_end(s);
        char *dump = summary_dump(root), *csv = rows_csv(root), *table = rows_table(root);
        assert_null(strstr(csv, "`"));
        assert_null(strstr(csv, "../"));
        struct figures f;
        figures_of(root, &f);
        for (int i = 0; i < f.count; i++)
            assert_int_equal(strspn(f.figure[i].chart.stem, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(f.figure[i].chart.stem));
        struct error e = {0};
        if (!figures_draw(&f, folder, &e)) fail_msg("%s", e.text);
        char *page = page_html(root, &f, NULL, 0);
        assert_null(strstr(page, "<title>&lt;title> "));
        assert_null(strstr(page, "<b>"));
        assert_non_null(strstr(page, "&lt;title&gt; &amp; &quot;&#39;"));
        figures_free(&f);
        free(dump);
        free(csv);
        free(table);
        free(page);
        summary_free(s);
    }
}

static void a_dump_reads_back(void **state) {
    (void)state;
    const json_t *root;
    struct summary *s = usual(true, &root);
    char *dump = summary_dump(root);
    json_t *back = json_of(dump);
    assert_true(json_equal(root, back));
    assert_non_null(strstr(dump, "\n          \"accuracy_interval\": [0.05,0.18]"));  // indented, short lists on a line
    json_decref(back);
    free(dump);
    summary_free(s);
}

static void epsilons_are_read_from_keys(void **state) {
    (void)state;
    assert_true(summary_eps("eps_0p1") == .1);
    assert_true(summary_eps("eps_0p0313725") == .0313725);
    assert_true(summary_eps("eps_2") == 2);
    assert_true(summary_eps("eps_1e-05") == 1e-5);
    assert_true(isnan(summary_eps("eps_")) && isnan(summary_eps("0p1")) && isnan(summary_eps("eps_-1")) && isnan(summary_eps("eps_1x")));
    json_t *o = json_of("{\"eps_0p3\":1,\"eps_0p05\":1,\"other\":1,\"eps_1e-05\":1,\"eps_10\":1}");
    size_t count;
    const char **key = summary_eps_keys(o, &count);
    assert_int_equal(count, 4);
    assert_string_equal(key[0], "eps_1e-05");
    assert_string_equal(key[1], "eps_0p05");
    assert_string_equal(key[3], "eps_10");
    free(key);
    json_decref(o);
}

// ---- rows

static void rows_hold_every_number(void **state) {
    (void)state;
    const json_t *root;
    struct summary *s = usual(true, &root);
    char *csv = rows_csv(root), *table = rows_table(root);
    static const char *const lines[] = {
        "entry,set,method,eps,class,epoch,metric,value,low,high\n", "\nmlp,test,,,,,accuracy,0.7,0.6,0.78\n", "\nmlp,clean,,,,,accuracy,0.7,0.6,0.78\n",
        "\nmlp,robust,pgd,0.1,,,accuracy,0.1,0.05,0.18\n", "\nmlp,robust,noise,0.05,,,accuracy,0.68,0.58,0.77\n", "\nmlp,class,,,1,,accuracy,0.55,0.38,0.71\n",
        "\nmlp,history,,,,2,test_loss,0.9,,\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(csv, lines[i])) fail_msg("no line %s in %s", lines[i], csv);
    for (const char *line = csv; *line; line += strcspn(line, "\n") + 1) {
        int commas = 0;
        for (const char *c = line; *c != '\n'; c++) commas += *c == ',';
        assert_int_equal(commas, 9);
    }
    assert_non_null(strstr(
        table,
        "mlp    -         70.0 % (60.0 to 78.0)  60.0 % (50.0 to 70.0) fgsm  10.0 % (5.0 to 18.0) pgd  no better than chance\n"));
    assert_null(strstr(table, " \n"));
    free(csv);
    free(table);
    summary_free(s);
}

// An epsilon that only others were attacked with is a dash, and no line ends in a blank.
static void a_table_has_a_dash_where_nothing_was_measured(void **state) {
    (void)state;
    struct blob *m = blob_of("m.st", "model", MODEL, 1), *n = blob_of("n.st", "model", MODEL, 5), *a = attack_blob("a.st", m, "d1", 2);
    char record[600];
    snprintf(record, sizeof record, "{\"config\":{\"model\":\"%s\",\"norm\":\"l2\"},\"metrics\":{\"clean\":{\"accuracy\":0.7},\"robust\":{"
             "\"pgd\":{\"eps_2\":{\"accuracy\":0.04}}}}}", n->digest);
    struct blob *b = blob_of("b.st", "attack", record, 4), *all[] = {m, n, a, b};
    struct summary *s = summary_new("");
    for (int i = 0; i < 4; i++) summary_add(s, all[i]);
    char *table = rows_table(summary_end(s));
    const char *line = strstr(table, "\nn_l2 ");
    assert_non_null(line);
    assert_non_null(strstr(line, " -  "));
    assert_non_null(strstr(line, "4.0 % pgd  no noise beside the attack\n"));
    assert_non_null(strstr(table, " pgd  -          no better than chance\n"));
    assert_null(strstr(table, " \n"));
    free(table);
    summary_free(s);
    for (int i = 0; i < 4; i++) blob_free(all[i]);
}

// Each note names the epsilons it holds of; an attack that stopped too early counts where it is the strongest.
static void notes_name_their_epsilons(void **state) {
    (void)state;
    struct blob *m = blob_of("m.st", "model", MODEL, 1);
    char record[2000];
    snprintf(record, sizeof record,
             "{\"config\":{\"model\":\"%s\",\"norm\":\"linf\"},\"metrics\":{\"clean\":{\"accuracy\":0.7,\"accuracy_interval\":[0.6,0.78]},"
             "\"checks\":{\"pgd\":{\"eps_0p1\":{\"stopped_early\":true},\"eps_0p2\":{\"stopped_early\":false}},"
             "\"fgsm\":{\"eps_0p1\":{\"stopped_early\":false}}},\"robust\":{"
             "\"noise\":{\"eps_0p1\":{\"accuracy\":0.65,\"accuracy_interval\":[0.55,0.74]}},"
             "\"fgsm\":{\"eps_0p1\":{\"accuracy\":0.6,\"accuracy_interval\":[0.5,0.7]}},"
             "\"pgd\":{\"eps_0p1\":{\"accuracy\":0.5,\"accuracy_interval\":[0.4,0.6]},\"eps_0p2\":{\"accuracy\":0.1,\"accuracy_interval\":"
             "[0.05,0.18]},\"eps_0p3\":{\"accuracy\":0.01,\"accuracy_interval\":[0,0.05]},\"eps_0p4\":{\"accuracy\":0,"
             "\"accuracy_interval\":[0,0.04]}}}}}",
             m->digest);
    struct blob *a = blob_of("a.st", "attack", record, 2);
    struct summary *s = summary_new("");
    summary_add(s, m);
    summary_add(s, a);
    const json_t *root = summary_end(s);
    char *table = rows_table(root);
    const char *note = "pgd  no more than noise at eps 0.1; worse than chance at eps 0.3, 0.4; no better than chance at eps 0.2; "
                       "the attack stopped too early at eps 0.1\n";
    if (!strstr(table, note)) fail_msg("%s", table);
    struct figures f;
    figures_of(root, &f);
    char *page = page_html(root, &f, NULL, 0);
    assert_non_null(strstr(page, "The attack stopped too early"));
    const char *ways[] = {"PGD</td><td class=\"n\">0.1", "<td>above</td>", "PGD</td><td class=\"n\">0.2", "<td>no</td>",
                          "PGD</td><td class=\"n\">0.3", "<td>below</td>"};
    const char *at = page;
    for (int i = 0; i < 6; i++)
        if (!(at = strstr(at, ways[i]))) fail_msg("no %s", ways[i]);
    figures_free(&f);
    free(page);
    free(table);
    summary_free(s);
    blob_free(m);
    blob_free(a);
}

// ---- markup

static char *marked(const char *format, ...) {
    // The arguments of a test are one text.
    va_list list;
    va_start(list, format);
    const char *argument = va_arg(list, const char *);
    va_end(list);
    char *out;
    size_t size;
    FILE *f = open_memstream(&out, &size);
    markup(f, format, argument);
    fclose(f);
    return out;
}

static void markup_is_escaped(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"<a href=\"x\">&'", "&lt;a href=&quot;x&quot;&gt;&amp;&#39;"},
        {"\xc3\xa9\xe2\x88\x9e\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x88\x9e\xf0\x9f\x98\x80"},
        {"a\x01" "b\x7f", "a\xef\xbf\xbd" "b\x7f"},
        {"\xc0\xbc", "\xef\xbf\xbd\xef\xbf\xbd"},          // an overlong '<'
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // a surrogate
        {"\xe2\x88", "\xef\xbf\xbd\xef\xbf\xbd"},          // cut short
        {"\xef\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},  // not in XML
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out = marked("%s", cases[i][0]);
        assert_string_equal(out, cases[i][1]);
        free(out);
    }
    char *cut = marked("<i>%.3s</i> 5 %%", "a<bcd");
    assert_string_equal(cut, "<i>a&lt;b</i> 5 %");
    free(cut);
}

static void base64_is_that_of_rfc_4648(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *out;
        size_t size;
        FILE *f = open_memstream(&out, &size);
        markup_base64(f, cases[i][0], strlen(cases[i][0]));
        fclose(f);
        assert_string_equal(out, cases[i][1]);
        free(out);
    }
}

// ---- charts

static struct chart small_chart(const char *name, struct chart_series *s, struct chart_point *p) {
    p[0] = (struct chart_point){0, 80, 75, 85, NAN, NAN, NULL};
    p[1] = (struct chart_point){.1, 20, 15, 25, NAN, NAN, NULL};
    *s = (struct chart_series){.name = name, .style = CHART_LINE, .count = 2, .point = p};
    return (struct chart){"stem", "A <title>", "x", "y", "An \"alt\"", 0, .1, 0, 100, false, 1, s, false, false, 0, NULL};
}

static void a_script_quotes_texts(void **state) {
    (void)state;
    struct chart_series s;
    struct chart_point p[2];
    struct chart c = small_chart("it's `id` \"$x\"\n@y \\", &s, p);
    char *script = chart_script(&c, true);
    assert_non_null(strstr(script, "title 'it''s `id` \"$x\"@y \\'"));
    assert_non_null(strstr(script, "0.1 20 15 25 0.1 0.1\n"));
    free(script);
}

// Two models with points side by side: the second label moves up, and each has its points' colour.
static void labels_do_not_cover_each_other(void **state) {
    (void)state;
    struct chart_point p[3] = {
        {80, 1, 0, 2, 79, 81, "0.2"}, {80, 0, 0, 1, 79, 81, "0.3"}, {81, 1, 0, 2, 80, 82, "0.2"}};
    struct chart_series s[2] = {{.name = "a", .style = CHART_MARKS, .count = 2, .point = p},
                                {.name = "b", .style = CHART_MARKS, .colour = 1, .count = 1, .point = p + 2}};
    struct chart c = {"stem", "A title", "x", "y", "alt", 70, 95, 0, 100, false, 2, s, false, false, 0, NULL};
    char *script = chart_script(&c, true);
    assert_non_null(strstr(script, "set label '0.2, 0.3' at 80,1 left offset char .7,.6 textcolor rgb '#0072B2'"));
    assert_non_null(strstr(script, "set label '0.2' at 81,5.5 left offset char .7,.6 textcolor rgb '#D55E00'"));
    free(script);
    p[2].x = 90;  // far enough
    script = chart_script(&c, true);
    assert_non_null(strstr(script, "set label '0.2' at 90,1 left"));
    free(script);
    struct error e = {0};
    struct chart_bytes svg;
    if (!chart_svg(&c, &svg, &e)) fail_msg("%s", e.text);
    assert_null(strstr(svg.data, "rgb("));  // the page's colours only
    free(svg.data);
}

// gnuplot itself must not run what a name says.
static void a_name_is_not_run(void **state) {
    (void)state;
    struct chart_series s;
    struct chart_point p[2];
    struct error e = {0};
    char name[256], path[96];
    snprintf(path, sizeof path, "%s/ran", folder);
    snprintf(name, sizeof name, "a`touch %s`' system(\"touch %s\") <&>", path, path);
    struct chart c = small_chart(name, &s, p);
    struct chart_bytes svg;
    if (!chart_svg(&c, &svg, &e)) fail_msg("%s", e.text);
    assert_int_equal(access(path, F_OK), -1);
    assert_non_null(strstr(svg.data, "&lt;&amp;"));
    free(svg.data);
}

static void svg_is_fit_for_a_page(void **state) {
    (void)state;
    struct chart_series s;
    struct chart_point p[2];
    struct error e = {0};
    struct chart c = small_chart("one", &s, p);
    struct chart_bytes svg;
    if (!chart_svg(&c, &svg, &e)) fail_msg("%s", e.text);
    assert_int_equal(svg.size, strlen(svg.data));
    assert_ptr_equal(strstr(svg.data, "<svg "), svg.data);
    assert_non_null(strstr(svg.data, "aria-label=\"An &quot;alt&quot;\"><title>A &lt;title&gt;</title>"));
    assert_non_null(strstr(svg.data, "var(--series-0)"));
    assert_non_null(strstr(svg.data, "fill=\"currentColor\""));
    assert_non_null(strstr(svg.data, "id='stem-gp"));
    static const char *const without[] = {"http", "xlink", "rgb(", "black", " color='white'", "<?xml", "DOCTYPE", " id='gp", "gnuplot_plot_1</title>"};
    for (size_t i = 0; i < sizeof without / sizeof *without; i++)
        if (strstr(svg.data, without[i])) fail_msg("%s in the SVG", without[i]);
    free(svg.data);
}

static void png_is_a_picture(void **state) {
    (void)state;
    struct chart_series s;
    struct chart_point p[2];
    struct error e = {0};
    struct chart c = small_chart("one", &s, p);
    struct chart_bytes png, again;
    if (!chart_png(&c, &png, &e) || !chart_png(&c, &again, &e)) fail_msg("%s", e.text);
    assert_int_equal(png.size, again.size);
    assert_memory_equal(png.data, again.data, png.size);
    struct picture *picture = png_picture_decode(png.data, png.size, "chart", &e);
    if (!picture) fail_msg("%s", e.text);
    assert_int_equal(picture->width, 1280);
    assert_int_equal(picture->height, 800);
    assert_int_equal(picture->channels, 3);
    // White corners, and Okabe and Ito's blue somewhere.
    long blue = 0;
    for (long i = 0; i < 1280L * 800; i++) blue += !memcmp(picture->pixel + 3 * i, "\x00\x72\xb2", 3);
    assert_memory_equal(picture->pixel, "\xff\xff\xff", 3);
    assert_in_range(blue, 500, 100000);
    picture_free(picture);
    free(png.data);
    free(again.data);
}

static void gnuplot_that_fails_or_is_not_there_is_told(void **state) {
    (void)state;
    struct error e = {0};
    char *out, *path = strdup(getenv("PATH"));
    size_t size;
    assert_false(gnuplot_run("set terminal svg\nplot nonsense(\n", &out, &size, &e));
    assert_int_equal(e.status, EXIT_SYSTEM);
    assert_non_null(strstr(e.text, "gnuplot failed"));
    e = (struct error){0};
    setenv("PATH", folder, 1);
    assert_false(gnuplot_run("plot x\n", &out, &size, &e));
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(e.status, EXIT_SYSTEM);
    assert_non_null(strstr(e.text, "gnuplot-nox"));
}

static const struct figure *figure(const struct figures *f, const char *stem) {
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->figure[i].chart.stem, stem)) return &f->figure[i];
    fail_msg("no chart %s", stem);
    return NULL;
}

static void figures_show_what_the_summary_says(void **state) {
    (void)state;
    const json_t *root;
    struct summary *s = usual(true, &root);
    struct figures f;
    figures_of(root, &f);
    assert_int_equal(f.count, 5);
    const struct chart *c = &figure(&f, "robust_fgsm")->chart;
    assert_int_equal(c->count, 3);  // the model, its noise, chance
    assert_string_equal(c->series[0].name, "mlp");
    assert_int_equal(c->series[0].count, 3);
    assert_true(c->series[0].point[0].x == 0 && c->series[0].point[0].y == 70 && c->series[0].point[0].low == 60);
    assert_true(c->series[0].point[1].x == .05 && c->series[0].point[2].x == .1 && c->series[0].point[2].high == 40);
    assert_int_equal(c->series[1].style, CHART_DASHED);
    assert_int_equal(c->series[2].style, CHART_RULE);
    assert_true(c->series[2].point[0].y == 60);
    c = &figure(&f, "test_acc_vs_epoch")->chart;
    assert_true(c->series[0].point[0].y == 50 && isnan(c->series[0].point[0].low));
    assert_true(c->series[0].point[1].y == 70 && c->series[0].point[1].high == 78);  // the last has the interval
    assert_true(figure(&f, "test_loss_vs_epoch")->chart.series[0].point[1].y == .9);
    c = &figure(&f, "tradeoff")->chart;
    assert_true(c->series[0].point[1].x == 70 && c->series[0].point[1].y == 10);
    assert_string_equal(c->series[0].point[1].label, "0.1");
    figures_free(&f);
    summary_free(s);
}

// A search with three trials over a logarithmic range and two words; `broken` makes tensors that do not fit.
static struct blob *search_blob(const char *name, const char *record, bool broken) {
    static const double x[] = {.1, 0, .01, 1, .001, 1}, value[] = {3, NAN, 2}, best[] = {3, 3, 2};
    static const double at[] = {.001, .1}, mean[] = {2, 4}, sd[] = {.5, .25}, word[] = {0, 1};
    struct error e = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct blob *b = blob_new("trials");
    json_t *r = json_of(record);
    blob_set_record(b, r);
    json_decref(r);
    blob_add(b, "x", F64, 2, (int64_t[]){broken ? 2 : 3, broken ? 3 : 2}, x);
    blob_add(b, "value", F64, 1, (int64_t[]){3}, value);
    blob_add(b, "best", F64, 1, (int64_t[]){broken ? 2 : 3}, best);
    blob_add(b, "effect.lr.x", F64, 1, (int64_t[]){2}, at);
    blob_add(b, "effect.lr.mean", F64, 1, (int64_t[]){broken ? 1 : 2}, mean);
    blob_add(b, "effect.lr.sd", F64, 1, (int64_t[]){2}, sd);
    blob_add(b, "effect.opt.x", F64, 1, (int64_t[]){2}, word);
    blob_add(b, "effect.opt.mean", F64, 1, (int64_t[]){2}, mean);
    if (!broken) blob_add(b, "effect.opt.sd", F64, 1, (int64_t[]){2}, sd);
    if (!blob_write(b, path, &e)) fail_msg("%s", e.text);
    blob_free(b);
    b = blob_open(path, &e);
    if (!b) fail_msg("%s", e.text);
    return b;
}

static const char search_record[] =
    "{\"config\":{\"command\":\"run {lr} <b>\",\"goal\":\"minimise\",\"metric\":\"loss\",\"ranges\":[\"lr=1e-3..1e-1:log\",\"opt=sgd,<i>\"],\"starts\":2},"
    "\"metrics\":{\"trials\":3,\"failed\":1,\"best\":{\"value\":2,\"at\":{\"lr\":0.001,\"opt\":\"<i>\"},\"command\":\"run 0.001 <b>\"},"
    "\"importance\":{\"lr\":{\"share\":0.75,\"total\":0.8,\"length\":0.5}}},\"notes\":[\"trial 1 failed: exit status 2\"]}";

static void a_search_is_shown(void **state) {
    (void)state;
    struct summary *s = summary_new("A title");
    struct blob *b = search_blob("lr.st", search_record, false);
    summary_add(s, b);
    blob_free(b);
    const json_t *root = summary_end(s);
    assert_string_equal(text(root, "searches.0.id"), "lr");
    assert_true(real(root, "searches.0.best.value") == 2 && real(root, "searches.0.ranges.0.share") == .75);
    assert_true(json_is_null(record_get(root, "searches.0.value.1")) && real(root, "searches.0.so_far.1") == 3);
    struct figures f;
    figures_of(root, &f);
    assert_int_equal(f.count, 3);
    const struct chart *c = &figure(&f, "search_lr")->chart;
    assert_int_equal(c->series[0].count, 2);  // a trial that failed has no mark
    assert_true(c->series[0].point[1].x == 3 && c->series[1].count == 3 && c->series[1].point[2].y == 2);
    c = &figure(&f, "search_lr_lr")->chart;
    assert_true(c->log_x && c->series[0].style == CHART_BAND && c->x_low > 0 && c->x_low < .001 && c->x_high > .1);
    assert_true(c->series[0].point[0].low == 1 && c->series[0].point[0].high == 3);  // two standard deviations
    char *script = chart_script(c, true);
    assert_non_null(strstr(script, "set logscale x"));
    assert_non_null(strstr(script, "filledcurves"));
    free(script);
    c = &figure(&f, "search_lr_opt")->chart;
    assert_true(c->words == 2 && !strcmp(c->word[1], "<i>") && !c->log_x);
    script = chart_script(c, true);
    assert_non_null(strstr(script, "set xtics ('sgd' 0,'<i>' 1)"));
    free(script);
    struct error e = {0};
    if (!figures_draw(&f, folder, &e)) fail_msg("%s", e.text);
    char *page = page_html(root, &f, NULL, 0), *csv = rows_csv(root);
    static const char *const there[] = {"id=\"search\"", "run 0.001 &lt;b&gt;", "in 3 trials of which 1 failed", "exit status 2", "luckiest"};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        if (!strstr(page, there[i])) fail_msg("%s is not on the page", there[i]);
    assert_null(strstr(page, "<b>"));
    assert_null(strstr(page, "<i>"));
    assert_non_null(strstr(csv, "lr,search,,,,3,value,2,,"));
    assert_non_null(strstr(csv, "lr,search,,,,1,lr,0.1,,"));
    free(page);
    free(csv);
    figures_free(&f);
    summary_free(s);
}

static void searches_that_do_not_fit_do_no_harm(void **state) {
    (void)state;
    static const char *const records[] = {
        "{}", search_record, "{\"config\":{\"ranges\":[\"../x=1..2\",7,\"lr\",\"=\",\"a b=1..2\",\"opt=\"]},\"metrics\":{\"best\":[],\"trials\":\"x\"}}",
        "{\"config\":{\"ranges\":{\"a\":1},\"metric\":[],\"goal\":7},\"metrics\":{\"importance\":[1]},\"notes\":{\"a\":1}}",
        "{\"config\":{\"ranges\":[\"lr=-1..0:log\",\"opt=a\"]}}",
    };
    for (int broken = 0; broken < 2; broken++) {
        struct summary *s = summary_new("t");
        for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
            struct blob *b = search_blob("na`me.st", records[i], broken);
            summary_add(s, b);
            blob_free(b);
        }
        const json_t *root = summary_end(s);
        struct figures f;
        struct error e = {0};
        figures_of(root, &f);
        for (int i = 0; i < f.count; i++)
            assert_int_equal(strspn(f.figure[i].chart.stem, "abcdefghijklmnopqrstuvwxyz_0123456789"), strlen(f.figure[i].chart.stem));
        if (!figures_draw(&f, folder, &e)) fail_msg("%s", e.text);
        char *page = page_html(root, &f, NULL, 0), *csv = rows_csv(root);
        assert_null(strstr(csv, "`"));
        free(page);
        free(csv);
        figures_free(&f);
        summary_free(s);
    }
}

// ---- pictures

static struct blob *attack_with_images(float *clean, float *adversarial, const int64_t *y, const int64_t *found, const int64_t *after,
                                       int64_t n) {
    struct blob *b = blob_new("attack");
    json_t *r = json_of("{\"metrics\":{\"robust\":{\"pgd\":{\"eps_0p1\":{\"accuracy\":0}},\"noise\":{\"eps_0p1\":{\"accuracy\":1}}}}}");
    blob_set_record(b, r);
    json_decref(r);
    blob_add(b, "clean.x", F32, 4, (int64_t[]){n, 1, 4, 4}, clean);
    blob_add(b, "noise.eps_0p1.x", F32, 4, (int64_t[]){n, 1, 4, 4}, clean);
    blob_add(b, "pgd.eps_0p1.x", F32, 4, (int64_t[]){n, 1, 4, 4}, adversarial);
    blob_add(b, "y", I64, 1, &n, y);
    blob_add(b, "clean.prediction", I64, 1, &n, found);
    blob_add(b, "pgd.eps_0p1.prediction", I64, 1, &n, after);
    return b;
}

// A membership test of eight images, of which three are members; `broken` makes tensors that do not fit.
static struct blob *membership_blob(const char *name, const char *record, float x, bool broken) {
    static const double distance[] = {.1, .2, 2, 4, 5, 6, 8, 10}, singular[] = {4, 3, 2, 1e-8, 0}, roc[] = {0, 0, 0, 1, 1, 1},
                        odd[] = {0, 1, NAN, 0, 2, 1};
    static const double leverage[] = {1, INFINITY, -1, NAN, 1, 1, 1, 1};
    static const unsigned char member[] = {1, 1, 1, 0, 0, 0, 0, 0};
    struct error e = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    struct blob *b = blob_new("membership");
    json_t *r = json_of(record);
    blob_set_record(b, r);
    json_decref(r);
    blob_add(b, "member", U8, 1, (int64_t[]){broken ? 3 : 8}, member);
    blob_add(b, "span.distance", F64, 1, (int64_t[]){8}, distance);
    blob_add(b, "leverage", F64, 1, (int64_t[]){8}, leverage);
    blob_add(b, "span.singular", F64, broken ? 0 : 1, (int64_t[]){5}, singular);
    blob_add(b, "span.roc", F64, 2, broken ? (int64_t[]){2, 3} : (int64_t[]){3, 2}, roc);
    blob_add(b, "leverage.roc", F64, 2, (int64_t[]){3, 2}, odd);
    blob_add(b, "w", F32, 0, NULL, &x);  // what makes the digest another
    if (!blob_write(b, path, &e)) fail_msg("%s", e.text);
    blob_free(b);
    b = blob_open(path, &e);
    if (!b) fail_msg("%s", e.text);
    return b;
}

#define TOLD                                                                                                            \
    "{\"auc\":1,\"auc_interval\":[0.29,1],\"tpr_at_fpr_1e-2\":1,\"tpr_at_fpr_1e-2_interval\":[0.25,1],\"tpr_at_fpr_1e-3\":0.5," \
    "\"false_positives_at_fpr_1e-2\":1,\"false_positives_at_fpr_1e-3\":0,\"members\":3,\"others\":5,\"rank\":3,\"gap\":2e8}"

static void a_membership_test_is_shown(void **state) {
    (void)state;
    struct blob *m = blob_of("mlp.st", "model", MODEL, 1), *n = blob_of("cnn.st", "model", MODEL, 2);
    char record[1000];
    snprintf(record, sizeof record,
             "{\"config\":{\"model\":\"%s\",\"data\":\"d1\"},\"metrics\":{\"span\":" TOLD
             ",\"leverage\":{\"auc\":0.6,\"auc_interval\":"
             "[0.4,0.8],\"members\":3,\"others\":5}}}",
             m->digest);
    struct blob *told = membership_blob("told.st", record, 0, false);
    snprintf(record, sizeof record,
             "{\"config\":{\"model\":\"%s\"},\"metrics\":{\"span\":{\"refused\":\"the first <b> "
             "layer\"},\"leverage\":{\"refused\":\"too\"}}}",
             n->digest);
    struct blob *refused = blob_of("refused.st", "membership", record, 3);
    struct summary *s = summary_new("A title");
    struct blob *all[] = {n, m, told, refused};
    for (int i = 0; i < 4; i++) summary_add(s, all[i]);
    const json_t *root = summary_end(s);
    assert_string_equal(text(root, "memberships.0.id"), "told");
    assert_true(real(root, "memberships.0.rank") == 3 && real(root, "memberships.0.members") == 3 &&
                real(root, "memberships.0.singular.3") == 1e-8);
    assert_true(real(root, "memberships.0.methods.span.tpr_at_fpr_1e-2_interval.0") == .25);
    assert_true(real(root, "memberships.0.methods.span.roc.tpr.1") == 1 &&
                real(root, "memberships.0.methods.span.roc.fpr.2") == 1);
    // From .1 to 10 in forty bins: a tenth, a fifth and two are members.
    assert_true(fabs(real(root, "memberships.0.methods.span.scores.edge.20") - 1) < 1e-12);
    assert_true(real(root, "memberships.0.methods.span.scores.members.0") == 1 &&
                real(root, "memberships.0.methods.span.scores.members.6") == 1);
    assert_true(real(root, "memberships.0.methods.span.scores.members.26") == 1 &&
                real(root, "memberships.0.methods.span.scores.others.39") == 1);
    assert_null(record_get(root, "memberships.0.methods.leverage.scores"));  // no numbers to count
    // The verdict has the method with the larger area, and the reason where there is none.
    assert_true(json_is_false(record_get(root, "verdict.0.membership.measured")));
    assert_string_equal(text(root, "verdict.0.membership.refused"), "the first <b> layer");
    assert_string_equal(text(root, "verdict.1.membership.method"), "span");
    assert_true(real(root, "verdict.1.membership.auc_interval.0") == .29 &&
                json_is_false(record_get(root, "verdict.1.membership.differs_from_chance")));
    struct figures f;
    figures_of(root, &f);
    const struct chart *c = &figure(&f, "mia_singular")->chart;
    assert_int_equal(c->count, 2);  // of the one, and where it falls
    assert_true(c->log_x && c->log_y && c->series[0].count == 5 && c->series[0].point[4].y == 4e-9 && c->series[0].colour == 1);
    assert_string_equal(c->series[0].name, "told: rank 3, gap 2e+08");
    assert_true(c->series[1].style == CHART_RULE && c->series[1].point[0].x > 3 && c->series[1].point[0].x < 4);
    c = &figure(&f, "mia_roc_span")->chart;
    assert_true(c->series[0].count == 2 && c->series[0].point[0].x == .2 &&
                c->series[0].point[0].y == 1);  // without an other is at one of five
    c = &figure(&f, "mia_scores_told")->chart;
    assert_true(!strcmp(c->series[1].name, "members") && c->series[1].style == CHART_STEPS &&
                fabs(c->series[1].point[26].y - 100. / 3) < 1e-9);
    char *script = chart_script(c, true);
    assert_non_null(strstr(script, "fillsteps"));
    free(script);
    struct error e = {0};
    if (!figures_draw(&f, folder, &e)) fail_msg("%s", e.text);
    char *page = page_html(root, &f, NULL, 0), *csv = rows_csv(root), *table = rows_table(root);
    static const char *const there[] = {"id=\"membership\"",       "refused: the first &lt;b&gt; layer",
                                        "aria-label=\"ROC curves", "AUC by distance from the span",
                                        "bounds from below",       "href=\"#membership\""};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        if (!strstr(page, there[i])) fail_msg("%s is not on the page", there[i]);
    assert_null(strstr(page, "<b>"));
    assert_null(strstr(page, "Membership inference was not measured"));
    static const char *const lines[] = {"told,membership,span,,,,auc,1,0.29,1\n", "told,membership,,,,4,singular,1e-8,,\n",
                                        "told,membership,span,,,3,roc_fpr,1,,\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(csv, lines[i])) fail_msg("no line %s in %s", lines[i], csv);
    assert_non_null(strstr(table, "told        span      1.000 (0.290 to 1.000)"));
    assert_non_null(strstr(table, "no better than chance\n"));
    assert_non_null(strstr(table, "the first <b> layer\n"));
    free(page);
    free(csv);
    free(table);
    figures_free(&f);
    summary_free(s);
    for (int i = 0; i < 4; i++) blob_free(all[i]);
}

static void membership_tests_that_do_not_fit_do_no_harm(void **state) {
    (void)state;
    static const char *const records[] = {
        "{\"metrics\":{\"span\":" TOLD "}}",
        "{\"metrics\":{\"span\":{},\"leverage\":{\"auc\":1e308,\"members\":-1,\"others\":0}}}",
        "{\"config\":[],\"metrics\":{\"span\":{\"auc\":0.5,\"rank\":1e300,\"gap\":\"x\",\"members\":2,\"others\":2},\"leverage\":"
        "7}}",
        "{\"config\":{\"model\":{},\"rank\":[]},\"metrics\":{\"span\":{\"refused\":[]},\"leverage\":{\"auc\":0.5,\"members\":3,"
        "\"others\":5,\"rank\":-2}}}",
        "{\"metrics\":{\"lira\":{\"auc\":1}}}",
    };
    for (int broken = 0; broken < 2; broken++) {
        struct summary *s = summary_new("t");
        for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
            struct blob *b = membership_blob("na`me.st", records[i], (float)i, broken);
            summary_add(s, b);
            blob_free(b);
        }
        const json_t *root = summary_end(s);
        assert_int_equal(json_array_size(json_object_get(root, "memberships")), 4);  // nobody knows lira here
        struct figures f;
        struct error e = {0};
        figures_of(root, &f);
        for (int i = 0; i < f.count; i++)
            assert_int_equal(strspn(f.figure[i].chart.stem, "abcdefghijklmnopqrstuvwxyz_0123456789"),
                             strlen(f.figure[i].chart.stem));
        if (!figures_draw(&f, folder, &e)) fail_msg("%s", e.text);
        char *page = page_html(root, &f, NULL, 0), *csv = rows_csv(root), *table = rows_table(root);
        assert_null(strstr(csv, "`"));
        free(page);
        free(csv);
        free(table);
        figures_free(&f);
        summary_free(s);
    }
}

static void pictures_show_attacks(void **state) {
    (void)state;
    float clean[3 * 16], adversarial[3 * 16];
    for (int i = 0; i < 48; i++) {
        clean[i] = .5f;
        adversarial[i] = i % 2 ? .6f : .4f;
    }
    const int64_t y[] = {3, 4, 5}, found[] = {9, 4, 5}, after[] = {9, 7, 5};
    struct blob *b = attack_with_images(clean, adversarial, y, found, after, 3);
    struct montage m[MONTAGE_METHODS];
    assert_int_equal(montages_of(b, m), 1);  // noise is none
    assert_string_equal(m[0].method, "pgd");
    // Two rows (the first image is wrong by itself) of clean, adversarial and difference, scaled to 84 pixels.
    const struct picture *p = m[0].picture;
    assert_in_range(p->width, 3 * 84, 3 * 84 + 60);
    assert_in_range(p->height, 2 * 84, 2 * 84 + 60);
    long frame = 0, black = 0, white = 0;
    for (long i = 0; i < (long)p->width * p->height; i++) {
        const unsigned char *c = p->pixel + i * p->channels;
        frame += p->channels == 3 && !memcmp(c, "\xd5\x5e\x00", 3);
        black += !c[0] && !c[p->channels - 1];
        white += c[0] == 255 && c[p->channels - 1] == 255;
    }
    assert_in_range(frame, 4 * 84, 16 * 84);  // one frame, a few pixels wide
    assert_true(black >= 2 * 84 * 84 / 2);    // half of each difference
    assert_true(white >= 2 * 84 * 84 / 2);
    picture_free(m[0].picture);
    blob_free(b);
}

static void pictures_without_images_are_none(void **state) {
    (void)state;
    float clean[16] = {0};
    const int64_t y[] = {3}, other[] = {1};
    struct montage m[MONTAGE_METHODS];
    struct blob *b = attack_with_images(clean, clean, y, other, y, 1);  // nothing right by itself
    assert_int_equal(montages_of(b, m), 0);
    blob_free(b);
    b = attack_with_images(clean, clean, y, y, y, 1);
    for (int i = 0; i < b->count; i++)
        if (!strcmp(b->tensor[i].name, "pgd.eps_0p1.x")) b->tensor[i].dim[3] = 2;  // another shape than the clean image
    assert_int_equal(montages_of(b, m), 0);
    blob_free(b);
}

// ---- page

static void a_page_needs_nothing_outside(void **state) {
    (void)state;
    const json_t *root;
    struct summary *s = usual(true, &root);
    struct figures f;
    struct error e = {0};
    figures_of(root, &f);
    if (!figures_draw(&f, folder, &e)) fail_msg("%s", e.text);
    char big[3 << 20] = {0};
    struct page_picture pictures[] = {{"mlp", "pgd", "a.png", {"PNG", 3}, false}, {"mlp", "fgsm", "b.png", {big, sizeof big}, false}};
    char *page = page_html(root, &f, pictures, 2);
    static const char *const there[] = {"UTF-8", "<svg ", "70.0 %", "60.0 to 78.0", "not measured", "Distinguishable from chance: <strong>no</strong>",
                                        "data:image/png;base64,UE5H", "Left out of this page for its size", "pgd: too few steps", "assay.report/1"};
    for (size_t i = 1; i < sizeof there / sizeof *there; i++)
        if (!strstr(page, there[i])) fail_msg("no %s in the page", there[i]);
    static const char *const absent[] = {"http:", "https:", "//", "<script", "@import", "url(", "<link"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        if (strstr(page, absent[i])) fail_msg("%s in the page", absent[i]);
    assert_true(strlen(page) < 3000000);
    free(page);
    figures_free(&f);
    summary_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_and_intervals_are_carried),
        cmocka_unit_test(verdict_tells_what_intervals_tell),
        cmocka_unit_test(order_of_inputs_does_not_matter_to_numbers),
        cmocka_unit_test(models_alone_attacks_alone_and_neither),
        cmocka_unit_test(results_are_merged_or_kept_apart),
        cmocka_unit_test(lineage_leads_from_data_to_report),
        cmocka_unit_test(hostile_records_do_no_harm),
        cmocka_unit_test(a_dump_reads_back),
        cmocka_unit_test(epsilons_are_read_from_keys),
        cmocka_unit_test(rows_hold_every_number),
        cmocka_unit_test(a_table_has_a_dash_where_nothing_was_measured),
        cmocka_unit_test(notes_name_their_epsilons),
        cmocka_unit_test(markup_is_escaped),
        cmocka_unit_test(base64_is_that_of_rfc_4648),
        cmocka_unit_test(a_script_quotes_texts),
        cmocka_unit_test(labels_do_not_cover_each_other),
        cmocka_unit_test(a_name_is_not_run),
        cmocka_unit_test(svg_is_fit_for_a_page),
        cmocka_unit_test(png_is_a_picture),
        cmocka_unit_test(gnuplot_that_fails_or_is_not_there_is_told),
        cmocka_unit_test(figures_show_what_the_summary_says),
        cmocka_unit_test(a_search_is_shown),
        cmocka_unit_test(searches_that_do_not_fit_do_no_harm),
        cmocka_unit_test(a_membership_test_is_shown),
        cmocka_unit_test(membership_tests_that_do_not_fit_do_no_harm),
        cmocka_unit_test(pictures_show_attacks),
        cmocka_unit_test(pictures_without_images_are_none),
        cmocka_unit_test(a_page_needs_nothing_outside),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
