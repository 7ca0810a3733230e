package flagent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestModulePath renames the module in a copy, as a fork would, and builds it.
func TestModulePath(t *testing.T) {
	const path = "example.org/platform/flags"
	directory := t.TempDir()
	if err := os.CopyFS(directory, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	run := func(name string, arguments ...string) string {
		t.Helper()
		command := exec.CommandContext(within(t), name, arguments...)
		command.Dir = directory
		command.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off")
		output, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v:\n%s", command, err, output)
		}
		return strings.TrimSpace(string(output))
	}
	old := run("sh", "module-path")
	run("sh", "module-path", path)
	if now := run("sh", "module-path"); now != path {
		t.Fatalf("the module path is %q", now)
	}
	run("go", "vet", "./...")
	err := filepath.WalkDir(directory, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(text), old) {
			t.Errorf("%s still names %s", name, old)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "/x", "a//b", "a b"} {
		command := exec.Command("sh", "module-path", bad)
		command.Dir = directory
		if output, err := command.CombinedOutput(); err == nil || !strings.Contains(string(output), "is no module path") {
			t.Errorf("%q: %v: %s", bad, err, output)
		}
	}
}
