package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// writer writes at random, in transactions of one to four statements; some are rolled back.
type writer struct {
	conn   *pgx.Conn
	random *rand.Rand
}

func (w *writer) statement() string {
	n := w.random.IntN(1_000_000_000)
	const (
		flag    = "(select id from flags order by random() limit 1)"
		segment = "(select id from segments order by random() limit 1)"
	)
	statements := []string{
		fmt.Sprintf("insert into flags (key, description, enabled, created_at) values ('f%d', 'made %d', %v, now()) on conflict do nothing", n%40, n, n%2 == 0),
		"update flags set enabled = not enabled where id = " + flag,
		"update flags set enabled = not enabled where id = " + flag,
		fmt.Sprintf(`update flags set description = 'a "quoted" ü 🚩 %d', notes = null where id = %s`, n, flag),
		fmt.Sprintf("update flags set snapshot_id = %d, updated_by = 'w', updated_at = now() where id = %s", n%1000, flag),
		fmt.Sprintf("update flags set key = 'r%d' where id = %s", n%40, flag),
		"update flags set deleted_at = now() where id = " + flag,
		"update flags set deleted_at = null where deleted_at is not null",
		"delete from flags where id = " + flag,
		fmt.Sprintf("insert into segments (flag_id, rank, rollout_percent, created_at) select id, %d, %d, now() from flags order by random() limit 1", n%5, n%101),
		"delete from segments where id = " + segment,
		fmt.Sprintf("insert into constraints (segment_id, property, operator, value, created_at) select id, 'country', 'EQ', 'US%d', now() from segments order by random() limit 1", n),
		fmt.Sprintf(`insert into variants (flag_id, key, attachment, created_at) select id, 'v%d', '{"b": "%d", "a": "x"}', now() from flags order by random() limit 1`, n%9, n),
		"insert into distributions (segment_id, variant_id, variant_key, percent, created_at) select s.id, v.id, v.key, 100, now() from segments s join variants v on v.flag_id = s.flag_id order by random() limit 1",
		fmt.Sprintf("insert into tags (value, created_at) values ('t%d', now()) on conflict do nothing", n%5),
		"insert into flags_tags (flag_id, tag_id) select f.id, t.id from flags f, tags t order by random() limit 1 on conflict do nothing",
		"delete from flags_tags where flag_id = " + flag,
	}
	return statements[w.random.IntN(len(statements))]
}

var errRolledBack = errors.New("rolled back on purpose")

func (w *writer) write(ctx context.Context, transactions int) error {
	for range transactions {
		err := pgx.BeginFunc(ctx, w.conn, func(tx pgx.Tx) error {
			for range 1 + w.random.IntN(4) {
				if _, err := tx.Exec(ctx, w.statement()); err != nil {
					return err
				}
			}
			if w.random.IntN(10) == 0 {
				return errRolledBack
			}
			return nil
		})
		var refusal *pgconn.PgError
		// A unique key, and two writers that wait for each other, are part of the game.
		isExpected := errors.Is(err, errRolledBack) || errors.As(err, &refusal) && (refusal.Code[:2] == "23" || refusal.Code == "40P01")
		if err != nil && !isExpected {
			return err
		}
	}
	return nil
}

const truth = `
select f.key, jsonb_build_array(f.id, f.enabled, f.description,
  coalesce((select jsonb_agg(t.value order by t.id) from flags_tags ft join tags t on t.id = ft.tag_id where ft.flag_id = f.id), '[]'),
  coalesce((select jsonb_agg(jsonb_build_array(v.id, v.key, v.attachment::jsonb) order by v.id) from variants v where v.flag_id = f.id and v.deleted_at is null), '[]'),
  coalesce((select jsonb_agg(jsonb_build_array(s.id, s.rank, s.rollout_percent,
      coalesce((select jsonb_agg(jsonb_build_array(c.property, c.operator, c.value) order by c.created_at, c.id) from constraints c where c.segment_id = s.id), '[]'),
      coalesce((select jsonb_agg(jsonb_build_array(d.variant_id, d.percent) order by d.variant_id, d.id) from distributions d where d.segment_id = s.id), '[]')
    ) order by s.rank, s.id) from segments s where s.flag_id = f.id and s.deleted_at is null), '[]'))::text
from flags f where f.deleted_at is null`

// readTruth reads the flags of the database, by key, as JSON.
func readTruth(ctx context.Context, conn *pgx.Conn) (map[string]string, error) {
	rows, err := conn.Query(ctx, truth)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	var key, text string
	_, err = pgx.ForEachRow(rows, []any{&key, &text}, func() error {
		found[key] = text
		return nil
	})
	return found, err
}
