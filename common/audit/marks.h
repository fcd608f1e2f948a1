// marks.h: the marks that an attack gave its candidates, judged.
#ifndef ASSAY_AUDIT_MARKS_H
#define ASSAY_AUDIT_MARKS_H

#include "scorecard.h"

#define MARKS_BAR .95f

// A mark is right if its candidate has an NCC of at least MARKS_BAR with a member, and no image of `among` (NULL: all
// held-out ones) comes nearer to it than that member.
struct marks {
    int64_t count, right, members;  // marks, those that are right, distinct members they name
    unsigned char *verdict;         // [candidates]: 1 where marked and right; free() it
};
// m: of all candidates, which carry marks (BUG otherwise). EXIT_INPUT: images of another shape.
bool marks_judge(const struct control *s, const struct scorecard_match *m, const struct images *candidates,
                 const struct images *among, struct marks *out, struct error *e);
// metrics.certified.count, .right, .members and .precision with its interval.
void marks_save(int64_t count, int64_t right, int64_t members, json_t *record);
// The same, summed over the records of scores that marks_save wrote; nothing where one has no such numbers.
void marks_pool(const struct blob *const *score, int scores, json_t *record);

#endif
