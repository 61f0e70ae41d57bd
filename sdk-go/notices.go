package sewa

import (
	"fmt"
	"sync"

	"google.golang.org/grpc/metadata"
)

// notices says once what an operator should hear: a method is going away, or the server speaks another contract.
type notices struct {
	say  func(string)
	said sync.Map
}

func (n *notices) read(path string, headers metadata.MD) {
	if server := first(headers, "x-sewa-contract"); server != "" && server != ContractDigest && n.isNew("contract") {
		n.say(fmt.Sprintf("the server's contract %q is not the one this SDK was generated from, %s; calls work as far as both know them",
			server, ContractDigest))
	}
	for _, name := range [...]string{"deprecation", "warning", "warnings"} {
		if warning := first(headers, name); warning != "" && n.isNew(path) {
			sunset := first(headers, "sunset")
			if sunset == "" {
				sunset = "not announced"
			}
			n.say(fmt.Sprintf("the server warns about %s, %s: %q; sunset: %s", path, name, warning, sunset))
		}
	}
}

func (n *notices) isNew(what string) bool {
	_, said := n.said.LoadOrStore(what, true)
	return !said
}

// first is the first value of a header, or nothing.
func first(headers metadata.MD, name string) string {
	if values := headers[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}
