// With_pgx: pgx and pgxpool, with cockroach-go's retries around transactions.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"everline.test/drivers/speak"
)

var ctx = context.Background()

func refused(shape string, err error, keys ...int64) {
	var said *pgconn.PgError
	code := ""
	if errors.As(err, &said) {
		code = said.Code
	}
	speak.Refused(shape, err, code, keys...)
}

func note(shape string, conn *pgx.Conn) {
	speak.Connection(shape, fmt.Sprint(conn.PgConn().PID()))
}

func connect(shape string) (*pgx.Conn, error) {
	conn, err := pgx.Connect(ctx, speak.DSN(shape))
	if err == nil {
		note(shape, conn)
	}
	return conn, err
}

func pools(shape string) (*pgxpool.Pool, error) {
	return pgxpool.New(ctx, speak.DSN(shape)+" pool_max_conns=4 pool_min_conns=4")
}

func autocommit(shape string) error {
	conn, err := connect(shape)
	if err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Each(1, func(keys []int64) {
		if _, err := conn.Exec(ctx, speak.Insert, keys[0]); err != nil {
			refused(shape, err, keys...)
			return
		}
		speak.Acknowledged(shape, keys...)
	})
	return nil
}

// kept is a transaction that keeps the error of its COMMIT. ExecuteTx ignores that error, because on
// CockroachDB the RELEASE before it has committed already; on PostgreSQL it has not.
type kept struct {
	pgx.Tx
	committed error
}

func (tx *kept) Exec(ctx context.Context, query string, values ...any) error {
	_, err := tx.Tx.Exec(ctx, query, values...)
	return err
}

func (tx *kept) Commit(ctx context.Context) error {
	tx.committed = tx.Tx.Commit(ctx)
	return tx.committed
}

// executeTx is crdbpgx.ExecuteTx for PostgreSQL.
func executeTx(pool *pgxpool.Pool, work func(tx pgx.Tx) error) error {
	begun, err := pool.Begin(ctx)
	if err != nil {
		return err
	}
	tx := &kept{Tx: begun}
	if err := crdb.ExecuteInTx(ctx, tx, func() error { return work(begun) }); err != nil {
		return err
	}
	return tx.committed
}

func transaction(shape string) error {
	pool, err := pools(shape)
	if err != nil {
		return err
	}
	if err := pool.Ping(ctx); err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Each(2, func(keys []int64) {
		tries := 0
		err := executeTx(pool, func(tx pgx.Tx) error {
			if tries++; tries > 1 {
				speak.Retried(shape, keys...)
			}
			note(shape, tx.Conn())
			for _, key := range keys {
				if _, err := tx.Exec(ctx, speak.Insert, key); err != nil {
					return err
				}
				var found int64
				if err := tx.QueryRow(ctx, speak.Count, key).Scan(&found); err != nil {
					return err
				}
				time.Sleep(speak.Think)
			}
			return nil
		})
		if err != nil {
			refused(shape, err, keys...)
			return
		}
		speak.Acknowledged(shape, keys...)
	})
	return nil
}

func pool(shape string) error {
	pool, err := pools(shape)
	if err != nil {
		return err
	}
	if err := pool.Ping(ctx); err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Together(4, func() {
		speak.Each(1, func(keys []int64) {
			if _, err := pool.Exec(ctx, speak.Insert, keys[0]); err != nil {
				refused(shape, err, keys...)
				return
			}
			speak.Acknowledged(shape, keys...)
			var found int64
			if err := pool.QueryRow(ctx, speak.Count, keys[0]).Scan(&found); err != nil {
				refused(shape, err)
				return
			}
			speak.Looked(shape, keys[0], found)
		})
	})
	return nil
}

func prepared(shape string) error {
	conn, err := connect(shape)
	if err != nil {
		return err
	}
	if _, err := conn.Prepare(ctx, "keep", speak.Insert); err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Each(1, func(keys []int64) {
		if _, err := conn.Exec(ctx, "keep", keys[0]); err != nil {
			refused(shape, err, keys...)
			return
		}
		speak.Acknowledged(shape, keys...)
	})
	return nil
}

func listen(shape string) error {
	conn, err := connect(shape)
	if err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "LISTEN news"); err != nil {
		return err
	}
	speak.Event(shape, "ready")
	stopping, cancel := context.WithCancel(ctx)
	go func() {
		<-speak.Stopped
		cancel()
	}()
	for !speak.IsStopped() {
		news, err := conn.WaitForNotification(stopping)
		switch {
		case err == nil:
			speak.Say(speak.Line{Shape: shape, Event: "heard", Text: news.Payload})
		case !speak.IsStopped():
			refused(shape, err)
			speak.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

func idle(shape string) error {
	conn, err := connect(shape)
	if err != nil {
		return err
	}
	speak.Event(shape, "ready")
	for seen := int64(0); speak.UntilWoken(&seen); {
		if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
			refused(shape, err)
			continue
		}
		speak.Event(shape, "woke")
	}
	return nil
}

func main() {
	speak.Run(map[string]func(string) error{
		"autocommit":  autocommit,
		"transaction": transaction,
		"pool":        pool,
		"prepared":    prepared,
		"listen":      listen,
		"idle":        idle,
	})
}
