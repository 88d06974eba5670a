// Package udev holds the rules by which nodes give the devices of volumes to oneadmin.
// They are installed as they are; the package exists for their tests.
package udev

import _ "embed"

// RulesFile is the name that the rules are installed under, in /etc/udev/rules.d.
const RulesFile = "90-one-clvm.rules"

// Rules is the content of that file.
//
//go:embed 90-one-clvm.rules
var Rules string
