// Package polkit holds what lets oneadmin use libvirt on a node, in the words of new and of
// old polkits. They are installed as they are.
package polkit

import _ "embed"

// Rules is the content of /etc/polkit-1/rules.d/50-one-clvm.rules (polkit 0.106 and newer).
//
//go:embed 50-one-clvm.rules
var Rules string

// Authority is the content of /etc/polkit-1/localauthority/50-local.d/50-one-clvm.pkla
// (0.105 and older).
//
//go:embed 50-one-clvm.pkla
var Authority string
