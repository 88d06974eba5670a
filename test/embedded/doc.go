// Package embedded holds the tests from end to end: the programs as they are installed,
// run as oned runs them, by an unprivileged oneadmin over a real sshd and sudo, on the
// file-backed volume group of the [one-clvm/test/testbed]. They need root and the build
// tag embedded. Every one of them ends with a look for what is left behind.
package embedded
