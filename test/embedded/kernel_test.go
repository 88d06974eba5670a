//go:build embedded

package embedded

import (
	"testing"

	"one-clvm/lvm"
	"one-clvm/test/fakeoned"
	"one-clvm/test/testbed"
)

// Front-end and node with the system calls of Linux 3.10, as on RHEL 7.
func TestOldKernel(t *testing.T) {
	s := start(t, testbed.Options{Build: testbed.OldKernel, Agent: map[string]string{"READ_GUEST_FS": "True"}})
	t.Run("there and back", func(t *testing.T) {
		s := s.in(t)
		tree, image := s.fullTree(), s.tarImage(7, "400M", nil)
		s.pack(tree, image)
		s.vm(fakeoned.CloneDisk(0, image, 0))
		s.clone(image, 0)
		s.sameTree(tree, 0, "ext4")
		saved := s.saveAs("TZST", 0)
		s.complete(0, lvm.Exclusive)
		s.holds(saved.Source, "TZST", tree, 0)
		s.deleteDisk(0)
	})
	deleteWhileCloneRuns(t, s)
}
