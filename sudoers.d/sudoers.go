// Package sudoers holds the one rule by which oneadmin may start the agent as root. It is
// installed as it is; the package exists for what compares an installation with it.
package sudoers

import _ "embed"

// Rule is the content of the file.
//
//go:embed one-clvm
var Rule string
