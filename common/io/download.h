// download.h: one file from the first of several addresses that delivers it whole.
//
// Bytes go to PATH.part; a part that is there already is continued by a Range request, begun again
// where the server ignores it. Only what passes `check` is renamed to PATH. An interrupted download keeps its
// part; two programs that want the same file take turns.
#ifndef ASSAY_IO_DOWNLOAD_H
#define ASSAY_IO_DOWNLOAD_H

#include <stdint.h>

#include "../base/error.h"

struct download {
    const char *const *address;  // in the order to try
    int addresses;
    const char *path;            // the final name; its directory exists
    int64_t bytes;               // more than these are refused
    int timeout;                 // seconds without a connection or a byte before an address is given up
    bool (*check)(const char *part, const void *data, struct error *e);
    const void *data;
};
bool download(const struct download *d, struct error *e);

#endif
