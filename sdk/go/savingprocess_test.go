package flagent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flagent-cdc/flagent-go/internal/jsontext"
)

// savingDirectory names, in the environment of this test's own program, the directory that it saves flags in until it is
// killed.
const savingDirectory = "FLAGENT_TEST_SAVES_IN"

const (
	savedFlags  = 10
	savedStates = 4
)

func init() {
	if directory := os.Getenv(savingDirectory); directory != "" {
		saveUntilKilled(directory)
	}
}

func saveUntilKilled(directory string) {
	var documents [][]byte
	for position := range savedStates {
		notes := strings.Repeat(fmt.Sprint(position), 10_000)
		var flags []*Flag
		var sum uint32
		for n := range savedFlags {
			value, err := jsontext.Parse([]byte(fmt.Sprintf(`{"id":%d,"key":"f%d","enabled":true,"notes":%q}`, n, n, notes)))
			if err != nil {
				panic(err)
			}
			flags = append(flags, decodeFlag(value, ""))
			sum += checksum(canonicalFlag(value))
		}
		documents = append(documents, savedDocument(savingKey, fmt.Sprintf("%d@k", position), formatDigest(len(flags), sum), time.Now(), flags))
	}
	p := FilePersistence(directory)
	for n := 0; ; n++ {
		if err := p.Save(context.Background(), savingKey, documents[n%len(documents)]); err != nil {
			panic(err)
		}
		if n == 0 {
			fmt.Println("saving")
		}
	}
}

var savingKey = strings.Repeat("c0", 32)

// savingProcess is a process that has saved once, and saves on.
func savingProcess(t *testing.T, directory string) *exec.Cmd {
	t.Helper()
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), savingDirectory+"="+directory)
	process.Stderr = os.Stderr
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil {
		t.Fatal(line, err)
	}
	return process
}

func kill(t *testing.T, process *exec.Cmd) {
	t.Helper()
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := process.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}
}

// savedState is the id of what is saved, which must be whole.
func savedState(t *testing.T, directory string) string {
	t.Helper()
	document, err := FilePersistence(directory).Load(soon(t), savingKey)
	if err != nil {
		t.Fatal(err)
	}
	found, reason := readSaved(document, savingKey, time.Now(), time.Hour)
	if reason != "" || len(found.flags) != savedFlags {
		t.Fatal(reason, len(document))
	}
	return found.id
}

// TestKilledWhileSaving is tc-cache-kill: killed a hundred times while it saves, the file has the old or the new state.
func TestKilledWhileSaving(t *testing.T) {
	directory := t.TempDir()
	states := map[string]bool{}
	for range 100 {
		process := savingProcess(t, directory)
		time.Sleep(rand.N(10 * time.Millisecond))
		kill(t, process)
		states[savedState(t, directory)] = true
	}
	if len(states) < 2 {
		t.Fatal(states)
	}
	if interrupted, _ := filepath.Glob(filepath.Join(directory, "*.tmp")); len(interrupted) == 0 {
		t.Fatal("no process was killed in the middle of a write")
	}
}

// TestTwoProcessesOfACache is tc-cache-two-processes: each reads a whole document at every time.
func TestTwoProcessesOfACache(t *testing.T) {
	directory := t.TempDir()
	for range 2 {
		process := savingProcess(t, directory)
		defer kill(t, process)
	}
	states := map[string]bool{}
	for range 50 {
		states[savedState(t, directory)] = true
	}
	eventually(t, "each state is read", func() bool {
		states[savedState(t, directory)] = true
		return len(states) == savedStates
	})
}

// smallDisk is a directory on a file system of its own with this many bytes.
func smallDisk(t *testing.T, bytes int) string {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("only root mounts a small disk, on Linux")
	}
	directory := t.TempDir()
	if output, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", bytes), "tmpfs", directory).CombinedOutput(); err != nil {
		t.Skipf("a small disk cannot be mounted here: %s", output)
	}
	t.Cleanup(func() {
		if output, err := exec.Command("umount", "-l", directory).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, output)
		}
	})
	return directory
}

func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := io.CopyN(file, zeros{}, 1<<30); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// countedSaves counts how often flags are saved, with success or without.
type countedSaves struct {
	Persistence
	count atomic.Int32
}

func (c *countedSaves) Save(ctx context.Context, key string, document []byte) error {
	defer c.count.Add(1)
	return c.Persistence.Save(ctx, key, document)
}

// TestFullDisk is tc-cache-full: reported once, the older file stays whole, the store goes on, and saves again when there
// is space.
func TestFullDisk(t *testing.T) {
	withoutLeaks(t)
	directory := smallDisk(t, 256*1024)
	positions := make(chan int)
	defer close(positions)
	server := newScriptedServer(t, func(p *peer) {
		p.open()
		p.greet(10)
		p.snapshot(10, aFlag(1, "a"))
		for position := range positions {
			p.send(anEvent(FlagUpdated, fmt.Sprintf("%d-0@k", position), aFlag(1, "a").with(object{"n": position})))
		}
	})
	client := connect(t, server.url(SSE), func(o *options) error {
		o.savePace = savePace{time.Millisecond, time.Hour}
		return nil
	})
	var reported list[error]
	client.OnError(reported.add)
	saves := &countedSaves{Persistence: FilePersistence(directory)}
	store := newStore(t, client, WithPersistence(saves, 0))
	startClient(t, client)
	ready(t, store)
	key := cacheKey(server.url(SSE), everything, nil)
	isSaved := func(position int) bool {
		document, err := saves.Load(soon(t), key)
		return err == nil && strings.Contains(string(document), fmt.Sprintf(`"position":"%d"`, position))
	}
	eventually(t, "the first state is saved", func() bool { return saves.count.Load() > 0 && isSaved(10) })
	fill(t, filepath.Join(directory, "other"))
	for position := 11; position < 14; position++ {
		before := saves.count.Load()
		positions <- position
		eventually(t, "it is tried", func() bool { return saves.count.Load() > before })
	}
	eventually(t, "the store goes on", func() bool { return store.Position() == 13 })
	eventually(t, "it is reported", func() bool { return reported.len() > 0 })
	checkEqual(t, store.Status(), Ready)
	checkEqual(t, isSaved(10), true)
	if left, _ := filepath.Glob(filepath.Join(directory, "*.tmp")); len(left) > 0 {
		t.Fatal(left)
	}
	if err := os.Remove(filepath.Join(directory, "other")); err != nil {
		t.Fatal(err)
	}
	positions <- 14
	eventually(t, "it is saved again", func() bool { return isSaved(14) })
	client.Close()
	if errs := reported.all(); len(errs) != 1 || !errors.Is(errs[0], syscall.ENOSPC) {
		t.Fatal(errs)
	}
}
