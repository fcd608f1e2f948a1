// markup.h: text into HTML, safe by default.
#ifndef ASSAY_CHART_MARKUP_H
#define ASSAY_CHART_MARKUP_H

#include <stddef.h>
#include <stdio.h>

// As fprintf with %s %.Ns %d %ld %lld %zu %g %f and %%, except that every %s is escaped, also for attributes:
// < > & " ' are entities, bytes that are no UTF-8 and characters that XML forbids become U+FFFD.
void markup(FILE *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
void markup_base64(FILE *f, const void *bytes, size_t count);

#endif
