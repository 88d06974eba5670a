package opennebula

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// DefaultEndpoint is where oned listens unless told otherwise.
const DefaultEndpoint = "http://localhost:2633/RPC2"

// adminAuth is oneadmin's own file: drivers may run without HOME and ONE_AUTH.
const adminAuth = "/var/lib/one/.one/one_auth"

// Session is `user:secret`, the first parameter of every call. It prints as
// "(hidden)", whatever it is printed with.
type Session string

// String hides the secret.
func (Session) String() string { return "(hidden)" }

// GoString hides the secret from %#v.
func (Session) GoString() string { return `opennebula.Session("(hidden)")` }

// readSession takes the first line of the first file that exists.
func readSession(files []string) (Session, error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("%w: %w; run it as oneadmin, or let this user read the file", ErrNoCredentials, err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		session := strings.TrimSpace(line)
		if user, secret, ok := strings.Cut(session, ":"); !ok || user == "" || secret == "" {
			return "", fmt.Errorf("%w: the first line of %s is not USER:PASSWORD; correct it", ErrNoCredentials, file)
		}
		return Session(session), nil
	}
	return "", fmt.Errorf("%w: none of %s exists; run it on the front-end, as oneadmin, or put USER:PASSWORD into one of them",
		ErrNoCredentials, strings.Join(files, ", "))
}

// authFiles are the places of the credentials, in OpenNebula's own order.
func authFiles() []string {
	var files []string
	if file := os.Getenv("ONE_AUTH"); file != "" {
		files = append(files, file)
	}
	if file := homeFilePath("one_auth"); file != "" {
		files = append(files, file)
	}
	return append(files, adminAuth)
}

// findEndpoint: ONE_XMLRPC, then ~/.one/one_endpoint, then the default.
func findEndpoint() (string, error) {
	if endpoint := os.Getenv("ONE_XMLRPC"); endpoint != "" {
		return endpoint, nil
	}
	file := homeFilePath("one_endpoint")
	if file == "" {
		return DefaultEndpoint, nil
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return DefaultEndpoint, nil
	}
	if err != nil {
		return "", fmt.Errorf("endpoint of the API: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return strings.TrimSpace(line), nil
}

func homeFilePath(name string) string {
	home := os.Getenv("HOME")
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".one", name)
}

func checkEndpoint(endpoint string) error {
	u, err := url.Parse(endpoint)
	if err != nil {
		return fmt.Errorf("endpoint of the API: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fmt.Errorf("endpoint of the API: %q is not an http or https URL; check ONE_XMLRPC and ~/.one/one_endpoint",
			u.Redacted())
	}
	return nil
}
