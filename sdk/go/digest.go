package flagent

import (
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// bookkeeping are the fields outside the digest: Flagent's bookkeeping, and the schema that snapshots of several schemas
// add.
var bookkeeping = []string{"snapshotID", "updatedAt", "updatedBy", "schema"}

// canonicalFlag is the canonical JSON of a flag without its bookkeeping, equal in every SDK and on the server.
func canonicalFlag(flag jsontext.Value) string {
	return string(jsontext.AppendCanonical(make([]byte, 0, len(flag.Raw())), flag, bookkeeping...))
}

func checksum(canonical string) uint32 { return crc32.ChecksumIEEE([]byte(canonical)) }

// formatDigest is the digest of count flags whose checksums add up to sum, modulo 2^32: a sum, so that a change of one
// flag updates it by a subtraction and an addition.
func formatDigest(count int, sum uint32) string { return fmt.Sprintf("%d:%08x", count, sum) }

// isDigest reports whether a text is a digest of this form; clients ignore others.
func isDigest(text string) bool {
	count, sum, ok := strings.Cut(text, ":")
	return ok && count != "" && strings.Trim(count, "0123456789") == "" &&
		len(sum) == 8 && strings.Trim(sum, "0123456789abcdef") == ""
}

// maxSnapshotPause is the most heartbeats between two repairs.
const maxSnapshotPause = 64

// digestCheck compares a store's digest with the server's and paces the snapshots that repair a difference. differs
// holds from the first unequal digest until an equal one, or until a snapshot that repaired it.
type digestCheck struct {
	differs       bool
	failedRepairs int
	pause         int
	wasRequested  bool
}

// compare compares the digests of one position; it reports whether a snapshot must be requested now. While snapshots do
// not repair the difference, 1, 2, 4 … 64 heartbeats pass between requests.
func (d *digestCheck) compare(own, server string) bool {
	if own == server {
		*d = digestCheck{}
		return false
	}
	d.differs = true
	if d.wasRequested {
		d.wasRequested = false
		d.pause = min(1<<min(d.failedRepairs, 16), maxSnapshotPause)
		d.failedRepairs++
	}
	if d.pause > 0 {
		d.pause--
		return false
	}
	d.wasRequested = true
	return true
}

// snapshotReceived notes that the state was replaced. After a repair that failed, only an equal digest clears differs.
func (d *digestCheck) snapshotReceived() {
	if d.failedRepairs == 0 {
		d.differs = false
	}
}
