// style.h: how a report looks.
#ifndef ASSAY_CHART_STYLE_H
#define ASSAY_CHART_STYLE_H

extern const char style_sheet[];  // CSS; no URL, no "<"

#endif
