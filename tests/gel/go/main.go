// Gel's own Go client before Everline: what it can do, and what it does in an outage.
//
// speak basics|load, with the connection in the environment; says one line of JSON for each finding,
// and "done" at its end.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	gel "github.com/geldata/gel-go"
	"github.com/geldata/gel-go/gelcfg"
	"github.com/geldata/gel-go/gelerr"
	"github.com/geldata/gel-go/geltypes"
)

func say(event string, more map[string]any) {
	line := map[string]any{"event": event}
	for name, value := range more {
		line[name] = value
	}
	bytes, _ := json.Marshal(line)
	fmt.Println(string(bytes))
}

func check(name string, found, wanted any) {
	if fmt.Sprint(found) == fmt.Sprint(wanted) {
		say("ok", map[string]any{"name": name})
		return
	}
	say("wrong", map[string]any{"name": name, "found": fmt.Sprint(found), "wanted": fmt.Sprint(wanted)})
}

func number(name string, otherwise int) int {
	value, err := strconv.Atoi(os.Getenv(name))
	if err != nil {
		return otherwise
	}
	return value
}

func connect(concurrency int) *gel.Client {
	options := gelcfg.Options{
		Host:        os.Getenv("LAB_HOST"),
		Port:        number("LAB_PORT", 5656),
		User:        os.Getenv("LAB_USER"),
		Password:    geltypes.NewOptionalStr(os.Getenv("LAB_PASSWORD")),
		Branch:      "__default__",
		Concurrency: uint(concurrency),
	}
	if ca := os.Getenv("LAB_CA"); ca != "" {
		options.TLSOptions.CAFile = ca
	} else {
		options.TLSOptions.SecurityMode = gelcfg.TLSModeInsecure
	}
	client, err := gel.CreateClient(options)
	if err != nil {
		say("wrong", map[string]any{"name": "connect", "found": err.Error(), "wanted": ""})
		os.Exit(1)
	}
	return client
}

func basics(ctx context.Context) {
	client := connect(4)
	defer client.Close()
	run := func(sql string, arguments ...any) {
		check(sql, client.ExecuteSQL(ctx, sql, arguments...), nil)
	}
	run("DROP TABLE IF EXISTS gel_go")
	run("CREATE TABLE gel_go (id int8 PRIMARY KEY, word text)")
	run("INSERT INTO gel_go VALUES ($1, $2)", int64(1), "a")
	var rows []struct {
		ID   geltypes.OptionalInt64 `gel:"id"`
		Word geltypes.OptionalStr   `gel:"word"`
	}
	check("query", client.QuerySQL(ctx, "SELECT id, word FROM gel_go", &rows), nil)
	if len(rows) == 1 {
		id, _ := rows[0].ID.Get()
		word, _ := rows[0].Word.Get()
		check("row", fmt.Sprintf("%d %s", id, word), "1 a")
	} else {
		check("rows", len(rows), 1)
	}
	err := client.ExecuteSQL(ctx, "INSERT INTO gel_go VALUES (1, 'again')")
	var known gelerr.Error
	check("constraint", errors.As(err, &known) && known.Category(gelerr.ConstraintViolationError), true)
	var one int64
	err = client.QuerySingle(ctx, "select 1", &one)
	check("edgeql", err != nil && strings.Contains(err.Error(), "EdgeQL is not supported"), true)
	err = client.Tx(ctx, func(ctx context.Context, tx geltypes.Tx) error {
		return tx.ExecuteSQL(ctx, "INSERT INTO gel_go VALUES (2, 'tx')")
	})
	check("transaction", err, nil)
	mine := errors.New("mine")
	err = client.Tx(ctx, func(ctx context.Context, tx geltypes.Tx) error {
		if err := tx.ExecuteSQL(ctx, "INSERT INTO gel_go VALUES (3, 'gone')"); err != nil {
			return err
		}
		return mine
	})
	check("own error", errors.Is(err, mine), true)
	var counted []struct {
		N geltypes.OptionalInt64 `gel:"n"`
	}
	check("count", client.QuerySQL(ctx, "SELECT count(*) AS n FROM gel_go", &counted), nil)
	n, _ := counted[0].N.Get()
	check("rolled back", n, 2)
}

func load(ctx context.Context) {
	workers, first := number("LAB_WORKERS", 8), number("LAB_KEYS", 1)
	client := connect(workers)
	defer client.Close()
	var lock sync.Mutex
	var stop atomic.Bool
	var all sync.WaitGroup
	var tries atomic.Int64
	committed, unknown, failed := []int{}, []int{}, []string{}
	for worker := range workers {
		all.Add(1)
		go func() {
			defer all.Done()
			// A table of its own, so that nobody conflicts: what fails, fails for the outage.
			insert := fmt.Sprintf("INSERT INTO ledger_%d (key) VALUES ($1::int8)", first+worker)
			for key := first + worker; !stop.Load(); key += workers {
				err := client.Tx(ctx, func(ctx context.Context, tx geltypes.Tx) error {
					tries.Add(1)
					return tx.ExecuteSQL(ctx, insert, int64(key))
				})
				lock.Lock()
				var known gelerr.Error
				switch {
				case err == nil:
					committed = append(committed, key)
				case errors.As(err, &known) && known.Category(gelerr.AvailabilityError) &&
					!known.Category(gelerr.BackendUnavailableError):
					unknown = append(unknown, key)
				default:
					failed = append(failed, err.Error())
				}
				lock.Unlock()
			}
		}()
	}
	say("running", nil)
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	stop.Store(true)
	all.Wait()
	say("ledger", map[string]any{
		"committed": committed, "unknown": unknown, "errors": failed, "tries": tries.Load(),
	})
}

func main() {
	switch os.Args[1] {
	case "basics":
		basics(context.Background())
	case "load":
		load(context.Background())
	}
	say("done", nil)
}
