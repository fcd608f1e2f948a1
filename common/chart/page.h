// page.h: the report as one HTML file: SVG and PNG inside it, no script, nothing fetched, light and dark.
//
// It is well-formed XML too. Every number comes from the summary; every text out of a record is escaped and cut
// to a readable length.
#ifndef ASSAY_CHART_PAGE_H
#define ASSAY_CHART_PAGE_H

#include <jansson.h>
#include <stdbool.h>
#include "figures.h"

enum { PAGE_PICTURES = 2 << 20 };  // bytes of base64 for pictures; what is over stays a file beside the page

struct page_picture {
    const char *entry, *method;  // whose, by what
    const char *file;            // its name in the report's directory
    struct chart_bytes png;
    bool wall;                   // of a reconstruction, not of an attack
};

// free() it.
char *page_html(const json_t *summary, const struct figures *figures, const struct page_picture *picture, int pictures);

#endif
