package flagent_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTheProgramOfTheReadme runs the README's program, as a user would: in a module of its own, against the demo.
func TestTheProgramOfTheReadme(t *testing.T) {
	s := demoServer(t)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindSubmatch(readme)
	if program == nil {
		t.Fatal("the README has no program")
	}
	_, body, _ := strings.Cut(string(program[1]), "func main() {\n")
	body, _, _ = strings.Cut(body, "\n}\n")
	if lines := strings.Count(body, "\n") + 1; lines > 10 {
		t.Errorf("the program has %d lines", lines)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		t.Fatal(err)
	}
	directory := t.TempDir()
	for name, text := range map[string]string{
		"main.go": strings.ReplaceAll(string(program[1]), "http://127.0.0.1:8080", s.url),
		"go.sum":  string(sums),
		"go.mod": "module example\n\ngo 1.24\n\nrequire (\n\tgithub.com/flagent-cdc/flagent-go v0.0.0\n\tgithub.com/coder/websocket v1.8.15 // indirect\n)\n\n" +
			"replace github.com/flagent-cdc/flagent-go => " + here + "\n",
	} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(within(t), "go", "run", ".")
	build.Dir = directory
	output, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	if !regexp.MustCompile(`(?m)^\d+ flags, new_payment_flow is on: (true|false)$`).Match(output) {
		t.Fatalf("it printed:\n%s", output)
	}
}
