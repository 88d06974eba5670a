// Package lab tests the whole journey of disks on the lab: a front-end on this machine, and
// nodes with a real SAN, a real lock manager and a real shared file system. The tests have
// the build tag lab.
package lab
