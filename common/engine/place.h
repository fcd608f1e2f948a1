// place.h: where values live: what is used up within a shard, within a job, or crosses passes; arenas are packed
// by liveness. The last step of planning.
#ifndef ASSAY_ENGINE_PLACE_H
#define ASSAY_ENGINE_PLACE_H

#include "instr.h"

void place_values(struct plan *p);

#endif
