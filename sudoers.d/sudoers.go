// Package sudoers holds the rules by which oneadmin may start programs of the suite as root. They
// are installed as they are; the package exists for what compares an installation with them.
package sudoers

import _ "embed"

// Rule lets the agent be started.
//
//go:embed one-clvm
var Rule string

// VMMRule lets the VMM driver's privileged end be started.
//
//go:embed one-clvm-vmm
var VMMRule string

// HookRule lets a node be asked where its VMs are.
//
//go:embed one-clvm-hook
var HookRule string
