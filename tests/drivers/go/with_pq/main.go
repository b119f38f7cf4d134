// With_pq: lib/pq under database/sql, with cockroach-go's retries around transactions.
package main

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/cockroachdb/cockroach-go/v2/crdb"
	"github.com/lib/pq"

	"everline.test/drivers/speak"
)

var ctx = context.Background()

func refused(shape string, err error, keys ...int64) {
	var said *pq.Error
	code := ""
	if errors.As(err, &said) {
		code = string(said.Code)
	}
	speak.Refused(shape, err, code, keys...)
}

func open(shape string, size int) (*sql.DB, error) {
	db, err := sql.Open("postgres", speak.DSN(shape))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size) // 2 unless told: the rest would be closed at every return
	return db, db.PingContext(ctx)
}

func insert(shape string, db *sql.DB, keys []int64) bool {
	if _, err := db.ExecContext(ctx, speak.Insert, keys[0]); err != nil {
		refused(shape, err, keys...)
		return false
	}
	speak.Acknowledged(shape, keys...)
	return true
}

func autocommit(shape string) error {
	db, err := open(shape, 1)
	if err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Each(1, func(keys []int64) { insert(shape, db, keys) })
	return nil
}

// kept is a transaction that keeps the error of its COMMIT. ExecuteTx ignores that error, because on
// CockroachDB the RELEASE before it has committed already; on PostgreSQL it has not.
type kept struct {
	*sql.Tx
	committed error
}

func (tx *kept) Exec(ctx context.Context, query string, values ...any) error {
	_, err := tx.ExecContext(ctx, query, values...)
	return err
}

func (tx *kept) Commit(context.Context) error {
	tx.committed = tx.Tx.Commit()
	return tx.committed
}

func (tx *kept) Rollback(context.Context) error { return tx.Tx.Rollback() }

// executeTx is crdb.ExecuteTx for PostgreSQL.
func executeTx(db *sql.DB, work func(tx *sql.Tx) error) error {
	begun, err := db.BeginTx(ctx, nil)
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
	db, err := open(shape, 2)
	if err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Each(2, func(keys []int64) {
		tries := 0
		err := executeTx(db, func(tx *sql.Tx) error {
			if tries++; tries > 1 {
				speak.Retried(shape, keys...)
			}
			for _, key := range keys {
				if _, err := tx.ExecContext(ctx, speak.Insert, key); err != nil {
					return err
				}
				var found int64
				if err := tx.QueryRowContext(ctx, speak.Count, key).Scan(&found); err != nil {
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
	db, err := open(shape, 4)
	if err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Together(4, func() {
		speak.Each(1, func(keys []int64) {
			if !insert(shape, db, keys) {
				return
			}
			var found int64
			if err := db.QueryRowContext(ctx, speak.Count, keys[0]).Scan(&found); err != nil {
				refused(shape, err)
				return
			}
			speak.Looked(shape, keys[0], found)
		})
	})
	return nil
}

func prepared(shape string) error {
	db, err := open(shape, 1)
	if err != nil {
		return err
	}
	statement, err := db.PrepareContext(ctx, speak.Insert)
	if err != nil {
		return err
	}
	speak.Event(shape, "ready")
	speak.Each(1, func(keys []int64) {
		if _, err := statement.ExecContext(ctx, keys[0]); err != nil {
			refused(shape, err, keys...)
			return
		}
		speak.Acknowledged(shape, keys...)
	})
	return nil
}

func listen(shape string) error {
	told := func(_ pq.ListenerEventType, err error) {
		if err != nil && !speak.IsStopped() {
			refused(shape, err)
		}
	}
	listener := pq.NewListener(speak.DSN(shape), 100*time.Millisecond, time.Second, told)
	if err := listener.Listen("news"); err != nil {
		return err
	}
	speak.Event(shape, "ready")
	for {
		select {
		case <-speak.Stopped:
			return nil
		case news := <-listener.Notify:
			if news != nil {
				speak.Say(speak.Line{Shape: shape, Event: "heard", Text: news.Extra})
			}
		}
	}
}

func idle(shape string) error {
	db, err := open(shape, 1)
	if err != nil {
		return err
	}
	speak.Event(shape, "ready")
	for seen := int64(0); speak.UntilWoken(&seen); {
		if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
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
