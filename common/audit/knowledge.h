// knowledge.h: what an attacker used, as words of a record (config.know) and as sentences for a reader.
//
// A list is a json array of words, each once; the caller owns it.
#ifndef ASSAY_AUDIT_KNOWLEDGE_H
#define ASSAY_AUDIT_KNOWLEDGE_H

#include "../nn/model.h"

// What lies in a model file: weights, architecture, classes, the range of pixels, and its normalisation where it has one.
json_t *knowledge_of(const struct model *m);
// "equal-classes", "number-of-images", "margin", or one of the above. BUG where there is no such word.
void knowledge_add(json_t *list, const char *word);
// What somebody else used, whose work was used; other (of a record, NULL: nothing) may hold unknown words. What is no word of
// letters and hyphens is left out.
void knowledge_join(json_t *list, const json_t *other);
// By printf, a word and its meaning a line; msg_close() reports what standard output did not take.
void knowledge_print(const json_t *list);

#endif
