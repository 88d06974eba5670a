//go:build !amd64

package qemu

func clockOption() string { return "" }
