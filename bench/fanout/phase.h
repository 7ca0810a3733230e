/* Payloads become deliveries: order, completeness, equality, times. */
#ifndef FANOUT_PHASE_H
#define FANOUT_PHASE_H

#include "conn.h"

void phase_begin(uint32_t first, uint32_t events, bool latencies, uint32_t connections);
void phase_sent(uint32_t seq, uint64_t at_ns);
bool phase_is_receiving(uint64_t now);
bool phase_is_done(void);
void phase_report(bool complete);
void phase_lose(struct conn *conn);
/* The references that the connection may receive next; NULL if there is none. */
const struct payload *phase_expected(const struct conn *conn);
const struct payload *phase_snapshot(void);
/* A whole payload that matches the candidate, and one that must be parsed. */
void phase_matched(struct conn *conn, const struct payload *candidate, uint64_t now);
void phase_payload(struct conn *conn, const uint8_t *data, size_t len, uint64_t now);
void phase_muted_report(void);

#endif
