// Package opennebula speaks with OpenNebula: it reads oned's documents, the
// arguments its drivers are called with, and its XML-RPC API, and writes results the
// way each version of oned shows them to users. It covers OpenNebula 3.6 to 7.x.
//
// Differences between versions are told by the data (names of elements, number of
// arguments), not by a version number, except for the form of messages (see
// [Reporter]). Above this package nobody sees XML, and nobody counts arguments.
//
// Sizes are MiB, as everywhere in OpenNebula, unless a name says bytes.
package opennebula

import "errors"

// Sentinels. Test with errors.Is.
var (
	// ErrDocument: a document of oned is not what it should be.
	ErrDocument = errors.New("bad OpenNebula document")
	// ErrUsage: a driver was called with arguments that oned never gives.
	ErrUsage = errors.New("bad arguments")
	// ErrAuth: oned does not accept the credentials, or the user may not do this.
	ErrAuth = errors.New("OpenNebula refuses the credentials")
	// ErrNoCredentials: there are none here to ask oned with; it was not asked.
	ErrNoCredentials = errors.New("no credentials for OpenNebula")
	// ErrNoSuchObject: oned knows no object of that id.
	ErrNoSuchObject = errors.New("OpenNebula knows no such object")
	// ErrUnreachable: the API gave no answer; nothing is known about the object.
	ErrUnreachable = errors.New("OpenNebula's API cannot be reached")
)

// None is the value of an id or number that the document does not give.
const None = -1
