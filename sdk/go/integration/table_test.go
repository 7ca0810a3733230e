package integration

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	flagent "github.com/flagent-cdc/flagent-go"
	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"
)

// TestTableStoresFollowAFilter: rows come into the filter and leave it, with every digit of their numbers.
func TestTableStoresFollowAFilter(t *testing.T) {
	address, database := serve(t)
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	run := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			if _, err := conn.Exec(ctx, statement); err != nil {
				t.Fatal(statement, err)
			}
		}
	}
	run("create schema shop", "create table shop.orders (id int primary key, tenant int, status text, total numeric)",
		"insert into shop.orders select n, n % 2, 'open', 12345678901234567890.12 from generate_series(1, 1000) n",
		"select flagent_cdc.watch('shop.orders')")
	// Streams find a table that has just been watched within a second or two.
	isWatched := func() bool {
		answer, err := http.Get("http://" + address + "/api/v1/events/stream?table=shop.orders&where=tenant%20%3D%201")
		if err != nil {
			return false
		}
		answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	}
	for end := time.Now().Add(deadline / 2); !isWatched(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server does not find the table")
		}
	}
	http.DefaultClient.CloseIdleConnections()
	for _, transport := range []flagent.Transport{flagent.WebSocket, flagent.SSE} {
		t.Run(string(transport), func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) })
			run("update shop.orders set tenant = id % 2, total = 12345678901234567890.12")
			client, err := flagent.NewClient("http://"+address, flagent.WithTransports(transport))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			table, err := flagent.NewTableStore(client, "shop.orders", flagent.TableWhere("tenant = $1 and status in ('open', 'held')", 1), flagent.TableColumns("total"))
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			wait := func(what string, condition func() bool) {
				t.Helper()
				for end := time.Now().Add(deadline / 2); !condition(); time.Sleep(5 * time.Millisecond) {
					if time.Now().After(end) {
						t.Fatalf("%s: %v, %d rows (%v)", what, table.Status(), table.Len(), table.Err())
					}
				}
			}
			if err := table.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			wait("the rows of the tenant", func() bool { return table.Len() == 500 })
			row, ok := table.Get(7)
			if !ok || fmt.Sprint(row["total"]) != "12345678901234567890.12" || row["status"] != nil {
				t.Fatal(row, ok)
			}
			run("update shop.orders set tenant = 1 where id = 2", "update shop.orders set tenant = 9 where id in (1, 3)", "update shop.orders set total = 5 where id = 7")
			wait("the changes", func() bool {
				row, _ := table.Get(7)
				_, isIn := table.Get(2)
				_, isOut := table.Get(3)
				return fmt.Sprint(row["total"]) == "5" && isIn && !isOut && table.Len() == 499
			})
		})
	}
}
