//go:build !failpoint

// Package failpoint names the instants after which a crash must leave nothing that
// matters. In a build with the tag failpoint, tests stop the process at one of them, or
// have all of them listed; in every other build nothing here costs anything.
package failpoint

// Environment is what a program that runs under another one must find in its own.
func Environment() []string { return nil }

// Hit marks an instant.
func Hit(string) {}

// Change tells that a state that outlives the process was changed, or is about to be:
// between any two of these there is a Hit.
func Change(string, ...string) {}
