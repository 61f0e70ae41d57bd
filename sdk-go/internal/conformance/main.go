// Command conformance is the runner of the suite in tests/sdk-conformance: a case a line on standard input, an answer a line on standard output.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
)

// Cases that gRPC for Go cannot do.
var unsupported = map[string]string{
	"error-details-are-no-base64": "gRPC for Go itself refuses such an answer, as INTERNAL",
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 && err != nil {
			return
		}
		var asked request
		if err := json.Unmarshal(line, &asked); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", line, err)
			os.Exit(1)
		}
		if err := answers.Encode(play(&asked)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

func play(asked *request) object {
	reason, ok := unsupported[asked.Case]
	if asked.Transport != "grpc" {
		reason, ok = "gRPC for Go speaks HTTP/2 only", true
	}
	if ok {
		return object{"case": asked.Case, "unsupported": reason}
	}
	scene, err := newScene(asked)
	if err != nil {
		return object{"case": asked.Case, "results": []object{}, "failed": err.Error()}
	}
	defer scene.client.Close()
	results := []object{}
	for i := range asked.Steps {
		results = append(results, scene.step(&asked.Steps[i]))
	}
	return object{"case": asked.Case, "results": results, "observed": scene.observed, "notices": scene.notices}
}
