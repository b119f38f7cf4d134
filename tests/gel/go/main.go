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
	types(ctx, client)
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

// types sends a value of each type that Go has, and reads it back.
func types(ctx context.Context, client *gel.Client) {
	var rows []struct {
		A geltypes.OptionalInt16   `gel:"a"`
		B geltypes.OptionalInt32   `gel:"b"`
		C geltypes.OptionalInt64   `gel:"c"`
		D geltypes.OptionalFloat32 `gel:"d"`
		E geltypes.OptionalFloat64 `gel:"e"`
		F geltypes.OptionalBool    `gel:"f"`
		G geltypes.OptionalStr     `gel:"g"`
		H geltypes.OptionalBytes   `gel:"h"`
		I geltypes.OptionalUUID    `gel:"i"`
		J []int64                  `gel:"j"`
		K geltypes.OptionalStr     `gel:"k"`
		L geltypes.OptionalInt64   `gel:"l"`
		M geltypes.OptionalStr     `gel:"m"`
	}
	id, _ := geltypes.ParseUUID("00112233-4455-6677-8899-aabbccddeeff")
	err := client.QuerySQL(ctx, `SELECT $1::int2 AS a, $2::int4 AS b, $3::int8 AS c, $4::float4 AS d,
		$5::float8 AS e, $6::bool AS f, $7::text AS g, $8::bytea AS h, $9::uuid AS i,
		$10::int8[] AS j, $11::inet AS k, $12::oid AS l, $13::text AS m`, &rows,
		int16(-5), int32(7), int64(1)<<60, float32(1.5), -2.25, true, "täxt", []byte{0, 255}, id,
		[]int64{1, 2}, "10.0.0.1", int64(4294967295), geltypes.OptionalStr{})
	if err != nil || len(rows) != 1 {
		say("wrong", map[string]any{"name": "types", "found": fmt.Sprint(err), "wanted": "a row"})
		return
	}
	row := rows[0]
	get := func(name string, value any, there bool, wanted any) {
		check(name, fmt.Sprint(value, there), fmt.Sprint(wanted, true))
	}
	a, there := row.A.Get()
	get("int2", a, there, -5)
	b, there := row.B.Get()
	get("int4", b, there, 7)
	c, there := row.C.Get()
	get("int8", c, there, int64(1)<<60)
	d, there := row.D.Get()
	get("float4", d, there, 1.5)
	e, there := row.E.Get()
	get("float8", e, there, -2.25)
	f, there := row.F.Get()
	get("bool", f, there, true)
	g, there := row.G.Get()
	get("text", g, there, "täxt")
	h, there := row.H.Get()
	get("bytea", h, there, []byte{0, 255})
	i, there := row.I.Get()
	get("uuid", i, there, id)
	check("int8[]", row.J, []int64{1, 2})
	k, there := row.K.Get()
	get("inet", k, there, "10.0.0.1")
	l, there := row.L.Get()
	get("oid", l, there, int64(4294967295))
	_, there = row.M.Get()
	check("text NULL", there, false)
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
