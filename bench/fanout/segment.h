/* Compressed segments become text; the same segment, sent to many connections, is inflated once. */
#ifndef FANOUT_SEGMENT_H
#define FANOUT_SEGMENT_H

#include "conn.h"

/* The bytes with which a compressor ends a segment when it is flushed. */
#define FLUSH_END_LEN 4
extern const uint8_t FLUSH_END[FLUSH_END_LEN];

/* The text of an independent run of deflate blocks; NULL if it depends on earlier ones. */
const struct bytes *segment_text(const uint8_t *data, size_t len);
/* Forgets all segments and their text. */
void segments_forget(void);
/* Inflates into `text`, and adds the length to `count`; either may be NULL. False if the data is invalid. */
bool inflate_some(z_stream *decoder, const uint8_t *data, size_t len, struct bytes *text, uint64_t *count);

#endif
