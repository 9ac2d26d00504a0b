// Copyright 2026 The QueueScaler Authors.
// SPDX-License-Identifier: Apache-2.0

package image

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Recipe is how an image is made: programs that are built, and files that become its layers, one each.
type Recipe struct {
	Builds     []Build
	Copies     []Copy
	User       string
	Entrypoint []string
}

// Build is one run of go build.
type Build struct {
	// Env are variables such as CGO_ENABLED=0.
	Env []string
	// Args are the arguments after "go", without -o.
	Args []string
	// Output is where the program is to be, such as /manager.
	Output string
}

// Copy is one file: From is the Output of a build or else a file of this machine, To its place in the image, a directory if it ends in a slash.
type Copy struct{ From, To string }

// ReadDockerfile reads the recipe of a Dockerfile that has a stage with the name build and a last one from scratch. It understands the
// instructions that the project's Dockerfile has, and returns an error for any other, so that no image differs from what ships.
func ReadDockerfile(path string) (Recipe, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Recipe{}, err
	}
	var r Recipe
	stage := ""
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		instruction, rest, _ := strings.Cut(line, " ")
		switch {
		case instruction == "FROM":
			stage = "last"
			if strings.HasSuffix(rest, " AS build") {
				stage = "build"
			} else if rest != "scratch" {
				err = fmt.Errorf("the last stage begins FROM %s, want scratch", rest)
			}
		case stage == "build":
			err = r.buildStage(instruction, rest)
		default:
			err = r.lastStage(instruction, rest)
		}
		if err != nil {
			return Recipe{}, fmt.Errorf("%s:%d: %w", path, i+1, err)
		}
	}
	return r, nil
}

func unknown(instruction, rest string) error {
	return fmt.Errorf("package image does not know %s %s: teach it, so that the tested image is the one that ships", instruction, rest)
}

// buildStage skips what brings the source and its modules into the stage: here they are there.
func (r *Recipe) buildStage(instruction, rest string) error {
	switch {
	case instruction == "WORKDIR", instruction == "COPY", instruction == "RUN" && rest == "go mod download":
		return nil
	case instruction == "RUN":
		b, err := parseBuild(rest)
		r.Builds = append(r.Builds, b)
		return err
	}
	return unknown(instruction, rest)
}

// parseBuild understands VARIABLE=value... go build ARGUMENT... -o OUTPUT PACKAGE.
func parseBuild(command string) (Build, error) {
	words, err := split(command)
	if err != nil {
		return Build{}, err
	}
	var b Build
	for len(words) > 0 && strings.Contains(words[0], "=") {
		b.Env, words = append(b.Env, words[0]), words[1:]
	}
	output := slices.Index(words, "-o")
	if len(words) < 2 || words[0] != "go" || words[1] != "build" || output < 0 || output+1 >= len(words) || slices.Contains(words, "&&") {
		return Build{}, unknown("RUN", command)
	}
	b.Output = words[output+1]
	b.Args = slices.Concat(words[1:output], words[output+2:])
	return b, nil
}

// split splits a command as a shell does that knows single quotes only.
func split(command string) ([]string, error) {
	if strings.ContainsAny(command, "\"\\$`;|<>*?") || strings.Count(command, "'")%2 != 0 {
		return nil, unknown("RUN", command)
	}
	var words []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words, nil
}

func (r *Recipe) lastStage(instruction, rest string) error {
	switch instruction {
	case "COPY":
		fields := strings.Fields(rest)
		if len(fields) != 3 || fields[0] != "--from=build" {
			return unknown(instruction, rest)
		}
		r.Copies = append(r.Copies, Copy{fields[1], fields[2]})
	case "USER":
		r.User = rest
	case "ENTRYPOINT":
		if err := json.Unmarshal([]byte(rest), &r.Entrypoint); err != nil {
			return unknown(instruction, rest)
		}
	default:
		return unknown(instruction, rest)
	}
	return nil
}

// build runs the builds in the module at source, into dir. It returns where the outputs are.
func (r Recipe) build(source, dir string) (map[string]string, error) {
	outputs := map[string]string{}
	for _, b := range r.Builds {
		program, err := filepath.Abs(filepath.Join(dir, filepath.Base(b.Output)))
		if err != nil {
			return nil, err
		}
		args := append([]string{b.Args[0], "-o", program}, b.Args[1:]...)
		command := exec.Command("go", args...)
		command.Dir = source
		// The stage of a Dockerfile has no repository whose state could go into the program.
		command.Env = append(append(os.Environ(), "GOFLAGS=-buildvcs=false"), b.Env...)
		if output, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go %s in %s: %w: %s", strings.Join(args, " "), source, err, output)
		}
		outputs[b.Output] = program
	}
	return outputs, nil
}
