// Package speak is what a driver's program says to the runner, one JSON object a line, and what it
// hears; ../../python/speak.py has it in words.
package speak

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Pause is the time between two statements of one client.
	Pause = 40 * time.Millisecond
	// Think is the time that an application takes between the statements of a transaction.
	Think = 30 * time.Millisecond
	// Insert keeps a key.
	Insert = "INSERT INTO kept (key) VALUES ($1)"
	// Count says how often a key is kept.
	Count = "SELECT count(*) FROM kept WHERE key = $1"
)

// Stopped is closed when the runner has said "stop".
var Stopped = make(chan struct{})

var (
	next   atomic.Int64
	wakes  atomic.Int64
	mutex  sync.Mutex
	seen   = map[string]bool{}
	output = bufio.NewWriter(os.Stdout)
)

// Line is one word to the runner.
type Line struct {
	Shape    string  `json:"shape"`
	Event    string  `json:"event"`
	Keys     []int64 `json:"keys,omitempty"`
	SQLState *string `json:"sqlstate,omitempty"`
	Text     string  `json:"text,omitempty"`
	ID       string  `json:"id,omitempty"`
	Found    *int64  `json:"found,omitempty"`
}

// Say tells the runner.
func Say(line Line) {
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	mutex.Lock()
	defer mutex.Unlock()
	_, _ = output.Write(append(text, '\n'))
	_ = output.Flush()
}

// Event tells the runner something that has only a name.
func Event(shape, event string) { Say(Line{Shape: shape, Event: event}) }

// Acknowledged says that these keys are promised.
func Acknowledged(shape string, keys ...int64) {
	Say(Line{Shape: shape, Event: "acknowledged", Keys: keys})
}

// Refused says that these keys got an error; code is empty when it is none of PostgreSQL's.
func Refused(shape string, err error, code string, keys ...int64) {
	Say(Line{Shape: shape, Event: "error", Keys: keys, SQLState: &code, Text: err.Error()})
}

// Retried says that a helper has begun a transaction again by itself.
func Retried(shape string, keys ...int64) { Say(Line{Shape: shape, Event: "retried", Keys: keys}) }

// Looked says how often an acknowledged key was found.
func Looked(shape string, key, found int64) {
	Say(Line{Shape: shape, Event: "read", Keys: []int64{key}, Found: &found})
}

// Connection names the connection that is used, once for each.
func Connection(shape, id string) {
	mutex.Lock()
	known := seen[shape+" "+id]
	seen[shape+" "+id] = true
	mutex.Unlock()
	if !known {
		Say(Line{Shape: shape, Event: "connection", ID: id})
	}
}

// DSN is where this shape connects.
func DSN(shape string) string {
	return fmt.Sprintf("host=%s port=%s user=%s password=%s dbname=%s sslmode=disable",
		os.Getenv("LAB_HOST"), port(shape), os.Getenv("LAB_USER"), os.Getenv("LAB_PASSWORD"),
		os.Getenv("LAB_DATABASE"))
}

func port(shape string) string { return os.Getenv("LAB_PORT_" + strings.ToUpper(shape)) }

// Each calls work with new keys, with a pause in between, until the end.
func Each(count int, work func(keys []int64)) {
	for !IsStopped() {
		last := next.Add(int64(count))
		keys := make([]int64, count)
		for at := range keys {
			keys[at] = last - int64(count) + int64(at)
		}
		work(keys)
		Sleep(Pause)
	}
}

// IsStopped says whether it is the end.
func IsStopped() bool {
	select {
	case <-Stopped:
		return true
	default:
		return false
	}
}

// Sleep waits, at most until the end.
func Sleep(time_ time.Duration) {
	select {
	case <-Stopped:
	case <-time.After(time_):
	}
}

// UntilWoken waits until the runner has said "wake" more often than before; false at the end.
func UntilWoken(before *int64) bool {
	for wakes.Load() <= *before && !IsStopped() {
		Sleep(20 * time.Millisecond)
	}
	*before = wakes.Load()
	return !IsStopped()
}

// Together runs this many of work at once and waits for all.
func Together(count int, work func()) {
	var group sync.WaitGroup
	for range make([]struct{}, count) {
		group.Add(1)
		go func() {
			defer group.Done()
			work()
		}()
	}
	group.Wait()
}

// Run runs each shape that has a port; what escapes from one is reported.
func Run(shapes map[string]func(shape string) error) {
	first, _ := strconv.ParseInt(os.Getenv("LAB_KEYS"), 10, 64)
	next.Store(first)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() && lines.Text() != "stop" {
			wakes.Add(1)
		}
		close(Stopped)
	}()
	var group sync.WaitGroup
	for shape, work := range shapes {
		if port(shape) == "" {
			continue
		}
		group.Add(1)
		go func(shape string, work func(string) error) {
			defer group.Done()
			if err := work(shape); err != nil {
				Say(Line{Shape: shape, Event: "broken", Text: err.Error()})
			}
		}(shape, work)
	}
	group.Wait()
	Event("", "end")
}
